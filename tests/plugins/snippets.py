"""Run the code of the documentation: README.md, every page of `docs/`, and every `>>>` in the source.

A page is one test: its code blocks share their names and run from top to bottom, whatever order the tests are in. A
block that cannot run is fenced as `text`, or follows `<!-- skip: next "the reason" -->`. A block with the caption of a
file, such as `shop/jobs.py`, goes to the end of that file, which the blocks after it can import.
"""

import importlib
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import SkipTest

import pytest
from sybil import Document, Example, Region, Sybil
from sybil.example import SybilFailure
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser
from sybil.parsers.rest import DocTestParser

_ROOT = Path(__file__).parents[2]

_FLAGS = ELLIPSIS | NORMALIZE_WHITESPACE  # a long line of output is shown on two

_FOLDER = "__folder_of_files__"  # no name that a page may use
_FILE = re.compile(
    r"^```\{code-block\} python\n:caption: (?P<name>\w+(/\w+)*)\.py\n\n(?P<code>.*?\n)```$", re.MULTILINE | re.DOTALL
)


def _files(document: Document) -> Iterator[Region]:
    for match in _FILE.finditer(document.text):
        yield Region(match.start(), match.end(), match.groupdict(), _append)


def _append(example: Example) -> None:
    """Add the code of a block to its file, and let the next import read it again."""
    name, folder = Path(example.parsed["name"]), Path(example.namespace[_FOLDER])
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    for package in name.parents[:-1]:
        (folder / package / "__init__.py").touch()  # or a module elsewhere on the path comes first
        sys.modules.pop(".".join(package.parts), None)
    with (folder / f"{name}.py").open("a", encoding="utf-8") as file:
        file.write(f"{example.parsed['code']}\n\n")
    sys.modules.pop(".".join(name.parts), None)
    importlib.invalidate_caches()


@contextmanager
def _importable(folder: str) -> Iterator[None]:
    """Import the files of a page while it runs. Afterwards, modules of tests that they hid are back."""
    before = dict(sys.modules)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
        for name, module in dict(sys.modules).items():
            if (getattr(module, "__file__", None) or "").startswith(folder):
                del sys.modules[name]
        sys.modules.update({name: module for name, module in before.items() if name not in sys.modules})


_pages = Sybil(
    path=str(_ROOT),
    patterns=["README.md", "docs/*.md", "docs/*/*.md"],
    parsers=[SkipParser(), PythonCodeBlockParser(doctest_optionflags=_FLAGS), _files],
)
_sources = Sybil(path=str(_ROOT / "src"), pattern="*.py", parsers=[DocTestParser(_FLAGS)])


class Page(pytest.File):
    """A file that shows code."""

    sybil: Sybil

    def collect(self) -> Iterator["Snippets"]:
        document = self.sybil.parse(self.path)
        if list(document.examples()):
            snippets = Snippets.from_parent(self, name="snippets")
            snippets.document = document
            yield snippets


class Snippets(pytest.Item):
    """The code of one page, in the order of the page."""

    document: Document

    def runtest(self) -> None:
        debug = os.environ.pop("PERDURE_DEBUG", None)  # of the tests, and not of readers
        with TemporaryDirectory() as files:
            self.document.namespace[_FOLDER] = files
            try:
                with _importable(files):
                    self._run_blocks()
            finally:
                if debug is not None:
                    os.environ["PERDURE_DEBUG"] = debug

    def _run_blocks(self) -> None:
        for example in self.document.examples():
            with suppress(SkipTest):
                example.evaluate()

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: None = None) -> object:
        if isinstance(excinfo.value, SybilFailure):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)


def _shows_code(file: Path) -> bool:
    """Say whether it is worth parsing: most sources have no example."""
    return file.suffix != ".py" or ">>>" in file.read_text(encoding="utf-8")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> Page | None:
    for sybil in (_pages, _sources):
        if sybil.should_parse(file_path) and _shows_code(file_path):
            page = Page.from_parent(parent, path=file_path)
            page.sybil = sybil
            return page
    return None

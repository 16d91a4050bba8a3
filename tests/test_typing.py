"""The typing tests: `tests/typing/` is checked by mypy and by pyright, strictly, and never run.

In a file named ``*_must_fail.py`` each line with an error says which checkers must see it: ``# error: mypy, pyright``.
There must be no other error, there or elsewhere.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeAlias

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "tests" / "typing"
FILES = sorted(path.relative_to(ROOT).as_posix() for path in FOLDER.rglob("*.py"))

Found: TypeAlias = dict[str, dict[int, list[str]]]
"""The messages, by file and line."""

_EXPECTED = re.compile(r"# error: (?P<checkers>\w+(?:, \w+)*)")
_MYPY_LINE = re.compile(r"(?P<file>[^:]+):(?P<line>\d+): error: (?P<message>.*)")


@cache
def mypy() -> Found:
    command = [sys.executable, "-m", "mypy", "--strict", "--explicit-package-bases", "--no-error-summary", *FILES]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    assert not output.stderr, output.stderr
    found: Found = {}
    for match in map(_MYPY_LINE.fullmatch, output.stdout.splitlines()):
        if match is not None:
            found.setdefault(match["file"], {}).setdefault(int(match["line"]), []).append(match["message"])
    return found


@cache
def pyright() -> Found:
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", *FILES]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    found: Found = {}
    for diagnostic in json.loads(output.stdout)["generalDiagnostics"]:
        file = Path(diagnostic["file"]).relative_to(ROOT).as_posix()
        line = diagnostic["range"]["start"]["line"] + 1
        found.setdefault(file, {}).setdefault(line, []).append(diagnostic["message"])
    return found


@pytest.mark.parametrize("checker", [mypy, pyright])
@pytest.mark.parametrize("file", FILES)
def test_exactly_the_marked_lines_are_errors(file: str, checker: Callable[[], Found]) -> None:
    found = checker().get(file, {})
    expected = _marked(file, checker.__name__)
    unexpected = {line: messages for line, messages in found.items() if line not in expected}
    assert not unexpected
    assert not expected - found.keys(), "marked as errors, but accepted"


def test_there_is_something_to_check() -> None:
    assert FILES
    assert any(file.endswith("_must_fail.py") and _marked(file, "mypy") for file in FILES)


def _marked(file: str, checker: str) -> set[int]:
    if not file.endswith("_must_fail.py"):
        return set()
    lines = enumerate((ROOT / file).read_text().splitlines(), start=1)
    marks = ((number, _EXPECTED.search(line)) for number, line in lines)
    return {number for number, mark in marks if mark is not None and checker in mark["checkers"].split(", ")}

"""The typing tests: `tests/typing/` is checked by mypy and by pyright, strictly, and never run.

In a file named ``*_must_fail.py`` each line with an error says which checkers must see it: ``# error: mypy, pyright``.
There must be no other error, there or elsewhere.

Both checkers infer one type, the right one, for each pair of hooks and options of each kind (`hook_combinations`).
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeAlias

import pytest
from hook_combinations import HEADER, KINDS

pytestmark = pytest.mark.xdist_group("typing")
"""Each checker runs once: `--dist loadgroup` sends all tests of the file to one process."""

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "tests" / "typing"
FILES = sorted(path.relative_to(ROOT).as_posix() for path in FOLDER.rglob("*.py"))

Found: TypeAlias = dict[str, dict[int, list[str]]]
"""The messages, by file and line."""

_EXPECTED = re.compile(r"# error: (?P<checkers>\w+(?:, \w+)*)")
_MYPY_LINE = re.compile(r"(?P<file>[^:]+):(?P<line>\d+): (?:error|note): (?P<message>.*)")
_REVEALED = re.compile(r'(?:Revealed type is|Type of ".*" is) "(?P<type>[^"]+)"')
_MODULE = re.compile(r"\b(?:\w+\.)+(?=\w)")


CALLS = [call for kind in KINDS for call in kind.calls()]
"""Each call, and the type that it must have."""

COMBINATIONS = "combinations.py"
_FIRST = HEADER.count("\n") + 1


@cache
def combinations_file() -> str:
    """Write the calls into a file, one a line."""
    file = Path(tempfile.mkdtemp(prefix="typing-")) / COMBINATIONS
    file.write_text(HEADER + "\n".join(f"reveal_type({call})" for call, _ in CALLS) + "\n")
    return str(file)


@cache
def mypy() -> Found:
    options = ["--strict", "--explicit-package-bases", "--no-error-summary"]
    command = [sys.executable, "-m", "mypy", *options, *FILES, combinations_file()]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    assert not output.stderr, output.stderr
    found: Found = {}
    for match in map(_MYPY_LINE.fullmatch, output.stdout.splitlines()):
        if match is not None:
            # By name: a process that runs beside this one may have left its own file's messages in mypy's cache.
            file = COMBINATIONS if Path(match["file"]).name == COMBINATIONS else match["file"]
            found.setdefault(file, {}).setdefault(int(match["line"]), []).append(match["message"])
    return found


@cache
def pyright() -> Found:
    options = ["--pythonpath", sys.executable, "--outputjson"]
    command = [sys.executable, "-m", "pyright", *options, *FILES, combinations_file()]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    found: Found = {}
    for diagnostic in json.loads(output.stdout)["generalDiagnostics"]:
        path = Path(diagnostic["file"])
        file = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
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


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_each_pair_of_hooks_and_options_has_the_type_of_its_hooks(checker: Callable[[], Found]) -> None:
    found = checker()[COMBINATIONS]
    wrong = [
        (call, expected, found.get(line))
        for line, (call, expected) in enumerate(CALLS, start=_FIRST)
        if list(map(_revealed, found.get(line, []))) != [expected]
    ]
    assert not wrong, wrong[:5]
    assert len(CALLS) > 500


def _revealed(message: str) -> str:
    """Return a revealed type without the names of modules, in one order of the members of unions."""
    match = _REVEALED.fullmatch(message)
    if match is None:
        return message
    name, _, arguments = _MODULE.sub("", match["type"]).removesuffix("]").partition("[")
    return f"{name}[{', '.join(' | '.join(sorted(each.split(' | '))) for each in arguments.split(', '))}]"


def test_there_is_something_to_check() -> None:
    assert FILES
    assert any(file.endswith("_must_fail.py") and _marked(file, "mypy") for file in FILES)


def _marked(file: str, checker: str) -> set[int]:
    if not file.endswith("_must_fail.py"):
        return set()
    lines = enumerate((ROOT / file).read_text().splitlines(), start=1)
    marks = ((number, _EXPECTED.search(line)) for number, line in lines)
    return {number for number, mark in marks if mark is not None and checker in mark["checkers"].split(", ")}

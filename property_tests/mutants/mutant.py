"""A planted mutant, and how it is killed: one change to a copy of the library, and one test that must fail."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Sequence
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, Literal, Protocol

import attrs
from definitions import Definition, NoSuchPlace, definition_with
from forks import USED_UP

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "perdure"
_OF_THIS_RUN = ("PYTEST_", "COV_", "PERDURE_SHARE", "PERDURE_TURN")
PATIENCE_S = 240  # a mutant that hangs is found by its own test only if that ends: its waits take 120 seconds at most


@attrs.frozen
class Mutant:
    """A plausible bug.

    Attributes:
        name: the wrong behaviour, in the words of the library.
        at: the qualified name of the function, class or table that has the text, or the name of a migration.
        old: the text that is there, once; where several modules define the name, only one of them has the text.
        new: what takes its place.
        killer: the test that must fail, as pytest names it below ``property_tests``, or from ``tests/`` on.
    """

    name: str
    at: str
    old: str
    new: str
    killer: str

    def __str__(self) -> str:
        return self.name

    @property
    def path(self) -> Path:
        """The file in the checkout, which is only read."""
        return SOURCE / self._definition().file

    def changed(self) -> str:
        """Return the text of the file with the bug.

        Raises:
            NoSuchPlace: the name or the text is not there, or more than once.
        """
        return self._definition().replace(self.old, self.new)

    def _definition(self) -> Definition:
        try:
            return definition_with(self.at, self.old, SOURCE)
        except NoSuchPlace as error:
            raise NoSuchPlace(f"{self.name}: {error}") from None


class Planted(Protocol):
    """A change to one file of the library.

    Attributes:
        path: the file in the checkout, which is only read.
    """

    @property
    def path(self) -> Path: ...
    def changed(self) -> str:
        """Return the text of the file with the change."""
        ...


@attrs.frozen
class Verdict:
    """What became of a mutant.

    Attributes:
        fate: ``killed`` by its test, ``survived`` it, or ``broken``: the test did not end, or could not be run at all.
        output: what pytest said.
    """

    fate: Literal["killed", "survived", "broken"]
    output: str


def place_of(killer: str) -> str:
    """Where a test is, from the top of the repository."""
    return killer if killer.startswith(("tests/", "property_tests/")) else f"property_tests/{killer}"


def verdict(killer: str, mutant: Planted | None = None) -> Verdict:
    """Run a test against a copy of the library in which a mutant is planted, or against a plain copy."""
    return verdict_of([killer], mutant, PATIENCE_S)


def verdict_of(
    tests: Sequence[str],
    mutant: Planted | None,
    patience_s: float,
    *,
    cpu_s: float | None = None,
    without: Collection[str] = (),
) -> Verdict:
    """Run tests, or files of them, up to the first that fails; with a limit of their time, on few examples."""
    arguments = [*map(place_of, tests), *(f"--deselect={test}" for test in without)]
    arguments += [f"--hypothesis-profile={'mutants' if cpu_s is None else 'few'}"]
    folder = _copy()
    if mutant is None:
        return _run(arguments, folder, patience_s, cpu_s)
    file = Path(folder) / "perdure" / mutant.path.relative_to(SOURCE)
    file.write_text(mutant.changed(), encoding="utf-8")
    changed_at = next(_instants)
    os.utime(file, (changed_at, changed_at))
    try:
        return _run(arguments, folder, patience_s, cpu_s)
    finally:
        shutil.copy2(mutant.path, file)


_instants = count(1)
"""Of the changes of files: Python compiles a file again if the instant of its change is another one."""


@cache
def _copy() -> str:
    """Copy the library, once in this process. Its compiled modules are beside it, each valid up to a change."""
    folder = tempfile.TemporaryDirectory(prefix="perdure-mutant-")
    atexit.register(folder.cleanup)
    shutil.copytree(SOURCE, Path(folder.name) / "perdure", ignore=shutil.ignore_patterns("__pycache__"))
    return folder.name


def _run(arguments: Sequence[str], folder: str, patience_s: float, cpu_s: float | None) -> Verdict:
    arguments = ["-p", "_hypothesis_pytestplugin", "-p", "no:cacheprovider", "-x", "-q", "-W", "default", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_OF_THIS_RUN)}
    environment |= {"PYTHONPATH": folder, "PYTHONPYCACHEPREFIX": f"{folder}/compiled"}
    environment |= {"PYTHONDONTWRITEBYTECODE": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    output = Path(folder) / "output"
    order = {"arguments": arguments, "environment": environment, "output": str(output)}
    order |= {"patience_s": patience_s, "cpu_s": cpu_s}
    forks = _forks()
    forks.stdin.write(f"{json.dumps(order)}\n")
    forks.stdin.flush()
    code = json.loads(forks.stdout.readline())
    if code is None:
        return Verdict("broken", f"no end after {patience_s} seconds")
    said = output.read_text(encoding="utf-8", errors="replace")
    fates: dict[int, Literal["killed", "survived"]] = {0: "survived", 1: "killed"}
    return Verdict("broken" if f"\n{USED_UP}" in said else fates.get(code, "broken"), said)


@cache
def _forks() -> Any:  # a process whose two streams are there
    """Start the process that runs the tests, once in this process."""
    command = [sys.executable, str(Path(__file__).with_name("forks.py"))]
    forks = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own script
    atexit.register(forks.communicate)  # it ends with its input
    return forks

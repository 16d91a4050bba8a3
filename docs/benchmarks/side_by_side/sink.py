"""Reading what jobs said in their sink."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from attrs import frozen


@frozen
class Line:
    """One thing that happened to a job: accepted, begun, begun again and told so, ended."""

    what: str
    number: int
    at_s: float
    process: int


@frozen
class Runs:
    """What a sink says.

    Attributes:
        lines: everything, in order.
    """

    lines: tuple[Line, ...]

    @property
    def ended(self) -> dict[int, float]:
        """When each job ended first."""
        found: dict[int, float] = {}
        for line in self.lines:
            if line.what == "end":
                found.setdefault(line.number, line.at_s)
        return found

    @property
    def accepted(self) -> set[int]:
        """The jobs that the system said it has."""
        return {line.number for line in self.lines if line.what == "accepted"}

    @property
    def begun(self) -> Counter[int]:
        """How often each job began."""
        return Counter(line.number for line in self.lines if line.what.startswith("begin"))

    @property
    def marked(self) -> set[int]:
        """The jobs that were told that they run again."""
        return {line.number for line in self.lines if line.what == "begin-again"}


def read_sink(path: Path) -> Runs:
    """Read a sink; a line that is not whole yet is left out."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    whole = text[: text.rfind("\n") + 1].splitlines()
    lines = (line.split() for line in whole)
    return Runs(tuple(Line(what, int(number), int(at) / 1e9, int(process)) for what, number, at, process in lines))


def wait_for(path: Path, jobs: int, timeout_s: float, every_s: float = 0.01) -> Runs:
    """Wait until so many jobs ended, or until the time is up."""
    until = time.monotonic() + timeout_s
    while True:
        if path.exists() and path.read_bytes().count(b"end ") >= jobs:
            runs = read_sink(path)
            if len(runs.ended) >= jobs:
                return runs
        if time.monotonic() > until:
            return read_sink(path)
        time.sleep(every_s)

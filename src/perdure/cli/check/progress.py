"""How far a check is, on a terminal."""

from __future__ import annotations

from typing import Final, TextIO

import attrs

from perdure.cli.check.report import Report

EVERY_ROWS: Final = 5_000
"""Rows between two signs of life."""


@attrs.define
class Progress:
    """Writes one line over and over.

    Attributes:
        terminal: where to.
    """

    terminal: TextIO
    _told: int = 0

    def show(self, report: Report) -> None:
        """Say how many rows were looked at, now and then."""
        rows = sum(report.seen.values())
        if rows - self._told >= EVERY_ROWS:
            self._told = rows
            self.terminal.write(f"\rperdure: looked at {rows:,} rows, {report.problems(frozenset()):,} problems")
            self.terminal.flush()

    def clear(self) -> None:
        """Leave the line as it was."""
        if self._told:
            self.terminal.write("\r\x1b[K")


def silent(_: Report) -> None:
    """Say nothing: nobody is looking."""

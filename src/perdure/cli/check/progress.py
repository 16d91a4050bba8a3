"""How far a check is, on a terminal."""

from __future__ import annotations

from typing import Final

import attrs

from perdure.cli.check.report import CheckReport
from perdure.cli.progress_line import ProgressLine

EVERY_ROWS: Final = 5_000
"""Rows between two signs of life."""


@attrs.define
class Progress:
    """Tells of rows, now and then.

    Attributes:
        line: where to.
    """

    line: ProgressLine
    _told: int = 0

    def show(self, report: CheckReport) -> None:
        """Say how many rows were looked at."""
        rows = sum(report.seen.values())
        if rows - self._told >= EVERY_ROWS:
            self._told = rows
            self.line.show(f"looked at {rows:,} rows, {report.problems(frozenset()):,} problems")


def silent(_: CheckReport) -> None:
    """Say nothing: nobody is looking."""

"""The progress of a check, on a terminal."""

from __future__ import annotations

from typing import Final

import attrs

from perdure.cli.check.report import CheckReport
from perdure.cli.progress_line import ProgressLine

EVERY_ROWS: Final = 5_000
"""Rows between two updates of the progress line."""


@attrs.define
class Progress:
    """Reports the number of checked rows.

    Attributes:
        line: the progress line.
    """

    line: ProgressLine
    _told: int = 0

    def show(self, report: CheckReport) -> None:
        """Report the number of checked rows, at most once every 5,000 rows."""
        rows = sum(report.seen.values())
        if rows - self._told >= EVERY_ROWS:
            self._told = rows
            problems = report.problems(frozenset())
            self.line.show(f"checked {rows:,} rows, {problems:,} {'problem' if problems == 1 else 'problems'}")


def silent(_: CheckReport) -> None:
    """Report nothing."""

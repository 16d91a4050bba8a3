"""Lanes: how the queued instances of a job take turns, and how many of them may run."""

from __future__ import annotations

from datetime import timedelta

from perdure.values.errors import DefinitionError
from perdure.values.frozen import frozen
from perdure.values.times import duration_ms, format_duration

MAX_RATE = 100_000
"""The largest number of a rate: the engine remembers when each run within the window began."""


@frozen
class Rate:
    """At most this many runs begin in any window of this length.

    Attributes:
        runs: the number.
        window_ms: the length, in milliseconds.
    """

    runs: int
    window_ms: int

    def __str__(self) -> str:
        return f"{self.runs:,} in {format_duration(self.window_ms)}"


@frozen(kw_only=True)
class Lanes:
    """The limits of a job whose instances wait in lanes. Within a lane, the least rank comes first. Lanes take turns.

    Attributes:
        lane_slots: at most this many concurrent runs of one lane. None: only the job's own limit.
        rate: the job's limit.
        lane_rate: each lane's limit.
    """

    lane_slots: int | None = None
    rate: Rate | None = None
    lane_rate: Rate | None = None


def rate_of(value: object, *, what: str) -> Rate | None:
    """Check a rate, such as ``(100, "1 minute")``.

    Raises:
        DefinitionError: it is not a number of runs with a duration.
    """
    match value:
        case None:
            return None
        case (int() as runs, str() | timedelta() as window) if type(runs) is int and 1 <= runs <= MAX_RATE:
            return Rate(runs, duration_ms(window, what=f"window of the {what}"))
        case _:
            expected = f'a number from 1 to {MAX_RATE:,} and a duration, such as (100, "1 minute"), or None'
            raise DefinitionError(what, value, expected)

"""Time in programs: answered by the runtime, so that a simulation can make it virtual."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Never

from perdure.programs.container import Program
from perdure.programs.effects import perform
from perdure.programs.instructions import Now, Sleep, SleepUntil
from perdure.values.times import due_ms, duration_ms


def sleep(duration: timedelta | str) -> Program[None, Never, object]:
    """Wait in memory: a crash discards the wait. To wait durably, a job sets its alarm.

    Args:
        duration: a `timedelta`, or text such as ``"30 seconds"``. Microseconds are rounded up to the next millisecond;
            0 lets other programs run.

    Raises:
        DefinitionError: the duration is negative or not valid. `sleep_until` takes an instant that may be past.
    """
    return perform(Sleep(duration_ms(duration, what="sleep", minimum_ms=0)))


def sleep_until(instant: datetime) -> Program[None, Never, object]:
    """Wait in memory until the clock shows an instant; a past one ends the wait immediately.

    Args:
        instant: an aware `datetime`. Microseconds are rounded up to the next millisecond.

    Raises:
        DefinitionError: the instant is not an aware `datetime`.
    """
    return perform(SleepUntil(due_ms(instant, what="sleep_until")))


def now() -> Program[datetime, Never, object]:
    """Return the wall clock of the runtime, as an aware UTC `datetime`, to the millisecond."""
    return perform(Now()).map(_instant)


def _instant(now_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=now_ms)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

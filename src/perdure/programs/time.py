"""Time in programs: answered by the runtime, so that a simulation can make it virtual."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Never

from perdure.programs.container import Program
from perdure.programs.effects import perform
from perdure.programs.instructions import Now, Sleep
from perdure.values.duration import duration_ms


def sleep(duration: timedelta | str) -> Program[None, Never, object]:
    """Wait in memory: a crash discards the wait. To wait durably, a job sets its alarm.

    Args:
        duration: a `timedelta`, or text such as ``"30 seconds"``.

    Raises:
        DefinitionError: the duration is not valid.
    """
    return perform(Sleep(duration_ms(duration, what="sleep")))


def now() -> Program[datetime, Never, object]:
    """Return the wall clock of the runtime, as an aware UTC `datetime`, to the millisecond."""
    return perform(Now()).map(_instant)


def _instant(now_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=now_ms)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

"""What a pure decider answers: the next state, what becomes of the alarm, and messages to send."""

from __future__ import annotations

from datetime import datetime
from typing import Generic, TypeAlias, TypeVar

import attrs

from perdure.program import Program
from perdure.values.duration import Duration, duration_ms
from perdure.values.instant import to_ms
from perdure.values.turn_value import turn_value

S_co = TypeVar("S_co", covariant=True)


@attrs.frozen
class Keep:
    """Leave the alarm as it is."""


@attrs.frozen
class After:
    """Set the alarm so long after the turn commits."""

    delay: Duration

    def __attrs_post_init__(self) -> None:
        duration_ms(self.delay, what="delay of an alarm", minimum_ms=0)


@attrs.frozen
class At:
    """Set the alarm to an instant, an aware ``datetime``; one that is past fires at once."""

    instant: datetime

    def __attrs_post_init__(self) -> None:
        to_ms(self.instant, what="instant of an alarm")


@attrs.frozen
class Cancel:
    """Remove the alarm."""


AlarmChange: TypeAlias = Keep | After | At | Cancel


@turn_value(kw_only=False)
class Decision(Generic[S_co]):
    """The whole answer of a pure state machine to one event.

    Attributes:
        state: the next state.
        alarm: what becomes of the alarm.
        messages: what to tell other jobs, made with ``tell(...)``.
    """

    state: S_co
    alarm: AlarmChange = Keep()
    messages: tuple[Program[None], ...] = ()


def alarm_ms(change: AlarmChange, *, current_ms: int | None, now_ms: int) -> int | None:
    """Resolve what becomes of an alarm, integer milliseconds UTC."""
    match change:
        case Keep():
            return current_ms
        case After(delay):
            return now_ms + duration_ms(delay, what="delay of an alarm", minimum_ms=0)
        case At(instant):
            return to_ms(instant, what="instant of an alarm")
        case Cancel():
            return None

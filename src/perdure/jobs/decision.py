"""The result of a pure decider: the next state, the change of the alarm, and messages to send."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Generic, TypeAlias, TypeVar, final

from perdure.programs import Program
from perdure.values.excerpt import fields_in_line
from perdure.values.frozen import frozen, turn_value
from perdure.values.times import Duration, due_ms, duration_ms

S_co = TypeVar("S_co", covariant=True)


@frozen
class KeepAlarm:
    """Leave the alarm as it is."""


@frozen
class AlarmAfter:
    """Set the alarm to this long after the turn commits."""

    delay: Duration

    def __attrs_post_init__(self) -> None:
        duration_ms(self.delay, what="delay of an alarm", minimum_ms=0)


@frozen
class AlarmAt:
    """Set the alarm to an instant, an aware ``datetime``; a past one fires at once."""

    instant: datetime

    def __attrs_post_init__(self) -> None:
        due_ms(self.instant, what="instant of an alarm")


@frozen
class ClearAlarm:
    """Remove the alarm."""


AlarmChange: TypeAlias = KeepAlarm | AlarmAfter | AlarmAt | ClearAlarm
"""The change of the alarm: `Alarm.keep`, `Alarm.after(...)`, `Alarm.at(...)` or `Alarm.clear`."""


@final
class Alarm:
    """The four changes that a decision can make to the alarm of its task.

    >>> Alarm.after("5 minutes")
    AlarmAfter(delay='5 minutes')
    """

    keep: ClassVar[AlarmChange] = KeepAlarm()
    """Leave the alarm as it is."""

    clear: ClassVar[AlarmChange] = ClearAlarm()
    """Remove the alarm."""

    @staticmethod
    def after(delay: Duration, /) -> AlarmChange:
        """Set the alarm to this long after the turn commits.

        Args:
            delay: a ``timedelta``, or text such as ``"5 minutes"``; 0 fires at once.

        Raises:
            DefinitionError: the delay is negative or not a duration.
        """
        return AlarmAfter(delay)

    @staticmethod
    def at(instant: datetime, /) -> AlarmChange:
        """Set the alarm to an instant. A past one fires at once.

        Args:
            instant: an aware ``datetime``.

        Raises:
            DefinitionError: the instant has no time zone.
        """
        return AlarmAt(instant)


@turn_value(kw_only=False)
class Decision(Generic[S_co]):
    """The result of a pure state machine for one event.

    Attributes:
        state: the next state.
        alarm: the change of the alarm, such as ``Alarm.after("5 minutes")``.
        messages: messages to other jobs, created with ``tell(...)``.
    """

    __repr__ = fields_in_line

    state: S_co
    alarm: AlarmChange = Alarm.keep
    messages: tuple[Program[None], ...] = ()


def alarm_ms(change: AlarmChange, *, current_ms: int | None, now_ms: int) -> int | None:
    """Return the alarm after a change, as integer milliseconds UTC; None for no alarm."""
    match change:
        case KeepAlarm():
            return current_ms
        case AlarmAfter(delay):
            return now_ms + duration_ms(delay, what="delay of an alarm", minimum_ms=0)
        case AlarmAt(instant):
            return due_ms(instant, what="instant of an alarm")
        case ClearAlarm():
            return None

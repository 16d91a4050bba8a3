"""A hook's context: its attributes are plain values, and its actions are programs.

A context's operations are data, which the run's `Draft` performs. A `Decision` is a pure decider's result: the next
state, the alarm's change, and messages to send.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Never, TypeAlias, TypeVar, cast, final

import attrs

from perdure.codecs import Codec
from perdure.programs import Instruction, Program, halt, now, perform
from perdure.programs.container import node
from perdure.programs.instructions import PERFORM
from perdure.values.address import Address
from perdure.values.excerpt import excerpt, fields_in_line
from perdure.values.frozen import frozen, turn_value
from perdure.values.times import Duration, due_ms, duration_ms

if TYPE_CHECKING:
    from perdure.runtime.tasks import RunIdentity
    from perdure.values.instance import Instance


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
    """Set the alarm to an instant, an aware ``datetime``. A past one fires at once."""

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
    """The four changes that a decision can make to the task's alarm.

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
            delay: a ``timedelta``, or text such as ``"5 minutes"``. 0 fires immediately.

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
    """A pure state machine's result for one event.

    Attributes:
        state: the next state.
        alarm: the alarm's change, such as ``Alarm.after("5 minutes")``.
        messages: messages to other jobs, created with ``tell(...)``.
    """

    __repr__ = fields_in_line

    state: S_co
    alarm: AlarmChange = Alarm.keep
    messages: tuple[Program[None], ...] = ()


def alarm_ms(change: AlarmChange, *, current_ms: int | None, now_ms: int) -> int | None:
    """Return the alarm after a change, as integer milliseconds UTC. None for no alarm."""
    match change:
        case KeepAlarm():
            return current_ms
        case AlarmAfter(delay):
            return now_ms + duration_ms(delay, what="delay of an alarm", minimum_ms=0)
        case AlarmAt(instant):
            return due_ms(instant, what="instant of an alarm")
        case ClearAlarm():
            return None


@frozen
class GetState(Instruction[Any, Never]):
    """Read the state."""


@turn_value
class SetState(Instruction[None, Never]):
    """Replace the state."""

    __repr__ = fields_in_line

    state: object


@frozen
class UpdateState(Instruction[None, Never]):
    """Replace the state with a function's result."""

    function: Callable[[object], object]


@frozen
class GetAlarm(Instruction[datetime | None, Never]):
    """Read when the alarm is due."""


@frozen
class SetAlarm(Instruction[None, Never]):
    """Set, clear or keep the alarm."""

    change: AlarmChange


@frozen
class Post(Instruction[None, Never]):
    """Send a message with this turn's commit.

    Attributes:
        codec: encodes the input. None if the command takes none.
    """

    __repr__ = fields_in_line

    target: Address
    action: str
    value: object
    codec: Codec[Any] | None = attrs.field(eq=False, repr=False)

    def payload(self, encode: Callable[[Codec[Any], object], bytes] = Codec[Any].encode) -> str:
        """Return the input as JSON.

        Raises:
            InvalidInput: it does not have the declared type.
        """
        return "" if self.codec is None else encode(self.codec, self.value).decode()


S = TypeVar("S")

_ADDRESS_CHARACTERS = 80


READ_STATE: Program[Any] = perform(GetState())
"""One program for all contexts: it holds no data of any of them."""


@frozen
class EndInstance:
    """The ``ctx.terminate`` signal: purge the instance for this reason."""

    __repr__ = fields_in_line

    reason: str


@frozen
class RunInterrupted:
    """The signal in a run that a stored request stopped. See ``Definition.interrupts``."""


@turn_value(repr=False)
class JobContext(Generic[S]):
    """The hook context that every job kind has.

    Args:
        instance: the stored instance.
        claim: the run's claim.
    """

    _instance: Instance
    _claim: RunIdentity

    def __repr__(self) -> str:
        address = excerpt(str(self._instance.address), _ADDRESS_CHARACTERS)[1:-1]
        return (
            f"<{type(self).__name__} of {address}: run {self.run_id}, attempt {self.attempt}, delivery {self.delivery}>"
        )

    @property
    def id(self) -> str:
        """The instance's id."""
        return self._instance.address.id

    @property
    def job(self) -> str:
        """The job's name."""
        return self._instance.address.name

    @property
    def run_id(self) -> str:
        """The same for all a run's attempts and deliveries, so an idempotency key for external services."""
        return self._claim.run_id

    @property
    def attempt(self) -> int:
        """This run's failure count, plus 1. It continues when a parked run is resumed."""
        return self._claim.attempt

    @property
    def delivery(self) -> int:
        """This attempt's claim count. Above 1, the run may already have had effects."""
        return self._claim.deliveries

    @property
    def run_count(self) -> int:
        """This run's number, from 1. Inside an event handler, how many runs have begun."""
        return self._instance.run_count

    @property
    def is_retry(self) -> bool:
        """Whether this run was attempted or delivered before."""
        return self.attempt > 1 or self.delivery > 1

    @property
    def state(self) -> Program[S]:
        """Read the state, including this run's own changes."""
        return READ_STATE

    @property
    def now(self) -> Program[datetime]:
        """Read the clock, as an aware instant in UTC."""
        return now()

    def set_state(self, state: S) -> Program[None]:
        """Replace the state. A value that does not have the declared type raises, and is a defect in the run."""
        return node(PERFORM, SetState(state))  # as `perform` does, which every event would call

    def update_state(self, function: Callable[[S], S]) -> Program[None]:
        """Replace the state with a function's result.

        Args:
            function: takes the current state and returns the new one.

        Raises:
            TypeError: `function` is not a function, for example a state.
        """
        given = cast("object", function)
        if not callable(given) or isinstance(given, Program):
            raise TypeError(
                f"update_state expects a function of the state, such as `lambda state: ...`; got {excerpt(function)}; "
                "to store a value use set_state"
            )
        return perform(UpdateState(cast("Callable[[object], object]", function)))

    def terminate(self, reason: str = "terminated") -> Program[Never]:
        """End the run here, clear the alarm and purge the instance.

        Messages to other instances are sent. Messages to this instance are dropped.
        """
        return halt(EndInstance(reason))

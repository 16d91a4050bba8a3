"""A task's context, commands and hooks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Generic, Literal, NoReturn, TypeAlias, TypeVar

import attrs

from perdure.jobs.context import Alarm, Decision, GetAlarm, JobContext, SetAlarm
from perdure.jobs.request import TriggerOptions
from perdure.programs import Program, perform, traverse
from perdure.values.errors import DefinitionError
from perdure.values.excerpt import fields_in_line
from perdure.values.frozen import frozen, turn_value
from perdure.values.times import Duration, from_ms
from perdure.values.turn_inputs import Decoded

S = TypeVar("S")
V = TypeVar("V")


@turn_value
class SendCommand:
    """Handle an event."""

    __repr__ = fields_in_line

    event: Any  # of the definition's own type


@frozen
class TriggerTaskCommand:
    """Run ``execute`` now: the next attempt if a run waits for a retry, else a new run."""

    options: TriggerOptions = TriggerOptions()


@turn_value(repr=False)
class TaskContext(JobContext[S], Generic[S]):
    """The context that a task's hooks receive. ``run_count`` counts ``execute`` runs, including one in progress."""

    @property
    def event_count(self) -> int:
        """How many events the instance accepted before this one."""
        return self._instance.event_count

    @property
    def created_at(self) -> datetime:
        """When the instance was created."""
        return from_ms(self._instance.created_ms)

    @property
    def is_first_event(self) -> bool:
        """Whether no event was accepted before."""
        return self.event_count == 0

    @property
    def scheduled_at(self) -> Program[datetime | None]:
        """Read when the alarm is due, including this turn's own changes. A firing alarm is consumed."""
        return perform(GetAlarm())

    def schedule(self, *, after: Duration | None = None, at: datetime | None = None) -> Program[None]:
        """Set the alarm. The last call in a turn wins.

        Args:
            after: this long after the turn commits, such as ``"5 minutes"``.
            at: an aware instant. A past one fires at once.

        Raises:
            DefinitionError: neither or both were passed, or the value is invalid.
        """
        # Each with the other one absent: both, or neither, is a mistake that must not pick one silently.
        if after is not None and at is None:
            return perform(SetAlarm(Alarm.after(after)))
        if at is not None and after is None:
            return perform(SetAlarm(Alarm.at(at)))
        raise DefinitionError("ctx.schedule", (after, at), "either after=... or at=...")

    def cancel_schedule(self) -> Program[None]:
        """Clear the alarm."""
        return perform(SetAlarm(Alarm.clear))

    def apply(self, decision: Decision[S]) -> Program[None]:
        """Apply a pure decider's decision: its state, its alarm, its messages."""
        adopted = self.set_state(decision.state).bind(lambda _: self._change_alarm(decision))
        if not decision.messages:
            return adopted
        return adopted.bind(lambda _: traverse(decision.messages, _itself)).map(lambda _: None)

    def _change_alarm(self, decision: Decision[S]) -> Program[None]:
        return perform(SetAlarm(decision.alarm))


FailedHook: TypeAlias = Literal["on_event", "execute"]
"""The hooks whose failure ``on_error`` handles. A pure ``decide`` is the job's ``on_event``."""


@turn_value(repr=False)
class TaskErrorContext(TaskContext[S], Generic[S, V]):
    """The context that ``on_error`` receives.

    Attributes:
        failed_hook: the hook that failed.
        event: the event that ``on_event`` failed on. None if ``execute`` failed.
        failed_draft: the state as the failed hook left it.
    """

    failed_hook: FailedHook = attrs.field(kw_only=True)
    event: V | None = attrs.field(default=None, kw_only=True)
    failed_draft: S | None = attrs.field(default=None, kw_only=True)


def _no_execute(change: object) -> DefinitionError:
    expected = "execute=... in the definition of the task, which runs when the alarm fires; or set no alarm"
    return DefinitionError("alarm of a task without execute", change, expected)


class _Alarmless:
    """A task's operations without ``execute``: an alarm would fire for nothing, days later."""

    __slots__ = ()

    def schedule(self, *, after: Duration | None = None, at: datetime | None = None) -> NoReturn:
        """Refuse to set an alarm."""
        raise _no_execute(at if after is None else after)

    def _change_alarm(self, decision: Decision[Any]) -> Program[None]:
        if decision.alarm not in (Alarm.keep, Alarm.clear):
            raise _no_execute(decision.alarm)
        return perform(SetAlarm(decision.alarm))


@turn_value(repr=False)
class AlarmlessTaskContext(_Alarmless, TaskContext[S], Generic[S]):
    """The context that hooks receive in a task without ``execute``."""


@turn_value(repr=False)
class AlarmlessTaskErrorContext(_Alarmless, TaskErrorContext[S, V], Generic[S, V]):
    """The context that ``on_error`` receives in a task without ``execute``."""


def _itself(message: Program[None]) -> Program[None]:
    return message


HookProgram = Callable[..., Program[Any, Any, Any]]  # a user's hook, of any types


@frozen(kw_only=True)
class TaskHooks:
    """The user's functions, each wrapped to return a program.

    Attributes:
        first: every instance's first state, if it is a value that can be kept in place of its JSON.
        execute: None if the task has none: then no hook may set an alarm.
    """

    initial: Callable[[str], object]
    first: Decoded | None
    on_event: HookProgram
    execute: HookProgram | None
    on_idle: HookProgram | None
    on_error: HookProgram | None
    context: type[TaskContext[Any]] = TaskContext
    error_context: type[TaskErrorContext[Any, Any]] = TaskErrorContext

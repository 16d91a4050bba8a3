"""Requests as values, and the model of a job: the expected effect of an event on a state.

A state machine draws requests and records them with their results. `ModelCheck` compares the job with its model,
event by event.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

import attrs
from returns.result import Result, Success

from perdure.jobs.context import AlarmChange, Decision, KeepAlarm, alarm_ms
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import PAUSE, RESUME, TERMINATE, CommandSpec, Request
from perdure.values.excerpt import fields_in_line
from perdure.values.instance import Instance
from perdure.values.limits import Limits

NO_INPUT = None


@attrs.frozen
class DrawnRequest:
    """A drawn request.

    Attributes:
        action: the command, by name.
        id: the instance.
        input: the input of the command; None when it takes none.
    """

    action: str
    id: str
    input: Any = NO_INPUT  # of the command's own type

    def __repr__(self) -> str:
        taken = "" if self.input is NO_INPUT else f", {self.input!r}"
        return f"{self.action}({self.id!r}{taken})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: FBT001 - as Hypothesis and IPython call it
        printer.text(repr(self))


@attrs.define
class SentRequest:
    """A request that was made, with its key and its result; None: not yet known, or unknown."""

    ask: DrawnRequest
    key: str
    at_ms: int
    result: Result[Any, Any] | None = None  # of any command, or a CallError


def spec_of(job: AnyDefinition, action: str) -> CommandSpec[Any]:
    """Return a command of a job."""
    shared = {spec.name: spec for spec in (TERMINATE, PAUSE, RESUME)}
    return {**shared, **job.plan.commands}[action]


def request_of(job: AnyDefinition, ask: DrawnRequest, key: str, limits: Limits) -> Request:
    """Return the request, as a typed handle builds it.

    Raises:
        InvalidInput: the input does not have the command's type.
    """
    spec = spec_of(job, ask.action)
    if spec.input is None:
        return Request(command=spec.command(), action=ask.action, idempotency_key=key)
    payload = job.encode_input(ask.action, ask.input, limits.payload_bytes)
    return Request(command=spec.command(ask.input), action=ask.action, payload=payload, idempotency_key=key)


S = TypeVar("S")
V = TypeVar("V")


@attrs.frozen
class Model(Generic[S, V]):
    """The expected effects of a job's events.

    Args:
        initial: the state before the first event: a value, or a function of the id.
        decide: returns the next state or a `Decision` for a state and an event; a ``Failure`` refuses the event.
        command: the command that carries the events; by default the first of the kind that may create an instance.

    A job agrees with its model when each event that it accepts results in the model's state (and alarm, if the model
    returns a `Decision`), and when it refuses exactly the events that the model refuses, except for an error that a
    service returned.
    """

    __repr__ = fields_in_line

    initial: S | Callable[[str], S]
    decide: Callable[[S, V], Result[Decision[S] | S, Any] | Decision[S] | S]
    command: str | None = attrs.field(default=None, kw_only=True)

    def first(self, id_: str) -> S:
        """Return the state before the first event of an instance."""
        initial: Any = self.initial
        return cast("S", initial(id_)) if callable(initial) else cast("S", initial)

    def after(self, state: S, event: V) -> Result[tuple[S, AlarmChange | None], Any]:
        """Return the next state, and the change of the alarm if the model declares it; or why the event is refused."""
        decided: Result[Any, Any] = _as_result(self.decide(state, event))
        return decided.map(_parts)


def _as_result(decided: Any) -> Result[Any, Any]:  # the result of the test's function
    return decided if isinstance(decided, Result) else Success(decided)  # pyright: ignore[reportUnknownVariableType] # of anything


def _parts(decided: Any) -> tuple[Any, AlarmChange | None]:
    decision = cast("Decision[Any]", decided)
    return (decision.state, decision.alarm) if isinstance(decided, Decision) else (decided, None)


@attrs.frozen
class ModelCheck:
    """Compares a job with its model.

    Attributes:
        job: the definition.
        model: the expected effects of its events.
        command: the command that carries them.
    """

    job: AnyDefinition
    model: Model[Any, Any]  # of the job's own types
    command: str

    def of_accepted(self, made: SentRequest, before: Instance | None, after: Instance, at_ms: int) -> str | None:
        """Compare the effect of an accepted event with the model; return the difference, or None."""
        if made.ask.action != self.command:
            return None
        state = self._found_by_events(before, made.ask.id)
        expected = self.model.after(state, made.ask.input)
        if not isinstance(expected, Success):
            return f"{made.ask!r} was accepted in {state!r}, and the model refuses it with {expected.failure()!r}"
        wanted, change = expected.unwrap()
        found = self._found_by_events(after, made.ask.id)
        if found != wanted:
            return f"{made.ask!r} made {found!r} of {state!r}, and the model makes {wanted!r}"
        if change is not None and not _allowed(change, before, after, made.at_ms, at_ms):
            return f"{made.ask!r} left the alarm at {after.alarm_ms} ms, and the model says {change!r} (at {at_ms} ms)"
        return None

    def of_refused(self, made: SentRequest, before: Instance | None, error: object) -> str | None:
        """Compare a refusal with the model; return the difference, or None."""
        if made.ask.action != self.command:
            return None
        state = self._found_by_events(before, made.ask.id)
        if isinstance(self.model.after(state, made.ask.input), Success):
            return f"{made.ask!r} was refused in {state!r} with {error!r}, and the model accepts it"
        return None

    def _found_by_events(self, instance: Instance | None, id_: str) -> Any:  # of the job's own type
        """Return the state before an event of an instance."""
        state = None if instance is None else self.job.visible_state(instance)
        return self.model.first(id_) if state is None else state


def _allowed(change: AlarmChange, before: Instance | None, after: Instance, asked_ms: int, at_ms: int) -> bool:
    """Return whether an alarm results from a change that was made between the request and its commit."""
    current_ms = None if before is None else before.alarm_ms
    if isinstance(change, KeepAlarm):
        return after.alarm_ms == current_ms
    earliest, latest = (alarm_ms(change, current_ms=current_ms, now_ms=now_ms) for now_ms in (asked_ms, at_ms))
    if earliest is None or latest is None or after.alarm_ms is None:
        return after.alarm_ms is earliest is latest
    return earliest <= after.alarm_ms <= latest

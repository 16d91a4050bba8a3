"""A model of a job: the expected effect of an event on a state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

import attrs
from returns.result import Result, Success

from perdure.jobs.context import AlarmChange, Decision
from perdure.values.excerpt import fields_in_line

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

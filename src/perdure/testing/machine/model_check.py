"""The comparison of a job with its model, event by event."""

from __future__ import annotations

from typing import Any

import attrs
from returns.result import Success

from perdure.jobs.context import AlarmChange, KeepAlarm, alarm_ms
from perdure.jobs.definition import AnyDefinition
from perdure.testing.machine.model import Model
from perdure.testing.machine.requests import SentRequest
from perdure.values.instance import Instance


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

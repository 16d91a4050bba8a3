"""What every decision records beside its own: the trace context, who caused it, and the state in its events."""

from __future__ import annotations

from typing import Any, Final

import attrs

from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import Request
from perdure.jobs.step import Commit, Execute, Mark, Step
from perdure.jobs.transitions import stored
from perdure.values.event import DebounceFlushed, Event, JobExecuted, JobStarted
from perdure.values.instance import Claim, Instance
from perdure.values.message import Message
from perdure.values.transition import Put, Transition


def with_trace(step: Step, before: Instance | None, trace: str | None) -> Step:
    """Return a decision whose writes carry its turn's trace context.

    Args:
        step: the decision.
        before: the stored instance. None if there is none.
        trace: the context. None if the turn is not traced.
    """
    match step:
        case Commit():
            transition = _transition(step.transition, before, trace)
            return step if transition is step.transition else Commit(transition, step.result)
        case Execute():
            claim = step.claim if trace is None else attrs.evolve(step.claim, trace=trace)
            claiming = step.claiming and _claiming(_transition(step.claiming, before, trace), claim)
            return attrs.evolve(step, claim=claim, claiming=claiming)
        case Mark():
            claim = step.claim if trace is None else attrs.evolve(step.claim, trace=trace)
            transition = _claiming(_transition(step.transition, before, trace), claim)
            return attrs.evolve(step, claim=claim, transition=transition)
        case _:
            return step


def _claiming(transition: Transition, claim: Claim) -> Transition:
    """Return the transition that records a claim, with the claim that has the trace context."""
    if not isinstance(transition.write, Put):
        return transition
    instance = transition.write.instance
    field = "claim" if instance.claim is not None and instance.claim.run_id == claim.run_id else "event_claim"
    return attrs.evolve(transition, write=Put(instance.changed(**{field: claim})))


def _transition(transition: Transition, before: Instance | None, trace: str | None) -> Transition:
    changes: dict[str, Any] = {}  # fields of Transition
    if trace is not None and transition.messages:
        changes["messages"] = tuple(attrs.evolve(message, trace=trace) for message in transition.messages)
    if isinstance(transition.write, Put):
        fields = _fields(transition.write.instance, before, trace)
        if fields:
            changes["write"] = Put(transition.write.instance.changed(**fields))
    return attrs.evolve(transition, **changes) if changes else transition


def _fields(after: Instance, before: Instance | None, trace: str | None) -> dict[str, Any]:
    """Return an instance's changed fields. An alarm or a retry that the turn did not set keeps its context."""
    fields: dict[str, Any] = {}
    if after.alarm_ms is None:
        alarm_trace = None
    # An alarm that this turn did not set belongs to the trace that set it.
    elif before is not None and before.alarm_ms == after.alarm_ms:
        alarm_trace = before.alarm_trace
    else:
        alarm_trace = trace
    if after.alarm_trace != alarm_trace:
        fields["alarm_trace"] = alarm_trace
    retry = after.pending_retry
    is_new = retry is not None and (before is None or retry is not before.pending_retry)
    if retry is not None and is_new and retry.trace is None and trace is not None:
        fields["pending_retry"] = attrs.evolve(retry, trace=trace)
    return fields


MAX_TOLD: Final = 20
"""The number of receivers that an event names."""


def with_origin(step: Step, request: Request) -> Step:
    """Return a decision whose events name its request's origin.

    Args:
        step: the decision.
        request: the request.
    """
    told_by = None if request.inbound is None else str(request.inbound.sender)
    if request.by is None and told_by is None:
        return step
    match step:
        case Commit():
            return Commit(_named(step.transition, request.by, told_by), step.result)
        case Execute(claiming=Transition() as claiming):
            return attrs.evolve(step, claiming=_named(claiming, request.by, told_by))
        case _:
            return step


def with_origin_of_run(commit: Commit, execute: Execute) -> Commit:
    """Return a run's end, with events that name its origin and its messages' receivers.

    Args:
        commit: the decision about its end.
        execute: the run. Its claim names the origin, so that a delivery after a crash has it too.
    """
    claim, messages = execute.claim, commit.transition.messages
    if claim.by is None and claim.message_sender is None and not messages:
        return commit
    return Commit(_named(commit.transition, claim.by, claim.message_sender, messages), commit.result)


def _named(
    transition: Transition, by: str | None, told_by: str | None, messages: tuple[Message, ...] = ()
) -> Transition:
    if not transition.events:
        return transition
    # `dict.fromkeys` keeps the order of sending; a set would make the event differ between two runs of a simulation.
    told = tuple(dict.fromkeys(str(message.target) for message in messages))[:MAX_TOLD]
    return attrs.evolve(transition, events=tuple(_event(event, by, told_by, told) for event in transition.events))


def _event(event: Event, by: str | None, told_by: str | None, told: tuple[str, ...]) -> Event:
    changes: dict[str, Any] = {"by": by}  # fields of the event
    if isinstance(event, JobStarted | JobExecuted):
        changes["told_by"] = told_by
    if isinstance(event, JobExecuted):
        changes["told"] = told
    return attrs.evolve(event, **changes)


WITH_STATE: Final = (JobStarted, JobExecuted, DebounceFlushed)
"""The events that can carry a state."""


def with_state(job: AnyDefinition, step: Step) -> Step:
    """Add the state that a decided request leaves to its events.

    Args:
        job: the instance's definition.
        step: the decision. A run's claim is written with the state at the run's start.
    """
    if not job.plan.state_in_events:
        return step
    match step:
        case Commit():
            return Commit(_with_state(step.transition, _state_after(step.transition)), step.result)
        case Execute(claiming=Transition() as claiming):
            return attrs.evolve(step, claiming=_with_state(claiming, _state_after(claiming)))
        case _:
            return step


def with_state_of_run(job: AnyDefinition, execute: Execute, commit: Commit) -> Commit:
    """Add a state to a settled run's events: the committed one, or the state at its start if it set none.

    Args:
        job: the instance's definition.
        execute: the run.
        commit: the decision about its end.
    """
    if not job.plan.state_in_events:
        return commit
    drafted, committed = execute.draft.encoded, _state_after(commit.transition)
    began_with = job.state_of_run(execute.instance, execute.claim)
    # A draft that was not committed, such as that of a failed run, must not appear in the log.
    state = committed if drafted is not None and drafted == committed else began_with
    return Commit(_with_state(commit.transition, state), commit.result)


def _state_after(transition: Transition) -> str:
    after = stored(transition)
    return "" if after is None else after.state


def _with_state(transition: Transition, state: str) -> Transition:
    if not state or not any(isinstance(event, WITH_STATE) for event in transition.events):
        return transition
    return attrs.evolve(transition, events=tuple(_carrying(event, state) for event in transition.events))


def _carrying(event: Event, state: str) -> Event:
    return attrs.evolve(event, state=state) if isinstance(event, WITH_STATE) else event

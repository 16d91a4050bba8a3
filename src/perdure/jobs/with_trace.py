"""Writes the trace context of a turn into what later turns are caused by: claims, retries, messages, the alarm."""

from __future__ import annotations

from typing import Any

import attrs

from perdure.jobs.step import Commit, Execute, Mark, Step
from perdure.values.instance import Claim, Instance
from perdure.values.transition import Put, Transition


def with_trace(step: Step, before: Instance | None, trace: str | None) -> Step:
    """Return a decision whose writes carry the trace context of its turn.

    Args:
        step: the decision.
        before: the stored instance; None if there is none.
        trace: the context; None if the turn is not traced.
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
    """Return the changed fields of an instance. An alarm or a retry that the turn did not set keeps its context."""
    fields: dict[str, Any] = {}
    if after.alarm_ms is None:
        alarm_trace = None
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

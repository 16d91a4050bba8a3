"""Adds the state to the events of a transition, if the definition enables it."""

from __future__ import annotations

from typing import Final

import attrs

from perdure.jobs.definition import AnyDefinition
from perdure.jobs.step import Commit, Execute, Step
from perdure.jobs.writes import stored
from perdure.values.event import DebounceFlushed, Event, JobExecuted, JobStarted
from perdure.values.transition import Transition

WITH_STATE: Final = (JobStarted, JobExecuted, DebounceFlushed)
"""The events that can carry a state."""


def with_state(job: AnyDefinition, step: Step) -> Step:
    """Add the state that a decided request leaves to its events.

    Args:
        job: the definition of the instance.
        step: the decision; the claim of a run is written with the state at the start of the run.
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
    """Add a state to the events of a settled run: the committed one, or that of its start if it set none.

    Args:
        job: the definition of the instance.
        execute: the run.
        commit: the decision about its end.
    """
    if not job.plan.state_in_events:
        return commit
    drafted, committed = execute.draft.encoded, _state_after(commit.transition)
    began_with = job.state_of_run(execute.instance, execute.claim)
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

"""Writes into the events of a turn who caused it, and which instances it sends messages to."""

from __future__ import annotations

from typing import Any, Final

import attrs

from perdure.jobs.request import Request
from perdure.jobs.step import Commit, Execute, Step
from perdure.values.event import Event, JobExecuted, JobStarted
from perdure.values.message import Message
from perdure.values.transition import Transition

MAX_TOLD: Final = 20
"""The number of receivers that an event names."""


def with_origin(step: Step, request: Request) -> Step:
    """Return a decision whose events name the origin of its request.

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
    """Return the end of a run whose events name its origin and the receivers of its messages.

    Args:
        commit: the decision about its end.
        execute: the run; its claim names the origin, so that a delivery after a crash has it too.
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
    told = tuple(dict.fromkeys(str(message.target) for message in messages))[:MAX_TOLD]
    return attrs.evolve(transition, events=tuple(_event(event, by, told_by, told) for event in transition.events))


def _event(event: Event, by: str | None, told_by: str | None, told: tuple[str, ...]) -> Event:
    changes: dict[str, Any] = {"by": by}  # fields of the event
    if isinstance(event, JobStarted | JobExecuted):
        changes["told_by"] = told_by
    if isinstance(event, JobExecuted):
        changes["told"] = told
    return attrs.evolve(event, **changes)

"""Builders of transitions and commits."""

from __future__ import annotations

from typing import Any, Literal

from returns.result import Failure, Success

from perdure.jobs.step import Commit, TurnResult
from perdure.values.address import Address
from perdure.values.errors import HookFailed, RequestError
from perdure.values.event import Event
from perdure.values.instance import Instance
from perdure.values.message import Message
from perdure.values.transition import JournalChange, Purge, Put, Transition


def put(
    before: Instance,
    now_ms: int,
    /,
    *,
    events: tuple[Event, ...] = (),
    messages: tuple[Message, ...] = (),
    journal: JournalChange | None = None,
    **changes: Any,  # fields of Instance
) -> Transition:
    """Write an instance with changed fields, the next version, and this instant as ``updated_ms``."""
    if journal is not None:
        earlier = before.journal_length if journal.earlier == "kept" else 0
        changes["journal_length"] = earlier + len(journal.bodies)
    suspension = changes.get("suspension")
    if suspension is not None and suspension != before.suspension:
        changes["suspended_ms"] = now_ms
    after = before.changed(version=before.version + 1, updated_ms=now_ms, **changes)
    return Transition(
        address=before.address,
        expected=before.fence,
        write=Put(after),
        events=events,
        messages=messages,
        journal=journal,
    )


def purge(
    before: Instance,
    *,
    events: tuple[Event, ...] = (),
    messages: tuple[Message, ...] = (),
    own_messages: Literal["dropped", "kept"] = "dropped",
) -> Transition:
    """Delete the instance, and its messages to itself unless they are kept.

    An instance that was never stored has nothing to delete: only its messages and events are written.
    """
    if own_messages == "dropped":
        messages = tuple(message for message in messages if message.target != before.address)
    if before.fence is None:
        return Transition(address=before.address, events=events, messages=messages)
    return Transition(
        address=before.address, expected=before.fence, write=Purge(own_messages), events=events, messages=messages
    )


def nothing(address: Address) -> Transition:
    """Change nothing."""
    return Transition(address=address)


def reply(address: Address, answer: object) -> Commit:
    """Return a result, and change nothing."""
    return Commit(nothing(address), Success(answer))


def refuse(address: Address, error: RequestError | HookFailed) -> Commit:
    """Return an error, and change nothing."""
    return Commit(nothing(address), Failure(error))


def answered(transition: Transition, answer: object) -> Commit:
    """Commit, then return a result."""
    return Commit(transition, Success(answer))


def stored(transition: Transition) -> Instance | None:
    """Return the instance as the transition leaves it; None if it is purged or unchanged."""
    return transition.write.instance if isinstance(transition.write, Put) else None


def failed(transition: Transition, error: RequestError | HookFailed) -> Commit:
    """Commit, then return an error."""
    result: TurnResult = Failure(error)
    return Commit(transition, result)

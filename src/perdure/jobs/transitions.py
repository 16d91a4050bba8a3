"""Build transitions and commits, and one decision's events."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import attrs
from returns.result import Failure, Success

from perdure.jobs.step import Commit, Execute, TurnResult
from perdure.values.address import Address
from perdure.values.errors import HookFailed, RequestError
from perdure.values.event import Event, EventHeader
from perdure.values.instance import Instance
from perdure.values.message import Message
from perdure.values.transition import JournalChange, Purge, Put, Transition
from perdure.values.turn_inputs import TurnInputs


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
    # Only a change of the suspension moves its instant: other commits of a parked instance keep "parked since".
    suspension = changes.get("suspension")
    if suspension is not None and suspension != before.suspension:
        changes["suspended_ms"] = now_ms
    # Each commit raises the version, and `expected` names the one before: this is the only guard against two decisions
    # on the same row.
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
    # A message to itself would create the instance again, right after its end.
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
    """Return the instance as the transition leaves it. None if it is purged or unchanged."""
    return transition.write.instance if isinstance(transition.write, Put) else None


def failed(transition: Transition, error: RequestError | HookFailed) -> Commit:
    """Commit, then return an error."""
    result: TurnResult = Failure(error)
    return Commit(transition, result)


V = TypeVar("V", bound=EventHeader)


@attrs.define
class EventRecorder:
    """Creates one address's events, each with the next id.

    Attributes:
        inputs: the clock and the ids.
        address: the instance.
        run_count: the events' run.
        used: how many ids the decision has used.
    """

    inputs: TurnInputs
    address: Address
    run_count: int
    used: int = 1  # offset 0 is the id of a run that begins in the same decision

    def optional(self, event_class: type[V], /, **fields: Any) -> tuple[V, ...]:  # the fields of the event class
        """Create the next event, unless the log keeps none and no sink listens."""
        return (self.add(event_class, **fields),) if self.inputs.wants_events else ()

    def add(self, event_class: type[V], /, **fields: Any) -> V:  # the fields of the event class
        """Create the next event."""
        event = event_class(
            event_id=self.inputs.id(self.used),
            at_ms=self.inputs.now_ms,
            address=str(self.address),
            run_count=self.run_count,
            **fields,
        )
        self.used += 1
        return event


# ---------------------------------------------------------------- one commit accepts a job and claims its run
def accepted_instance(commit: Commit, now_ms: int) -> Instance | None:
    """Return the instance that a commit writes, if its alarm is due now and nothing in it is in progress."""
    write = commit.transition.write
    if type(write) is not Put:
        return None
    instance = write.instance
    due_ms = instance.due_ms
    # A run that is claimed with its acceptance begins now: one that is due later would begin early.
    if due_ms is None or due_ms > now_ms or instance.pending_retry is not None:
        return None
    return instance if instance.claim is None and instance.event_claim is None else None


def as_found(instance: Instance) -> Instance:
    """Return an instance as its alarm would find it in the store, which numbers new ones."""
    # The store sets the number when it inserts the row, after this decision.
    return instance if instance.incarnation else instance.changed(incarnation=1)


def with_claim(commit: Commit, run: Execute) -> Transition | None:
    """Return one transition that accepts a job and claims its run. None if that needs two transitions.

    It is the acceptance, over the same row and with its key, messages, journal and message fate. But it writes the
    claimed instance, whose version counts one commit, and logs both transitions' events.

    Args:
        commit: writes the accepted instance.
        run: the decision about its alarm.
    """
    accepted, claiming = commit.transition.write, run.claiming
    if claiming is None or not isinstance(accepted, Put) or not isinstance(claiming.write, Put):
        return None
    # Anything else that the claim would write has no place in the acceptance, and would be lost.
    if run.claimed != "before_run" or claiming.messages or claiming.remember or claiming.inbound or claiming.journal:
        return None
    before = accepted.instance
    # One commit is one version: a second one would fail the next commit, which expects the version that the store
    # wrote.
    claimed = claiming.write.instance.changed(incarnation=before.incarnation, version=before.version)
    return attrs.evolve(commit.transition, write=Put(claimed), events=commit.transition.events + claiming.events)

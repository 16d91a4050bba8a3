"""An instance's mailbox, as pure functions over its state: they write transitions into it, and queue its sends."""

from __future__ import annotations

from typing import Final

import attrs

from perdure.integrations.restate.wire import (
    DEAD_LETTERS,
    EMPTY,
    MAILBOX,
    AlarmOrder,
    ClearedRows,
    MailboxState,
    MessageOrder,
    PendingRun,
    QueuedSend,
    RunOrder,
    encoded,
)
from perdure.interpreters import (
    Inbound,
    Loaded,
    Purge,
    Put,
    Transition,
    TurnInputs,
    decode_instance,
    encode_instance,
)
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.messages import left_message, plain_action, postponement
from perdure.values.address import Address
from perdure.values.errors import (
    HookRaised,
    InstanceParked,
    InvalidInput,
    Overloaded,
    PerdureError,
    RunTimeout,
    Undecodable,
)
from perdure.values.instance import Claim, Instance
from perdure.values.message import DeadLettered, MessageFate, Postponed, StoredMessage

KEPT_MS: Final = 600_000
"""How long a mailbox outlives its instance, at least: a repeated invocation finds its answer."""

MAX_HELD: Final = 1_000
"""Messages that wait in a mailbox in order. Further ones are sent again later, and may overtake."""

DEFERRED_MS: Final = 200
"""How long a message waits for a run in progress, before it is tried again."""

OVERFLOW_MS: Final = 60_000
"""How long a message waits that finds `MAX_HELD` others."""


def row_of(state: MailboxState) -> Instance | None:
    """Return the row.

    Raises:
        InvalidInput: only a newer version can decode it.
    """
    return None if state.row is None else decode_instance(state.row)


def loaded_of(state: MailboxState, key: str | None, now_ms: int) -> Loaded:
    """Return the stored data that a decision needs.

    Args:
        state: the mailbox.
        key: the request's idempotency key.
        now_ms: the present: keys that have expired are unknown.
    """
    # Expired keys are dropped by the next write only. Until then they must not answer.
    living = [each for each in state.keys if each.expires_ms > now_ms]
    found = None if key is None else next((each for each in living if each.key == key), None)
    return Loaded(instance=row_of(state), remembered=found, keys_held=len(living))


def running_in(job: AnyDefinition, state: MailboxState) -> tuple[str, ...]:
    """Return the run ids in progress. A mailbox waits for its other runs, so their claims are abandoned."""
    row = row_of(state)
    # A stopped run is not in progress: without this, nothing would recover it, and its claim would hold the row for
    # ever.
    if job.occupancy != "claim_only" or row is None or row.claim is None or row.claim.run_id == state.stopped:
        return ()
    return (row.claim.run_id,)


def is_beside(job: AnyDefinition, claim: Claim) -> bool:
    """Return whether the mailbox decides other requests during this run."""
    return job.occupancy == "claim_only" and claim.cause != "event"


def journal_key(journal: int, place: int) -> str:
    """Return a journal row's state key."""
    return f"journal {journal} {place}"


def queued(
    state: MailboxState,
    service: str,
    handler: str,
    target: str,
    body: bytes,
    *,
    at_ms: int | None = None,
    key: str = "",
) -> MailboxState:
    """Return the state with another send. Its key is the writer's, unless the send has another one."""
    send = QueuedSend(
        service=service,
        handler=handler,
        target=target,
        body=body.decode(),
        key=key or f"{state.writer}:{state.sent}",
        at_ms=at_ms,
    )
    return attrs.evolve(state, sends=(*state.sends, send), sent=state.sent + 1)


# ---------------------------------------------------------------- transitions
def applied(
    state: MailboxState, transition: Transition, now_ms: int
) -> tuple[MailboxState, tuple[tuple[str, str], ...]]:
    """Write a transition.

    Args:
        state: the mailbox. Its writer is the present invocation.
        transition: the transition.
        now_ms: the present.

    Returns:
        The state, and the journal's new rows by their state keys. The rows are written first: before the state names
        them, they do not exist for a reader.
    """
    write, rows = transition.write, tuple[tuple[str, str], ...]()
    before = row_of(state)
    if isinstance(write, Put):
        new = write.instance
        # Not below the clock: a mailbox that was deleted counts from 0 again, and an old fence must not fit a new
        # instance.
        if not new.incarnation:
            incarnation = max(state.incarnation + 1, now_ms)
            new, state = new.changed(incarnation=incarnation), attrs.evolve(state, incarnation=incarnation)
        if transition.journal is not None:
            # Before the new rows: these get the keys of the new journal, which no reader of the old state looks at.
            if transition.journal.earlier == "cut":
                state = _without_journal(state, before)
            bodies = transition.journal.bodies
            first = new.journal_length - len(bodies)
            # An appended row has a key of its own, so a write costs no more than its own rows.
            changed = (*enumerate(bodies, first), *transition.journal.rewritten)
            rows = tuple((journal_key(state.journal, place), body) for place, body in changed)
        state = attrs.evolve(state, row=encode_instance(new))
    elif isinstance(write, Purge):
        # The mailbox stays, with its keys and its last answer: a repeated invocation still finds them.
        state = attrs.evolve(_without_journal(state, before), row=None, purged_ms=now_ms, stopped="")
    # A key is stored once: the result of a run replaces the entry of its acceptance.
    replaced = {each.key for each in transition.remember}
    keys = (
        *(each for each in state.keys if each.key not in replaced and each.expires_ms > now_ms),
        *transition.remember,
    )
    state = _with_messages(attrs.evolve(state, keys=keys), transition)
    # Last: the alarm depends on the row as it is now written.
    return armed(state, str(transition.address), now_ms), rows


def _without_journal(state: MailboxState, row: Instance | None) -> MailboxState:
    if row is None or not row.journal_length:
        return state
    cleared = ClearedRows(journal=state.journal, rows=row.journal_length)
    return attrs.evolve(state, journal=state.journal + 1, cleared=(*state.cleared, cleared))


def _with_messages(state: MailboxState, transition: Transition) -> MailboxState:
    for message in transition.messages:
        # Numbered by the sender: the number is a part of the run id at the receiver, and `dropped` refers to it.
        state = attrs.evolve(state, messages=state.messages + 1)
        order = MessageOrder(message=StoredMessage(message_id=state.messages, message=message))
        state = queued(state, MAILBOX, "deliver", str(message.target), encoded(order))
    # Sends of earlier invocations cannot be taken back: those to itself up to this number are refused when they arrive.
    if isinstance(transition.write, Purge) and transition.write.own_messages == "dropped":
        held = tuple(each for each in state.held if each.message.sender != transition.address)
        state = attrs.evolve(state, dropped=state.messages, held=held)
    return state


def armed(state: MailboxState, address: str, now_ms: int) -> MailboxState:
    """Return the state with its alarm armed. At most one counts: a later alarm waits for the one that is armed."""
    due_ms = due_of(state)
    # Restate cannot cancel a delayed send. An alarm that fires early looks at the row and arms the next one.
    if due_ms is None or (state.armed_ms is not None and state.armed_ms <= due_ms):
        return state
    # An older alarm finds another number than its own, and does nothing.
    number = state.alarms + 1
    state = attrs.evolve(state, alarms=number, armed_ms=due_ms)
    at_ms = due_ms if due_ms > now_ms else None
    return queued(state, MAILBOX, "alarm", address, encoded(AlarmOrder(number=number)), at_ms=at_ms)


def due_of(state: MailboxState) -> int | None:
    """Return when the row is due; without a row, when the mailbox may be deleted. None for never.

    A row with a claim is not due: the run's end arms its alarm.
    """
    row = row_of(state)
    if row is None:
        # As long as a key is kept, its repeat must be answered, also without the instance.
        return max((state.purged_ms + KEPT_MS, *(each.expires_ms for each in state.keys)))
    return None if row.claim is not None or row.event_claim is not None else row.due_ms


# ---------------------------------------------------------------- runs
def is_waiting(state: MailboxState) -> bool:
    """Return whether the writer waits for a run: its repeated invocation continues there."""
    return state.pending is not None and state.pending.invocation == state.writer


def run_key(claim: Claim, row: Instance) -> str:
    """Return a delivery's key: with the row's version, because a workflow's runs share one id."""
    return f"{claim.run_id}:{claim.attempt}:{claim.deliveries}:{row.incarnation}:{row.version}"


def order_of(state: MailboxState, pending: PendingRun, *, beside: bool) -> RunOrder:
    """Return the order for the run whose claim the state has."""
    assert state.row is not None  # noqa: S101 - it has the claim
    return RunOrder(key=pending.run_key, run_id=pending.run_id, event=pending.event, beside=beside, row=state.row)


def claim_of(row: Instance | None, run_id: str, *, event: bool) -> Claim | None:
    """Return a run's claim. None if the row no longer has it."""
    claim = None if row is None else row.event_claim if event else row.claim
    return claim if claim is not None and claim.run_id == run_id else None


# ---------------------------------------------------------------- messages
def inbound_of(stored: StoredMessage) -> Inbound:
    """Return a message as its request names it."""
    message = stored.message
    subscription = plain_action(message.action)[1]
    return Inbound(
        message_id=stored.message_id, sender=message.sender, sent_ms=message.sent_ms, subscription=subscription
    )


def is_dropped(state: MailboxState, stored: StoredMessage) -> bool:
    """Return whether an instance sent a message to itself, and was terminated since."""
    return stored.message.sender == stored.message.target and stored.message_id <= state.dropped


def waits_behind(state: MailboxState, stored: StoredMessage) -> bool:
    """Return whether an earlier message from the same sender waits."""
    return any(each.message.sender == stored.message.sender for each in state.held)


def fate_of(stored: StoredMessage, error: PerdureError, inputs: TurnInputs) -> MessageFate | None:
    """Return when a message is delivered again, or that it becomes a dead letter. None if the error is final."""
    if isinstance(error, (HookRaised, RunTimeout, Overloaded, InstanceParked, Undecodable)):
        return postponement(stored, error, inputs).inbound
    return None


def fate_of_unread(stored: StoredMessage, error: InvalidInput, inputs: TurnInputs) -> MessageFate | None:
    """Return when a message is delivered again that this code cannot read."""
    return left_message(stored, error, "", inputs).inbound


def deferred_fate(stored: StoredMessage, now_ms: int) -> Postponed:
    """Return when a message is delivered again that waits for a run in progress."""
    return Postponed(
        message_id=stored.message_id,
        deliveries=stored.deliveries,
        not_before_ms=now_ms + DEFERRED_MS,
        error=stored.error,
    )


def settled(state: MailboxState, stored: StoredMessage, fate: MessageFate | None) -> MailboxState:
    """Return the state after a delivery.

    Args:
        state: the mailbox.
        stored: the message.
        fate: when it is delivered again, or that it is a dead letter. None if it is settled.
    """
    target, place = str(stored.message.target), _place_of(state, stored)
    state = attrs.evolve(state, held=state.held[:place] + state.held[place + 1 :])
    match fate:
        case Postponed():
            again = attrs.evolve(stored, deliveries=fate.deliveries, not_before_ms=fate.not_before_ms, error=fate.error)
            # The state is one value that each invocation reads and writes: it must not grow with a sender that never
            # stops.
            if len(state.held) >= MAX_HELD:
                at_ms = fate.not_before_ms + OVERFLOW_MS
                return queued(state, MAILBOX, "deliver", target, encoded(MessageOrder(message=again)), at_ms=at_ms)
            # At its old place: it must stay ahead of the later messages from its sender.
            state = attrs.evolve(state, held=(*state.held[:place], again, *state.held[place:]))
        case DeadLettered():
            dead = attrs.evolve(stored, deliveries=fate.deliveries, error=fate.error)
            state = queued(state, DEAD_LETTERS, "keep", target, encoded(MessageOrder(message=dead)))
        case _:
            pass
    return redelivering(state, target)


def _place_of(state: MailboxState, stored: StoredMessage) -> int:
    """Return a message's place among those that wait. The end if it is not there."""
    name = stored.message.sender, stored.message_id
    places = (place for place, each in enumerate(state.held) if (each.message.sender, each.message_id) == name)
    return next(places, len(state.held))


def held_behind(state: MailboxState, stored: StoredMessage) -> MailboxState:
    """Return the state with a message behind the earlier ones from its sender."""
    # Behind all that wait, as far as that can be arranged with a delay.
    if len(state.held) >= MAX_HELD:
        body = encoded(MessageOrder(message=stored))
        at_ms = max(each.not_before_ms for each in state.held) + OVERFLOW_MS
        return queued(state, MAILBOX, "deliver", str(stored.message.target), body, at_ms=at_ms)
    return attrs.evolve(state, held=(*state.held, stored))


def redelivering(state: MailboxState, address: str) -> MailboxState:
    """Return the state with a send that delivers the next message that waits."""
    firsts = _first_of_senders(state)
    if not firsts:
        return state
    at_ms = min(each.not_before_ms for each in firsts)
    return queued(state, MAILBOX, "redeliver", address, EMPTY, at_ms=at_ms)


def first_due(state: MailboxState, now_ms: int) -> StoredMessage | None:
    """Return the message that is delivered next: the repeated invocation finds the same one. None if none is due."""
    firsts = _first_of_senders(state)
    found = min(firsts, key=lambda each: each.not_before_ms, default=None)
    return found if found is not None and found.not_before_ms <= now_ms else None


def _first_of_senders(state: MailboxState) -> tuple[StoredMessage, ...]:
    """Return the messages that wait for no other message from their sender."""
    first: dict[Address, StoredMessage] = {}
    for each in state.held:
        # Messages of one sender keep their order. Those of others do not wait for a sender whose message fails.
        first.setdefault(each.message.sender, each)
    return tuple(first.values())

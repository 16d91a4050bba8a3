"""One turn's changes as a value: a store writes them all or none.

A transition writes or purges the instance's row, appends to its journal, and stores messages, events and the answer to
repeat.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import attrs
from returns.result import Success

from perdure.values.address import Address
from perdure.values.event import Event
from perdure.values.excerpt import fields_in_line, size_only
from perdure.values.frozen import turn_value
from perdure.values.instance import Fence, Instance
from perdure.values.message import Message, MessageFate

if TYPE_CHECKING:  # a definition without attributes loads none of them
    from perdure.values.attributes import AttributeKeys


@attrs.frozen
class JournalChange:
    """Append rows to an instance's journal, in the transition that writes the instance.

    The journal belongs to an incarnation. Its rows have the places 0, 1, 2, …, and `Instance.journal_length` says how
    many there are: the first appended row gets the place ``journal_length - len(bodies)`` of the written instance.

    Attributes:
        bodies: the appended rows, in order. Only the job's kind interprets them.
        earlier: ``cut`` deletes the earlier rows first, so that the first appended row gets the place 0.
        rewritten: earlier rows that get another body, each with its place. None with ``cut``.
    """

    bodies: tuple[str, ...] = attrs.field(repr=lambda bodies: f"<{len(bodies)} rows>")
    earlier: Literal["kept", "cut"] = "kept"
    rewritten: tuple[tuple[int, str], ...] = attrs.field(default=(), repr=lambda rows: f"<{len(rows)} rows>")

    def after(self, rows: Sequence[str]) -> list[str]:
        """Return a journal with this change."""
        found = [] if self.earlier == "cut" else list(rows)
        for place, body in self.rewritten:
            found[place] = body
        return [*found, *self.bodies]


Changes: TypeAlias = Literal["any", "state", "claim", "run", "event_claim", "event_end"]


@turn_value
class Put:
    """Write this instance. Its version is the expected one plus 1.

    Attributes:
        instance: the row.
        changes: the fields in which it differs from the row before, so a store may leave out all other columns. The
            version and the change instant always differ. ``state``: also the state and the event count. ``claim``: a
            run's claim, which the row before does not have, and the run count. ``run``: the state, the alarm and the
            claim, which it no longer has. With ``run``, it has no lane, suspension, pending retry or event claim, and
            has not ended. ``event_claim``: an event's claim, which the row before does not have. ``event_end``: the
            state, the event count and the event's claim, which it no longer has. With ``event_claim`` and
            ``event_end``, it has no run claim and no lane.
    """

    __repr__ = fields_in_line

    instance: Instance
    changes: Changes = attrs.field(default="any", eq=False, repr=False)


@attrs.frozen
class Purge:
    """Delete the instance. Its idempotency keys and its history stay.

    Attributes:
        own_messages: the fate assigned to messages that the instance sent to itself, including those from this turn. A
            termination deletes them. An instance that completed leaves them to its successor.
    """

    own_messages: Literal["dropped", "kept"] = "dropped"


@attrs.frozen
class KeepInstance:
    """Leave the instance unchanged, without checking the fence."""


Write: TypeAlias = Put | Purge | KeepInstance


FULL_ANSWERS: Final = 10_000
"""Answers of one address that a store keeps by default."""


@turn_value(kw_only=True)
class Remembered:
    """An idempotency key, with the result to replay or how many attempts failed.

    Attributes:
        key: the key that the caller chose.
        action: the command it was used for.
        fingerprint: a digest over action and payload, to detect the key's use with another request.
        answer: the encoded result. Empty if the request was applied and its result is not kept, or if it failed.
        failures: how many of the request's attempts failed after they may have had effects. 0 if it was applied.
        full_answers: how many answers the store keeps for the address, this one included. The store empties the answer
            of the key that is that many keys older.
    """

    __repr__ = fields_in_line

    key: str
    action: str
    fingerprint: str
    answer: str = attrs.field(repr=size_only)
    expires_ms: int
    failures: int = 0
    full_answers: int = attrs.field(default=FULL_ANSWERS, eq=False, repr=False)


@turn_value
class NewKeys:
    """The condition that an address has no such idempotency keys: otherwise the transition conflicts.

    A turn that did not look up its key is committed under this condition. After the conflict the engine looks it up.

    Attributes:
        at_ms: when the first key was used: an entry that expires later counts.
    """

    __repr__ = fields_in_line

    keys: tuple[str, ...]
    at_ms: int


@turn_value(kw_only=True)
class Transition:
    """One turn's changes, committed atomically.

    Attributes:
        address: the instance whose turn it was.
        expected: the fence that must still match for ``Put`` and ``Purge``. None: nothing may be stored there.
        write: the instance change.
        remember: the idempotency keys to store, all different and in order. Each replaces an earlier entry.
        new_keys: the idempotency keys that must not be known. None for no such condition.
        messages: outgoing messages, in order.
        inbound: the handled message's fate.
        consumed: beside an ``inbound`` that is `Consumed`, further messages that are consumed: all of one target.
        events: the events for the log, in order.
        journal: the journal change, only beside ``Put``.
        before: the stored row that ``expected`` names, as the engine knows it. None if the engine does not know it. A
            store may leave out the columns that do not change. It takes nothing but the incarnation, the version,
            ``status``, ``due_ms`` and ``owner`` from it.
        attributes: beside ``Put``, the attributes that change, with their keys. Beside ``Purge``, empty: all are
            deleted. None: the stored ones stay as they are.
    """

    __repr__ = fields_in_line

    address: Address
    expected: Fence | None = None
    write: Write = KeepInstance()
    remember: tuple[Remembered, ...] = ()
    new_keys: NewKeys | None = None
    messages: tuple[Message, ...] = ()
    inbound: MessageFate | None = None
    consumed: tuple[int, ...] = ()
    events: tuple[Event, ...] = ()
    journal: JournalChange | None = None
    before: Instance | None = attrs.field(default=None, eq=False, repr=False)
    attributes: AttributeKeys | None = None

    @property
    def message_ids(self) -> tuple[int, ...]:
        """The messages that must be living."""
        return () if self.inbound is None else (self.inbound.message_id, *self.consumed)

    @property
    def is_empty(self) -> bool:
        """Return whether there is nothing to commit."""
        return (
            type(self.write) is KeepInstance
            and not self.remember
            and self.new_keys is None
            and self.inbound is None
            and not self.messages
            and not self.events
        )


AS_EXPECTED: Final[Any] = Success(None)
"""The answer that ``commit`` may give to a transition whose ``Put`` names its changes, in the place of its fence:
the incarnation that it expects, and the next version."""


def over(before: Instance | None, transition: Transition) -> Transition:
    """Return a transition with the row that it replaces, if that is the one that it expects."""
    expected = transition.expected
    if before is None or expected is None:
        return transition
    # Of another version, its columns would tell a store that something is unchanged which is not.
    if before.incarnation != expected.incarnation or before.version != expected.version:
        return transition
    return Transition(
        address=transition.address,
        expected=expected,
        write=transition.write,
        remember=transition.remember,
        new_keys=transition.new_keys,
        messages=transition.messages,
        inbound=transition.inbound,
        consumed=transition.consumed,
        events=transition.events,
        journal=transition.journal,
        before=before,
    )


def remembering(transition: Transition, remembered: Remembered, new_keys: NewKeys | None) -> Transition:
    """Return a transition that also stores a key, under a condition: ``attrs.evolve`` in less time."""
    return Transition(
        address=transition.address,
        expected=transition.expected,
        write=transition.write,
        remember=(remembered,),
        new_keys=new_keys,
        messages=transition.messages,
        inbound=transition.inbound,
        consumed=transition.consumed,
        events=transition.events,
        journal=transition.journal,
        before=transition.before,
    )


def coalesced(first: Transition, second: Transition) -> Transition:
    """Combine an instance's two transitions, the second decided on the first one's outcome, into one transition.

    It writes the row once, as one version, and everything else from both in order.

    Args:
        first: the first transition.
        second: the second one, without a journal cut. Its keys are new ones. A message of each is one that it consumes.
    """
    keeps = type(second.write) is KeepInstance
    starts = type(first.write) is KeepInstance
    write = first.write if keeps else second.write
    # Together they change more columns than either says: written as one of them, the others' would be lost.
    if type(write) is Put and type(first.write) is Put and write.changes != first.write.changes:
        write = Put(write.instance)
    inbound = second.inbound if first.inbound is None else first.inbound
    more = (second.inbound.message_id,) if first.inbound is not None and second.inbound is not None else ()
    return Transition(
        address=first.address,
        # The row in the store is still the one before the first turn.
        expected=second.expected if starts else first.expected,
        write=write,
        remember=first.remember + second.remember if second.remember else first.remember,
        new_keys=first.new_keys if second.new_keys is None else _both(first.new_keys, second.new_keys),
        messages=first.messages + second.messages if second.messages else first.messages,
        inbound=inbound,
        consumed=first.consumed + more if more else first.consumed,
        events=first.events + second.events if second.events else first.events,
        # A purge deletes the journal.
        journal=None if type(second.write) is Purge else _joined(first.journal, second.journal),
        before=second.before if starts else first.before,
    )


def _both(first: NewKeys | None, second: NewKeys) -> NewKeys:
    # The earlier instant: an entry that expires between the two counts, and only costs another decision.
    return second if first is None else NewKeys(first.keys + second.keys, min(first.at_ms, second.at_ms))


def _joined(first: JournalChange | None, second: JournalChange | None) -> JournalChange | None:
    if first is None or second is None:
        return first or second
    # The cut of the first comes before both.
    return JournalChange(first.bodies + second.bodies, first.earlier, first.rewritten + second.rewritten)


@turn_value(kw_only=True)
class Loaded:
    """An address's stored data, read at one moment.

    Attributes:
        instance: the stored instance, or None.
        remembered: the result stored for the requested idempotency key, unless it expired.
        keys_held: how many keys the address has, or a little more: a store may count expired keys that it has not
            deleted. Known only when a key was requested.
    """

    __repr__ = fields_in_line

    instance: Instance | None = None
    remembered: Remembered | None = None
    keys_held: int = 0

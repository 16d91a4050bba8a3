"""The contract of a storage interpreter: a record of functions, each with its guarantees.

Whoever fills this record in has a store: the engine, the client and the command line use nothing else.
``perdure.testing.conformance`` checks an implementation against the promises written here; the memory store is the
reference.

The promises that matter most:

* **Atomic**: ``commit`` writes a transition whole or not at all, whatever crashes.
* **Fenced**: a transition whose fence moved is answered ``Conflict`` and leaves no trace.
* **Durable**: what ``commit`` answered with success is found by every later ``load``, to the degree that
  ``capabilities.durability`` says.
* **Monotonic**: incarnations and message ids come from sequences that never go back, not even when rows are deleted.
"""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

import attrs
from returns.future import FutureResult

from perdure.values.address import Address
from perdure.values.errors import Conflict, OutcomeUnknown, StoreError
from perdure.values.event import Event
from perdure.values.instance import Fence, Hold, Instance, Status
from perdure.values.message import StoredMessage
from perdure.values.transition import Loaded, Transition

Durability: TypeAlias = Literal["none", "relaxed", "full"]
"""What a committed transition survives: nothing, a crash of the process, or loss of power as well."""


@attrs.frozen(kw_only=True)
class Capabilities:
    """What kind of store this is.

    Attributes:
        ownership: ``owned`` by one engine at a time, or ``shared`` by many (claims then carry leases).
        durability: what a committed transition survives.
    """

    ownership: Literal["owned", "shared"]
    durability: Durability


@attrs.frozen(kw_only=True)
class Query:
    """Which instances ``find`` gives, all conditions together, in the order of their addresses.

    Attributes:
        kind: of this kind only.
        name: of this job only.
        id_prefix: whose id begins with this text.
        status: with this status only.
        hold: held for this reason only.
        due_before_ms: whose alarm is due before this instant.
        after: that come after this address: the last one of the page before.
        limit: at most so many, 1 to 1,000.
    """

    kind: str | None = None
    name: str | None = None
    id_prefix: str = ""
    status: Status | None = None
    hold: Hold | None = None
    due_before_ms: int | None = None
    after: Address | None = None
    limit: int = 100


@attrs.frozen(kw_only=True)
class UnreadEvent:
    """An event that this version of the library cannot read, most often one that a newer version wrote.

    Attributes:
        type: the name it is stored under.
        address: the instance, printed ``kind:name:id``.
        at_ms: when, integer milliseconds UTC.
        body: what it carries, as stored.
        reason: why it cannot be read.
    """

    type: str
    address: str
    at_ms: int
    body: str
    reason: str


@attrs.frozen(kw_only=True)
class LoggedEvent:
    """An event with its place in the log. Later events have greater sequence numbers; there may be gaps."""

    sequence: int
    event: Event | UnreadEvent


@attrs.frozen(kw_only=True)
class Retention:
    """What ``prune`` keeps.

    Attributes:
        now_ms: the present; expired idempotency keys go.
        events_since_ms: events older than this instant go.
        max_events: the newest so many events stay.
        limit: rows removed at most in one call, so that no call takes long.
    """

    now_ms: int
    events_since_ms: int
    max_events: int
    limit: int = 1_000


@attrs.frozen(kw_only=True)
class Health:
    """How a store is.

    Attributes:
        state: ``ok``; ``degraded`` when some rows cannot be read and the rest goes on; ``failed`` when nothing does.
        detail: what is wrong.
    """

    state: Literal["ok", "degraded", "failed"]
    detail: str = ""


class Load(Protocol):
    """Read an address, and the remembered answer of a key, at one moment."""

    def __call__(
        self, address: Address, idempotency_key: str | None = None, now_ms: int = 0, /
    ) -> FutureResult[Loaded, StoreError]: ...


class Commit(Protocol):
    """Write one transition atomically."""

    def __call__(self, transition: Transition, /) -> FutureResult[Fence, StoreError | Conflict | OutcomeUnknown]: ...


class Due(Protocol):
    """Give the instances that are due at an instant, the earliest first."""

    def __call__(self, now_ms: int, limit: int, /) -> FutureResult[tuple[Instance, ...], StoreError]: ...


class NextAlarm(Protocol):
    """Give the earliest due instant after this one."""

    def __call__(self, after_ms: int, /) -> FutureResult[int | None, StoreError]: ...


class Claimed(Protocol):
    """Give instances that carry a claim."""

    def __call__(self, after_incarnation: int, limit: int, /) -> FutureResult[tuple[Instance, ...], StoreError]: ...


class Messages(Protocol):
    """Give messages that may be delivered now."""

    def __call__(self, now_ms: int, limit: int, /) -> FutureResult[tuple[StoredMessage, ...], StoreError]: ...


class NextMessage(Protocol):
    """Give the earliest instant, after this one, at which a message may be delivered."""

    def __call__(self, after_ms: int, /) -> FutureResult[int | None, StoreError]: ...


class DeadLetters(Protocol):
    """Give dead letters, the oldest first."""

    def __call__(self, after_id: int, limit: int, /) -> FutureResult[tuple[StoredMessage, ...], StoreError]: ...


class Redrive(Protocol):
    """Make a dead letter an ordinary message again."""

    def __call__(self, message_id: int, /) -> FutureResult[Literal["redriven", "not_found"], StoreError]: ...


class Find(Protocol):
    """Give a page of instances."""

    def __call__(self, query: Query, /) -> FutureResult[tuple[Instance, ...], StoreError]: ...


class History(Protocol):
    """Give the newest events of an address, the newest first."""

    def __call__(
        self, address: Address, before: int | None, limit: int, /
    ) -> FutureResult[tuple[LoggedEvent, ...], StoreError]: ...


class Events(Protocol):
    """Give the events of the log after a place, in order."""

    def __call__(self, after: int, limit: int, /) -> FutureResult[tuple[LoggedEvent, ...], StoreError]: ...


class Prune(Protocol):
    """Remove what retention lets go."""

    def __call__(self, retention: Retention, /) -> FutureResult[int, StoreError]: ...


class CheckHealth(Protocol):
    """Say how the store is, by doing a little work."""

    def __call__(self) -> FutureResult[Health, StoreError]: ...


class Close(Protocol):
    """Give everything back. Closing twice is allowed."""

    def __call__(self) -> FutureResult[None, StoreError]: ...


@attrs.frozen(kw_only=True)
class Store:
    """A storage interpreter, as a record.

    Expected failures are values, never exceptions: ``StoreUnavailable`` when nothing was written, ``OutcomeUnknown``
    when a commit may or may not have been, ``StoreCorrupt`` for a row that cannot be read.

    Attributes:
        name: what it is, for messages: ``memory://`` or ``sqlite:///jobs.db``.
        epoch: how often this store has been opened, this time included. It never goes back; claims carry it.
        capabilities: what kind of store this is.
        load: ``(address, idempotency_key, now_ms)``: the instance and the unexpired remembered answer, read together. Sees
            every transition that was committed before the call. A row that cannot be read is ``StoreCorrupt``; other
            rows go on.
        commit: ``(transition)``: answers the new fence of the instance; ``Fence(0, 0)`` when it is purged or was left
            alone. ``Put`` and ``Purge`` compare the fence: ``Conflict`` when it moved, or when ``expected`` is None and
            something is stored. ``Consumed`` of a message that is not there any more is ``Conflict`` as well. ``Put``
            over nothing takes the next incarnation. ``Purge`` also deletes the messages from the instance to itself.
            Messages out get ids in order. Any number of commits may be under way at once, and may be grouped: each is
            answered when it is durable, and one that conflicts does not fail its neighbours.
        due: ``(now_ms, limit)``: instances whose ``due_ms`` is at or before the instant, earliest first, with their rows.
        next_alarm: ``(after_ms)``: the earliest ``due_ms`` strictly after the instant, or None.
        claimed: ``(after_incarnation, limit)``: instances with a claim, by incarnation.
        messages: ``(now_ms, limit)``: for each (sender, target) its oldest living message, when that one may be
            delivered; the oldest first. So order within a pair is kept whoever delivers.
        next_message: ``(after_ms)``: the earliest ``not_before_ms`` strictly after the instant among living messages.
        dead_letters: ``(after_id, limit)``.
        redrive: ``(message_id)``: attempts start again at 0.
        find: ``(query)``.
        history: ``(address, before, limit)``: survives the purge of the instance, until retention.
        events: ``(after, limit)``: the log, for sinks.
        prune: ``(retention)``: how many rows went; call again while it equals the limit.
        health: never fails for a store that is merely unwell; the answer says so.
        close: waits for what was committed; later calls answer ``StoreUnavailable``.
    """

    name: str
    epoch: int
    capabilities: Capabilities
    load: Load
    commit: Commit
    due: Due
    next_alarm: NextAlarm
    claimed: Claimed
    messages: Messages
    next_message: NextMessage
    dead_letters: DeadLetters
    redrive: Redrive
    find: Find
    history: History
    events: Events
    prune: Prune
    health: CheckHealth
    close: Close

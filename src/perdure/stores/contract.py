"""The contract of a store: a record of functions, each with its guarantees.

An implementation fills in the record `Store`: the engine, the client and the command line use nothing else. Each
function is a protocol of one call here; the docstring of `Store` lists its guarantees. The parts that default to
None are optional. ``perdure.testing.conformance`` checks an implementation against these requirements; the memory
store is the reference.

The requirements that matter most:

* **Atomic**: ``commit`` writes a transition completely or not at all, wherever the process crashes.
* **Fenced**: when the fence of the instance has changed, ``commit`` returns ``Conflict`` and writes nothing.
* **Durable**: every later ``load`` finds a transition whose ``commit`` returned success, to the degree that
  ``capabilities.durability`` says.
* **Monotonic**: incarnations and message ids come from sequences that never go back, even when rows are deleted.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar

import attrs
from returns.future import FutureResult
from returns.result import Result

from perdure.programs.future import answered_by, converted
from perdure.runtime.record import Future, Runtime
from perdure.stores.shares import Members, Served, Share
from perdure.stores.values import (
    DEFAULT_CACHE_BYTES,
    Backup,
    Capabilities,
    Cursor,
    DuePosition,
    Found,
    Health,
    LoadRequest,
    LoggedEvent,
    OnBackupProgress,
    PreviousExit,
    Query,
    QueuedLane,
    Retention,
)
from perdure.values.address import Address, Job
from perdure.values.errors import Conflict, OutcomeUnknown, StoreError
from perdure.values.event import Event
from perdure.values.excerpt import MAX_LINE_CHARACTERS, shortened
from perdure.values.instance import Fence, Instance
from perdure.values.listings import StoreCounts
from perdure.values.message import StoredMessage
from perdure.values.status import Hold
from perdure.values.transition import Loaded, Transition
from perdure.values.turn_inputs import OtherEngines

A = TypeVar("A")
E = TypeVar("E")

Answered: TypeAlias = Callable[[Sequence[Result[A, E]]], None]
"""Called once, in the event loop, with an answer for each request of a batch, in order."""

NotCommitted: TypeAlias = StoreError | Conflict | OutcomeUnknown
"""Why a transition is not known to be durable."""


class LoadOperation(Protocol):
    """The function ``load``."""

    def __call__(self, requests: Sequence[LoadRequest], answered: Answered[Loaded, StoreError], /) -> None:
        """Read instances and the stored results of keys, each at one moment."""
        ...


class CommitOperation(Protocol):
    """The function ``commit``."""

    def __call__(self, transitions: Sequence[Transition], answered: Answered[Fence, NotCommitted], /) -> None:
        """Write transitions, each atomically."""
        ...


class DueOperation(Protocol):
    """The function ``due``."""

    def __call__(
        self, now_ms: int, limit: int, after: DuePosition | None = None, /
    ) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return the instances that are due at an instant, earliest first."""
        ...


class NextAlarmOperation(Protocol):
    """The function ``next_alarm``."""

    def __call__(self, after_ms: int, /) -> FutureResult[int | None, StoreError]:
        """Return the earliest due instant after this one."""
        ...


class DueExceptOperation(Protocol):
    """The function ``due_except``."""

    def __call__(
        self, now_ms: int, limit: int, jobs: tuple[Job, ...], after: DuePosition | None = None, /
    ) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return the instances of other jobs that are due at an instant, earliest first."""
        ...


class LanesOperation(Protocol):
    """The function ``lanes``."""

    def __call__(self, job: Job, after: str | None, limit: int, /) -> FutureResult[tuple[str, ...], StoreError]:
        """Return the next lanes of a job."""
        ...


class QueuedOperation(Protocol):
    """The function ``queued``."""

    def __call__(
        self, job: Job, lanes: Sequence[str], limit: int, /
    ) -> FutureResult[tuple[QueuedLane, ...], StoreError]:
        """Return the first queued instances of lanes."""
        ...


class ClaimedOperation(Protocol):
    """The function ``claimed``."""

    def __call__(self, after_incarnation: int, limit: int, /) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return instances that have a claim."""
        ...


class LeftOperation(Protocol):
    """The function ``left_to``."""

    def __call__(self, codes: Mapping[Job, str], limit: int, /) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return the instances that other code left."""
        ...


class MessagesLeftOperation(Protocol):
    """The function ``messages_left_to``."""

    def __call__(self, codes: Mapping[Job, str], limit: int, /) -> FutureResult[tuple[StoredMessage, ...], StoreError]:
        """Return the messages that other code left."""
        ...


class MessagesOperation(Protocol):
    """The function ``messages``."""

    def __call__(self, now_ms: int, limit: int, /) -> FutureResult[tuple[StoredMessage, ...], StoreError]:
        """Return messages that may be delivered now."""
        ...


class NextMessageOperation(Protocol):
    """The function ``next_message``."""

    def __call__(self, after_ms: int, /) -> FutureResult[int | None, StoreError]:
        """Return the earliest instant, after this one, at which a message may be delivered."""
        ...


class DeadLettersOperation(Protocol):
    """The function ``dead_letters``."""

    def __call__(self, after_id: int, limit: int, /) -> FutureResult[tuple[StoredMessage, ...], StoreError]:
        """Return dead letters, oldest first."""
        ...


class RedriveOperation(Protocol):
    """The function ``redrive``."""

    def __call__(
        self, message_id: int, events: Sequence[Event] = (), /
    ) -> FutureResult[Literal["redriven", "not_found"], StoreError]:
        """Make a dead letter a live message again, and log events."""
        ...


class FindOperation(Protocol):
    """The function ``find``."""

    def __call__(self, query: Query, /) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return a page of instances."""
        ...


class SearchOperation(Protocol):
    """The function ``search``."""

    def __call__(self, query: Query, max_scanned: int, /) -> FutureResult[Found, StoreError]:
        """Return a page of instances, without reading many others."""
        ...


class HistoryOperation(Protocol):
    """The function ``history``."""

    def __call__(
        self, address: Address, before: int | None, limit: int, /
    ) -> FutureResult[tuple[LoggedEvent, ...], StoreError]:
        """Return the newest events of an address, newest first."""
        ...


class EventsOperation(Protocol):
    """The function ``events``."""

    def __call__(self, after: int, limit: int, /) -> FutureResult[tuple[LoggedEvent, ...], StoreError]:
        """Return the events of the log after a sequence number, in order."""
        ...


class CursorOperation(Protocol):
    """The function ``cursor``."""

    def __call__(self, name: str, /) -> FutureResult[Cursor, StoreError]:
        """Return the position of a sink in the log."""
        ...


class MoveCursorOperation(Protocol):
    """The function ``move_cursor``."""

    def __call__(self, name: str, sequence: int, events: Sequence[Event] = (), /) -> FutureResult[None, StoreError]:
        """Move a sink forward in the log, and log events with it."""
        ...


class PruneOperation(Protocol):
    """The function ``prune``."""

    def __call__(self, retention: Retention, /) -> FutureResult[int, StoreError]:
        """Delete expired data and return the number of rows."""
        ...


class JournalOperation(Protocol):
    """The function ``journal``."""

    def __call__(
        self, address: Address, incarnation: int, first: int, limit: int, /
    ) -> FutureResult[tuple[str, ...], StoreError]:
        """Return rows of the journal of an instance."""
        ...


class CountMessagesOperation(Protocol):
    """The function ``count_messages``."""

    def __call__(
        self, pairs: Sequence[tuple[Address, Address]], limit: int, /
    ) -> FutureResult[tuple[int, ...], StoreError]:
        """Count the living messages of pairs of sender and target."""
        ...


class CountsOperation(Protocol):
    """The function ``counts``."""

    def __call__(self) -> FutureResult[StoreCounts, StoreError]:
        """Count the instances by job and status."""
        ...


class HoldsOperation(Protocol):
    """The function ``holds``."""

    def __call__(self) -> FutureResult[tuple[Job, ...], StoreError]:
        """Return the held jobs."""
        ...


class SetHoldOperation(Protocol):
    """The function ``set_hold``."""

    def __call__(self, job: Job, hold: Hold, /) -> FutureResult[Literal["changed", "unchanged"], StoreError]:
        """Hold or release a job."""
        ...


class ListenOperation(Protocol):
    """The function ``listen``."""

    def __call__(self, listener: Callable[[], None], /) -> None:
        """Call a listener whenever another process may have written messages."""
        ...


OwnershipListener: TypeAlias = Callable[[Literal["sure", "in_doubt"]], None]


class WatchOwnershipOperation(Protocol):
    """The function ``watch_ownership``."""

    def __call__(self, listener: OwnershipListener, /) -> None:
        """Call a listener whenever it becomes uncertain, or certain again, that no other engine owns the store."""
        ...


class HeartbeatOperation(Protocol):
    """The function ``heartbeat``."""

    def __call__(self, served: Served, /) -> FutureResult[Members, StoreError]:
        """Renew the lease of this engine, and return the members."""
        ...


class MembersOperation(Protocol):
    """The function ``members``."""

    def __call__(self) -> FutureResult[Members, StoreError]:
        """Return the members."""
        ...


class DueInShareOperation(Protocol):
    """The function ``due``."""

    def __call__(
        self, now_ms: int, limit: int, share: Share, after: DuePosition | None = None, /
    ) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return the instances of a share that are due at an instant, earliest first."""
        ...


class MessagesInShareOperation(Protocol):
    """The function ``messages``."""

    def __call__(
        self, now_ms: int, limit: int, share: Share, others: OtherEngines, old_ms: int, /
    ) -> FutureResult[tuple[StoredMessage, ...], StoreError]:
        """Return the messages that one engine may deliver now."""
        ...


class AbandonedOperation(Protocol):
    """The function ``abandoned``."""

    def __call__(
        self, after_incarnation: int, limit: int, share: Share, others: OtherEngines, /
    ) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return the instances of a share with a claim of an engine that is dead."""
        ...


@attrs.frozen(kw_only=True)
class Sharing:
    """The operations of a shared store, besides those of every store.

    Every opening is a member from the beginning, with a lease that its heartbeats renew. The store's clock alone
    decides when a lease has ended. The fence of ``commit`` is the only guarantee of correctness: membership and shares
    only decide which engine does the work, so a different view of them costs a conflict, and nothing else.

    Attributes:
        lease_ms: how long a lease lasts, from the opening and from each heartbeat.
        heartbeat: ``(served)``: declares dead every other member whose lease has ended, renews the lease of this one,
            states which jobs it serves, and returns the members, in one transaction. An opening that was declared dead
            stays dead: this and each later operation of it returns ``OwnershipLost``, and nothing is written. Until
            then its operations continue, also after its lease. ``close`` ends the membership at once.
        members: ``()``: the members, without a renewal.
        due: ``(now_ms, limit, share, after)``: of what ``Store.due`` returns, the instances of the share.
        messages: ``(now_ms, limit, share, others, old_ms)``: of what ``Store.messages`` returns, the messages that
            this opening wrote, and those to the share whose writer is not among the others or which were sent before
            ``old_ms``. A message of an unknown writer, such as a transaction of the user, has no writer among the
            others.
        abandoned: ``(after_incarnation, limit, share, others)``: of what ``Store.claimed`` returns, the instances of
            the share with a claim whose owner is neither this opening nor one of the others.
    """

    lease_ms: int
    heartbeat: HeartbeatOperation
    members: MembersOperation
    due: DueInShareOperation
    messages: MessagesInShareOperation
    abandoned: AbandonedOperation


class HealthOperation(Protocol):
    """The function ``health``."""

    def __call__(self) -> FutureResult[Health, StoreError]:
        """Check the store with a small operation, and return its health."""
        ...


class CloseOperation(Protocol):
    """The function ``close``."""

    def __call__(self) -> FutureResult[None, StoreError]:
        """Release all resources. Closing twice is allowed."""
        ...


class BackupOperation(Protocol):
    """The function ``backup``."""

    def __call__(self, path: str | os.PathLike[str], progress: OnBackupProgress, /) -> FutureResult[Backup, StoreError]:
        """Copy the store into a new file while it is in use."""
        ...


@attrs.frozen(kw_only=True)
class Store:
    """A store, as a record of functions.

    Expected failures are values, never exceptions: ``StoreUnavailable`` when nothing was written, ``OutcomeUnknown``
    when a commit may have been written, ``StoreCorrupt`` for a row that cannot be read. An operation starts, at the
    latest, when the caller awaits it. Instants are integer milliseconds UTC, not negative. Text of any length is
    returned unchanged and is compared by code point: case, accents, blanks and wildcards matter. When a caller is
    cancelled, its operation happens completely or not at all, no later than ``close`` returns, and other callers are
    not affected. A listing applies its conditions before its limit, returns a full page for any limit up to 1,000, and
    continues after a cursor whose row was deleted. A kill while the store opens loses nothing and applies nothing
    twice: the next opening finds the same rows. A kill may cut a write at any byte: the store opens again, and later
    commits are not affected.

    Attributes:
        name: the name of the store in messages: ``memory://`` or ``sqlite:///jobs.db``.
        epoch: how many times this store has been opened, including this time. It never goes back; claims carry it.
        capabilities: the kind of store.
        load: ``(requests, answered)``: for each request the instance and the remembered answer of the key, read
            together. ``answered`` is called once, in the event loop, with an answer for each request in order; within
            the call, if the store is synchronous.
            A key is remembered while ``now_ms < expires_ms``. A key belongs to the complete address: kind, name and id.
            The number of the keys of an address is found in a time that does not grow with it.
            It sees every transition whose commit returned before the call. It returns no transition that a crash could
            still undo, to the degree that ``capabilities.durability`` says. A row that cannot be read is
            ``StoreCorrupt``; other rows are not affected.
        commit: ``(transitions, answered)``: writes them together where that is possible, and answers like ``load`` when
            all of them are durable or refused. Each is atomic, not the batch: one that conflicts or cannot be written
            does not fail the others. The answer is the new fence of the instance; ``Fence(0, 0)`` when it was purged or
            not written. One whose ``Put`` names its changes may be answered with ``AS_EXPECTED``. ``Put`` and ``Purge``
            compare the fence: ``Conflict`` when it has changed, belongs to another address, or when ``expected`` is
            None and an instance is stored. An inbound fate for a message that is no longer living is ``Conflict`` as
            well, whatever the write. So is a key of ``new_keys`` that is remembered at its instant. A fate replaces the
            message's attempts and error, also with None; ``Kept`` changes nothing. A ``Conflict`` writes nothing.
            ``Put`` stores the expected version plus 1; over nothing, the next incarnation and version 1. ``Purge`` also
            deletes the messages and dead letters from the instance to itself, including those of the same transition,
            unless it keeps them; it may expect nothing where no instance is stored. Outgoing messages get ids in the
            order of the transition. An event belongs to the address that it names. Storing a key empties the answer of
            the key of its address that was stored first ``full_answers`` keys before it. Any number of batches may be
            under way at the same time.
        due: ``(now_ms, limit, after)``: instances whose ``due_ms`` is at or before the instant, the earliest first,
            with their rows. Instances with the same ``due_ms`` are in the order of their incarnations. With ``after``,
            only those behind this position: a ``due_ms`` and an incarnation, of which no instance need be stored. Rows
            that cannot be read are omitted here and below: ``health`` reports them.
        next_alarm: ``(after_ms)``: the earliest ``due_ms`` strictly after the instant, or None.
        claimed: ``(after_incarnation, limit)``: instances with an ``owner``, by incarnation: those with a claim of
            either kind, but of those that are left only those whose upgrade is claimed.
        left_to: ``(codes, limit)``: instances of these jobs that are left, and not by the code of their job, in no
            particular order. Reading them takes a time that depends on the number of returned instances and of
            different codes, and not on how many instances the given codes left.
        messages_left_to: ``(codes, limit)``: the oldest living message of each (sender, target) to a job of these, if
            it is left, and not by the code of that job; whatever its ``not_before_ms``.
        messages: ``(now_ms, limit)``: for each (sender, target) its oldest living message, if it may be delivered: its
            ``not_before_ms`` is not after the instant. The oldest first, so that every caller delivers a pair in order.
        next_message: ``(after_ms)``: the earliest ``not_before_ms`` strictly after the instant among living messages.
        dead_letters: ``(after_id, limit)``: dead letters, the oldest first, whatever their ``not_before_ms``.
        redrive: ``(message_id, events)``: a dead letter lives again, under its id and so at its old position. It
            keeps its attempts and its error, and may be delivered at once. The events are logged in the same
            transaction; nothing is logged if there is no such dead letter.
        find: ``(query)``: in the order of addresses: kind, name, id, each by code point.
        history: ``(address, before, limit)``: events with a sequence number below ``before``, the newest first. They
            survive the purge of the instance, until retention deletes them.
        events: ``(after, limit)``: the log, for sinks. No number appears after a greater one was read, so that a sink
            that pages misses nothing.
        prune: ``(retention)``: the number of deleted rows; call again while it equals the limit. It deletes expired
            keys, and the beginning of the log: each event that is too old or not among the newest ``max_events``, up to
            the first that is kept, so that the log never has a gap. It deletes dead letters that were sent too long
            ago, and no living message.
        health: does not fail for a degraded store: the result reports the state.
        close: waits for running operations; later calls return ``StoreUnavailable``.
        lost: done, with the reason, when an owned store no longer belongs to this engine: every later operation returns
            ``OwnershipLost``, and the engine stops. None for a store that cannot be lost.
        synchronous: whether the store answers every operation within its call: then nothing is gained by batches.
        runtime: how a caller waits: the runtime with which the store was opened. None: the running asyncio loop.
        cache_bytes: the maximum size of the instances that the engine keeps in memory; 0: it keeps none.
        previous_exit: ``died`` when the previous engine's process ended without closing the store, otherwise
            ``closed``. A store that cannot tell says ``closed``.
        backup: ``(path, progress)``: a copy in a new file, which opens as a store, while other operations continue. It
            contains all commits up to an instant between the call and the result, including those before the call, each
            completely. ``BackupFailed`` leaves no file. None for a store that has other means.
        count_messages: ``(pairs, limit)``: the number of living messages of each pair of sender and target, in the
            order of the pairs. It stops at a total of ``limit``: later pairs count 0. None: ``health`` counts only the
            first message of each pair.
        cursor: ``(name)``: the position that a sink was moved to, and the end of the log, read together. None: sinks
            that need a position cannot be used.
        move_cursor: ``(name, sequence, events)``: moves the position of a sink forward and logs the events, in one
            transaction, durable like a commit. A position that is not greater than the present one writes nothing, so
            that a repeated move logs its events once.
        holds: the held jobs, in the order of kind and name. None: no job can be held.
        set_hold: ``(job, hold)``: holds or releases a job, durable like a commit, and returns whether that changed it.
            The hold belongs to kind and name, and needs no instance.
        due_except: ``(now_ms, limit, jobs, after)``: like ``due``, without the instances of these jobs. None: ``due``
            is used, which reads them.
        lanes: ``(job, after, limit)``: the lanes of a job that have queued instances, in the order of their names,
            after a lane or from the first one. An instance is queued while its ``rank_ms`` is not None; it is not due
            then. None: no job can have lanes.
        queued: ``(job, lanes, limit)``: of each of these lanes the first queued instances by rank and incarnation, with
            their rows: as many of each as ``limit`` divided by the number of lanes, rounded up. Reading lanes takes a
            time that depends on what is returned, and not on what is queued.
        counts: the number of instances of each job and status, at one moment between the call and the answer, in the
            order of kind, name and status. Counting delays no commit: a store that has not counted all instances yet
            answers ``complete=False`` after a while, with the counts so far, and counts on at the next call. Where that
            takes long it may return earlier counts, with ``age_ms``. None for a store that does not count.
        search: ``(query, max_scanned)``: like ``find``, but it may stop before the page is full, once it has read about
            ``max_scanned`` instances; then a search after ``after`` continues. None: ``find`` is used.
        journal: ``(address, incarnation, first, limit)``: the rows of an instance's journal from the place ``first``
            on, in order, up to the limit; none once that incarnation is purged. ``commit`` appends the rows of a
            transition together with its instance, after deleting the earlier ones for a ``cut``; ``Purge`` deletes all.
            A missing place before a stored one is ``StoreCorrupt``. Appending costs the same, however long the journal
            is. None: the store keeps no journals, and no job that has them can be served.
        reads: decides, beside the code of a job, whether an instance can be read: the ids of the keys of an
            encrypted store; empty for any other.
        sharing: the operations of a shared store, which `Sharing` describes. None for an owned
            store.
        listen: ``(listener)``: the listener is called in the event loop soon after another process, such as an
            application with a transaction of its own, has written messages. A call may come without a reason, or be
            missing where the engine reads periodically. None: only engines write messages.
        watch_ownership: ``(listener)``: the listener is called in the event loop with ``in_doubt`` when another engine
            may own the store, such as after the end of a connection that held a lock, and with ``sure`` once this
            engine owns it again. In between the engine reads each row again before it answers from it. None: the store
            belongs to this engine until ``lost``.
    """

    def __repr__(self) -> str:
        return shortened(f"<{type(self).__name__} {self.name}, epoch {self.epoch}>", MAX_LINE_CHARACTERS)

    name: str
    epoch: int
    capabilities: Capabilities
    load: LoadOperation
    commit: CommitOperation
    due: DueOperation
    next_alarm: NextAlarmOperation
    claimed: ClaimedOperation
    left_to: LeftOperation
    messages_left_to: MessagesLeftOperation
    messages: MessagesOperation
    next_message: NextMessageOperation
    dead_letters: DeadLettersOperation
    redrive: RedriveOperation
    find: FindOperation
    history: HistoryOperation
    events: EventsOperation
    prune: PruneOperation
    health: HealthOperation
    close: CloseOperation
    lost: Future[str] | None = None
    backup: BackupOperation | None = None
    count_messages: CountMessagesOperation | None = None
    cursor: CursorOperation | None = None
    move_cursor: MoveCursorOperation | None = None
    holds: HoldsOperation | None = None
    set_hold: SetHoldOperation | None = None
    due_except: DueExceptOperation | None = None
    lanes: LanesOperation | None = None
    queued: QueuedOperation | None = None
    counts: CountsOperation | None = None
    search: SearchOperation | None = None
    journal: JournalOperation | None = None
    previous_exit: PreviousExit = "closed"
    reads: str = ""
    sharing: Sharing | None = None
    listen: ListenOperation | None = None
    watch_ownership: WatchOwnershipOperation | None = None
    cache_bytes: int = DEFAULT_CACHE_BYTES
    synchronous: bool = False
    runtime: Runtime | None = None


class _BatchOfOne(Generic[A, E]):
    """The answer to the only request of a batch, which is sent when it is first awaited. It can be awaited again."""

    __slots__ = ("_answer", "_future", "_runtime", "_send")

    def __init__(self, send: Callable[[Answered[A, E]], None], runtime: Runtime | None) -> None:
        self._send: Callable[[Answered[A, E]], None] | None = send
        self._runtime = runtime
        self._answer: Result[A, E] | None = None
        self._future: Future[None] | None = None

    def __await__(self) -> Generator[Any, Any, Result[A, E]]:
        send, self._send = self._send, None
        if send is not None:
            send(self._answered)
        while self._answer is None:
            if self._future is None or self._future.done():  # done: its only waiter was cancelled
                self._future = self._new_future()
            yield from self._future.__await__()
        return self._answer

    def _answered(self, answers: Sequence[Result[A, E]]) -> None:
        (self._answer,) = answers
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    def _new_future(self) -> Future[None]:
        if self._runtime is None:
            from perdure.runtime.on_asyncio import asyncio_runtime  # noqa: PLC0415 - asyncio is imported when needed

            self._runtime = asyncio_runtime()
        return self._runtime.future()


def load_one(
    store: Store,
    address: Address,
    idempotency_key: str | None = None,
    now_ms: int = 0,
) -> FutureResult[Loaded, StoreError]:
    """Read one instance, and the stored answer of a key.

    Args:
        store: an open store.
        address: the instance.
        idempotency_key: the key, if any.
        now_ms: the clock, for the expiry of the key.
    """
    batch = (LoadRequest(address, idempotency_key, now_ms),)
    return answered_by(_BatchOfOne(partial(store.load, batch), store.runtime))


def commit_one(store: Store, transition: Transition) -> FutureResult[Fence, NotCommitted]:
    """Write one transition.

    Args:
        store: an open store.
        transition: the changes.

    Returns:
        The new fence of the instance, also where the store answers ``AS_EXPECTED``.
    """
    single: _BatchOfOne[Fence | None, NotCommitted] = _BatchOfOne(partial(store.commit, (transition,)), store.runtime)
    return converted(answered_by(single), partial(fence_after, transition))


def fence_after(transition: Transition, fence: Fence | None) -> Fence:
    """Return the fence that a transition leads to, also where the store answers ``AS_EXPECTED``, which has none."""
    expected = transition.expected
    if fence is None and expected is not None:  # as expected
        return Fence(expected.incarnation, expected.version + 1)
    return fence or Fence(0, 0)

"""The contract of a store: one class, with its guarantees at each function.

An author inherits from `Store`: the engine, the client and the command line use nothing else. A store may lack nine
capabilities, each found by one attribute that is None without it. ``perdure.testing.conformance`` checks an
implementation against these requirements; the memory store is the reference.

The requirements that matter most:

* **Atomic**: ``commit`` writes a transition completely or not at all, wherever the process crashes.
* **Fenced**: when the fence of the instance has changed, ``commit`` returns ``Conflict`` and writes nothing.
* **Durable**: every later ``load`` finds a transition whose ``commit`` returned success, to the degree that
  ``capabilities.durability`` says.
* **Monotonic**: incarnations and message ids come from sequences that never go back, even when rows are deleted.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from inspect import isfunction
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar, cast

from returns.future import FutureResult
from returns.result import Result

from perdure.programs.future import answered_by, converted
from perdure.runtime.record import Future, Runtime
from perdure.stores.attributes import StoredAttributes
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
    StoredHistories,
    StoredStreams,
    StoredWork,
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
T = TypeVar("T")

Answered: TypeAlias = Callable[[Sequence[Result[A, E]]], None]
"""Called once, in the event loop, with an answer for each request of a batch, in order."""

NotCommitted: TypeAlias = StoreError | Conflict | OutcomeUnknown
"""Why a transition is not known to be durable."""

OwnershipListener: TypeAlias = Callable[[Literal["sure", "in_doubt"]], None]


class StoredLanes(Protocol):
    """The capability ``lanes``: the queued instances of jobs that have lanes."""

    def names(self, job: Job, after: str | None, limit: int, /) -> FutureResult[tuple[str, ...], StoreError]:
        """Return the lanes of a job that have queued instances, by name, after a lane or from the first one.

        An instance is queued while its ``rank_ms`` is not None; it is not due then.
        """
        ...

    def queued(self, job: Job, lanes: Sequence[str], limit: int, /) -> FutureResult[tuple[QueuedLane, ...], StoreError]:
        """Return the first queued instances of each of these lanes, by rank and incarnation, with their rows.

        Of each it returns as many as ``limit`` divided by the number of lanes, rounded up. Reading lanes takes a time
        that depends on what is returned, and not on what is queued.
        """
        ...

    def last_rank(self, job: Job, /) -> FutureResult[int | None, StoreError]:
        """Return the greatest rank of a job's queued instances; None if none is queued."""
        # Read once, when an engine opens the store: the time may grow with the number of queued instances.
        ...


class StoredJournals(Protocol):
    """The capability ``journal``: the journals of instances."""

    def read(
        self, address: Address, incarnation: int, first: int, limit: int, /
    ) -> FutureResult[tuple[str, ...], StoreError]:
        """Return the rows of an instance's journal from the place ``first`` on, in order, up to the limit.

        There are none once that incarnation is purged. ``commit`` appends the rows of a transition together with its
        instance, after deleting the earlier ones for a ``cut``, and replaces those that it rewrites; ``Purge`` deletes
        all. A missing place before a stored one is ``StoreCorrupt``. Appending costs the same, however long the journal
        is.
        """
        ...


class Cursors(Protocol):
    """The capability ``cursors``: the positions of sinks in the log."""

    def read(self, name: str, /) -> FutureResult[Cursor, StoreError]:
        """Return the position that a sink was moved to, and the end of the log, read together."""
        ...

    def move(self, name: str, sequence: int, events: Sequence[Event] = (), /) -> FutureResult[None, StoreError]:
        """Move the position of a sink forward and log the events, in one transaction, durable like a commit.

        A position that is not greater than the present one writes nothing, so that a repeated move logs its events
        once.
        """
        ...


class StoredCounts(Protocol):
    """The capability ``counts``: how many instances and messages there are, and how much work."""

    def instances(self) -> FutureResult[StoreCounts, StoreError]:
        """Count the instances of each job and status, in the order of kind, name and status.

        All counts are those of one moment between the call and the answer. Counting delays no commit: a store that has
        not counted all instances yet answers ``complete=False`` after a while, with the counts so far, and counts on at
        the next call. Where that takes long it may return earlier counts, with ``age_ms``.
        """
        ...

    def work(self, jobs: Sequence[Job], until_ms: int, limit: int, /) -> FutureResult[StoredWork, StoreError]:
        """Count the work of these jobs, in their order: what is queued, due at the instant, deliverable then, claimed.

        A claimed instance is not due. It reads of the whole store the first ``limit`` alarms and claims, and the first
        messages that ``messages`` returns for the instant and the limit, and of each job ``limit`` queued instances.
        Its time depends on the jobs and the limit, and not on the number of instances.
        """
        ...

    def has_work(self, job: Job, /) -> FutureResult[bool, StoreError]:
        """Return whether a job has an instance that is neither done nor suspended, or a living message.

        Both are read at one moment between the call and the answer.
        """
        ...

    def messages(
        self, pairs: Sequence[tuple[Address, Address]], limit: int, /
    ) -> FutureResult[tuple[int, ...], StoreError]:
        """Count the living messages of each pair of sender and target, in the order of the pairs.

        It stops at a total of ``limit``: later pairs count 0.
        """
        ...


class Backups(Protocol):
    """The capability ``backup``: copies of the open store."""

    def make(self, path: str | os.PathLike[str], progress: OnBackupProgress, /) -> FutureResult[Backup, StoreError]:
        """Copy the store into a new file, which opens as a store, while other operations continue.

        It contains all commits up to an instant between the call and the result, including those before the call, each
        completely. ``BackupFailed`` leaves no file.
        """
        ...


class Sharing(Protocol):
    """The capability ``sharing``: several engines have the store open.

    Every opening is a member from the beginning, with a lease that its heartbeats renew. The store's clock alone
    decides when a lease has ended. The fence of ``commit`` is the only guarantee of correctness: membership and shares
    only decide which engine does the work, so a different view of them costs a conflict, and nothing else.
    """

    @property
    def lease_ms(self) -> int:
        """How long a lease lasts, from the opening and from each heartbeat."""
        ...

    def heartbeat(self, served: Served, /) -> FutureResult[Members, StoreError]:
        """Renew the lease of this opening, state which jobs it serves, and return the members.

        In the same transaction it declares dead every other member whose lease has ended. An opening that was declared
        dead stays dead: this and each later operation of it returns ``OwnershipLost``, and nothing is written. Until
        then its operations continue, also after its lease. ``close`` ends the membership at once.
        """
        ...

    def members(self) -> FutureResult[Members, StoreError]:
        """Return the members, without a renewal."""
        ...

    def due(
        self, now_ms: int, limit: int, share: Share, after: DuePosition | None = None, /
    ) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return, of what ``Store.due`` returns, the instances of the share."""
        ...

    def messages(
        self,
        now_ms: int,
        limit: int,
        share: Share,
        others: OtherEngines,
        old_ms: int,
        except_jobs: tuple[Job, ...] = (),
        /,
    ) -> FutureResult[tuple[StoredMessage, ...], StoreError]:
        """Return, of what ``Store.messages`` returns, the messages that this opening may deliver.

        These are the messages that this opening wrote, and those to the share whose writer is not among the others or
        which were sent before ``old_ms``. A message of an unknown writer, such as a transaction of the user, has no
        writer among the others. Those to ``except_jobs`` are left out.
        """
        ...

    def abandoned(
        self, after_incarnation: int, limit: int, share: Share, others: OtherEngines, /
    ) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return, of what ``Store.claimed`` returns, the instances of the share with a claim of a dead engine.

        The owner of such a claim is neither this opening nor one of the others.
        """
        ...


class Store(ABC):
    """A store. Inherit from it to write your own.

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
        lanes: lets jobs have lanes.
        journal: lets jobs have journals, as workflows do.
        streams: lets runs emit chunks while they work.
        cursors: lets sinks have a position in the log.
        counts: counts instances, messages and work; without it ``health`` counts only the first message of each pair.
        backup: copies the open store; None for a store that has other means.
        attributes: keeps attributes beside the instances, to find them.
        histories: keeps events of some jobs after they have left the log.
        sharing: lets several engines open the store together; None for an owned store.
        replica: answers callers' lists, searches and counts, perhaps from an earlier state; None: this store does.
        lost: done, with the reason, when an owned store no longer belongs to this engine: every later operation returns
            ``OwnershipLost``, and the engine stops. None for a store that cannot be lost.
        synchronous: whether the store answers every operation within its call: then nothing is gained by batches.
        runtime: how a caller waits: the runtime with which the store was opened. None: the running asyncio loop.
        cache_bytes: the maximum size of the instances that the engine keeps in memory; 0: it keeps none.
        previous_exit: ``died`` if the previous engine's process did not close the store, else, or unknown, ``closed``.
        reads: decides, beside a job's code, whether an instance can be read: the key ids of an encrypted store.
    """

    name: str
    epoch: int
    capabilities: Capabilities
    lanes: StoredLanes | None = None
    journal: StoredJournals | None = None
    streams: StoredStreams | None = None
    cursors: Cursors | None = None
    counts: StoredCounts | None = None
    backup: Backups | None = None
    attributes: StoredAttributes | None = None
    histories: StoredHistories | None = None
    sharing: Sharing | None = None
    replica: Store | None = None
    lost: Future[str] | None = None
    synchronous: bool = False
    runtime: Runtime | None = None
    cache_bytes: int = DEFAULT_CACHE_BYTES
    previous_exit: PreviousExit = "closed"
    reads: str = ""

    def __repr__(self) -> str:
        return shortened(f"<{type(self).__name__} {self.name}, epoch {self.epoch}>", MAX_LINE_CHARACTERS)

    @abstractmethod
    def load(self, requests: Sequence[LoadRequest], answered: Answered[Loaded, StoreError], /) -> None:
        """Read for each request the instance and the remembered answer of the key, together.

        ``answered`` is called once, in the event loop, with an answer for each request in order; within the call, if
        the store is synchronous. A key is remembered while ``now_ms < expires_ms``. A key belongs to the complete
        address: kind, name and id. The number of the keys of an address is found in a time that does not grow with it.
        It sees every transition whose commit returned before the call. It returns no transition that a crash could
        still undo, to the degree that ``capabilities.durability`` says. A row that cannot be read is ``StoreCorrupt``;
        other rows are not affected.
        """

    @abstractmethod
    def commit(self, transitions: Sequence[Transition], answered: Answered[Fence, NotCommitted], /) -> None:
        """Write transitions, together where possible, and answer like ``load`` when all are durable or refused.

        Each is atomic, not the batch: one that conflicts or cannot be written does not fail the others. The answer is
        the new fence of the instance; ``Fence(0, 0)`` when it was purged or not written. One whose ``Put`` names its
        changes may be answered with ``AS_EXPECTED``. ``Put`` and ``Purge`` compare the fence: ``Conflict`` when it has
        changed, belongs to another address, or when ``expected`` is None and an instance is stored. An inbound fate for
        a message that is no longer living is ``Conflict`` as well, whatever the write. So is a key of ``new_keys`` that
        is remembered at its instant. A fate replaces the message's deliveries and error, also with None; ``Kept``
        changes nothing. All of ``consumed`` are consumed together with the inbound message, or none is. A ``Conflict``
        writes nothing. ``Put`` stores the expected version plus 1; over nothing, the next incarnation and version 1.
        ``Purge`` also deletes the messages and dead letters from the instance to itself, including those of the same
        transition, unless it keeps them; it may expect nothing where no instance is stored. Outgoing messages get ids
        in the order of the transition. An event belongs to the address that it names. Storing a key empties the answer
        of the key of its address that was stored first ``full_answers`` keys before it. Any number of batches may be
        under way at the same time.
        """

    @abstractmethod
    def due(
        self, now_ms: int, limit: int, after: DuePosition | None = None, except_jobs: tuple[Job, ...] = (), /
    ) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return the instances whose ``due_ms`` is at or before the instant, the earliest first, with their rows.

        Instances with the same ``due_ms`` are in the order of their incarnations. With ``after``, only those behind
        this position: a ``due_ms`` and an incarnation, of which no instance need be stored. Those of ``except_jobs``
        are left out. Rows that cannot be read are omitted here and below: ``health`` reports them.
        """

    @abstractmethod
    def next_alarm(self, after_ms: int, /) -> FutureResult[int | None, StoreError]:
        """Return the earliest ``due_ms`` strictly after the instant, or None."""

    @abstractmethod
    def claimed(self, after_incarnation: int, limit: int, /) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return the instances with an ``owner``, by incarnation.

        These are those with a claim of either kind, but of those that are left only those whose upgrade is claimed.
        """

    @abstractmethod
    def left_to(self, codes: Mapping[Job, str], limit: int, /) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return instances of these jobs that are left, and not by the code of their job, in no particular order.

        Reading them takes a time that depends on the number of returned instances and of different codes, and not on
        how many instances the given codes left.
        """

    @abstractmethod
    def find(self, query: Query, /) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return a page of the instances of a query, in the order of addresses: kind, name, id, each by code point."""

    def search(self, query: Query, max_scanned: int, /) -> FutureResult[Found, StoreError]:
        """Find a page like ``find``, but it may stop before the page is full.

        It may stop once it has read about ``max_scanned`` instances; then a search after ``after`` continues. Without
        a function of its own, a store finds the whole page.
        """
        _ = max_scanned
        return converted(self.find(query), partial(_whole_page, query.limit))

    @abstractmethod
    def messages(
        self, now_ms: int, limit: int, except_jobs: tuple[Job, ...] = (), /
    ) -> FutureResult[tuple[StoredMessage, ...], StoreError]:
        """Return, for each (sender, target), its oldest living message, if it may be delivered.

        It may if its ``not_before_ms`` is not after the instant. The oldest come first, so that every caller delivers a
        pair in order. Those to ``except_jobs`` are left out.
        """

    @abstractmethod
    def next_message(self, after_ms: int, /) -> FutureResult[int | None, StoreError]:
        """Return the earliest ``not_before_ms`` strictly after the instant among living messages, or None."""

    @abstractmethod
    def messages_left_to(
        self, codes: Mapping[Job, str], limit: int, /
    ) -> FutureResult[tuple[StoredMessage, ...], StoreError]:
        """Return, for each (sender, target) to one of these jobs, its oldest living message, if it is left.

        It is left, and not by the code of that job; whatever its ``not_before_ms``.
        """

    @abstractmethod
    def dead_letters(self, after_id: int, limit: int, /) -> FutureResult[tuple[StoredMessage, ...], StoreError]:
        """Return dead letters, the oldest first, whatever their ``not_before_ms``."""

    @abstractmethod
    def redrive(
        self, message_id: int, events: Sequence[Event] = (), /
    ) -> FutureResult[Literal["redriven", "not_found"], StoreError]:
        """Make a dead letter a living message again, under its id and so at its old position.

        It keeps its deliveries and its error, and may be delivered at once. The events are logged in the same
        transaction; nothing is logged if there is no such dead letter.
        """

    def listen(self, listener: Callable[[], None], /) -> bool:
        """Call a listener whenever another process has written messages, and return whether it will be called.

        The listener is called in the event loop soon after another process, such as an application with a transaction
        of its own, has written messages. A call may come without a reason, or be missing where the engine reads
        periodically. Without a function of its own, a store says that only engines write messages.
        """
        _ = listener
        return False

    # ------------------------------------------------------------ the log
    @abstractmethod
    def history(
        self, address: Address, before: int | None, limit: int, /
    ) -> FutureResult[tuple[LoggedEvent, ...], StoreError]:
        """Return the events of an address with a sequence number below ``before``, the newest first.

        They survive the purge of the instance, until retention deletes them.
        """

    @abstractmethod
    def events(self, after: int, limit: int, /) -> FutureResult[tuple[LoggedEvent, ...], StoreError]:
        """Return the log after a sequence number, for sinks.

        No number appears after a greater one was read, so that a sink that pages misses nothing.
        """

    @abstractmethod
    def prune(self, retention: Retention, /) -> FutureResult[int, StoreError]:
        """Delete expired data, and return the number of deleted rows; call again while it equals the limit.

        It deletes expired keys, and the beginning of the log: each event that is too old or not among the newest
        ``max_events``, up to the first that is kept, so that the log never has a gap. It deletes dead letters that were
        sent too long ago, and no living message.
        """

    # ------------------------------------------------------------ the store
    @abstractmethod
    def holds(self) -> FutureResult[tuple[Job, ...], StoreError]:
        """Return the held jobs, in the order of kind and name."""

    @abstractmethod
    def set_hold(self, job: Job, hold: Hold, /) -> FutureResult[Literal["changed", "unchanged"], StoreError]:
        """Hold or release a job, durable like a commit. Return whether that changed it. It needs no instance."""

    @abstractmethod
    def health(self) -> FutureResult[Health, StoreError]:
        """Check the store with a small operation. A degraded store is no failure: the result reports the state."""

    @abstractmethod
    def close(self) -> FutureResult[None, StoreError]:
        """Wait for running operations, and release the store; later calls return ``StoreUnavailable``."""

    def watch_ownership(self, listener: OwnershipListener, /) -> None:
        """Call a listener whenever it becomes uncertain, or certain again, that this engine owns the store.

        The listener is called in the event loop with ``in_doubt`` when another engine may own the store, such as after
        the end of a connection that held a lock, and with ``sure`` once this engine owns it again. In between the
        engine reads each row again before it answers from it. Without a function of its own, a store belongs to this
        engine until ``lost``.
        """
        _ = listener

    def watch_holds(self, listener: Callable[[], None], /) -> None:
        """Call a listener in the event loop soon after a job was held or released. The engine also polls."""
        _ = listener


def _whole_page(limit: int, found: tuple[Instance, ...]) -> Found:
    return Found(instances=found, after=found[-1].address if found and len(found) == limit else None)


class _Overlay:
    """Stands for an object, with other attributes in front of its own."""

    def __init__(self, below: Any, changed: Mapping[str, object]) -> None:
        self.__dict__.update(changed)
        self._below = below

    def __getattr__(self, name: str) -> Any:
        # Kept, because a turn reads the epoch, and each lookup below is two calls. An open store does not change.
        found = self.__dict__[name] = getattr(self._below, name)
        return found

    def __repr__(self) -> str:
        return repr(self._below)

    # So that an overlay of a store is an instance of `Store`.
    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self._below.__class__


def overlay(below: T, front: object = None, /, **changed: object) -> T:
    """Return a store, or a capability of one, with other functions or data in front of its own.

    A wrapper names its changes, and nothing else: a function that the contract gains later passes through it. Every
    other attribute is looked up in the object below, once.

    Args:
        below: the store or capability. It does not change.
        front: an object whose public functions the result has instead.
        changed: further functions and data that it has instead.

    Raises:
        AttributeError: the object below has no attribute of that name.
    """
    functions = {name: getattr(front, name) for name, each in vars(type(front)).items() if isfunction(each)}
    replaced = {name: each for name, each in functions.items() if not name.startswith("_")} | changed
    for name in replaced:
        getattr(below, name)
    return cast("T", _Overlay(below, replaced))


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

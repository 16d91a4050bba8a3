"""The memory store, owned by one engine or shared by several, and its openings.

It is the reference for every other store, and the store for tests and simulations. A backend holds the data, which
outlives the openings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final, Literal, Never, TypeAlias, TypeVar, assert_never

import attrs
from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure.programs.future import converted, settled
from perdure.stores.contract import Answered, NotCommitted, Store
from perdure.stores.memory.tables import Opening, Tables
from perdure.stores.shares import Members, Served, Share, StoreMember
from perdure.stores.values import (
    WITHOUT_WORK,
    Capabilities,
    Cursor,
    DuePosition,
    FilledPage,
    Health,
    LoadRequest,
    LoggedEvent,
    PreviousExit,
    Query,
    QueuedLane,
    Retention,
    StoredHistory,
    StoredWork,
)
from perdure.values.address import Address, Job
from perdure.values.attributes import StoredAttribute
from perdure.values.errors import Conflict, OwnershipLost, StoreError, StoreUnavailable
from perdure.values.event import Event
from perdure.values.instance import Fence, Instance
from perdure.values.limits import KeepHistory
from perdure.values.listings import MAX_COUNTED, StoreCounts
from perdure.values.message import Consumed, StoredMessage
from perdure.values.status import Hold
from perdure.values.stream import StoredGroup, StreamGroup
from perdure.values.transition import JournalChange, KeepInstance, Loaded, Purge, Put, Transition
from perdure.values.turn_inputs import OtherEngines

A = TypeVar("A")

Committed: TypeAlias = Result[Fence, NotCommitted]

_NOTHING = Loaded()
_LEFT = Fence(0, 0)


class OpenMemoryStore(Store):
    """The store, until this opening is closed or the store is opened again.

    Args:
        name: the store's name in messages.
        epoch: this opening's number.
        previous_exit: how the previous opening ended.
    """

    capabilities = Capabilities(ownership="owned", durability="none")
    synchronous = True

    def __init__(
        self, tables: Tables, *, name: str = "memory://", epoch: int = 1, previous_exit: PreviousExit = "closed"
    ) -> None:
        self.name = name
        self.epoch = epoch
        self.previous_exit = previous_exit
        self.lanes = _MemoryLanes(self)
        self.journal = _MemoryJournal(self)
        self.streams = _MemoryStreams(self)
        self.cursors = _MemoryCursors(self)
        self.counts = _MemoryCounts(self)
        self.attributes = _MemoryAttributes(self)
        self.histories = _MemoryHistories(self)
        self._tables = tables
        self._ended = ""  # why every operation is refused

    @property
    def is_open(self) -> bool:
        """Return whether operations are accepted."""
        return not self._ended

    def end(self, reason: str) -> None:
        """Refuse all later operations. The tables stay for the next opening."""
        # The first reason stays: a close after the loss must not hide it.
        self._ended = self._ended or reason

    def load(self, requests: Sequence[LoadRequest], answered: Answered[Loaded, StoreError], /) -> None:
        """Return instances, and the results stored under keys."""
        answered([self._load(request) for request in requests])

    def _load(self, request: LoadRequest) -> Result[Loaded, StoreError]:
        if self._ended:
            return Failure(StoreUnavailable("load", self._ended))
        address, key = request.address, request.idempotency_key
        instance = self._tables.instances.get(address)
        if key is None:
            return Success(_NOTHING if instance is None else Loaded(instance=instance))
        remembered, held = self._tables.keys.recall(address, key, request.now_ms)
        return Success(Loaded(instance=instance, remembered=remembered, keys_held=held))

    def commit(self, transitions: Sequence[Transition], answered: Answered[Fence, NotCommitted], /) -> None:
        """Write transitions, one after the other."""
        # One after the other: a later transition for the same address meets the row that the earlier one wrote.
        answered([self._commit(transition) for transition in transitions])

    def _commit(self, transition: Transition) -> Committed:
        """Write one transition. All checks come before the first write."""
        if self._ended:
            return Failure(StoreUnavailable("commit", self._ended))
        tables, write = self._tables, transition.write
        # `KeepInstance` compares no row: an answer that is stored alone never conflicts with the instance's turns.
        before = None if type(write) is KeepInstance else tables.instances.get(transition.address)
        if type(write) is not KeepInstance and not _holds(transition.expected, before):
            return Failure(Conflict(str(transition.address)))
        # As a conflict: another turn has consumed the message, and its effect must not happen twice.
        if not all(map(tables.mail.is_living, transition.message_ids)):
            return Failure(Conflict(str(transition.address)))
        if transition.new_keys is not None and not tables.keys.are_new(transition.address, transition.new_keys):
            return Failure(Conflict(str(transition.address)))
        # All checks are above this line: a conflict must leave no message, key or event behind.
        # Before the instance: a purge that drops its own messages drops those of this transition too.
        self._write_around(transition)
        fence = self._write_instance(transition.address, write, before)
        if transition.journal is not None:
            tables.journals.change(fence.incarnation, transition.journal)
        if transition.attributes is not None:
            if type(write) is Put:
                tables.attributes.write(transition.address, fence.incarnation, transition.attributes)
            elif before is not None:
                tables.attributes.delete(transition.address, before.incarnation)
        return Success(fence)

    def due(
        self, now_ms: int, limit: int, after: DuePosition | None = None, except_jobs: tuple[Job, ...] = (), /
    ) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return the due instances."""
        return self.answer(
            "read due instances", lambda tables: tables.instances.due(now_ms, limit, after, frozenset(except_jobs))
        )

    def next_alarm(self, after_ms: int, /) -> FutureResult[int | None, StoreError]:
        """Return the earliest due instant after this one."""
        return self.answer("read the next alarm", lambda tables: tables.instances.next_alarm(after_ms))

    def claimed(self, after_incarnation: int, limit: int, /) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return instances with a claim."""
        return self.answer("read claims", lambda tables: tables.instances.claimed(after_incarnation, limit))

    def left_to(self, codes: Mapping[Job, str], limit: int, /) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return the instances that other code left."""
        return self.answer("read left instances", lambda tables: tables.instances.left_to(codes, limit))

    def messages_left_to(
        self, codes: Mapping[Job, str], limit: int, /
    ) -> FutureResult[tuple[StoredMessage, ...], StoreError]:
        """Return the messages that other code left."""
        return self.answer("read messages that are left", lambda tables: tables.mail.left_to(codes, limit))

    def messages(
        self, now_ms: int, limit: int, except_jobs: tuple[Job, ...] = (), /
    ) -> FutureResult[tuple[StoredMessage, ...], StoreError]:
        """Return messages that may be delivered."""
        return self.answer(
            "read messages", lambda tables: tables.mail.deliverable(now_ms, limit, frozenset(except_jobs))
        )

    def next_message(self, after_ms: int, /) -> FutureResult[int | None, StoreError]:
        """Return the earliest instant, after this one, that a message waits for."""
        return self.answer("read the next message", lambda tables: tables.mail.next_message(after_ms))

    def dead_letters(self, after_id: int, limit: int, /) -> FutureResult[tuple[StoredMessage, ...], StoreError]:
        """Return dead letters."""
        return self.answer("read dead letters", lambda tables: tables.mail.dead_letters(after_id, limit))

    def redrive(
        self, message_id: int, events: Sequence[Event] = (), /
    ) -> FutureResult[Literal["redriven", "not_found"], StoreError]:
        """Make a dead letter a live message again, and log events."""
        return self.answer("redrive", lambda tables: _redrive(tables, message_id, events))

    def find(self, query: Query, /) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return a page of instances."""
        return self.answer("find", lambda tables: tables.instances.find(query, tables.attributes.matches))

    def history(
        self, address: Address, before: int | None, limit: int, /
    ) -> FutureResult[tuple[LoggedEvent, ...], StoreError]:
        """Return an address's newest events."""
        return self.answer("read history", lambda tables: tables.log.history(address, before, limit))

    def events(self, after: int, limit: int, /) -> FutureResult[tuple[LoggedEvent, ...], StoreError]:
        """Return logged events."""
        return self.answer("read events", lambda tables: tables.log.after(after, limit))

    def prune(self, retention: Retention, /) -> FutureResult[int, StoreError]:
        """Delete expired data: keys first, then dead letters, then events."""
        return self.answer("prune", lambda tables: _prune(tables, retention))

    def holds(self) -> FutureResult[tuple[Job, ...], StoreError]:
        """Return the held jobs."""
        return self.answer("read holds", lambda tables: tuple(sorted(tables.holds)))

    def set_hold(self, job: Job, hold: Hold, /) -> FutureResult[Literal["changed", "unchanged"], StoreError]:
        """Hold or release a job."""
        return self.answer("hold", lambda tables: _set_hold(tables, job, hold))

    def health(self) -> FutureResult[Health, StoreError]:
        """Return whether this opening may still be used."""
        return settled(Success(Health(state="failed" if self._ended else "ok", detail=self._ended)))

    def close(self) -> FutureResult[None, StoreError]:
        """End this opening."""
        self.end("the store is closed")
        return settled(Success(None))

    def _refuse(self, operation: str) -> FutureResult[Never, StoreUnavailable]:
        return settled(Failure(StoreUnavailable(operation, self._ended)))

    def answer(self, operation: str, read: Callable[[Tables], A]) -> FutureResult[A, StoreError]:
        """Read or change the tables, unless this opening has ended."""
        return self._refuse(operation) if self._ended else settled(Success(read(self._tables)))

    def _write_around(self, transition: Transition) -> None:
        tables, address = self._tables, transition.address
        if transition.inbound is not None:
            tables.mail.settle(transition.inbound)
        for message_id in transition.consumed:
            tables.mail.settle(Consumed(message_id))
        for message in transition.messages:
            tables.mail.send(message)
        for remembered in transition.remember:
            tables.keys.remember(address, remembered)
        for event in transition.events:
            tables.log.append(event)

    def _write_instance(self, address: Address, write: Put | Purge | KeepInstance, before: Instance | None) -> Fence:
        match write:
            case Put(instance):
                return self._tables.instances.put(before, instance)
            case Purge(own_messages):
                if before is not None:
                    self._tables.instances.purge(before)
                    self._tables.journals.delete(before.incarnation)
                    self._tables.streams.delete(before.incarnation)
                # A message to itself that outlives a purge would start the next instance of that address.
                if own_messages == "dropped":
                    self._tables.mail.forget_own(address)
            case KeepInstance():
                pass
            case _:
                assert_never(write)
        return _LEFT


@attrs.frozen
class _MemoryLanes:
    opening: OpenMemoryStore

    def names(self, job: Job, after: str | None, limit: int, /) -> FutureResult[tuple[str, ...], StoreError]:
        """Return a job's next lanes."""
        return self.opening.answer("read lanes", lambda tables: tables.instances.lanes.after(job, after, limit))

    def queued(self, job: Job, lanes: Sequence[str], limit: int, /) -> FutureResult[tuple[QueuedLane, ...], StoreError]:
        """Return the first queued instances in each lane."""
        return self.opening.answer("read queued instances", lambda tables: tables.instances.queued(job, lanes, limit))

    def last_rank(self, job: Job, /) -> FutureResult[int | None, StoreError]:
        """Return the greatest rank of a job."""
        return self.opening.answer("read the last rank", lambda tables: tables.instances.lanes.last_rank(job))


@attrs.frozen
class _MemoryJournal:
    opening: OpenMemoryStore

    def read(
        self, _: Address, incarnation: int, first: int, limit: int, /
    ) -> FutureResult[tuple[str, ...], StoreError]:
        """Return journal rows."""
        return self.opening.answer("read a journal", lambda tables: tables.journals.read(incarnation, first, limit))


@attrs.frozen
class _MemoryStreams:
    opening: OpenMemoryStore

    def append(self, groups: Sequence[StreamGroup], /) -> FutureResult[tuple[int | None, ...], StoreError]:
        """Append groups whose runs hold their claims."""
        return self.opening.answer(
            "append to a stream", lambda tables: tuple(_appended(tables, each) for each in groups)
        )

    def read(
        self, _: Address, incarnation: int, stream: str, after: int, limit: int, max_bytes: int, /
    ) -> FutureResult[tuple[StoredGroup, ...], StoreError]:
        """Return groups."""
        return self.opening.answer(
            "read a stream", lambda tables: tables.streams.read(incarnation, stream, after, limit, max_bytes)
        )

    def last(self, _: Address, incarnation: int, stream: str, /) -> FutureResult[int, StoreError]:
        """Return the newest offset."""
        return self.opening.answer("read a stream", lambda tables: tables.streams.last(incarnation, stream))


def _appended(tables: Tables, group: StreamGroup) -> int | None:
    # The incarnation as well: the address may have a new instance since.
    row = tables.instances.get(group.address)
    if row is None or row.incarnation != group.incarnation:
        return None
    return tables.streams.append(group) if any(map(group.is_of, (row.claim, row.event_claim))) else None


@attrs.frozen
class _MemoryHistories:
    opening: OpenMemoryStore

    def declare(self, jobs: Mapping[Job, KeepHistory], /) -> FutureResult[None, StoreError]:
        """Change how long histories are kept."""
        return self.opening.answer("declare histories", lambda tables: tables.log.kept.declare(jobs))

    def known(self) -> FutureResult[tuple[StoredHistory, ...], StoreError]:
        """Return the histories."""
        return self.opening.answer("read histories", lambda tables: tables.log.kept.known())


@attrs.frozen
class _MemoryCursors:
    opening: OpenMemoryStore

    def read(self, name: str, /) -> FutureResult[Cursor, StoreError]:
        """Return a sink's position."""
        return self.opening.answer("read a cursor", lambda tables: tables.log.cursor(name))

    def move(self, name: str, sequence: int, events: Sequence[Event] = (), /) -> FutureResult[None, StoreError]:
        """Move a sink forward, and log events."""
        return self.opening.answer("move a cursor", lambda tables: tables.log.move_cursor(name, sequence, events))


@attrs.frozen
class _MemoryAttributes:
    opening: OpenMemoryStore

    def declare(self, jobs: Mapping[Job, Mapping[str, str]], /) -> FutureResult[None, StoreError]:
        """Note the attributes that this opening computes."""
        epoch = self.opening.epoch
        return self.opening.answer("declare attributes", lambda tables: tables.attributes.declare(epoch, jobs))

    def known(self) -> FutureResult[tuple[StoredAttribute, ...], StoreError]:
        """Return the known attributes."""
        return self.opening.answer("read attributes", lambda tables: tables.attributes.known())

    def clear(self, job: Job, attribute: str, limit: int, /) -> FutureResult[int, StoreError]:
        """Delete some keys."""
        epoch, place = self.opening.epoch, (*job, attribute)
        return self.opening.answer("clear", lambda tables: tables.attributes.clear(epoch, place, limit))

    def fill(self, job: Job, page: FilledPage, /) -> FutureResult[tuple[str, ...], StoreError]:
        """Write a page."""
        return self.opening.answer("fill", lambda tables: tables.attributes.fill(tables.instances, job, page))

    def count(self, query: Query, /) -> FutureResult[int, StoreError]:
        """Count the instances that match."""
        wanted = attrs.evolve(query, after=None)
        return self.opening.answer("count", lambda tables: tables.attributes.count(tables.instances, wanted))


@attrs.frozen
class _MemoryCounts:
    opening: OpenMemoryStore

    def instances(self) -> FutureResult[StoreCounts, StoreError]:
        """Count instances and messages."""
        return self.opening.answer("count", _counts)

    def work(self, jobs: Sequence[Job], until_ms: int, limit: int, /) -> FutureResult[StoredWork, StoreError]:
        """Count the jobs' work."""
        return self.opening.answer("count the work", lambda tables: _work(tables, jobs, until_ms, limit))

    def has_work(self, job: Job, /) -> FutureResult[bool, StoreError]:
        """Return whether a job has work."""
        return self.opening.answer("look for work", lambda tables: _has_work(tables, job))

    def messages(
        self, pairs: Sequence[tuple[Address, Address]], limit: int, /
    ) -> FutureResult[tuple[int, ...], StoreError]:
        """Count messages for each sender and target."""
        return self.opening.answer("count messages", lambda tables: tables.mail.count(pairs, limit))


def _holds(expected: Fence | None, stored: Instance | None) -> bool:
    if expected is None or stored is None:
        return expected is None and stored is None
    # Both: after a purge and a new start the versions count from 1 again, and only the incarnation differs.
    return expected.incarnation == stored.incarnation and expected.version == stored.version


def _redrive(tables: Tables, message_id: int, events: Sequence[Event]) -> Literal["redriven", "not_found"]:
    outcome = tables.mail.redrive(message_id)
    if outcome == "redriven":
        for event in events:
            tables.log.append(event)
    return outcome


def _set_hold(tables: Tables, job: Job, hold: Hold) -> Literal["changed", "unchanged"]:
    if (job in tables.holds) == (hold == "held"):
        return "unchanged"
    tables.holds ^= {job}
    return "changed"


def _prune(tables: Tables, retention: Retention) -> int:
    removed = tables.keys.prune(retention.now_ms, retention.limit)
    removed += tables.mail.prune_dead_letters(retention.dead_letters_since_ms, retention.limit - removed)
    left = retention.limit - removed
    return removed + tables.log.prune(retention, left)


def _work(tables: Tables, jobs: Sequence[Job], until_ms: int, limit: int) -> StoredWork:
    instances, heads = tables.instances, tables.mail.deliverable(until_ms, limit)
    return StoredWork.of(
        jobs,
        until_ms,
        limit,
        alarms=instances.alarms(limit),
        queued={job: instances.lanes.number_of(job) for job in jobs},
        messages=Counter((to.kind, to.name) for to in (head.message.target for head in heads)),
        running=Counter((one.address.kind, one.address.name) for one in instances.claimed(0, limit)),
    )


def _has_work(tables: Tables, job: Job) -> bool:
    rows = ((one.address, one.status) for one in tables.instances.all())
    return any((to.kind, to.name) == job for to in tables.mail.targets()) or any(
        (address.kind, address.name) == job and status not in WITHOUT_WORK for address, status in rows
    )


def _counts(tables: Tables) -> StoreCounts:
    return StoreCounts(
        instances=tables.instances.counts(),
        oldest_due_ms=tables.instances.next_alarm(-1),
        messages=min(tables.mail.living, MAX_COUNTED),
        dead_letters=min(tables.mail.dead, MAX_COUNTED),
    )


class MemoryBackend:
    """A memory store's data, separate from the stores that are opened over it.

    It represents the disk: to simulate an engine that dies and starts again, open it again. The stores from earlier
    openings then return ``StoreUnavailable``, so that a dead engine's remaining tasks cannot write.

    Args:
        name: the store's name in messages.
    """

    __slots__ = ("_epoch", "_name", "_opening", "_tables")

    def __init__(self, *, name: str = "memory://") -> None:
        self._name = name
        self._tables = Tables()
        self._opening = OpenMemoryStore(self._tables)
        self._epoch = 0

    def open(self) -> Store:
        """Open the store over the existing data, and fence every earlier opening.

        Returns:
            A store whose epoch is one more than the previous opening's.
        """
        # The first opening follows none.
        previous_exit: PreviousExit = "died" if self._epoch and self._opening.is_open else "closed"
        self._epoch += 1
        # Before the new opening answers: otherwise the remaining tasks of a dead engine could still write.
        self._opening.end(f"it was opened again: epoch {self._epoch} has replaced this one")
        self._tables.attributes.openings.clear()  # all have ended, and nobody writes beside this one
        self._opening = OpenMemoryStore(self._tables, name=self._name, epoch=self._epoch, previous_exit=previous_exit)
        return self._opening

    def fill(
        self,
        instances: Iterable[tuple[Instance, Sequence[str]]],
        messages: Iterable[StoredMessage],
        holds: Iterable[Job],
        *,
        epoch: int,
    ) -> None:
        """Put rows of another store into this empty one, with their own numbers.

        Args:
            instances: the instances, each with its journal.
            messages: the undelivered messages.
            holds: the held jobs.
            epoch: the number of the other store's latest opening.
        """
        tables = self._tables
        for instance, journal in instances:
            tables.instances.restore(instance)
            if journal:
                tables.journals.change(instance.incarnation, JournalChange(tuple(journal)))
        for message in messages:
            tables.mail.restore(message)
        tables.holds.update(holds)
        self._epoch = epoch

    def remove(self, address: Address) -> None:
        """Delete an instance, as if it had never been stored. The engine learns it by a conflict."""
        before = self._tables.instances.get(address)
        if before is not None:
            self._tables.instances.purge(before)
            self._tables.journals.delete(before.incarnation)

    def instance(self, address: Address) -> Instance | None:
        """Return the stored instance, without an opening."""
        return self._tables.instances.get(address)

    def message(self, message_id: int) -> StoredMessage | None:
        """Return an undelivered message, without an opening."""
        return self._tables.mail.get(message_id)


def backend_of_blocks(block: int) -> MemoryBackend:
    """Return an empty memory store's data, with sorted indexes in parts that have this many entries."""
    backend = MemoryBackend()
    backend._tables = Tables(block)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - no public parameter
    return backend


def memory_store(*, name: str = "memory://") -> Store:
    """Return an empty memory store, whose operations never wait.

    Args:
        name: the store's name in messages.

    Returns:
        A store that passes the conformance suite. Its data is lost once it is dropped.
    """
    return MemoryBackend(name=name).open()


LEASE_MS: Final = 4_000
"""How long a lease lasts by default."""

_ALL: Final = 1 << 62


class SharedMemoryBackend:
    """A shared memory store's data, and its members.

    Args:
        clock_ms: the store's own wall clock, in milliseconds since 1970 UTC, which no engine's clock affects.
        lease_ms: how long a lease lasts, in milliseconds.
        name: the store's name in messages.
    """

    __slots__ = ("_clock_ms", "_epoch", "_lease_ms", "_members", "_name", "_openings", "_origins", "_tables")

    def __init__(
        self, clock_ms: Callable[[], float], *, lease_ms: int = LEASE_MS, name: str = "memory+shared://"
    ) -> None:
        self._clock_ms = clock_ms
        self._lease_ms = lease_ms
        self._name = name
        self._tables = Tables()
        self._epoch = 0
        self._members: dict[int, _Joined] = {}
        self._openings: dict[int, _SharedOpening] = {}
        self._origins: dict[int, int] = {}  # the epochs that sent living messages, by message id

    def open(self, *, label: str = "") -> Store:
        """Open the store beside its other openings.

        Args:
            label: names the process in `StoreMember.label`.
        """
        self._epoch = epoch = self._epoch + 1
        now_ms = self._clock_ms()
        self._members[epoch] = _Joined({}, now_ms, now_ms + self._lease_ms, label)
        self._openings[epoch] = opening = self._opening(epoch)
        self._tables.attributes.openings[epoch] = Opening()
        return opening

    def reader(self) -> Store:
        """Return a store for inspection, which is not a member. Its epoch is 0."""
        return self._opening(0)

    def _opening(self, epoch: int) -> _SharedOpening:
        return _SharedOpening(self, self._tables, name=self._name, epoch=epoch, lease_ms=self._lease_ms)

    # ------------------------------------------------------------ membership
    def beat(self, epoch: int, served: Served) -> Members:
        """Renew this member's lease, declare dead all others whose lease has ended, and return the living members."""
        now_ms = self._clock_ms()
        # By the store's clock alone: an engine whose own clock is ahead would declare living members dead.
        # `<`, as in PostgreSQL: at this very moment the member may still renew its lease.
        for other in [other for other, member in self._members.items() if other != epoch and member.until_ms < now_ms]:
            del self._members[other]
            self._tables.attributes.openings[other].is_open = False
            # In the same step as the deletion: a member that is not listed any more and still writes would run beside
            # its successor.
            self._openings.pop(other).declare_dead()
        self._members[epoch] = attrs.evolve(self._members[epoch], served=dict(served), until_ms=now_ms + self._lease_ms)
        self._tables.attributes.openings[epoch].serves |= frozenset(served)
        return self.members()

    def leave(self, epoch: int) -> None:
        """End a membership."""
        self._members.pop(epoch, None)
        self._openings.pop(epoch, None)
        if epoch in self._tables.attributes.openings:
            self._tables.attributes.openings[epoch].is_open = False

    def members(self) -> Members:
        """Return the members."""
        now_ms = self._clock_ms()
        found = (
            StoreMember(
                epoch=epoch,
                served=member.served,
                joined_ms=int(member.joined_ms),
                lease_left_ms=int(member.until_ms - now_ms),
                label=member.label,
            )
            for epoch, member in self._members.items()
        )
        return Members(members=tuple(found), last_epoch=self._epoch, now_ms=int(now_ms))

    # ------------------------------------------------------------ messages
    def origin(self, message_id: int) -> int:
        """Return the epoch that sent a message. 0 if it is not known."""
        return self._origins.get(message_id, 0)

    def hold_changed(self) -> None:
        """Tell all living openings that a job was held or released."""
        for opening in self._openings.values():
            opening.hold_changed()

    def sent(self, epoch: int, after_id: int, transition: Transition) -> None:
        """Record that an opening sent the messages after an id, and forget a settled one."""
        for message_id in range(after_id + 1, self._tables.mail.last_id + 1):
            self._origins[message_id] = epoch
        # Only messages that are gone: a postponed one keeps the engine that delivers it.
        for message_id in transition.message_ids:
            if not self._tables.mail.is_living(message_id):
                self._origins.pop(message_id, None)


@attrs.frozen
class _Joined:
    served: Served
    joined_ms: float
    until_ms: float
    label: str


class _SharedOpening(OpenMemoryStore):
    """One opening, until it is closed or declared dead."""

    capabilities = Capabilities(ownership="shared", durability="none")
    synchronous = False

    def __init__(self, backend: SharedMemoryBackend, tables: Tables, *, name: str, epoch: int, lease_ms: int) -> None:
        super().__init__(tables, name=name, epoch=epoch)
        self.sharing = _MemorySharing(self, backend, lease_ms)
        self._backend = backend
        self._dead = False
        self.hold_changed: Callable[[], None] = lambda: None

    def watch_holds(self, listener: Callable[[], None], /) -> None:
        """Call a listener when an opening has held or released a job."""
        self.hold_changed = listener

    def set_hold(self, job: Job, hold: Hold, /) -> FutureResult[Literal["changed", "unchanged"], StoreError]:
        """Hold or release a job, and tell all openings."""

        def write(tables: Tables) -> Literal["changed", "unchanged"]:
            changed = _set_hold(tables, job, hold)
            if changed == "changed":
                self._backend.hold_changed()
            return changed

        return self.answer("hold", write)

    def declare_dead(self) -> None:
        """Refuse all later operations: another engine may have taken over this engine's work."""
        self._dead = True
        self.end("another engine declared this one dead, because its lease had ended")

    def _load(self, request: LoadRequest) -> Result[Loaded, StoreError]:
        return Failure(self._lost) if self._dead else super()._load(request)

    def _commit(self, transition: Transition) -> Committed:
        if self._dead:
            return Failure(self._lost)
        # Before the commit: the ids that it assigns follow this one.
        before = self._tables.mail.last_id
        answer = super()._commit(transition)
        if transition.messages or transition.inbound is not None:
            self._backend.sent(self.epoch, before, transition)
        return answer

    def close(self) -> FutureResult[None, StoreError]:
        """End this opening and its membership."""
        self._backend.leave(self.epoch)
        return super().close()

    def _refuse(self, operation: str) -> FutureResult[Never, Any]:
        return settled(Failure(self._lost)) if self._dead else super()._refuse(operation)

    @property
    def _lost(self) -> OwnershipLost:
        return OwnershipLost(f"epoch {self.epoch} of a shared memory store", self._ended)


@attrs.frozen
class _MemorySharing:
    opening: _SharedOpening
    backend: SharedMemoryBackend
    lease_ms: int

    def heartbeat(self, served: Served, /) -> FutureResult[Members, StoreError]:
        """Renew the lease, and return the members."""
        return self.opening.answer("renew the lease", lambda _: self.backend.beat(self.opening.epoch, served))

    def members(self) -> FutureResult[Members, StoreError]:
        """Return the members."""
        return self.opening.answer("read members", lambda _: self.backend.members())

    def due(
        self, now_ms: int, limit: int, share: Share, after: DuePosition | None = None, /
    ) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return a share's due instances."""
        return _those(self.opening.due(now_ms, _ALL, after), lambda row: row.address in share, limit)

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
        """Return the messages that this opening sent, and a share's messages that their writer does not deliver."""

        def may_deliver(one: StoredMessage) -> bool:
            origin = self.backend.origin(one.message_id)
            if origin == self.opening.epoch:
                return True
            return (origin not in others or one.message.sent_ms < old_ms) and one.message.target in share

        return _those(self.opening.messages(now_ms, _ALL, except_jobs), may_deliver, limit)

    def abandoned(
        self, after_incarnation: int, limit: int, share: Share, others: OtherEngines, /
    ) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return a share's instances that a dead engine has claimed."""

        def is_abandoned(row: Instance) -> bool:
            owners = {claim.owner for claim in (row.claim, row.event_claim) if claim is not None}
            return any(owner != self.opening.epoch and owner not in others for owner in owners) and row.address in share

        return _those(self.opening.claimed(after_incarnation, _ALL), is_abandoned, limit)


def _those(
    operation: FutureResult[tuple[A, ...], StoreError], is_wanted: Callable[[A], bool], limit: int
) -> FutureResult[tuple[A, ...], StoreError]:
    return converted(operation, lambda rows: tuple(islice(filter(is_wanted, rows), limit)))

"""One opening: a memory store that an engine uses until the next opening."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Never, TypeAlias, TypeVar, assert_never

import attrs
from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure.programs.future import settled
from perdure.stores.contract import Answered, NotCommitted, Store
from perdure.stores.memory.tables import Tables
from perdure.stores.values import (
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
    StoredWork,
)
from perdure.values.address import Address, Job
from perdure.values.attributes import StoredAttribute
from perdure.values.errors import Conflict, StoreError, StoreUnavailable
from perdure.values.event import Event
from perdure.values.instance import Fence, Instance
from perdure.values.listings import MAX_COUNTED, StoreCounts
from perdure.values.message import Consumed, StoredMessage
from perdure.values.status import Hold
from perdure.values.transition import KeepInstance, Loaded, Purge, Put, Transition

A = TypeVar("A")

Committed: TypeAlias = Result[Fence, NotCommitted]

_NOTHING = Loaded()
_LEFT = Fence(0, 0)


class OpenMemoryStore(Store):
    """The store, until this opening is closed or the store is opened again.

    Args:
        tables: the data.
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
        self.cursors = _MemoryCursors(self)
        self.counts = _MemoryCounts(self)
        self.attributes = _MemoryAttributes(self)
        self._tables = tables
        self._ended = ""  # why every operation is refused

    @property
    def is_open(self) -> bool:
        """Return whether operations are accepted."""
        return not self._ended

    def end(self, reason: str) -> None:
        """Refuse all later operations. The tables stay for the next opening."""
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
        answered([self._commit(transition) for transition in transitions])

    def _commit(self, transition: Transition) -> Committed:
        """Write one transition. All checks come before the first write."""
        if self._ended:
            return Failure(StoreUnavailable("commit", self._ended))
        tables, write = self._tables, transition.write
        before = None if type(write) is KeepInstance else tables.instances.get(transition.address)
        if type(write) is not KeepInstance and not _holds(transition.expected, before):
            return Failure(Conflict(str(transition.address)))
        # As a conflict: another turn has consumed the message, and its effect must not happen twice.
        if not all(map(tables.mail.is_living, transition.message_ids)):
            return Failure(Conflict(str(transition.address)))
        if transition.new_keys is not None and not tables.keys.are_new(transition.address, transition.new_keys):
            return Failure(Conflict(str(transition.address)))
        # All checks are above this line: a conflict must leave no message, key or event behind.
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

    def messages(self, now_ms: int, limit: int, /) -> FutureResult[tuple[StoredMessage, ...], StoreError]:
        """Return messages that may be delivered."""
        return self.answer("read messages", lambda tables: tables.mail.deliverable(now_ms, limit))

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
    return removed + tables.log.prune(retention.events_since_ms, retention.max_events, left)


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


def _counts(tables: Tables) -> StoreCounts:
    return StoreCounts(
        instances=tables.instances.counts(),
        oldest_due_ms=tables.instances.next_alarm(-1),
        messages=min(tables.mail.living, MAX_COUNTED),
        dead_letters=min(tables.mail.dead, MAX_COUNTED),
    )

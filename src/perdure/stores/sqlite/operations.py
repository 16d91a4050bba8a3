"""The store over a SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import attrs
from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure.programs.future import answer_of, answered_by, asked, converted
from perdure.runtime.record import DEFAULT_SIZES, Sizes
from perdure.stores.attributes import AttributeSearch, first_id, numbered
from perdure.stores.contract import Answered, Store
from perdure.stores.rows import CorruptRows, Row
from perdure.stores.sqlite import attributes, changes, queries, streams
from perdure.stores.sqlite.changes import append_events, event_values, prune
from perdure.stores.sqlite.counters import Counters, StatusCounts
from perdure.stores.sqlite.database import Note, Read
from perdure.stores.sqlite.group_commit import ChangeGroup, Write
from perdure.stores.sqlite.queries import Search
from perdure.stores.sqlite.schema import complaint_about, log_of, size_of
from perdure.stores.values import (
    Capabilities,
    Cursor,
    DuePosition,
    Durability,
    FilledPage,
    Found,
    Health,
    LoadRequest,
    LoggedEvent,
    Query,
    QueuedLane,
    Retention,
    StoredHistory,
    StoredWork,
)
from perdure.values.address import Address, Job
from perdure.values.attributes import StoredAttribute
from perdure.values.errors import StoreCorrupt, StoreError
from perdure.values.event import Event
from perdure.values.instance import Instance
from perdure.values.limits import KeepHistory
from perdure.values.listings import StoreCounts
from perdure.values.message import StoredMessage
from perdure.values.status import Hold
from perdure.values.stream import StoredGroup, StreamGroup
from perdure.values.transition import Loaded, Transition

A = TypeVar("A")


class RequestToFile(Protocol):
    """A read or a write that is not answered yet. It can be awaited again."""

    def __await__(self) -> Generator[Any, Any, Result[Any, Any]]: ...

    def send(self) -> None:
        """Send the request now, instead of awaiting it."""
        ...


class RequestsToFile(Protocol):
    """Passes reads and writes to a file: in batches to the one that an engine owns, or one by one to a file at rest."""

    def read(self, read: Read, note: Note = ..., /) -> RequestToFile:
        """Create a read. ``note`` is called with its answer."""
        ...

    def read_all(self, reads: Sequence[Read], answered: Callable[[Sequence[Result[Any, Any]]], None], /) -> None:
        """Send reads at once, and call a function with their answers."""
        ...

    def write(self, operation: str, work: Write, note: Note = ..., /) -> RequestToFile:
        """Create a write. It is answered when it is durable."""
        ...

    async def close(self) -> None:
        """Reject new requests, answer the others, and close the file."""
        ...


class SqliteStore(Store):
    """Encodes requests, and passes them to the file.

    Args:
        name: the store's name in messages.
        durability: which failures its commits survive.
        counted: returns the instances that are counted so far. None where other processes write, too.
        damage: the rows that cannot be read.
    """

    def __init__(
        self,
        batcher: RequestsToFile,
        file: Path,
        name: str,
        durability: Durability,
        *,
        counted: Callable[[], StatusCounts] | None,
        damage: CorruptRows | None = None,
        sizes: Sizes = DEFAULT_SIZES,
    ) -> None:
        self.name = name
        self.epoch = 0
        self.capabilities = Capabilities(ownership="owned", durability=durability)
        self.damage = CorruptRows() if damage is None else damage
        self.lanes = _SqliteLanes(self)
        self.journal = _SqliteJournal(self)
        self.streams = _SqliteStreams(self)
        self.cursors = _SqliteCursors(self)
        self.attributes = _SqliteAttributes(self)
        self.histories = _SqliteHistories(self)
        self.counts = None if counted is None else _SqliteCounts(self, counted, sizes.counted_parts)
        self.walked_keys = sizes.walked_keys
        self._sizes = sizes
        self._batcher = batcher
        self._file = file
        self._log = log_of(file)

    def commit(self, transitions: Sequence[Transition], answered: Answered[Any, Any], /) -> None:
        """Write several transitions together."""
        group = ChangeGroup(transitions)
        self._batcher.write("commit", group, partial(self._committed, transitions, group, answered)).send()

    def load(self, requests: Sequence[LoadRequest], answered: Answered[Any, Any], /) -> None:
        """Read several addresses together. If one cannot be read, read each by itself."""

        def note(answer: Result[list[Loaded], StoreError]) -> None:
            # One corrupt row must not fail the loads of other callers: each is read again on its own.
            if isinstance(answer, Success):
                self._all_loaded(requests, answered, [Success(loaded) for loaded in answer.unwrap()])
            else:
                self._load_each(requests, answered)

        # A second read after a failure helps the others of a group. A single request has none.
        if len(requests) == 1:
            self._load_each(requests, answered)
        else:
            self._batcher.read(
                Read("load", partial(queries.load_all, requests=requests, most=self._sizes.loaded_rows)), note
            ).send()

    def _load_each(self, requests: Sequence[LoadRequest], answered: Answered[Any, Any]) -> None:
        reads = [Read("load", partial(_load, request=each)) for each in requests]
        self._batcher.read_all(reads, partial(self._all_loaded, requests, answered))

    def due(
        self, now_ms: int, limit: int, after: DuePosition | None = None, except_jobs: tuple[Job, ...] = (), /
    ) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return the due instances."""
        damage = self.damage
        return self.read(
            "read due instances",
            lambda cursor: queries.due(cursor, damage, now_ms, limit, after, except_jobs),
        )

    def next_alarm(self, after_ms: int, /) -> FutureResult[int | None, StoreError]:
        """Return the earliest due instant after an instant."""
        return self.read("read the next alarm", lambda cursor: queries.next_alarm(cursor, after_ms))

    def claimed(self, after_incarnation: int, limit: int, /) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return instances with a claim."""
        damage = self.damage
        return self.read("read claims", lambda cursor: queries.claimed(cursor, damage, after_incarnation, limit))

    def left_to(self, codes: Mapping[Job, str], limit: int, /) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return the instances that other code left."""
        damage = self.damage
        return self.read("read left instances", lambda cursor: queries.left_to(cursor, damage, codes, limit))

    def messages_left_to(
        self, codes: Mapping[Job, str], limit: int, /
    ) -> FutureResult[tuple[StoredMessage, ...], StoreError]:
        """Return the messages that other code left."""
        damage = self.damage
        return self.read(
            "read messages that are left", lambda cursor: queries.messages_left_to(cursor, damage, codes, limit)
        )

    def messages(
        self, now_ms: int, limit: int, except_jobs: tuple[Job, ...] = (), /
    ) -> FutureResult[tuple[StoredMessage, ...], StoreError]:
        """Return the messages that may be delivered."""
        damage = self.damage
        return self.read("read messages", lambda cursor: queries.messages(cursor, damage, now_ms, limit, except_jobs))

    def next_message(self, after_ms: int, /) -> FutureResult[int | None, StoreError]:
        """Return the earliest instant, after an instant, that a message waits for."""
        return self.read("read the next message", lambda cursor: queries.next_message(cursor, after_ms))

    def dead_letters(self, after_id: int, limit: int, /) -> FutureResult[tuple[StoredMessage, ...], StoreError]:
        """Return dead letters."""
        damage = self.damage
        return self.read("read dead letters", lambda cursor: queries.dead_letters(cursor, damage, after_id, limit))

    def redrive(
        self, message_id: int, events: Sequence[Event] = (), /
    ) -> FutureResult[Literal["redriven", "not_found"], StoreError]:
        """Turn a dead letter into a message again, and log events."""
        # Encoded here, in the caller's thread: a value that does not encode must not undo a group.
        rows = tuple(map(event_values, events))
        return self.write("redrive", lambda cursor, counters: _redrive(cursor, counters, message_id, rows))

    def find(self, query: Query, /) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return a page of instances. The search runs in chunks, between which other requests run."""
        return converted(asked(self._search(query, None)), lambda found: found.instances)

    def search(self, query: Query, max_scanned: int, /) -> FutureResult[Found, StoreError]:
        """Return a page of instances, or what the next ``max_scanned`` hold."""
        return asked(self._search(query, max_scanned))

    def history(
        self, address: Address, before: int | None, limit: int, /
    ) -> FutureResult[tuple[LoggedEvent, ...], StoreError]:
        """Return an address's newest events."""
        return self.read("read history", lambda cursor: queries.history(cursor, address, before, limit))

    def events(self, after: int, limit: int, /) -> FutureResult[tuple[LoggedEvent, ...], StoreError]:
        """Return logged events."""
        return self.read("read events", lambda cursor: queries.events(cursor, after, limit))

    def holds(self) -> FutureResult[tuple[Job, ...], StoreError]:
        """Return the held jobs."""
        return self.read("read holds", queries.holds)

    def set_hold(self, job: Job, hold: Hold, /) -> FutureResult[Literal["changed", "unchanged"], StoreError]:
        """Hold or release a job, in a group with other writes."""
        return self.write("hold", lambda cursor, _: changes.set_hold(cursor, job, hold))

    def prune(self, retention: Retention, /) -> FutureResult[int, StoreError]:
        """Delete rows past their retention."""
        return self.write("prune", lambda cursor, counters: prune(cursor, counters, retention))

    def health(self) -> FutureResult[Health, StoreError]:
        """Read a row, and report corrupt rows and a blocked write-ahead log."""
        return asked(self._health())

    def close(self) -> FutureResult[None, StoreError]:
        """Wait for pending requests, close the file and release the lock."""
        return asked(self._close())

    async def _search(self, query: Query, max_scanned: int | None) -> Result[Found, StoreError]:
        if query.where:
            return await self._search_by_attributes(query, max_scanned)
        found: tuple[Instance, ...] = ()
        search, left = Search.of(query, self._sizes.searched_rows), max_scanned
        # A new read for each chunk, through the queue: one long statement would delay every commit behind it.
        while search.after is not None and len(found) < query.limit and (left is None or left > 0 or search.is_between):
            work = partial(search.portion, damage=self.damage, limit=query.limit - len(found))
            answer = await self._batcher.read(Read("find", work))
            if not isinstance(answer, Success):
                return Failure(answer.failure())
            portion, search = answer.unwrap()
            found += portion
            left = None if left is None else left - search.size
        if found and len(found) == query.limit:
            return Success(Found(instances=found, after=found[-1].address))
        return Success(Found(instances=found, after=None if search.after is None else Address(*search.after)))

    async def _search_by_attributes(self, query: Query, max_scanned: int | None) -> Result[Found, StoreError]:
        begun = await self.begin_search(query)
        if not isinstance(begun, Success):
            return Failure(begun.failure())
        search: AttributeSearch | None = begun.unwrap()
        found: tuple[Instance, ...] = ()
        job, after, scanned = (query.kind or "", query.name or ""), first_id(query), 0
        while search is not None and after is not None and (max_scanned is None or scanned < max_scanned):
            work = partial(attributes.portion, search=search, damage=self.damage, after=after)
            answer = await self._batcher.read(Read("find", partial(work, limit=query.limit - len(found))))
            if not isinstance(answer, Success):
                return Failure(answer.failure())
            portion, after, read = answer.unwrap()
            found, scanned = found + portion, scanned + read
            if len(found) == query.limit:
                return Success(Found(instances=found, after=found[-1].address))
        at_end = search is None or after is None
        return Success(Found(instances=found, after=None if at_end or not after else Address(*job, after)))

    async def begin_search(self, query: Query) -> Result[AttributeSearch | None, StoreError]:
        """Return the search of a query by attributes. None if nothing matches."""

        def work(cursor: sqlite3.Cursor) -> AttributeSearch | None:
            numbers = {
                name: number
                for (kind, job, name), number in attributes.numbers_of(cursor).items()
                if (kind, job) == (query.kind, query.name)
            }
            ranges = numbered(query.where, numbers)
            if ranges is None:
                return None
            search = AttributeSearch(query=query, ranges=ranges, size=self._sizes.searched_rows)
            return attributes.lengths(cursor, search)

        return await self._batcher.read(Read("find", work))

    def _loaded(self, address: Address, loaded: Result[Loaded, StoreError]) -> None:
        match loaded:
            case Success(Loaded(instance=Instance())):
                self.damage.forget(address)
            case Failure(StoreCorrupt() as error):
                self.damage.note(error)
            case _:
                pass

    def _all_loaded(
        self,
        requests: Sequence[LoadRequest],
        answered: Answered[Any, Any],
        answers: Sequence[Result[Loaded, StoreError]],
    ) -> None:
        for request, answer in zip(requests, answers, strict=True):
            self._loaded(request.address, answer)
        answered(answers)

    def _committed(
        self,
        transitions: Sequence[Transition],
        group: ChangeGroup,
        answered: Answered[Any, Any],
        answer: Result[list[Any], Any],
    ) -> None:
        answers = group.answers(answer)
        # A write replaces a corrupt row: health must not report the new one.
        if self.damage:
            for transition, each in zip(transitions, answers, strict=True):
                if isinstance(each, Success):
                    self.damage.forget(transition.address)
        answered(answers)

    async def _health(self) -> Result[Health, StoreError]:
        answer = await self._batcher.read(Read("check its health", lambda cursor: _look(cursor, self._log)))
        match answer:
            case Success(complaint):
                details = [detail for detail in (str(self.damage), complaint) if detail]
                health = Health(
                    state="degraded" if details else "ok",
                    detail="; ".join(details),
                    file_bytes=size_of(self._file),
                    log_bytes=size_of(self._log),
                )
                return Success(health)
            case _:
                return Success(Health(state="failed", detail=str(answer.failure())))

    async def _close(self) -> Result[None, StoreError]:
        await self._batcher.close()
        return Success(None)

    # ------------------------------------------------------------ for the capabilities
    def read(self, operation: str, work: Callable[[sqlite3.Cursor], A]) -> FutureResult[A, StoreError]:
        """Read the file."""
        return answered_by(self._batcher.read(Read(operation, work)))

    def write(self, operation: str, work: Callable[[sqlite3.Cursor, Counters], A]) -> FutureResult[A, Any]:
        """Change the file."""
        return answered_by(self._batcher.write(operation, lambda cursor, counters: Success(work(cursor, counters))))


@attrs.frozen
class _SqliteLanes:
    store: SqliteStore

    def names(self, job: Job, after: str | None, limit: int, /) -> FutureResult[tuple[str, ...], StoreError]:
        """Return a job's next lanes."""
        return self.store.read("read lanes", lambda cursor: queries.lanes(cursor, job, after, limit))

    def queued(self, job: Job, lanes: Sequence[str], limit: int, /) -> FutureResult[tuple[QueuedLane, ...], StoreError]:
        """Return the first queued instances in each lane."""
        damage = self.store.damage
        return self.store.read(
            "read queued instances", lambda cursor: queries.queued(cursor, damage, job, lanes, limit)
        )

    def last_rank(self, job: Job, /) -> FutureResult[int | None, StoreError]:
        """Return the greatest rank."""
        return self.store.read("read the last rank", lambda cursor: queries.last_rank(cursor, job))


@attrs.frozen
class _SqliteJournal:
    store: SqliteStore

    def read(
        self, address: Address, incarnation: int, first: int, limit: int, /
    ) -> FutureResult[tuple[str, ...], StoreError]:
        """Return journal rows."""
        return self.store.read(
            "read a journal", lambda cursor: queries.journal(cursor, address, incarnation, first, limit)
        )


@attrs.frozen
class _SqliteStreams:
    store: SqliteStore

    def append(self, groups: Sequence[StreamGroup], /) -> FutureResult[tuple[int | None, ...], Any]:
        """Append groups, in a transaction with other writes."""
        return self.store.write("append to a stream", lambda cursor, counters: streams.append(cursor, counters, groups))

    def read(
        self, address: Address, incarnation: int, stream: str, after: int, limit: int, max_bytes: int, /
    ) -> FutureResult[tuple[StoredGroup, ...], StoreError]:
        """Return groups."""
        return self.store.read(
            "read a stream",
            lambda cursor: streams.read(cursor, address, incarnation, stream, after, limit, max_bytes=max_bytes),
        )

    def last(self, _: Address, incarnation: int, stream: str, /) -> FutureResult[int, StoreError]:
        """Return the newest offset."""
        return self.store.read("read a stream", lambda cursor: streams.last(cursor, incarnation, stream))


@attrs.frozen
class _SqliteHistories:
    store: SqliteStore

    def declare(self, jobs: Mapping[Job, KeepHistory], /) -> FutureResult[None, StoreError]:
        """Change how long histories are kept, in a group with other writes."""
        return self.store.write("declare histories", lambda cursor, _: changes.declare_histories(cursor, jobs))

    def known(self) -> FutureResult[tuple[StoredHistory, ...], StoreError]:
        """Return the histories."""
        return self.store.read("read histories", queries.histories)


@attrs.frozen
class _SqliteCursors:
    store: SqliteStore

    def read(self, name: str, /) -> FutureResult[Cursor, StoreError]:
        """Return a sink's position."""
        return self.store.read("read a cursor", lambda cursor: queries.cursor_of_sink(cursor, name))

    def move(self, name: str, sequence: int, events: Sequence[Event] = (), /) -> FutureResult[None, StoreError]:
        """Move a sink forward, and log events, in a group with other writes."""
        rows = tuple(map(event_values, events))
        return self.store.write(
            "move a cursor", lambda cursor, counters: changes.move_cursor(cursor, counters, name, sequence, rows)
        )


@attrs.define
class _SqliteAttributes:
    store: SqliteStore
    declared: Mapping[Job, Mapping[str, str]] = attrs.Factory(dict[Job, "Mapping[str, str]"])

    def declare(self, jobs: Mapping[Job, Mapping[str, str]], /) -> FutureResult[None, StoreError]:
        """Begin new and changed attributes."""

        def work(cursor: sqlite3.Cursor, counters: Counters) -> None:
            # In the transaction: the changes behind this one write the numbers that it assigned.
            counters.attributes = attributes.declare(cursor, jobs)
            self.declared = jobs

        return self.store.write("declare attributes", work)

    def known(self) -> FutureResult[tuple[StoredAttribute, ...], StoreError]:
        """Return the known attributes."""
        return self.store.read("read attributes", attributes.known)

    def clear(self, job: Job, attribute: str, limit: int, /) -> FutureResult[int, StoreError]:
        """Delete some keys."""

        def work(cursor: sqlite3.Cursor, counters: Counters) -> int:
            declared = attribute in self.declared.get(job, {})
            gone = attributes.clear(cursor, job, attribute, limit, declared=declared)
            counters.attributes = attributes.numbers_of(cursor)
            return gone

        return self.store.write("clear an attribute", work)

    def fill(self, job: Job, page: FilledPage, /) -> FutureResult[tuple[str, ...], StoreError]:
        """Write a page."""
        return self.store.write(
            "fill attributes", lambda cursor, counters: attributes.fill(cursor, counters.attributes, job, page)
        )

    def count(self, query: Query, /) -> FutureResult[int, StoreError]:
        """Count the instances that match. Other requests run between the portions."""
        return asked(self._count(query))

    async def _count(self, query: Query) -> Result[int, StoreError]:
        # Without the page's position: all matches are counted.
        begun = await self.store.begin_search(attrs.evolve(query, after=None))
        search = begun.value_or(None)
        if search is None:
            return begun.map(lambda _: 0)
        if search.is_plain:
            # No id is empty, so each instance with the first key is behind this position.
            portion = partial(attributes.count_portion, search=search, size=search.most)
            return await self._summed(portion, (search.ranges[0].low, ""))
        if search.is_of_keys:
            long = partial(attributes.are_long, search=search, most=self.store.walked_keys)
            answer = await answer_of(self.store.read("count", long))
            if not isinstance(answer, Success):
                return Failure(answer.failure())
            if answer.unwrap():
                return await self._summed(partial(attributes.count_walking, search=search), 0)
        return await self._summed(partial(attributes.count_matches, search=search), "")

    async def _summed(self, portion: Callable[..., tuple[int, Any]], after: Any) -> Result[int, StoreError]:
        """Add up the numbers of all portions. Each begins after the end of the one before."""
        total = 0
        while after is not None:
            answer = await answer_of(self.store.read("count", partial(portion, after=after)))
            if not isinstance(answer, Success):
                return Failure(answer.failure())
            number, after = answer.unwrap()
            total += number
        return Success(total)


@attrs.frozen
class _SqliteCounts:
    store: SqliteStore
    counted: Callable[[], StatusCounts]
    parts: int

    def instances(self) -> FutureResult[StoreCounts, StoreError]:
        """Count instances and messages. Other requests run between the portions."""
        return asked(self._instances())

    def work(self, jobs: Sequence[Job], until_ms: int, limit: int, /) -> FutureResult[StoredWork, StoreError]:
        """Count the jobs' work."""
        return self.store.read("count the work", lambda cursor: queries.work(cursor, jobs, until_ms, limit))

    def has_work(self, job: Job, /) -> FutureResult[bool, StoreError]:
        """Return whether a job has work."""
        return self.store.read("look for work", lambda cursor: queries.has_work(cursor, job))

    def messages(
        self, pairs: Sequence[tuple[Address, Address]], limit: int, /
    ) -> FutureResult[tuple[int, ...], StoreError]:
        """Count messages for each sender and target."""
        return self.store.read("count messages", lambda cursor: queries.count_messages(cursor, pairs, limit))

    async def _instances(self) -> Result[StoreCounts, StoreError]:
        # A bounded number of portions: a caller gets an incomplete count, and the next one continues from there.
        for _ in range(self.parts - 1):
            counted = await answer_of(self._count_on())
            if not isinstance(counted, Success) or counted.unwrap().complete:
                return counted
        return await answer_of(self._count_on())

    def _count_on(self) -> FutureResult[StoreCounts, StoreError]:
        return self.store.read("count", lambda cursor: queries.counts(cursor, self.counted()))


def _load(cursor: sqlite3.Cursor, request: LoadRequest) -> Loaded:
    return queries.load(cursor, request.address, request.idempotency_key, request.now_ms)


def _look(cursor: sqlite3.Cursor, log: Path) -> str:
    cursor.execute("SELECT epoch FROM counters").fetchone()
    return complaint_about(log)


def _redrive(
    cursor: sqlite3.Cursor, counters: Counters, message_id: int, events: Sequence[Row]
) -> Literal["redriven", "not_found"]:
    outcome = changes.redrive(cursor, message_id)
    if outcome == "redriven":
        append_events(cursor, counters, events)
    return outcome

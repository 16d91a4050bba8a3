"""Opens a PostgreSQL schema as a store: owned by one engine, or shared by several, each with its share of the work.

The operations of the event log and of attributes are here, too.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from socket import gethostname
from typing import Any, Final, Literal, TypeAlias, TypeVar, assert_never

import attrs
import orjson
from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure.programs.future import answered_by, asked, converted, settled
from perdure.runtime.record import LogRecord, Runtime
from perdure.stores.contract import OwnershipListener, Store
from perdure.stores.postgres.connections import (
    COMMAND_TIMEOUT_S,
    DRIVER_ERRORS,
    EPOCH_ENDED,
    READ_ONLY,
    UNSENDABLE,
    ConnectionPool,
    NoConnection,
    PostgresConnections,
    Rows,
    connect,
    is_worth_waiting,
    state_of,
    unavailable,
)
from perdure.stores.postgres.encoding import (
    EVENT_COLUMNS,
    INSTANCE_COLUMNS,
    MESSAGE_COLUMNS,
    Row,
    arrays,
    decoded,
    encoded,
    event_from,
    event_row,
    instance_from,
    message_from,
)
from perdure.stores.postgres.operations import PostgresOperations
from perdure.stores.postgres.ownership import (
    Lease,
    LockRecovery,
    NotificationListener,
    OwnerLock,
    check_locks,
)
from perdure.stores.postgres.queries import (
    InstanceQueries,
    InstanceSearch,
    PostgresCounts,
    PostgresJournal,
    PostgresLanes,
    PostgresStreams,
    begin_search,
    due_place,
    due_row,
    measured,
    numbered_marks,
)
from perdure.stores.postgres.reader import PostgresReader
from perdure.stores.postgres.schema import migrate, no_schema, version_of
from perdure.stores.postgres.settings import PostgresSettings
from perdure.stores.shares import Members, Served, ServedCode, Share, StoreMember
from perdure.stores.values import (
    Capabilities,
    Cursor,
    DuePosition,
    FilledPage,
    Health,
    LoggedEvent,
    OnLocked,
    Query,
    Retention,
    StoredHistory,
)
from perdure.values.address import Address, Job
from perdure.values.attributes import StoredAttribute
from perdure.values.errors import OutcomeUnknown, StoreError, StoreLocked, StoreMissing, StoreUnavailable
from perdure.values.event import Event
from perdure.values.instance import Instance
from perdure.values.limits import KeepHistory
from perdure.values.message import StoredMessage
from perdure.values.turn_inputs import OtherEngines

# ruff: noqa: S608 - the texts are made of constants and the checked name of the schema; values are always bound

_LAST: Final = 2**63 - 1
_EVENT_WIDTH: Final = 4


class PostgresEventLog:
    """Reads and writes the log through a store's statements."""

    def __init__(self, operations: PostgresOperations) -> None:
        self._operations = operations
        self._schema = operations.schema
        self._kept: tuple[int, int] | None = None  # a bound of the newest events, while a prune continues

    def history(
        self, address: Address, before: int | None, limit: int, /
    ) -> FutureResult[tuple[LoggedEvent, ...], StoreError]:
        """Return an address's newest events."""
        # Both in one statement, and so as of one moment: retention moves events from one table to the other.
        both = " UNION ALL ".join(
            f"(SELECT {EVENT_COLUMNS} FROM {self._schema}.{table} WHERE address = $1 AND sequence < $2"
            " ORDER BY sequence DESC LIMIT $3)"
            for table in ("events", "kept_events")
        )
        # Each half has its own LIMIT: the newest `limit` events of both tables are among the newest of each.
        sql = f"{both} ORDER BY sequence DESC LIMIT $3"
        found = self._operations.read(
            "read history", sql, encoded(str(address)), _LAST if before is None else before, limit
        )
        return converted(answered_by(found), _logged)

    def events(self, after: int, limit: int, /) -> FutureResult[tuple[LoggedEvent, ...], StoreError]:
        """Return the log's events, up to the first transaction that still writes."""
        # `log_page` ends before the first transaction that still writes: its events have lower numbers than some
        # committed ones, and a sink that has read past them would never return to them.
        sql = f"""
            SELECT {EVENT_COLUMNS} FROM {self._schema}.log_page($1, $2)
        """
        return converted(answered_by(self._operations.read("read events", sql, after, limit)), _logged)

    def redrive(
        self, message_id: int, events: Sequence[Event] = (), /
    ) -> FutureResult[Literal["redriven", "not_found"], StoreError]:
        """Turn a dead letter into a message again, and log events."""
        operations = self._operations
        sql = f"SELECT {self._schema}.redrive($1, $2, $3, $4::text[], $5::text[], $6::bigint[], $7::text[])"
        values = (operations.epoch, operations.durability, message_id, *_arrays(events))
        found = answered_by(operations.write("redrive", sql, *values))
        return converted(found, lambda rows: "redriven" if rows[0][0] else "not_found")

    def prune(self, retention: Retention, /) -> FutureResult[int, StoreError]:
        """Delete expired keys, old dead letters, then the oldest events."""
        return asked(self._prune(retention))

    async def _prune(self, retention: Retention) -> Result[int, StoreError]:
        operations = self._operations
        # Found by position: event numbers have gaps here, so no arithmetic tells which the newest ones are.
        found = await self._first_kept(retention.max_events)
        if not isinstance(found, Success):
            return Failure(found.failure())
        sql = f"SELECT {self._schema}.prune($1, $2, $3, $4, $5, $6, $7)"
        since = (retention.now_ms, retention.dead_letters_since_ms, retention.events_since_ms)
        values = (operations.epoch, operations.durability, *since, found.unwrap(), retention.limit)
        pruned = (await operations.write("prune", sql, *values)).map(lambda rows: int(rows[0][0]))
        # A short page ends the pass: the next pass must find the newest events again, because the log has grown.
        if pruned.value_or(0) < retention.limit:
            self._kept = None
        return pruned

    async def _first_kept(self, max_events: int) -> Result[int, Any]:
        """Return the oldest event number that `max_events` keeps. It serves one pruning pass with several calls."""
        # Kept during one pass: the search for the position reads as many index entries as there are events to keep.
        if self._kept is not None and self._kept[0] == max_events:
            return Success(self._kept[1])
        sql = f"SELECT sequence FROM {self._schema}.events ORDER BY sequence DESC OFFSET $1 LIMIT 1"
        found = await self._operations.read("prune", sql, max_events)
        # An empty answer means that fewer events exist: 0 keeps all of them.
        first = found.map(lambda rows: int(rows[0][0]) + 1 if rows else 0)
        if isinstance(first, Success):
            self._kept = (max_events, first.unwrap())
        return first


class PostgresHistories:
    """Keeps events of some jobs longer than the log."""

    def __init__(self, operations: PostgresOperations) -> None:
        self._operations = operations

    def declare(self, jobs: Mapping[Job, KeepHistory], /) -> FutureResult[None, StoreError]:
        """Change how long histories are kept."""
        operations = self._operations
        names = [encoded(f"{kind}:{name}") for kind, name in jobs]
        ages = [each.age_ms for each in jobs.values()]
        numbers = [each.events for each in jobs.values()]
        sql = f"SELECT {operations.schema}.declare_histories($1, $2, $3::text[], $4::bigint[], $5::bigint[])"
        values = (operations.epoch, operations.durability, names, ages, numbers)
        return converted(answered_by(operations.write("declare histories", sql, *values)), lambda _: None)

    def known(self) -> FutureResult[tuple[StoredHistory, ...], StoreError]:
        """Return the histories."""
        s = self._operations.schema
        sql = f"""
            SELECT h.job, h.age_ms, h.events,
              coalesce((SELECT max(k.number) - min(k.number) + 1 FROM {s}.kept_events AS k WHERE k.job = h.job), 0)
            FROM {s}.histories AS h
        """
        found = answered_by(self._operations.read("read histories", sql))
        # Sorted by kind, then name: the column holds both as one text, in which ':' sorts between other characters.
        return converted(
            found, lambda rows: tuple(StoredHistory(*row) for row in sorted((*_job(row[0]), *row[1:]) for row in rows))
        )


def _job(printed: str) -> Job:
    kind, _, name = decoded(printed).partition(":")
    return kind, name


class PostgresAttributes:
    """Keeps attributes through a store's statements."""

    def __init__(self, operations: PostgresOperations) -> None:
        self._operations = operations
        self._schema = operations.schema

    def declare(self, jobs: Mapping[Job, Mapping[str, str]], /) -> FutureResult[None, StoreError]:
        """State the attributes that this opening computes."""
        declared = {f"{kind}:{name}": dict(each) for (kind, name), each in jobs.items()}
        sql = f"SELECT {self._schema}.declare_attributes($1, $2, $3::text::jsonb)"
        operations = self._operations
        values = (operations.epoch, operations.durability, orjson.dumps(declared).decode())
        return converted(answered_by(operations.write("declare attributes", sql, *values)), lambda _: None)

    def known(self) -> FutureResult[tuple[StoredAttribute, ...], StoreError]:
        """Return the known attributes."""
        sql = f"SELECT * FROM {self._schema}.known_attributes()"
        return converted(answered_by(self._operations.read("read attributes", sql)), _known_attributes)

    def clear(self, job: Job, attribute: str, limit: int, /) -> FutureResult[int, StoreError]:
        """Delete some keys."""
        operations = self._operations
        sql = f"SELECT {self._schema}.clear_attribute($1, $2, $3, $4, $5, $6)"
        values = (operations.epoch, operations.durability, *map(encoded, job), attribute, limit)
        return converted(answered_by(operations.write("clear an attribute", sql, *values)), lambda rows: rows[0][0])

    def fill(self, job: Job, page: FilledPage, /) -> FutureResult[tuple[str, ...], StoreError]:
        """Write a page."""
        operations = self._operations
        sql = f"""
            SELECT * FROM {self._schema}.fill_attributes($1, $2, $3, $4, $5::text[], $6::bigint[], $7::text[],
              $8::bigint[], $9::bigint[], $10::int[], $11::text[], $12::text[], $13)
        """
        keys = [(number, name, key) for number, row in enumerate(page.rows, 1) for name, key in row.keys]
        values = (
            *(operations.epoch, operations.durability, *map(encoded, job)),
            *([name for name, _ in page.generations], [generation for _, generation in page.generations]),
            [encoded(row.id) for row in page.rows],
            *([row.incarnation for row in page.rows], [row.version for row in page.rows]),
            *([number for number, _, _ in keys], [name for _, name, _ in keys], [encoded(key) for _, _, key in keys]),
            page.rest == "none",
        )
        filled = answered_by(operations.write("fill attributes", sql, *values))
        return converted(filled, lambda rows: tuple(decoded(row[0]) for row in rows))

    def count(self, query: Query, /) -> FutureResult[int, StoreError]:
        """Count the instances that match."""
        return asked(self._count(query))

    async def _count(self, query: Query) -> Result[int, StoreError]:
        # The position is dropped: a page's query counts all matches, not those behind the page.
        begun = await begin_search(self._operations, attrs.evolve(query, after=None))
        search = begun.value_or(None)
        if search is None:
            return begun.map(lambda _: 0)
        total, after, most, read = 0, "", self._operations.walked_keys, self._operations.read
        # If each range is long, to join them is faster than to look up each instance. One range needs no choice.
        lengths = Success([(most,)]) if search.is_plain else await read("count", *numbered_marks(search.lengths(most)))
        if not isinstance(lengths, Success):
            return Failure(lengths.failure())
        if search.is_of_keys and min(lengths.unwrap()[0]) >= most:
            return (await read("count", *numbered_marks(search.count_all()))).map(lambda rows: rows[0][0])
        while True:
            answer = await read("count", *numbered_marks(search.count_portion(after)))
            if not isinstance(answer, Success):
                return Failure(answer.failure())
            ((looked_at, number, last),) = answer.unwrap()
            total += number
            # A portion that is not full is the last one. Its last id may be null, so it is not read.
            if looked_at < search.size:
                return Success(total)
            after = decoded(last)


def _known_attributes(rows: Sequence[Row]) -> tuple[StoredAttribute, ...]:
    return tuple(
        StoredAttribute(
            kind=decoded(row[0]),
            name=decoded(row[1]),
            attribute=row[2],
            fingerprint=row[3],
            state=row[4],
            position=decoded(row[5]),
            generation=row[6],
            failures=row[7],
            doubt="some" if row[8] else "none",
        )
        for row in rows
    )


class PostgresCursors:
    """Reads and moves sink positions."""

    def __init__(self, operations: PostgresOperations) -> None:
        self._operations = operations

    def read(self, name: str, /) -> FutureResult[Cursor, StoreError]:
        """Return a sink's position, and the newest event's number."""
        sql = f"SELECT sequence, last, deleted FROM {self._operations.schema}.cursor_of($1)"
        found = answered_by(self._operations.read("read a cursor", sql, encoded(name)))
        return converted(found, lambda rows: Cursor(sequence=rows[0][0], last=rows[0][1], deleted=rows[0][2]))

    def move(self, name: str, sequence: int, events: Sequence[Event] = (), /) -> FutureResult[None, StoreError]:
        """Move a sink forward, and log events."""
        operations = self._operations
        sql = (
            f"SELECT {operations.schema}.move_cursor($1, $2, $3, $4, $5::text[], $6::text[], $7::bigint[], $8::text[])"
        )
        values = (operations.epoch, operations.durability, encoded(name), sequence, *_arrays(events))
        return converted(answered_by(operations.write("move a cursor", sql, *values)), lambda _: None)


def _arrays(events: Sequence[Event]) -> list[Sequence[Any]]:
    return arrays([event_row(event) for event in events], _EVENT_WIDTH)


def _logged(rows: Sequence[Any]) -> tuple[LoggedEvent, ...]:
    return tuple(event_from(tuple(row)) for row in rows)


# ruff: noqa: S608 - the texts are made of constants and the checked name of the schema; values are always bound

_FIRST: Final = -(2**63)
_SIGN: Final = 1 << 63
_NOW_MS: Final = "floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
_MEMBER: Final = f"epoch, served, joined_ms, lease_left_ms, label, last_epoch, {_NOW_MS}"

_Bits: TypeAlias = tuple[list[str], list[str], list[int]]


class PostgresSharing:
    """Divides a store among its engines, through one engine's statements."""

    def __init__(self, operations: PostgresOperations, queries: InstanceQueries, lease_ms: int) -> None:
        self._operations = operations
        self._queries = queries
        self.lease_ms = lease_ms
        self._schema = operations.schema

    # ------------------------------------------------------------ membership
    def heartbeat(self, served: Served, /) -> FutureResult[Members, StoreError]:
        """Renew this opening's lease, and return the members."""
        return asked(self._heartbeat(served))

    async def _heartbeat(self, served: Served) -> Result[Members, StoreError]:
        operations = self._operations
        jobs = orjson.dumps([(kind, name, code.version, code.code) for (kind, name), code in served.items()])
        # The renewal and the members are one statement: an idle engine sends few.
        sql = f"SELECT {_MEMBER} FROM {self._schema}.beat($1, $2, $3)"
        beaten = await operations.heartbeat(sql, operations.epoch, jobs.decode(), self.lease_ms)
        match beaten:
            case Failure(OutcomeUnknown(reason=reason)):  # to repeat it does no harm
                return Failure(StoreUnavailable("renew the lease", reason))
            case _:
                return beaten.map(_members)

    def members(self) -> FutureResult[Members, StoreError]:
        """Return the members."""
        return asked(self._read_members())

    async def _read_members(self) -> Result[Members, StoreError]:
        sql = f"SELECT {_MEMBER} FROM {self._schema}.members()"
        return (await self._operations.read("read the members", sql)).map(_members)

    # ------------------------------------------------------------ shares
    def due(
        self, now_ms: int, limit: int, share: Share, after: DuePosition | None = None, /
    ) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return a share's due instances."""
        sql = f"""
            SELECT {INSTANCE_COLUMNS}, due_ms
            FROM {self._schema}.due_in_share($1, $2, $3, $4, $5::text[], $6::text[], $7::bigint[])
        """
        bits = _bits(share)

        def fetch(place: Row, wanted: int) -> Awaitable[Result[Any, Any]]:
            return self._operations.read("read due instances", sql, now_ms, *place, wanted, *bits)

        return asked(self._queries.readable(fetch, due_row, due_place, after or (_FIRST, 0), limit))

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
        sql = f"""
            SELECT {MESSAGE_COLUMNS} FROM {self._schema}.heads_in_share(
              $1, $2, $3, $4, $5::bigint[], $6, $7, $8::text[], $9::text[], $10::bigint[], $11::text[], $12::text[])
        """
        kinds, names = [encoded(kind) for kind, _ in except_jobs], [encoded(name) for _, name in except_jobs]
        rest = (self._operations.epoch, *_known(others), old_ms, *_bits(share), kinds, names)

        def fetch(place: Row, wanted: int) -> Awaitable[Result[Any, Any]]:
            return self._operations.read("read messages", sql, *place, now_ms, wanted, *rest)

        return asked(self._queries.readable(fetch, message_from, lambda row: row[:1], (_FIRST,), limit))

    def abandoned(
        self, after_incarnation: int, limit: int, share: Share, others: OtherEngines, /
    ) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return a share's instances that a dead engine has claimed."""
        sql = f"""
            SELECT {INSTANCE_COLUMNS}
            FROM {self._schema}.abandoned($1, $2, $3, $4::bigint[], $5, $6::text[], $7::text[], $8::bigint[])
        """
        rest = (self._operations.epoch, *_known(others), *_bits(share))

        def fetch(place: Row, wanted: int) -> Awaitable[Result[Any, Any]]:
            return self._operations.read("read claims", sql, *place, wanted, *rest)

        return asked(self._queries.readable(fetch, instance_from, lambda row: row[:1], (after_incarnation,), limit))


def _known(others: OtherEngines) -> tuple[list[int], int]:
    # The parameter is a bigint, and an engine without others knows of every number.
    return sorted(others.living), min(others.known_up_to, _LAST)


def _bits(share: Share) -> _Bits:
    jobs = share.buckets.items()
    kinds, names = [encoded(kind) for (kind, _), _ in jobs], [encoded(name) for (_, name), _ in jobs]
    # One bit for each of 64 buckets, in a signed column: see `_signed`.
    return kinds, names, [_signed(sum(1 << bucket for bucket in buckets)) for _, buckets in jobs]


def _signed(bits: int) -> int:
    # PostgreSQL has no unsigned bigint: bucket 63 is the sign bit, which `>>` and `& 1` read as any other.
    return bits - 2 * _SIGN if bits & _SIGN else bits


def _members(rows: Sequence[Row]) -> Members:
    members = tuple(
        StoreMember(
            epoch=row[0],
            served={(kind, name): ServedCode(*code) for kind, name, *code in orjson.loads(row[1])},
            joined_ms=row[2],
            lease_left_ms=row[3],
            label=row[4],
        )
        for row in rows
    )
    # Each row carries both numbers. Without members there is no row.
    last_epoch, now_ms = max((row[5] for row in rows), default=0), max((row[6] for row in rows), default=0)
    return Members(members=members, last_epoch=last_epoch, now_ms=now_ms)


T = TypeVar("T")


class PostgresStore(PostgresOperations, InstanceSearch, PostgresEventLog, Store):
    """A schema as a store.

    Attributes:
        notifications: calls the engine when an application has written messages. None for a reader.
        lock_recovery: takes an owned store's lock again.
    """

    notifications: NotificationListener | None = None
    lock_recovery: LockRecovery | None = None

    def __init__(
        self,
        runtime: Runtime,
        settings: PostgresSettings,
        connections: PostgresConnections,
        lock: OwnerLock | Lease | None,
        epoch: int,
    ) -> None:
        # First: the other two read `schema` when they are made.
        PostgresOperations.__init__(self, runtime, settings, connections, lock, epoch)
        InstanceSearch.__init__(self, self)
        PostgresEventLog.__init__(self, self)
        self.name = settings.name
        self.capabilities = Capabilities(ownership=settings.ownership, durability=settings.durability)
        self.lanes = PostgresLanes(self, self)
        self.journal = PostgresJournal(self)
        self.streams = PostgresStreams(self)
        self.cursors = PostgresCursors(self)
        self.counts = PostgresCounts(self, runtime, keeper=self)
        self.attributes = PostgresAttributes(self)
        self.histories = PostgresHistories(self)
        self.cache_bytes = settings.cache_bytes
        self.lost = self._lost
        self.runtime = runtime

    def listen(self, listener: Callable[[], None], /) -> bool:
        """Call a listener when another process has notified the schema."""
        if self.notifications is not None:
            self.notifications.listen(listener)
        return self.notifications is not None

    def watch_holds(self, listener: Callable[[], None], /) -> None:
        """Call a listener when an engine has held or released a job, and the store is listened to."""
        if self.notifications is not None:
            self.notifications.hold_changed = listener

    def watch_ownership(self, listener: OwnershipListener, /) -> None:
        """Call a listener when the lock is lost, and when it is held again."""
        if self.lock_recovery is not None:
            self.lock_recovery.watch(listener)

    def health(self) -> FutureResult[Health, StoreError]:
        """Measure the tables, and report corrupt rows."""
        return asked(measured(self))

    def close(self) -> FutureResult[None, StoreError]:
        """Wait for pending requests, and close the connections."""
        # Before the connection closes: its end would count as a lost lock, which the engine would try to regain.
        for ended in (self.lock_recovery, self.notifications):
            if ended is not None:
                ended.end()
        return super().close()

    async def _close(self) -> Result[None, StoreError]:
        if self.replica is not None:
            await self.replica.close()
        return await super()._close()


PATIENCE_MS: Final = 15_000
"""How long an opening waits for a server that has no free connection, or is starting."""

_FIRST_WAIT_MS: Final = 50
_LONGEST_WAIT_MS: Final = 1_000


async def open_schema(settings: PostgresSettings, *, on_locked: OnLocked, runtime: Runtime) -> Store:
    """Open a schema, and create its tables if they do not exist.

    Raises:
        StoreError: it cannot be opened.
    """
    connection = await _patiently(lambda: _connection(settings), settings, runtime)
    with _ended_on_failure(connection, settings):
        store = await _opened(connection, settings, on_locked, runtime)
    store.replica = _replica(settings, store, runtime)
    return store


async def _patiently(make: Callable[[], Awaitable[T]], settings: PostgresSettings, runtime: Runtime) -> T:
    """Make connections. Wait a while for a server that has none free, or is starting.

    Raises:
        Exception: what `make` raises, at the end of that while at the latest.
    """
    until_ms, wait_ms = runtime.monotonic_ms() + PATIENCE_MS, _FIRST_WAIT_MS
    while True:
        try:
            return await make()
        except Exception as error:
            # Only a server that is full or starting is waited for: a wrong password fails immediately. The driver's
            # error is the cause of a `StoreUnavailable`.
            if not is_worth_waiting(error.__cause__ or error) or runtime.monotonic_ms() >= until_ms:
                raise
            if wait_ms == _FIRST_WAIT_MS:
                fields = {"store": settings.name, "error": str(error)}
                runtime.log(LogRecord("warning", "waiting for a connection to the store", fields))
        # Varied by half: engines that a restarted server refused would otherwise all return in the same instant.
        await runtime.sleep(wait_ms * (0.5 + runtime.random()))
        wait_ms = min(2 * wait_ms, _LONGEST_WAIT_MS)


@asynccontextmanager
async def connected(settings: PostgresSettings) -> AsyncGenerator[Any]:
    """Connect to a store's database, without opening the store.

    Raises:
        StoreUnavailable: the server cannot be reached, or a statement failed.
    """
    connection = await _connection(settings)
    with _ended_on_failure(connection, settings):
        yield connection
        await connection.close()


async def _connection(settings: PostgresSettings) -> Any:
    try:
        connection = await connect(settings.dsn)
    except (*DRIVER_ERRORS, *UNSENDABLE) as error:
        raise unavailable(f"connect to {settings.name}", error) from error
    encoding = connection.get_settings().server_encoding
    # Another encoding cannot hold each text, and compares in another order than the pages of all listings expect.
    if encoding != "UTF8":
        connection.terminate()
        raise StoreUnavailable(
            f"open {settings.name}", f"the database has the encoding {encoding}; create one with UTF8"
        )
    return connection


@contextmanager
def _ended_on_failure(connection: Any, settings: PostgresSettings) -> Generator[None]:
    try:
        yield
    except DRIVER_ERRORS as error:
        connection.terminate()
        raise unavailable(f"open {settings.name}", error) from error
    except BaseException:  # a cancelled opening must not leave the connection and its locks
        connection.terminate()
        raise


async def _opened(connection: Any, settings: PostgresSettings, on_locked: OnLocked, runtime: Runtime) -> PostgresStore:
    # Before `migrate`, which would create the schema.
    if settings.if_missing == "refuse" and not await version_of(connection, settings.schema):
        raise StoreMissing(settings.name, no_schema(settings.schema))
    await migrate(connection, store=settings.name, schema=settings.schema)
    # Each opening, also a shared one, whose fence is locks of rows and of transactions alone.
    await _patiently(lambda: check_locks(connection, settings, runtime), settings, runtime)
    match settings.ownership:
        case "owned":
            return await _owned(connection, settings, on_locked, runtime)
        case "shared":
            return await _shared(connection, settings, runtime)
        case _:
            assert_never(settings.ownership)


async def _owned(connection: Any, settings: PostgresSettings, on_locked: OnLocked, runtime: Runtime) -> PostgresStore:
    lock = OwnerLock(connection, settings.quoted, settings.dsn)
    await lock.acquire(store=settings.name, on_locked=on_locked, runtime=runtime)
    # Under the lock, and before the first statement of this opening: all earlier ones are ended by then.
    epoch, ended = await lock.own(store=settings.name, label=_label())
    connections = await _pool(settings, epoch, runtime)
    store = PostgresStore(runtime, settings, connections, lock, epoch)
    store.lock_recovery = LockRecovery(runtime, lock, settings.name, epoch, store.lose)
    # With claims that it left: their code may have ended the process, so the engine suspects it at first.
    store.previous_exit = "died" if ended else "closed"
    return _notified(store, store.lock_recovery.connection, runtime)


async def _shared(connection: Any, settings: PostgresSettings, runtime: Runtime) -> PostgresStore:
    joined = f"SELECT {settings.quoted}.join_members($1, $2)"
    epoch = int(await connection.fetchval(joined, settings.lease_ms, _label()))
    # `join_members` returns 0 if it finds the lock of an owner.
    if not epoch:
        raise StoreLocked(settings.name, "an engine that does not share it")
    # Membership needs no session: the lease is renewed over the pool. Closed before the pool opens, because the server
    # may have few connections.
    await connection.close()
    connections = await _pool(settings, epoch, runtime)
    lease = Lease(connections, settings)
    store = PostgresStore(runtime, settings, connections, lease, epoch)
    store.sharing = PostgresSharing(store, store, settings.lease_ms)
    return _notified(store, lease.connection, runtime)


class _ReadOnlyConnections(PostgresConnections):
    """Executes statements over a reader's one connection, which cannot write."""

    def __init__(self, reader: PostgresReader, runtime: Runtime) -> None:
        super().__init__(ConnectionPool(runtime, partial(connect, reader.settings.dsn)), reader.settings, 0)
        self._reader = reader

    async def execute(self, sql: str, *values: Any, urgent: bool = False) -> Rows:
        try:
            return await self._reader.fetch(sql, *values)
        except DRIVER_ERRORS as error:
            # Every function that writes asks for the number of an opening first, and a reader has none.
            if state_of(error) in (READ_ONLY, EPOCH_ENDED):
                raise NoConnection(PermissionError("it is opened read-only")) from error
            raise


class _ReadOnlyStore(PostgresStore):
    # The connection belongs to the reader, which the caller closes.
    def close(self) -> FutureResult[None, StoreError]:
        return settled(Success(None))


async def read_only_store(reader: PostgresReader, runtime: Runtime) -> Store:
    """Make a store from a schema that this process only reads, whether or not engines have it open.

    Every write returns `StoreUnavailable`.

    Args:
        reader: holds the connection. Await the operations within its `wait`, one at a time.
        runtime: the reader event loop's runtime.
    """
    settings, connections = reader.settings, _ReadOnlyConnections(reader, runtime)
    store = _ReadOnlyStore(runtime, settings, connections, None, epoch=0)
    store.damage = reader.damage
    # Other processes write the rows, and do not notify this one: a kept row would be stale.
    store.cache_bytes = 0
    return store


class _ReplicaConnections(PostgresConnections):
    """Reads from a replica, which errors name."""

    async def read(self, operation: str, sql: str, *values: Any) -> Result[Rows, StoreError]:
        return await super().read(f"{operation} on the replica {self._settings.name}", sql, *values)


def _replica(settings: PostgresSettings, primary: PostgresStore, runtime: Runtime) -> Store | None:
    """Make the store of a replica. It connects with the first list: an engine starts while a replica is down."""
    if settings.replica is None:
        return None
    dsn, name = settings.replica
    reading = attrs.evolve(settings, dsn=dsn, name=name)
    make = partial(connect, dsn, command_timeout=COMMAND_TIMEOUT_S)
    connections = _ReplicaConnections(ConnectionPool(runtime, make), reading, 0)
    # No opening has the number 0: also if the replica becomes a primary, its functions refuse to write for it.
    store = PostgresStore(runtime, reading, connections, None, epoch=0)
    store.counts = PostgresCounts(store, runtime, keeper=primary)
    return store


async def _pool(settings: PostgresSettings, epoch: int, runtime: Runtime) -> PostgresConnections:
    return await _patiently(lambda: PostgresConnections.open(settings, epoch, runtime), settings, runtime)


def _notified(store: PostgresStore, connection: Callable[[], Awaitable[Any]], runtime: Runtime) -> PostgresStore:
    """Let a store listen on a connection, until it is closed."""
    store.notifications = NotificationListener(runtime, connection, store.write, store.schema, store.epoch)
    return store


def _label() -> str:
    return f"{gethostname()}:{os.getpid()}"

"""Opens a schema of a PostgreSQL database as a store."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from socket import gethostname
from typing import Any, Final, TypeVar, assert_never

import attrs
from returns.future import FutureResult
from returns.result import Success

from perdure.programs.future import settled
from perdure.runtime.record import LogRecord, Runtime
from perdure.stores.contract import Store
from perdure.stores.postgres.connections import (
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
from perdure.stores.postgres.event_log import PostgresEventLog
from perdure.stores.postgres.operations import PostgresOperations
from perdure.stores.postgres.ownership import Lease, LockRecovery, NotificationListener, OwnerLock
from perdure.stores.postgres.queries import (
    HealthCheck,
    InstanceCounting,
    InstanceQueries,
    InstanceSearch,
    PostgresLanes,
)
from perdure.stores.postgres.reader import PostgresReader
from perdure.stores.postgres.schema import migrate, no_schema, version_of
from perdure.stores.postgres.settings import PostgresSettings
from perdure.stores.postgres.sharing import SharedOperations
from perdure.stores.values import Capabilities, OnLocked, PreviousExit
from perdure.values.errors import StoreError, StoreLocked, StoreMissing, StoreUnavailable

T = TypeVar("T")

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
        return await _opened(connection, settings, on_locked, runtime)


async def _patiently(make: Callable[[], Awaitable[T]], settings: PostgresSettings, runtime: Runtime) -> T:
    """Make connections; wait a while for a server that has none free, or is starting.

    Raises:
        Exception: what `make` raises, at the end of that while at the latest.
    """
    until_ms, wait_ms = runtime.monotonic_ms() + PATIENCE_MS, _FIRST_WAIT_MS
    while True:
        try:
            return await make()
        except Exception as error:
            if not is_worth_waiting(error.__cause__ or error) or runtime.monotonic_ms() >= until_ms:
                raise
            if wait_ms == _FIRST_WAIT_MS:
                fields = {"store": settings.name, "error": str(error)}
                runtime.log(LogRecord("warning", "waiting for a connection to the store", fields))
        await runtime.sleep(wait_ms * (0.5 + runtime.random()))
        wait_ms = min(2 * wait_ms, _LONGEST_WAIT_MS)


@asynccontextmanager
async def connected(settings: PostgresSettings) -> AsyncGenerator[Any]:
    """Connect to the database of a store, without opening the store.

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


async def _opened(connection: Any, settings: PostgresSettings, on_locked: OnLocked, runtime: Runtime) -> Store:
    if settings.if_missing == "refuse" and not await version_of(connection, settings.schema):
        raise StoreMissing(settings.name, no_schema(settings.schema))
    await migrate(connection, store=settings.name, schema=settings.schema)
    match settings.ownership:
        case "owned":
            return await _owned(connection, settings, on_locked, runtime)
        case "shared":
            return await _shared(connection, settings, runtime)
        case _:
            assert_never(settings.ownership)


async def _owned(connection: Any, settings: PostgresSettings, on_locked: OnLocked, runtime: Runtime) -> Store:
    lock = OwnerLock(connection, settings.quoted, settings.dsn)
    await lock.acquire(store=settings.name, on_locked=on_locked, runtime=runtime)
    # Under the lock, and before the first statement of this opening: all earlier ones are ended by then.
    epoch, ended = await lock.own(store=settings.name, label=_label())
    connections = await _pool(settings, epoch, runtime)
    operations = PostgresOperations(runtime, settings, connections, lock, epoch)
    store = _store(settings, operations, InstanceQueries(operations))
    lock_recovery = LockRecovery(runtime, lock, settings.name, epoch, operations.lose)
    listening = _listening(store, operations, lock_recovery.connection)

    def close() -> FutureResult[None, StoreError]:
        # Before the connection closes: its end would count as a lost lock, which the engine would try to regain.
        lock_recovery.end()
        return listening.close()

    previous_exit: PreviousExit = "died" if ended else "closed"
    return attrs.evolve(listening, previous_exit=previous_exit, close=close, watch_ownership=lock_recovery.watch)


async def _shared(connection: Any, settings: PostgresSettings, runtime: Runtime) -> Store:
    joined = f"SELECT {settings.quoted}.join_members($1, $2)"
    epoch = int(await connection.fetchval(joined, settings.lease_ms, _label()))
    if not epoch:
        raise StoreLocked(settings.name, "an engine that does not share it")
    await connection.close()
    connections = await _pool(settings, epoch, runtime)
    lease = Lease(connections, settings)
    operations = PostgresOperations(runtime, settings, connections, lease, epoch)
    queries = InstanceQueries(operations)
    sharing = SharedOperations(operations, queries, settings.lease_ms).contract
    return attrs.evolve(
        _listening(_store(settings, operations, queries), operations, lease.connection), sharing=sharing
    )


class _ReadOnlyConnections(PostgresConnections):
    """Executes statements over the one connection of a reader, which cannot write."""

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


async def read_only_store(reader: PostgresReader, runtime: Runtime) -> Store:
    """Make a store of a schema that this process only reads, whether or not engines have it open.

    Every write returns `StoreUnavailable`.

    Args:
        reader: holds the connection. Await the operations within its `wait`, one at a time.
        runtime: that of the reader's event loop.
    """
    settings, connections = reader.settings, _ReadOnlyConnections(reader, runtime)
    operations = PostgresOperations(runtime, settings, connections, Lease(connections, settings), epoch=0)
    operations.damage = reader.damage
    store = _store(settings, operations, InstanceQueries(operations))
    return attrs.evolve(store, close=lambda: settled(Success(None)), cache_bytes=0)


async def _pool(settings: PostgresSettings, epoch: int, runtime: Runtime) -> PostgresConnections:
    return await _patiently(lambda: PostgresConnections.open(settings, epoch, runtime), settings, runtime)


def _listening(store: Store, operations: PostgresOperations, connection: Callable[[], Awaitable[Any]]) -> Store:
    """Return the store with notifications, until it is closed."""
    notifications = NotificationListener(
        operations.runtime, connection, operations.write, operations.schema, operations.epoch
    )

    def close() -> FutureResult[None, StoreError]:
        notifications.end()
        return operations.close()

    return attrs.evolve(store, listen=notifications.listen, close=close)


def _label() -> str:
    return f"{gethostname()}:{os.getpid()}"


def _store(settings: PostgresSettings, operations: PostgresOperations, queries: InstanceQueries) -> Store:
    log, searches = PostgresEventLog(operations), InstanceSearch(operations, queries)
    lanes = PostgresLanes(operations, queries)
    return Store(
        name=settings.name,
        epoch=operations.epoch,
        capabilities=Capabilities(ownership=settings.ownership, durability=settings.durability),
        load=operations.load,
        commit=operations.commit,
        due=queries.due,
        next_alarm=queries.next_alarm,
        claimed=queries.claimed,
        left_to=queries.left_to,
        messages_left_to=queries.messages_left_to,
        messages=queries.messages,
        next_message=queries.next_message,
        dead_letters=queries.dead_letters,
        redrive=log.redrive,
        find=searches.find,
        history=log.history,
        events=log.events,
        prune=log.prune,
        health=HealthCheck(operations).health,
        close=operations.close,
        lost=operations.lost,
        count_messages=queries.count_messages,
        cursor=log.cursor,
        move_cursor=log.move_cursor,
        holds=queries.holds,
        set_hold=queries.set_hold,
        due_except=queries.due_except,
        counts=InstanceCounting(operations).counts,
        search=searches.search,
        journal=queries.journal,
        lanes=lanes.lanes,
        queued=lanes.queued,
        cache_bytes=settings.cache_bytes,
        runtime=operations.runtime,
    )

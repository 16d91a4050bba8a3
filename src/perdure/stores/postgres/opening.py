"""Opens a PostgreSQL schema as a store."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from socket import gethostname
from typing import Any, Final, TypeVar, assert_never

from returns.future import FutureResult
from returns.result import Success

from perdure.programs.future import asked, settled
from perdure.runtime.record import LogRecord, Runtime
from perdure.stores.contract import OwnershipListener, Store
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
from perdure.stores.postgres.event_log import PostgresCursors, PostgresEventLog
from perdure.stores.postgres.operations import PostgresOperations
from perdure.stores.postgres.ownership import Lease, LockRecovery, NotificationListener, OwnerLock
from perdure.stores.postgres.queries import (
    InstanceSearch,
    PostgresAttributes,
    PostgresCounts,
    PostgresJournal,
    PostgresLanes,
    measured,
)
from perdure.stores.postgres.reader import PostgresReader
from perdure.stores.postgres.schema import migrate, no_schema, version_of
from perdure.stores.postgres.settings import PostgresSettings
from perdure.stores.postgres.sharing import PostgresSharing
from perdure.stores.values import Capabilities, Health, OnLocked
from perdure.values.errors import StoreError, StoreLocked, StoreMissing, StoreUnavailable

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
        lock: OwnerLock | Lease,
        epoch: int,
    ) -> None:
        PostgresOperations.__init__(self, runtime, settings, connections, lock, epoch)
        InstanceSearch.__init__(self, self)
        PostgresEventLog.__init__(self, self)
        self.name = settings.name
        self.capabilities = Capabilities(ownership=settings.ownership, durability=settings.durability)
        self.lanes = PostgresLanes(self, self)
        self.journal = PostgresJournal(self)
        self.cursors = PostgresCursors(self)
        self.counts = PostgresCounts(self, runtime)
        self.attributes = PostgresAttributes(self)
        self.cache_bytes = settings.cache_bytes
        self.lost = self._lost
        self.runtime = runtime

    def listen(self, listener: Callable[[], None], /) -> bool:
        """Call a listener when another process has notified the schema."""
        if self.notifications is not None:
            self.notifications.listen(listener)
        return self.notifications is not None

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
    """Make connections. Wait a while for a server that has none free, or is starting.

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
    store = PostgresStore(runtime, settings, connections, lock, epoch)
    store.lock_recovery = LockRecovery(runtime, lock, settings.name, epoch, store.lose)
    store.previous_exit = "died" if ended else "closed"
    return _notified(store, store.lock_recovery.connection, runtime)


async def _shared(connection: Any, settings: PostgresSettings, runtime: Runtime) -> Store:
    joined = f"SELECT {settings.quoted}.join_members($1, $2)"
    epoch = int(await connection.fetchval(joined, settings.lease_ms, _label()))
    if not epoch:
        raise StoreLocked(settings.name, "an engine that does not share it")
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
    store = _ReadOnlyStore(runtime, settings, connections, Lease(connections, settings), epoch=0)
    store.damage = reader.damage
    store.cache_bytes = 0
    return store


async def _pool(settings: PostgresSettings, epoch: int, runtime: Runtime) -> PostgresConnections:
    return await _patiently(lambda: PostgresConnections.open(settings, epoch, runtime), settings, runtime)


def _notified(store: PostgresStore, connection: Callable[[], Awaitable[Any]], runtime: Runtime) -> Store:
    """Let a store listen on a connection, until it is closed."""
    store.notifications = NotificationListener(runtime, connection, store.write, store.schema, store.epoch)
    return store


def _label() -> str:
    return f"{gethostname()}:{os.getpid()}"

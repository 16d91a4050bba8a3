"""Reads the tables in a PostgreSQL store from outside the engines: read-only, each statement at one moment."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar

import attrs

from perdure.runtime.record import DEFAULT_SIZES
from perdure.stores.postgres.connections import DRIVER_ERRORS, UNSENDABLE, connect, unavailable
from perdure.stores.postgres.encoding import decoded
from perdure.stores.postgres.schema import check_version, in_schema, migrations, no_schema, version_of
from perdure.stores.postgres.settings import PostgresSettings, settings_of
from perdure.stores.rows import CorruptRows, Row
from perdure.values.errors import StoreMissing, StoreUnavailable

T = TypeVar("T")

CANCELS_WITHIN_S: Final = 1.0
# Read-only at the server too: a statement of a user that writes is refused there.
_SNAPSHOT: Final = {"isolation": "repeatable_read", "readonly": True}


@attrs.frozen
class PostgresReader:
    """Reads a schema that engines may write meanwhile. It takes no lock that they wait for.

    Each call is its own transaction. `pages` keeps one moment until it ends, and so the rows that are deleted
    meanwhile.

    Attributes:
        store: the store's name in errors.
        schema_version: the migration that its tables are at.
        damage: the rows that were left out of lists.
        page: rows that `perdure.stores.at_rest` reads together.
    """

    store: str
    settings: PostgresSettings
    schema_version: int
    _loop: asyncio.AbstractEventLoop = attrs.field(alias="loop", repr=False)
    _connection: Any = attrs.field(alias="connection", repr=False)
    damage: CorruptRows = attrs.field(factory=CorruptRows)
    page: int = DEFAULT_SIZES.rows_at_rest

    def rows(self, sql: str, *values: object) -> list[Row]:
        """Run one statement that reads. ``perdure.`` in it names the schema.

        Raises:
            StoreUnavailable: the server does not answer, or the statement fails.
        """
        return self.wait(self._rows(sql, values))

    def pages(self, sql: str, *values: object, page: int) -> Generator[list[Row]]:
        """Yield a statement's rows in pages.

        Raises:
            StoreUnavailable: as above.
        """
        transaction = self._connection.transaction(**_SNAPSHOT)
        self.wait(transaction.start())
        is_interrupted = False
        try:
            cursor = self.wait(self._connection.cursor(self._sql(sql), *values))
            while found := self.wait(cursor.fetch(page)):
                yield [_decoded(row) for row in found]
        except KeyboardInterrupt:
            is_interrupted = True
            raise
        finally:
            if not is_interrupted:  # else its statement may be in progress, and ends with the connection
                self.wait(transaction.rollback())

    @contextmanager
    def moment(self) -> Generator[Callable[[], None]]:
        """Let all reads in the block see one moment.

        Yields:
            A function to call after each page, as for a file.
        """
        transaction = self._connection.transaction(**_SNAPSHOT)
        self.wait(transaction.start())
        is_interrupted = False
        try:
            yield lambda: None
        except KeyboardInterrupt:
            is_interrupted = True
            raise
        finally:
            if not is_interrupted:  # else its statement may be in progress, and ends with the connection
                self.wait(transaction.rollback())

    @property
    def is_pooled(self) -> bool:
        """Whether a pooler such as PgBouncer answers in place of the server."""
        ((pid,),) = self.rows("SELECT pg_backend_pid()")
        return bool(self._connection.get_server_pid() != pid)

    async def _rows(self, sql: str, values: tuple[object, ...]) -> list[Row]:
        return [_decoded(row) for row in await self.fetch(self._sql(sql), *values)]

    async def fetch(self, sql: str, *values: object) -> Sequence[Sequence[Any]]:
        """Execute a statement in a transaction that cannot write. Await it within `wait`, one at a time."""
        # Also for one statement: outside a transaction the server would let it write.
        async with self._connection.transaction(**_SNAPSHOT):
            rows: Sequence[Sequence[Any]] = await self._connection.fetch(sql, *values)
            return rows

    def _sql(self, sql: str) -> str:
        return in_schema(sql, self.settings.schema)

    def wait(self, asked: Awaitable[T]) -> T:
        """Run the connection's event loop until it has an operation's answer.

        Raises:
            StoreUnavailable: the server does not answer, or the operation fails.
            KeyboardInterrupt: a user interrupted the process.
        """
        try:
            return _driven(self._loop, asked)
        except KeyboardInterrupt:
            # The server must stop the statement: it would otherwise run to its end, for no reader.
            _driven(self._loop, _closed(self._connection, within_s=CANCELS_WITHIN_S))
            raise
        except (*DRIVER_ERRORS, *UNSENDABLE) as error:
            raise unavailable(f"read {self.store}", error) from error


@contextmanager
def read_postgres(url: str) -> Generator[PostgresReader]:
    """Connect to a store's database, to read it, whether or not engines run on it.

    Args:
        url: as for `open_postgres`.

    Raises:
        DefinitionError: the URL is not valid.
        StoreUnavailable: the server cannot be reached.
        StoreMissing: there is no schema.
        StoreTooNew: a newer version of the library migrated it.
    """
    settings = settings_of(url)
    loop = asyncio.new_event_loop()
    try:
        try:
            connection = _driven(loop, connect(settings.dsn))
        except (*DRIVER_ERRORS, *UNSENDABLE) as error:
            raise unavailable(f"connect to {settings.name}", error) from error
        try:
            version = _driven(loop, version_of(connection, settings.schema))
            if not version:
                raise StoreMissing(settings.name, no_schema(settings.schema))
            check_version(version, store=settings.name)
            yield PostgresReader(settings.name, settings, version, loop, connection)
        finally:
            _driven(loop, _closed(connection, within_s=0))
    finally:
        loop.close()


def check_migrated(reader: PostgresReader) -> None:
    """Check that the tables have this code's version.

    Raises:
        StoreUnavailable: they are older.
    """
    if reader.schema_version < len(migrations()):
        reason = f"its tables have the version {reader.schema_version}; run perdure migrate first"
        raise StoreUnavailable(f"read {reader.store}", reason)


def _driven(loop: asyncio.AbstractEventLoop, asked: Awaitable[T]) -> T:
    """Run the loop until it has the answer. An interrupt cancels the wait.

    It must not be raised inside a driver callback, which is compiled: the process could crash.

    Raises:
        KeyboardInterrupt: a user interrupted the process.
    """
    task = asyncio.ensure_future(asked, loop=loop)
    interrupts: list[bool] = []

    def interrupt() -> None:
        interrupts.append(task.cancel())

    is_main = threading.current_thread() is threading.main_thread()  # no other one receives signals
    if is_main:
        loop.add_signal_handler(signal.SIGINT, interrupt)
    try:
        answer = loop.run_until_complete(task)
    except BaseException:  # an interrupt arrives here as a cancellation of the read
        if interrupts:
            # "from None": the cancellation is this function's own, and would confuse the traceback.
            raise KeyboardInterrupt from None
        raise
    finally:
        if is_main:
            loop.remove_signal_handler(signal.SIGINT)
    # The read may end just before the interrupt cancels it: the user's interrupt must not be lost.
    if interrupts:
        raise KeyboardInterrupt
    return answer


async def _closed(connection: Any, *, within_s: float) -> None:
    """Close the connection. The driver cancels a statement in progress, so that the server ends it, too."""
    if within_s:
        with suppress(*DRIVER_ERRORS):
            await connection.close(timeout=within_s)
    connection.terminate()


def _decoded(row: Any) -> Row:
    return tuple(decoded(value) if type(value) is str else value for value in row)

"""The connections of a store, without state that a pooler would lose, and the answers of the server as results."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from returns.result import Failure, Result, Success

from perdure.runtime.record import Runtime
from perdure.stores.postgres.driver import asyncpg
from perdure.stores.postgres.endings import reason_of_end
from perdure.stores.postgres.failures import (
    DRIVER_ERRORS,
    EPOCH_ENDED,
    READ_ONLY,
    UNSENDABLE,
    NoConnection,
    ends_the_session,
    failure_of_write,
    state_of,
    unavailable,
)
from perdure.stores.postgres.pool import ConnectionPool, Urgency
from perdure.stores.postgres.settings import PostgresSettings
from perdure.values.errors import OutcomeUnknown, OwnershipLost, StoreError

CONNECT_TIMEOUT_S: Final = 10
COMMAND_TIMEOUT_S: Final = 60
"""Until a statement counts as lost: the server, or the network, does not answer."""

Rows: TypeAlias = Sequence[Sequence[Any]]


SILENT_MS: Final = 5_000
"""After which a connection ends whose server acknowledges nothing that was sent: the machine or the network is gone."""

KEEPALIVE: Final = {"tcp_keepalives_idle": "5", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3"}
"""The server ends the connection that holds the lock of a dead machine after 11 seconds."""


async def is_pooled(connection: Any) -> bool:
    """Return whether a pooler is between this process and the server: it greets with a number of its own."""
    return bool(await connection.fetchval("SELECT pg_backend_pid()") != connection.get_server_pid())


async def connect(dsn: str, **options: Any) -> Any:
    """Open one connection, to the first of several hosts that accepts it.

    The driver would spend the time of all hosts at one that does not answer.

    Args:
        dsn: ``postgresql://one,other/database``.
        **options: further options of the driver.

    Raises:
        Exception: one of `DRIVER_ERRORS`: that of the last host.
    """
    hosts = dsns_of(dsn)
    options |= {"timeout": CONNECT_TIMEOUT_S / len(hosts)}
    for host in hosts[:-1]:
        try:
            return _noticing_silence(await asyncpg.connect(host, **options))
        except DRIVER_ERRORS:
            continue
    return _noticing_silence(await asyncpg.connect(hosts[-1], **options))


def _noticing_silence(connection: Any) -> Any:
    """Return a connection that ends soon if its server vanishes, where the system can do that: Linux."""
    found = connection._transport.get_extra_info("socket")  # noqa: SLF001 - the driver has no other way to its socket
    if found is not None and found.family != socket.AF_UNIX and hasattr(socket, "TCP_USER_TIMEOUT"):
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENT_MS)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # also without a statement: locks, notifications
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, SILENT_MS // 1_000)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
    return connection


def dsns_of(dsn: str) -> list[str]:
    """Return the URLs of the single hosts of a URL.

    >>> dsns_of("postgresql://app@one:5432,other/shop?target_session_attrs=read-write")[1]
    'postgresql://app@other/shop?target_session_attrs=read-write'
    """
    parts = urlsplit(dsn)
    user, separator, hosts = parts.netloc.rpartition("@")
    return [parts._replace(netloc=f"{user}{separator}{host}").geturl() for host in hosts.split(",")]


class PostgresConnections:
    """Executes the statements of an opening.

    Attributes:
        lost: why this opening has ended; None while it has not.
    """

    def __init__(self, pool: ConnectionPool, settings: PostgresSettings, epoch: int) -> None:
        self._pool = pool
        self._settings = settings
        self._epoch = epoch
        self.lost: OwnershipLost | None = None

    @classmethod
    async def open(cls, settings: PostgresSettings, epoch: int, runtime: Runtime) -> PostgresConnections:
        """Make the connections of an opening: first one.

        Raises:
            Exception: one of `DRIVER_ERRORS`.
        """
        pool = ConnectionPool(runtime, partial(connect, settings.dsn, command_timeout=COMMAND_TIMEOUT_S))
        pool.release(await pool.acquire())
        return cls(pool, settings, epoch)

    async def read(self, operation: str, sql: str, *values: Any) -> Result[Rows, StoreError]:
        """Execute a statement that writes nothing."""
        try:
            return Success(await self.execute(sql, *values))
        except NoConnection as error:
            return Failure(unavailable(operation, error.reason))
        except (*DRIVER_ERRORS, *UNSENDABLE) as error:
            return Failure(unavailable(operation, error))

    async def write(
        self, operation: str, sql: str, *values: Any, urgency: Urgency = "usual"
    ) -> Result[Rows, StoreError | OutcomeUnknown]:
        """Execute a statement that writes."""
        try:
            return Success(await self.execute(sql, *values, urgency=urgency))
        except NoConnection as error:
            return Failure(unavailable(operation, error.reason))
        except (*DRIVER_ERRORS, *UNSENDABLE) as error:
            return Failure(await self.ended(error) or failure_of_write(operation, error))

    async def execute(self, sql: str, *values: Any, urgency: Urgency = "usual") -> Rows:
        """Execute a statement, and let errors through.

        Raises:
            NoConnection: there is no connection.
            Exception: one of `DRIVER_ERRORS` or `UNSENDABLE`.
        """
        try:
            connection = await self._pool.acquire(urgency)
        except DRIVER_ERRORS as error:
            raise NoConnection(error) from error
        try:
            rows: Rows = await connection.fetch(sql, *values)
        except (asyncpg.PostgresError, *UNSENDABLE) as error:
            if state_of(error) == READ_ONLY:  # the primary is another server now
                self._pool.expire()
            give_back = self._pool.discard if ends_the_session(error) else self._pool.release
            give_back(connection)
            raise
        except BaseException:
            self._pool.discard(connection)
            raise
        self._pool.release(connection)
        return rows

    async def ended(self, error: BaseException) -> OwnershipLost | None:
        """Return, and remember, why this opening has ended, if the error says that it has."""
        if state_of(error) != EPOCH_ENDED:
            return None
        return self.lost or self.lose(await reason_of_end(self._first_row, self._settings.quoted, self._epoch))

    async def _first_row(self, sql: str, *values: Any) -> Sequence[Any] | None:
        rows = await self.execute(sql, *values)
        return rows[0] if rows else None

    def lose(self, reason: str) -> OwnershipLost:
        """Remember why this opening has ended."""
        if self.lost is None:
            self.lost = OwnershipLost(self._settings.name, reason)
        return self.lost

    def terminate(self) -> None:
        """End all connections at once: the statements under way fail."""
        self._pool.terminate()

    async def close(self) -> None:
        """Close all connections, whatever their state."""
        await self._pool.close()

"""A store's connections, without state that a pooler would lose, and the server's answers as results.

A few connections serve an opening, the last used first. More are made only while all others are busy. Driver and server
errors become store errors.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit

import asyncpg as _asyncpg  # type: ignore[import-untyped]
import attrs
from returns.result import Failure, Result, Success

from perdure.runtime.record import Future, Runtime, SpawnedTask, Timer
from perdure.runtime.tasks import ended
from perdure.stores.postgres.settings import PostgresSettings
from perdure.values.errors import OutcomeUnknown, OwnershipLost, StoreError, StoreUnavailable

asyncpg: Any = _asyncpg
"""The module ``asyncpg``."""


# The functions of stored migrations raise it: another code would make an engine that has ended retry for ever.
EPOCH_ENDED: Final = "PD001"
"""Raised by the schema's functions when another opening has ended this one."""

READ_ONLY: Final = "25006"
"""Raised by a server that is a replica, or has become one."""

DRIVER_ERRORS: Final[tuple[type[Exception], ...]] = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a connection that has received the last error of its server, and not yet its end
    OSError,
    TimeoutError,
)
"""What a driver operation may raise. `ConnectionError` is an `OSError`."""

UNSENDABLE: Final[tuple[type[Exception], ...]] = (asyncpg.DataError, ValueError, TypeError, OverflowError)
"""Raised by the driver before it sends a value that it cannot encode."""

LOCK_NOT_AVAILABLE: Final = "55P03"
NO_FREE_CONNECTION: Final = "53300"
CANNOT_CONNECT_NOW: Final = "57P03"
COMPLETION_UNKNOWN: Final = "40003"

QUERY_CANCELED: Final = "57014"
"""Raised by a server that undid a statement, because an operator cancelled it, or it took longer than a time limit."""

# A deadlock is here too: the server has undone the statement, and a caller who gets it as a refusal would have to
# repeat it.
_AGAIN: Final = ("40001", "40P01", LOCK_NOT_AVAILABLE)  # serialization failure, deadlock

_HINTS: Final = {
    READ_ONLY: "the server is a replica; add target_session_attrs=read-write to the URL, with all hosts",
    "28P01": "the password or the user is wrong; check the URL, or PGPASSWORD",
    "28000": "the server refuses this user; check the URL and pg_hba.conf",
    "42704": "check the options of the URL: those that perdure does not know are parameters of PostgreSQL",
    "3D000": "create it first, or check the URL",
    "42501": (
        "the role lacks a privilege; grant CREATE on the database, or have an administrator run the SQL of "
        "'perdure migrate --print-sql' and grant USAGE on the schema and all privileges on its tables and sequences"
    ),
    NO_FREE_CONNECTION: (
        "the server has no free connection; raise max_connections, use fewer engines (each has up to six), or put "
        "PgBouncer in between, with two or more connections to the server"
    ),
    QUERY_CANCELED: "nothing was written; an operator cancelled the statement, or it exceeded statement_timeout",
    LOCK_NOT_AVAILABLE: "another transaction holds a lock of the tables; look for it in pg_stat_activity, and end it",
    CANNOT_CONNECT_NOW: "the server is starting or shutting down",
    "PD002": "finish it with 'perdure copy', or drop the schema",
}


class NoConnection(Exception):
    """There was no connection: nothing was sent."""

    def __init__(self, reason: BaseException) -> None:
        super().__init__(str(reason))
        self.reason = reason


def state_of(error: BaseException) -> str:
    """Return an error's SQLSTATE. Empty if it did not come from the server."""
    return str(getattr(error, "sqlstate", None) or "")


def is_worth_repeating(error: BaseException) -> bool:
    """Return whether the server undid a statement because other transactions were in the way."""
    return state_of(error) in _AGAIN


def is_worth_waiting(error: BaseException) -> bool:
    """Return whether the server has no free connection, or is starting: a connection may succeed later."""
    return state_of(error) in (NO_FREE_CONNECTION, CANNOT_CONNECT_NOW)


def ends_the_session(error: BaseException) -> bool:
    """Return whether the server ended the session with an error: ``FATAL``, or ``PANIC`` if it ended itself."""
    severity = getattr(error, "severity_en", None) or getattr(error, "severity", None)  # a pooler sends only the second
    return severity in ("FATAL", "PANIC")


def is_about_the_connection(error: BaseException) -> bool:
    """Return whether a statement may have been executed although it failed.

    A server that undid it says so with the severity ``ERROR``. A server that ends may have written the commit before: a
    failing log disk, for example, is a ``PANIC`` whose class is a refusal otherwise.
    """
    # Before the class of the error: a server that ends with PANIC may have written the commit, whatever its SQLSTATE
    # says.
    if ends_the_session(error):
        return True
    if isinstance(error, UNSENDABLE):
        return False
    if not isinstance(error, asyncpg.PostgresError):
        return True
    state = state_of(error)
    # 57014 is of class 57, "operator intervention", but the server undid the statement: as unknown outcome, each
    # statement timeout would send callers to look for a write that does not exist.
    return state != QUERY_CANCELED and (state[:2] in ("08", "57", "") or state == COMPLETION_UNKNOWN)


def reason_of(error: BaseException) -> str:
    """Return an error's text with a hint, without passwords."""
    text = str(error) or type(error).__name__
    hint = _HINTS.get(state_of(error))
    if hint is None and isinstance(error, OSError):
        hint = "check that the server runs and accepts connections at this address"
    return text if hint is None else f"{text}: {hint}"


def unavailable(operation: str, error: BaseException) -> StoreUnavailable:
    """Return the error for an operation that wrote nothing."""
    return StoreUnavailable(operation, reason_of(error))


def failure_of_write(operation: str, error: BaseException) -> StoreError | OutcomeUnknown:
    """Return the error for a statement that writes."""
    return OutcomeUnknown(reason_of(error)) if is_about_the_connection(error) else unavailable(operation, error)


OPENED: Final = "another engine has opened the store; start this one again if it is to take over"
EXPIRED: Final = "its lease ended, and another engine declared it dead; start it again"
COPIED: Final = (
    "'perdure copy' ended it, so that no row changes during the copy; when the copy is complete, start it again on the "
    "store that you use from then on"
)
UNKNOWN: Final = "another engine or 'perdure copy' has ended it; start it again"

_ENDED: Final = """
SELECT epoch < 0, lease_until IS NOT NULL FROM {schema}.engines WHERE epoch IN ($1::bigint, -$1::bigint)
"""


async def reason_of_end(first_row: Callable[..., Awaitable[Any]], schema: str, epoch: int) -> str:
    """Return why an opening has ended.

    Args:
        first_row: executes a statement, and returns its first row.
        schema: the schema's quoted name.
        epoch: the opening's number.
    """
    try:
        row = await first_row(_ENDED.format(schema=schema), epoch)
    except NoConnection:
        return UNKNOWN
    except DRIVER_ERRORS:
        return UNKNOWN
    if row is None:
        return UNKNOWN
    if row[0]:
        return COPIED
    return EXPIRED if row[1] else OPENED


# Without an end, a burst of work would leave its connections open at the server for the process's lifetime.
IDLE_MS: Final = 300_000
"""After which a connection that was not used is closed."""

REFUSED_MS: Final = 1_000
"""How long statements wait for the connections that there are, after the server had none free."""

CLOSE_S: Final = 10
"""How long a connection may take to end, with its statement's cancellation, in seconds."""


@attrs.define(eq=False)
class ConnectionPool:
    """Connections that keep nothing between statements.

    Attributes:
        make: connects. Raises one of `DRIVER_ERRORS`.
    """

    runtime: Runtime
    make: Callable[[], Awaitable[Any]]
    _open: dict[Any, int] = attrs.Factory(dict[Any, int])
    """All connections, with their generation."""

    _idle: list[tuple[Any, float]] = attrs.Factory(list[tuple[Any, float]])
    """Those without a statement, and since when; the last used is the last one."""

    _ending: dict[Any, SpawnedTask[None]] = attrs.Factory(dict[Any, SpawnedTask[None]])
    _waiting: deque[Future[Any]] = attrs.Factory(deque[Future[Any]])
    _connecting: int = 0
    _generation: int = 0
    _refused_until_ms: float = 0.0
    _phase: Literal["open", "closed"] = "open"
    _timer: Timer | None = None

    async def acquire(self, *, urgent: bool = False) -> Any:
        """Return a connection for one statement, as soon as there is one. An urgent statement comes first.

        Raises:
            Exception: one of `DRIVER_ERRORS`: the pool is closed, or has no connection and the server accepts none.
        """
        while True:
            # Inside the loop: `close` may have run while this caller waited.
            if self._phase == "closed":
                raise asyncpg.InterfaceError("the connections of the store are closed")
            connection = self._unused()
            if connection is None and self._may_connect(urgent=urgent):
                connection = await self._connected()
            if connection is None:
                connection = await self._released(urgent=urgent)
            if connection is not None:
                return connection

    def _unused(self) -> Any:
        """Return the connection that was used last, if one is free."""
        while self._idle:
            # The last used first: the others stay idle and are closed, so that a quiet engine holds one connection.
            connection, _ = self._idle.pop()
            if self._is_usable(connection):
                return connection
        return None

    def _is_usable(self, connection: Any) -> bool:
        """Return whether a connection can be used. End one that cannot."""
        if self._phase == "open" and self._open[connection] == self._generation and not connection.is_closed():
            return True
        self._end(connection)
        return False

    def _may_connect(self, *, urgent: bool) -> bool:
        # Connections that are being made count: otherwise all callers of one step of the event loop would each make
        # one.
        number = len(self._open) + self._connecting
        # At least one attempt, also after a refusal: with none open, waiting statements would wait for a release that
        # never comes.
        if not number:
            return True
        refused = self.runtime.monotonic_ms() < self._refused_until_ms
        # One more for a heartbeat: all connections may be in statements that last longer than the lease.
        return number < self.runtime.sizes.connections + urgent and not refused

    async def _connected(self) -> Any:
        """Connect. Return None if the server has no free connection, and others in this pool will be free."""
        self._connecting += 1
        # Before the await: a connection that `expire` overtakes while it is made may lead to the former primary.
        generation = self._generation
        try:
            connection = await self.make()
        except DRIVER_ERRORS as error:
            # Wait for the connections that there are: each refused attempt costs the server a process (decision 0040).
            if is_worth_waiting(error) and self._open:
                self._refused_until_ms = self.runtime.monotonic_ms() + REFUSED_MS
                return None
            # The next waiter has to try for itself: nothing else will wake it, because no connection is released.
            self._wake()  # the next one may be answered otherwise
            raise
        except BaseException:  # a cancelled caller made no connection: the next waiter may make one
            self._wake()
            raise
        finally:
            self._connecting -= 1
        self._open[connection] = generation
        return connection

    async def _released(self, *, urgent: bool) -> Any:
        """Wait for a connection. None if the caller has to look again."""
        # The failed attempt of `_connected` may have taken long: a connection that was released meanwhile would stay
        # idle while this caller waits.
        if self._idle:
            return None
        waiter = self.runtime.future()
        # A heartbeat goes first: behind a queue of statements it would come after the lease, and the engine would be
        # declared dead.
        if urgent:
            self._waiting.appendleft(waiter)
        else:
            self._waiting.append(waiter)
        try:
            return await waiter
        # A connection that was passed to a cancelled caller would be lost to the pool.
        except BaseException:  # the event loop is stopping
            # Done and not cancelled: the future got a connection, or was woken, before its caller was cancelled. Pass
            # that on.
            if not waiter.done() or waiter.cancelled():
                waiter.cancel()
            elif waiter.result() is None:
                self._wake()
            else:
                self.release(waiter.result())
            raise

    def release(self, connection: Any) -> None:
        """Pass a connection on."""
        if not self._is_usable(connection):
            self._wake()
            return
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.set_result(connection)
            return
        self._idle.append((connection, self.runtime.monotonic_ms()))
        # One timer for all: it is started again as long as connections are idle.
        if self._timer is None:
            self._timer = self.runtime.call_later(IDLE_MS, self._end_idle)

    def discard(self, connection: Any) -> None:
        """End a connection whose statement may still be executed, which the server then cancels."""
        # Not back into the pool: the statement may still run, and the next one on this connection would wait for it.
        self._end(connection)
        self._wake()

    def expire(self) -> None:
        """Use no present connection again."""
        # Not ended here: some are in a statement. Each is ended when it comes back.
        self._generation += 1

    def terminate(self) -> None:
        """End all connections at once, and make no others: the statements under way fail."""
        # First: the statements that fail now would otherwise connect again for their next attempt.
        self._phase = "closed"
        # The ending ones as well: one whose `close` waits for a silent server would keep the close of the pool waiting.
        for connection in (*self._open, *self._ending):
            connection.terminate()

    async def close(self) -> None:
        """Close all connections. No statement is under way."""
        self._phase = "closed"
        if self._timer is not None:
            self._timer.cancel()
        for connection in tuple(self._open):
            self._end(connection)
        # Waited for: the server counts a connection until it has ended, and a reopened store may find none free.
        for ending in tuple(self._ending.values()):
            await ended(ending, self.runtime)

    # ------------------------------------------------------------ those that wait
    def _next_waiter(self) -> Future[Any] | None:
        while self._waiting:
            waiter = self._waiting.popleft()
            # A cancelled caller leaves its future in the queue: a connection that is passed to it would be lost.
            if not waiter.done():
                return waiter
        return None

    def _wake(self) -> None:
        """Let one that waits look again."""
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.set_result(None)

    # ------------------------------------------------------------ ends
    def _end(self, connection: Any) -> None:
        # A connection may be ended twice: by `close`, and then by the caller whose statement failed.
        if self._open.pop(connection, None) is None:
            return
        ending = self._ending[connection] = self.runtime.spawn(_close(connection), name="perdure:end of a connection")
        ending.add_done_callback(lambda _: self._ending.pop(connection))

    def _end_idle(self) -> None:
        # Cleared first: `release` starts a timer only if there is none, and a connection that is idle later would stay
        # open.
        self._timer = None
        until_ms = self.runtime.monotonic_ms() - IDLE_MS
        idle, self._idle = self._idle, []
        for connection, since_ms in idle:
            if since_ms <= until_ms:
                self._end(connection)
            else:
                self._idle.append((connection, since_ms))
        if self._idle:
            self._timer = self.runtime.call_later(IDLE_MS, self._end_idle)


async def _close(connection: Any) -> None:
    try:
        await connection.close(timeout=CLOSE_S)
    except DRIVER_ERRORS:
        connection.terminate()


CONNECT_TIMEOUT_S: Final = 10
COMMAND_TIMEOUT_S: Final = 60
"""Until a statement counts as lost: the server, or the network, does not answer."""

Rows: TypeAlias = Sequence[Sequence[Any]]


SILENT_MS: Final = 5_000
"""After which a connection ends whose server acknowledges nothing that was sent: the machine or the network is gone."""

KEEPALIVE: Final = {"tcp_keepalives_idle": "5", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3"}
"""The server ends a dead machine's connection, which holds the lock, after 11 seconds."""


async def is_pooled(connection: Any) -> bool:
    """Return whether a pooler is between this process and the server: it greets with another process number."""
    return bool(await connection.fetchval("SELECT pg_backend_pid()") != connection.get_server_pid())


async def connect(dsn: str, **options: Any) -> Any:
    """Open one connection, to the first host in the URL that accepts it.

    The driver would spend the time for all hosts on one that does not answer.

    Args:
        dsn: ``postgresql://one,other/database``.
        **options: further driver options.

    Raises:
        Exception: one of `DRIVER_ERRORS`, from the last host.
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
    # A Unix socket has no network to vanish: the options would be refused.
    if found is not None and found.family != socket.AF_UNIX and hasattr(socket, "TCP_USER_TIMEOUT"):
        # Without it a statement to a machine that vanished waits for its own timeout of a minute, longer than a lease.
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENT_MS)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # also without a statement: locks, notifications
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, SILENT_MS // 1_000)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
    return connection


def dsns_of(dsn: str) -> list[str]:
    """Return one URL for each host in a URL.

    >>> dsns_of("postgresql://app@one:5432,other/shop?target_session_attrs=read-write")[1]
    'postgresql://app@other/shop?target_session_attrs=read-write'
    """
    parts = urlsplit(dsn)
    user, separator, hosts = parts.netloc.rpartition("@")
    return [parts._replace(netloc=f"{user}{separator}{host}").geturl() for host in hosts.split(",")]


class PostgresConnections:
    """Executes an opening's statements.

    Attributes:
        lost: why this opening has ended. None while it has not.
    """

    def __init__(self, pool: ConnectionPool, settings: PostgresSettings, epoch: int) -> None:
        self._pool = pool
        self._settings = settings
        self._epoch = epoch
        self.lost: OwnershipLost | None = None

    @classmethod
    async def open(cls, settings: PostgresSettings, epoch: int, runtime: Runtime) -> PostgresConnections:
        """Make an opening's connections: first one.

        Raises:
            Exception: one of `DRIVER_ERRORS`.
        """
        pool = ConnectionPool(runtime, partial(connect, settings.dsn, command_timeout=COMMAND_TIMEOUT_S))
        # One now, while the opening waits patiently for a server that is full: a statement does not wait.
        pool.release(await pool.acquire())
        return cls(pool, settings, epoch)

    async def read(self, operation: str, sql: str, *values: Any) -> Result[Rows, StoreError]:
        """Execute a statement that writes nothing."""
        try:
            return Success(await self.execute(sql, *values))
        except NoConnection as error:
            return Failure(unavailable(operation, error.reason))
        # UNSENDABLE too: a value that the driver cannot encode is one caller's mistake, and the store must not raise.
        except (*DRIVER_ERRORS, *UNSENDABLE) as error:
            return Failure(unavailable(operation, error))

    async def write(
        self, operation: str, sql: str, *values: Any, urgent: bool = False
    ) -> Result[Rows, StoreError | OutcomeUnknown]:
        """Execute a statement that writes."""
        try:
            return Success(await self.execute(sql, *values, urgent=urgent))
        except NoConnection as error:
            return Failure(unavailable(operation, error.reason))
        except (*DRIVER_ERRORS, *UNSENDABLE) as error:
            return Failure(await self.ended(error) or failure_of_write(operation, error))

    async def execute(self, sql: str, *values: Any, urgent: bool = False) -> Rows:
        """Execute a statement, and let errors through.

        Raises:
            NoConnection: there is no connection.
            Exception: one of `DRIVER_ERRORS` or `UNSENDABLE`.
        """
        try:
            connection = await self._pool.acquire(urgent=urgent)
        except DRIVER_ERRORS as error:
            raise NoConnection(error) from error
        try:
            rows: Rows = await connection.fetch(sql, *values)
        # Not all DRIVER_ERRORS: after an error of the connection itself its state is unknown, so it is discarded below.
        except (asyncpg.PostgresError, *UNSENDABLE) as error:
            # Its other connections lead to the same replica: without this each statement after a failover would fail
            # once more.
            if state_of(error) == READ_ONLY:  # the primary is another server now
                self._pool.expire()
            give_back = self._pool.discard if ends_the_session(error) else self._pool.release
            give_back(connection)
            raise
        # A cancelled statement may still run: only the end of the connection tells the server to stop it.
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
        # The first reason stays: the lock's watcher and a failed statement may both report the end.
        if self.lost is None:
            self.lost = OwnershipLost(self._settings.name, reason)
        return self.lost

    def terminate(self) -> None:
        """End all connections at once: the statements under way fail."""
        self._pool.terminate()

    async def close(self) -> None:
        """Close all connections, whatever their state."""
        await self._pool.close()

"""An opening's ownership, on its own connection: an owner's lock, or a lease, and notifications.

The owner's lock belongs to a session: the server releases it when the connection ends, and the owner takes it again
unless its opening has ended by then. A member in a shared schema has a lease instead.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, TypeVar

import attrs
from returns.result import Result, Success

from perdure.runtime.record import Future, LogRecord, Runtime, SpawnedTask
from perdure.stores.contract import OwnershipListener
from perdure.stores.postgres.connections import (
    DRIVER_ERRORS,
    KEEPALIVE,
    NO_FREE_CONNECTION,
    PostgresConnections,
    connect,
    is_pooled,
    reason_of,
    reason_of_end,
)
from perdure.stores.postgres.encoding import HOLD_CHANGED
from perdure.stores.postgres.settings import PostgresSettings
from perdure.stores.values import OnLocked
from perdure.values.errors import StoreLocked, StoreUnavailable

_OWNER: Final = 1885692517
_POLL_MS: Final = 200


_POOLED: Final = (
    "a pooler is between this engine and the server, and the lock of an owner belongs to a connection; connect to the "
    "server itself, or share the store with ?ownership=shared"
)

_GRANTED_TWICE: Final = (
    "the server grants the lock of an owner to two sessions, so it would not keep out a second engine; use PostgreSQL "
    "itself, whose pg_try_advisory_lock locks"
)


_PROBED: Final = 1885692522

PROBE_TIMEOUT_MS: Final = 1_000
"""How long the second connection of a probe may wait for a statement, such as in the queue of a pooler."""

# A lock of this session's own number, and a row that no statement updates: no engine waits for an opening.
_HOLD: Final = """
SELECT pg_backend_pid(), pg_advisory_xact_lock({key}, pg_backend_pid()),
  EXISTS (SELECT FROM {schema}.migrations WHERE version = 1 FOR UPDATE SKIP LOCKED)
"""
_TAKE: Final = """
SELECT pg_try_advisory_xact_lock({key}, $1), pg_try_advisory_xact_lock_shared({key}, $1),
  EXISTS (SELECT FROM {schema}.migrations WHERE version = 1 FOR UPDATE SKIP LOCKED)
"""

_ACCEPTED: Final = (
    "the server accepts {lock} without locking, so two engines could write one row; use PostgreSQL itself, or a "
    "database whose {lock} locks"
)


class NoSecondConnection(TimeoutError):
    """A pooler had no server connection for a probe's second session: try again later, as for a full server."""

    sqlstate = NO_FREE_CONNECTION


async def check_locks(connection: Any, settings: PostgresSettings, runtime: Runtime) -> None:
    """Check with two sessions that the server's transaction locks exclude: advisory locks, and locks of rows.

    Raises:
        StoreUnavailable: the server grants one of them to both sessions.
        Exception: one of `DRIVER_ERRORS`.
    """
    names = {"key": _PROBED, "schema": settings.quoted}
    other = await connect(settings.dsn)
    # Engines that start together can hold all connections of a small pooler, each waiting for its second one.
    timer = runtime.call_later(PROBE_TIMEOUT_MS, other.terminate)
    try:
        async with connection.transaction():
            holder, _, is_held = await connection.fetchrow(_HOLD.format(**names))
            advisory, shared, row = await other.fetchrow(_TAKE.format(**names), holder)
    except DRIVER_ERRORS:
        if other.is_closed() and not connection.is_closed():
            # "from None": the cause decides whether an opening waits, and the end of that connection would not.
            raise NoSecondConnection(f"no second session within {PROBE_TIMEOUT_MS} ms") from None
        raise
    finally:
        timer.cancel()
        other.terminate()
    # After the transaction: the holder's session still existed when the other one tried.
    # The holder itself skips a row that another opening holds, and may release before this one tries.
    for is_granted, lock in ((advisory or shared, "advisory locks"), (is_held and row, "FOR UPDATE SKIP LOCKED")):
        if is_granted:
            raise StoreUnavailable(f"open {settings.name}", _ACCEPTED.format(lock=lock))


async def _keep_alive(connection: Any) -> None:
    for name, value in KEEPALIVE.items():  # not when it connects: a pooler refuses unknown parameters
        await connection.execute(f"SET {name} = {value}")


def sharers(number: int) -> str:
    """Return the engines that share a schema, as the owners that an error names."""
    return "an engine that shares it" if number == 1 else f"{number} engines that share it"


@attrs.frozen
class EndedOpening:
    """Another opening, or a copy, has ended an opening."""

    reason: str


class OwnerLock:
    """Holds the lock.

    Args:
        dsn: how to connect again.
    """

    def __init__(self, connection: Any, schema: str, dsn: str) -> None:
        self._connection = connection
        self._dsn = dsn
        self._schema = schema

    async def acquire(self, *, store: str, on_locked: OnLocked, runtime: Runtime) -> None:
        """Take the lock.

        Raises:
            StoreLocked: another engine holds it, and ``on_locked`` is ``raise``.
            StoreUnavailable: a pooler is between, so the lock would belong to any of its clients. Or the server grants
                the lock to two sessions.
        """
        # Refused: behind a pooler the lock belongs to a server connection that other clients use, so it excludes
        # no engine.
        if await is_pooled(self._connection):
            raise StoreUnavailable(f"open {store}", _POOLED)
        await _keep_alive(self._connection)
        owner: str | None = None
        # Polled: a statement that waits for the lock would end with the server's statement_timeout.
        while not await self._connection.fetchval(self._lock_sql):
            if on_locked == "raise":
                raise StoreLocked(store, await self._owner())
            if owner is None:
                owner = await self._owner()
                runtime.log(LogRecord("info", "waiting for store lock", {"store": store, "owner": owner}))
            await runtime.sleep(_POLL_MS)
        if owner is not None:
            runtime.log(LogRecord("info", "acquired store lock", {"store": store, "from": owner}))
        # Refused: databases that speak this protocol accept the function without locking, and two engines would own.
        if await self._is_granted_again():
            raise StoreUnavailable(f"open {store}", _GRANTED_TWICE)

    async def _is_granted_again(self) -> bool:
        """Return whether a second session is granted the lock, too."""
        other = await connect(self._dsn)
        try:
            is_granted = bool(await other.fetchval(self._lock_sql))
        finally:
            other.terminate()
        if is_granted:  # or the first session has ended, and with it the lock: this raises then
            await self._connection.execute("SELECT 1")
        return is_granted

    async def own(self, *, store: str, label: str) -> tuple[int, int]:
        """End earlier openings. Return this opening's number, and how many others were still open.

        Raises:
            StoreLocked: engines share the schema.
        """
        # One statement, under the lock: an engine that joins between "who shares" and "end the others" would be
        # overlooked.
        row = await self._connection.fetchrow(f"SELECT epoch, ended, sharing FROM {self._schema}.own($1)", label)  # noqa: S608 - as above
        if row[2]:
            raise StoreLocked(store, sharers(row[2]))
        return int(row[0]), int(row[1])

    @property
    def _lock_sql(self) -> str:
        # The lock belongs to a table's own number: two schemas never share one.
        return f"SELECT pg_try_advisory_lock({_OWNER}, '{self._schema}.instances'::regclass::oid::int)"

    async def regain(self, epoch: int) -> Literal["held", "busy"] | EndedOpening:
        """Connect again, and take the lock, unless this opening has ended.

        Returns:
            ``held``. ``busy``: another connection holds the lock, perhaps the former one, which the server has not yet
            ended, or why this opening has ended.

        Raises:
            Exception: one of `DRIVER_ERRORS`.
        """
        # A new connection, never a pooled one: the lock lives as long as its session.
        connection = await connect(self._dsn)
        try:
            await _keep_alive(connection)
            is_held = await connection.fetchval(self._lock_sql)
            sql = f"SELECT state FROM {self._schema}.engines WHERE epoch = $1"  # noqa: S608 - as above
            # Read after the lock is tried: before, another engine could still end this opening, and this one would hold
            # the lock of a store that it does not own.
            is_open = await connection.fetchval(sql, epoch) == "open"
            ended = None if is_open else EndedOpening(await reason_of_end(connection.fetchrow, self._schema, epoch))
        except BaseException:  # or a cancelled check leaves a connection that may hold the owner's lock
            connection.terminate()
            raise
        # Never both: a lock that is kept after the opening has ended would keep out every later engine.
        if is_held and ended is None:
            self._connection = connection
            return "held"
        connection.terminate()
        return ended or "busy"

    async def connection(self) -> Any:
        """Return the connection, for notifications."""
        return self._connection

    def when_ended(self, listener: Callable[[], None]) -> None:
        """Call a function when the connection ends, or now, if it has."""

        def ended(_: object) -> None:
            listener()

        # The server may have ended it since its last answer, and tells that no listener of later.
        if self._connection.is_closed():
            listener()
        else:
            self._connection.add_termination_listener(ended)

    async def close(self, epoch: int) -> None:
        """Mark the opening as closed, and release the lock."""
        # Mark, then release: a standby that takes the lock first would read "open" and count this engine as died.
        sql = f"UPDATE {self._schema}.engines SET state = 'closed' WHERE epoch = $1 AND state = 'open'"  # noqa: S608 - as above
        try:
            await self._connection.execute(sql, epoch)
            await self._connection.close()
        except DRIVER_ERRORS:
            self._connection.terminate()

    def terminate(self) -> None:
        """End the connection at once."""
        self._connection.terminate()

    async def _owner(self) -> str:
        sql = f"""
            SELECT 'process ' || pid || ' of the server, connected from ' || coalesce(host(client_addr), 'this machine')
            FROM pg_locks JOIN pg_stat_activity USING (pid)
            WHERE locktype = 'advisory' AND classid = {_OWNER} AND granted
              AND objid = '{self._schema}.instances'::regclass::oid LIMIT 1
        """  # noqa: S608 - as above
        return await self._connection.fetchval(sql) or "another engine"


FIRST_WAIT_MS: Final = 50
LONGEST_WAIT_MS: Final = 2_000
"""Waits between two attempts: they double, and each is varied by half."""


class LockRecovery:
    """Takes an owner's lock again after its connection has ended, such as when the server restarts.

    No write depends on the lock: every statement that writes checks that no other opening has ended this one.

    Args:
        store: the store's name in the log.
        epoch: this opening's number.
        lose: called with the reason when this opening has ended.
    """

    def __init__(self, runtime: Runtime, lock: OwnerLock, store: str, epoch: int, lose: Callable[[str], None]) -> None:
        self._runtime = runtime
        self._lock = lock
        self._store = store
        self._epoch = epoch
        self._lose = lose
        self._listener: OwnershipListener | None = None
        self._task: SpawnedTask[None] | None = None
        self._phase: Literal["open", "closed"] = "open"
        self._state: Literal["sure", "in_doubt"] = "sure"
        self._waiting: list[Future[None]] = []
        lock.when_ended(self._ended)

    def watch(self, listener: OwnershipListener, /) -> None:
        """Call a listener when the lock is lost, and when it is held again."""
        self._listener = listener
        if self._state == "in_doubt":
            listener("in_doubt")

    async def connection(self) -> Any:
        """Return the connection that holds the lock, as soon as one holds it."""
        while self._state == "in_doubt":
            self._waiting.append(held := self._runtime.future())
            await held
        return await self._lock.connection()

    def end(self) -> None:
        """Stop: the store is closing."""
        self._phase = "closed"
        if self._task is not None:
            self._task.cancel()

    def _ended(self) -> None:
        if self._phase == "open":
            # From now on another engine may write: rows in memory must be read again before they are answered.
            self._tell("in_doubt")
            self._task = self._runtime.spawn(self._regain(), name=f"perdure:owner {self._store}")

    async def _regain(self) -> None:
        fields = {"store": self._store}
        self._runtime.log(LogRecord("warning", "connection of the store lock ended", fields))
        wait_ms, said = FIRST_WAIT_MS, ""
        while True:
            found: Literal["held", "busy", "unreachable"] | EndedOpening
            try:
                found = await self._lock.regain(self._epoch)
            except DRIVER_ERRORS as error:
                found, reason = "unreachable", reason_of(error)
                if reason != said:
                    said = reason
                    self._runtime.log(LogRecord("warning", "store lock not regained", {**fields, "error": reason}))
            if isinstance(found, EndedOpening):
                self._lose(found.reason)
                return
            if found == "held":
                break
            await self._runtime.sleep(wait_ms * (0.5 + self._runtime.random()))
            # Bounded: after a long outage of the server, engines would otherwise stay in doubt for minutes.
            wait_ms = min(2 * wait_ms, LONGEST_WAIT_MS)
        self._runtime.log(LogRecord("info", "regained store lock", fields))
        self._tell("sure")
        # On the new connection too: otherwise its end would not be noticed, and the engine would answer from rows of
        # its memory without a lock. Last, because it may have ended already.
        self._lock.when_ended(self._ended)

    def _tell(self, state: Literal["sure", "in_doubt"]) -> None:
        self._state = state
        waiting, self._waiting = self._waiting, []
        for held in waiting:
            if not held.done():
                held.set_result(None)
        if self._listener is not None:
            self._listener(state)


class Lease:
    """An opening's membership, in place of an owner's lock."""

    def __init__(self, connections: PostgresConnections, settings: PostgresSettings) -> None:
        self._connections = connections
        self._settings = settings
        self._listening: Any = None

    async def connection(self) -> Any:
        """Open a connection, for notifications."""
        self._listening = await connect(self._settings.dsn)
        return self._listening

    async def close(self, epoch: int) -> None:
        """End the membership. If the server cannot be reached, the lease ends by itself."""
        if self._listening is not None:
            self._listening.terminate()
        sql = f"UPDATE {self._settings.quoted}.engines SET state = 'closed' WHERE epoch = $1 AND state = 'open'"  # noqa: S608 - the name is checked
        await self._connections.write("leave", sql, epoch)


AGAIN_MS: Final = (50, 500, 5_000)
"""When a listener is called again after a notification: one transaction sends it for several that commit together."""

POLL_MS: Final = 200
"""How often the listener is called where notifications do not arrive."""

TRIAL_MS: Final = 1_000
"""How long a notification that this engine sends itself may take: a pooler in transaction mode never passes it on."""

RETRY_MS: Final = 60_000
"""How long it polls, before it tries to listen again."""


T = TypeVar("T")


class NotificationListener:
    """Listens on a connection, and calls the engine. Without notifications it calls the engine periodically.

    Args:
        connect: returns a connection that stays open, and is not pooled.
        execute: executes a statement on another connection.
        epoch: this opening's number.

    Attributes:
        hold_changed: called when an engine has held or released a job. Nothing polls it: engines read the held jobs
            periodically.
    """

    def __init__(
        self,
        runtime: Runtime,
        connect: Callable[[], Awaitable[Any]],
        execute: Callable[..., Awaitable[Result[Any, Any]]],
        schema: str,
        epoch: int,
    ) -> None:
        self._runtime = runtime
        self._connect = connect
        self._execute = execute
        self._schema = schema
        self._own = f"engine {epoch}"
        self._task: SpawnedTask[Any] | None = None
        self._heard: Future[bool] | None = None
        self.hold_changed: Callable[[], None] = lambda: None

    def listen(self, listener: Callable[[], None], /) -> None:
        """Call a listener whenever another process may have written messages."""
        self._task = self._runtime.spawn(self._listen(listener), name="perdure:arrivals")

    def end(self) -> None:
        """Call it no more."""
        if self._task is not None:
            self._task.cancel()

    async def _listen(self, listener: Callable[[], None]) -> None:
        while True:
            ended = await self._connected(listener)
            if ended is None:
                await self._poll(listener)
            else:
                listener()  # messages that were sent before are not notified again
                self.hold_changed()
                await ended
                listener()

    async def _connected(self, listener: Callable[[], None]) -> Future[None] | None:
        """Listen, and return a future that is done when the connection ends. None if no notification arrives."""
        ended: Future[None] = self._runtime.future()

        def over(_: object) -> None:
            _settle(ended, None)

        def notified(_connection: object, _pid: object, _channel: object, payload: str) -> None:
            self._notified(payload, listener)

        connection: Any = None
        try:
            connection = await self._connect()
            connection.add_termination_listener(over)
            channel = await connection.fetchval(f"SELECT 'perdure_' || '{self._schema}.instances'::regclass::oid")
            await connection.add_listener(channel, notified)
            # Test it: a pooler in transaction mode accepts LISTEN and never passes a notification on, so messages would
            # just wait.
            arrive = not await is_pooled(connection) or await self._hears(channel)
        except DRIVER_ERRORS as error:
            # Each attempt would otherwise leave a connection open at the server.
            if connection is not None:
                connection.terminate()
            self._warn(reason_of(error))
            return None
        if arrive:
            return ended
        connection.terminate()
        self._warn("none arrives, perhaps because of a pooler in transaction mode")
        return None

    async def _hears(self, channel: str) -> bool:
        """Send a notification to this engine, from another connection, and wait for it."""
        heard = self._heard = self._runtime.future()
        timer = self._runtime.call_later(TRIAL_MS, lambda: _settle(heard, result=False))
        sent = await self._execute("try a notification", "SELECT pg_notify($1, $2)", channel, self._own)
        is_heard = isinstance(sent, Success) and await heard
        timer.cancel()
        return is_heard

    def _notified(self, payload: str, listener: Callable[[], None]) -> None:
        if payload == self._own and self._heard is not None:
            _settle(self._heard, result=True)
        if payload == HOLD_CHANGED:
            self.hold_changed()
        if payload:  # also of an engine that has just opened the store
            return
        listener()
        for delay_ms in AGAIN_MS:
            self._runtime.call_later(delay_ms, listener)

    def _warn(self, reason: str) -> None:
        fields = {"error": reason, "poll_ms": str(POLL_MS)}
        self._runtime.log(LogRecord("warning", "notifications of the store are not received", fields))

    async def _poll(self, listener: Callable[[], None]) -> None:
        for _ in range(RETRY_MS // POLL_MS):
            await self._runtime.sleep(POLL_MS)
            listener()


def _settle(future: Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)

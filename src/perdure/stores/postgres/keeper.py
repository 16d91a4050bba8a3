"""The owner's lock: a lock of a session, which the server releases when the connection ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import attrs

from perdure.runtime.record import LogRecord, Runtime
from perdure.stores.postgres.connections import KEEPALIVE, connect, is_pooled
from perdure.stores.postgres.endings import reason_of_end
from perdure.stores.postgres.failures import DRIVER_ERRORS
from perdure.stores.store import OnLocked
from perdure.values.errors import StoreLocked, StoreUnavailable

_OWNER: Final = 1885692517
_POLL_MS: Final = 200


_POOLED: Final = (
    "a pooler is between this engine and the server, and the lock of an owner belongs to a connection; connect to the "
    "server itself, or share the store with ?ownership=shared"
)


async def _keep_alive(connection: Any) -> None:
    for name, value in KEEPALIVE.items():  # not when it connects: a pooler refuses unknown parameters
        await connection.execute(f"SET {name} = {value}")


def sharers(number: int) -> str:
    """Return the engines that share a schema, as the owners that an error names."""
    return "an engine that shares it" if number == 1 else f"{number} engines that share it"


@attrs.frozen
class EndedOpening:
    """Another opening, or a copy, has ended an opening.

    Attributes:
        reason: why.
    """

    reason: str


class Keeper:
    """Holds the lock.

    Args:
        connection: a connection of its own.
        schema: the quoted name of the schema.
        dsn: how to connect again.
    """

    def __init__(self, connection: Any, schema: str, dsn: str) -> None:
        self._connection = connection
        self._dsn = dsn
        self._schema = schema

    async def acquire(self, *, store: str, on_locked: OnLocked, runtime: Runtime) -> None:
        """Take the lock.

        Raises:
            StoreLocked: another engine holds it, and is not waited for.
            StoreUnavailable: a pooler is between, so the lock would belong to any of its clients.
        """
        if await is_pooled(self._connection):
            raise StoreUnavailable(f"open {store}", _POOLED)
        await _keep_alive(self._connection)
        owner: str | None = None
        while not await self._connection.fetchval(self._lock_sql):
            if on_locked == "raise":
                raise StoreLocked(store, await self._owner())
            if owner is None:
                owner = await self._owner()
                runtime.log(LogRecord("info", "waiting for store lock", {"store": store, "owner": owner}))
            await runtime.sleep(_POLL_MS)
        if owner is not None:
            runtime.log(LogRecord("info", "acquired store lock", {"store": store, "from": owner}))

    async def own(self, *, store: str, label: str) -> tuple[int, int]:
        """End earlier openings, and return the number of this one and how many were still open.

        Raises:
            StoreLocked: engines share the schema.
        """
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
            ``held``; ``busy``: another connection holds the lock, perhaps the former one, which the server has not yet
            ended; or why this opening has ended.

        Raises:
            Exception: one of `DRIVER_ERRORS`.
        """
        connection = await connect(self._dsn)
        try:
            await _keep_alive(connection)
            is_held = await connection.fetchval(self._lock_sql)
            sql = f"SELECT state FROM {self._schema}.engines WHERE epoch = $1"  # noqa: S608 - as above
            is_open = await connection.fetchval(sql, epoch) == "open"
            ended = None if is_open else EndedOpening(await reason_of_end(connection.fetchrow, self._schema, epoch))
        except BaseException:
            connection.terminate()
            raise
        if is_held and ended is None:
            self._connection = connection
            return "held"
        connection.terminate()
        return ended or "busy"

    async def connection(self) -> Any:
        """Return the connection, for notifications."""
        return self._connection

    def when_ended(self, listener: Callable[[], None]) -> None:
        """Call a function when the connection ends."""

        def ended(_: object) -> None:
            listener()

        self._connection.add_termination_listener(ended)

    async def close(self, epoch: int) -> None:
        """Mark the opening as closed, and release the lock."""
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

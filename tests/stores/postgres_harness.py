"""A harness for the conformance suite: a schema of its own in the database of the test server."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from postgres_server import running_server

from perdure.stores.contract import Store
from perdure.stores.copying import CopySource, CopyTarget
from perdure.stores.postgres import copying, migrate_schema, open_postgres
from perdure.stores.postgres.schema import in_schema
from perdure.values.address import Address


class PostgresHarness:
    """A schema that no other test uses.

    Args:
        url: the URL of the database.
        durability: of the store.
    """

    def __init__(self, url: str, durability: str = "relaxed") -> None:
        self.schema = f"perdure_test_{secrets.token_hex(6)}"
        self.database = url
        self.url = f"{url}{'&' if '?' in url else '?'}schema={self.schema}&durability={durability}"

    async def open(self) -> Store:
        return await open_postgres(self.url)

    async def discard(self) -> None:
        await self.execute(f'DROP SCHEMA IF EXISTS "{self.schema}" CASCADE')

    async def copy_source(self) -> CopySource:
        return await copying.open_source(self.url)

    async def copy_target(self) -> CopyTarget:
        return await copying.open_target(self.url)

    async def damage(self, address: Address) -> None:
        place = address.kind, address.name, address.id
        sql = "UPDATE perdure.instances SET pending_retry = 'not JSON' WHERE kind = $1 AND name = $2 AND id = $3"
        await self.execute(sql, *place)

    async def execute(self, sql: str, *values: Any) -> None:
        """Execute a statement; ``perdure.`` in it names the schema."""
        connection = await asyncpg.connect(self.database)
        try:
            await connection.execute(in_schema(sql, self.schema), *values)
        finally:
            await connection.close()

    def sql(self, sql: str) -> str:
        """Return a statement for the schema."""
        return in_schema(sql, self.schema)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Any]:
        """Open a transaction on a connection of its own."""
        connection = await asyncpg.connect(self.database)
        try:
            async with connection.transaction():
                yield connection
        finally:
            await connection.close()

    async def lose_the_lock(self) -> None:
        """End the connection of the owner's lock."""
        await self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 "
            "AND classid = 1885692517 AND objid = 'perdure.instances'::regclass::oid"
        )

    async def until_blocked(self, number: int = 1) -> None:
        """Wait until so many statements on this schema wait for a lock."""
        sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND strpos(query, $1) > 0"
        while await self.value(sql, self.schema) < number:  # noqa: ASYNC110 - the server notifies no client of that
            await asyncio.sleep(0.01)

    async def value(self, sql: str, *values: Any) -> Any:
        """Return the value of a query."""
        connection = await asyncpg.connect(self.database)
        try:
            return await connection.fetchval(in_schema(sql, self.schema), *values)
        finally:
            await connection.close()


def states(owner: Store) -> asyncio.Queue[str]:
    """Return the states of ownership that a store reports from now on."""
    told: asyncio.Queue[str] = asyncio.Queue()
    assert owner.watch_ownership is not None
    owner.watch_ownership(told.put_nowait)
    return told


class SharedPostgresHarness(PostgresHarness):
    """A schema that several openings share."""

    def __init__(self, url: str, durability: str = "relaxed") -> None:
        super().__init__(url, durability)
        self.url = f"{self.url}&ownership=shared&lease=30s"

    async def pass_time(self, duration_ms: float) -> None:
        """Let all leases end sooner, as if time had passed."""
        sql = "UPDATE perdure.engines SET lease_until = lease_until - $1::float8 * interval '1 ms'"
        await self.execute(sql, duration_ms)


class EmptySchema:
    """One schema for many tests, one after the other: to empty it is faster than to make another."""

    def __init__(self) -> None:
        self._harness: PostgresHarness | None = None

    def url(self) -> str:
        """Return the URL of a schema without data."""
        asyncio.run(self._empty())
        assert self._harness is not None
        return self._harness.url

    async def _empty(self) -> None:
        if self._harness is None:
            self._harness = PostgresHarness(running_server())
            await migrate_schema(self._harness.url)
        tables = "instances, journal, streams, keys, messages, dead_letters, events, cursors, holds, engines, copying"
        tables += ", counted, histories, kept_events"
        await self._harness.execute(f"TRUNCATE {', '.join(f'perdure.{table}' for table in tables.split(', '))}")
        await self._harness.execute("UPDATE perdure.counters SET pruned_to = 0")
        for numbers in ("epochs", "incarnations", "message_ids"):
            await self._harness.execute(f"ALTER SEQUENCE perdure.{numbers} RESTART")


EMPTY_SCHEMA = EmptySchema()

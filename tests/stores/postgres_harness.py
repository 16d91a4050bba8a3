"""A harness for the conformance suite: a schema of its own in a database of the test server."""

from __future__ import annotations

import os
import secrets
from typing import Any

import asyncpg

from perdure.stores.postgres import open_postgres
from perdure.stores.store import Store
from perdure.values.address import Address


class PostgresHarness:
    """A schema that no other test uses."""

    durability = "relaxed"

    def __init__(self) -> None:
        self.url = os.environ["PERDURE_TEST_POSTGRES"]
        self.schema = f"perdure_test_{secrets.token_hex(6)}"

    async def open(self) -> Store:
        separator = "&" if "?" in self.url else "?"
        return await open_postgres(f"{self.url}{separator}schema={self.schema}&durability={self.durability}")

    async def discard(self) -> None:
        await self.execute(f'DROP SCHEMA IF EXISTS "{self.schema}" CASCADE')

    async def damage(self, address: Address) -> None:
        sql = f"UPDATE {self.schema}.instances SET pending_retry = 'not JSON' WHERE kind = $1 AND name = $2 AND id = $3"
        await self.execute(sql, address.kind, address.name, address.id)

    async def execute(self, sql: str, *values: Any) -> None:
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(sql, *values)
        finally:
            await connection.close()

"""A transition that changes few columns writes the row that it would write as a whole."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from narrow_changes import write_both
from postgres_harness import PostgresHarness, SharedPostgresHarness

from perdure.stores.postgres.connections import asyncpg
from perdure.stores.postgres.settings import settings_of


async def columns(url: str, job: str) -> list[tuple[Any, ...]]:
    """All columns of a job's rows but those that name it, and the events of its instances."""
    settings = settings_of(url)
    connection = await asyncpg.connect(settings.dsn)
    rows = await connection.fetch(
        f"SELECT to_jsonb(i) - '{{incarnation,name,bucket}}'::text[], (SELECT array_agg(e.body ORDER BY e.sequence) "  # noqa: S608 - constants
        f"FROM {settings.quoted}.events AS e WHERE e.address = kind || ':' || name || ':' || id) "
        f"FROM {settings.quoted}.instances AS i WHERE name = $1 ORDER BY id",
        job,
    )
    await connection.close()
    return [tuple(row) for row in rows]


@pytest.mark.parametrize("group", ["narrow", "mixed"])
@pytest.mark.parametrize("form", [PostgresHarness, SharedPostgresHarness])
def test_a_narrow_write_is_that_of_the_whole_row(postgres_url: str, form: Any, group: str) -> None:
    """In a group of their own, and beside others; those whose version is not the stored one are refused."""
    harness = form(postgres_url)

    async def main() -> None:
        store = await harness.open()
        await write_both(store, group)
        assert await columns(harness.url, "narrow") == await columns(harness.url, "whole")
        await store.close()
        await harness.discard()

    asyncio.run(main())

"""Lists of a PostgreSQL store read the instances that they return, and not those of other jobs."""

from __future__ import annotations

import asyncio
import json

import pytest
from postgres_harness import PostgresHarness

from perdure.stores.postgres.queries import Conditions
from perdure.stores.values import Query
from perdure.testing.conformance.assertions import value
from perdure.testing.conformance.histories import address, created

INSTANCES = 5_000
COPY = """
INSERT INTO perdure.instances (incarnation, version, bucket, kind, name, id, status, state, state_version, data,
  run_count, event_count, created_ms, updated_ms, journal_length)
SELECT nextval('perdure.incarnations'), version, bucket, kind, name, 'id-' || n, status, state, state_version, data,
  run_count, event_count, created_ms, updated_ms, journal_length
FROM generate_series(1, $1::int) AS n, perdure.instances WHERE id = 'seed'
"""


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (Query(id_prefix="x", limit=100), []),
        (Query(id_prefix="few", limit=100), ["few"]),
        (Query(id_prefix="see", kind="task", limit=100), ["seed"]),
        (Query(except_jobs=(("task", "orders"),), limit=100), ["few"]),
    ],
)
def test_a_list_seeks_in_each_job(postgres_url: str, query: Query, expected: list[str]) -> None:
    harness = PostgresHarness(postgres_url)

    async def main() -> None:
        store = await harness.open()
        await created(store, address("seed"))
        await created(store, address("few", name="rare"))
        await harness.execute(COPY, INSTANCES)
        await harness.execute("VACUUM ANALYZE perdure.instances")
        assert [one.address.id for one in await value(store.find(query))] == expected
        found = await value(store.search(query, 1_000))
        assert ([one.address.id for one in found.instances], found.after) == (expected, None)
        await store.close()
        conditions = Conditions(query)
        page = f"ORDER BY kind, name, id LIMIT ${len(conditions.values) + 4}"
        source = conditions.source("perdure", "kind, name, id", (conditions.after(),), page)
        sql = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT id FROM {source} {page}"  # noqa: S608 - constants
        plan = json.loads(await harness.value(sql, *conditions.values, "", "", "", 100))[0]["Plan"]
        assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 40
        await harness.discard()

    asyncio.run(main())

"""Counting the instances of a PostgreSQL store."""

from __future__ import annotations

import asyncio

from postgres_harness import SharedPostgresHarness

from perdure.stores.contract import Store, commit_one
from perdure.stores.postgres.queries import SELDOM
from perdure.testing.conformance.assertions import value
from perdure.testing.conformance.histories import CLAIM, address, created, instance, told
from perdure.values.listings import StatusCount, StoreCounts
from perdure.values.transition import Put, Transition

FEW = (StatusCount("task", "orders", "idle", 1),)
KEPT = (StatusCount("task", "orders", "idle", 7),)
KEEP = """
INSERT INTO perdure.counted (counted_at, took_ms, body)
VALUES (clock_timestamp() - $1::float8 * interval '1 ms', $2, '[["task","orders","idle",7]]')
ON CONFLICT (one) DO UPDATE SET counted_at = excluded.counted_at, took_ms = excluded.took_ms, body = excluded.body
"""
MINUTE_MS = 60_000


async def counted(store: Store) -> StoreCounts:
    assert store.counts is not None
    return await value(store.counts.instances())


def test_a_slow_count_is_kept_for_all_engines(postgres_url: str):
    """A count that took long is returned with its age; one that took little, or is old, is made again."""
    harness = SharedPostgresHarness(postgres_url)

    async def main() -> None:
        store, other = await harness.open(), await harness.open()
        await created(store, address("a"))
        assert await counted(store) == StoreCounts(instances=FEW)
        assert await harness.value("SELECT count(*) FROM perdure.counted") == 0
        await harness.execute(KEEP, 5_000.0, MINUTE_MS)
        for each in (store, other):
            found = await counted(each)
            assert found.instances == KEPT
            assert 5_000 <= found.age_ms < MINUTE_MS
            assert found.complete
        await harness.execute(KEEP, SELDOM * MINUTE_MS + 1.0, MINUTE_MS)
        assert await counted(store) == StoreCounts(instances=FEW)
        assert await harness.value("SELECT count(*) FROM perdure.counted") == 0
        await store.close()
        await other.close()
        await harness.discard()

    asyncio.run(main())


def test_one_engine_counts_at_a_time(postgres_url: str):
    """While another engine counts again, the earlier counts are returned with their age."""
    harness = SharedPostgresHarness(postgres_url)

    async def main() -> None:
        store = await harness.open()
        await created(store, address("a"))
        await harness.execute(KEEP, SELDOM * MINUTE_MS + 1.0, MINUTE_MS)
        async with harness.transaction() as connection:
            lock = "SELECT pg_advisory_xact_lock(1885692520, 'perdure.instances'::regclass::oid::int)"
            await connection.execute(harness.sql(lock))
            found = await counted(store)
        assert (found.instances, found.age_ms > SELDOM * MINUTE_MS) == (KEPT, True)
        assert await counted(store) == StoreCounts(instances=FEW)
        await store.close()
        await harness.discard()

    asyncio.run(main())


def test_the_database_answers_the_demand_while_no_engine_runs(postgres_url: str):
    """One number: with the alarms of a time to come, for all jobs or some, without the waiting work of held jobs."""
    harness = SharedPostgresHarness(postgres_url)

    async def demand(arguments: str = "") -> int:
        found: int = await harness.value(f"SELECT perdure.demand({arguments})")
        return found

    async def main() -> None:
        store = await harness.open()
        assert await demand() == 0
        now_ms = int(await harness.value("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"))
        await created(store, address("due"), alarm_ms=now_ms)
        await created(store, address("later", name="other"), alarm_ms=now_ms + 30 * MINUTE_MS)
        await told(store, address("due"), address("first", name="absent"), "1", "2")
        await value(store.close())
        assert await demand() == 2
        assert await demand("within => '1 hour'") == 3
        assert await demand("jobs => ARRAY['task:orders']") == 1
        assert await demand("'1 hour', ARRAY['task:orders', 'task:other', 'task:nowhere']") == 2
        store = await harness.open()
        await value(store.set_hold(("task", "orders"), "held"))
        assert await demand() == 1
        claimed = instance(address("runs"), claim=CLAIM)
        await value(commit_one(store, Transition(address=claimed.address, write=Put(claimed))))
        assert await demand() == 2
        await value(store.close())
        await harness.discard()

    asyncio.run(main())

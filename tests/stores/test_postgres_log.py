"""The event log of a PostgreSQL store beside transactions that are still under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import asyncpg
from postgres_harness import PostgresHarness

from perdure.stores.contract import Store, commit_one
from perdure.stores.postgres.schema import in_schema
from perdure.stores.values import Retention
from perdure.testing.conformance.assertions import value
from perdure.testing.conformance.histories import address, put, started
from perdure.values.limits import KeepHistory
from perdure.values.transition import Transition

A = address("a")


@asynccontextmanager
async def transaction(harness: PostgresHarness) -> AsyncGenerator[asyncpg.Connection]:
    """A transaction of another connection that has written something."""
    connection = await asyncpg.connect(harness.database)
    transaction = connection.transaction()
    await transaction.start()
    await connection.fetchval("SELECT pg_current_xact_id()")
    try:
        yield connection
        await transaction.commit()
    finally:
        await connection.close()


async def _logged(store: Store, at_ms: int) -> None:
    await value(commit_one(store, Transition(address=A, events=(started(A, at_ms=at_ms),))))


async def _instants(store: Store) -> list[int]:
    return [one.event.at_ms for one in await value(store.events(0, 99))]


def test_a_transaction_of_another_application_does_not_delay_the_log(postgres_url: str):
    harness = PostgresHarness(postgres_url)

    async def main() -> None:
        store = await harness.open()
        async with transaction(harness):
            await _logged(store, 1)
            assert await _instants(store) == [1]
            await _logged(store, 2)
            assert await _instants(store) == [1, 2]
        await store.close()
        await harness.discard()

    asyncio.run(main())


def test_no_event_appears_after_a_greater_number_was_read(postgres_url: str):
    """A writer whose transaction began first commits last: until then later events are not shown."""
    harness = PostgresHarness(postgres_url)

    async def main() -> None:
        store = await harness.open()
        await _logged(store, 1)
        connection = await asyncpg.connect(harness.database)
        under_way = connection.transaction()
        await under_way.start()
        await connection.execute(in_schema("SELECT perdure.enter($1, 'full')", harness.schema), store.epoch)
        event = (["task:orders:a"], ["job.started"], [2], ["{}"])
        await connection.execute(in_schema("SELECT perdure.append_events($1, $2, $3, $4)", harness.schema), *event)
        await _logged(store, 3)
        assert await _instants(store) == [1]
        assert (await value(store.cursors.read("sink"))).last == (await value(store.events(0, 99)))[-1].sequence
        await under_way.commit()
        assert [one.event.at_ms for one in await value(store.events(0, 99))] == [1, 2, 3]
        await connection.close()
        await store.close()
        await harness.discard()

    asyncio.run(main())


def test_numbers_grow_in_a_copy_in_another_cluster(postgres_url: str):
    """There the numbers of transactions are small again; the opening moves the base of the numbers."""
    harness = PostgresHarness(postgres_url)

    async def main() -> None:
        store = await harness.open()
        await _logged(store, 1)
        await store.close()
        await harness.execute("UPDATE perdure.events SET sequence = sequence + (1::bigint << 50)")
        store = await harness.open()
        await _logged(store, 2)
        assert await _instants(store) == [1, 2]
        await value(store.prune(Retention(now_ms=0, events_since_ms=0, max_events=0)))
        await store.close()
        await harness.execute("UPDATE perdure.counters SET pruned_to = pruned_to + (1::bigint << 55)")
        store = await harness.open()
        last = (await value(store.cursors.read("sink"))).last
        await _logged(store, 3)
        assert (await value(store.events(0, 9)))[0].sequence > last
        await store.close()
        await harness.discard()

    asyncio.run(main())


KEEP = {(A.kind, A.name): KeepHistory(age="1 day")}


def test_concurrent_rounds_move_each_event_once(postgres_url: str):
    """Engines prune when they will: the numbers of a job's kept events have no gaps."""
    harness = PostgresHarness(postgres_url)

    async def main() -> None:
        store = await harness.open()
        await value(store.histories.declare(KEEP))
        for at_ms in range(40):
            await _logged(store, at_ms)
        small = Retention(now_ms=0, events_since_ms=9_999, max_events=0, limit=7)
        counts = await asyncio.gather(*(value(store.prune(small)) for _ in range(12)))
        assert sum(counts) == 40
        assert [one.event.at_ms for one in await value(store.history(A, None, 99))] == list(reversed(range(40)))
        assert await harness.value("SELECT array_agg(number ORDER BY sequence) FROM perdure.kept_events") == [
            *range(1, 41)
        ]
        await store.close()
        await harness.discard()

    asyncio.run(main())


def test_an_engine_of_older_code_moves_events_too(postgres_url: str):
    """It calls the same function, and knows nothing of histories."""
    harness = PostgresHarness(postgres_url)

    async def main() -> None:
        store = await harness.open()
        await value(store.histories.declare(KEEP))
        for at_ms in (1, 2, 3):
            await _logged(store, at_ms)
        older = in_schema("SELECT perdure.prune($1, 'full', 10, 0, 3, 0, 500)", harness.schema)
        assert await harness.value(older.replace("$1", str(store.epoch))) == 2
        assert [one.event.at_ms for one in await value(store.history(A, None, 9))] == [3, 2, 1]
        assert await _instants(store) == [3]
        await store.close()
        await harness.discard()

    asyncio.run(main())


def test_a_commit_repeats_itself_after_a_deadlock(postgres_url: str):
    """Another transaction and the group wait for each other; the server undoes the group, and it is sent again."""
    harness = PostgresHarness(postgres_url)

    async def main() -> None:
        store = await harness.open()
        b = address("b")
        fences = {at: await value(commit_one(store, put(at))) for at in (A, b)}
        connection = await asyncpg.connect(harness.database)
        lock = in_schema("SELECT FROM perdure.instances WHERE id = $1 FOR UPDATE", harness.schema)
        under_way = connection.transaction()
        await under_way.start()
        await connection.execute("SET LOCAL deadlock_timeout = '60s'")  # the group is the one that is undone
        await connection.execute(lock, "b")
        group = asyncio.gather(*(value(commit_one(store, put(at, fences[at]))) for at in (A, b)))
        while not await harness.value("SELECT count(*) FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110 - of a server
            await asyncio.sleep(0)
        await connection.execute(lock, "a")
        await under_way.commit()
        assert [fence.version for fence in await group] == [2, 2]
        await connection.close()
        await store.close()
        await harness.discard()

    asyncio.run(main())

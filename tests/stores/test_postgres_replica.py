"""Lists, searches and counts from a streaming replica, and its promotion."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import attrs
import pytest
from postgres_server import ReplicatedCluster, needed_programs
from returns.result import Success

from perdure import App, Client, Decision, Task, attribute
from perdure.jobs.call import result_of
from perdure.stores.postgres.settings import settings_of
from perdure.values.errors import DefinitionError, StoreUnavailable


@attrs.frozen
class Added:
    cents: int


def add(total: int, event: Added) -> Success[Decision[int]]:
    return Success(Decision(total + event.cents))


@attribute
def cents(total: int) -> int:
    return total


sums = Task(
    "sums",
    state=int,
    event=Added,
    initial=0,
    decide=add,
    execute=lambda ctx: ctx.terminate(),
    attributes=(cents,),
)
app = App(None).with_jobs(sums)


@pytest.fixture(scope="module")
def pair() -> Iterator[ReplicatedCluster]:
    with ReplicatedCluster(needed_programs()) as pair:
        yield pair


def reading_url(pair: ReplicatedCluster, options: str = "") -> str:
    return f"{pair.url}&replica=127.0.0.1:{pair.ports[1]}{options}"


@asynccontextmanager
async def on_replica(pair: ReplicatedCluster) -> AsyncGenerator[Any]:
    connection = await asyncpg.connect(pair.replica_url)
    yield connection
    await connection.close()


async def caught_up(pair: ReplicatedCluster, replica: Any) -> None:
    """Wait until the replica has applied all that the primary has written."""
    primary = await asyncpg.connect(pair.url)
    written = await primary.fetchval("SELECT pg_current_wal_lsn()::text")
    await primary.close()
    while not await replica.fetchval("SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", written):  # noqa: ASYNC110 - the server notifies no client of that
        await asyncio.sleep(0.01)


async def listed(jobs: Client) -> tuple[int, int, int, int]:
    """Return how many instances a list, a search, a search by attributes and the counts find."""
    handle = jobs.handle(sums)
    found = await jobs.list(sums)
    searched = await jobs.list(sums, max_scanned=100)
    matching = await handle.count_matching(where=[cents > 0])
    counted = await handle.count()
    return len(found.instances), len(searched.instances), matching.number, sum(counted.by_status.values())


@pytest.mark.parametrize("ownership", ["owned", "shared"])
def test_lists_come_from_the_replica_and_requests_from_the_primary(pair: ReplicatedCluster, ownership: str):
    """The replica receives new rows, and does not apply them: lists are of before, and requests are not."""

    async def main() -> None:
        url = reading_url(pair, f"&schema=lists_{ownership}&ownership={ownership}")
        async with app.open(url) as jobs, on_replica(pair) as replica:
            handle = jobs.handle(sums)
            await handle.send("a", Added(1))
            await caught_up(pair, replica)
            assert await listed(jobs) == (1, 1, 1, 1)
            await replica.execute("SELECT pg_wal_replay_pause()")
            await handle.send("b", Added(2))
            assert await listed(jobs) == (1, 1, 1, 1)
            assert await handle.get_state("b") == 2
            assert (await handle.status("b")).status == "idle"
            await replica.execute("SELECT pg_wal_replay_resume()")
            await caught_up(pair, replica)
            assert await listed(jobs) == (2, 2, 2, 2)

    asyncio.run(main())


def test_a_slow_count_on_a_replica_is_kept_on_the_primary(pair: ReplicatedCluster):
    """A replica cannot keep it, and counting each time would take longer than it may."""
    url = reading_url(pair, "&schema=kept")
    keep = """INSERT INTO kept.counted (counted_at, took_ms, body)
        VALUES (clock_timestamp() - interval '1 day', 1000, '[["task","sums","idle",7]]')"""

    async def main() -> None:
        async with app.open(url) as jobs, on_replica(pair) as replica:
            await jobs.handle(sums).send("a", Added(1))
            primary = await asyncpg.connect(pair.url)
            await primary.execute(keep)
            await caught_up(pair, replica)
            # A day is too old: it counts again, in less time, and deletes the kept count.
            assert (await jobs.handle(sums).count()).by_status == {"idle": 1}
            assert await primary.fetchval("SELECT count(*) FROM kept.counted") == 0
            await primary.close()

    asyncio.run(main())


def test_without_its_replica_an_engine_works_and_a_list_fails(pair: ReplicatedCluster):
    """It names the replica: an operator starts it, or takes the option out of the URL."""
    pair_url = f"{pair.url}&schema=absent&replica=127.0.0.1:1"

    async def main() -> None:
        async with app.open(pair_url) as jobs:
            await jobs.handle(sums).send("a", Added(1))
            with pytest.raises(StoreUnavailable, match=r"on the replica postgresql://127\.0\.0\.1:1/postgres"):
                await jobs.list(sums)
            with pytest.raises(StoreUnavailable, match="on the replica"):
                await jobs.handle(sums).count()
            assert await jobs.handle(sums).get_state("a") == 1

    asyncio.run(main())


@pytest.mark.parametrize("replica", ["", "db:0", "db:none", "user%40db", "db%2Fother", "db&replica=other"])
def test_a_replica_that_is_no_host_is_refused(replica: str):
    with pytest.raises(DefinitionError, match="replica"):
        settings_of(f"postgresql://app@db/shop?replica={replica}")


def test_a_replica_has_the_user_and_the_parameters_of_its_primary():
    """All but those that choose a server."""
    settings = settings_of(
        "postgresql://app:s3cret@one,two/shop?replica=three,four:5433&target_session_attrs=read-write&sslmode=require"
    )
    assert settings.replica == (
        "postgresql://app:s3cret@three,four:5433/shop?sslmode=require",
        "postgresql://three,four:5433/shop",
    )
    assert "s3cret" not in repr(settings)


# ---------------------------------------------------------------- promotion
def test_a_promoted_synchronous_replica_has_each_acknowledged_write():
    """The primary is killed among commits; the same engine continues on the replica, within its lease."""

    async def main(pair: ReplicatedCluster) -> None:
        url = f"{pair.url}&schema=shop&ownership=shared&lease=60s"
        async with app.open(url) as jobs:
            handle = jobs.handle(sums)
            sent = [asyncio.ensure_future(result_of(handle.send(f"{id_}", Added(id_ + 1)))) for id_ in range(300)]
            await asyncio.wait(sent, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.to_thread(pair.primary.kill)
            await asyncio.to_thread(pair.replica.promote)
            answers = await asyncio.gather(*sent)
            acknowledged = [id_ for id_, answer in enumerate(answers) if isinstance(answer, Success)]
            assert acknowledged
            assert [await handle.get_state(f"{id_}") for id_ in acknowledged] == [id_ + 1 for id_ in acknowledged]
            await handle.send("after", Added(7))

    with ReplicatedCluster(needed_programs()) as pair:
        asyncio.run(main(pair))


def test_a_promoted_asynchronous_replica_lacks_acknowledged_writes():
    """Without ``synchronous_standby_names``, as the guide says: the replica was behind when the primary died."""

    async def main(pair: ReplicatedCluster) -> None:
        url = f"{pair.url}&schema=shop"
        async with app.open(url) as jobs, on_replica(pair) as replica:
            await jobs.handle(sums).send("early", Added(1))
            await caught_up(pair, replica)
        await asyncio.to_thread(pair.replica.stop, "fast")
        async with app.open(url) as jobs:
            await jobs.handle(sums).send("late", Added(2))
        await asyncio.to_thread(pair.primary.kill)
        await asyncio.to_thread(pair.replica.start)
        await asyncio.to_thread(pair.replica.promote)
        async with app.open(url) as jobs:
            assert await jobs.handle(sums).get_state("early") == 1
            assert await jobs.handle(sums).get_state("late") is None

    with ReplicatedCluster(needed_programs(), synchronous="") as pair:
        asyncio.run(main(pair))

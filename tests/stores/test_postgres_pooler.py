"""A PostgreSQL store behind PgBouncer in transaction mode: shared engines work, and an owner is refused."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import asyncpg
import attrs
import pytest
from pgbouncer import PgBouncer
from postgres_harness import SharedPostgresHarness
from postgres_server import running_server
from returns.result import Success

from perdure import App, Decision, Task, tell
from perdure.cli.commands import run_command
from perdure.stores.postgres import open_postgres
from perdure.stores.postgres.enqueue import enqueue_async
from perdure.values.errors import StoreUnavailable


@attrs.frozen
class Added:
    cents: int


def summing(noted: asyncio.Queue[int] | None = None) -> Task[int, Added, str, str]:
    def decide(total: int, event: Added) -> Success[Decision[int]]:
        if noted is not None:
            noted.put_nowait(event.cents)
        return Success(Decision(total + event.cents))

    return Task("sums", state=int, event=Added, initial=0, decide=decide, execute=lambda ctx: ctx.terminate())


@pytest.fixture(scope="module")
def pooler() -> Iterator[PgBouncer]:
    with PgBouncer(running_server()) as pooler:
        yield pooler


@pytest.fixture
def harness(pooler: PgBouncer) -> Iterator[SharedPostgresHarness]:
    harness = SharedPostgresHarness(pooler.url)
    yield harness
    asyncio.run(harness.discard())


def test_two_engines_apply_each_request_once(harness: SharedPostgresHarness):
    """Each engine has up to five connections to the pooler, which has four to the server."""

    async def main() -> None:
        job = summing()
        app = App(None).with_jobs(job)
        async with app.open(harness.url) as here, app.open(harness.url) as there:
            handles = [jobs.handle(job) for jobs in (here, there)]
            sends = [
                handles[number % 2].send(f"{number % 7}", Added(number), idempotency_key=f"{number}")
                for number in range(140)
            ]
            await asyncio.gather(*sends)
            sums = [await here.handle(job).get_state(f"{number}") for number in range(7)]
            assert sum(each or 0 for each in sums) == sum(range(140))

    asyncio.run(main())


def test_a_command_of_a_transaction_arrives_though_no_notification_does(
    harness: SharedPostgresHarness, caplog: pytest.LogCaptureFixture
):
    """The engine finds out that none arrives, says so, and polls."""

    async def main() -> None:
        noted: asyncio.Queue[int] = asyncio.Queue()
        job = summing(noted)
        async with App(None).with_jobs(job).open(harness.url), asyncio.timeout(120):
            while "none arrives" not in caplog.text:  # noqa: ASYNC110 - the log has no event
                await asyncio.sleep(0.01)
            connection = await asyncpg.connect(harness.database)
            async with connection.transaction():
                await enqueue_async(connection, tell(job, "a").send(Added(7)), schema=harness.schema)
            assert await noted.get() == 7
            await connection.close()

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())
    assert "pooler in transaction mode" in caplog.text


def test_engines_that_open_together_each_find_a_second_connection_for_the_probe(harness: SharedPostgresHarness):
    """The pooler has four server connections: four engines may hold one each, and wait for another."""

    async def main() -> None:
        await (await open_postgres(harness.url)).close()
        stores = await asyncio.gather(*(open_postgres(harness.url) for _ in range(8)))
        await asyncio.gather(*(store.close() for store in stores))

    asyncio.run(main())


def test_a_pooler_with_one_server_connection_is_refused_with_the_number_that_it_needs():
    """An opening proves the locks with two sessions, and waits as long as for a full server."""
    with PgBouncer(running_server(), connections=1) as narrow:
        harness = SharedPostgresHarness(narrow.url)

        async def main() -> None:
            with pytest.raises(StoreUnavailable, match="two or more connections to the server"):
                await open_postgres(harness.url)

        asyncio.run(main())
        asyncio.run(harness.discard())


def test_an_owner_is_refused(harness: SharedPostgresHarness):
    """Its lock would belong to whatever client uses the connection next."""
    owned = harness.url.replace("ownership=shared&lease=30s", "ownership=owned")

    async def main() -> None:
        with pytest.raises(StoreUnavailable, match="pooler"):
            await (await open_postgres(owned)).close()

    asyncio.run(main())


def test_a_copy_is_refused(harness: SharedPostgresHarness):
    """Both ways, before anything is written."""

    async def main() -> None:
        await (await open_postgres(harness.url)).close()
        for opening in (harness.copy_source, harness.copy_target):
            with pytest.raises(StoreUnavailable, match="pass the address of the server itself"):
                await opening()

    asyncio.run(main())


def test_commands_that_read_the_tables_work(harness: SharedPostgresHarness, capsys: pytest.CaptureFixture[str]):
    async def main() -> None:
        async with App(None).with_jobs(job := summing()).open(harness.url) as jobs:
            await jobs.handle(job).send("a", Added(7))

    asyncio.run(main())
    for command, shown in (("doctor", "a pooler such as PgBouncer answers"), ("stats", "1"), ("verify", "is intact")):
        assert run_command([command, "--store", harness.url]) == (1 if command == "doctor" else 0)  # its fsync is off
        assert shown in capsys.readouterr().out

"""A server that restarts: engines continue by themselves, with requests, alarms and notifications."""

from __future__ import annotations

import asyncio

import asyncpg
import attrs
from postgres_harness import PostgresHarness, SharedPostgresHarness
from postgres_server import PrivateCluster
from returns.result import Failure, Success

from perdure import Alarm, App, Decision, Do, Task, TaskContext, attempt, program, tell
from perdure.client.client import Client
from perdure.client.local_gateway import engine_of
from perdure.stores.postgres.enqueue import enqueue_async
from perdure.values.errors import OutcomeUnknown, StoreUnavailable


@attrs.frozen
class Added:
    cents: int


def test_an_engine_continues_after_a_restart_of_the_server(postgres_cluster: PrivateCluster):
    noted: asyncio.Queue[int] = asyncio.Queue()

    def decide(total: int, event: Added) -> Success[Decision[int]]:
        noted.put_nowait(event.cents)
        return Success(Decision(total + event.cents))

    job = Task("sums", state=int, event=Added, initial=0, decide=decide, execute=lambda ctx: ctx.terminate())
    harness = SharedPostgresHarness(postgres_cluster.url, "full")

    async def until_sent(jobs: object, number: int) -> None:
        """Repeat a request with its key until it is answered."""
        handle = jobs.handle(job)  # type: ignore[attr-defined]
        while not isinstance(  # noqa: ASYNC110 - it asks the store
            await attempt(handle.send("a", Added(number), idempotency_key=f"{number}")), Success
        ):
            await asyncio.sleep(0.01)

    async def main() -> None:
        async with App(None).with_jobs(job).open(harness.url) as jobs, asyncio.timeout(120):
            await until_sent(jobs, 1)
            asking = asyncio.ensure_future(until_sent(jobs, 2))
            await asyncio.to_thread(postgres_cluster.stop, "immediate")
            asking_too = asyncio.ensure_future(until_sent(jobs, 4))
            await asyncio.to_thread(postgres_cluster.start)
            await asking
            await asking_too
            while not noted.empty():
                noted.get_nowait()
            connection = await asyncpg.connect(harness.database)
            await enqueue_async(connection, tell(job, "b").send(Added(8)), schema=harness.schema)
            assert await noted.get() == 8
            assert not engine_of(jobs).stopped.done()
            assert (
                await connection.fetchval(
                    f"SELECT state FROM {harness.schema}.instances WHERE id = 'a'"  # noqa: S608 - of this test
                )
                == "7"
            )
            await connection.close()

    asyncio.run(main())


def test_an_owner_continues_after_a_restart_of_the_server(postgres_cluster: PrivateCluster):
    """Callers meanwhile receive errors that say whether a repeat is safe; alarms fire afterwards."""
    fired: asyncio.Queue[str] = asyncio.Queue()
    refusals = list[object]()

    def decide(total: int, event: Added) -> Success[Decision[int]]:
        return Success(Decision(total + event.cents, Alarm.after("100 ms") if event.cents == 4 else Alarm.keep))

    @program
    def execute(ctx: TaskContext[int]) -> Do[None]:
        yield from ctx.state
        fired.put_nowait(ctx.id)

    job = Task("sums", state=int, event=Added, initial=0, decide=decide, execute=execute)
    harness = PostgresHarness(postgres_cluster.url, "full")

    async def until_sent(jobs: Client, number: int) -> None:
        while True:
            found = await attempt(jobs.handle(job).send("a", Added(number), idempotency_key=f"{number}"))
            if isinstance(found, Success):
                return
            refusals.append(found.failure())
            await asyncio.sleep(0.01)

    async def main() -> None:
        async with App(None).with_jobs(job).open(harness.url) as jobs, asyncio.timeout(120):
            await until_sent(jobs, 1)
            await asyncio.to_thread(postgres_cluster.stop, "immediate")
            asking = asyncio.ensure_future(until_sent(jobs, 4))
            while not refusals:  # noqa: ASYNC110 - the server is down
                await asyncio.sleep(0.01)
            assert isinstance(await attempt(jobs.handle(job).get_state("a")), Failure)  # not from memory
            await asyncio.to_thread(postgres_cluster.start)
            await asking
            assert await fired.get() == "a"
            assert not engine_of(jobs).stopped.done()
            assert await jobs.handle(job).get_state("a") == 5
        assert all(isinstance(each, StoreUnavailable | OutcomeUnknown) for each in refusals)
        await harness.discard()

    asyncio.run(main())

"""A server that restarts: shared engines continue by themselves, with requests and with notifications."""

from __future__ import annotations

import asyncio

import asyncpg
import attrs
from postgres_harness import SharedPostgresHarness
from postgres_server import PrivateCluster
from returns.result import Success

from perdure import App, Decision, Task, attempt, tell
from perdure.client.client import engine_of
from perdure.stores.postgres.enqueue import enqueue_async


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
        async with App(None).with_jobs(job).open(harness.url) as jobs, asyncio.timeout(60):
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

"""oban-py: an async worker, notified of new jobs; how many run and are enqueued at a time is given."""

import asyncio
import json
import os
import sys
import time

from oban import Oban, worker  # type: ignore[import-not-found] # of another environment
from oban.schema import install  # type: ignore[import-not-found] # as above

url, count, at_once, batch = sys.argv[1], *map(int, sys.argv[2:5])
CALLERS = 32  # if each job is enqueued by itself
done = asyncio.Event()
ran = 0


@worker(queue="jobs")
class Touch:
    """The job."""

    async def process(self, _: object) -> None:
        """Count a run."""
        global ran  # noqa: PLW0603 - one number of a script
        ran += 1
        if ran == count:
            done.set()


async def main() -> None:
    """Measure."""
    pool = await Oban.create_pool(url, min_size=4, max_size=20)
    await install(pool)
    async with Oban(pool=pool, queues={"jobs": at_once}) as oban:
        await asyncio.sleep(1.0)
        began, cpu = time.perf_counter(), time.process_time()
        firsts = iter(range(0, count, batch))

        async def caller() -> None:
            for first in firsts:
                jobs = [Touch.new({"number": number}) for number in range(first, min(first + batch, count))]
                await (oban.enqueue_many(jobs) if batch > 1 else oban.enqueue(jobs[0]))

        await asyncio.gather(*(caller() for _ in range(CALLERS if batch == 1 else 1)))
        put_s = time.perf_counter() - began
        await done.wait()
        figures = {"put_s": put_s, "total_s": time.perf_counter() - began, "cpu_s": time.process_time() - cpu}
        print(json.dumps(figures), flush=True)
        os._exit(0)


asyncio.run(main())

"""oban-py: an async worker, 64 at a time, notified of new jobs; enqueued a thousand at a time."""

import asyncio
import json
import os
import sys
import time

from oban import Oban, worker  # type: ignore[import-not-found] # of another environment
from oban.schema import install  # type: ignore[import-not-found] # as above

AT_ONCE, BATCH = 64, 1_000
url, count = sys.argv[1], int(sys.argv[2])
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
    async with Oban(pool=pool, queues={"jobs": AT_ONCE}) as oban:
        await asyncio.sleep(1.0)
        began, cpu = time.perf_counter(), time.process_time()
        for first in range(0, count, BATCH):
            numbers = range(first, min(first + BATCH, count))
            await oban.enqueue_many(Touch.new({"number": number}) for number in numbers)
        put_s = time.perf_counter() - began
        await done.wait()
        figures = {"put_s": put_s, "total_s": time.perf_counter() - began, "cpu_s": time.process_time() - cpu}
        print(json.dumps(figures), flush=True)
        os._exit(0)


asyncio.run(main())

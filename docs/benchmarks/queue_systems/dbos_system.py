"""DBOS: a workflow of one step on a queue that is polled every 10 ms; 64 at a time, enqueued by 32 callers."""

import asyncio
import json
import os
import sys
import time

from dbos import DBOS  # type: ignore[import-not-found] # of another environment

AT_ONCE, CALLERS = 64, 32
url, count = sys.argv[1], int(sys.argv[2])
done = asyncio.Event()
ran = 0


@DBOS.step()
async def touch(number: int) -> int:
    """Count a run."""
    global ran  # noqa: PLW0603 - one number of a script
    ran += 1
    if ran == count:
        done.set()
    return number


@DBOS.workflow()
async def work(number: int) -> int:
    """Perform one step."""
    return await touch(number)


async def main() -> None:
    """Measure."""
    DBOS(config={"name": "bench", "system_database_url": url, "run_admin_server": False, "log_level": "ERROR"})
    DBOS.launch()
    await DBOS.register_queue_async("jobs", worker_concurrency=AT_ONCE, polling_interval_sec=0.01)
    began, cpu = time.perf_counter(), time.process_time()
    numbers = iter(range(count))

    async def caller() -> None:
        for number in numbers:
            await DBOS.enqueue_workflow_async("jobs", work, number)

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    put_s = time.perf_counter() - began
    while not done.is_set():  # noqa: ASYNC110 - workflows run in loops of other threads
        await asyncio.sleep(0.005)
    figures = {"put_s": put_s, "total_s": time.perf_counter() - began, "cpu_s": time.process_time() - cpu}
    print(json.dumps(figures), flush=True)
    os._exit(0)


asyncio.run(main())

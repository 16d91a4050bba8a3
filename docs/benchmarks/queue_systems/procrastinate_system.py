"""procrastinate: an async task, 64 at a time, notified of new jobs; deferred a thousand at a time."""

import asyncio
import json
import os
import sys
import time

import procrastinate  # type: ignore[import-not-found] # of another environment

AT_ONCE, BATCH = 64, 1_000
url, count = sys.argv[1], int(sys.argv[2])
app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url, min_size=4, max_size=20))
done = asyncio.Event()
ran = 0


@app.task(queue="jobs")
async def touch(number: int) -> None:  # noqa: ARG001 - the argument of the job
    """Count a run."""
    global ran  # noqa: PLW0603 - one number of a script
    ran += 1
    if ran == count:
        done.set()


async def main() -> None:
    """Measure."""
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        worker = asyncio.create_task(
            app.run_worker_async(queues=["jobs"], concurrency=AT_ONCE, install_signal_handlers=False)
        )
        await asyncio.sleep(1.0)
        began, cpu = time.perf_counter(), time.process_time()
        for first in range(0, count, BATCH):
            numbers = range(first, min(first + BATCH, count))
            await touch.batch_defer_async(*({"number": number} for number in numbers))
        put_s = time.perf_counter() - began
        await done.wait()
        figures = {"put_s": put_s, "total_s": time.perf_counter() - began, "cpu_s": time.process_time() - cpu}
        print(json.dumps(figures), flush=True)
        worker.cancel()
        os._exit(0)


asyncio.run(main())

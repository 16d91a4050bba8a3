"""procrastinate: an async task, notified of new jobs; how many run and are deferred at a time is given."""

import asyncio
import json
import os
import sys
import time

import procrastinate  # type: ignore[import-not-found] # of another environment

url, count, at_once, batch = sys.argv[1], *map(int, sys.argv[2:5])
CALLERS = 32  # if each job is deferred by itself
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
            app.run_worker_async(queues=["jobs"], concurrency=at_once, install_signal_handlers=False)
        )
        await asyncio.sleep(1.0)
        began, cpu = time.perf_counter(), time.process_time()
        firsts = iter(range(0, count, batch))

        async def caller() -> None:
            for first in firsts:
                if batch == 1:
                    await touch.defer_async(number=first)
                else:
                    numbers = range(first, min(first + batch, count))
                    await touch.batch_defer_async(*({"number": number} for number in numbers))

        await asyncio.gather(*(caller() for _ in range(CALLERS if batch == 1 else 1)))
        put_s = time.perf_counter() - began
        await done.wait()
        figures = {"put_s": put_s, "total_s": time.perf_counter() - began, "cpu_s": time.process_time() - cpu}
        print(json.dumps(figures), flush=True)
        worker.cancel()
        os._exit(0)


asyncio.run(main())

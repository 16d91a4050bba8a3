"""A batch of a pool's items on a SQLite file: the time and the CPU for each item, with a batch and without one.

Run it with ``python docs/benchmarks/batches.py [--items N] [--folder FOLDER]``; the folder must be on the disk in
question. A workflow waits for the batch: it counts from the first ``put`` until the workflow has the counts.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

from measured.figures import print_table
from measured.machine import conditions
from returns.result import Result, Success

from perdure import App, Do, ItemContext, Limits, PoolBatch, WorkerPool, Workflow, WorkflowContext, effect, program


@effect
def touch(services: object, number: int) -> Result[int, str]:
    """Do nothing, as an effect."""
    return Success(number if services is None else 0)


@program
def work(ctx: ItemContext[int]) -> Do[int, str]:
    """Perform one effect."""
    number = yield from ctx.item
    return (yield from touch(number))


pool = WorkerPool("p", item=int, work=work, workers=64, keep="0 ms")
imports = PoolBatch("imports", pool=pool)


@program
def importing(ctx: WorkflowContext[int]) -> Do[int, Any]:
    """Wait for the end of the batch."""
    end = yield from imports.done(ctx.id)
    return end.done


waiting = Workflow("waiting", state=int, run=importing)


async def measure(items: int, folder: Path, how: str) -> tuple[str, ...]:
    """Return how long each item took, and the CPU time of each."""
    app = App(None, limits=Limits(max_pending=20_000)).with_jobs(pool, imports, waiting)
    async with app.open(f"sqlite:///{folder / 'jobs.db'}") as client:
        began, cpu = time.perf_counter(), time.process_time()
        pairs = ((f"i{n}", n) for n in range(items))
        woken = "-"
        if how == "a batch":
            await client.handle(waiting).start("one", 0)
            await client.handle(imports).put_many("one", pairs)
            put_s = time.perf_counter() - began
            await client.handle(imports).seal("one")
            outcome = await client.handle(waiting).start_and_wait("one", 0, timeout="1 hour")
            runs = (await client.handle(waiting).status("one")).run_count
            woken = f"{outcome}, {runs} runs"
        else:
            await client.handle(pool).put_many(pairs)
            put_s = time.perf_counter() - began
            while (left := await client.handle(pool).progress()).running or left.waiting:  # noqa: ASYNC110 - as pool.py
                await asyncio.sleep(0.01)
        total_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    return (
        how,
        f"{items:,}",
        f"{put_s:.1f}",
        f"{total_s:.1f}",
        *(f"{s / items * 1e6:,.0f}" for s in (total_s, cpu_s)),
        woken,
    )


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--folder")
    options = parser.parse_args()
    print(conditions(Path(options.folder or ".")))
    rows: list[tuple[str, ...]] = []
    for items in options.items:
        for how in ("no batch", "a batch"):
            with tempfile.TemporaryDirectory(dir=options.folder) as place:
                rows.append(asyncio.run(measure(items, Path(place), how)))
    print_table(("with", "items", "put s", "end s", "µs an item", "CPU µs an item", "the workflow"), rows)


if __name__ == "__main__":
    main()

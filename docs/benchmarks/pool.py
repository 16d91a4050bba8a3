"""A worker pool: items a second from end to end; and, in a simulated world, its fairness, rates and head starts.

Run it with ``python docs/benchmarks/pool.py [--items N] [--rounds N] [--folder FOLDER] [--simulated]``; the folder must
be on the disk in question. Items are put by 64 callers, or by ``put_many``, into a SQLite file with full durability,
and worked on by 64 workers with one effect each: it counts from the first ``put`` until the last end is durable.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from measured.figures import print_table
from measured.machine import conditions
from returns.future import FutureResult
from returns.result import Result, Success

from perdure import App, Do, ItemContext, Limits, WorkerPool, effect, program
from perdure.cli.run import SELDOM
from perdure.testing import World

CALLERS = WORKERS = 64


# ---------------------------------------------------------------- items a second
@define
class Touched:
    """Counts the effects."""

    wanted: int
    done: asyncio.Event
    number: int = 0


@effect
def touch(services: Touched, number: int) -> FutureResult[int, str]:
    """Count an effect."""
    services.number += 1
    if services.number >= services.wanted:
        services.done.set()
    return FutureResult.from_value(number)


@program
def work(ctx: ItemContext[int]) -> Do[int, str, Touched]:
    """Perform one effect."""
    number = yield from ctx.item
    return (yield from touch(number))


async def measure(pool: Any, items: int, folder: Path, how: str) -> tuple[float, float, float, float]:
    """Return items put a second, items from end to end a second, CPU µs an item, and bytes of file an item."""
    services = Touched(items, asyncio.Event())
    file = folder / "jobs.db"
    app = App(services, limits=Limits(max_pending=20_000)).with_jobs(pool)
    async with app.open(f"sqlite:///{file}") as client:
        handle = client.handle(pool)
        began, cpu = time.perf_counter(), time.process_time()
        if how == "put_many":
            await handle.put_many((f"i{n}", n) for n in range(items))
        else:
            numbers = iter(range(items))

            async def caller(source: Iterator[int]) -> None:
                for n in source:
                    await handle.put(f"i{n}", n)

            await asyncio.gather(*(caller(numbers) for _ in range(CALLERS)))
        put_s = time.perf_counter() - began
        await services.done.wait()
        while (left := await handle.progress()).running or left.waiting:  # noqa: ASYNC110 - until it is durable
            await asyncio.sleep(0.002)
        total_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    size = sum(one.stat().st_size for one in folder.iterdir())  # noqa: ASYNC240 - at the end
    return items / put_s, items / total_s, cpu_s / items * 1e6, size / items


def end_to_end(items: int, rounds: int, folder: str | None) -> None:
    """Print the rates of each way to put items."""
    rows: list[tuple[str, ...]] = []
    for keep in ("0 ms", "1 day"):
        for how in ("64 callers", "put_many"):
            pool = WorkerPool("p", item=int, work=work, workers=WORKERS, keep=keep)
            best: list[tuple[float, float, float, float]] = []
            for _ in range(rounds):
                with tempfile.TemporaryDirectory(dir=folder) as place:
                    best.append(asyncio.run(measure(pool, items, Path(place), how)))
            put, total, cpu, size = (sorted(one)[len(one) // 2] for one in zip(*best, strict=True))
            rows.append((keep, how, f"{put:,.0f}", f"{total:,.0f}", f"{cpu:,.0f}", f"{size:,.0f}"))
    print_table(("keep", "put by", "put/s", "items/s", "CPU µs", "B of file"), rows)


# ---------------------------------------------------------------- in a simulated world
@frozen
class Job:
    """An item of a customer."""

    customer: str
    number: int


@define
class Watched:
    """When each item began, and how many of a customer ran side by side."""

    world: Any = None
    begun: list[tuple[int, Job]] = field(factory=list)
    running: Counter[str] = field(factory=Counter)
    most: Counter[str] = field(factory=Counter)


@effect
async def take_20_ms(services: Watched, job: Job) -> Result[int, str]:
    """Take a while."""
    services.begun.append((services.world.clock.now_ms, job))
    services.running[job.customer] += 1
    services.most[job.customer] = max(services.most[job.customer], services.running[job.customer])
    await services.world.worker.simulation.runtime.sleep(20)
    services.running[job.customer] -= 1
    return Success(job.number)


@program
def timed(ctx: ItemContext[Job]) -> Do[int, str, Watched]:
    """Work for a while."""
    job = yield from ctx.item
    return (yield from take_20_ms(job))


def customer(job: Job) -> str:
    """Return the key of an item."""
    return job.customer


def simulated(items: int, **options: Any) -> tuple[Watched, int]:
    """Put many items of A, then 20 of B and of C, and work on all of them."""
    watched, pool = Watched(), WorkerPool("p", item=Job, work=timed, keep="0 ms", **options)
    with World(App(watched, limits=Limits(max_pending=30_000)).with_jobs(pool)) as world:
        watched.world, began = world, world.now_ms
        handle = world.handle(pool)
        world.run(handle.put_many((f"A{n}", Job("A", n)) for n in range(items)))
        world.run(handle.put_many((f"{of}{n}", Job(of, n)) for n in range(20) for of in "BC"))
        while len(watched.begun) < items + 40:
            world.advance("1 s")
    return watched, began


def fairness(items: int) -> None:
    """Print when the last item of each customer began."""
    rows = []
    for name, options in {
        "10 workers, no key": {"workers": 10},
        "10 workers, keys take turns": {"workers": 10, "key": customer},
        "10 workers, 3 for each key": {"workers": 10, "key": customer, "workers_per_key": 3},
    }.items():
        watched, began = simulated(items, **options)
        last = {one: max(at for at, job in watched.begun if job.customer == one) - began for one in "ABC"}
        most = ", ".join(f"{one} {watched.most[one]}" for one in "ABC")
        rows.append((name, *(f"{last[one]:,}" for one in "ABC"), most))
    print_table((f"{items:,} of A, then 20 of B and C", "last A ms", "last B ms", "last C ms", "side by side"), rows)


def rates() -> None:
    """Print how many items began in any second."""
    rows = []
    for name, options in {
        'rate=(100, "1 s")': {"workers": 100, "rate": (100, "1 s")},
        'rate_per_key=(10, "1 s")': {"workers": 100, "key": customer, "rate_per_key": (10, "1 s")},
    }.items():
        watched, _ = simulated(300, **options)
        starts = sorted(at for at, _ in watched.begun)
        of_a = sorted(at for at, job in watched.begun if job.customer == "A")
        most = max(sum(start <= at < start + 1_000 for at in starts) for start in starts)
        most_a = max(sum(start <= at < start + 1_000 for at in of_a) for start in of_a)
        took = (starts[-1] - starts[0]) / 1_000
        rows.append((name, str(most), str(most_a), f"{took:.1f}"))
    print_table(("rate", "most in any second", "of A", "seconds for 340 items"), rows)


def head_starts() -> None:
    """Print how many items began before an urgent one."""
    rows = []
    for backlog in (100, 1_000, 5_000):
        for after_ms in (0, 500, 3_000):
            watched, pool = Watched(), WorkerPool("p", item=Job, work=timed, workers=10, keep="0 ms")
            with World(App(watched, limits=Limits(max_pending=30_000)).with_jobs(pool)) as world:
                watched.world = world
                handle = world.handle(pool)
                world.run(handle.hold())
                world.run(handle.put_many((f"i{n}", Job("A", n)) for n in range(backlog)))
                world.run(handle.release())
                world.advance(f"{after_ms} ms")
                before = len(watched.begun)
                if before >= backlog:
                    continue
                world.run(handle.put("urgent", Job("urgent", 0), head_start="30 days"))
                while not any(job.customer == "urgent" for _, job in watched.begun):
                    world.advance("100 ms")
                place = [job.customer for _, job in watched.begun].index("urgent")
                rows.append((f"{backlog:,}", f"{after_ms:,}", f"{before:,}", str(place - before)))
    print_table(("backlog", "urgent after ms", "begun by then", "begun before it"), rows)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder")
    parser.add_argument("--simulated", action="store_true", help="fairness, rates and head starts instead")
    given = parser.parse_args()
    print(conditions(Path(given.folder or tempfile.gettempdir())))
    gc.set_threshold(*SELDOM)
    if given.simulated:
        fairness(2_000)
        rates()
        head_starts()
    else:
        end_to_end(given.items, given.rounds, given.folder)


if __name__ == "__main__":
    main()

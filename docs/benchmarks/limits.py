"""Four engines, each a process, on one schema of a PostgreSQL database: items of a pool with a named limit and without.

    python docs/benchmarks/limits.py postgresql://user@host/database [--items 4000] [--rounds 3] [--engines 4]

``none``: no limit. ``concurrency``: at most 80 items at the same time, over all engines: as many
as four engines have workers. ``rate``: a rate that no
engine reaches, so that each run is counted. ``keys``: two items of each key at the same time, and as many keys as
items. Each round puts the items into a held pool, opens the engines, and releases the pool. The rounds of the variants
alternate. Printed are items a second until the last one began, the ratio to ``none`` in the same round, the most items
in progress at the same time, and the greatest memory of an engine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

from attrs import define, field
from measured.figures import print_table
from measured.schema import connected, url_of
from returns.result import Result, Success

from perdure import App, Do, ItemContext, Limit, WorkerPool, effect, program

NAME = "bench_limits"

LIMITS = {
    "none": [],
    "concurrency": [Limit("bench", concurrency=80)],
    "rate": [Limit("bench", rate=(100_000, "1 minute"))],
    "keys": [Limit("bench", concurrency_per_key=2)],
}


@define
class Work:
    """Notes when items begin and end."""

    began: list[float] = field(factory=list[float])
    ended: list[float] = field(factory=list[float])


@effect
async def work_on(work: Work, _: int) -> Result[None, str]:
    """Work for ten milliseconds."""
    work.began.append(time.time())
    await asyncio.sleep(0.01)
    work.ended.append(time.time())
    return Success(None)


@program
def worked(ctx: ItemContext[int]) -> Do[None, str, Work]:
    """Work on an item."""
    item = yield from ctx.item
    yield from work_on(item)


def pool_of(variant: str) -> WorkerPool[int, None, str, Work]:
    """Return the pool of a variant."""
    return WorkerPool("bench", item=int, work=worked, key=str, workers=20, keep="0 ms", limits=LIMITS[variant])


async def engine(url: str, variant: str, items: int) -> dict[str, Any]:
    """Put items, if there are any, and work until nothing has begun for three seconds."""
    work, pool = Work(), pool_of(variant)
    async with App(work).with_jobs(pool).open(url) as jobs:
        handle = jobs.handle(pool)
        await handle.hold()
        if items:
            await handle.put_many((f"{number}", number) for number in range(items))
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await handle.release()
        quiet_since, begun = time.time(), 0
        while time.time() < quiet_since + 3 + (not begun) * 5:
            await asyncio.sleep(0.1)
            if len(work.began) > begun:
                quiet_since, begun = time.time(), len(work.began)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {"began": work.began, "ended": work.ended, "memory": memory}


def most_at_once(began: list[float], ended: list[float]) -> int:
    """Return how many items were in progress at the same time."""
    most = now = 0
    for _, change in sorted([(at, 1) for at in began] + [(at, -1) for at in ended]):
        now += change
        most = max(most, now)
    return most


def measured(database: str, variant: str, items: int, engines: int) -> tuple[float, int, int]:
    """Return items a second, the most at the same time, and the memory in MiB."""
    asyncio.run(emptied(database))
    command = [sys.executable, __file__, url_of(database, NAME), "--part", variant, "--items"]
    processes: list[subprocess.Popen[str]] = []
    for number in range(engines):  # the first one puts the items, before the others open
        given = [*command, str(items if not number else 0)]
        processes.append(subprocess.Popen(given, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        if processes[-1].stdout is not None:
            processes[-1].stdout.readline()
    time.sleep(3)  # the engines know each other
    since = time.time()
    for process in processes:
        if process.stdin is not None:
            process.stdin.write("\n")
            process.stdin.flush()
    found = [json.loads(process.communicate()[0].splitlines()[-1]) for process in processes]
    began = [at for one in found for at in one["began"]]
    if len(began) != items:
        print(f"{variant}: {len(began)} runs of {items} items")
    ended = [at for one in found for at in one["ended"]]
    return items / (max(began) - since), most_at_once(began, ended), max(one["memory"] for one in found)


async def emptied(database: str) -> None:
    """Drop the schema."""
    async with connected(database) as connection:
        await connection.execute(f'DROP SCHEMA IF EXISTS "{NAME}" CASCADE')


def main() -> None:
    """Measure all variants, or be an engine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("database")
    parser.add_argument("--items", type=int, default=4_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engines", type=int, default=4)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        print(json.dumps(asyncio.run(engine(given.database, given.part, given.items))), flush=True)
        return
    found: dict[str, list[tuple[float, int, int]]] = {variant: [] for variant in LIMITS}
    for _ in range(given.rounds):
        for variant, rounds in found.items():
            rounds.append(measured(given.database, variant, given.items, given.engines))
            print(variant, *rounds[-1], flush=True)
    rows: list[tuple[str, ...]] = []
    for variant, rounds in found.items():
        ratios = [one[0] / other[0] for one, other in zip(rounds, found["none"], strict=True)]
        middle = [statistics.median(column) for column in zip(*rounds, strict=True)]
        rows.append(
            (variant, f"{middle[0]:,.0f}", f"{statistics.median(ratios):.2f}", f"{middle[1]:.0f}", f"{middle[2]:.0f}")
        )
    print_table(("limit", "items/s", "of none", "at once", "MiB"), rows)


if __name__ == "__main__":
    main()

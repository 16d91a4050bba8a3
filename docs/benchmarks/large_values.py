"""Large outcomes: how long a step of a workflow takes to store one, and how long other requests wait meanwhile.

Run it with ``python docs/benchmarks/large_values.py [--store URL] [--folder FOLDER] [--megabytes N] [--rounds N]``; by
default the store is a new SQLite file in the folder. Each round stores one outcome of random text, once in parts and
once in one row (``payload_bytes`` beyond the size), and once none, while one caller sends small events one after the
other.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import tempfile
import time
from pathlib import Path

from measured.figures import Spread, over_rounds, print_table
from measured.machine import conditions, versions
from returns.result import Result, Success

from perdure import App, Decision, Do, Limits, Task, Workflow, WorkflowContext, effect, program
from perdure.client.client import Client

MEGABYTE = 1_000_000
ONE_ROW = 256 * 1_048_576
HOW = {"nothing": Limits(), "parts": Limits(), "one row": Limits(payload_bytes=ONE_ROW, outcome_bytes=ONE_ROW)}


@effect
async def produce(_: object, size: int) -> Result[str, str]:
    """Return random text."""
    return Success(os.urandom(size // 2).hex())


@program
def keep(ctx: WorkflowContext[int]) -> Do[int, str, object]:
    """Store one outcome, and return its length."""
    return len((yield from produce((yield from ctx.state))))


def count(total: int, event: int) -> Result[Decision[int], str]:
    """Add an event."""
    return Success(Decision(total + event))


keeper = Workflow("keeper", state=int, run=keep, keep=None)
counter = Task("counter", state=int, event=int, initial=0, decide=count)


async def others(client: Client, waits: list[float], stop: asyncio.Event) -> None:
    """Send one event after the other until the end."""
    handle, number = client.handle(counter), 0
    while not stop.is_set():
        began = time.perf_counter()
        await handle.send(str(number % 16), 1)
        waits.append(time.perf_counter() - began)
        number += 1
        await asyncio.sleep(0.005)


async def round_of(store: str, how: str, id_: str, size: int) -> tuple[float, float, list[float]]:
    """Return how long the outcome took, the CPU of that, and how long the events took."""
    waits: list[float] = []
    async with App(None, limits=HOW[how]).with_jobs(keeper, counter).open(store) as client:
        stop, flow = asyncio.Event(), client.handle(keeper)
        await client.handle(counter).send("0", 1)
        task = asyncio.create_task(others(client, waits, stop))
        began, cpu = time.perf_counter(), time.process_time()
        if how == "nothing":
            await asyncio.sleep(2)
        else:
            await flow.start(id_, size, wait_for="completion")
            await client.until(keeper, id_)
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        stop.set()
        await task
    return took, cpu, waits


async def measure(store: str, size: int, rounds: int) -> None:
    """Measure, and print the figures."""
    found: dict[str, list[tuple[float, float, list[float]]]] = {how: [] for how in HOW}
    for number in range(rounds):
        for how, taken in found.items():
            taken.append(await round_of(store, how, f"{how}{number}", size))
    rows: list[tuple[str, ...]] = []
    for how, taken in found.items():
        spreads = [Spread.of(waits) for _, _, waits in taken]
        rows.append(
            (
                how,
                over_rounds([took for took, _, _ in taken], 2),
                over_rounds([cpu for _, cpu, _ in taken], 2),
                over_rounds([each.p50_ms for each in spreads], 1),
                over_rounds([each.max_ms for each in spreads], 0),
            )
        )
    print_table((f"{size / MEGABYTE:g} MB in", "s", "CPU s", "others' p50 ms", "others' longest ms"), rows)
    print(f"\nlargest memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", default="")
    parser.add_argument("--folder", default=None)
    parser.add_argument("--megabytes", type=float, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        print(versions())
        print(conditions(Path(folder)))
        size = int(arguments.megabytes * MEGABYTE)
        asyncio.run(measure(arguments.store or f"sqlite:///{folder}/jobs.db", size, arguments.rounds))


if __name__ == "__main__":
    main()

"""What grows with the number of instances, and what does not; on a SQLite file.

Run it with ``python docs/benchmarks/growth.py [--quick] [--folder FOLDER]``; the folder must be on the disk in
question. The cost of a request among 10 thousand, 100 thousand and a million instances, each beside a bare loop on the
same file; how long it takes to open a store with as many instances and as many pending alarms, from a cold page cache;
memory for an instance that is idle and for one whose run is in progress; and what an engine with nothing to do uses in
a minute.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen
from measured.figures import over_rounds, print_table
from measured.filled import fill
from measured.machine import conditions, versions
from measured.orders import Added, orders
from measured.process import forget_pages, resident_bytes, switches
from throughput import Case, Figures, measure

from perdure import App

SIZES = (10_000, 100_000, 1_000_000)
CLIENTS = 64
DAY_MS = 86_400_000
ALARMS_EVERY_MS = 10
TOUCHED = (70_000, 130_000)  # beyond what the store remembers of rows it saw lately
ACTIVE = 5_000


# ---------------------------------------------------------------- requests
def request_row(size: int, rounds: Sequence[Figures]) -> list[str]:
    """Sum up the rounds of a size."""
    return [
        f"{size:,}",
        over_rounds([one.rate for one in rounds]),
        over_rounds([one.rate / one.raw.rate for one in rounds], 2),
        over_rounds([one.loop_cpu_us + one.driver_cpu_us for one in rounds]),
        over_rounds([one.raw.cpu_us for one in rounds], 1),
    ]


# ---------------------------------------------------------------- opening
def opening_seconds(path: Path) -> float:
    """Open a store in a new process, from a cold page cache, until it has answered a request."""
    forget_pages(path)
    return float(in_new_process("open", str(path))["seconds"])


async def opened(path: str) -> dict[str, float]:
    """Open, ask once, close."""
    began = time.perf_counter()
    async with App(None).with_jobs(orders).open(f"sqlite:///{path}") as jobs:
        await jobs.handle(orders).send("id-1", Added(1))
        return {"seconds": time.perf_counter() - began}


# ---------------------------------------------------------------- memory
async def idle_instances(path: str) -> dict[str, float]:
    """Touch many instances, then many more, and compare the memory."""
    found: list[int] = []
    async with App(None).with_jobs(orders).open(f"sqlite:///{path}") as jobs:
        calls = jobs.handle(orders)
        done = 0
        for until in TOUCHED:
            while done < until:
                await asyncio.gather(*(calls.send(f"id-{done + number}", Added(1)) for number in range(500)))
                done += 500
            found.append(resident_bytes())
    return {"bytes": (found[1] - found[0]) / (TOUCHED[1] - TOUCHED[0])}


async def active_instances(path: str) -> dict[str, float]:
    """Begin many runs that wait for the world outside, and compare the memory."""
    from measured.waiting import released, waiting, waiting_app  # noqa: PLC0415 - only this process needs it

    async with waiting_app(ACTIVE).open(f"sqlite:///{path}") as jobs:
        calls = jobs.handle(waiting)
        gate = asyncio.Event()
        released.set(gate)
        await asyncio.sleep(0.5)
        before = resident_bytes()
        asked = [asyncio.create_task(calls.send(f"id-{number}", 1)) for number in range(ACTIVE)]
        await asyncio.sleep(10.0)
        each = (resident_bytes() - before) / ACTIVE
        gate.set()
        await asyncio.gather(*asked)
        return {"bytes": each}


# ---------------------------------------------------------------- doing nothing
async def idle_engine(path: str, seconds: str) -> dict[str, float]:
    """Keep an engine open that has nothing to do."""
    async with App(None).with_jobs(orders).open(f"sqlite:///{path}"):
        await asyncio.sleep(1.0)
        used, before = time.process_time(), switches()
        await asyncio.sleep(float(seconds))
        return {"cpu_ms": (time.process_time() - used) * 1e3, "wake_ups": switches() - before}


# ---------------------------------------------------------------- the whole
PARTS: dict[str, Callable[..., Coroutine[Any, Any, dict[str, float]]]] = {
    "open": opened,
    "idle": idle_instances,
    "active": active_instances,
    "nothing": idle_engine,
}


@frozen
class Options:
    """What was asked for on the command line."""

    sizes: Sequence[int]
    rounds: int
    seconds: float
    idle_seconds: float


def in_new_process(part: str, *arguments: str) -> dict[str, Any]:
    """Measure a part in a process of its own."""
    command = [sys.executable, __file__, "--part", part, *arguments]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def main(options: Options, folder: Path) -> None:
    """Measure."""
    print(versions())
    paths = {size: folder / f"{size}.db" for size in options.sizes}
    for size, path in paths.items():
        fill(path, size)
    requests: dict[int, list[Figures]] = {size: [] for size in paths}
    for _ in range(options.rounds):
        print(f"before the round: {conditions(folder)}", flush=True)
        for size, path in paths.items():
            requests[size].append(measure(path, Case(size, "full", CLIENTS), options.seconds, "plain"))
    print_table(
        ("instances", "requests/s", "of the bare loop", "CPU µs each", "bare loop's CPU µs"),
        (request_row(size, rounds) for size, rounds in requests.items()),
    )
    openings(options, folder)
    rest(options, paths[max(paths)])
    print(f"after the last: {conditions(folder)}")


def openings(options: Options, folder: Path) -> None:
    """Print how long it takes to open stores with pending alarms."""
    rows: list[list[str]] = []
    for size in options.sizes:
        path, due = folder / f"alarms-{size}.db", f"{time.time_ns() // 1_000_000 + DAY_MS} + n * {ALARMS_EVERY_MS}"
        fill(path, size, changes={"alarm_ms": due, "due_ms": due, "status": "'scheduled'"})
        found = [opening_seconds(path) * 1e3 for _ in range(options.rounds)]
        rows.append([f"{size:,}", over_rounds(found), f"{path.stat().st_size / 1e6:,.0f}"])
    print()
    print_table(("instances, each with a pending alarm", "open and answer once, ms", "file, MB"), rows)


def rest(options: Options, path: Path) -> None:
    """Print memory, and the use of an engine that does nothing."""
    idle = [in_new_process("idle", str(path))["bytes"] for _ in range(options.rounds)]
    active = [in_new_process("active", f"{path}-active")["bytes"] for _ in range(options.rounds)]
    nothing = in_new_process("nothing", str(path), str(options.idle_seconds))
    print(f"\nmemory for an instance that was asked and is idle: {over_rounds(idle)} bytes")
    print(f"memory for an instance whose run is in progress: {statistics.median(active) / 1e3:.1f} kB")
    print(
        f"an engine with nothing to do for {options.idle_seconds:.0f} s: {nothing['cpu_ms']:.1f} ms of CPU, "
        f"{nothing['wake_ups']:.0f} wake-ups of a thread"
    )


def parsed() -> tuple[argparse.Namespace, Options]:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, one round")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk in question")
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.quick:
        return given, Options((10_000, 100_000), given.rounds or 1, 1.0, 5.0)
    return given, Options(SIZES, given.rounds or 5, 4.0, 60.0)


if __name__ == "__main__":
    asked, chosen = parsed()
    if asked.part:
        part, *given_arguments = asked.part
        print(json.dumps(asyncio.run(PARTS[part](*given_arguments))))
        os._exit(0)
    with tempfile.TemporaryDirectory(dir=asked.folder) as scratch:
        main(chosen, Path(scratch))

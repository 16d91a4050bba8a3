"""Durable requests through the whole library on a SQLite file: typed client, program, handler, commit.

Run it with ``python docs/benchmarks/throughput.py [--quick] [--profile] [--folder FOLDER]``; the folder must be on the
disk in question. Clients ask one request after the other, an effect-free event each, over 10,000 instances that were
all read before (hot), or 1,000,000 of which none was (cold). Beside each figure, on the same file right after it, a
bare ``sqlite3`` loop that writes the same rows in groups of the same size: the size is read from the write-ahead log.
Rounds take turns; trust the ratio most. Garbage is collected as seldom as by ``perdure run``; ``--collector python``
leaves that to Python.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

from attrs import define, field, frozen
from measured.cpu import CpuTime, Sampler
from measured.figures import Spread, over_rounds, print_table
from measured.filled import fill
from measured.machine import conditions, versions
from measured.orders import Added, orders
from measured.raw_loop import STRIDE, LoopFigures, raw_loop
from measured.wal import wal_contents

from perdure import App
from perdure.cli.run import SELDOM
from perdure.client.client import Client

HOT, COLD = 10_000, 1_000_000
CLIENTS = (1, 64, 512)
WARM_UP_REQUESTS = 500, 700  # at least, and at most: all of it is in the log, which begins anew after 1,000 pages
EVENT = Added(199)

Durability = Literal["full", "relaxed"]


@frozen
class Case:
    """One line of the table."""

    instances: int
    durability: Durability
    clients: int

    @property
    def name(self) -> str:
        """Say it in the first columns of the table."""
        return f"{self.instances:,} | {self.durability} | {self.clients}"


@frozen
class Figures:
    """What one round of a case gave."""

    rate: float
    waits: Spread
    loop_cpu_us: float
    driver_cpu_us: float
    group: float
    raw: LoopFigures


@define
class Load:
    """Clients that ask one request after the other, until the time or the number of requests is up.

    Attributes:
        jobs: what they ask.
        case: how many they are, and over how many instances.
        waits: how long each request took, in seconds.
    """

    jobs: Client
    case: Case
    waits: list[float] = field(factory=list[float])

    async def read_all(self) -> None:
        """Read every instance once."""
        calls, instances = self.jobs.handle(orders), self.case.instances
        for first in range(0, instances, 500):
            ids = range(first, min(first + 500, instances))
            await asyncio.gather(*(calls.get_state(f"id-{number}") for number in ids))

    async def run(self, *, seconds: float = 3_600.0, requests: int = sys.maxsize) -> float:
        """Ask; give the seconds it took."""
        self.waits.clear()
        calls, waits, instances = self.jobs.handle(orders), self.waits, self.case.instances
        began = time.perf_counter()
        until = began + seconds

        async def client(number: int) -> None:
            asked = number * 7_919
            while (start := time.perf_counter()) < until and len(waits) < requests:
                await calls.send(f"id-{asked * STRIDE % instances}", EVENT)
                waits.append(time.perf_counter() - start)
                asked += 1

        await asyncio.gather(*(client(number) for number in range(self.case.clients)))
        return time.perf_counter() - began


async def library(path: Path, case: Case, seconds: float, sampler: Sampler | None) -> tuple[float, Figures]:
    """Measure the library: the rate, and all but the raw loop's figures."""
    app = App(None).with_jobs(orders)
    async with app.open(f"sqlite:///{path}?durability={case.durability}") as jobs:
        load = Load(jobs, case)
        if case.instances == HOT:
            await load.read_all()
        least, most = WARM_UP_REQUESTS
        await load.run(requests=min(max(least, 4 * case.clients), most))
        log = wal_contents(path)
        group = len(load.waits) / log.transactions
        before = CpuTime.now()
        with sampler or nullcontext():
            took = await load.run(seconds=seconds)
        cpu, count = CpuTime.now().since(before), len(load.waits)
    waits, none = Spread.of(load.waits), LoopFigures(0.0, 0.0)
    return group, Figures(count / took, waits, cpu.main / count * 1e6, cpu.others / count * 1e6, group, none)


def measure(path: Path, case: Case, seconds: float, profile: Literal["profile", "plain"]) -> Figures:
    """Take one round of a case: the library, then the bare loop on the same file."""
    sampler = Sampler() if profile == "profile" else None
    group, figures = asyncio.run(library(path, case, seconds, sampler))
    if sampler is not None:
        print(f"\nthe event loop's thread, {case.name}:\n{sampler.report(figures.waits.count)}")
    raw = raw_loop(path, group=max(1, round(group)), durability=case.durability, seconds=seconds / 2)
    return Figures(figures.rate, figures.waits, figures.loop_cpu_us, figures.driver_cpu_us, group, raw)


HEAD = (
    "instances",
    "durability",
    "clients",
    "requests/s",
    "of the bare loop",
    "p50 ms",
    "p99 ms",
    "loop's CPU µs",
    "driver's CPU µs",
    "rows a commit",
    "bare loop, rows/s",
    "its CPU µs",
)


def row(case: Case, rounds: list[Figures]) -> list[str]:
    """Sum up the rounds of a case."""
    return [
        *case.name.split(" | "),
        over_rounds([one.rate for one in rounds]),
        over_rounds([one.rate / one.raw.rate for one in rounds], 2),
        over_rounds([one.waits.p50_ms for one in rounds], 2),
        over_rounds([one.waits.p99_ms for one in rounds], 2),
        over_rounds([one.loop_cpu_us for one in rounds], 1),
        over_rounds([one.driver_cpu_us for one in rounds], 1),
        over_rounds([one.group for one in rounds], 1),
        over_rounds([one.raw.rate for one in rounds]),
        over_rounds([one.raw.cpu_us for one in rounds], 1),
    ]


def cases(arguments: argparse.Namespace) -> list[Case]:
    """Give the cases that are asked for."""
    sizes = {"hot": [HOT], "cold": [COLD], "both": [HOT, COLD]}[arguments.instances]
    kinds: list[Durability] = ["full"] if arguments.quick else ["full", "relaxed"]
    return [Case(size, kind, clients) for size in sizes for kind in kinds for clients in arguments.clients]


def main(arguments: argparse.Namespace, folder: Path) -> None:
    """Measure every case, in rounds that take turns."""
    print(versions())
    if arguments.collector == "worker":
        gc.set_threshold(*SELDOM)
        gc.freeze()
    chosen = cases(arguments)
    for size in {case.instances for case in chosen}:
        fill(folder / f"{size}.db", size)
    rounds: dict[Case, list[Figures]] = {case: [] for case in chosen}
    for _ in range(arguments.rounds):
        print(f"before the round: {conditions(folder)}", flush=True)
        for case in chosen:
            path = folder / f"{case.instances}.db"
            rounds[case].append(measure(path, case, arguments.seconds, arguments.profile))
    print(f"after the last: {conditions(folder)}\n")
    print_table(HEAD, (row(case, rounds[case]) for case in chosen))


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="hot, full durability, one short round: under 20 s")
    parser.add_argument(
        "--profile", action="store_const", const="profile", default="plain", help="say where the loop's CPU time goes"
    )
    parser.add_argument("--instances", choices=("hot", "cold", "both"))
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS)
    parser.add_argument(
        "--collector", choices=("worker", "python"), default="worker", help="of garbage: whose settings"
    )
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of each measurement")
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk in question")
    given = parser.parse_args()
    given.instances = given.instances or ("hot" if given.quick else "both")
    given.rounds = given.rounds or (1 if given.quick else 5)
    given.seconds = given.seconds or (2.0 if given.quick else 4.0)
    return given


if __name__ == "__main__":
    options = parsed()
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        main(options, Path(scratch))

"""The same durable requests in process, over a Unix socket and over loopback TCP, side by side.

Run it with ``python docs/benchmarks/remote.py [--quick] [--profile] [--folder FOLDER]``; the folder must be on the disk
in question. An engine of its own process owns a SQLite file with full durability; the callers share one client in
another process. In process, engine and callers are in one. Callers ask one request after the other, an effect-free
event each, over 10,000 instances that were all read before. Rounds take turns; the best one of each line counts.
``--profile`` prints the functions of both processes by their own CPU time: the rates are then worth nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import io
import pstats
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from attrs import frozen
from measured.cpu import CpuTime
from measured.figures import Spread, print_table
from measured.filled import fill
from measured.machine import conditions, versions
from measured.orders import orders
from throughput import HOT, WARM_UP_REQUESTS, Case, Load

from perdure import App
from perdure.cli.run import SELDOM
from perdure.remote import connect
from perdure.server.serving import serving

Way = Literal["in process", "Unix socket", "loopback TCP"]
WAYS: tuple[Way, ...] = ("in process", "Unix socket", "loopback TCP")
PROFILED_LINES = 25

app = App(None).with_jobs(orders)


@frozen
class Figures:
    """What one round of a line gave; the CPU time is that of the callers' process."""

    rate: float
    waits: Spread
    cpu_us: float


# ---------------------------------------------------------------- the engine's process
async def serve(store: Path, profiler: cProfile.Profile | None) -> None:
    """Own the store, listen in both ways, print the URLs, and stop when the standard input ends."""
    binds = (f"unix:{store}.bench.sock", "127.0.0.1:0")
    async with app.open(f"sqlite:///{store}") as jobs, serving(jobs, binds) as servers:
        print(*(url for server in servers for url in server.urls), flush=True)
        if profiler is not None:
            profiler.enable()
        await asyncio.to_thread(sys.stdin.read)
        if profiler is not None:
            profiler.disable()


def by_own_time(profiler: cProfile.Profile) -> str:
    """Say which functions took the time."""
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).sort_stats("tottime").print_stats(PROFILED_LINES)
    return text.getvalue()


@contextmanager
def engine(way: Way, store: Path, profile: Path | None) -> Generator[str | None]:
    """Start an engine in its own process, and return its URL; None for one in this process."""
    if way == "in process":
        yield None
        return
    command = [sys.executable, __file__, "--engine", str(store)]
    if profile is not None:
        command += ["--profile-to", str(profile)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        unix, tcp = process.stdout.readline().split()
        try:
            yield unix if way == "Unix socket" else tcp
        finally:
            process.communicate()


# ---------------------------------------------------------------- the callers' process
async def ask(url: str | None, store: Path, clients: int, seconds: float, profiler: cProfile.Profile | None) -> Figures:
    """Take one round of a line."""
    client = app.open(f"sqlite:///{store}") if url is None else connect(url, orders)
    async with client as jobs:
        load = Load(jobs, Case(HOT, "full", clients))
        await load.read_all()
        least, most = WARM_UP_REQUESTS
        await load.run(requests=min(max(least, 4 * clients), most))
        before = CpuTime.now()
        if profiler is not None:
            profiler.enable()
        took = await load.run(seconds=seconds)
        if profiler is not None:
            profiler.disable()
        cpu, count = CpuTime.now().since(before), len(load.waits)
    return Figures(count / took, Spread.of(load.waits), cpu.main / count * 1e6)


def measure(way: Way, clients: int, store: Path, options: argparse.Namespace) -> Figures:
    """Take one round of a line, and print the profiles that are asked for."""
    profile = store.with_suffix(".profile") if options.profile else None
    profiler = cProfile.Profile() if options.profile else None
    with engine(way, store, profile) as url:
        figures = asyncio.run(ask(url, store, clients, options.seconds, profiler))
    if profiler is not None and profile is not None:
        print(f"\n{way}, {clients} clients, {figures.waits.count:,} requests: the callers\n{by_own_time(profiler)}")
        if url is not None:
            print(f"the engine\n{profile.read_text()}")
    return figures


HEAD = ("clients", "way", "requests/s", "of in process", "p50 ms", "p99 ms", "callers' CPU µs")


def best(rounds: list[Figures]) -> Figures:
    """Return the round with the highest rate."""
    return max(rounds, key=lambda figures: figures.rate)


def main(options: argparse.Namespace, folder: Path) -> None:
    """Measure every line, in rounds that take turns."""
    print(versions())
    store = folder / "remote.db"
    fill(store, HOT)
    lines = [(clients, way) for clients in options.clients for way in WAYS]
    rounds: dict[tuple[int, Way], list[Figures]] = {line: [] for line in lines}
    for _ in range(options.rounds):
        print(f"before the round: {conditions(folder)}", flush=True)
        for clients, way in lines:
            rounds[clients, way].append(measure(way, clients, store, options))
    print(f"after the last: {conditions(folder)}\n")
    print_table(HEAD, [row(clients, way, best(rounds[clients, way]), rounds) for clients, way in lines])


def row(clients: int, way: Way, figures: Figures, rounds: dict[tuple[int, Way], list[Figures]]) -> list[str]:
    """Print one line."""
    share = figures.rate / best(rounds[clients, "in process"]).rate
    numbers = (figures.waits.p50_ms, figures.waits.p99_ms)
    cells = [f"{figures.rate:,.0f}", f"{share:.2f}", *(f"{number:.2f}" for number in numbers), f"{figures.cpu_us:.0f}"]
    return [str(clients), way, *cells]


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round: under 20 s")
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    parser.add_argument("--clients", type=int, nargs="+", default=(1, 64))
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of each measurement")
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk in question")
    parser.add_argument("--engine", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--profile-to", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.rounds = given.rounds or (1 if given.quick or given.profile else 3)
    given.seconds = given.seconds or (2.0 if given.quick else 4.0)
    return given


if __name__ == "__main__":
    arguments = parsed()
    gc.set_threshold(*SELDOM)
    gc.freeze()
    if arguments.engine is not None:
        profiler = cProfile.Profile() if arguments.profile_to else None
        asyncio.run(serve(arguments.engine, profiler))
        if profiler is not None:
            arguments.profile_to.write_text(by_own_time(profiler))
    else:
        with tempfile.TemporaryDirectory(dir=arguments.folder.resolve()) as scratch:
            main(arguments, Path(scratch))

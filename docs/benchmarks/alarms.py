"""How late alarms are, and what a flood of them does to requests; on a SQLite file.

Run it with ``python docs/benchmarks/alarms.py [--quick] [--folder FOLDER]``; the folder must be on the disk in
question. Alarms that come at a steady rate: lateness is from the instant an alarm is due to the first line of the
user's program, when the run's claim is durable. Alarms that are all due at once: how long they take, and how long
requests at a fixed rate wait meanwhile, beside the same requests before the alarms are due. Each run is a claim, a
program with one service call, and a commit of a new state with its event. Rounds take turns. Garbage is collected as
seldom as by ``perdure run``; ``--collector python`` leaves that to Python.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

from attrs import frozen
from measured.cpu import CpuTime, Sampler
from measured.figures import Spread, over_rounds, print_table
from measured.filled import SEED, fill
from measured.machine import conditions, versions
from measured.paced import paced
from measured.raw_loop import raw_loop
from measured.reminders import Journal, Noted, reminders

from perdure import App
from perdure.cli.run import SELDOM
from perdure.client.client import Client

GROUP = 256  # of the bare loop
HEAD_START_MS = 2_000  # from filling the file to the first alarm
REQUESTS_RATE = 200
ASKED = 1_000  # instances that get the requests


@frozen
class Steady:
    """What one round of a steady rate gave."""

    reached: float
    lateness: Spread
    cpu_us: float
    raw_rate: float


@frozen
class Flood:
    """What one round of alarms that were due at once gave."""

    seconds: float
    before: Spread
    during: Spread
    cpu_us: float
    raw_rate: float


def file_with_alarms(path: Path, alarms: int, due: str) -> None:
    """Make a file with instances whose alarms are due at what an SQL expression of ``n`` says."""
    app = App(Journal()).with_jobs(reminders)

    async def seed(jobs: Client) -> None:
        await jobs.handle(reminders).send(SEED, Noted("hello"))

    status = {"status": "'scheduled'"}
    fill(path, alarms, app=app, seed=seed, changes={"alarm_ms": due, "due_ms": due, **status})


def wall_ms() -> int:
    """Read the wall clock."""
    return time.time_ns() // 1_000_000


# ---------------------------------------------------------------- a steady rate
def steady(path: Path, rate: int, seconds: float, profile: Literal["profile", "plain"]) -> Steady:
    """Let alarms come at a steady rate."""
    alarms = int(rate * seconds)
    start_ms = wall_ms() + HEAD_START_MS + alarms // 50
    file_with_alarms(path, alarms, f"{start_ms} + n * 1000 / {rate}")
    journal = Journal()
    sampler = Sampler() if profile == "profile" else None
    used = asyncio.run(fired(path, journal, alarms, start_ms, sampler))
    if sampler is not None:
        print(f"\nthe event loop's thread, {rate:,} alarms/s:\n{sampler.report(alarms)}")
    lateness = [at_ns / 1e9 - (start_ms + int(id_[3:]) * 1000 // rate) / 1e3 for id_, at_ns in journal.began]
    reached = alarms / (journal.began[-1][1] / 1e9 - start_ms / 1e3)
    raw = raw_loop(path, group=GROUP, durability="full", seconds=1.0)
    return Steady(reached, Spread.of(lateness), (used.main + used.others) / alarms * 1e6, raw.rate)


async def fired(path: Path, journal: Journal, alarms: int, start_ms: int, sampler: Sampler | None) -> CpuTime:
    """Wait until all alarms have fired; give the CPU time used since the first."""
    async with App(journal).with_jobs(reminders).open(f"sqlite:///{path}"):
        await asyncio.sleep((start_ms - wall_ms()) / 1e3)
        before = CpuTime.now()
        with sampler or nullcontext():
            while len(journal.began) < alarms:  # noqa: ASYNC110 - an event would cost each run a call
                await asyncio.sleep(0.05)
        return CpuTime.now().since(before)


STEADY_HEAD = ("due /s", "fired /s", "late p50 ms", "late p99 ms", "longest ms", "CPU µs each", "bare loop, rows/s")


def steady_row(rate: int, rounds: list[Steady]) -> list[str]:
    """Sum up the rounds of a rate."""
    return [
        f"{rate:,}",
        over_rounds([one.reached for one in rounds]),
        over_rounds([one.lateness.p50_ms for one in rounds], 1),
        over_rounds([one.lateness.p99_ms for one in rounds], 1),
        over_rounds([one.lateness.max_ms for one in rounds], 1),
        over_rounds([one.cpu_us for one in rounds]),
        over_rounds([one.raw_rate for one in rounds]),
    ]


# ---------------------------------------------------------------- all at once
def flood(path: Path, alarms: int, quiet_seconds: float) -> Flood:
    """Let alarms be due all at once while requests come in."""
    start_ms = wall_ms() + HEAD_START_MS + alarms // 50 + int(quiet_seconds * 1e3)
    file_with_alarms(path, alarms, str(start_ms))
    journal = Journal()
    quiet, loaded, used = asyncio.run(flooded(path, journal, alarms, start_ms, quiet_seconds))
    seconds = journal.began[-1][1] / 1e9 - start_ms / 1e3
    raw = raw_loop(path, group=GROUP, durability="full", seconds=1.0)
    return Flood(seconds, Spread.of(quiet), Spread.of(loaded), (used.main + used.others) / alarms * 1e6, raw.rate)


async def flooded(
    path: Path, journal: Journal, alarms: int, start_ms: int, quiet_seconds: float
) -> tuple[list[float], list[float], CpuTime]:
    """Ask at a fixed rate before the alarms are due, and while they fire."""
    async with App(journal).with_jobs(reminders).open(f"sqlite:///{path}") as jobs:
        calls = jobs.handle(reminders)

        async def call(number: int) -> None:
            await calls.send(f"asked-{number % ASKED}", Noted(f"note {number}"))

        await asyncio.sleep((start_ms - wall_ms()) / 1e3 - quiet_seconds)
        quiet = await paced(call, rate=REQUESTS_RATE, until=lambda: wall_ms() > start_ms - 100)
        await asyncio.sleep(max(0.0, (start_ms - wall_ms()) / 1e3))
        before = CpuTime.now()
        loaded = await paced(call, rate=REQUESTS_RATE, until=lambda: len(journal.began) >= alarms)
        return quiet, loaded, CpuTime.now().since(before)


FLOOD_HEAD = (
    "due at once",
    "fired after s",
    "fired /s",
    "requests before: p50 ms",
    "p99 ms",
    "during: p50 ms",
    "p99 ms",
    "p99 to p99",
    "CPU µs each",
    "bare loop, rows/s",
)


def flood_row(alarms: int, rounds: list[Flood]) -> list[str]:
    """Sum up the rounds of a flood."""
    return [
        f"{alarms:,}",
        over_rounds([one.seconds for one in rounds], 1),
        over_rounds([alarms / one.seconds for one in rounds]),
        over_rounds([one.before.p50_ms for one in rounds], 2),
        over_rounds([one.before.p99_ms for one in rounds], 2),
        over_rounds([one.during.p50_ms for one in rounds], 2),
        over_rounds([one.during.p99_ms for one in rounds], 2),
        over_rounds([one.during.p99_ms / one.before.p99_ms for one in rounds], 2),
        over_rounds([one.cpu_us for one in rounds]),
        over_rounds([one.raw_rate for one in rounds]),
    ]


# ---------------------------------------------------------------- the whole
def main(given: argparse.Namespace, folder: Path) -> None:
    """Measure, in rounds that take turns."""
    print(versions())
    if given.collector == "worker":
        gc.set_threshold(*SELDOM)
        gc.freeze()
    steadies: dict[int, list[Steady]] = {rate: [] for rate in given.rates}
    floods: list[Flood] = []
    for number in range(given.rounds):
        print(f"before the round: {conditions(folder)}", flush=True)
        for rate in given.rates:
            steadies[rate].append(steady(folder / f"steady-{rate}-{number}.db", rate, given.seconds, given.profile))
        floods.append(flood(folder / f"flood-{number}.db", given.flood, given.seconds))
    print(f"after the last: {conditions(folder)}\n")
    print_table(STEADY_HEAD, (steady_row(rate, rounds) for rate, rounds in steadies.items()))
    print()
    print_table(FLOOD_HEAD, [flood_row(given.flood, floods)])


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument(
        "--profile", action="store_const", const="profile", default="plain", help="say where the loop's CPU time goes"
    )
    parser.add_argument("--rates", type=int, nargs="+", default=(100, 1_000, 5_000), help="alarms due a second")
    parser.add_argument("--flood", type=int, help="alarms that are due at once")
    parser.add_argument("--rounds", type=int)
    parser.add_argument(
        "--collector", choices=("worker", "python"), default="worker", help="of garbage: whose settings"
    )
    parser.add_argument("--seconds", type=float, help="of each steady rate, and of requests before the flood")
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk in question")
    given = parser.parse_args()
    given.rounds = given.rounds or (1 if given.quick else 3)
    given.seconds = given.seconds or (3.0 if given.quick else 10.0)
    given.flood = given.flood or (5_000 if given.quick else 100_000)
    return given


if __name__ == "__main__":
    options = parsed()
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        main(options, Path(scratch))

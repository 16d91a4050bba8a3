"""What is asked of every system: a burst, a steady pace, timers; and jobs for a crash."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

from attrs import asdict, frozen
from measured.figures import Spread

from side_by_side.place import Place
from side_by_side.sink import Runs, wait_for
from side_by_side.system import Session, System

PACE = 20.0
"""Jobs a second of the steady pace."""

TIMERS_SPAN_S = 5.0
"""Within which timers are due."""

IDLE_CPU_S = 0.3
"""Time to settle before the CPU is looked at."""


@frozen(kw_only=True)
class Figures:
    """What one workload gave.

    Attributes:
        jobs: how many ended, of how many.
        rate: jobs a second, from the first submission to the last end.
        waits: from submission, or from when a timer was due, to the end of the job.
        cpu_ms: CPU of all processes, for each job.
    """

    jobs: str
    rate: float
    waits: Spread
    cpu_ms: float

    def printed(self) -> dict[str, object]:
        """Give it as JSON."""
        return asdict(self)


async def submit_all(
    session: Session, submitted: dict[int, float], jobs: int, accepted: Callable[[int], None] = lambda _: None
) -> None:
    """Submit as fast as the system takes it, and say what it took."""

    async def one(number: int) -> None:
        submitted[number] = time.time()
        await session.submit(number)
        accepted(number)

    if session.callers == "many":
        await asyncio.gather(*(one(number) for number in range(jobs)))
        return
    for number in range(jobs):
        await one(number)


async def burst(session: Session, place: Place, jobs: int, timeout_s: float) -> Figures:
    """Submit all jobs at once."""
    submitted: dict[int, float] = {}
    cpu = cpu_seconds()
    await submit_all(session, submitted, jobs)
    runs = await asyncio.to_thread(wait_for, place.sink, jobs, timeout_s)
    return _figures(runs, submitted, jobs, cpu_seconds() - cpu)


async def paced(session: Session, place: Place, jobs: int, timeout_s: float) -> Figures:
    """Submit 20 jobs a second."""
    submitted: dict[int, float] = {}
    cpu, began = cpu_seconds(), time.time()
    for number in range(jobs):
        await asyncio.sleep(max(0.0, began + number / PACE - time.time()))
        submitted[number] = time.time()
        await session.submit(number)
    runs = await asyncio.to_thread(wait_for, place.sink, jobs, timeout_s)
    return _figures(runs, submitted, jobs, cpu_seconds() - cpu)


async def timers(session: Session, place: Place, jobs: int, timeout_s: float) -> Figures | None:
    """Submit jobs that are due at random instants of five seconds, beginning when all of them must be known."""
    if session.submit_at is None:
        return None
    lot = random.Random(7)  # noqa: S311 - the same instants for everybody
    setup_s = await _setup_seconds(session, jobs)
    due = {number: time.time() + setup_s + lot.random() * TIMERS_SPAN_S for number in range(jobs)}
    cpu = cpu_seconds()
    if session.callers == "many":
        await asyncio.gather(*(session.submit_at(number, at_s) for number, at_s in due.items()))
    else:
        for number, at_s in due.items():
            await session.submit_at(number, at_s)
    runs = await asyncio.to_thread(wait_for, place.sink, jobs, setup_s + TIMERS_SPAN_S + timeout_s)
    return _figures(runs, due, jobs, cpu_seconds() - cpu)


async def _setup_seconds(session: Session, jobs: int) -> float:
    """Try how long it takes to submit that many timers, with some that are due in a day."""
    if session.submit_at is None:
        raise TypeError("the system has no timers")
    began, tried = time.perf_counter(), 20
    for number in range(tried):
        await session.submit_at(jobs + number, time.time() + 86_400)
    return 2.0 + 2.0 * (time.perf_counter() - began) / tried * jobs


def _figures(runs: Runs, since: dict[int, float], jobs: int, cpu_s: float) -> Figures:
    ended = {number: at_s for number, at_s in runs.ended.items() if number < jobs}
    took = max(ended.values(), default=0.0) - min(since.values())
    waits = Spread.of(at_s - since[number] for number, at_s in ended.items())
    return Figures(jobs=f"{len(ended)}/{jobs}", rate=len(ended) / took, waits=waits, cpu_ms=cpu_s / jobs * 1e3)


def cpu_seconds() -> float:
    """Give the CPU time of every process of this one's group, so far."""
    group, ticks = os.getpgrp(), 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="utf-8").rpartition(") ")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if int(fields[2]) == group:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


WORKLOADS = {"burst": burst, "paced": paced, "timers": timers}


async def run(system: System, place: Place, workload: str, jobs: int, timeout_s: float) -> Figures | None:
    """Open a system, and run one workload on it."""
    async with system.session(place) as session:
        await asyncio.sleep(IDLE_CPU_S)
        return await WORKLOADS[workload](session, place, jobs, timeout_s)

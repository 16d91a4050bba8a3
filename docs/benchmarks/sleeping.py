"""Many workflows that sleep for days, on a SQLite file: opening, doing nothing, a signal to one, and those that wake.

Run it with ``python docs/benchmarks/sleeping.py [--workflows N] [--rounds N] [--folder FOLDER]``; the folder must be on
the disk in question. Each has performed a step, has one row in its journal, and wakes in a month; a hundred wake two
seconds after the engine opens. Each part runs in a new process, from a cold page cache.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

from measured.figures import over_rounds, print_table
from measured.filled import fill
from measured.machine import conditions, versions
from measured.process import forget_pages, resident_bytes, switches
from returns.future import FutureResult

from perdure import App, Do, Signal, Workflow, WorkflowContext, effect, program
from perdure.client.client import Client
from perdure.programs import race, sleep
from perdure.values.answer import Done

MONTH_MS = 30 * 86_400_000
WAKING = 100
go = Signal("go", int)


@effect
def act(_: object, number: int) -> FutureResult[int, str]:
    """Do nothing: the figures are those of the library."""
    return FutureResult.from_value(number + 1)


@program
def body(_: WorkflowContext[int]) -> Do[int, str]:
    """Perform a step, wait for a month or a signal, and perform another."""
    number = yield from act(0)
    yield from race(sleep("30 days"), go.receive())
    return (yield from act(number))


flow = Workflow("sleeping", state=int, run=body, signals=(go,), keep=None)
app = App(None).with_jobs(flow)


async def seed(jobs: Client) -> None:
    """Start the workflow that all others are copies of."""
    await jobs.handle(flow).start("seed", 0, wait_for="completion")


def filled(path: Path, workflows: int) -> None:
    """Make the file; the clocks of the workflows began a month ago, or less."""
    fill(path, workflows, app=app, seed=seed)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA synchronous = OFF")
        database.execute(
            "INSERT INTO journal (incarnation, place, body) SELECT i.incarnation, j.place, j.body FROM instances AS i, "
            "journal AS j WHERE i.id <> 'seed'"
        )
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def set_to_wake(path: Path, ids: range) -> None:
    """Let a hundred of them wake soon: as if they had begun to sleep a month ago."""
    soon_ms = time.time_ns() // 1_000_000 + 2_000
    with closing(sqlite3.connect(path)) as database:
        find = "SELECT incarnation, data, body FROM instances JOIN journal USING (incarnation) WHERE id = ?"
        for number in ids:
            ((incarnation, data, body),) = database.execute(find, (f"id-{number}",)).fetchall()
            head, _, value = body.partition("\n")
            place, name, form, _, took_ms, attempts = json.loads(head)
            head = json.dumps([place, name, form, soon_ms - MONTH_MS, took_ms, attempts])
            data = json.dumps(json.loads(data) | {"started_ms": soon_ms - MONTH_MS})
            database.execute("UPDATE journal SET body = ? WHERE incarnation = ?", (f"{head}\n{value}", incarnation))
            changes = "UPDATE instances SET data = ?, alarm_ms = ?, due_ms = ? WHERE incarnation = ?"
            database.execute(changes, (data, soon_ms, soon_ms, incarnation))
        database.commit()


# ---------------------------------------------------------------- parts
async def opened(path: str, ids: range) -> dict[str, float]:
    """Open, ask once, do nothing for ten seconds, and send a signal."""
    began, used = time.perf_counter(), time.process_time()
    id_ = f"id-{ids[0] + 1}"
    async with app.open(f"sqlite:///{path}") as jobs:
        handle = jobs.handle(flow)
        await handle.outcome(id_)
        open_ms, open_cpu_ms = (time.perf_counter() - began) * 1e3, (time.process_time() - used) * 1e3
        used, before, size = time.process_time(), switches(), resident_bytes()
        await asyncio.sleep(10.0)
        idle_ms, wakes = (time.process_time() - used) * 1e3, switches() - before
        began = time.perf_counter()
        await handle.signal(id_, go, 1)
        await jobs.until(flow, id_)
        signal_ms = (time.perf_counter() - began) * 1e3
        if await handle.outcome(id_) != Done(value=2):
            raise AssertionError(id_)
        figures = {"open": open_ms, "open_cpu": open_cpu_ms, "mb": size / 1e6, "signal": signal_ms}
        return figures | {"idle": idle_ms, "wakes": wakes}


async def woken(path: str, ids: range) -> dict[str, float]:
    """Open, and wait until those that wake have ended."""
    async with app.open(f"sqlite:///{path}") as jobs:
        handle = jobs.handle(flow)
        used = time.process_time()
        for number in ids:
            await jobs.until(flow, f"id-{number}", timeout="10 s")
        cpu_us = (time.process_time() - used) * 1e6 / WAKING
        row: dict[str, float] = {"cpu": cpu_us}
        ended = await handle.outcome(f"id-{ids[0]}")
        if ended != Done(value=2):
            raise AssertionError(ended)
        return row


PARTS: dict[str, Callable[[str, range], Coroutine[Any, Any, dict[str, float]]]] = {"opened": opened, "woken": woken}


def in_new_process(part: str, path: Path, ids: range) -> dict[str, float]:
    """Measure a part in a process of its own, from a cold page cache."""
    forget_pages(path)
    done = subprocess.run(
        [sys.executable, __file__, "--part", part, str(path), str(ids[0])], check=True, stdout=subprocess.PIPE
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main(workflows: int, rounds: int, folder: Path) -> None:
    """Measure."""
    print(versions(), conditions(folder), sep="\n")
    rows: list[list[str]] = []
    for number in sorted({10_000, workflows}):
        path = folder / f"{number}.db"
        filled(path, number)
        found: list[dict[str, float]] = []
        for first in range(0, rounds * WAKING * 7, WAKING * 7):
            ids = range(first, first + WAKING * 7, 7)
            found.append(in_new_process("opened", path, ids))
            set_to_wake(path, ids)
            found[-1] |= in_new_process("woken", path, ids)
        shown = [
            over_rounds([one[name] for one in found], 1)
            for name in ("open", "open_cpu", "mb", "idle", "wakes", "signal", "cpu")
        ]
        rows.append([f"{number:,}", *shown, f"{path.stat().st_size / 1e6:,.0f}"])
    head = (
        "sleeping workflows",
        "open and answer once, ms",
        "CPU of that, ms",
        "memory then, MB",
        "CPU of 10 s, ms",
        "wake-ups of a thread",
        "a signal until the end, ms",
        "CPU of one that wakes, µs",
        "file, MB",
    )
    print_table(head, rows)
    print(conditions(folder))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workflows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk in question")
    parser.add_argument("--part", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        part_name, part_path, part_first = given.part
        woken_ids = range(int(part_first), int(part_first) + WAKING * 7, 7)
        print(json.dumps(asyncio.run(PARTS[part_name](part_path, woken_ids))))
        sys.stdout.flush()
        os._exit(0)
    with tempfile.TemporaryDirectory(dir=given.folder) as scratch:
        main(given.workflows, given.rounds, Path(scratch))

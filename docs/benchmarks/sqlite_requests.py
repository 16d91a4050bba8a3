"""Durable requests through the whole library on a SQLite file: typed client, program, handler, commit.

Run it with ``python docs/benchmarks/sqlite_requests.py [FOLDER]``; the folder must be on the disk in question. Each
line is 1, 64 or 512 clients that ask one request after the other, over 10,000 instances, with full durability. Beside
it, in the same run, a bare ``sqlite3`` loop that writes rows of the same size in groups as large as there are clients.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

from attrs import evolve, frozen

from perdure import Do, Engine, Task, TaskContext, ask, program

SECONDS = 5.0
INSTANCES = 10_000
CLIENTS = (1, 64, 512)


@frozen
class Counter:
    """A small state."""

    name: str = "counter"
    total: int = 0


@program
def add(ctx: TaskContext[Counter], event: int) -> Do[None]:
    """Add, without effects: one commit."""
    state = yield from ctx.state
    yield from ctx.set_state(evolve(state, total=state.total + event))


counter = Task("counter", state=Counter, event=int, initial=Counter(), on_event=add)


async def library(path: Path, clients: int) -> str:
    """Ask for a while, and say how fast it went."""
    waits: list[float] = []
    async with Engine(None).jobs(counter).open(f"sqlite:///{path}") as jobs:
        calls = jobs.of(counter)
        until = time.perf_counter() + SECONDS

        async def client(number: int) -> None:
            asked = 0
            while (began := time.perf_counter()) < until:
                await ask(calls.send(f"id-{(number * 7_919 + asked * 104_729) % INSTANCES}", 1))
                waits.append(time.perf_counter() - began)
                asked += 1

        used, began = time.process_time(), time.perf_counter()
        await asyncio.gather(*(client(number) for number in range(clients)))
        took, used = time.perf_counter() - began, time.process_time() - used
    waits.sort()
    median_ms, p99_ms = (waits[int(len(waits) * part)] * 1e3 for part in (0.5, 0.99))
    return (
        f"{len(waits) / took:9,.0f}/s  p50 {median_ms:7.2f} ms  p99 {p99_ms:7.2f} ms  "
        f"{used / len(waits) * 1e6:6.0f} µs CPU each"
    )


def bare(path: Path, group: int) -> float:
    """Write rows in groups for a while; rows a second."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL").fetchone()
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, version INTEGER, state TEXT, data TEXT)")
    written, began = 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS / 2:
        database.execute("BEGIN IMMEDIATE")
        for _ in range(group):
            database.execute(
                "INSERT INTO rows VALUES (?, 1, ?, '') ON CONFLICT (id) DO UPDATE SET version = version + 1, state = ?",
                (written * 104_729 % INSTANCES, "s" * 200, "s" * 200),
            )
            written += 1
        database.execute("COMMIT")
    rate = written / (time.perf_counter() - began)
    database.close()
    return rate


def main(folder: str) -> None:
    """Measure."""
    for clients in CLIENTS:
        line = asyncio.run(library(Path(folder) / f"library-{clients}.db", clients))
        loop = bare(Path(folder) / f"bare-{clients}.db", clients)
        print(f"{clients:4} clients: {line}   bare loop, groups of {clients}: {loop:9,.0f}/s")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else ".") as scratch:
        main(scratch)

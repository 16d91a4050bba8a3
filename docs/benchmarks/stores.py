"""What the stores cost: the memory store per operation, the SQLite store beside a bare loop over `sqlite3`.

Run it with ``python docs/benchmarks/stores.py [folder]``. The folder decides which disk is measured; by default the
temporary one. Rounds of the store and of the bare loop alternate, so that a noisy disk is noisy for both: trust the
ratio more than the figures.
"""

from __future__ import annotations

import asyncio
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import attrs
from returns.future import FutureResult
from returns.unsafe import unsafe_perform_io

from perdure.stores.contract import commit_one, load_one
from perdure.stores.memory import memory_store
from perdure.stores.sqlite import open_sqlite
from perdure.stores.sqlite.changes import Update, encode
from perdure.values.address import Address
from perdure.values.instance import Fence, Instance
from perdure.values.transition import Put, Transition

A = TypeVar("A")

INSTANCES = 100_000
OPERATIONS = 20_000
ROUNDS = 5
CALLERS = {1: 300, 64: 100, 512: 25}  # commits of each
STATE = '{"customer":"c-1234","items":[1,2,3],"note":"' + "x" * 200 + '"}'
ALARM_MOVES = 3  # every third commit moves the alarm


def instance_at(number: int, alarm_ms: int) -> Instance:
    """Make an instance of ordinary size."""
    address = Address("task", "orders", f"order-{number:08}")
    return Instance(address=address, created_ms=1, updated_ms=1, version=1, state=STATE, alarm_ms=alarm_ms)


def over(fence: Fence | None, after: Instance) -> Transition:
    """Write an instance over what has this fence."""
    version = 1 if fence is None else fence.version + 1
    return Transition(address=after.address, expected=fence, write=Put(attrs.evolve(after, version=version)))


# ---------------------------------------------------------------- memory
def now(asked: FutureResult[A, Any]) -> A:
    """Give an answer that is there already."""
    try:
        asked.__await__().send(None)
    except StopIteration as answered:
        return unsafe_perform_io(answered.value).unwrap()
    raise AssertionError("the memory store waited")


def each_us(ask: Callable[[Any], FutureResult[Any, Any]], questions: Sequence[Any]) -> float:
    """Ask, await and drop the answers; give the µs of CPU for each."""
    begin = time.process_time_ns()
    for question in questions:
        with suppress(StopIteration):
            ask(question).__await__().send(None)
    return (time.process_time_ns() - begin) / len(questions) / 1_000


def measure_memory() -> None:
    """Print the cost of loads and commits among 100,000 instances with alarms."""
    store = memory_store()
    fences = [
        now(commit_one(store, over(None, instance_at(at, 1 + at * 7_919 % INSTANCES)))) for at in range(INSTANCES)
    ]
    scattered = [number * 7_919 % INSTANCES for number in range(OPERATIONS)]
    addresses = [instance_at(number, 0).address for number in scattered]

    def transitions(move_ms: int) -> list[Transition]:
        made: list[Transition] = []
        for number, address in zip(scattered, addresses, strict=True):
            before = now(load_one(store, address)).instance
            if before is None:
                raise LookupError(address)
            made.append(over(fences[number], attrs.evolve(before, alarm_ms=(before.alarm_ms or 0) + move_ms)))
            fences[number] = Fence(before.incarnation, before.version + 1)
        return made

    print(f"memory store, {INSTANCES:,} instances: µs of CPU per operation, best of {ROUNDS}")
    for name, ask, questions in (
        ("load", partial(load_one, store), lambda: addresses),
        ("commit, alarm unchanged", partial(commit_one, store), lambda: transitions(0)),
        ("commit, alarm moved", partial(commit_one, store), lambda: transitions(50_000)),
        ("due, 256 found", lambda limit: store.due(INSTANCES, limit), lambda: [256] * 1_000),
        ("due, none found", lambda limit: store.due(0, limit), lambda: [256] * OPERATIONS),
        ("next_alarm", store.next_alarm, lambda: scattered),
    ):
        print(f"  {name:<26}{min(each_us(ask, questions()) for _ in range(ROUNDS)):8.2f}")


# ---------------------------------------------------------------- SQLite
async def store_round(path: Path, callers: int) -> tuple[float, float]:
    """Let callers commit at the same time, each to its own instance; give commits per second and µs of CPU."""
    store = await open_sqlite(path)

    async def call(number: int) -> None:
        fence: Fence | None = None
        for commit in range(1 + CALLERS[callers]):
            transition = over(fence, instance_at(number, 1_000 + commit // ALARM_MOVES))
            fence = unsafe_perform_io(await commit_one(store, transition)).unwrap()

    begin, cpu_begin = time.perf_counter(), time.process_time()
    await asyncio.gather(*(call(number) for number in range(callers)))
    count = callers * (1 + CALLERS[callers])
    figures = count / (time.perf_counter() - begin), (time.process_time() - cpu_begin) / count * 1e6
    await store.close()
    return figures


def prepared(fence: Fence, number: int, callers: int) -> list[tuple[str, tuple[Any, ...]]]:
    """Give the store's own statements for the next commits of an instance."""
    statements: list[tuple[str, tuple[Any, ...]]] = []
    before: Instance | None = None
    for commit in range(CALLERS[callers]):
        transition = over(fence, instance_at(number, 1_000 + commit // ALARM_MOVES))
        write = encode(attrs.evolve(transition, before=before))
        if not isinstance(write, Update) or not isinstance(transition.write, Put):
            raise TypeError(f"expected an update, got {write}")
        statements.append((write.sql, write.values))
        fence = write.fence
        before = transition.write.instance.changed(incarnation=fence.incarnation, version=fence.version)
    return statements


def bare_round(path: Path, callers: int) -> tuple[float, float]:
    """Run the same statements, prepared beforehand, in transactions of the same size, in a loop and nothing else."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA synchronous = FULL")
        fences = [Fence(*row) for row in database.execute("SELECT incarnation, version FROM instances ORDER BY id")]
        groups = list(zip(*(prepared(fence, number, callers) for number, fence in enumerate(fences)), strict=True))
        begin, cpu_begin = time.perf_counter(), time.process_time()
        cursor = database.cursor()
        for group in groups:
            cursor.execute("BEGIN IMMEDIATE")
            for sql, values in group:
                cursor.execute(sql, values)
            cursor.execute("COMMIT")
        count = callers * CALLERS[callers]
        return count / (time.perf_counter() - begin), (time.process_time() - cpu_begin) / count * 1e6


def measure_sqlite(folder: Path) -> None:
    """Print durable commits per second of the store and of a bare loop, in turns."""
    print(f"SQLite {sqlite3.sqlite_version}, synchronous=FULL, in {folder}: medians of {ROUNDS} rounds in turns")
    print(f"  {'callers':>7} {'store/s':>9} {'µs CPU':>7}   {'bare/s':>9} {'µs CPU':>7}   store to bare")
    for callers in CALLERS:
        rounds: list[tuple[tuple[float, float], tuple[float, float]]] = []
        for number in range(ROUNDS):
            path = folder / f"{callers}-{number}.db"
            rounds.append((asyncio.run(store_round(path, callers)), bare_round(path, callers)))
        store, store_cpu, bare, bare_cpu = (
            statistics.median(one[side][figure] for one in rounds) for side in (0, 1) for figure in (0, 1)
        )
        ratio = statistics.median(one[0][0] / one[1][0] for one in rounds)
        print(f"  {callers:>7} {store:>9,.0f} {store_cpu:>7.1f}   {bare:>9,.0f} {bare_cpu:>7.1f}   {ratio:>13.2f}")


def main() -> None:
    """Measure both stores."""
    measure_memory()
    with tempfile.TemporaryDirectory(prefix="perdure-", dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        measure_sqlite(Path(folder))


if __name__ == "__main__":
    main()

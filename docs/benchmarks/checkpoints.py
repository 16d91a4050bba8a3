"""How long a commit may have to wait for a checkpoint, with logs of several lengths, and after a reader held one up.

Run it with ``python docs/benchmarks/checkpoints.py [--quick] [FOLDER]``. Clients write at full speed to the SQLite
store with full durability; each commit moves an alarm of one of 100,000 rows, so that a checkpoint has random pages to
write.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from attrs import define, field
from measured.figures import Spread, over_rounds, print_table
from measured.machine import conditions, versions

from perdure import attempt
from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.stores.contract import Store, commit_one
from perdure.stores.sqlite import DEFAULT_CACHE_BYTES, open_sqlite
from perdure.stores.sqlite.opening import open_file
from perdure.stores.sqlite.schema import CHECKPOINT_PAGES, log_of, size_of
from perdure.values.address import Address
from perdure.values.instance import Fence, Instance
from perdure.values.transition import Put, Transition

ROWS = 100_000
CLIENTS = 64
LENGTHS = (500, CHECKPOINT_PAGES, 4_000, 16_000)
HELD_MIB = (64, 256)
STATE = f'"{"x" * 300}"'
MIB = 1024 * 1024


@define
class Load:
    """Clients that write as fast as they are answered.

    Attributes:
        store: where to.
        fences: of the rows.
        waits: seconds from each commit to its answer.
    """

    store: Store
    fences: list[Fence | None] = field(factory=lambda: [None] * ROWS)
    waits: list[float] = field(factory=list[float])

    async def commit(self, row: int, alarm_ms: int) -> None:
        """Write a row anew."""
        address, before = Address("task", "jobs", str(row)), self.fences[row]
        version = 1 if before is None else before.version + 1
        instance = Instance(
            address=address, created_ms=1, updated_ms=2, version=version, state=STATE, alarm_ms=alarm_ms
        )
        asked = commit_one(self.store, Transition(address=address, expected=before, write=Put(instance)))
        self.fences[row] = (await attempt(asked)).unwrap()

    async def fill(self) -> None:
        """Write every row once."""
        for begin in range(0, ROWS, 1_000):
            await asyncio.gather(*(self.commit(row, row) for row in range(begin, begin + 1_000)))

    async def run(self, is_over: Any) -> None:
        """Let all clients write until it is over."""

        async def client(number: int) -> None:
            chance = random.Random(number)  # noqa: S311 - a workload
            while not is_over():
                row = chance.randrange(number, ROWS, CLIENTS)
                begin = time.perf_counter()
                await self.commit(row, chance.randrange(10**9))
                self.waits.append(time.perf_counter() - begin)

        await asyncio.gather(*(client(number) for number in range(CLIENTS)))

    async def run_for(self, seconds: float) -> Spread:
        """Let all clients write for so long, and give their waits."""
        self.waits.clear()
        end = time.perf_counter() + seconds
        await self.run(lambda: time.perf_counter() > end)
        return Spread.of(self.waits)


@contextmanager
def reader_of(path: Path) -> Iterator[None]:
    """Read one moment of the file, and hold it."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT epoch FROM counters").fetchall()
        yield


async def of_length(path: Path, pages: int, seconds: float) -> Spread:
    """Measure with checkpoints of another length than the store's own."""
    store = await open_file(
        path,
        durability="full",
        cache_bytes=DEFAULT_CACHE_BYTES,
        on_locked="raise",
        runtime=asyncio_runtime(),
        checkpoint_pages=pages,
    )
    load = Load(store)
    await load.fill()
    waits = await load.run_for(seconds)
    await store.close()
    return waits


async def after_a_reader(path: Path, held_mib: int) -> tuple[Spread, Spread]:
    """Measure while a reader holds the log up until it has grown so much, and for a second after it has ended."""
    store = await open_sqlite(path)
    load = Load(store)
    await load.fill()
    with reader_of(path):
        load.waits.clear()
        await load.run(lambda: size_of(log_of(path)) > held_mib * MIB)
        held = Spread.of(load.waits)
    afterwards = await load.run_for(1.0)
    await store.close()
    return held, afterwards


def main(folder: Path, *, rounds: int, seconds: float) -> None:
    """Measure, interleaved."""
    print(versions())
    print(f"{ROWS:,} rows, {CLIENTS} clients, full durability, {rounds} rounds; {conditions(folder)}\n")
    found: dict[int, list[Spread]] = {pages: [] for pages in LENGTHS}
    for number in range(rounds):
        for pages in LENGTHS:
            found[pages].append(asyncio.run(of_length(folder / f"{pages}-{number}.db", pages, seconds)))
    print_table(
        ("pages", "commits/s", "p50 ms", "p99 ms", "longest ms"),
        (
            (
                f"{pages:,}",
                over_rounds([one.count / seconds for one in spreads]),
                over_rounds([one.p50_ms for one in spreads], 1),
                over_rounds([one.p99_ms for one in spreads], 0),
                over_rounds([one.max_ms for one in spreads], 0),
            )
            for pages, spreads in found.items()
        ),
    )
    print()
    held = {
        mib: [asyncio.run(after_a_reader(folder / f"held-{mib}-{n}.db", mib)) for n in range(rounds)]
        for mib in HELD_MIB
    }
    print_table(
        ("log held up to MiB", "longest ms meanwhile", "longest ms afterwards"),
        (
            (str(mib), over_rounds([one.max_ms for one, _ in pairs]), over_rounds([one.max_ms for _, one in pairs]))
            for mib, pairs in held.items()
        ),
    )
    print(f"\nat the end: {conditions(folder)}")


if __name__ == "__main__":
    quick = "--quick" in sys.argv[1:]
    places = [place for place in sys.argv[1:] if not place.startswith("--")]
    with tempfile.TemporaryDirectory(prefix="perdure-", dir=places[0] if places else None) as scratch:
        main(Path(scratch), rounds=1 if quick else 3, seconds=3.0 if quick else 8.0)

"""What a backup costs an engine that is written to at full speed, and how long it takes.

Run it with ``python docs/benchmarks/backup.py [FOLDER]``. Two ways: in steps on the store's own connection
(``jobs.backup``), and from outside in one transaction, in another process, as ``perdure backup`` does it.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

from checkpoints import CLIENTS, MIB, ROWS, Load
from measured.figures import Spread, over_rounds, print_table
from measured.machine import conditions, versions
from returns.unsafe import unsafe_perform_io

from perdure.stores.contract import Store
from perdure.stores.sqlite import open_sqlite
from perdure.stores.sqlite.schema import log_of, size_of

ROUNDS = 3
BACKUPS = 3  # one after the other, in one round
SECONDS = 4.0

MakeBackup: TypeAlias = Callable[[Store, Path, Path], Awaitable[object]]


async def nothing(_: Store, __: Path, ___: Path) -> None:
    """Let the clients write, and nothing else."""
    await asyncio.sleep(SECONDS / BACKUPS)


async def inside(store: Store, _: Path, target: Path) -> None:
    """Let the engine make it."""
    assert store.backup is not None  # noqa: S101 - a file can be copied
    unsafe_perform_io(await store.backup.make(target, lambda _: None)).unwrap()


async def outside(_: Store, path: Path, target: Path) -> None:
    """Let another process make it."""
    arguments = ("backup", "--store", f"sqlite:///{path}", "--output", str(target))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "perdure", *arguments, stdout=asyncio.subprocess.DEVNULL
    )
    if await process.wait():
        raise RuntimeError("the backup failed")


async def measure(folder: Path, make: MakeBackup) -> tuple[float, Spread, float, float]:
    """Give commits a second, their waits, seconds for a backup, and the size of the log in MiB at the end."""
    path = folder / "jobs.db"
    store = await open_sqlite(path)
    load = Load(store)
    await load.fill()
    took: list[float] = []

    async def backups() -> None:
        for number in range(BACKUPS):
            begin = time.perf_counter()
            await make(store, path, folder / f"copy-{number}.db")
            took.append(time.perf_counter() - begin)

    made = asyncio.ensure_future(backups())
    begin = time.perf_counter()
    await load.run(made.done)
    await made
    rate = len(load.waits) / (time.perf_counter() - begin)
    log_mib = size_of(log_of(path)) / MIB
    await store.close()
    return rate, Spread.of(load.waits), sum(took) / BACKUPS, log_mib


def main(folder: Path) -> None:
    """Measure, interleaved."""
    print(versions())
    print(f"{ROWS:,} rows (39 MiB), {CLIENTS} clients, full durability, {ROUNDS} rounds; {conditions(folder)}\n")
    ways: dict[str, MakeBackup] = {"no backup": nothing, "jobs.backup": inside, "perdure backup": outside}
    found: dict[str, list[tuple[float, Spread, float, float]]] = {name: [] for name in ways}
    for number in range(ROUNDS):
        for name, make in ways.items():
            place = folder / f"{number}-{name}"
            place.mkdir()
            found[name].append(asyncio.run(measure(place, make)))
    print_table(
        ("", "commits/s", "p50 ms", "p99 ms", "longest ms", "seconds for a backup", "log MiB"),
        (
            (
                name,
                over_rounds([rate for rate, *_ in rounds]),
                over_rounds([waits.p50_ms for _, waits, *_ in rounds], 1),
                over_rounds([waits.p99_ms for _, waits, *_ in rounds]),
                over_rounds([waits.max_ms for _, waits, *_ in rounds]),
                "" if name == "no backup" else over_rounds([seconds for *_, seconds, _ in rounds], 2),
                over_rounds([log_mib for *_, log_mib in rounds]),
            )
            for name, rounds in found.items()
        ),
    )
    print(f"\nat the end: {conditions(folder)}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="perdure-", dir=sys.argv[1] if len(sys.argv) > 1 else None) as scratch:
        main(Path(scratch))

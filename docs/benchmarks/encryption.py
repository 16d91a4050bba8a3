"""What encryption costs: one whole request, with plain and with encrypted state of three sizes.

Run it with ``python docs/benchmarks/encryption.py``. On the memory store, figures are µs of CPU time for one request,
the least of the rounds. On a SQLite file, figures are requests a second of 64 callers, the median of three rounds.
Plain and encrypted rounds alternate, so that both see the same machine.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from attrs import frozen

from perdure import App, Do, Task, TaskContext, program
from perdure.stores.encryption import Encryption, Key

ROUNDS = 15
REQUESTS = 300
CALLERS = 64
SIZES = (100, 1_000, 10_000)
KEYS = Encryption(primary=Key.new("bench"))


@frozen
class Note:
    """A state of one text."""

    text: str = ""


@program
def on_event(ctx: TaskContext[Note], event: str) -> Do[None]:
    """Replace the state."""
    yield from ctx.set_state(Note(event))


notes: Any = Task("notes", state=Note, event=str, initial=Note(), on_event=on_event)


def app(encryption: Encryption | None) -> App[None]:
    """Give the app, with or without keys."""
    return App(None, encryption=encryption).with_jobs(notes)


async def cpu_us(size: int, encryption: Encryption | None) -> float:
    """Give the µs of one request of one caller on the memory store."""
    async with app(encryption).open("memory://") as jobs:
        handle, text = jobs.handle(notes), "x" * size
        await handle.send("a", text)
        began = time.process_time()
        for _ in range(REQUESTS):
            await handle.send("a", text)
        return (time.process_time() - began) / REQUESTS * 1e6


async def rate(size: int, encryption: Encryption | None) -> float:
    """Give the requests a second of 64 callers on a SQLite file."""
    with tempfile.TemporaryDirectory() as folder:
        async with app(encryption).open(f"sqlite:///{Path(folder)}/jobs.db") as jobs:
            handle, text = jobs.handle(notes), "x" * size

            async def call(at: int) -> None:
                for _ in range(40):
                    await handle.send(f"n-{at}", text)

            began = time.perf_counter()
            await asyncio.gather(*(call(at) for at in range(CALLERS)))
            return CALLERS * 40 / (time.perf_counter() - began)


def main() -> None:
    """Print both tables."""
    for size in SIZES:
        figures: dict[str, list[float]] = {"plain": [], "encrypted": []}
        rates: dict[str, list[float]] = {"plain": [], "encrypted": []}
        for at in range(ROUNDS):
            for name, encryption in (("plain", None), ("encrypted", KEYS)):
                figures[name].append(asyncio.run(cpu_us(size, encryption)))
                if at < 3:  # noqa: PLR2004 - rounds on the disk
                    rates[name].append(asyncio.run(rate(size, encryption)))
        cpu = ", ".join(f"{name} {min(found):.1f} µs" for name, found in figures.items())
        disk = ", ".join(f"{name} {statistics.median(found):,.0f}/s" for name, found in rates.items())
        print(f"{size:>6} characters: memory {cpu}; SQLite, {CALLERS} callers {disk}")


if __name__ == "__main__":
    main()

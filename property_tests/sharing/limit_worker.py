"""An engine whose runs a named limit bounds, in a process that the test kills: ``limit_worker.py STORE JOURNAL``.

It obeys lines of standard input, and answers each with one: ``put FIRST NUMBER``, ``set CONCURRENCY RATE``, ``done``.
Each run appends two lines to the journal: the monotonic clock of the machine, the process, begin or end, the key and
the run.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import Any

from attrs import define
from returns.result import Result, Success

from perdure import App, Client, Do, ItemContext, Limit, WorkerPool, effect, program

KEYS = 5
CONCURRENCY, RATE, WINDOW_S, PER_KEY = 6, 200, 4, 2


@define
class Journal:
    """The file that all processes append to."""

    file: int

    def note(self, word: str, key: str, run_id: str) -> None:
        """Append a line, in one write."""
        os.write(self.file, f"{time.monotonic():.6f} {os.getpid()} {word} {key} {run_id}\n".encode())


@effect
async def work(journal: Journal, key: str, run_id: str) -> Result[None, str]:
    """Work for a tenth of a second."""
    journal.note("begin", key, run_id)
    await asyncio.sleep(0.1)
    journal.note("end", key, run_id)
    return Success(None)


def key_of(number: int) -> str:
    """Return the key of an item."""
    return f"k{number % KEYS}"


@program
def worked(ctx: ItemContext[int]) -> Do[None, str, Journal]:
    """Work on an item."""
    number = yield from ctx.item
    yield from work(key_of(number), ctx.run_id)


LIMIT = Limit("phones", concurrency=CONCURRENCY, rate=(RATE, f"{WINDOW_S} s"), concurrency_per_key=PER_KEY)
calls = WorkerPool("calls", item=int, work=worked, key=key_of, workers=12, limits=[LIMIT])


async def obey(jobs: Client, line: list[str]) -> str:
    """Obey a line, and return the answer."""
    match line:
        case ["put", first, number]:
            await jobs.handle(calls).put_many((f"{n}", n) for n in range(int(first), int(first) + int(number)))
            return "put"
        case ["set", concurrency, rate]:
            await jobs.set_limit("phones", concurrency=int(concurrency), rate=(int(rate), f"{WINDOW_S} s"))
            return "set"
        case _:
            progress = await jobs.handle(calls).progress()
            return f"{progress.waiting + progress.running} {progress.done} {progress.parked}"


def say(line: str) -> None:
    """Write a line to standard output."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def main(store: str, journal: Any) -> None:
    """Serve until standard input ends."""
    async with App(Journal(journal)).with_jobs(calls).open(store) as jobs:
        say("open")
        while line := await asyncio.to_thread(sys.stdin.readline):
            say(await obey(jobs, line.split()))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)))

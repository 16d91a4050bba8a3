"""A process that starts workflows of a limited job and waits for their ends; the test kills it at any moment.

``python under_way_worker.py STORE JOURNAL STARTS``: it prints ``open``, and at the end ``done``. Each workflow appends
a line to the journal when it begins, and one before it ends.
"""

import asyncio
import os
import sys
from typing import Any

from attrs import frozen
from returns.result import Result, Success

from perdure import App, Do, Workflow, WorkflowContext, effect, program
from perdure.programs import sleep

CONCURRENCY = 3


@frozen
class Journal:
    """The file that all processes append to."""

    file: int


@effect
def note(journal: Journal, word: str, id_: str) -> Result[None, str]:
    """Append a line, in one write."""
    os.write(journal.file, f"{word} {id_}\n".encode())
    return Success(None)


@program
def imported(ctx: WorkflowContext[int]) -> Do[int, str, Journal]:
    """Work in two steps, with a wait between them."""
    yield from note("begin", ctx.id)
    yield from sleep("20 ms")
    yield from note("end", ctx.id)
    return 1


imports = Workflow("imports", state=int, run=imported, concurrency=CONCURRENCY)


def say(line: str) -> None:
    """Write a line to standard output."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def main(store: str, path: str, starts: int) -> None:
    """Start all, and wait for all."""
    journal = Journal(os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY))
    async with App(journal).with_jobs(imports).open(store) as client:
        say("open")
        jobs = client.handle(imports)
        for number in range(starts):
            await jobs.start(f"i{number}", 1)
        for number in range(starts):
            end: Any = await jobs.start_and_wait(f"i{number}", 1, timeout="2 minutes")
            assert end.value == 1
        say("done")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))

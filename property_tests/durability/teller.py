"""The process that is killed: it owns the store, runs the bank, and is its own clients.

``python teller.py FILE DURABILITY OUTSIDE``. It waits until nobody owns the file. It says ``open`` when the store is,
reads one line of JSON (the newest acknowledged step of each client, and how many more each is to take), and then says
``CLIENT NUMBER`` for every step that was acknowledged. When all are taken it waits until nothing is left to do, says
``quiet``, and ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import Any

from attrs import asdict, frozen
from bank import PULSE, Beats, Happened, account, bank, ledger, mailbag, pulse, steps_of, take_step
from returns.result import Result, Success

from perdure import ask
from perdure.client.jobs import Jobs
from perdure.program.container import result_inside
from perdure.stores.sqlite import open_sqlite
from perdure.values.errors import InstanceParked

FAR_MS = 2**50
PATIENCE = 2_000  # looks, 10 ms apart


@frozen
class Journal:
    """The outside: an append-only file. What was appended survives the death of the process that did it."""

    descriptor: int

    def note(self, happened: Happened) -> Result[None, Any]:
        """Append a line in one write: the process is killed before it or after it, not in it."""
        os.write(self.descriptor, json.dumps(asdict(happened)).encode() + b"\n")
        return Success(None)


def say(line: str) -> None:
    """Tell the parent, in one write."""
    os.write(sys.stdout.fileno(), f"{line}\n".encode())


async def client(jobs: Jobs, name: str, after: int, upto: int) -> None:
    """Take one step after the other."""
    for step in steps_of(name, after, upto):
        while True:
            try:
                await ask(take_step(jobs, step))
                break
            except InstanceParked:
                await resume_parked(jobs)
        say(f"{name} {step.number}")


async def resume_parked(jobs: Jobs) -> None:
    """Let go on what was parked because three processes in a row were killed in the middle of it."""
    for job in (account, ledger, mailbag, pulse):
        for listed in await ask(jobs.list(job, status="parked")):
            await ask(jobs.of(job).resume(listed.address.id))


async def quiet(jobs: Jobs) -> None:
    """Wait until no message and no alarm but the pulse is left.

    Raises:
        TimeoutError: something never comes to an end.
    """
    store = jobs.engine.store
    for _ in range(PATIENCE):
        await resume_parked(jobs)
        messages = result_inside(await store.messages(FAR_MS, 1)).unwrap()
        waiting = result_inside(await store.due(FAR_MS, 100)).unwrap()
        if not messages and all(instance.address.name == "pulse" for instance in waiting):
            return
        await asyncio.sleep(0.01)
    raise TimeoutError(f"still there: {messages} {waiting}")


async def main(path: str, durability: Any, outside: str) -> None:
    """Serve until killed, or until all is done."""
    journal = Journal(os.open(outside, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644))
    store = await open_sqlite(path, durability=durability, when_owned="wait")
    async with bank(journal).open(store) as jobs:
        say(f"open {time.time()}")
        orders = json.loads(await asyncio.to_thread(sys.stdin.readline))
        await ask(jobs.of(pulse).start(PULSE, Beats(), wait="claim"))
        await asyncio.gather(
            *(client(jobs, name, after, after + orders["more"]) for name, after in orders["after"].items())
        )
        await quiet(jobs)
        say("quiet")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

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
from bank import PULSE, Beats, Happened, Step, bank, pulse, steps_of
from clients import client, quiet
from returns.result import Result, Success

from perdure import ask
from perdure.stores.sqlite import open_sqlite


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


def told(step: Step) -> None:
    """Tell the parent that a step was acknowledged."""
    say(f"{step.client} {step.number}")


async def main(path: str, durability: Any, outside: str) -> None:
    """Serve until killed, or until all is done."""
    journal = Journal(os.open(outside, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644))
    store = await open_sqlite(path, durability=durability, when_owned="wait")
    async with bank(journal).open(store) as jobs:
        say(f"open {time.time()}")
        orders = json.loads(await asyncio.to_thread(sys.stdin.readline))
        await ask(jobs.of(pulse).start(PULSE, Beats(), wait="claim"))
        await asyncio.gather(
            *(
                client(jobs, steps_of(name, after, after + orders["more"]), told)
                for name, after in orders["after"].items()
            )
        )
        await quiet(jobs)
        say("quiet")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

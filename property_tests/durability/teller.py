"""The process that is killed: it owns the store, runs the bank, and serves customers at a window.

``python teller.py FILE DURABILITY OUTSIDE WINDOW [DISK]``. It waits until no process owns the file; with DISK, SQLite's
files are written down there, so that power can be cut. It says ``open`` when the store is. At the window, a socket, it
answers a line ``CLIENT NUMBER`` with the number when that step is done. When it reads a line it serves no other client,
waits until nothing is left to do, says ``quiet``, and ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from attrs import asdict, frozen
from bank import PULSE, Beats, Happened, Step, bank, pulse
from clients import client, quiet
from disk import Entry
from drawn_sizes import runtime_of_this_process
from recording import Recorder, open_recorded
from returns.result import Result, Success

from perdure.client.client import Client
from perdure.runtime.record import Runtime
from perdure.stores.contract import Store
from perdure.stores.sqlite import open_sqlite

CHECKPOINT_PAGES = 100  #: so that power is cut before, in and after many


def appended(path: str) -> int:
    """Open a file that is only appended to. Appended lines survive the death of the process."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


@frozen
class Journal:
    """The external system."""

    descriptor: int

    def note(self, happened: Happened) -> Result[None, Any]:
        """Append a line in one write: the process is killed before it or after it, not in it."""
        os.write(self.descriptor, json.dumps(asdict(happened)).encode() + b"\n")
        return Success(None)


class WrittenDown(Recorder):
    """A disk whose log outlives the process: each entry is in it before the thing is done."""

    def __init__(self, path: str) -> None:
        super().__init__("written-down")
        self._descriptor = appended(path)

    def note(self, entry: Entry) -> None:
        """Append it."""
        os.write(self._descriptor, pickle.dumps(entry))


def say(line: str) -> None:
    """Tell the parent, in one write."""
    os.write(sys.stdout.fileno(), f"{line}\n".encode())


async def serve(jobs: Client, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one customer."""
    while line := (await reader.readline()).decode():
        name, number = line.split()
        try:
            await client(jobs, [Step(name, int(number))], lambda step: writer.write(f"{step.number}\n".encode()))
        except Exception as error:  # noqa: BLE001 - the customer names the error
            writer.write(f"{error!r}\n".encode())
        await writer.drain()
    writer.close()


async def opened(path: str, durability: Any, disk: str | None, runtime: Runtime) -> Store:
    """Open the store, on the real disk or on one that is written down."""
    if disk is None:
        return await open_sqlite(path, durability=durability, on_locked="wait", runtime=runtime)
    return await open_recorded(
        Path(path),
        WrittenDown(disk),
        durability=durability,
        checkpoint_pages=CHECKPOINT_PAGES,
        runtime=runtime,
    )


async def main(path: str, durability: str, outside: str, window: str, disk: str | None = None) -> None:
    """Serve until killed, or until all is done."""
    runtime = runtime_of_this_process()
    store = await opened(path, durability, disk, runtime)
    async with bank(Journal(appended(outside))).open(store, runtime=runtime) as jobs:
        say(f"open {time.time()}")
        await jobs.handle(pulse).start(PULSE, Beats(), wait_for="start")
        async with await asyncio.start_unix_server(partial(serve, jobs), window):
            await asyncio.to_thread(sys.stdin.readline)
            await quiet(jobs)
            say("quiet")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

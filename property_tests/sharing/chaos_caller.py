"""A process of callers: ``chaos_caller.py NAME FOLDER CALLERS ADDRESS...``, until SIGTERM.

Each caller makes one call after the other, at any engine, and repeats a call that failed with its key at another one.
A line of JSON says that a call begins, another one that it was answered, with the monotonic clock of the machine.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from attrs import define, field

WINDOW_S = 4
"""How long the callers use the same instances: short histories are checked fast."""

PATIENCE_S = 2.5
MAX_TRIES = 200


@define
class Connection:
    """A way to one engine, which is made again after each failure.

    Attributes:
        address: of the engine.
    """

    address: str
    _writer: asyncio.StreamWriter | None = None
    _waiting: dict[int, asyncio.Future[dict[str, Any]]] = field(factory=dict)
    _numbers: Any = field(factory=itertools.count)
    _lock: asyncio.Lock = field(factory=asyncio.Lock)
    _tasks: set[asyncio.Task[None]] = field(factory=set)

    async def call(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Make a call.

        Raises:
            OSError: the engine is not reached, or does not answer in time.
        """
        async with asyncio.timeout(PATIENCE_S):
            async with self._lock:
                if self._writer is None:
                    host, _, port = self.address.partition(":")
                    reader, self._writer = await asyncio.open_connection(host, int(port))
                    task = asyncio.ensure_future(self._read(reader, self._writer))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                number, writer = next(self._numbers), self._writer
                answer = self._waiting[number] = asyncio.get_running_loop().create_future()
            writer.write(json.dumps({"n": number, **asked}).encode() + b"\n")
            try:
                return await answer
            finally:
                self._waiting.pop(number, None)

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                found = json.loads(line)
                waiting = self._waiting.get(found["n"])
                if waiting is not None and not waiting.done():
                    waiting.set_result(found)
        except OSError:
            pass
        self._writer = None
        writer.transport.abort()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(ConnectionResetError())


@define
class Caller:
    """One of several callers of a process.

    Attributes:
        name: unique over all processes.
        base: numbers of this caller begin here.
        engines: the ways to all engines.
        log: the file of this process.
        stopping: set when no further call begins.
    """

    name: str
    base: int
    engines: list[Connection]
    log: TextIO
    stopping: asyncio.Event
    drawn: random.Random = field(factory=random.Random)
    count: int = 0

    async def run(self) -> None:
        """Make calls."""
        while not self.stopping.is_set():
            self.count += 1
            await self._made(self._call(f"{self.name}.{self.count}", self.base + self.count))
            await asyncio.sleep(self.drawn.random() * 0.1)

    def _call(self, key: str, number: int) -> dict[str, Any]:
        window = int(time.monotonic() / WINDOW_S)
        kind = self.drawn.randrange(10)
        of, asked = [self.drawn.choice(("quick", "slow")), f"{window}.{self.drawn.randrange(2)}"], "read"
        if kind in (2, 3, 4):
            expected = self.drawn.choice((None, None, self.drawn.randrange(8)))
            asked = "append" if expected is None else f"append {expected}"
        elif kind in (5, 6, 7):
            of, asked = ["accounts", f"{window}.{self.drawn.randrange(6)}"], "deposit"
        elif kind > 7:
            of, asked = (["items", key], "put") if kind == 8 else (["flows", key], "start")
        return {"key": key, "of": of, "asked": asked, "number": number}

    async def _made(self, asked: dict[str, Any]) -> None:
        """Make a call until it is answered."""
        self._note(**asked, at=time.monotonic())
        failed: list[str] = []
        while len(failed) < MAX_TRIES:
            try:
                found = await self.drawn.choice(self.engines).call(asked)
            except OSError as error:  # a timeout too
                found = {"failed": type(error).__name__}
            if "answer" in found:
                self._note(key=asked["key"], answer=found["answer"], at=time.monotonic(), failed=failed)
                return
            failed.append(found["failed"])
            await asyncio.sleep(0.1)

    def _note(self, **fields: Any) -> None:
        self.log.write(f"{json.dumps(fields)}\n")
        self.log.flush()


async def main(name: str, folder: Path, callers: int, addresses: list[str]) -> None:
    """Call until SIGTERM; then every call ends."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    engines = [Connection(address) for address in addresses]
    base = int(name.removeprefix("c")) * 1_000_000_000
    with (folder / f"calls-{name}").open("a") as log:
        async with asyncio.TaskGroup() as group:
            for number in range(callers):
                caller = Caller(f"{name}.{number}", base + number * 1_000_000, engines, log, stopping)
                group.create_task(caller.run())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]))

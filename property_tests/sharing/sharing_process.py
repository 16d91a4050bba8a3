"""An engine in its own process on a shared PostgreSQL schema, with callers: ``sharing_process.py URL NAME FOLDER``.

It sends deposits with keys to accounts that all processes share, and logs each key before it is sent and after it is
acknowledged. An effect logs its word. All logs are appended and flushed, so that a SIGKILL loses no line.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from pathlib import Path
from typing import Any

from attrs import define, frozen
from returns.future import FutureResult
from returns.result import Failure, Success

from perdure import App, Do, Limits, Task, TaskContext, effect, program
from perdure.client.attempt import attempt
from perdure.values.errors import EngineClosed

ACCOUNTS = 6
CALLERS = 6


@define
class Log:
    """Appends lines to files of this process."""

    folder: Path
    name: str

    def write(self, kind: str, line: str) -> None:
        """Append a line, flushed."""
        with (self.folder / f"{kind}-{self.name}").open("a") as file:
            file.write(f"{line}\n")


@frozen
class Account:
    """The keys of all deposits."""

    keys: tuple[str, ...] = ()


async def heard(log: Log, word: str) -> Any:
    """Hear a word, which takes a moment."""
    log.write("heard", word)
    await asyncio.sleep(random.random() * 0.05)  # noqa: S311 - no secret
    return Success(None)


@effect
def say(services: Log, word: str) -> FutureResult[None, Exception]:
    """Say a word."""
    return FutureResult(heard(services, word))


@program
def deposit(ctx: TaskContext[Account], key: str) -> Do[None, Exception, Log]:
    """Note a deposit, with an effect for every second one; the alarm says how many there are."""
    if key.endswith(("0", "2", "4", "6", "8")):
        yield from say(f"{key}#{ctx.attempt}.{ctx.delivery}")
    yield from ctx.update_state(lambda account: Account((*account.keys, key)))
    yield from ctx.schedule(after="500 ms")


@program
def report(ctx: TaskContext[Account]) -> Do[None, Exception, Log]:
    """Say how many deposits there are."""
    account = yield from ctx.state
    yield from say(f"alarm {ctx.run_id}#{ctx.attempt}.{ctx.delivery} {len(account.keys)}")


accounts = Task("accounts", state=Account, event=str, initial=Account(), on_event=deposit, execute=report)


async def caller(handle: Any, log: Log, number: int, stopping: asyncio.Event) -> None:
    """Send deposits; repeat one that failed under its key, until the process or its engine stops."""
    count = 0
    while not stopping.is_set():
        key, id_ = f"{log.name}.{number}.{count}", str(random.randrange(ACCOUNTS))  # noqa: S311 - no secret
        log.write("sent", f"{key} {id_}")
        for _ in range(20):
            match await attempt(handle.send(id_, key, idempotency_key=key)):
                case Success():
                    log.write("acknowledged", f"{key} {id_}")
                    break
                case Failure(EngineClosed()):
                    stopping.set()  # the engine lost its lease: the process ends, and another one starts
                    return
                case _:
                    await asyncio.sleep(0.1)
        count += 1
        await asyncio.sleep(random.random() * 0.02)  # noqa: S311 - no secret


async def main(url: str, name: str, folder: Path) -> None:
    """Serve and call until SIGTERM."""
    log, stopping = Log(folder, name), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    async with App(log, limits=Limits(shutdown_timeout="2 s")).with_jobs(accounts).open(url) as client:
        log.write("opened", "")
        handle = client.handle(accounts)
        async with asyncio.TaskGroup() as group:
            for number in range(CALLERS):
                group.create_task(caller(handle, log, number, stopping))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))

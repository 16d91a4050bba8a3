"""One engine of the chaos test, in a process of its own: ``chaos_engine.py STORE ADDRESS NAME FOLDER VERSION``.

Callers send lines of JSON, and receive a line for each. An effect appends a line to a file of its process: the
monotonic clock of the machine, and a word. The version is that of the code: 1, or 2 with another state of accounts.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

from attrs import define, frozen
from ledger import Append, Mismatch, Numbers, decide
from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure import (
    App,
    Do,
    ItemContext,
    Limits,
    Migrations,
    Task,
    TaskContext,
    WorkerPool,
    Workflow,
    WorkflowContext,
    attempt,
    effect,
    fail,
    program,
    tell,
)
from perdure.client.client import Client
from perdure.client.local_gateway import engine_of
from perdure.programs import sleep
from perdure.values.errors import Rejected

STEPS = 3


@frozen
class Broken(Exception):
    """The external system failed; it never does."""


@define
class Outside:
    """The external system."""

    folder: Path
    name: str

    async def hear(self, word: str, longest_s: float) -> Result[None, Broken]:
        """Note a word, which takes a while."""
        with (self.folder / f"heard-{self.name}").open("a") as file:
            file.write(f"{time.monotonic():.6f} {word}\n")
        await asyncio.sleep(random.random() * longest_s)  # noqa: S311 - no secret
        return Success(None)


@effect
def say(services: Outside, word: str, longest_s: float = 0.05) -> FutureResult[None, Broken]:
    """Say a word."""
    return FutureResult(services.hear(word, longest_s))


@frozen
class Deposit:
    """A deposit, which may send its key on as a receipt."""

    key: str
    receipt: str | None = None


@frozen
class Keys:
    """The first version of the state of an account."""

    keys: tuple[str, ...] = ()

    def with_key(self, key: str) -> Keys:
        """Add a key."""
        return Keys((*self.keys, key))


@frozen
class CountedKeys:
    """The second version."""

    keys: tuple[str, ...] = ()
    count: int = 0

    def with_key(self, key: str) -> CountedKeys:
        """Add a key."""
        return CountedKeys((*self.keys, key), self.count + 1)


def counted(keys: Keys) -> CountedKeys:
    """Upgrade the state."""
    return CountedKeys(keys.keys, len(keys.keys))


@program
def deposit(ctx: TaskContext[Any], event: Deposit) -> Do[None, Broken, Outside]:
    """Keep the key after an effect, set the alarm, send the receipt."""
    yield from say(f"{event.key}#{ctx.attempt}.{ctx.delivery}", 0.8)
    yield from ctx.update_state(lambda state: state.with_key(event.key))
    if event.receipt is not None:
        yield from tell(receipts, event.receipt).send(Deposit(event.key))
    yield from ctx.schedule(after="700 ms")


@program
def report(ctx: TaskContext[Any]) -> Do[None, Broken, Outside]:
    """Say a word when the alarm fires."""
    yield from say(f"alarm {ctx.run_id}#{ctx.attempt}.{ctx.delivery}")


@program
def receive(ctx: TaskContext[tuple[str, ...]], event: Deposit) -> Do[None, Broken, Outside]:
    """Keep the key."""
    yield from say(f"receipt {event.key}#{ctx.attempt}.{ctx.delivery}")
    yield from ctx.update_state(lambda keys: (*keys, event.key))


@program
def append(ctx: TaskContext[Numbers], event: Append) -> Do[None, Mismatch | Broken, Outside]:
    """Append to a ledger after an effect."""
    numbers = yield from ctx.state
    if event.expected not in (None, len(numbers)):
        yield from fail(Mismatch(len(numbers)))
    yield from say(f"append {event.number}#{ctx.attempt}.{ctx.delivery}")
    yield from ctx.set_state((*numbers, event.number))


@program
def work(ctx: ItemContext[int]) -> Do[int, Broken, Outside]:
    """Say the number of an item."""
    number = yield from ctx.item
    yield from say(f"item {number}#{ctx.attempt}.{ctx.delivery}", 0.3)
    return number


@program
def count(ctx: WorkflowContext[int]) -> Do[int, Broken, Outside]:
    """Say some numbers, with pauses."""
    number = yield from ctx.state
    for step in range(STEPS):
        yield from say(f"step {number}.{step}", 0.1)
        yield from sleep("150 ms")
    return number


def unused(ctx: Any) -> Any:
    return ctx.terminate("unused")


receipts = Task("receipts", state=tuple[str, ...], event=Deposit, initial=(), on_event=receive, execute=unused)
quick = Task("quick", state=Numbers, event=Append, initial=(), decide=decide, execute=unused)
slow = Task("slow", state=Numbers, event=Append, initial=(), on_event=append, execute=unused)
items = WorkerPool("items", item=int, work=work, workers=8, keep="1 hour")
flows = Workflow("flows", state=int, run=count, keep="1 hour")


def jobs_of(version: str) -> dict[str, Any]:
    """Return the definitions of a version of the code, by name."""
    state, versions = (Keys, None) if version == "1" else (CountedKeys, Migrations(Keys).then(counted))
    accounts: Any = Task(
        "accounts", state=state, event=Deposit, initial=state(), on_event=deposit, execute=report, versions=versions
    )
    return {job.name: job for job in (accounts, receipts, quick, slow, items, flows)}


def _call(client: Client, jobs: dict[str, Any], asked: dict[str, Any]) -> Any:
    handle = client.handle(jobs[asked["of"][0]])
    id_, key, number = asked["of"][1], asked["key"], asked["number"]
    match asked["asked"].split():
        case ["read"]:
            return handle.get_state(id_)
        case ["append", *expected]:
            return handle.send(id_, Append(number, int(expected[0]) if expected else None), idempotency_key=key)
        case ["deposit"]:
            event = Deposit(key, f"r{id_}" if number % 3 == 0 else None)
            return handle.send(id_, event, idempotency_key=key)
        case ["resume"]:
            return handle.resume(id_, idempotency_key=key)
        case ["put"]:
            return handle.put(id_, number)
        case _:
            return handle.start(id_, number, idempotency_key=key)


def _answer(result: Result[Any, Any]) -> dict[str, Any]:
    """Return the answer of the job, or the failure of the engine."""
    match result:
        case Success(tuple() as numbers):
            return {"answer": list(numbers)}
        case Success(None):
            return {"answer": []}
        case Success():
            return {"answer": "done"}
        case Failure(Rejected(error=Mismatch(length))):
            return {"answer": length}
        case other:
            return {"failed": type(other.failure()).__name__}


@define
class Server:
    """Serves callers until SIGTERM, or until its engine stops."""

    client: Client
    jobs: dict[str, Any]
    tasks: set[asyncio.Task[None]]

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            while line := await reader.readline():
                task = asyncio.ensure_future(self._serve(json.loads(line), writer))
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)
        except OSError:
            pass

    async def _serve(self, asked: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        found = _answer(await attempt(_call(self.client, self.jobs, asked)))
        writer.write(json.dumps({"n": asked["n"], **found}).encode() + b"\n")


async def main(store: str, address: str, name: str, folder: Path, version: str) -> None:
    """Open the store, and serve."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    jobs = jobs_of(version)
    app = App(Outside(folder, name), limits=Limits(shutdown_timeout="2 s")).with_jobs(*jobs.values())
    async with app.open(store) as client:
        host, _, port = address.partition(":")
        server = await asyncio.start_server(Server(client, jobs, set()).accept, host, int(port))
        print("serving", flush=True)  # noqa: T201 - the test waits for it
        stop = asyncio.ensure_future(stopping.wait())
        stopped: Any = engine_of(client).stopped
        await asyncio.wait({stop, asyncio.ensure_future(_ended(stopped))}, return_when=asyncio.FIRST_COMPLETED)
        server.close()


async def _ended(stopped: Any) -> None:
    await stopped


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]), sys.argv[5]))

"""Every kind of job under kills and operators: the effects outside agree with the outcomes.

``python property_tests/durability/operated_kill_loop.py [--rounds 200] [--each 60] [--folder DIR] [--store
postgresql://…]``. A process with sagas, items, batches, alarms and schedules is killed. Its services refuse now and
then, so that runs are retried. Operators in the same process trigger, flush and retry, pause and resume, hold and
release, cancel, and terminate, at any moment. Each effect, and each acknowledgement of a cancel or of a terminate, is a
line of a file outside the store. In the end that file is compared with the outcomes:

- each saga has each of its effects, or has undone all of them;
- each item that was not cancelled is done, and each event was counted and is in a batch;
- nothing happens to an instance after its terminate, or its cancel, was acknowledged;
- no two deliveries of a run have the same marks.
- with wrong clocks (``--skew``, in seconds) no tick runs before its instant. On a file each process draws how wrong its
  clock is, so it jumps at each restart. On a shared store an engine with the right clock serves the same jobs beside
  the processes that are killed, and the instants are those of the server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import attrs
from drawn_sizes import runtime_of_this_process
from kinds_kill_loop import killed
from returns.result import Failure, Result, Success

from perdure import (
    App,
    Backoff,
    Client,
    Continuous,
    ContinuousContext,
    Debounce,
    DebounceContext,
    Do,
    ItemContext,
    Retry,
    Task,
    TaskContext,
    Undo,
    WorkerPool,
    Workflow,
    WorkflowContext,
    effect,
    every,
    program,
    saga,
)
from perdure.programs import sleep
from perdure.values.answer import Done, WasCancelled

POLL_S = 0.05
HOLDS_S = 0.03
EVENTS = 3
"""Events of each task and of each debounce."""

AGAIN = Retry(max_attempts=20, delay=Backoff.constant("20 ms"))


# ---------------------------------------------------------------- the jobs
@attrs.frozen
class Outside:
    """An external system, which remembers each call for ever, and refuses some.

    Attributes:
        file: the descriptor of its file.
        random: how long it takes, and which calls it refuses.
        now_s: the clock by which jobs are due.
    """

    file: int
    random: Random
    now_s: Callable[[], float] = time.time

    def note(self, line: str) -> None:
        """Write a line, and sync it."""
        os.write(self.file, f"{line}\n".encode())
        os.fsync(self.file)

    async def act(self, line: str, *, refuses: bool) -> Result[None, str]:
        """Do something that lasts, or refuse it."""
        await asyncio.sleep(self.random.uniform(0.001, 0.01))
        if refuses and self.random.random() < 0.2:
            return Failure("not now")
        self.note(line)
        return Success(None)


@effect
async def act(services: Outside, line: str) -> Result[None, str]:
    """Call the external system, which may refuse."""
    return await services.act(line, refuses=True)


@effect
async def tick(services: Outside, line: str, due: datetime | None) -> Result[None, str]:
    """Call the external system for a tick, which must be due when it is first delivered."""
    # A later delivery follows one that was due by the clock of the process that died, which may have been ahead.
    is_first = line.endswith("/1")
    if is_first and due is not None and services.now_s() < due.timestamp():
        services.note(f"early/{line}/{due.timestamp() - services.now_s()}")
    return await services.act(line, refuses=True)


@effect
async def book(services: Outside, room: str) -> Result[str, str]:
    """Book a room."""
    return (await services.act(f"+{room}", refuses=False)).map(lambda _: room)


@effect
async def unbook(services: Outside, room: str) -> Result[None, str]:
    """Undo it."""
    return await services.act(f"-{room}", refuses=False)


@program
def booked(undo: Undo[Outside], id_: str) -> Do[int, str, Outside]:
    """Three steps, with time between them for an operator."""
    for number in range(3):
        yield from undo.after(book(f"{id_}/{number}"), unbook)
        yield from sleep("40 ms")
    return 3


@program
def travel(ctx: WorkflowContext[int]) -> Do[int, str, Outside]:
    return (yield from saga(booked, ctx.id))


@program
def work(ctx: ItemContext[int]) -> Do[int, str, Outside]:
    yield from act(f"item/{ctx.id}/{ctx.run_id}/{ctx.attempt}/{ctx.delivery}")
    return (yield from ctx.item) + 1


@program
def count(ctx: TaskContext[int], event: int) -> Do[None]:
    yield from ctx.update_state(lambda total: total + event)
    yield from ctx.schedule(after="20 ms")


@program
def ring(ctx: TaskContext[int]) -> Do[None, str, Outside]:
    yield from act(f"ring/{ctx.id}/{ctx.run_id}/{ctx.attempt}/{ctx.delivery}")


@program
def collect(ctx: DebounceContext[tuple[int, ...]], event: int) -> Do[None]:
    yield from ctx.update_state(lambda batch: (*batch, event))


@program
def flush(ctx: DebounceContext[tuple[int, ...]]) -> Do[None, str, Outside]:
    batch = yield from ctx.state
    events = ",".join(map(str, batch))
    yield from act(f"batch/{ctx.id}/{ctx.run_id}/{ctx.attempt}/{ctx.delivery}/{events}")


@program
def beat(ctx: ContinuousContext[int]) -> Do[None, str, Outside]:
    yield from tick(f"beat/{ctx.id}/{ctx.run_id}/{ctx.attempt}/{ctx.delivery}", ctx.tick)
    yield from ctx.update_state(lambda beats: beats + 1)


trips = Workflow("trips", state=int, run=travel, keep=None)
items = WorkerPool("items", item=int, work=work, workers=8, key=lambda item: str(item % 3), keep="1 day", retry=AGAIN)
counts = Task("counts", state=int, event=int, initial=0, on_event=count, execute=ring, retry=AGAIN)
batches = Debounce(
    "batches",
    event=int,
    state=tuple[int, ...],
    initial=(),
    on_event=collect,
    execute=flush,
    flush_after="30 ms",
    retry=AGAIN,
)
beats = Continuous("beats", state=int, execute=beat, schedule=every("100 ms"), retry=AGAIN)
JOBS: tuple[Any, ...] = (trips, items, counts, batches, beats)


# ---------------------------------------------------------------- the process
@attrs.frozen
class Operator:
    """Does to jobs and instances as an operator may, at any moment. Ids that begin with ``x`` may be terminated.

    Attributes:
        client: of the app.
        outside: the file.
        random: which action, of which instance, and when.
        each: instances of each kind.
        begun: set when nothing creates instances any more: from then on a terminate is final.
    """

    client: Client
    outside: Outside
    random: Random
    each: int
    begun: asyncio.Event = attrs.Factory(asyncio.Event)

    async def operate(self) -> None:
        """Act until cancelled; first end the holds and pauses of a process that died before it ended them."""
        for job in JOBS:
            await self.client.handle(job).release()
            for found in (await self.client.list(job, status="paused", limit=1_000)).instances:
                await self.client.handle(job).resume(found.address.id)
        while True:
            await asyncio.sleep(self.random.uniform(0.001, 0.01))
            await self.act()

    async def act(self) -> None:
        """Do one thing, and undo it after a while."""
        job, number = self.random.choice(JOBS), self.random.randrange(self.each)
        handle: Any = self.client.handle(job)
        match self.random.choice(("pause", "hold", "cancel", "terminate", "now", "resume")):
            case "pause":
                await handle.pause(f"n{number}")
                await asyncio.sleep(self.random.uniform(0, HOLDS_S))
                await handle.resume(f"n{number}")
            case "hold":
                await handle.hold()
                await asyncio.sleep(self.random.uniform(0, HOLDS_S))
                await handle.release()
            case "cancel":
                await self.cancel(f"c{number}")
            case "terminate" if self.begun.is_set():
                if (await handle.terminate(f"x{number}", "of the operator")).terminated:
                    self.outside.note(f"gone/{job.name}/x{number}")
            case "now":
                await self.now(f"n{number}")
            case _:
                await resume_parked(self.client)

    async def cancel(self, id_: str) -> None:
        """Cancel a saga, and an item."""
        await self.client.handle(trips).cancel(id_, "of the operator")
        if (await self.client.handle(items).cancel(id_)).cancelled:
            self.outside.note(f"gone/items/{id_}")

    async def now(self, id_: str) -> None:
        """Begin runs that wait for their time, or for a retry."""
        await self.client.handle(counts).trigger(id_, wait_for="start")
        await self.client.handle(beats).trigger(id_, wait_for="start")
        await self.client.handle(batches).flush(id_, wait_for="start")
        await self.client.handle(items).trigger(id_)


async def resume_parked(client: Client) -> None:
    """Resume instances whose process died three times during one run."""
    for job in JOBS:
        for found in (await client.list(job, status="parked", limit=1_000)).instances:
            await client.handle(job).resume(found.address.id)


def ids_of(each: int) -> list[str]:
    """Return the ids: normal ones, those that are cancelled, and those that are terminated."""
    return [f"{group}{number}" for group in "ncx" for number in range(each)]


async def begin(client: Client, each: int) -> None:
    """Start everything; a repeat of a call changes nothing."""
    for id_ in ids_of(each):
        await asyncio.gather(
            client.handle(trips).start(id_, 0, wait_for="start", idempotency_key="s"),
            client.handle(items).put(id_, int(id_[1:]), idempotency_key="p"),
            client.handle(beats).start(id_, 0, wait_for="start", idempotency_key="s"),
            *(client.handle(counts).send(id_, n + 1, idempotency_key=f"{n}") for n in range(EVENTS)),
            *(client.handle(batches).add(id_, n, idempotency_key=f"{n}") for n in range(EVENTS)),
        )


async def outcomes(client: Client, each: int) -> dict[str, Any]:
    """Wait until all has ended, and return the outcomes."""
    found: dict[str, Any] = {}
    for id_ in [id_ for id_ in ids_of(each) if id_[0] != "x"]:
        while (trip := await client.handle(trips).outcome(id_)) is None:
            await resume_parked(client)
            await asyncio.sleep(POLL_S)
        found[id_] = {Done: "done", WasCancelled: "cancelled"}[type(trip)]
    for id_ in [f"n{number}" for number in range(each)]:
        while not isinstance(await client.handle(items).outcome(id_), Done):
            await resume_parked(client)
            await asyncio.sleep(POLL_S)
        while (await client.handle(batches).status(id_)).status != "not_found":
            await resume_parked(client)
            await asyncio.sleep(POLL_S)
        if await client.handle(counts).get_state(id_) != sum(range(EVENTS + 1)):
            raise AssertionError(id_)
    return found


def opened(folder: Path, store: str, skew_s: float) -> tuple[Outside, Any]:
    """Return the external system, and the app that opens with a clock that is wrong."""
    file = os.open(folder / "effects.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    runtime = runtime_of_this_process()
    wrong = attrs.evolve(runtime, now_ms=lambda: runtime.now_ms() + int(1_000 * skew_s))
    is_shared = "ownership=shared" in store
    random = Random()  # noqa: S311 - how long a call takes
    outside = Outside(file, random, time.time if is_shared else lambda: time.time() + skew_s)
    app = App(outside).with_jobs(*JOBS)
    return outside, app.open(store or f"sqlite:///{folder}/jobs.db", on_locked="wait", runtime=wrong)


async def serve(folder: Path, store: str) -> None:
    """Serve the jobs beside the processes that are killed, with the right clock."""
    _, opening = opened(folder, store, 0)
    async with opening:
        sys.stdout.write("serving\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


async def live(folder: Path, store: str, each: int, skew_s: float) -> None:
    """Be the process that is killed."""
    outside, opening = opened(folder, store, Random().choice((-skew_s, skew_s)))  # noqa: S311 - which is wrong how
    async with opening as client:
        operator = Operator(client, outside, Random(), each)  # noqa: S311 - which action
        operating = asyncio.ensure_future(operator.operate())
        await begin(client, each)
        operator.begun.set()
        found = await outcomes(client, each)
        if operating.done():
            operating.result()
        operating.cancel()
    sys.stdout.write(json.dumps(found))


# ---------------------------------------------------------------- the audit
def audit(lines: list[str], found: dict[str, str], each: int) -> list[str]:
    """Return the differences between the file outside and the outcomes."""
    wrong = [f"twice: {line}" for line, times in Counter(lines).items() if times > 1 and line[0] not in "+-g"]
    wrong += [f"too soon: {line}" for line in lines if line.startswith("early/")]
    gone: set[str] = set()
    for line in lines:
        kind, _, rest = line.partition("/")
        if kind == "gone":
            gone.add(rest)
        elif f"{NAMES.get(kind, 'trips')}/{(line[1:] if line[0] in '+-' else rest).partition('/')[0]}" in gone:
            wrong.append(f"after its end: {line}")
    for id_, outcome in found.items():
        steps = [f"{id_}/{number}" for number in range(3)]
        done = [step for step in steps if f"+{step}" in lines]
        undone = [step for step in steps if f"-{step}" in lines]
        expected = (steps, []) if outcome == "done" else (done, done)
        late = [step for step in undone if f"+{step}" in lines[lines.index(f"-{step}") :]]
        if (done, undone) != expected or late:
            wrong.append(f"{outcome} saga {id_}: done {done}, undone {undone}, done again {late}")
    batched = {
        (line.split("/")[1], event)
        for line in lines
        if line.startswith("batch/")
        for event in line.split("/")[5].split(",")
    }
    wrong += [
        f"in no batch: {number} {event}"
        for number in range(each)
        for event in range(EVENTS)
        if (f"n{number}", str(event)) not in batched
    ]
    return wrong


NAMES = {"item": "items", "ring": "counts", "batch": "batches", "beat": "beats"}


def run(
    folder: Path, *, rounds: int, each: int, seed: int = 0, store: str = "", skew_s: float = 0
) -> tuple[int, list[str]]:
    """Kill a process repeatedly, let the last one end; return the number of kills, and the differences."""
    log, random = folder / "effects.log", Random(seed)  # noqa: S311 - reproducible on purpose
    command = [__file__, "--folder", str(folder), "--store", store, "--each", str(each), "--skew", str(skew_s)]
    beside = []
    if "ownership=shared" in store:
        serving = [sys.executable, *command, "--serve"]
        beside.append(subprocess.Popen(serving, stdout=subprocess.PIPE))  # noqa: S603 - our own
    try:
        for process in beside:
            if process.stdout is None or not process.stdout.readline():
                raise AssertionError("it does not serve")
        most_bytes = each * 600 // max(1, rounds)
        kills, output = killed([*command, "--work"], log, rounds=rounds, most_bytes=most_bytes, random=random)
    finally:
        for process in beside:
            process.kill()
            process.communicate()
    return kills, audit(log.read_text(encoding="ascii").split(), json.loads(output), each)


def main() -> None:
    """Run the loop, or the process that it kills."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--each", type=int, default=60, help="instances of each kind and group")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--store", default="", help="a URL of PostgreSQL, with a schema of its own")
    parser.add_argument("--skew", type=float, default=0, help="seconds by which a clock is wrong")
    parser.add_argument("--work", action="store_true")
    parser.add_argument("--serve", action="store_true")
    given = parser.parse_args()
    if given.serve:
        asyncio.run(serve(given.folder, given.store))
        return
    if given.work:
        asyncio.run(live(given.folder, given.store, given.each, given.skew))
        return
    with tempfile.TemporaryDirectory() as temporary:
        began = time.monotonic()
        folder = given.folder or Path(temporary)
        kills, wrong = run(folder, rounds=given.rounds, each=given.each, store=given.store, skew_s=given.skew)
        sys.stdout.write(
            "\n".join([f"{kills} kills, {len(wrong)} wrong, {time.monotonic() - began:.0f} s", *wrong, ""])
        )


if __name__ == "__main__":
    main()

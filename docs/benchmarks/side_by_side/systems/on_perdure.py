"""This library: a task that is accepted with an alarm and runs when it fires, or that runs within the call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Never

from attrs import frozen
from returns.future import FutureResult
from returns.result import Result, Success

from perdure import App, Do, Task, TaskContext, effect, program
from perdure.values.limits import Limits
from side_by_side.place import NOTE, Place, say
from side_by_side.system import Session

SETTINGS = {
    "accepted": "the default: accepted with an alarm, which runs it; full durability",
    "in the call": "the caller waits for the run; full durability",
    "relaxed": "accepted with an alarm; relaxed durability",
}
RECOVERS = ("accepted",)


@frozen
class Record:
    """What a job records."""

    number: int = 0
    note: str = ""
    total_cents: int = 0


@frozen
class Run:
    """Run now, in the caller's own request."""

    number: int


@frozen
class Accept:
    """Run at an instant."""

    number: int
    at: datetime


@effect
def perform(services: Place, number: int, repeat: str) -> FutureResult[Record, Never]:
    """Run the job."""
    return FutureResult(_perform(services, number, repeat))


async def _perform(place: Place, number: int, repeat: str) -> Result[Record, Never]:
    say(place, f"begin{repeat}", number)
    if place.job_ms:
        await asyncio.sleep(place.job_ms / 1e3)
    say(place, "end", number)
    return Success(Record(number, NOTE, number * 199))


@program
def on_event(ctx: TaskContext[Record], event: Run | Accept) -> Do[None, Never, Place]:
    """Run now, or set the alarm."""
    match event:
        case Run(number):
            yield from ctx.set_state((yield from perform(number, "-again" if ctx.is_retry else "")))
        case Accept(number, at):
            yield from ctx.set_state(Record(number))
            yield from ctx.schedule(at=at)


@program
def execute(ctx: TaskContext[Record]) -> Do[None, Never, Place]:
    """The alarm fired."""
    record = yield from ctx.state
    yield from ctx.set_state((yield from perform(record.number, "-again" if ctx.is_retry else "")))


jobs_to_do = Task("job", state=Record, event=Run | Accept, initial=Record(), on_event=on_event, execute=execute)


@asynccontextmanager
async def session(place: Place) -> AsyncIterator[Session]:
    """Open the engine: it runs the jobs itself."""
    limits = Limits() if place.concurrency is None else Limits(concurrency=place.concurrency)
    durability = "relaxed" if place.setting == "relaxed" else "full"
    url = f"sqlite:///{place.folder}/jobs.db?durability={durability}"
    async with App(place, limits=limits).with_jobs(jobs_to_do).open(url) as jobs:
        calls = jobs.handle(jobs_to_do)

        async def submit(number: int) -> None:
            now = Run(number) if place.setting == "in the call" else Accept(number, datetime.now(UTC))
            await calls.send(str(number), now)

        async def submit_at(number: int, at_s: float) -> None:
            await calls.send(str(number), Accept(number, datetime.fromtimestamp(at_s, UTC)))

        timers = None if place.setting == "in the call" else submit_at
        yield Session(submit=submit, submit_at=timers, callers="many")


def work(place: Place) -> None:
    """There is no separate process."""
    raise NotImplementedError

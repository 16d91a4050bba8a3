"""A burst of jobs: each is accepted with an alarm for now, runs with one service call, and records its result."""

from __future__ import annotations

import asyncio
import time
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Never

from attrs import define, frozen
from measured.cpu import CpuTime
from returns.result import Result, Success

from before_after.turn import Figures, Rounds, Turn
from perdure import App, Do, Task, TaskContext, effect, program

JOBS = 2_000
LAST_COMMITS_S = 0.1


@define
class Done:
    """The service: counts the jobs that ran."""

    count: int = 0


@frozen
class Record:
    """The state of a job."""

    number: int = 0
    note: str = ""
    total_cents: int = 0


@frozen
class Accept:
    """Run at an instant."""

    number: int
    at: datetime


@effect
def perform(services: Done, number: int) -> Result[Record, Never]:
    """Run the job."""
    services.count += 1
    return Success(Record(number, "please leave the parcel at the neighbour's door if nobody opens", number * 199))


@program
def on_event(ctx: TaskContext[Record], event: Accept) -> Do[None]:
    """Accept."""
    yield from ctx.set_state(Record(event.number))
    yield from ctx.schedule(at=event.at)


@program
def execute(ctx: TaskContext[Record]) -> Do[None, Never, Done]:
    """Run."""
    record = yield from ctx.state
    yield from ctx.set_state((yield from perform(record.number)))


jobs_to_do = Task("job", state=Record, event=Accept, initial=Record(), on_event=on_event, execute=execute)


def burst(turn: Turn) -> Figures:
    """Submit all jobs at once."""
    rounds = Rounds()
    for number in range(max(2, turn.rounds // 3)):
        asyncio.run(submitted(f"sqlite:///{turn.folder}/burst-{turn.offset}-{number}.db", rounds))
    uncounted = Rounds()
    asyncio.run(submitted(f"sqlite:///{turn.folder}/burst-{turn.offset}-counted.db", uncounted, counted=rounds))
    return rounds.figures


async def submitted(url: str, rounds: Rounds, counted: Rounds | None = None) -> None:
    """Submit all jobs to a new store, and wait until they have run."""
    done = Done()
    async with App(done).with_jobs(jobs_to_do).open(url, debug=False) as client:
        handle = client.handle(jobs_to_do)

        async def submit(number: int) -> None:
            await handle.send(str(number), Accept(number, datetime.now(UTC)))

        await asyncio.sleep(0.2)
        before, start = CpuTime.now(), time.perf_counter()
        with nullcontext() if counted is None else counted.calls(JOBS):
            await asyncio.gather(*(submit(number) for number in range(JOBS)))
            while done.count < JOBS:  # noqa: ASYNC110 - an event would cost each run a call
                await asyncio.sleep(0.005)
            took = time.perf_counter() - start
            await asyncio.sleep(LAST_COMMITS_S)
        rounds.used(CpuTime.now().since(before), JOBS)
        rounds.add(rate=JOBS / took)

"""perdure: as an event, whose commit is the job; as a task that is accepted for now; or as an item of a worker pool."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from typing import Any

from attrs import define, field
from returns.result import Result, Success

from perdure import Alarm, App, Decision, Do, ItemContext, Limits, Task, TaskContext, WorkerPool, effect, program
from perdure.cli.run import SELDOM
from perdure.client.client import Client
from perdure.programs import Program

AT_ONCE = 64


@define
class Touched:
    """Counts the runs."""

    wanted: int
    done: asyncio.Event = field(factory=asyncio.Event)
    ran: int = 0


@effect
def touch(services: Touched, number: int) -> Result[int, str]:
    """Count a run."""
    services.ran += 1
    if services.ran == services.wanted:
        services.done.set()
    return Success(number)


@program
def work(ctx: ItemContext[int]) -> Do[int, str, Touched]:
    """Perform one effect."""
    return (yield from touch((yield from ctx.item)))


@program
def handle(ctx: TaskContext[int], number: int) -> Do[None]:
    """Take a number: one commit, no effect."""
    yield from ctx.set_state(number)


def accept(_: int, number: int) -> Result[Decision[int], str]:
    """Accept a number, for now."""
    return Success(Decision(number, Alarm.after("0 ms")))


def execute(ctx: TaskContext[int]) -> Program[int, str, Touched]:
    """Perform one effect."""
    return ctx.state.bind(touch)


EVENTS = Task("events", state=int, event=int, initial=0, on_event=handle, execute=lambda ctx: ctx.terminate())
RUNS = Task("runs", state=int, event=int, initial=0, decide=accept, execute=execute)
ITEMS = WorkerPool("items", item=int, work=work, workers=AT_ONCE, keep="0 ms")


async def by_callers(client: Client, job: Any, count: int) -> None:
    """Send each to an instance of its own, at once."""
    calls, numbers = client.handle(job), iter(range(count))

    async def caller() -> None:
        for number in numbers:
            await calls.send(f"id-{number}", number)

    await asyncio.gather(*(caller() for _ in range(512)))


async def main(url: str, count: int, how: str) -> None:
    """Measure."""
    services = Touched(count)
    app = App(services, limits=Limits(max_pending=20_000)).with_jobs(EVENTS, RUNS, ITEMS)
    async with app.open(url) as client:
        began, cpu = time.perf_counter(), time.process_time()
        if how == "pool":
            await client.handle(ITEMS).put_many((f"i{number}", number) for number in range(count))
        else:
            await by_callers(client, EVENTS if how == "events" else RUNS, count)
        put_s = time.perf_counter() - began
        if how != "events":
            await services.done.wait()
        figures = {"put_s": put_s, "total_s": time.perf_counter() - began, "cpu_s": time.process_time() - cpu}
        print(json.dumps(figures), flush=True)
        os._exit(0)


if __name__ == "__main__":
    gc.set_threshold(*SELDOM)
    gc.freeze()
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))

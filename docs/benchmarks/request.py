"""What one whole request costs on the memory store: typed client, program, handler, commit.

Run it with ``python docs/benchmarks/request.py``. Figures are µs of CPU time, the least of sixty rounds of 500: what a
round takes more, a neighbour on the machine took. They are printed beside the cost of an asyncio task and of a
``FutureResult`` in the same run. Then the parts of one request: the same functions that the engine calls, called one
after the other with a look at the clock in between.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any, cast

from attrs import evolve, frozen
from returns.future import FutureResult
from returns.result import Result, Success

from perdure import App, Decision, Do, Task, TaskContext, effect, program
from perdure.client.client import Client
from perdure.client.local_gateway import engine_of
from perdure.engine.runs.runner import inputs_beside_turns
from perdure.jobs.request import Request
from perdure.jobs.step import Commit, Execute
from perdure.jobs.turn import begin, finish
from perdure.kinds.task.context import SendCommand
from perdure.programs import Exit
from perdure.programs.drivers import run_to_first_effect
from perdure.programs.future import answer_of
from perdure.programs.interpreter import interpret
from perdure.stores.contract import commit_one, load_one
from perdure.stores.memory import MemoryBackend

ROUNDS = 60
REQUESTS = 500


@frozen
class Counter:
    """A small state."""

    name: str = "counter"
    total: int = 0


@frozen
class Added:
    """A small event."""

    amount: int


@frozen
class Services:
    """One service that answers at once."""

    step: int = 1


@effect
def step(services: Services) -> Result[int, str]:
    """Call a service."""
    return Success(services.step)


def decide(state: Counter, event: Added) -> Result[Decision[Counter], str]:
    """Add."""
    return Success(Decision(evolve(state, total=state.total + event.amount)))


@program
def on_event(ctx: TaskContext[Counter], event: Added) -> Do[None]:
    """Add, as a program without effects: one commit."""
    state = yield from ctx.state
    yield from ctx.set_state(evolve(state, total=state.total + event.amount))


@program
def on_event_with_effect(ctx: TaskContext[Counter], event: Added) -> Do[None, str, Services]:
    """Add what a service says: a claim, then one commit."""
    state = yield from ctx.state
    amount = yield from step()
    yield from ctx.set_state(evolve(state, total=state.total + event.amount * amount))


program_job = Task("program", state=Counter, event=Added, initial=Counter(), on_event=on_event)
decide_job = Task("decide", state=Counter, event=Added, initial=Counter(), decide=decide)
effect_job = Task("effect", state=Counter, event=Added, initial=Counter(), on_event=on_event_with_effect)


async def measure(name: str, call: Callable[[], Awaitable[object]]) -> float:
    """Print, and give, the µs of the best round."""
    best = float("inf")
    for _ in range(ROUNDS):
        used = time.process_time()
        for _ in range(REQUESTS):
            await call()
        best = min(best, (time.process_time() - used) / REQUESTS)
    print(f"{name:64}{best * 1e6:8.1f} µs")
    return best * 1e6


async def parts(jobs: Client) -> dict[str, float]:
    """Take the turns of the first line by hand; give the µs of each part of the best round."""
    runner, engine, address = engine_of(jobs).runner, engine_of(jobs), program_job.address("by hand")
    best: dict[str, float] = {}
    for _ in range(ROUNDS):
        spent: dict[str, float] = {}

        def note(part: str, since: float, spent: dict[str, float] = spent) -> float:
            now = time.perf_counter()
            spent[part] = spent.get(part, 0.0) + now - since
            return time.perf_counter()

        for _ in range(REQUESTS):
            event = program_job.encode_input("send", Added(1), engine.limits.payload_bytes)
            request = Request(command=SendCommand(Added(1)), action="send", payload=event)
            at = note("looking at the clock", time.perf_counter())
            loaded = (await answer_of(load_one(runner.store, address, None, 0))).unwrap()
            at = note("load from the store", at)
            inputs = inputs_beside_turns(runner.runtime, runner.store, runner.limits)
            at = note("the clock, the dice and the ids", at)
            step = cast("Execute", begin(program_job, address, loaded, request, inputs))
            at = note("begin: state decoded, claim, context, draft", at)
            ended = run_to_first_effect(interpret(step.program, runner.services, (step.draft,)))
            at = note("the user's program; its state checked and encoded", at)
            last = cast("Commit", finish(program_job, step, cast("Exit[Any, Any]", ended), inputs))
            at = note("finish: the next instance, the transition, the answer", at)
            await answer_of(commit_one(runner.store, last.transition))
            note("commit to the store", at)
        for part, seconds in spent.items():
            best[part] = min(best.get(part, float("inf")), seconds / REQUESTS * 1e6)
    clock = best.pop("looking at the clock")
    return {part: taken - clock for part, taken in best.items()}


def show(parts_of_it: dict[str, float], client: float, whole: float) -> None:
    """Print the parts, and what lies between them."""
    known = {"the typed client: event checked and encoded, its future": client, **parts_of_it}
    known["mailbox, dispatcher, and the coroutines in between"] = whole - sum(known.values())
    print()
    for part, taken in known.items():
        print(f"{part:64}{taken:8.1f} µs")


async def _nothing() -> Result[int, str]:
    return Success(1)


async def main() -> None:
    """Measure."""
    loop = asyncio.get_running_loop()
    await measure("an asyncio task, created and awaited", lambda: loop.create_task(_nothing()))
    await measure("a FutureResult, made and awaited", lambda: FutureResult(_nothing()))
    app = App(Services()).with_jobs(program_job, decide_job, effect_job)
    async with app.open(MemoryBackend().open()) as jobs:
        counted, decided, effects = jobs.handle(program_job), jobs.handle(decide_job), jobs.handle(effect_job)
        await measure("status", lambda: counted.status("one"))
        whole = await measure("send, program without effects (one commit)", lambda: counted.send("one", Added(1)))
        await measure("send, pure decide (one commit)", lambda: decided.send("one", Added(1)))
        await measure("send, program with one service call (two commits)", lambda: effects.send("one", Added(1)))
        each = count()
        await measure("send, 10,000 instances", lambda: counted.send(f"id-{next(each) % 10_000}", Added(1)))
        await measure("repeat of an idempotency key", lambda: counted.send("one", Added(1), idempotency_key="k"))
        by_hand = await parts(jobs)
    refused = await measure("send, refused by an engine that is closed", lambda: counted.send("one", Added(1)))
    show(by_hand, refused, whole)


if __name__ == "__main__":
    asyncio.run(main())

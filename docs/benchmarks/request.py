"""What one whole request costs on the memory store: typed client, program, handler, commit.

Run it with ``python docs/benchmarks/request.py``. Figures are µs of wall and of CPU time per request, the best
of seven rounds; they are printed beside the cost of an asyncio task and of a ``FutureResult`` in the same run.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from attrs import evolve, frozen
from returns.future import FutureResult
from returns.result import Result, Success

from perdure import Decision, Do, Engine, Task, TaskContext, effect, program
from perdure.stores.memory import MemoryBackend

ROUNDS = 7
REQUESTS = 5_000


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


async def measure(name: str, call: Callable[[int], Awaitable[object]]) -> None:
    """Print the best round."""
    wall = cpu = float("inf")
    for _ in range(ROUNDS):
        began, used = time.perf_counter(), time.process_time()
        for number in range(REQUESTS):
            await call(number)
        wall = min(wall, (time.perf_counter() - began) / REQUESTS)
        cpu = min(cpu, (time.process_time() - used) / REQUESTS)
    print(f"{name:52}{wall * 1e6:8.2f} µs wall{cpu * 1e6:8.2f} µs CPU")


async def _nothing() -> Result[int, str]:
    return Success(1)


async def main() -> None:
    """Measure."""
    loop = asyncio.get_running_loop()
    await measure("an asyncio task, created and awaited", lambda _: loop.create_task(_nothing()))
    await measure("a FutureResult, made and awaited", lambda _: FutureResult(_nothing()))
    app = Engine(Services()).jobs(program_job, decide_job, effect_job)
    async with app.open(MemoryBackend().open()) as jobs:
        counted, decided, effects = jobs.of(program_job), jobs.of(decide_job), jobs.of(effect_job)
        await measure("status", lambda _: counted.status("one"))
        await measure("send, program without effects (one commit)", lambda _: counted.send("one", Added(1)))
        await measure("send, pure decide (one commit)", lambda _: decided.send("one", Added(1)))
        await measure("send, program with one service call (two commits)", lambda _: effects.send("one", Added(1)))
        await measure("send, 10,000 instances", lambda n: counted.send(f"id-{n}", Added(1)))
        await measure("send, with an idempotency key", lambda n: counted.send(f"id-{n}", Added(1), idempotency_key="k"))


if __name__ == "__main__":
    asyncio.run(main())

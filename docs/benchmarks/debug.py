"""What the debug mode costs: one whole request on the memory store, with it and without it.

Run it with ``python docs/benchmarks/debug.py``. Figures are µs of CPU time for one request, the least of forty rounds
of 500. The mode is switched between rounds, so that both see the same machine.
"""

from __future__ import annotations

import asyncio
import time
from itertools import count
from typing import Any

from attrs import evolve, frozen
from returns.future import FutureResult

from perdure import App, Do, Task, TaskContext, effect, program

ROUNDS = 40
REQUESTS = 500


@frozen
class Counter:
    """A small state."""

    total: int = 0


@effect
def look(_: object) -> FutureResult[None, str]:
    """Call a service that answers at once."""
    return FutureResult.from_value(None)


@program
def adds(ctx: TaskContext[Counter], amount: int) -> Do[None]:
    """Read the state and replace it."""
    counter = yield from ctx.state
    yield from ctx.set_state(evolve(counter, total=counter.total + amount))


@program
def looks_and_adds(ctx: TaskContext[Counter], amount: int) -> Do[None, str]:
    """Call a service, too: its claim is committed first."""
    yield from look()
    counter = yield from ctx.state
    yield from ctx.set_state(evolve(counter, total=counter.total + amount))


JOBS: dict[str, Any] = {
    "an event that reads and sets its state": Task("adds", state=Counter, event=int, initial=Counter(), on_event=adds),
    "an event that calls a service as well": Task(
        "looks", state=Counter, event=int, initial=Counter(), on_event=looks_and_adds
    ),
}


async def round_of(job: Any, *, debug: bool) -> float:
    """Give the µs of one request."""
    ids = count()
    async with App(object()).with_jobs(job).open("memory://", debug=debug) as client:
        handle = client.handle(job)
        for _ in range(50):
            await handle.send(f"{next(ids)}", 1)
        began = time.process_time()
        for _ in range(REQUESTS):
            await handle.send(f"{next(ids)}", 1)
        return (time.process_time() - began) * 1e6 / REQUESTS


def main() -> None:
    """Measure, and print a table."""
    for name, job in JOBS.items():
        least = {False: float("inf"), True: float("inf")}
        for _ in range(ROUNDS):
            for debug in (False, True):
                least[debug] = min(least[debug], asyncio.run(round_of(job, debug=debug)))
        print(f"{name:42} off {least[False]:6.1f} µs   on {least[True]:6.1f} µs   +{least[True] - least[False]:.1f} µs")


if __name__ == "__main__":
    main()

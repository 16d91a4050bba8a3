"""A process with a workflow whose effects beat, in the event loop and in a thread; the test kills it at any moment.

``python heartbeat_worker.py STORE ID``: each effect prints where it begins and each number that it has stored.
"""

import asyncio
import os
import sys
import time

from returns.result import Result, Success

from perdure import App, Do, Heartbeat, Workflow, WorkflowContext, effect, program

LAST = 60
at = Heartbeat("at", int, every="10 ms")


def write(effect_: str, form: str, number: int) -> None:
    """In one call, so that no line is half."""
    os.write(1, f"{effect_} {form} {number}\n".encode())


@effect
async def count(_: object) -> Result[int, str]:
    previous = at.previous() or 0
    write("count", "begins", previous)
    for number in range(previous + 1, LAST + 1):
        await asyncio.sleep(0.003)
        write("count", "stores", number)
        at.beat(number)
    return Success(LAST)


@effect(on="thread")
def count_in_a_thread(_: object) -> Result[int, str]:
    previous = at.previous() or 0
    write("thread", "begins", previous)
    for number in range(previous + 1, LAST + 1):
        time.sleep(0.003)
        write("thread", "stores", number)
        at.beat(number)
    return Success(LAST)


@program
def run(ctx: WorkflowContext[int]) -> Do[str, str, object]:
    yield from ctx.state
    yield from count()
    yield from count_in_a_thread()
    return "done"


counter = Workflow("counter", state=int, run=run, heartbeats=[at], max_deaths=1_000)


async def main(store: str, id_: str) -> None:
    async with App(None).with_jobs(counter).open(store) as client:
        await client.handle(counter).start_and_wait(id_, 0, timeout="5 minutes")
        write("all", "end", 0)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))

"""A process with two jobs: one kills the process in the middle of its run, the other is under way beside it.

``python killer.py FILE JOURNAL NUMBER``: the first process begins both runs, the fourth prints their outcome.
"""

import asyncio
import json
import os
import signal
import sys

import attrs
from returns.future import FutureResult
from returns.result import Failure, Success

from perdure import App, Do, Task, TaskContext, attempt, program
from perdure.programs import effect

BEGIN, KILL, WAIT, LATER = "begin", "kill", "wait", "later"


@attrs.frozen
class Services:
    """The external system of the jobs: an append-only file that outlives the process."""

    journal: int
    number: int
    waiting: asyncio.Event

    def act(self, word: str, delivery: int) -> FutureResult[None, None]:
        return FutureResult(self._act(word, delivery))

    async def _act(self, word: str, delivery: int):
        os.write(self.journal, f"{self.number} {word} {delivery}\n".encode())
        if word == KILL and self.number < 3:
            await self.waiting.wait()  # so that the neighbour is under way; the third time nothing is beside it
        if word == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        if word == WAIT and self.number < 4:
            self.waiting.set()
            await asyncio.Event().wait()
        return Success(None)


@effect
def act(services: Services, word: str, delivery: int) -> FutureResult[None, None]:
    return services.act(word, delivery)


@program
def on_event(ctx: TaskContext[int], word: str) -> Do[None, None, Services]:
    if word != BEGIN:
        yield from act(word, ctx.delivery)
    yield from ctx.update_state(lambda count: count + 1)


job = Task("job", state=int, event=str, initial=0, on_event=on_event)


async def main(file: str, journal: str, number: str) -> None:
    services = Services(os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT), int(number), asyncio.Event())
    async with App(services).with_jobs(job).open(f"sqlite:///{file}") as jobs:
        calls = jobs.handle(job)
        if number == "1":
            await calls.send("killer", BEGIN)
            bystander = asyncio.ensure_future(calls.send("bystander", WAIT))
            await services.waiting.wait()
            await calls.send("killer", KILL)
            bystander.cancel()
        later = await attempt(calls.send("killer", LATER, idempotency_key="k"))
        assert isinstance(later, Failure), later
        await calls.send("bystander", LATER)
        status = await calls.status("killer")
        history = await jobs.history(job, "killer")
        report = {
            "later": type(later.failure()).__name__,
            "killer": [status.status, status.parked],
            "bystander": await calls.get_state("bystander"),
            "history": [[entry.event.type, getattr(entry.event, "recoveries", None)] for entry in reversed(history)],
        }
        print(json.dumps(report))  # noqa: T201 - its output


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

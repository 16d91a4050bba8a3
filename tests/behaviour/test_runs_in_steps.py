"""Runs whose claims are durable together begin in portions, so that the event loop is never held for all of them."""

import asyncio

from attrs import frozen
from returns.result import Result, Success

from perdure import App, Do, Task, TaskContext, effect, program
from perdure.runtime.record import DEFAULT_SIZES

RUNS_A_STEP = DEFAULT_SIZES.runs_in_a_row


@frozen
class Count:
    n: int = 0


@effect
def note(services: list[str], word: str) -> Result[None, str]:
    services.append(word)
    return Success(None)


@program
def on_event(ctx: TaskContext[Count], word: str) -> Do[None, str, list[str]]:
    yield from note(word)
    yield from ctx.set_state(Count(1))


noting = Task("noting", state=Count, event=str, initial=Count(), on_event=on_event)


def test_services_of_many_events_leave_the_event_loop_its_turns(tmp_path):
    heard: list[str] = []

    async def main() -> int:
        most = before = 0
        async with App(heard).with_jobs(noting).open(f"sqlite:///{tmp_path}/jobs.db") as jobs:
            handle, count = jobs.handle(noting), 3 * RUNS_A_STEP
            for _ in range(2):  # the second time every instance is in memory, and all claims are one commit
                calls = asyncio.gather(*(handle.send(f"{number}", "x") for number in range(count)))
                while not calls.done():
                    await asyncio.sleep(0)
                    most, before = max(most, len(heard) - before), len(heard)
                await calls
        return most

    assert asyncio.run(main()) <= RUNS_A_STEP
    assert len(heard) == 6 * RUNS_A_STEP

"""A caller that sends requests repeatedly leaves room for all others."""

from __future__ import annotations

import asyncio

from returns.result import Result, Success

from perdure import App, Decision, Task
from perdure.stores.memory import memory_store


def decide(state: int, event: int) -> Result[Decision[int], str]:
    return Success(Decision(state + event))


adder = Task("adder", state=int, event=int, initial=0, decide=decide)


def test_the_event_loop_gets_its_turn_between_calls_that_wait_for_nothing() -> None:
    async def main() -> int:
        turns = 0

        async def another_caller() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        async with App(None).with_jobs(adder).open(memory_store()) as jobs:
            other = asyncio.ensure_future(another_caller())
            for _ in range(1_000):
                await jobs.handle(adder).send("one", 1)
            other.cancel()
            assert await jobs.handle(adder).get_state("one") == 1_000
        return turns

    assert asyncio.run(main()) >= 10

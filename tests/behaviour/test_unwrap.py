"""`unwrap`: from a call to its answer, or to its error; and a call that is not awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from returns.result import Failure, Result, Success

from perdure import App, Decision, Task, unwrap
from perdure.client.client import Client
from perdure.stores.memory import memory_store
from perdure.values.errors import InvalidId, Rejected


def decide(state: int, event: int) -> Result[Decision[int], str]:
    return Success(Decision(state + event)) if event > 0 else Failure("not positive")


adder = Task("adder", state=int, event=int, initial=0, decide=decide)


def test_it_returns_the_answer_or_raises_the_error() -> None:
    async def main() -> None:
        async with App(None).with_jobs(adder).open(memory_store()) as jobs:
            calls = jobs.handle(adder)
            assert (await unwrap(calls.send("one", 3))).created
            assert await unwrap(calls.get_state("one")) == 3
            with pytest.raises(Rejected) as rejected:
                await unwrap(calls.send("one", -1))
            assert rejected.value.error == "not positive"
            with pytest.raises(InvalidId):
                await unwrap(calls.send("", 3))

    asyncio.run(main())


@pytest.mark.parametrize(
    ("name", "forgets"),
    [
        ("send of task:adder", lambda jobs: jobs.handle(adder).send("one", 3)),
        ("trigger of task:adder", lambda jobs: jobs.handle(adder).trigger("one")),
        ("get_state of task:adder", lambda jobs: jobs.handle(adder).get_state("one")),
        ("call of task:adder", lambda jobs: jobs.handle_by_name("task", "adder").call("send", "one", "3")),
    ],
)
def test_a_call_that_is_never_awaited_is_named(name: str, forgets: Callable[[Client], object]) -> None:
    async def main() -> None:
        async with App(None).with_jobs(adder).open(memory_store()) as jobs:
            with pytest.warns(RuntimeWarning) as warned:
                forgets(jobs)
            assert {str(warning.message).partition("\n")[0] for warning in warned} == {
                f"coroutine '{name}' was never awaited"
            }

    asyncio.run(main())

"""A call that is awaited returns its answer or raises its error; Python and the call itself report one that is not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from returns.result import Failure, Result, Success

from perdure import App, Decision, Task, attempt
from perdure.client.client import Client
from perdure.stores.memory import memory_store
from perdure.values.errors import AlreadyAwaited, EngineClosed, InvalidId, Rejected


def decide(state: int, event: int) -> Result[Decision[int], str]:
    return Success(Decision(state + event)) if event > 0 else Failure("not positive")


adder = Task("adder", state=int, event=int, initial=0, decide=decide)


def test_await_returns_the_answer_or_raises_the_error() -> None:
    async def main() -> None:
        async with App(None).with_jobs(adder).open(memory_store()) as jobs:
            calls = jobs.handle(adder)
            assert (await calls.send("one", 3)).created
            assert await calls.get_state("one") == 3
            with pytest.raises(Rejected) as rejected:
                await calls.send("one", -1)
            assert rejected.value.error == "not positive"
            with pytest.raises(InvalidId):
                await calls.send("", 3)
        with pytest.raises(EngineClosed):
            await calls.send("one", 3)

    asyncio.run(main())


def test_attempt_returns_the_answer_or_the_error() -> None:
    async def main() -> None:
        async with App(None).with_jobs(adder).open(memory_store()) as jobs:
            calls = jobs.handle(adder)
            assert isinstance(await attempt(calls.send("one", 3)), Success)
            match await attempt(calls.send("one", -1)):
                case Failure(Rejected(error)):
                    assert error == "not positive"
                case other:
                    pytest.fail(f"{other!r}")
        assert isinstance((await attempt(calls.send("one", 3))).failure(), EngineClosed)

    asyncio.run(main())


def test_a_call_is_a_coroutine_for_a_task() -> None:
    async def main() -> None:
        async with App(None).with_jobs(adder).open(memory_store()) as jobs:
            calls = jobs.handle(adder)
            async with asyncio.TaskGroup() as group:
                made = [group.create_task(calls.send("one", number)) for number in (1, 2)]
            assert all(task.result().status == "idle" for task in made)
            assert await asyncio.wait_for(calls.get_state("one"), 5) == 3
            with pytest.raises(ExceptionGroup) as failed:
                async with asyncio.TaskGroup() as group:
                    group.create_task(calls.send("one", -1))
            assert failed.group_contains(Rejected)
            call = calls.get_state("one")
            assert await asyncio.create_task(call) == 3
            with pytest.raises(AlreadyAwaited):
                await asyncio.create_task(call)
            never_begun = asyncio.create_task(calls.send("one", 100))
            never_begun.cancel()
            await asyncio.wait([never_begun])
            calls.send("one", 100).close()
            assert await calls.get_state("one") == 3

    asyncio.run(main())


@pytest.mark.parametrize(
    "uses",
    [
        lambda call: call.created,
        lambda call: call.status,
        bool,
    ],
)
def test_a_call_that_is_used_as_its_answer_says_that_it_was_not_awaited(uses: Callable[[Any], object]) -> None:
    async def main() -> None:
        async with App(None).with_jobs(adder).open(memory_store()) as jobs:
            call = jobs.handle(adder).send("one", 3)
            with pytest.raises((AttributeError, TypeError), match="did you forget `await`"):
                uses(call)
            call.close()

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

"""A call is one request: however it is composed and awaited, it is sent once, and a second await is refused."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure import App, Decision, Task, attempt
from perdure.programs.container import result_inside
from perdure.stores.memory import memory_store
from perdure.values.errors import AlreadyAwaited, PerdureError, Rejected


def decide(state: int, event: int) -> Result[Decision[int], str]:
    return Failure("zero") if event == 0 else Success(Decision(state + event))


adder = Task("adder", state=int, event=int, initial=0, decide=decide)

METHODS = {
    "map": lambda call: call.map(lambda sent: sent),
    "bind": lambda call: call.bind(FutureResult.from_value),
    "bind_result": lambda call: call.bind_result(Success),
    "alt": lambda call: call.alt(lambda error: error),
    "lash": lambda call: call.lash(FutureResult.from_failure),
    "compose_result": lambda call: call.compose_result(FutureResult.from_result),
}
"""Methods of `FutureResult` that leave the result as it is."""


async def by_await(call):
    return await call


async def by_task(call):
    return await asyncio.create_task(call)


async def by_gather(call):
    (answer,) = await asyncio.gather(call)
    return answer


async def by_attempt(call):
    ended = await attempt(call)
    if isinstance(ended, Failure):
        raise ended.failure()
    return ended.unwrap()


WAYS = {"await": by_await, "a task": by_task, "gather": by_gather, "attempt": by_attempt}
"""Each returns the answer of a call, or raises its error."""


@given(st.integers(-3, 3), st.sampled_from(sorted(WAYS)), st.sampled_from(sorted(WAYS)))
def test_a_call_returns_its_answer_or_raises_its_error_whichever_way_it_is_awaited(amount, way, again):
    async def main():
        async with App(None).with_jobs(adder).open(memory_store()) as jobs:
            orders = jobs.handle(adder)
            call = orders.send("a", amount)
            if amount:
                assert (await WAYS[way](call)).created
            else:
                with pytest.raises(Rejected) as rejected:
                    await WAYS[way](call)
                assert rejected.value.error == "zero"
            with pytest.raises(AlreadyAwaited):
                await WAYS[again](call)
            assert (await orders.get_state("a") or 0) == amount

    asyncio.run(main())


@given(st.integers(-3, 3), st.lists(st.sampled_from(sorted(METHODS)), max_size=4), st.sampled_from(sorted(WAYS)))
def test_a_composed_call_is_sent_once_and_its_result_is_that_of_the_call(amount, methods, way):
    async def main():
        async with App(None).with_jobs(adder).open(memory_store()) as jobs:
            orders = jobs.handle(adder)
            call = orders.send("a", amount)
            composed = call.future()
            for name in methods:
                composed = METHODS[name](composed)
            ended = result_inside(await composed)
            assert isinstance(ended, Success) == (amount != 0)
            if isinstance(ended, Failure):
                assert isinstance(ended.failure(), Rejected)
                assert ended.failure().error == "zero"
            with pytest.raises(AlreadyAwaited):
                await WAYS[way](call)
            assert (await orders.get_state("a") or 0) == amount

    asyncio.run(main())


CALLS = {
    "send": lambda jobs: jobs.handle(adder).send("a", 1),
    "trigger": lambda jobs: jobs.handle(adder).trigger("a"),
    "terminate": lambda jobs: jobs.handle(adder).terminate("a"),
    "pause": lambda jobs: jobs.handle(adder).pause("a"),
    "status": lambda jobs: jobs.handle(adder).status("a"),
    "get_state": lambda jobs: jobs.handle(adder).get_state("a"),
    "list": lambda jobs: jobs.list(),
    "history": lambda jobs: jobs.history(adder, "a"),
    "dead_letters": lambda jobs: jobs.dead_letters(),
    "redrive": lambda jobs: jobs.redrive(1),
    "health": lambda jobs: jobs.health(),
    "backup": lambda jobs: jobs.backup("nowhere.db"),
    "explain": lambda jobs: jobs.explain(adder, "a", lambda job: job.send(1)),
    "call by name": lambda jobs: jobs.handle_by_name("task", "adder").call("send", "a", "1"),
    "state by name": lambda jobs: jobs.handle_by_name("task", "adder").get_state("a"),
    "a wrong id": lambda jobs: jobs.history(adder, ""),
}


@pytest.mark.parametrize("name", CALLS)
def test_every_call_refuses_a_second_await(name):
    async def main():
        async with App(None).with_jobs(adder).open(memory_store()) as jobs:
            call = CALLS[name](jobs)
            await attempt(call)
            with pytest.raises(PerdureError, match="make the call again"):
                await call

    asyncio.run(main())


def test_a_call_that_was_cancelled_is_not_sent_again():
    async def main():
        async with App(None).with_jobs(adder).open(memory_store()) as jobs:
            call = jobs.handle(adder).send("a", 1)
            task = asyncio.ensure_future(by_await(call))
            task.cancel()
            await asyncio.wait([task])
            again = jobs.handle(adder).send("a", 1)
            first = asyncio.ensure_future(by_await(again))
            await asyncio.sleep(0)
            first.cancel()
            await asyncio.wait([first])
            with pytest.raises(AlreadyAwaited):
                await again
            await call  # cancelled before its first step: it was not awaited yet

    asyncio.run(main())

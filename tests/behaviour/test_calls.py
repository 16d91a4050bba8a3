"""A call that is awaited returns its answer or raises its error; Python and the call itself report one that is not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from returns.result import Failure, Result, Success

from perdure import App, Decision, Do, Signal, Task, Workflow, WorkflowContext, attempt, program
from perdure.client.client import Client
from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.stores.contract import overlay
from perdure.stores.memory import memory_store
from perdure.stores.sqlite import open_sqlite
from perdure.testing import World
from perdure.values.answer import Done, WasCancelled
from perdure.values.errors import AlreadyAwaited, EngineClosed, InvalidArgument, InvalidId, Rejected, SignalRefused
from perdure.values.transition import Transition


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


# ---------------------------------------------------------------- many calls together
go = Signal("go", int)


@program
def waiting(ctx: WorkflowContext[int]) -> Do[int]:
    return (yield from ctx.state) + (yield from go.receive())


flow = Workflow("flow", state=int, run=waiting, signals=(go,), keep=None)


@pytest.mark.parametrize("store", ["memory://", "jobs.db"])
def test_starts_signals_and_cancellations_are_made_together_and_each_ends_for_itself(
    store: str, tmp_path: Path
) -> None:
    place: Any = store if "://" in store else tmp_path / store
    with World(App(None).with_jobs(flow, adder), store=place) as world:
        calls, sums = world.handle(flow), world.handle(adder)

        def starts() -> list[Any]:
            return [calls.start(f"{n}", n, idempotency_key="start") for n in range(3)]

        first = world.run(world.jobs.together(starts()))
        assert [each.unwrap().created for each in first] == [True] * 3
        again = world.run(world.jobs.together(starts()))
        assert [each.unwrap().created for each in again] == [True] * 3  # the first results, by their keys
        assert all(world.run(calls.status(f"{n}")).run_count == 1 for n in range(3))
        mixed = [
            calls.signal("0", go, 10, idempotency_key="signal"),
            calls.signal("absent", go, 10),
            calls.cancel("1", "enough"),
            sums.send("a", -1),
            sums.send("a", 1),
        ]
        ended = world.run(world.jobs.together(mixed))
        assert [isinstance(each, Success) for each in ended] == [True, False, True, False, True]
        assert isinstance(ended[1].failure(), SignalRefused)
        assert isinstance(ended[3].failure(), Rejected)
        world.run(world.jobs.together([calls.signal("0", go, 10, idempotency_key="signal")]))
        world.advance("1 second")
        assert world.run(calls.outcome("0")) == Done(value=10)
        assert world.run(calls.outcome("1")) == WasCancelled("enough")
        assert world.run(calls.outcome("2")) is None
        assert world.run(world.jobs.together([])) == ()


def test_calls_together_share_groups_of_commits(tmp_path: Path) -> None:
    groups = list[int]()

    async def main() -> None:
        runtime = asyncio_runtime()
        store = await open_sqlite(tmp_path / "jobs.db", runtime=runtime)

        def commit(transitions: Sequence[Transition], answered: Callable[[Sequence[Any]], None]) -> None:
            groups.append(len(transitions))
            store.commit(transitions, answered)

        async with App(None).with_jobs(adder).open(overlay(store, commit=commit), runtime=runtime) as jobs:
            calls = jobs.handle(adder)
            ended = await jobs.together([calls.send(f"{n}", 1) for n in range(200)])
            assert all(isinstance(each, Success) for each in ended)

    asyncio.run(main())
    assert sum(groups) == 200
    # How many depends on the speed of the disk: each is written while the next one collects.
    assert len(groups) <= 100


def test_a_thousand_calls_are_made_together_and_no_more() -> None:
    with World(App(None).with_jobs(adder)) as world:
        calls = world.handle(adder)
        ended = world.run(world.jobs.together(calls.send(f"{n}", 1) for n in range(1_000)))
        assert sum(isinstance(each, Success) for each in ended) == 1_000
        twice = calls.get_state("1")
        for wrong in ((calls.send(f"{n}", 1) for n in range(1_001)), repeat(twice), [twice, twice], [5], 5):
            assert isinstance(world.error_of(world.jobs.together(wrong)), InvalidArgument)  # type: ignore[arg-type]
        assert world.run(calls.get_state("1")) == 1  # none of a refused list was made

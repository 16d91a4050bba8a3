"""Runs whose claims are durable together begin together; each has a task, a context and an end of its own."""

from __future__ import annotations

import asyncio
import sys
from contextvars import ContextVar
from typing import Any

import attrs
import pytest
from machine import OnAlarm, Say, app, machine
from returns.future import FutureResult
from returns.result import Result, Success
from world import World, on_each_store

from perdure import App, Do, Limits, Task, TaskContext, effect, program, unwrap
from perdure.programs import sleep
from perdure.stores.memory import memory_store
from perdure.testing import Raise

RUNS = 20
bound: ContextVar[str] = ContextVar("bound", default="nothing")


@attrs.define
class Office:
    """Services that use values of the running task.

    Attributes:
        seen: the finding of each call.
        act: the action of a call.
    """

    seen: list[Any] = attrs.Factory(list[Any])
    act: Any = None


@effect
def visit(office: Office, id_: str) -> Result[None, Any]:
    """Call a service that answers at once."""
    office.act(office, id_)
    return Success(None)


@effect
def wait(office: Office, id_: str) -> FutureResult[None, Any]:
    """Call a service that waits."""
    return FutureResult(office.act(office, id_))


@program
def schedule(ctx: TaskContext[int], event: str) -> Do[None]:
    yield from ctx.set_state(1)
    yield from ctx.schedule(after=event)


@program
def visit_and_sleep(ctx: TaskContext[int]) -> Do[None, Any, Office]:
    yield from visit(ctx.id)
    yield from sleep("1 second")
    yield from visit(ctx.id)


@program
def wait_once(ctx: TaskContext[int]) -> Do[None, Any, Office]:
    yield from wait(ctx.id)


def job(execute: Any) -> Any:
    return Task("visits", state=int, event=str, initial=0, on_event=schedule, execute=execute)


@on_each_store
async def test_context_variables_of_a_run_reach_no_other_run(world: World) -> None:
    def bind(office: Office, id_: str) -> None:
        office.seen.append((id_, bound.get()))
        bound.set(id_)

    office, visits = Office(act=bind), job(visit_and_sleep)
    jobs = await world.open(App(office, limits=Limits(concurrency=RUNS)).with_jobs(visits))
    for number in range(RUNS):
        await world.unwrap(jobs.handle(visits).send(str(number), "10 seconds"))
    await world.advance(s=20)
    assert len(office.seen) == 2 * RUNS
    assert all(found in ("nothing", id_) for id_, found in office.seen)


@on_each_store
async def test_a_run_that_terminates_itself_while_its_service_answers_at_once_is_interrupted(world: World) -> None:
    def end(office: Office, id_: str) -> None:
        office.seen.append(id_)
        world.start(world.jobs.handle(visits).terminate(id_, interrupt=True))

    office, visits = Office(act=end), job(visit_and_sleep)
    jobs = await world.open(App(office).with_jobs(visits))
    await world.unwrap(jobs.handle(visits).send("a", "10 seconds"))
    await world.advance(s=20)
    assert office.seen == ["a"]
    assert await world.row(visits.address("a")) is None


@pytest.mark.parametrize("call", [1, 7, RUNS, 2 * RUNS])
@pytest.mark.parametrize("when", ["before", "after"])
@on_each_store
async def test_a_store_that_raises_in_one_commit_ends_no_other_run(world: World, call: int, when: Any) -> None:
    """The commit is a claim or an end; its run is recovered."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    for number in range(RUNS):
        await world.unwrap(jobs.send(str(number), OnAlarm(1_000, (Say(str(number)),))))
    world.world.inject(Raise("store.commit", RuntimeError("a defect of the store"), when=when, call=call))
    await world.advance(s=1)
    assert len(set(world.outside.heard)) >= RUNS - 1
    await world.advance(s=10)
    assert len(set(world.outside.heard)) == RUNS
    for number in range(RUNS):
        assert (await world.unwrap(jobs.status(str(number)))).status == "idle"


def test_a_time_limit_that_a_service_sets_before_it_first_waits_ends_its_own_wait() -> None:
    """Time limits and task groups of asyncio belong to the task that enters them."""

    async def limited(office: Office, id_: str) -> Result[None, Any]:
        task = asyncio.current_task()
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(30)
        except TimeoutError:
            office.seen.append((id_, task is asyncio.current_task()))
        return Success(None)

    async def main() -> list[Any]:
        office, visits = Office(act=limited), job(wait_once)
        async with App(office).with_jobs(visits).open(memory_store()) as jobs:
            for number in range(3):
                await unwrap(jobs.handle(visits).send(str(number), "1 ms"))
            async with asyncio.timeout(5):
                while len(office.seen) < 3:  # noqa: ASYNC110 - it waits for notes of the service
                    await asyncio.sleep(0.01)
        return office.seen

    assert sorted(asyncio.run(main())) == [("0", True), ("1", True), ("2", True)]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="this Python cannot start a task at once")
def test_services_that_answer_at_once_need_no_step_of_the_event_loop() -> None:
    """Each run has a task of its own, which has ended before the next one begins."""

    def note(office: Office, _: str) -> None:
        office.seen.append((asyncio.current_task(), len(asyncio.all_tasks())))

    async def main() -> list[Any]:
        office, visits = Office(act=note), job(visit_once)
        async with App(office, limits=Limits(concurrency=RUNS)).with_jobs(visits).open(memory_store()) as jobs:
            for number in range(RUNS):
                await unwrap(jobs.handle(visits).send(str(number), "100 ms"))
            async with asyncio.timeout(5):
                while len(office.seen) < RUNS:  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.01)
        return office.seen

    seen = asyncio.run(main())
    assert len({id(task) for task, _ in seen}) == RUNS
    alive = [number for _, number in seen]
    assert max(alive) - min(alive) <= 2


@program
def visit_once(ctx: TaskContext[int]) -> Do[None, Any, Office]:
    yield from visit(ctx.id)

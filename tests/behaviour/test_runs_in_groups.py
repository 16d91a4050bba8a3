"""Runs whose claims are durable together begin together; each has its own context and end, and waits in a task."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import attrs
import pytest
from machine import OnAlarm, Say, app, machine
from returns.future import FutureResult
from returns.result import Result, Success
from world import World, on_each_store

from perdure import App, Do, Limits, Task, TaskContext, WorkerPool, Workflow, WorkflowContext, effect, program
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
        await world.run(jobs.handle(visits).send(str(number), "10 seconds"))
    await world.advance(s=20)
    assert len(office.seen) == 2 * RUNS
    assert all(found in ("nothing", id_) for id_, found in office.seen)


@program
def wait_in_workflow(ctx: WorkflowContext[int]) -> Do[None, Any, Office]:
    yield from wait(ctx.id)


@program
def wait_in_event(ctx: TaskContext[int], event: int) -> Do[None, Any, Office]:
    yield from ctx.set_state(event)
    yield from wait(ctx.id)


def start_workflow(jobs: Any, id_: str) -> Any:
    return jobs.handle(flows).start_and_wait(id_, 0)


def send_event(jobs: Any, id_: str) -> Any:
    return jobs.handle(events).send(id_, 1)


def put_item(jobs: Any, id_: str) -> Any:
    return jobs.handle(items).put_and_wait(id_, 1)


flows = Workflow("flows", state=int, run=wait_in_workflow)
events = Task("events", state=int, event=int, initial=0, on_event=wait_in_event)
items = WorkerPool("items", item=int, work=wait_once)


@pytest.mark.parametrize("request_of", [start_workflow, send_event, put_item])
def test_context_variables_of_a_run_that_ends_reach_no_run_that_begins(request_of: Any, tmp_path: Path) -> None:
    """The second request arrives some steps of the event loop after the first run's service has answered."""

    async def main() -> list[Any]:
        begun, answers = asyncio.Event(), dict[str, "asyncio.Future[None]"]()

        async def answer(office: Office, id_: str) -> Result[None, Any]:
            office.seen.append((id_, bound.get()))
            bound.set(id_)
            if not answers[id_].done():
                begun.set()
            await answers[id_]
            return Success(None)

        office = Office(act=answer)
        async with App(office).with_jobs(flows, events, items).open(f"sqlite:///{tmp_path}/jobs.db") as jobs:
            for steps in range(12):
                first, second = f"{steps} first", f"{steps} second"
                answers = {first: asyncio.Future(), second: asyncio.Future()}
                answers[second].set_result(None)
                asked = asyncio.ensure_future(request_of(jobs, first))
                await begun.wait()
                begun.clear()
                answers[first].set_result(None)
                for _ in range(steps):
                    await asyncio.sleep(0)
                await request_of(jobs, second)
                await asked
        return office.seen

    seen = asyncio.run(main())
    assert len(seen) == 24
    assert {found for _, found in seen} == {"nothing"}


@on_each_store
async def test_a_run_that_terminates_itself_while_its_service_answers_at_once_is_interrupted(world: World) -> None:
    def end(office: Office, id_: str) -> None:
        office.seen.append(id_)
        world.start(world.jobs.handle(visits).terminate(id_, interrupt=True))

    office, visits = Office(act=end), job(visit_and_sleep)
    jobs = await world.open(App(office).with_jobs(visits))
    await world.run(jobs.handle(visits).send("a", "10 seconds"))
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
        await world.run(jobs.send(str(number), OnAlarm(1_000, (Say(str(number)),))))
    world.world.inject(Raise("store.commit", RuntimeError("a defect of the store"), when=when, call=call))
    await world.advance(s=1)
    assert len(set(world.outside.heard)) >= RUNS - 1
    await world.advance(s=10)
    assert len(set(world.outside.heard)) == RUNS
    for number in range(RUNS):
        assert (await world.run(jobs.status(str(number)))).status == "idle"


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
                await jobs.handle(visits).send(str(number), "1 ms")
            async with asyncio.timeout(120):
                while len(office.seen) < 3:  # noqa: ASYNC110 - it waits for notes of the service
                    await asyncio.sleep(0.01)
        return office.seen

    assert sorted(asyncio.run(main())) == [("0", True), ("1", True), ("2", True)]


def test_services_that_answer_at_once_need_no_task_and_no_step_of_the_event_loop() -> None:
    def note(office: Office, id_: str) -> None:
        office.seen.append((bound.get(), len(asyncio.all_tasks())))
        bound.set(id_)

    async def main() -> list[Any]:
        office, visits = Office(act=note), job(visit_once)
        async with App(office, limits=Limits(concurrency=RUNS)).with_jobs(visits).open(memory_store()) as jobs:
            for number in range(RUNS):
                await jobs.handle(visits).send(str(number), "100 ms")
            async with asyncio.timeout(120):
                while len(office.seen) < RUNS:  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.01)
        return office.seen

    seen = asyncio.run(main())
    assert {found for found, _ in seen} == {"nothing"}
    alive = [number for _, number in seen]
    assert max(alive) - min(alive) <= 2


@pytest.mark.parametrize("before", [0, 3])
def test_a_run_keeps_its_context_variables_when_it_continues_in_a_task(before: int) -> None:
    """A service that answers at once binds a variable; one that is awaited reads it, in a task of the run."""

    @program
    def visit_and_wait(ctx: TaskContext[int]) -> Do[None, Any, Office]:
        for number in range(before):
            yield from visit(f"{ctx.id} {number}")
        yield from wait(ctx.id)

    async def awaited(office: Office, id_: str) -> Result[None, Any]:
        office.seen.append((id_, bound.get(), asyncio.current_task()))
        await asyncio.sleep(0)
        return Success(None)

    def act(office: Office, id_: str) -> Any:
        if " " not in id_:
            return awaited(office, id_)
        bound.set(id_)
        return None

    async def main() -> list[Any]:
        office, visits = Office(act=act), job(visit_and_wait)
        async with App(office).with_jobs(visits).open(memory_store()) as jobs:
            for number in range(3):
                await jobs.handle(visits).send(str(number), "1 ms")
            async with asyncio.timeout(120):
                while len(office.seen) < 3:  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.01)
        return office.seen

    seen = asyncio.run(main())
    for id_, found, _ in seen:
        assert found == (f"{id_} {before - 1}" if before else "nothing")
    assert len({id(task) for _, _, task in seen}) == 3


@program
def visit_once(ctx: TaskContext[int]) -> Do[None, Any, Office]:
    yield from visit(ctx.id)

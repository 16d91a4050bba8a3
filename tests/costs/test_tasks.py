"""The tasks that a request starts: each costs two steps of the event loop beside its own."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import attrs
from returns.result import Result, Success

from costs import Change, Order, change
from perdure import App, Do, Task, Workflow, WorkflowContext, program
from perdure.client.client import Client
from perdure.programs import effect
from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.runtime.record import Runtime, SpawnedTask


@effect
async def waited(services: object) -> Result[int, str]:
    """Answer in a later step of the event loop."""
    return Success(1)


@program
def two_steps(ctx: WorkflowContext[int]) -> Do[int, str]:
    """Perform two steps."""
    first = yield from waited()
    return first + (yield from waited())


orders = Task("orders", state=Order, event=Change, initial=Order(), on_event=change)
flows = Workflow("flows", state=int, run=two_steps)


def named(runtime: Runtime, names: list[str]) -> Runtime:
    """Return a runtime that notes the names of its tasks."""

    def noted(spawn: Callable[..., SpawnedTask[Any]]) -> Callable[..., SpawnedTask[Any]]:
        def spawned(coroutine: Coroutine[Any, Any, Any], *, name: str) -> SpawnedTask[Any]:
            names.append(name)
            return spawn(coroutine, name=name)

        return spawned

    return attrs.evolve(runtime, spawn=noted(runtime.spawn), spawn_eagerly=noted(runtime.spawn_eagerly))


def tasks_of(folder: Path, act: Callable[[Client, str], Awaitable[object]]) -> list[str]:
    """Return the names of the tasks that a request starts, after one of its kind."""
    names: list[str] = []
    runtime = named(asyncio_runtime(), names)

    async def counted() -> list[str]:
        async with App(object()).with_jobs(orders, flows).open(f"sqlite:///{folder}/jobs.db", runtime=runtime) as jobs:
            await act(jobs, "before")
            names.clear()
            await act(jobs, "counted")
            return [*names]

    return asyncio.run(counted())


def test_an_event_starts_no_task(tmp_path: Path) -> None:
    async def send(jobs: Client, _: str) -> None:
        await jobs.handle(orders).send("a", Change())

    assert tasks_of(tmp_path, send) == []


def test_a_run_of_a_workflow_starts_a_task_for_its_commit_and_one_for_its_program(tmp_path: Path) -> None:
    async def run(jobs: Client, id_: str) -> None:
        await jobs.handle(flows).start(id_, 1)
        await jobs.until(flows, id_)

    assert tasks_of(tmp_path, run) == ["perdure:runs", "run of workflow:flows:counted"]

"""A state that becomes too large after a paid call: the run is not repeated, and no call is paid twice."""

from __future__ import annotations

from typing import Any, Never

import pytest
from returns.result import Result, Success

from perdure import (
    Alarm,
    App,
    Backoff,
    Continuous,
    ContinuousContext,
    Decision,
    Do,
    ItemContext,
    Limits,
    Retry,
    Task,
    TaskContext,
    WorkerPool,
    Workflow,
    WorkflowContext,
    effect,
    every,
    program,
)
from perdure.testing import World
from perdure.values.answer import Done
from perdure.values.event import JobRetryExhausted

AGAIN: Retry[Never] = Retry(max_attempts=5, delay=Backoff.constant("1 second"))
LIMITS = Limits(state_bytes=100)


class Desk:
    """A service whose calls are paid, and which says how large the next state is."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.paid = 0


@effect
async def pay(desk: Desk) -> Result[int, Never]:
    desk.paid += 1
    return Success(desk.size)


@program
def grow_task(ctx: TaskContext[str]) -> Do[None, Never, Desk]:
    yield from ctx.set_state("x" * ((yield from pay()) - 2))


@program
def grow_continuous(ctx: ContinuousContext[str]) -> Do[None, Never, Desk]:
    yield from ctx.set_state("x" * ((yield from pay()) - 2))


@program
def grow_item(ctx: ItemContext[str]) -> Do[None, Never, Desk]:
    yield from ctx.set_state("x" * ((yield from pay()) - 2))


@program
def grow_workflow(ctx: WorkflowContext[str]) -> Do[int, Never, Desk]:
    size = yield from pay()
    yield from ctx.set_state("x" * (size - 2))
    return size


@program
def grow_next_workflow(ctx: WorkflowContext[str]) -> Do[int, Never, Desk]:
    size = yield from pay()
    if (yield from ctx.state):
        return size
    return (yield from ctx.start_over("x" * (size - 2)))


@program
def shrink_workflow(ctx: WorkflowContext[str]) -> Do[int, Never, Desk]:
    size = yield from pay()
    yield from ctx.set_state("small")
    return size


def decide(state: str, _: str) -> Result[Decision[str], Never]:
    return Success(Decision(state, Alarm.after("1 second")))


flow = Workflow("flow", state=str, run=grow_workflow, keep=None, retry_defects=AGAIN)
jobs: list[Any] = [
    Task("grows", state=str, event=str, initial="", decide=decide, execute=grow_task, retry=AGAIN),
    Continuous("grows", state=str, schedule=every("1 hour"), execute=grow_continuous, retry=AGAIN),
    WorkerPool("grows", item=str, work=grow_item, keep=None, retry=AGAIN),
    flow,
    Workflow("over", state=str, run=grow_next_workflow, keep=None, retry_defects=AGAIN),
]


def begin(world: World, job: Any) -> None:
    handle = world.handle(job)
    if isinstance(job, Task):
        world.run(handle.send("a", "now"))
    elif isinstance(job, WorkerPool):
        world.run(handle.put("a", ""))
    else:
        world.run(handle.start("a", ""))
    world.advance("30 minutes")


@pytest.mark.parametrize("job", jobs, ids=lambda job: f"{job.kind} {job.name}")
def test_a_state_that_is_too_large_after_a_paid_call_repeats_no_call(job: Any) -> None:
    desk = Desk(101)
    with World(App(desk, limits=LIMITS).with_jobs(job)) as world:
        begin(world, job)
        assert desk.paid == 1
        row = world.instance(job, "a")
        assert row is not None
        assert row.last_error is not None
        assert "expected at most 100 bytes when encoded, got 101; keep large data elsewhere" in row.last_error.message
        assert row.status == ("scheduled" if isinstance(job, Continuous) else "parked")
        reasons = [event.reason for event in world.history(job, "a") if isinstance(event, JobRetryExhausted)]
        if not isinstance(job, Workflow):
            assert reasons == ["state_not_stored"]


@pytest.mark.parametrize("job", jobs, ids=lambda job: f"{job.kind} {job.name}")
def test_a_state_at_the_limit_is_stored(job: Any) -> None:
    desk = Desk(100)
    with World(App(desk, limits=LIMITS).with_jobs(job)) as world:
        begin(world, job)
        row = world.instance(job, "a")
        assert row is not None
        assert (row.last_error, row.suspension) == (None, None)
        # An item that is done no longer has the state of its work.
        assert len(row.state) == (2 if isinstance(job, WorkerPool) else 100)
        assert desk.paid == (2 if job.name == "over" else 1)


def test_a_workflow_continues_with_code_that_sets_a_smaller_state_and_pays_nothing_again() -> None:
    desk = Desk(101)
    shrunk = Workflow("flow", state=str, run=shrink_workflow, keep=None, retry_defects=AGAIN)
    with World(App(desk, limits=LIMITS).with_jobs(flow)) as world:
        begin(world, flow)
        world.run(world.handle(flow).resume("a"))
        world.advance("1 hour")
        assert (world.run(world.handle(flow).status("a")).status, desk.paid) == ("parked", 1)
        world.restart(App(desk, limits=LIMITS).with_jobs(shrunk))
        world.run(world.handle(shrunk).resume("a"))
        world.advance("1 hour")
        assert world.run(world.handle(shrunk).outcome("a")) == Done(value=101)
        assert desk.paid == 1

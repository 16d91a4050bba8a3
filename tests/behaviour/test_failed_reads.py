"""A read of a store that fails once answers the store's error, or as it does otherwise."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from returns.result import Failure, Success

from perdure import (
    App,
    Client,
    Do,
    ItemContext,
    Task,
    TaskContext,
    WorkerPool,
    Workflow,
    WorkflowContext,
    attribute,
    program,
)
from perdure.programs import sleep
from perdure.testing import Fail, World
from perdure.values.errors import StoreUnavailable


@program
def handle(ctx: TaskContext[int], event: int) -> Do[None]:
    yield from ctx.set_state(event)


@program
def wait(ctx: WorkflowContext[int]) -> Do[int]:
    yield from sleep("1 minute")
    yield from sleep("1 day")
    return 1


@program
def work(ctx: ItemContext[int]) -> Do[int]:
    yield from sleep("1 hour")
    return 1


@attribute
def is_odd(state: int) -> bool:
    return state % 2 == 1


tasks = Task("tasks", state=int, event=int, initial=0, on_event=handle, attributes=(is_odd,))
flows = Workflow("flows", state=int, run=wait)
pool = WorkerPool("pool", item=int, work=work, workers=1)
app: App[None] = App(None).with_jobs(tasks, flows, pool)

READS: dict[str, Callable[[Client], Any]] = {
    "list": lambda jobs: jobs.list(),
    "list of a status": lambda jobs: jobs.list(status="idle"),
    "list of a prefix": lambda jobs: jobs.list(kind="task", name="tasks", id_prefix="a"),
    "list by an attribute": lambda jobs: jobs.list(tasks, where=[is_odd]),
    "count by an attribute": lambda jobs: jobs.handle(tasks).count_matching(where=[is_odd]),
    "history": lambda jobs: jobs.history(tasks, "a"),
    "history of none": lambda jobs: jobs.history(tasks, "none"),
    "dead_letters": lambda jobs: jobs.dead_letters(),
    "left_messages": lambda jobs: jobs.left_messages(),
    "status": lambda jobs: jobs.handle(tasks).status("a"),
    "get_state": lambda jobs: jobs.handle(tasks).get_state("a"),
    "steps": lambda jobs: jobs.handle(flows).steps("w"),
    "outcome": lambda jobs: jobs.handle(flows).outcome("w"),
    "outcome of an item": lambda jobs: jobs.handle(pool).outcome("2"),
    "count": lambda jobs: jobs.handle(pool).count(),
    "counts": lambda jobs: jobs.counts(),
    "demand": lambda jobs: jobs.demand(within="1 hour"),
    "progress": lambda jobs: jobs.handle(pool).progress(),
    "explain": lambda jobs: jobs.explain(tasks, "a", lambda job: job.send(3)),
    "members": lambda jobs: jobs.members(),
}
ERROR = StoreUnavailable("read", "the disk does not answer")


@pytest.fixture
def world() -> Iterator[World]:
    with World(app) as world:
        jobs = world.jobs
        world.run(jobs.handle(tasks).send("a", 1))
        world.run(jobs.handle(flows).start("w", 1))
        for item in range(3):
            world.run(jobs.handle(pool).put(str(item), item))
        world.advance("2 minutes")
        yield world


@pytest.mark.parametrize("name", READS)
def test_a_read_answers_the_error_of_the_store_or_as_it_does_otherwise(world: World, name: str) -> None:
    before = len(world.crash_points)
    expected = world.attempt(READS[name](world.jobs))
    assert isinstance(expected, Success)
    crossed = Counter(
        each.removeprefix("before ") for each in world.crash_points[before:] if each.startswith("before ")
    )
    for operation, calls in crossed.items():
        for call in range(1, calls + 1):
            world.inject(Fail(f"store.{operation}", ERROR, call=call))
            assert world.attempt(READS[name](world.jobs)) in (Failure(ERROR), expected), (operation, call)
    assert world.attempt(READS[name](world.jobs)) == expected

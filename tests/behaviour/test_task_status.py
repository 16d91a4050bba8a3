"""Every request in every status of a task: the table in ``docs/reference/status-task.md`` is the source."""

import pytest
from attrs import frozen
from status_table import Bench, Cell, cells, hold_to
from world import HasOutside, Refused, World, on_each_store, say

from perdure import App, Backoff, Do, Retry, Task, TaskContext, program
from perdure.kinds.task import TaskHandle


@frozen
class Light:
    on: bool = False


@frozen
class Schedule:
    """Set the alarm."""


@frozen
class Look:
    """Change nothing."""


@program
def on_event(ctx: TaskContext[Light], event: Schedule | Look) -> Do[None]:
    match event:
        case Schedule():
            yield from ctx.schedule(after="1 hour")
        case Look():
            yield from ctx.set_state(Light(on=True))


@program
def execute(ctx: TaskContext[Light]) -> Do[None, Refused, HasOutside]:
    yield from say("run")


light = Task(
    "light",
    state=Light,
    event=Schedule | Look,
    initial=Light(),
    on_event=on_event,
    execute=execute,
    retry=Retry(max_attempts=2, delay=Backoff.constant("10 minutes"), jitter=False),
    run_timeout="1 day",
)
A = light.address("a")


def handle(world: World) -> TaskHandle[Light, Schedule | Look, Refused]:
    return world.jobs.handle(light)


async def absent(world: World) -> None:
    await world.open(App(world.outside).with_jobs(light))


async def idle(world: World) -> None:
    await absent(world)
    await world.run(handle(world).send("a", Look()))


async def scheduled(world: World) -> None:
    await absent(world)
    await world.run(handle(world).send("a", Schedule()))


async def running(world: World) -> None:
    await idle(world)
    world.suspension("run")
    world.start(handle(world).trigger("a"))
    await world.settle()


async def retrying(world: World) -> None:
    await idle(world)
    world.outside.refusals["run"] = 1
    await world.run(handle(world).trigger("a"))


async def paused(world: World) -> None:
    await scheduled(world)
    await world.run(handle(world).pause("a"))


async def parked(world: World) -> None:
    await idle(world)
    world.outside.refusals["run"] = 2
    await world.run(handle(world).trigger("a"))
    await world.advance(minutes=10)


async def until_due(world: World) -> None:
    await world.advance(hours=2)


bench = Bench(
    arrange={
        "absent": absent,
        "idle": idle,
        "scheduled": scheduled,
        "running": running,
        "retrying": retrying,
        "paused": paused,
        "parked": parked,
    },
    requests={
        "send": lambda world: handle(world).send("a", Look()),
        "trigger": lambda world: handle(world).trigger("a"),
        "trigger, new_run=True": lambda world: handle(world).trigger("a", new_run=True),
        'trigger, wait_for="start"': lambda world: handle(world).trigger("a", wait_for="start"),
        "terminate": lambda world: handle(world).terminate("a"),
        "terminate, interrupt=True": lambda world: handle(world).terminate("a", interrupt=True),
        "pause": lambda world: handle(world).pause("a"),
        "resume": lambda world: handle(world).resume("a"),
        "status": lambda world: handle(world).status("a"),
        "get_state": lambda world: handle(world).get_state("a"),
    },
    status=lambda world: handle(world).status("a"),
    release=lambda world: world.release("run"),
    ran=lambda world: world.outside.heard.count("run"),
    until_due=until_due,
)


@pytest.mark.parametrize("cell", cells("task"), ids=str)
@on_each_store
async def test_every_cell_of_the_table(world: World, cell: Cell) -> None:
    await hold_to(cell, world, bench)


def test_the_table_has_every_request_and_every_status() -> None:
    table = cells("task")
    assert {cell.request for cell in table} == {*bench.requests, "its alarm is due"}
    assert {cell.status for cell in table} == set(bench.arrange)

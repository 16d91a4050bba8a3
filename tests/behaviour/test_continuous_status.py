"""Every request in every status of a continuous job: ``docs/reference/status-continuous.md`` is the source."""

import pytest
from attrs import frozen
from status_table import Bench, Cell, cells, hold_to
from world import HasOutside, Refused, World, on_each_store, say

from perdure import App, Backoff, Continuous, ContinuousContext, Do, Retry, every, program
from perdure.kinds.continuous import ContinuousHandle


@frozen
class Light:
    on: bool = False


@program
def execute(ctx: ContinuousContext[Light]) -> Do[None, Refused, HasOutside]:
    yield from say("run")


blinker = Continuous(
    "blinker",
    state=Light,
    schedule=every("1 hour"),
    execute=execute,
    retry=Retry(max_attempts=2, delay=Backoff.constant("10 minutes"), jitter=False, on_exhausted="park"),
    run_timeout="1 day",
)


def handle(world: World) -> ContinuousHandle[Light, Refused]:
    return world.jobs.handle(blinker)


async def absent(world: World) -> None:
    await world.open(App(world.outside).with_jobs(blinker))


async def scheduled(world: World) -> None:
    await absent(world)
    await world.run(handle(world).start("a", Light()))


async def running(world: World) -> None:
    await scheduled(world)
    world.suspension("run")
    world.start(handle(world).trigger("a"))
    await world.settle()


async def retrying(world: World) -> None:
    await scheduled(world)
    world.outside.refusals["run"] = 1
    await world.run(handle(world).trigger("a"))


async def paused(world: World) -> None:
    await scheduled(world)
    await world.run(handle(world).pause("a"))


async def parked(world: World) -> None:
    await scheduled(world)
    world.outside.refusals["run"] = 2
    await world.run(handle(world).trigger("a"))
    await world.advance(minutes=10)


async def until_due(world: World) -> None:
    await world.advance(hours=1)


bench = Bench(
    arrange={
        "absent": absent,
        "scheduled": scheduled,
        "running": running,
        "retrying": retrying,
        "paused": paused,
        "parked": parked,
    },
    requests={
        "start": lambda world: handle(world).start("a", Light()),
        'start, wait_for="start"': lambda world: handle(world).start("a", Light(), wait_for="start"),
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


@pytest.mark.parametrize("cell", cells("continuous"), ids=str)
@on_each_store
async def test_every_cell_of_the_table(world: World, cell: Cell) -> None:
    await hold_to(cell, world, bench)


def test_the_table_has_every_request_and_every_status() -> None:
    table = cells("continuous")
    assert {cell.request for cell in table} == {*bench.requests, "its alarm is due"}
    assert {cell.status for cell in table} == set(bench.arrange)

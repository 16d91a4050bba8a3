"""``reference/behaviour.md`` 7: user state is in events only if the definition says so."""

from typing import Any

import pytest
from attrs import evolve, frozen
from returns.result import Success
from world import World, on_each_store

from perdure import App, Continuous, Debounce, Task, every
from perdure.values.errors import DefinitionError


@frozen
class Basket:
    items: int = 0


def more(ctx: Any, event: int = 1) -> Any:
    return ctx.update_state(lambda basket: evolve(basket, items=basket.items + event))


def nothing(_: object) -> Any:
    return Success(None)


def task(**options: Any) -> Any:
    return Task("t", state=Basket, event=int, initial=Basket(), on_event=more, execute=more, **options)


def continuous(**options: Any) -> Any:
    return Continuous("c", state=Basket, schedule=every("1 hour"), execute=more, **options)


def debounce(**options: Any) -> Any:
    return Debounce(
        "d", event=int, state=Basket, initial=Basket(), flush_after="1 hour", on_event=more, execute=more, **options
    )


async def lives(world: World, options: dict[str, Any]) -> list[tuple[str, str | None]]:
    """Let an instance of each kind be created and run, and return the events that may carry a state, with it."""
    kinds = task(**options), continuous(**options), debounce(**options)
    jobs = await world.open(App(world.outside).with_jobs(*kinds))
    await world.run(jobs.handle(kinds[0]).send("a", 5))
    await world.run(jobs.handle(kinds[0]).trigger("a"))
    await world.run(jobs.handle(kinds[1]).start("a", Basket(1)))
    await world.run(jobs.handle(kinds[2]).add("a", 3))
    await world.run(jobs.handle(kinds[2]).add("a", 4))
    await world.run(jobs.handle(kinds[2]).flush("a"))
    events = [event for job in kinds for event in await world.history(job.address("a"))]
    return [(event.type, event.state) for event in events if hasattr(event, "state")]


@on_each_store
async def test_events_carry_the_state_that_their_commit_leaves(world: World) -> None:
    """A batch is dropped by its flush: its events carry the batch as `execute` found it."""
    assert await lives(world, {"state_in_events": True}) == [
        ("job.started", '{"items":5}'),
        ("job.executed", '{"items":6}'),
        ("job.started", '{"items":1}'),
        ("job.executed", '{"items":2}'),
        ("job.started", '{"items":3}'),
        ("job.executed", '{"items":7}'),
        ("debounce.flushed", '{"items":7}'),
    ]


@pytest.mark.parametrize("options", [{}, {"state_in_events": False}])
@on_each_store
async def test_by_default_no_event_carries_state(world: World, options: dict[str, Any]) -> None:
    found = await lives(world, options)
    assert len(found) == 7
    assert {state for _, state in found} == {None}
    logged = await world.inspect(lambda store: store.events(0, 99))
    assert "items" not in repr(logged)


@on_each_store
async def test_a_first_tick_that_waits_starts_with_its_state(world: World) -> None:
    job = continuous(state_in_events=True, start_immediately=False)
    jobs = await world.open(App(world.outside).with_jobs(job))
    await world.run(jobs.handle(job).start("a", Basket(9)))
    (started,) = await world.history(job.address("a"))
    assert started.state == '{"items":9}'


def test_the_option_is_true_or_false() -> None:
    with pytest.raises(DefinitionError, match="state_in_events of task:t"):
        task(state_in_events="yes")

"""``docs/guarantees.md``, *Alarms*: at its instant or later, never earlier."""

from __future__ import annotations

from typing import Any

import pytest
from machine import Add, OnAlarm, Say, Steps, Wait, app, machine
from returns.future import FutureResult
from returns.result import Failure, Result
from world import Outside, World, on_each_store

from perdure.client.local_gateway import engine_of
from perdure.programs.future import awaited
from perdure.stores.contract import overlay
from perdure.testing.world import World as TheWorld
from perdure.values.errors import OutcomeUnknown
from perdure.values.instance import Instance

ALARMS = 300


@pytest.mark.parametrize("after_ms", [1, 999, 60_000, 60_001, 100_000_000])
@on_each_store
async def test_an_alarm_fires_at_its_instant_and_not_before(world: World, after_ms: int) -> None:
    jobs = (await world.open(app(world.outside))).handle(machine)
    due_ms = world.now_ms + after_ms
    await world.run(jobs.send("a", OnAlarm(after_ms, (Say("fired"),))))
    await world.advance(ms=due_ms - world.now_ms - 1)
    assert world.outside.heard == []
    await world.advance(ms=due_ms - world.now_ms)
    assert world.outside.heard == ["fired"]


@on_each_store
async def test_an_alarm_that_is_due_while_nothing_runs_fires_when_something_does(world: World) -> None:
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(60_000, (Say("fired"),))))
    await world.close()
    await world.advance(hours=1)
    assert world.outside.heard == []
    await world.open(app(world.outside))
    await world.settle()
    assert world.outside.heard == ["fired"]


@on_each_store
async def test_a_due_row_is_read_once(world: World) -> None:
    """However many alarms are due at one instant, and while all of their runs are in progress."""
    jobs = await world.open(app(world.outside, concurrency=ALARMS))
    for number in range(ALARMS):
        await world.run(jobs.handle(machine).send(str(number), OnAlarm(60_000, (Wait(5_000), Say("fired")))))
    returned: list[int] = []
    engine = engine_of(jobs)
    due = engine.store.due

    def counted(*given: Any) -> Any:
        def count(rows: tuple[Instance, ...]) -> tuple[Instance, ...]:
            returned.append(len(rows))
            return rows

        return due(*given).map(count)

    engine.alarms.store = overlay(engine.store, due=counted)
    await world.advance(s=70)
    assert len(world.outside.heard) == ALARMS
    assert sum(returned) == ALARMS


@pytest.mark.parametrize("debug", [True, False])
def test_an_alarm_fires_although_an_event_changes_the_state_while_its_row_is_read(debug: Any) -> None:
    """The row that was read is older than the one in memory, whose commit set no alarm."""
    outside = Outside()
    with TheWorld(app(outside), debug=debug) as world:
        outside.world = world
        jobs, engine = world.handle(machine), engine_of(world.jobs)
        due = engine.store.due

        def meanwhile(*given: Any) -> FutureResult[tuple[Instance, ...], Any]:
            async def read() -> Result[tuple[Instance, ...], Any]:
                rows: Result[Any, Any] = await awaited(due(*given))
                if rows.unwrap():
                    await world.jobs.handle(machine).send("a", Steps((Add(),)))
                return rows

            return FutureResult(read())

        world.run(jobs.send("a", OnAlarm(60_000, (Say("fired"),))))
        engine.alarms.store = overlay(engine.store, due=meanwhile)
        world.advance("70 seconds")
        assert world.run(jobs.get_state("a")).total == 1
    assert outside.heard == ["fired"]


def test_a_row_that_was_read_before_its_alarm_was_moved_begins_no_turn() -> None:
    outside = Outside()
    with TheWorld(app(outside)) as world:
        outside.world = world
        jobs, engine = world.handle(machine), engine_of(world.jobs)
        due, fire, fired = engine.store.due, engine.alarms.dispatcher.fire, list[Any]()
        moved: list[bool] = []

        def meanwhile(*given: Any) -> FutureResult[tuple[Instance, ...], Any]:
            async def read() -> Result[tuple[Instance, ...], Any]:
                rows: Result[Any, Any] = await awaited(due(*given))
                if rows.unwrap() and not moved:
                    moved.append(True)
                    await world.jobs.handle(machine).send("a", OnAlarm(3_600_000, (Say("fired"),)))
                return rows

            return FutureResult(read())

        world.run(jobs.send("a", OnAlarm(60_000, (Say("early"),))))
        engine.alarms.store = overlay(engine.store, due=meanwhile)
        noted: Any = lambda *given: (fired.append(given), fire(*given))  # noqa: E731 - of one line
        engine.alarms.dispatcher = overlay(engine.alarms.dispatcher, fire=noted)
        world.advance("70 seconds")
        assert (outside.heard, len(fired)) == ([], 0)
        world.advance("1 hour")
        assert (outside.heard, len(fired)) == (["fired"], 1)


@on_each_store
async def test_an_alarm_fires_again_if_the_clock_goes_back_before_its_turn(world: World) -> None:
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(1_000, (Say("fired"),))))
    engine_of(world.jobs).cache.close()  # so that the turn waits for the store
    world.slow("load", ms=10)
    await world.advance(ms=1_005)
    world.shift_wall_clock(-60_000)
    await world.advance(s=50)
    assert world.outside.heard == []
    await world.advance(s=15)
    assert world.outside.heard == ["fired"]


@on_each_store
async def test_an_alarm_that_is_moved_by_a_commit_whose_outcome_is_unknown_fires(world: World) -> None:
    """The store is read while the alarm's own turn, which finds that it is not due yet, waits for the instance."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(1_000)))
    await world.advance(ms=990)
    world.slow("load", ms=20)
    world.slow("load", ms=20, after=1)
    world.fail("commit", OutcomeUnknown("the disk went away"), applied=True)
    moving = world.start(jobs.send("a", OnAlarm(500, (Say("fired"),))))
    await world.advance(ms=100)
    assert isinstance(moving.result(), Failure)
    assert world.outside.heard == []
    await world.advance(s=1)
    assert world.outside.heard == ["fired"]

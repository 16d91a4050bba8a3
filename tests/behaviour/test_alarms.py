"""``docs/guarantees.md``, *Alarms*: at its instant or later, never earlier."""

import pytest
from machine import OnAlarm, Say, app, machine
from world import World, on_each_store


@pytest.mark.parametrize("after_ms", [1, 999, 60_000, 60_001, 100_000_000])
@on_each_store
async def test_an_alarm_fires_at_its_instant_and_not_before(world: World, after_ms: int) -> None:
    jobs = (await world.open(app(world.outside))).handle(machine)
    due_ms = world.now_ms + after_ms
    await world.unwrap(jobs.send("a", OnAlarm(after_ms, (Say("fired"),))))
    await world.advance(ms=due_ms - world.now_ms - 1)
    assert world.outside.heard == []
    await world.advance(ms=due_ms - world.now_ms)
    assert world.outside.heard == ["fired"]


@on_each_store
async def test_an_alarm_that_is_due_while_nothing_runs_fires_when_something_does(world: World) -> None:
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.unwrap(jobs.send("a", OnAlarm(60_000, (Say("fired"),))))
    await world.close()
    await world.advance(hours=1)
    assert world.outside.heard == []
    await world.open(app(world.outside))
    await world.settle()
    assert world.outside.heard == ["fired"]

"""An engine that has nothing to do does nothing, and one that has much to do leaves no caller waiting."""

from collections import Counter
from typing import Any

import pytest
from machine import Add, OnAlarm, Say, Steps, Total, Wait, app, at, machine, steps
from returns.result import Success
from world import World, on_each_store

from perdure import Do, Task, TaskContext, program, tell
from perdure.stores.contract import commit_one
from perdure.values.address import Address
from perdure.values.instance import Instance
from perdure.values.message import Message
from perdure.values.transition import Put, Transition

other = Task("other", state=Total, event=Steps, initial=Total(), on_event=lambda _, __: Success(None))


def crash_points(world: World) -> Counter[str]:
    return Counter(name for name in world.process.boundary.crash_points if name.startswith("before"))


def row(name: str, id_: str, alarm_ms: int) -> Transition:
    address = Address("task", name, id_)
    instance = Instance(
        address=address, created_ms=0, updated_ms=0, version=1, state='{"total":0,"on_alarm":[],"seen":[],"text":""}',
        alarm_ms=alarm_ms,
    )  # fmt: skip
    return Transition(address=address, write=Put(instance))


@on_each_store
async def test_an_idle_engine_queries_the_store_at_most_twice_a_minute(world: World) -> None:
    """AlarmIn sleeps are re-evaluated at least every 60 s: and, with nothing to do, no more often."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(10**9)))
    await world.settle()
    before = crash_points(world)
    await world.advance(hours=1)
    calls = crash_points(world) - before
    assert calls["before due"] <= 61
    assert calls["before messages"] <= 61
    assert calls["before load"] == calls["before commit"] == 0


@on_each_store
async def test_many_rows_of_jobs_that_are_not_served_delay_no_other_job(world: World) -> None:
    """Instances of a job that is not served here are not touched: nor do they delay others."""
    jobs = (await world.open(app(world.outside, alarm_batch=8))).handle(machine)
    for number in range(60):
        await world.inspect(lambda store, number=number: commit_one(store, row("other", f"{number:03}", world.now_ms)))  # type: ignore[misc]
    message = Message(sender=at("x"), target=other.address("y"), action="send", payload="{}", sent_ms=0)
    messages = tuple(
        Message(sender=at(str(number)), target=message.target, action="send", payload="{}", sent_ms=0)
        for number in range(600)
    )
    await world.inspect(lambda store: commit_one(store, Transition(address=at("x"), messages=messages)))
    await world.crash()
    jobs = (await world.open(app(world.outside, alarm_batch=8))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(1_000, (Say("fired"),))))
    await world.run(jobs.send("b", steps(Add())))
    await world.advance(s=1)
    assert world.outside.heard == ["fired"]
    before = crash_points(world)
    await world.settle()
    assert crash_points(world) == before
    await world.advance(hours=1)
    calls = crash_points(world) - before
    assert calls["before due"] + calls["before messages"] <= 130


@on_each_store
async def test_many_runs_in_flight_delay_no_other_run(world: World) -> None:
    """The due query skips runs in flight: many slow runs neither spin the loop nor starve the next alarm."""
    jobs = (await world.open(app(world.outside, alarm_batch=8))).handle(machine)
    for number in range(40):
        await world.run(jobs.send(f"slow-{number}", OnAlarm(1_000, (Wait(600_000),))))
    await world.run(jobs.send("quick", OnAlarm(2_000, (Say("fired"),))))
    await world.advance(ms=1_100)
    before = crash_points(world)
    await world.advance(ms=900)
    assert world.outside.heard == ["fired"]
    await world.advance(minutes=5)
    calls = crash_points(world) - before
    assert calls["before due"] <= 20
    assert calls["before load"] <= 3


@on_each_store
async def test_more_alarms_than_a_batch_all_fire_at_once(world: World) -> None:
    jobs = (await world.open(app(world.outside, alarm_batch=4))).handle(machine)
    for number in range(30):
        await world.run(jobs.send(f"{number}", OnAlarm(1_000, (Say("fired"),))))
    await world.advance(s=1)
    assert world.outside.heard == ["fired"] * 30


@on_each_store
async def test_a_burst_of_alarms_leaves_room_for_requests(world: World) -> None:
    """However many alarms are due at once, a request waits for some of them, not for all."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    for number in range(300):
        await world.run(jobs.send(f"{number}", OnAlarm(1_000, (Wait(1), Say("fired")))))

    async def query_when_they_are_due() -> None:
        await world.process.simulation.runtime.sleep(1_000.5)
        await jobs.send("other", steps(Say("asked")))

    await world.run(query_when_they_are_due())
    assert world.outside.heard.index("asked") < 20
    await world.advance(s=1)
    assert world.outside.heard.count("fired") == 300


@on_each_store
async def test_rows_whose_turns_fail_are_tried_again_without_spinning(world: World) -> None:
    """A corrupted row: others continue, and no loop spins."""
    jobs = (await world.open(app(world.outside, alarm_batch=4))).handle(machine)
    for number in range(30):
        await world.run(jobs.send(f"{number}", OnAlarm(60_000, (Say("fired"),))))
    await world.advance(s=59)
    world.fail("load", RuntimeError("broken"), times=10**6)  # type: ignore[arg-type]
    before = crash_points(world)
    await world.advance(s=11)
    calls = crash_points(world) - before
    assert calls["before load"] <= 30 * 11
    assert calls["before due"] <= 30 * 11
    world.process.boundary.faults.clear()
    await world.advance(s=2)
    assert world.outside.heard == ["fired"] * 30


@on_each_store
async def test_a_message_to_a_job_that_fails_does_not_delay_others(world: World) -> None:
    """Order is kept per pair only: a pair that waits delays no other."""
    world.outside.breaks.add("x")

    @program
    def send(ctx: TaskContext[Total], event: Steps) -> Do[None]:
        for number in range(30):
            yield from tell(machine, f"bad-{number}").send(steps(Say("x")))
        yield from tell(machine, "good").send(steps(Say("y")))

    sender: Task[Any, Any, Any, Any] = Task("sender", state=Total, event=Steps, initial=Total(), on_event=send)
    jobs = (await world.open(app(world.outside, sender, machine))).handle(sender)
    await world.run(jobs.send("a", steps()))
    await world.advance(hours=1)
    assert world.outside.heard.count("y") == 1
    assert world.outside.heard.count("x") == 30 * 10


@pytest.mark.parametrize("delta_ms", [-3_600_000, -1_000])
@on_each_store
async def test_a_backward_jump_of_the_clock_delays_alarms_by_the_jump(world: World, delta_ms: int) -> None:
    """An alarm's sleep is re-evaluated at least every 60 s, so that a backward jump delays alarms by the jump…"""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(600_000, (Say("fired"),))))
    due_ms = world.now_ms + 600_000
    world.shift_wall_clock(delta_ms)
    while not world.outside.heard:
        await world.advance(s=1)
    assert due_ms <= world.now_ms <= due_ms + 1_000
    await world.advance(hours=2)
    assert world.outside.heard == ["fired"]


@on_each_store
async def test_a_forward_jump_fires_alarms_once(world: World) -> None:
    """…and a forward one fires them once."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(3_600_000, (Say("fired"),))))
    world.shift_wall_clock(7_200_000)
    await world.advance(s=60)
    assert world.outside.heard == ["fired"]
    world.shift_wall_clock(-7_200_000)
    await world.advance(hours=3)
    assert world.outside.heard == ["fired"]


@on_each_store
async def test_elapsed_time_is_never_negative(world: World) -> None:
    """Elapsed time is never negative."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(3_600_000, (Wait(10_000),))))
    call = world.start(jobs.trigger("a"))
    await world.settle()
    world.shift_wall_clock(-3_600_000)
    await world.advance(s=10)
    assert call.done()
    (executed,) = [event for event in await world.history(at("a")) if event.type == "job.executed"]
    assert executed.duration_ms == 0

"""Live events: what sinks learn besides the transitions."""

from datetime import timedelta
from typing import Any

import pytest
from collected import Collected
from hypothesis import given
from hypothesis import strategies as st
from machine import Add, Break, Call, OnAlarm, Refuse, Say, Step, Tell, Wait, app, machine, machine_with, steps
from returns.result import Success
from world import World, on_each_store

from perdure import Do, TaskErrorContext, program
from perdure.engine.reporting import Reporting
from perdure.engine.sinks import OpenSinks
from perdure.runtime.simulated import Simulation
from perdure.values.address import Address
from perdure.values.errors import StoreUnavailable
from perdure.values.event import JobExecuted
from perdure.values.live_event import (
    AlarmFired,
    CommitSlow,
    EngineOverloaded,
    EngineStarted,
    EngineStopped,
    EventRejected,
    MessageDelivered,
    RequestEnded,
    RunClaimed,
    StoreCommitted,
)
from perdure.values.transition import Transition


# ---------------------------------------------------------------- requests
@on_each_store
async def test_a_request_is_reported_with_its_wait_and_its_time(world: World) -> None:
    sink = Collected()
    jobs = (await world.open(app(world.outside).with_sinks(sink))).handle(machine)
    first = world.start(jobs.send("a", steps(Wait(200), Add())))
    await world.settle()
    second = world.start(jobs.send("a", steps(Add())))
    await world.advance(s=1)
    assert first.done()
    assert second.done()
    assert [
        (told.address, told.action, told.outcome, told.error, told.waited_ms, told.took_ms, told.by)
        for told in sink.of(RequestEnded)
    ] == [
        ("task:machine:a", "send", "ok", "", 0, 200, None),
        ("task:machine:a", "send", "ok", "", 200, 200, None),
    ]


@pytest.mark.parametrize(
    ("step", "outcome", "error"), [(Refuse(), "rejected", "Refused"), (Break(), "failed", "RuntimeError")]
)
@on_each_store
async def test_a_failed_request_is_reported_with_the_class_of_its_error(
    world: World, step: Step, outcome: str, error: str
) -> None:
    sink = Collected()
    jobs = (await world.open(app(world.outside).with_sinks(sink))).handle(machine)
    await world.error_of(jobs.send("a", steps(step)))
    (told,) = sink.of(RequestEnded)
    assert (told.outcome, told.error) == (outcome, error)


@on_each_store
async def test_a_cancelled_request_is_reported_once(world: World) -> None:
    """Whether its turn had begun or not."""
    sink = Collected()
    jobs = (await world.open(app(world.outside).with_sinks(sink))).handle(machine)
    calls = [world.start(jobs.send("a", steps(Wait(200), Add()))) for _ in range(2)]
    await world.settle()
    for call in calls:
        call.cancel()
    await world.advance(s=1)
    assert [told.outcome for told in sink.of(RequestEnded)] == ["cancelled", "cancelled"]


@on_each_store
async def test_a_request_that_does_not_wait_for_its_run_ends_at_the_claim(world: World) -> None:
    sink = Collected()
    jobs = (await world.open(app(world.outside).with_sinks(sink))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(60_000, (Wait(1_000),))))
    await world.run(jobs.trigger("a", wait_for="start"))
    await world.advance(s=2)
    assert [(told.action, told.took_ms < 1_000) for told in sink.of(RequestEnded)] == [
        ("send", True),
        ("trigger", True),
    ]


@on_each_store
async def test_an_unavailable_store_is_reported(world: World) -> None:
    sink = Collected()
    jobs = (await world.open(app(world.outside).with_sinks(sink))).handle(machine)
    world.fail("commit", StoreUnavailable("commit", "the disk is full"))
    await world.error_of(jobs.send("a", steps(Add())))
    assert [told.outcome for told in sink.of(RequestEnded)] == ["unavailable"]
    assert [told.outcome for told in sink.of(StoreCommitted)] == ["unavailable"]


@on_each_store
async def test_a_full_queue_is_reported(world: World) -> None:
    sink = Collected()
    jobs = (await world.open(app(world.outside, max_pending=1).with_sinks(sink))).handle(machine)
    world.start(jobs.send("a", steps(Wait(100), Add())))
    await world.settle()
    await world.error_of(jobs.send("b", steps(Add())))
    (full,) = sink.of(EngineOverloaded)
    assert (full.address, full.queue, full.limit) == ("task:machine:b", "the engine's queue", 1)
    assert [(told.outcome, told.error) for told in sink.of(RequestEnded)] == [("refused", "Overloaded")]
    await world.advance(s=1)


# ---------------------------------------------------------------- rejected events
@on_each_store
async def test_a_rejected_event_is_reported_although_nothing_is_stored(world: World) -> None:
    sink = Collected()
    jobs = (await world.open(app(world.outside).with_sinks(sink))).handle(machine)
    await world.error_of(jobs.send("a", steps(Refuse("not today"))))
    (rejected,) = sink.of(EventRejected)
    assert (rejected.address, rejected.error.error_type, rejected.error.form) == (
        "task:machine:a",
        "Refused",
        "failure",
    )
    assert "not today" in rejected.error.message
    assert await world.history(machine.address("a")) == []
    assert sink.of(StoreCommitted) == []


@program
def ignore(_ctx: TaskErrorContext[object, object], _error: object) -> Do[None]:
    yield from ()


@on_each_store
async def test_an_event_whose_error_on_error_handles_is_not_rejected(world: World) -> None:
    sink = Collected()
    handling = machine_with(on_error=ignore)
    jobs = (await world.open(app(world.outside, handling).with_sinks(sink))).handle(handling)
    await world.run(jobs.send("a", steps(Refuse())))
    assert sink.of(EventRejected) == []


# ---------------------------------------------------------------- alarms and runs
@on_each_store
async def test_an_alarm_is_reported_with_its_lateness(world: World) -> None:
    sink = Collected()
    jobs = (await world.open(app(world.outside).with_sinks(sink))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(1_000)))
    due_ms = world.now_ms + 1_000
    await world.close()
    world.shift_wall_clock(5_000)
    await world.open(app(world.outside).with_sinks(sink))
    await world.settle()
    (fired,) = sink.of(AlarmFired)
    assert (fired.address, fired.due_ms) == ("task:machine:a", due_ms)
    assert fired.lateness == timedelta(seconds=4)


@on_each_store
async def test_a_claim_is_reported_before_its_run(world: World) -> None:
    sink = Collected()
    jobs = (await world.open(app(world.outside).with_sinks(sink))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(1_000, (Say("hello"),))))
    await world.advance(s=2)
    claimed, executed = sink.of(RunClaimed, JobExecuted)
    assert (claimed.run_id, claimed.cause, claimed.attempt, claimed.delivery) == (executed.run_id, "alarm", 1, 1)


@on_each_store
async def test_an_event_without_effects_is_not_claimed(world: World) -> None:
    sink = Collected()
    jobs = (await world.open(app(world.outside).with_sinks(sink))).handle(machine)
    await world.run(jobs.send("a", steps(Add())))
    assert sink.of(RunClaimed) == []
    await world.run(jobs.send("a", steps(Say("hello"))))
    assert [claimed.cause for claimed in sink.of(RunClaimed)] == ["event"]


# ---------------------------------------------------------------- commits
@on_each_store
async def test_a_slow_commit_is_reported_and_logged(world: World) -> None:
    sink = Collected()
    jobs = (await world.open(app(world.outside).with_sinks(sink))).handle(machine)
    world.slow("commit", ms=1_500)
    call = world.start(jobs.send("a", steps(Add())))
    await world.advance(s=2)
    assert call.done()
    assert [(told.address, told.took_ms) for told in sink.of(CommitSlow)] == [("task:machine:a", 1_500)]
    (committed,) = sink.of(StoreCommitted)
    assert (committed.outcome, committed.took_ms) == ("committed", 1_500)
    assert committed.size_bytes >= len('{"total":1}')
    assert "slow commit" in world.logs


@on_each_store
async def test_a_slow_commit_is_logged_without_a_sink(world: World) -> None:
    jobs = (await world.open(app(world.outside))).handle(machine)
    world.slow("commit", ms=1_500)
    world.start(jobs.send("a", steps(Add())))
    await world.advance(s=2)
    assert world.logs.count("slow commit") == 1


@on_each_store
async def test_slow_commits_of_one_moment_are_one_line(world: World) -> None:
    jobs = (await world.open(app(world.outside))).handle(machine)
    world.slow("commit", ms=1_500)
    for number in range(20):
        world.start(jobs.send(str(number), steps(Add())))
    await world.advance(s=2)
    assert world.logs.count("slow commit") == 1


@given(st.lists(st.tuples(st.integers(0, 1_500), st.sampled_from([1_000, 1_001])), max_size=12))
def test_each_slow_commit_is_logged_or_counted_in_the_next_line(commits: list[tuple[int, int]]) -> None:
    simulation = Simulation()
    reporting = Reporting(simulation.runtime, OpenSinks(simulation.runtime))
    address, model, quiet_until, unlogged, now_ms = Address("task", "machine", "a"), list[Any](), 0, 0, 0

    async def main() -> None:
        for pause_ms, took_ms in commits:
            await simulation.runtime.sleep(pause_ms)
            reporting.stored(Transition(address=address), Success(None), took_ms=took_ms)

    simulation.run(main())
    for pause_ms, took_ms in commits:
        now_ms += pause_ms
        if took_ms > 1_000 and now_ms >= quiet_until:
            model.append({"others_since": unlogged} if unlogged else {})
            quiet_until, unlogged = now_ms + 1_000, 0
        elif took_ms > 1_000:
            unlogged += 1
    common = {"instance": "task:machine:a", "ms": 1_001}
    assert [record.fields for record in simulation.logs] == [common | others for others in model]


@on_each_store
async def test_the_commit_of_a_message_that_was_not_consumed_takes_as_long_as_any(world: World) -> None:
    sink = Collected()
    jobs = (await world.open(app(world.outside, message_deliveries=1).with_sinks(sink))).handle(machine)
    await world.advance(s=60)
    await world.run(jobs.send("a", steps(Tell("b", (Break(),)))))
    await world.settle()
    assert "message became a dead letter" in world.logs
    assert {told.took_ms for told in sink.of(StoreCommitted)} == {0}
    assert "slow commit" not in world.logs


# ---------------------------------------------------------------- messages
@on_each_store
async def test_a_delivery_is_reported(world: World) -> None:
    sink = Collected()
    jobs = (await world.open(app(world.outside).with_sinks(sink))).handle(machine)
    await world.run(jobs.send("a", steps(Tell("b"))))
    (told,) = sink.of(MessageDelivered)
    assert (told.sender, told.target, told.action, told.outcome) == (
        "task:machine:a",
        "task:machine:b",
        "send",
        "consumed",
    )
    assert [told.address for told in sink.of(RequestEnded)] == ["task:machine:a"]


@on_each_store
async def test_a_delivery_that_fails_is_reported_until_it_is_a_dead_letter(world: World) -> None:
    sink = Collected()
    jobs = (await world.open(app(world.outside, message_deliveries=3).with_sinks(sink))).handle(machine)
    await world.run(jobs.send("a", steps(Tell("b", (Break(),)))))
    await world.advance(minutes=10)
    told = sink.of(MessageDelivered)
    assert [each.outcome for each in told] == ["postponed", "postponed", "dead_lettered"]
    assert len({each.message_id for each in told}) == 1
    assert told[0].waited_ms < told[-1].waited_ms


@on_each_store
async def test_a_refused_message_is_reported_as_consumed(world: World) -> None:
    sink = Collected()
    jobs = (await world.open(app(world.outside).with_sinks(sink))).handle(machine)
    await world.run(jobs.send("a", steps(Tell("b", (Refuse(),)), Call("c", "terminate"))))
    assert [told.outcome for told in sink.of(MessageDelivered)] == ["consumed", "consumed"]


# ---------------------------------------------------------------- the engine
@on_each_store
async def test_the_life_of_an_engine_is_reported(world: World) -> None:
    sink = Collected()
    jobs = (await world.open(app(world.outside).with_sinks(sink))).handle(machine)
    call = world.start(jobs.send("a", steps(Say("hello"), Wait(60_000))))
    await world.advance(s=1)
    await world.crash()
    assert not call.done()
    await world.open(app(world.outside).with_sinks(sink))
    await world.close()
    lives = sink.of(EngineStarted, EngineStopped)
    assert [type(each) for each in lives] == [EngineStarted, EngineStarted, EngineStopped]
    assert [(each.epoch, each.recovered) for each in lives[:2]] == [(1, 0), (2, 1)]
    assert lives[2].reason == ""

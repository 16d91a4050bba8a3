"""A job that is accepted for now: one commit accepts it and claims its run, if a slot is free and no alarm waits."""

from __future__ import annotations

import pytest
from machine import Add, OnAlarm, Say, Step, Total, Wait, app, at, machine, steps
from returns.result import Failure
from world import World, on_each_store

from perdure.values.errors import Conflict, OutcomeUnknown, StoreUnavailable
from perdure.values.transition import Put, Transition

ALARMS = 30


def now(*given: Step) -> OnAlarm:
    """The event that is accepted for now."""
    return OnAlarm(0, given)


def puts(world: World) -> list[Transition]:
    return [one for one in world.commits if isinstance(one.write, Put)]


@on_each_store
async def test_one_commit_accepts_it_and_claims_its_run(world: World) -> None:
    jobs = (await world.open(app(world.outside))).handle(machine)
    sent = await world.run(jobs.send("a", now(Say("x"), Add())))
    assert (sent.created, sent.status) == (True, "scheduled")
    await world.settle()
    accepted, ended = puts(world)
    assert isinstance(accepted.write, Put)
    assert accepted.write.instance.claim is not None
    assert (accepted.write.instance.version, accepted.write.instance.run_count) == (1, 1)
    assert isinstance(ended.write, Put)
    row = await world.row(at("a"))
    assert row is not None
    assert (row.version, row.event_count, row.run_count, row.claim, row.alarm_ms) == (2, 1, 1, None, None)
    assert await world.happened(at("a")) == ["job.started", "task.scheduled", "job.executed"]
    assert world.outside.heard == ["x"]


@on_each_store
async def test_its_status_is_running_once_it_is_accepted(world: World) -> None:
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", now(Wait(1_000), Say("x"))))
    assert (await world.run(jobs.status("a"))).status == "running"
    await world.advance(s=2)
    assert (await world.run(jobs.status("a"))).status == "idle"
    assert world.outside.heard == ["x"]


@on_each_store
async def test_an_alarm_that_waits_for_a_slot_comes_first(world: World) -> None:
    jobs = (await world.open(app(world.outside, concurrency=1))).handle(machine)
    await world.run(jobs.send("long", now(Wait(10_000), Say("long"))))
    await world.run(jobs.send("early", now(Say("early"))))
    await world.advance(s=1)
    await world.run(jobs.send("late", now(Say("late"))))
    assert len(puts(world)) == 3, "neither is claimed"
    await world.advance(s=20)
    assert world.outside.heard == ["long", "early", "late"]


@on_each_store
async def test_requests_that_wait_for_the_instance_come_first(world: World) -> None:
    """They are applied before the run, as they are if its alarm fires."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", steps()))
    world.slow("load", ms=5)
    world.start(jobs.send("a", now(Say("first")), idempotency_key="k"))
    await world.advance(ms=1)
    world.start(jobs.send("a", now(Say("second"))))
    await world.advance(s=1)
    assert world.outside.heard == ["second"]


@on_each_store
async def test_a_held_job_is_accepted_and_not_run(world: World) -> None:
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.hold())
    await world.run(jobs.send("a", now(Say("x"))))
    await world.advance(minutes=5)
    assert world.outside.heard == []
    assert (await world.run(jobs.status("a"))).status == "scheduled"
    await world.run(jobs.release())
    await world.advance(ms=1)
    assert world.outside.heard == ["x"]


@pytest.mark.parametrize(
    ("error", "applied"),
    [
        (StoreUnavailable("commit", "the disk is full"), False),
        (OutcomeUnknown("the disk went away"), False),
        (OutcomeUnknown("the disk went away"), True),
    ],
)
@on_each_store
async def test_if_its_commit_fails_it_runs_only_if_it_is_stored(
    world: World,
    error: Exception,
    applied: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    jobs = (await world.open(app(world.outside, concurrency=1))).handle(machine)
    world.fail("commit", error, applied=applied)
    assert isinstance(await world.attempt(jobs.send("a", now(Say("x"), Add()))), Failure)
    await world.advance(s=10)
    assert world.outside.heard == ["x"] * applied
    await world.run(jobs.send("a", now(Say("again"), Add())))
    await world.advance(s=10)
    assert world.outside.heard == ["x"] * applied + ["again"]
    assert await world.run(jobs.get_state("a")) == Total(1 + applied, (Say("again"), Add()))


@on_each_store
async def test_a_conflict_decides_its_acceptance_again(world: World) -> None:
    jobs = (await world.open(app(world.outside, concurrency=1))).handle(machine)
    world.fail("commit", Conflict("another"), times=2)
    await world.run(jobs.send("a", now(Say("x"))))
    await world.advance(s=10)
    assert world.outside.heard == ["x"]


@on_each_store
async def test_a_key_and_messages_are_part_of_its_commit(world: World) -> None:
    jobs = (await world.open(app(world.outside))).handle(machine)
    for _ in range(2):
        await world.run(jobs.send("a", now(Say("x"), Add()), idempotency_key="k"))
        await world.settle()
    assert world.outside.heard == ["x"]
    assert len(puts(world)) == 2


@on_each_store
async def test_alarms_that_became_due_while_no_engine_ran_come_first(world: World) -> None:
    """Slots are free, and the engine has not read the alarms yet when the job is accepted."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    for number in range(ALARMS):
        await world.run(jobs.send(str(number), OnAlarm(1_000, (Say("overdue"),))))
    await world.close()
    await world.advance(s=10)
    world.slow("due", ms=50)
    jobs = (await world.open(app(world.outside))).handle(machine)
    world.start(jobs.send("late", now(Say("late"))))
    await world.advance(s=1)
    assert world.outside.heard.index("late") >= ALARMS // 2, "all were fired before it; their runs begin in any order"
    assert len(world.outside.heard) == ALARMS + 1

"""A held job begins no run, whatever its instances are; the hold survives restarts."""

from __future__ import annotations

from machine import Add, OnAlarm, Say, Wait, app, machine, steps
from reminder import Reminder
from reminder.context import ReminderContext
from returns.result import Failure, Success
from world import HasOutside, Refused, World, on_each_store, say

from perdure import (
    App,
    Backoff,
    Continuous,
    ContinuousContext,
    Debounce,
    DebounceContext,
    Do,
    Retry,
    every,
    program,
    testing,
)
from perdure.jobs.explanation import Explained
from perdure.values.errors import StoreUnavailable
from perdure.values.listings import HoldResult, JobCount
from perdure.values.outcome import Flushed, Paused, Started, Triggered

HELD, RELEASED = HoldResult(changed=True, hold="held"), HoldResult(changed=True, hold="released")
ALARM = OnAlarm(60_000, (Say("rang"),))


@program
def greet(ctx: ContinuousContext[int]) -> Do[None, Refused, HasOutside]:
    yield from say(f"tick of {ctx.id}")


@program
def flush(ctx: DebounceContext[int]) -> Do[None, Refused, HasOutside]:
    yield from say(f"flush of {ctx.id}")


plain = Debounce("plain", event=int, flush_after="1 minute", execute=lambda ctx: ctx.state)
ticks = Continuous("ticks", state=int, schedule=every("1 hour"), execute=greet)
piles = Debounce("piles", event=int, flush_after="1 minute", max_events=2, execute=flush)


@on_each_store
async def test_alarms_wait_for_the_release_and_survive_a_restart(world: World) -> None:
    """Other jobs are not affected; the alarm of an instance that is created meanwhile waits as well."""
    everything = app(world.outside, machine, ticks)
    jobs = await world.open(everything)
    handle = jobs.handle(machine)
    await world.run(handle.send("a", ALARM))
    assert await world.run(handle.hold()) == HELD
    assert await world.run(handle.hold()) == HoldResult(changed=False, hold="held")
    await world.run(handle.send("b", ALARM))
    await world.run(jobs.handle(ticks).start("t", 0))
    await world.advance(hours=2)
    assert world.outside.heard == ["tick of t"] * 3
    assert await world.run(handle.count()) == JobCount(hold="held", by_status={"scheduled": 2})
    await world.crash()
    handle = (await world.open(everything)).handle(machine)
    await world.advance(minutes=30)
    assert "rang" not in world.outside.heard
    assert (await world.run(handle.count())).hold == "held"
    assert await world.run(handle.release()) == RELEASED
    await world.advance(ms=1)
    assert world.outside.heard.count("rang") == 2
    assert await world.run(handle.count()) == JobCount(hold="released", by_status={"idle": 2})
    assert await world.run(handle.release()) == HoldResult(changed=False, hold="released")


@on_each_store
async def test_requests_that_would_begin_a_run_answer_as_for_a_paused_instance(world: World) -> None:
    jobs = await world.open(app(world.outside, machine, ticks, piles))
    tasks, continuous, debounces = jobs.handle(machine), jobs.handle(ticks), jobs.handle(piles)
    for handle in (tasks, continuous, debounces):
        await world.run(handle.hold())
    assert (await world.run(tasks.send("a", steps(Add())))).created
    assert await world.run(tasks.trigger("a")) == Triggered(triggered=False, status="idle", outcome=Paused())
    for _ in range(2):
        await world.run(debounces.add("a", 1))
    held = Flushed(flushed=False, reason=None, outcome=Paused())
    assert await world.run(debounces.flush("a")) == held
    first = await world.run(continuous.start("a", 0, idempotency_key="k"))
    assert first == Started(created=True, status="scheduled", outcome=Paused())
    assert await world.run(continuous.start("a", 0, idempotency_key="k")) == first
    await world.advance(hours=1)
    assert world.outside.heard == []
    assert (await world.run(continuous.status("a"))).run_count == 0
    for handle in (tasks, continuous, debounces):
        await world.run(handle.release())
    await world.advance(ms=1)
    assert sorted(world.outside.heard) == ["flush of a", "tick of a"]
    assert await world.happened(ticks.address("a")) == ["job.started", "job.executed"]
    assert (await world.run(tasks.trigger("a"))).triggered


@on_each_store
async def test_a_run_in_progress_ends_and_its_retry_waits(world: World) -> None:
    retried = Continuous(
        "ticks",
        state=int,
        schedule=every("1 hour"),
        execute=greet,
        retry=Retry(max_attempts=3, delay=Backoff.constant("1 minute")),
    )
    handle = (await world.open(app(world.outside, retried))).handle(retried)
    world.suspension("tick of a")
    world.outside.breaks.add("tick of a")
    run = world.start(handle.start("a", 0))
    await world.settle()
    await world.run(handle.hold())
    world.release("tick of a")
    await world.settle()
    assert run.done()
    assert (await world.run(handle.status("a"))).status == "retrying"
    world.outside.breaks.clear()
    await world.advance(hours=1)
    assert world.outside.heard == ["tick of a"]
    await world.run(handle.release())
    await world.advance(ms=1)
    assert world.outside.heard == ["tick of a"] * 2


@program
def remind(ctx: ReminderContext) -> Do[None, Refused, HasOutside]:
    yield from say(ctx.id)


@on_each_store
async def test_every_kind_can_be_held_and_counted(world: World) -> None:
    reminder = Reminder.of("reminder", remind)
    jobs = await world.open(App(world.outside).with_jobs(reminder))
    handle, named = jobs.handle(reminder), jobs.handle_by_name("reminder", "reminder")
    await world.run(named.hold())
    for id_ in "abc":
        await world.run(handle.wish(id_, id_))
    await world.advance(minutes=5)
    assert world.outside.heard == []
    assert await world.run(named.count()) == JobCount(hold="held", by_status={"scheduled": 3})
    assert (await world.run(handle.count())).total == 3
    await world.run(named.release())
    await world.advance(ms=1)
    assert sorted(world.outside.heard) == ["a", "b", "c"]


@on_each_store
async def test_many_held_alarms_delay_no_other(world: World) -> None:
    jobs = await world.open(app(world.outside, machine, ticks, alarm_batch=2))
    handle = jobs.handle(machine)
    await world.run(handle.hold())
    for number in range(9):
        await world.run(handle.send(f"{number}", ALARM))
    await world.advance(minutes=2)
    await world.run(jobs.handle(ticks).start("tick", 0))
    await world.advance(hours=1)
    assert world.outside.heard.count("tick of tick") == 2
    assert "rang" not in world.outside.heard


@on_each_store
async def test_an_alarm_that_waits_in_a_mailbox_waits_for_the_release(world: World) -> None:
    """It was fired before the hold, and its turn comes after it."""
    jobs = await world.open(app(world.outside))
    handle = jobs.handle(machine)
    await world.run(handle.send("a", ALARM))
    slow = world.start(handle.send("a", steps(Wait(120_000), Add())))
    await world.advance(s=90)
    await world.run(handle.hold())
    await world.advance(s=60)
    assert slow.done()
    assert world.outside.heard == []
    explained = await world.run(jobs.explain(machine, "a", "alarm"))
    assert isinstance(explained, Explained)
    assert explained.result == Success(None)
    await world.run(handle.release())
    await world.advance(ms=1)
    assert world.outside.heard == ["rang"]


def test_the_reproduction_of_a_world_holds_and_releases_the_job() -> None:
    with testing.World(App(None).with_jobs(plain)) as world:
        handle = world.handle(plain)
        world.run(handle.hold())
        world.run(handle.release())
        assert "world.run(world.handle(plain).hold())" in world.trace_text()
        assert "world.run(world.handle(plain).release())" in world.trace_text()


@on_each_store
async def test_a_hold_that_is_not_stored_holds_nothing(world: World) -> None:
    handle = (await world.open(app(world.outside))).handle(machine)
    await world.run(handle.send("a", ALARM))
    world.fail("set_hold", StoreUnavailable("hold", "the disk is full"))
    assert isinstance(await world.attempt(handle.hold()), Failure)
    await world.advance(minutes=1)
    assert world.outside.heard == ["rang"]

"""Stored events name their origin: the message that caused them, the hook that set an alarm, how long a run took."""

from datetime import timedelta
from typing import Any

import pytest
from collected import Collected
from machine import Add, AlarmIn, Break, Call, OnAlarm, Refuse, Say, Tell, Wait, app, at, machine, machine_with, steps
from mailbag import add, opened
from world import World, on_each_store

from perdure import Backoff, Do, Retry, TaskContext, TaskErrorContext, program
from perdure.jobs.transitions import MAX_TOLD
from perdure.values.event import (
    DebounceFlushed,
    JobExecuted,
    JobRetryExhausted,
    JobStarted,
    MessageDeadLettered,
    MessageRedriven,
    TaskScheduled,
)
from perdure.values.live_event import MessageDelivered


async def events(world: World, id_: str, wanted: type) -> list[Any]:
    return [event for event in await world.history(at(id_)) if isinstance(event, wanted)]


@on_each_store
async def test_a_created_instance_names_the_instance_that_sent_it_a_message(world: World) -> None:
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", steps(Tell("b"), Tell("c", (Say("hello"),)))))
    told_by = [[event.told_by for event in await events(world, id_, JobStarted)] for id_ in "abc"]
    assert told_by == [[None], ["task:machine:a"], ["task:machine:a"]]


@on_each_store
async def test_a_run_names_the_receivers_of_its_messages_once_each(world: World) -> None:
    jobs = (await world.open(app(world.outside))).handle(machine)
    many = tuple(Tell(str(number)) for number in range(MAX_TOLD + 1))
    await world.run(jobs.send("a", OnAlarm(1_000, (Tell("0"), Tell("0"), Tell("1")))))
    await world.run(jobs.send("b", OnAlarm(1_000, many)))
    await world.advance(s=2)
    assert [event.told for event in await events(world, "a", JobExecuted)] == [("task:machine:0", "task:machine:1")]
    assert [event.told for event in await events(world, "b", JobExecuted)] == [
        tuple(f"task:machine:{number}" for number in range(MAX_TOLD))
    ]


@on_each_store
async def test_a_run_names_the_instance_whose_message_triggered_it(world: World) -> None:
    """Also if it is delivered again after a crash."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("b", OnAlarm(60_000, (Say("hello"), Wait(1_000), Add()))))
    await world.run(jobs.send("a", steps(Call("b", "trigger"))))
    await world.crash()
    await world.open(app(world.outside))
    await world.advance(s=2)
    assert [(event.told_by, event.delivery) for event in await events(world, "b", JobExecuted)] == [
        ("task:machine:a", 2)
    ]


@program
def idle(ctx: TaskContext[Any]) -> Do[None]:
    yield from ctx.schedule(after="1 hour")


@program
def schedule_again(ctx: TaskErrorContext[Any, Any], _error: object) -> Do[None]:
    yield from ctx.schedule(after="1 hour")


@pytest.mark.parametrize(
    ("event", "hooks", "expected"),
    [
        (OnAlarm(1_000), {}, ["on_event"]),
        (OnAlarm(1_000, (AlarmIn(60_000),)), {}, ["on_event", "execute"]),
        (steps(Add()), {"on_idle": idle}, ["on_idle"]),
        (steps(Refuse()), {"on_error": schedule_again}, ["on_error"]),
    ],
)
@on_each_store
async def test_a_set_alarm_names_its_hook(world: World, event: Any, hooks: dict[str, Any], expected: list[str]) -> None:
    job = machine_with(**hooks)
    jobs = (await world.open(app(world.outside, job))).handle(job)
    await world.run(jobs.send("a", event))
    await world.advance(s=2)
    assert [event.hook for event in await events(world, "a", TaskScheduled)] == expected


@on_each_store
async def test_an_exhausted_run_says_how_long_its_last_attempt_took(world: World) -> None:
    job = machine_with(retry=Retry(2, Backoff.constant("1 second")))
    jobs = (await world.open(app(world.outside, job))).handle(job)
    await world.run(jobs.send("a", OnAlarm(1_000, (Wait(300), Refuse()))))
    await world.advance(s=10)
    (exhausted,) = await events(world, "a", JobRetryExhausted)
    assert (exhausted.attempt, exhausted.delivery, exhausted.duration) == (2, 1, timedelta(milliseconds=300))


@on_each_store
async def test_a_flushed_batch_says_its_attempt_and_its_duration(world: World) -> None:
    jobs = await opened(world)
    await add(world, jobs, "x")
    world.outside.refusals["deliver"] = 1
    await world.advance(s=6)
    world.suspension("deliver")
    await world.advance(s=20)
    await world.advance(s=2)
    world.release("deliver")
    await world.settle()
    history = await world.history(jobs.definition.address("a"))
    executed, flushed = [event for event in history if isinstance(event, JobExecuted | DebounceFlushed)]
    assert (flushed.attempt, flushed.delivery) == (2, 1)
    assert flushed.duration == executed.duration > timedelta(seconds=1)


# ---------------------------------------------------------------- dead letters
@on_each_store
async def test_a_dead_letter_and_its_redrive_are_events_of_its_target(world: World) -> None:
    sink = Collected()
    jobs = (await world.open(app(world.outside, message_deliveries=2).with_sinks(sink))).handle(machine)
    world.outside.breaks.add("odd")
    await world.run(jobs.send("a", steps(Tell("b", (Say("odd"),)))))
    await world.advance(minutes=1)
    (dead,) = await events(world, "b", MessageDeadLettered)
    assert (dead.sender, dead.action, dead.deliveries, dead.error.error_type) == (
        "task:machine:a",
        "send",
        2,
        "RuntimeError",
    )
    world.outside.breaks.clear()
    assert await world.run(world.jobs.redrive(dead.message_id)) == "redriven"
    assert await world.run(world.jobs.redrive(dead.message_id)) == "not_found"
    (redriven,) = await events(world, "b", MessageRedriven)
    assert (redriven.message_id, redriven.sender, redriven.by) == (dead.message_id, "task:machine:a", None)
    assert sink.of(MessageDeadLettered, MessageRedriven) == [dead, redriven]
    assert sink.of(MessageDelivered)[-1].outcome == "consumed"


@on_each_store
async def test_without_history_the_events_of_a_dead_letter_reach_only_sinks(world: World) -> None:
    sink = Collected()
    without = app(world.outside, message_deliveries=1, history_events=0).with_sinks(sink)
    jobs = (await world.open(without)).handle(machine)
    await world.run(jobs.send("a", steps(Tell("b", (Break(),)))))
    await world.advance(s=1)
    (dead,) = sink.of(MessageDeadLettered)
    await world.run(world.jobs.redrive(dead.message_id))
    await world.advance(s=1)
    assert sink.types(MessageDeadLettered, MessageRedriven) == [
        MessageDeadLettered,
        MessageRedriven,
        MessageDeadLettered,
    ]
    assert await world.history(at("b")) == []

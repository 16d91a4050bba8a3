"""A full queue refuses, or lets its callers wait, as the limits say; the engine's own work remains bounded."""

import pytest
from machine import Add, OnAlarm, Total, Wait, app, machine, steps
from returns.result import Failure, Success
from world import World, on_each_store

from perdure import App, Limits
from perdure.client.local_gateway import engine_of
from perdure.values.errors import DefinitionError, EngineClosed, Overloaded


def failures(calls):
    return [call.result().failure() for call in calls if call.done() and isinstance(call.result(), Failure)]


@on_each_store
async def test_served_callers_count_like_waiting_ones(world: World) -> None:
    """A thousand slow requests to a thousand instances are as many as a thousand to one."""
    jobs = (await world.open(app(world.outside, max_pending=3))).handle(machine)
    served = [world.start(jobs.send(id_, steps(Wait(1_000), Add()))) for id_ in "abc"]
    await world.settle()
    refused = await world.error_of(jobs.send("d", steps(Add())))
    assert isinstance(refused, Overloaded)
    assert (refused.what, refused.limit) == ("the engine's queue", 3)
    await world.advance(s=1)
    assert all(isinstance(call.result(), Success) for call in served)
    assert isinstance(await world.attempt(jobs.send("d", steps(Add()))), Success)


@on_each_store
async def test_runs_that_wait_for_a_place_are_bounded(world: World) -> None:
    jobs = (await world.open(app(world.outside, max_pending=4, concurrency=1))).handle(machine)
    calls = [world.start(jobs.send(str(number), steps(Wait(1_000), Add()))) for number in range(9)]
    await world.settle()
    assert len(failures(calls)) == 5
    await world.advance(s=4)
    assert sum(isinstance(call.result(), Success) for call in calls) == 4


@on_each_store
async def test_a_burst_of_slow_alarms_refuses_no_caller(world: World) -> None:
    """Alarms that wait for a place are as many as requests may be, and take none of their room."""
    jobs = (await world.open(app(world.outside, max_pending=5, concurrency=2))).handle(machine)
    for number in range(20):
        await world.run(jobs.send(str(number), OnAlarm(1_000, (Wait(1_000), Add()))))
    await world.advance(s=1)
    most = 0
    for _ in range(20):
        assert isinstance(await world.attempt(jobs.send("other", steps(Add()))), Success)
        most = max(most, engine_of(world.jobs).alarms.under_way)
        await world.advance(ms=500)
    assert most == 5
    await world.advance(s=1)
    assert [(await world.run(jobs.get_state(str(number)))).total for number in range(20)] == [1] * 20


@pytest.mark.parametrize(
    "limits", [{"mailbox_size": 1}, {"max_pending": 1}, {"max_pending": 2, "mailbox_size": 1, "concurrency": 1}]
)
@on_each_store
async def test_callers_wait_if_the_limits_say_so(world: World, limits: dict[str, int]) -> None:
    """No caller is refused, and every request is applied once."""
    jobs = (await world.open(app(world.outside, on_full="block", **limits))).handle(machine)
    calls = [world.start(jobs.send(id_, steps(Wait(10), Add()))) for id_ in "aabbccaaab"]
    await world.advance(s=1)
    assert all(isinstance(call.result(), Success) for call in calls)
    assert [await world.run(jobs.get_state(id_)) for id_ in "abc"] == [Total(5), Total(3), Total(2)]


@on_each_store
async def test_a_full_mailbox_refuses_no_call_to_another_instance(world: World) -> None:
    jobs = (await world.open(app(world.outside, on_full="block", mailbox_size=1))).handle(machine)
    slow = [world.start(jobs.send("slow", steps(Wait(60_000), Add()))) for _ in range(5)]
    await world.settle()
    assert isinstance(await world.attempt(jobs.send("quick", steps(Add()))), Success)
    assert not any(call.done() for call in slow)


@on_each_store
async def test_a_caller_that_gives_up_admits_the_next_one(world: World) -> None:
    jobs = (await world.open(app(world.outside, on_full="block", max_pending=1))).handle(machine)
    first = world.start(jobs.send("a", steps(Wait(1_000), Add())))
    await world.settle()
    impatient, patient = world.start(jobs.send("b", steps(Add()))), world.start(jobs.send("c", steps(Add())))
    await world.settle()
    impatient.cancel()
    await world.advance(s=2)
    assert isinstance(first.result(), Success)
    assert isinstance(patient.result(), Success)
    assert await world.run(jobs.get_state("b")) is None


@on_each_store
async def test_waiting_callers_receive_engine_closed(world: World) -> None:
    jobs = (await world.open(app(world.outside, on_full="block", max_pending=1))).handle(machine)
    first = world.start(jobs.send("a", steps(Wait(1_000), Add())))
    await world.settle()
    waiting = [world.start(jobs.send("b", steps(Add()))) for _ in range(3)]
    await world.settle()
    await world.close()
    assert isinstance(first.result(), Success)
    assert [type(error) for error in failures(waiting)] == [EngineClosed] * 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_pending": 0},
        {"mailbox_size": -1},
        {"concurrency": 1.5},
        {"alarm_batch": True},
        {"shutdown_timeout": "-1 s"},
        {"on_full": "drop"},
    ],
)
def test_a_limit_is_a_whole_number(wrong: dict[str, object]) -> None:
    with pytest.raises(DefinitionError, match=next(iter(wrong))):
        App(None, limits=Limits(**wrong))  # type: ignore[arg-type] # the mistake under test

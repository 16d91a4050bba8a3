"""A caller waits for the committed status of an instance, and durable transitions wake it."""

from __future__ import annotations

from typing import Any

import pytest
from machine import Add, AlarmIn, End, OnAlarm, Say, app, machine, steps
from returns.result import Success
from world import World, on_each_store

from perdure import App, Limits, Task
from perdure.client.local_gateway import engine_of
from perdure.programs import succeed
from perdure.runtime.record import SpawnedTask
from perdure.values.errors import EngineClosed, InvalidArgument, InvalidId, OutcomeUnknown, Overloaded, UnknownJob
from perdure.values.instance import Instance
from perdure.values.status import InstanceStatus
from perdure.values.status_wait import NothingStored, Reached, WaitOver

ONE = machine.encode_input("send", steps(Add()), 1_000)
NOT_FOUND = InstanceStatus(status="not_found")


def status_of(call: SpawnedTask[Any]) -> Any:
    """The status of a wait that has succeeded."""
    answer = call.result().unwrap()
    assert isinstance(answer, Reached)
    return answer.status.status


@on_each_store
async def test_the_end_wakes_its_callers_in_the_same_moment(world: World) -> None:
    jobs = await world.open(app(world.outside))
    handle = jobs.handle(machine)
    await world.run(handle.send("a", OnAlarm(3_600_000, (Add(),))))
    calls = [world.start(jobs.until(machine, "a", timeout="1 day")) for _ in range(3)]
    await world.advance(minutes=30)
    assert not any(call.done() for call in calls)
    await world.run(handle.terminate("a"))
    assert [call.result() for call in calls] == [Success(Reached(NOT_FOUND))] * 3


@on_each_store
async def test_an_end_is_seen_although_the_id_is_used_again_in_the_same_moment(world: World) -> None:
    """The next instance is stored before the caller runs, so that it could not read the end."""
    jobs = await world.open(app(world.outside))
    await world.run(jobs.handle(machine).send("a", steps(Add())))
    call = world.start(jobs.until(machine, "a", timeout="1 day"))
    await world.settle()

    async def end_and_create() -> None:
        post, address = engine_of(jobs).dispatcher.post, machine.address("a")
        requests = (machine.parse("terminate", '"over"'), machine.parse("send", ONE))
        for answer in [post(machine, address, request) for request in requests]:
            await answer

    await world.run(end_and_create())
    assert (await world.run(jobs.handle(machine).status("a"))).status == "idle"
    assert call.result() == Success(Reached(NOT_FOUND))


@on_each_store
async def test_a_status_between_two_others_is_not_missed(world: World) -> None:
    """A run is claimed and settled: a caller that waits for `running` is answered, with the committed claim."""
    jobs = await world.open(app(world.outside))
    handle = jobs.handle(machine)
    await world.run(handle.send("a", OnAlarm(60_000, (Say("hello"),))))
    running = world.start(jobs.until(machine, "a", "running", timeout="1 hour"))
    idle = world.start(jobs.until(machine, "a", "idle", "parked", timeout="1 hour"))
    later = world.start(jobs.until(machine, "b", "scheduled", timeout="1 hour"))
    await world.advance(minutes=1)
    assert (status_of(running), status_of(idle), later.done()) == ("running", "idle", False)
    await world.run(handle.send("b", steps(AlarmIn(60_000))))
    assert status_of(later) == "scheduled"


@on_each_store
async def test_a_status_that_the_instance_has_is_answered_at_once(world: World) -> None:
    jobs = await world.open(app(world.outside))
    handle = jobs.handle(machine)
    assert isinstance(await world.error_of(jobs.until(machine, "a")), NothingStored)
    assert await world.run(jobs.until(machine, "a", "not_found", "idle")) == Reached(NOT_FOUND)
    await world.run(handle.send("a", steps(AlarmIn(60_000))))
    found = await world.run(jobs.until(machine, "a", "scheduled"))
    assert found == Reached(await world.run(handle.status("a")))
    await world.run(handle.send("a", steps(End("over"))))
    assert await world.run(jobs.until(machine, "a")) == Reached(NOT_FOUND)


@on_each_store
async def test_a_wait_ends_with_its_time_and_tells_the_status(world: World) -> None:
    jobs = await world.open(app(world.outside))
    handle = jobs.handle(machine)
    await world.run(handle.send("a", OnAlarm(3_600_000, (Add(),))))
    at_once = await world.error_of(jobs.until(machine, "a", timeout="0 ms"))
    assert isinstance(at_once, WaitOver)
    assert at_once.status == await world.run(handle.status("a"))
    assert "task:machine:a was scheduled, not ended" in str(at_once)
    late = world.start(jobs.until(machine, "a", timeout="10 minutes"))
    await world.advance(ms=600_000 - 1)
    assert not late.done()
    await world.run(handle.pause("a"))
    await world.advance(ms=1)
    answer = late.result().failure()
    assert isinstance(answer, WaitOver)
    assert answer.status.status == "paused"


@on_each_store
async def test_callers_are_bounded_and_a_cancelled_one_leaves_its_place(world: World) -> None:
    jobs = await world.open(App(world.outside, limits=Limits(waits=2)).with_jobs(machine))
    calls = [world.start(jobs.until(machine, id_, "idle", timeout="1 hour")) for id_ in "ab"]
    await world.settle()
    refused = await world.error_of(jobs.until(machine, "c", "idle"))
    assert isinstance(refused, Overloaded)
    assert refused.limit == 2
    calls[0].cancel()
    await world.settle()
    third = world.start(jobs.until(machine, "c", "idle", timeout="1 hour"))
    await world.run(jobs.handle(machine).send("c", steps(Add())))
    assert status_of(third) == "idle"


@on_each_store
async def test_an_engine_that_stops_answers_its_callers(world: World) -> None:
    jobs = await world.open(app(world.outside))
    call = world.start(jobs.until(machine, "a", "idle", timeout="1 day"))
    await world.settle()
    engine_of(jobs).begin_stop()
    await world.settle()
    assert isinstance(call.result().failure(), EngineClosed)
    assert isinstance(await world.error_of(jobs.until(machine, "a", "idle")), EngineClosed)


@on_each_store
async def test_a_commit_with_an_unknown_outcome_is_read_again(world: World) -> None:
    """The store applied it and lost the answer: the caller is woken all the same."""
    jobs = await world.open(app(world.outside))
    handle = jobs.handle(machine)
    call = world.start(jobs.until(machine, "a", "idle", timeout="1 day"))
    await world.settle()
    world.fail("commit", OutcomeUnknown("lost"), applied=True)
    assert isinstance(await world.error_of(handle.send("a", steps(Add()))), OutcomeUnknown)
    assert status_of(call) == "idle"


class Kept(Task[Any, Any, Any, Any]):
    """A kind that keeps an ended instance, and reports a phase."""

    def is_over(self, instance: Instance) -> bool:
        return instance.event_count >= 2

    def report(self, instance: Instance) -> InstanceStatus:
        if instance.event_count == 3:
            raise ZeroDivisionError
        return InstanceStatus(status="idle", phase=f"phase {instance.event_count}")


def kept() -> Kept:
    return Kept("kept", state=int, event=int, initial=0, on_event=lambda *_: succeed(None))


@on_each_store
async def test_a_kind_decides_its_end_and_its_phases(world: World) -> None:
    job = kept()
    jobs = await world.open(App(world.outside).with_jobs(job))
    handle = jobs.handle(job)
    await world.run(handle.send("a", 1))
    end = world.start(jobs.until(job, "a"))
    phase = world.start(jobs.until(job, "a", phases=("phase 2",)))
    by_name = world.start(jobs.handle_by_name("task", "kept").until("a", phases=("phase 9", "phase 2")))
    await world.settle()
    assert not end.done()
    await world.run(handle.send("a", 2))
    assert [call.result().unwrap().status.phase for call in (end, phase, by_name)] == ["phase 2"] * 3


@on_each_store
async def test_a_kind_whose_report_raises_breaks_its_caller_and_no_commit(world: World) -> None:
    job = kept()
    jobs = await world.open(App(world.outside).with_jobs(job))
    handle = jobs.handle(job)
    for event in (1, 2):
        await world.run(handle.send("a", event))
    call = world.start(jobs.until(job, "a", "paused"))
    await world.settle()
    assert isinstance(await world.attempt(handle.send("a", 3)), Success)
    with pytest.raises(ZeroDivisionError):
        call.result()


@on_each_store
async def test_wrong_arguments_are_refused(world: World) -> None:
    jobs = await world.open(app(world.outside))
    wait: Any = jobs.until
    for wrong in (
        wait(machine, "a", "finished"),
        wait(machine, "a", timeout=5),
        wait(machine, "a", timeout="-1 s"),
        wait(machine, "a", phases="done"),
        wait(machine, "a", phases=(1,)),
        wait(machine, "a", *["idle"] * 21),
        wait("machine", "a"),
    ):
        assert isinstance(await world.error_of(wrong), InvalidArgument)
    assert isinstance(await world.error_of(wait(machine, "")), InvalidId)
    assert isinstance(await world.error_of(wait(kept(), "a")), UnknownJob)

"""``reference/behaviour.md`` 1, *Ending*, *Pausing* and *Parking*."""

from typing import Any

import pytest
from attrs import frozen
from machine import (
    Add,
    AlarmIn,
    End,
    Note,
    OnAlarm,
    Refuse,
    Say,
    Steps,
    Tell,
    Total,
    Wait,
    app,
    at,
    machine,
    machine_with,
    steps,
)
from returns.primitives.exceptions import UnwrapFailedError
from returns.result import Success
from world import World, on_each_store

from perdure import App, Backoff, Do, Retry, Task, TaskContext, program, succeed
from perdure.client.local_gateway import engine_of
from perdure.jobs.request import Request, Terminate
from perdure.stores.contract import commit_one
from perdure.values.answer import Sent, Terminated
from perdure.values.errors import Conflict, InstanceParked, Undecodable
from perdure.values.instance import Fence
from perdure.values.outcome import Completed, Paused, SelfTerminated


# ---------------------------------------------------------------- ending
@on_each_store
async def test_terminate_cancels_the_alarm_and_purges(world: World) -> None:
    """`terminate(id, reason)` cancels the alarm and purges the instance; the id can be used again…"""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(1_000, (Say("fired"),))))
    before = await world.row(at("a"))
    assert await world.run(jobs.terminate("a", "enough")) == Terminated(terminated=True, reason="enough")
    await world.advance(s=5)
    assert world.outside.heard == []
    assert (await world.run(jobs.send("a", steps()))).created
    after = await world.row(at("a"))
    assert before is not None
    assert after is not None
    assert after.incarnation > before.incarnation


@on_each_store
async def test_nothing_of_an_old_incarnation_commits_into_the_new_one(world: World) -> None:
    """…as a new incarnation: nothing of the old one can commit into it."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", steps(Add())))
    old = world.commits[-1]
    await world.run(jobs.terminate("a"))
    await world.run(jobs.send("a", steps()))
    assert old.expected is None
    await world.run(jobs.send("a", steps()))
    late = world.commits[-1]
    await world.run(jobs.terminate("a"))
    await world.run(jobs.send("a", steps()))
    before = await world.row(at("a"))
    assert isinstance(late.expected, Fence)
    with pytest.raises(UnwrapFailedError) as refused:
        await world.inspect(lambda store: commit_one(store, late))
    assert isinstance(refused.value.halted_container.failure(), Conflict)
    assert await world.row(at("a")) == before


@pytest.mark.parametrize("hook", ["on_event", "execute", "on_idle", "on_error"])
@on_each_store
async def test_terminate_may_be_called_inside_every_hook(world: World, hook: str) -> None:
    """It may be called inside every hook. Every termination emits `job.terminated` with its reason, from any caller."""

    @program
    def end(ctx: TaskContext[Total], *_: Any) -> Do[None]:
        yield from ctx.terminate(f"by {hook}")

    given: dict[str, Any] = {hook: end} if hook != "on_error" else {hook: end, "execute": _refuse}
    job = machine_with(**given)
    jobs = (await world.open(app(world.outside, job))).handle(job)
    if hook in ("execute", "on_error"):
        await world.run(jobs.send("a", OnAlarm(3_600_000)))
        assert (await world.run(jobs.trigger("a"))).outcome == SelfTerminated(f"by {hook}")
    else:
        assert await world.run(jobs.send("a", steps())) == Sent(created=True, status=None, scheduled_at=None)
    assert await world.row(at("a")) is None
    (ended,) = [event for event in await world.history(at("a")) if event.type == "job.terminated"]
    assert ended.reason == f"by {hook}"


@program
def _refuse(ctx: TaskContext[Total]) -> Do[None]:
    yield from ctx.set_state(Total(5))
    raise RuntimeError


@on_each_store
async def test_the_caller_that_terminates_it_is_in_the_log(world: World) -> None:
    """Every termination emits `job.terminated` with its reason: of a caller, a message, a policy."""
    job = machine_with(retry=Retry(max_attempts=1, on_exhausted="purge"))
    jobs = (await world.open(app(world.outside, job))).handle(job)
    await world.run(jobs.send("a", OnAlarm(3_600_000, (Refuse(),))))
    await world.run(jobs.trigger("a"))
    await world.run(jobs.send("a", steps()))
    await world.run(jobs.terminate("a", "by hand"))
    reasons = [event.reason for event in await world.history(at("a")) if event.type == "job.terminated"]
    assert reasons == ["retries_exhausted", "by hand"]


@on_each_store
async def test_during_a_run_it_goes_to_the_head_of_the_queue(world: World) -> None:
    """During a run it goes to the head of the queue…"""
    jobs = (await world.open(app(world.outside))).handle(machine)
    run = world.start(jobs.send("a", steps(Wait(1_000), Add())))
    await world.settle()
    later = world.start(jobs.send("a", steps(Add(10))))
    await world.settle()
    ended = world.start(jobs.terminate("a"))
    await world.advance(s=1)
    assert isinstance(run.result(), Success)
    assert ended.result() == Success(Terminated(terminated=True, reason="terminated"))
    assert later.result().unwrap().created
    assert await world.run(jobs.get_state("a")) == Total(10)


@pytest.mark.parametrize("busy", [(Wait(3_600_000),), (Say("x"), Wait(3_600_000)), (Say("held"),)])
@on_each_store
async def test_interrupt_cancels_an_event_first(world: World, busy: tuple[Any, ...]) -> None:
    """…`interrupt=True` cancels the run first."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    world.suspension("held")
    call = world.start(jobs.send("a", steps(*busy, Say("never"))))
    await world.settle()
    before_ms = world.now_ms
    await world.run(jobs.terminate("a", interrupt=True))
    assert world.now_ms == before_ms
    assert call.result() == Success(Sent(created=True, status=None, scheduled_at=None))
    assert await world.row(at("a")) is None
    assert "never" not in world.outside.heard


@on_each_store
async def test_interrupt_cancels_a_run_first(world: World) -> None:
    """…`interrupt=True` cancels the run first."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(3_600_000, (Wait(3_600_000), Say("never")))))
    call = world.start(jobs.trigger("a"))
    await world.settle()
    await world.run(jobs.terminate("a", interrupt=True))
    assert call.result().unwrap().outcome == SelfTerminated("interrupted")
    assert await world.row(at("a")) is None


@on_each_store
async def test_an_interrupt_by_name_cancels_a_run_too(world: World) -> None:
    jobs = await world.open(app(world.outside))
    await world.run(jobs.handle(machine).send("a", OnAlarm(3_600_000, (Wait(3_600_000), Say("never")))))
    call = world.start(jobs.handle(machine).trigger("a"))
    await world.settle()
    before_ms = world.now_ms
    await world.run(jobs.handle_by_name("task", "machine").call("terminate", "a", '"by hand"', interrupt=True))
    assert (call.result().unwrap().outcome, world.now_ms) == (SelfTerminated("interrupted"), before_ms)


@on_each_store
async def test_an_interrupt_whose_caller_gave_up_leaves_no_run_behind(world: World) -> None:
    """No instance is left without its alarm: a run that was interrupted for nothing is delivered again."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(3_600_000, (Note(), Wait(60_000), Add()))))
    world.start(jobs.trigger("a"))
    await world.settle()

    async def withdraw() -> None:
        request = Request(command=Terminate("late", "interrupt"), action="terminate", payload='"late"')
        engine_of(world.jobs).dispatcher.post(machine, at("a"), request).cancel()

    await world.run(withdraw())
    await world.advance(minutes=2)
    row = await world.row(at("a"))
    state = await world.run(jobs.get_state("a"))
    assert row is not None
    assert state is not None
    assert (row.claim, state.total, state.seen[0].delivery) == (None, 1, 2)


@on_each_store
async def test_interrupt_reaches_a_run_whose_claim_is_being_written(world: World) -> None:
    """…cancels the run first: it has not begun, and does not begin."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(3_600_000, (Say("never"),))))
    world.slow("commit", ms=500)
    call = world.start(jobs.trigger("a"))
    await world.settle()
    ended = world.start(jobs.terminate("a", interrupt=True))
    await world.advance(s=1)
    assert call.result().unwrap().outcome == SelfTerminated("interrupted")
    assert ended.result().unwrap().terminated
    assert await world.row(at("a")) is None
    assert world.outside.heard == []


@on_each_store
async def test_interrupt_reaches_a_run_that_waits_for_its_place(world: World) -> None:
    """…cancels the run first: also one that has not begun."""
    jobs = (await world.open(app(world.outside, concurrency=1))).handle(machine)
    world.start(jobs.send("busy", steps(Wait(60_000))))
    await world.settle()
    waiting = world.start(jobs.send("a", steps(Say("never"))))
    await world.settle()
    ended = world.start(jobs.terminate("a", interrupt=True))
    await world.advance(minutes=1)
    assert waiting.result() == Success(Sent(created=True, status=None, scheduled_at=None))
    assert ended.done()
    assert world.outside.heard == []


# ---------------------------------------------------------------- pausing
@on_each_store
async def test_pause_holds_alarms_and_resume_restores_them(world: World) -> None:
    """`pause(id)` holds alarms and retries; hooks still handle events; `trigger` answers `Paused`. `resume(id)`
    restores the alarm."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(10_000, (Say("fired"),))))
    await world.run(jobs.pause("a"))
    await world.advance(s=5)
    await world.run(jobs.send("a", steps(Add())))
    assert (await world.run(jobs.trigger("a"))).outcome == Paused()
    await world.run(jobs.resume("a"))
    assert world.outside.heard == []
    await world.advance(s=4)
    assert world.outside.heard == []
    await world.advance(s=1)
    assert world.outside.heard == ["fired"]
    assert [event for event in await world.happened(at("a")) if event in ("job.paused", "job.resumed")] == [
        "job.paused",
        "job.resumed",
    ]


@on_each_store
async def test_an_overdue_alarm_fires_once_on_resume(world: World) -> None:
    """`resume(id)` restores the alarm (once, if overdue)."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(1_000, (Say("fired"),))))
    await world.run(jobs.pause("a"))
    await world.advance(hours=1)
    assert world.outside.heard == []
    await world.run(jobs.resume("a"))
    await world.advance(hours=1)
    assert world.outside.heard == ["fired"]


@on_each_store
async def test_pause_holds_retries(world: World) -> None:
    """`pause(id)` holds alarms and retries."""
    job = machine_with(retry=Retry(max_attempts=2, delay=Backoff.constant("1 second"), jitter=False))
    jobs = (await world.open(app(world.outside, job))).handle(job)
    world.outside.refusals["x"] = 1
    await world.run(jobs.send("a", OnAlarm(3_600_000, (Say("x"),))))
    await world.run(jobs.trigger("a"))
    await world.run(jobs.pause("a"))
    await world.advance(minutes=5)
    assert world.outside.heard == ["x"]
    await world.run(jobs.resume("a"))
    assert world.outside.heard == ["x", "x"]
    assert (await world.run(jobs.status("a"))).status == "scheduled"


@on_each_store
async def test_an_alarm_set_while_paused_waits(world: World) -> None:
    """Hooks still handle events: alarms that they set wait as well."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", steps()))
    await world.run(jobs.pause("a"))
    sent = await world.run(jobs.send("a", OnAlarm(1_000, (Say("fired"),))))
    assert sent.status == "paused"
    await world.advance(s=5)
    assert world.outside.heard == []
    await world.run(jobs.resume("a"))
    assert world.outside.heard == ["fired"]


@on_each_store
async def test_a_pause_survives_a_restart(world: World) -> None:
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(1_000, (Say("fired"),))))
    await world.run(jobs.pause("a"))
    await world.crash()
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.advance(s=5)
    assert (await world.run(jobs.status("a"))).status == "paused"
    assert world.outside.heard == []


# ---------------------------------------------------------------- parking
@on_each_store
async def test_parked_means_kept_visible_silent_and_resumable(world: World) -> None:
    """Parked means kept, visible, silent and resumable, with the reason: retries exhausted…"""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(1_000, (Add(), Say("x"), AlarmIn(5_000)))))
    world.outside.refusals["x"] = 1
    await world.advance(s=1)
    status = await world.run(jobs.status("a"))
    assert (status.status, status.parked, status.next_run_at) == ("parked", "retries_exhausted", None)
    await world.advance(hours=10)
    assert world.outside.heard == ["x"]
    error = await world.error_of(jobs.send("a", steps()))
    assert isinstance(error, InstanceParked)
    assert error.reason == "retries_exhausted"
    state = await world.run(jobs.get_state("a"))
    assert state is not None
    assert state.total == 0
    assert (await world.run(jobs.resume("a"))).changed
    state = await world.run(jobs.get_state("a"))
    assert state is not None
    assert state.total == 1
    assert (await world.run(jobs.status("a"))).status == "scheduled"
    assert (await world.happened(at("a")))[-4:] == ["job.parked", "job.resumed", "job.executed", "task.scheduled"]


@frozen
class OldTotal:
    total: str = "many"  # `Total` has a number


def old() -> Task[Any, Any, Any, Any]:
    @program
    def schedule(ctx: TaskContext[OldTotal], _: Steps) -> Do[None]:
        yield from ctx.schedule(after="1 hour")

    return Task(
        "machine",
        state=OldTotal,
        event=Steps,
        initial=OldTotal(),
        on_event=schedule,
        execute=lambda _: succeed(None),
    )


@pytest.mark.parametrize("woken_by", ["send", "trigger", "alarm", "get_state"])
@on_each_store
async def test_an_instance_that_cannot_be_read_is_left_and_never_looped_over(world: World, woken_by: str) -> None:
    """An instance that this code cannot read is never deleted, never looped over: only its mark changes; an engine that
    can read it continues it."""
    before = old()
    jobs = (await world.open(App(world.outside).with_jobs(before))).handle(before)
    await world.run(jobs.send("a", steps()))
    stored = await world.row(at("a"))
    assert stored is not None
    await world.close()

    new = (await world.open(app(world.outside))).handle(machine)
    match woken_by:
        case "send":
            assert isinstance(await world.error_of(new.send("a", steps())), Undecodable)
        case "trigger":
            assert isinstance(await world.error_of(new.trigger("a")), Undecodable)
        case "alarm":
            await world.advance(hours=1)
        case _:
            assert isinstance(await world.error_of(new.get_state("a")), Undecodable)
    commits = len(world.commits)
    await world.advance(hours=5)
    assert len(world.commits) == commits + (woken_by == "get_state")
    row = await world.row(at("a"))
    assert row is not None
    assert (row.status, row.suspension, row.state, row.alarm_ms) == ("left", None, stored.state, stored.alarm_ms)
    assert (await world.happened(at("a")))[-1] == "job.left"
    assert (await world.run(new.status("a"))).left is not None
    await world.close()

    jobs = (await world.open(App(world.outside).with_jobs(before))).handle(before)
    row = await world.row(at("a"))
    assert row is not None
    assert (row.suspension, row.alarm_ms) == (None, None)  # it was overdue, so it fired at once
    assert await world.happened(at("a")) == [
        "job.started",
        "task.scheduled",
        "job.left",
        "job.resumed",
        "job.executed",
    ]


@on_each_store
async def test_a_claimed_event_that_cannot_be_decoded_waits_with_its_bytes(world: World) -> None:
    """Undecodable: an event that was being handled when the process died, too."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    world.suspension("x")
    world.start(jobs.send("a", steps(Say("x"), Add())))
    await world.settle()
    await world.crash()
    world.outside.held.clear()

    narrow = Task("machine", state=Total, event=OldTotal, initial=Total(), on_event=lambda _, __: Success(None))
    await world.open(App(world.outside).with_jobs(narrow))
    row = await world.row(at("a"))
    assert row is not None
    assert row.left is not None
    assert row.event_claim is not None
    await world.close()

    jobs = (await world.open(app(world.outside))).handle(machine)
    assert await world.run(jobs.get_state("a")) == Total(1)


@on_each_store
async def test_instances_of_a_job_that_is_not_served_are_not_touched(world: World) -> None:
    """Instances of a job that is not served here are not touched. `orphaned` is computed."""
    other = Task("other", state=Total, event=Steps, initial=Total(), on_event=lambda _, __: Success(None))
    jobs = (await world.open(app(world.outside, machine, other))).handle(machine)
    await world.run(jobs.send("due", OnAlarm(1_000, (Say("fired"),))))
    await world.run(jobs.send("told", steps()))
    world.suspension("x")
    world.start(jobs.send("claimed", steps(Say("x"), Tell("told", (End(),)))))
    await world.settle()
    await world.crash()
    world.outside.held.clear()

    both = await world.open(app(world.outside, other))
    before = [await world.row(at(id_)) for id_ in ("due", "told", "claimed")]
    await world.advance(hours=1)
    assert [await world.row(at(id_)) for id_ in ("due", "told", "claimed")] == before
    listed = await world.run(both.list())
    assert [(entry.address.id, entry.status) for entry in listed] == [
        (id_, "orphaned") for id_ in ("claimed", "due", "told")
    ]
    assert (await world.run(both.list(status="orphaned"))).instances == listed.instances
    await world.close()

    await world.open(app(world.outside))
    assert world.outside.heard in (["x", "x", "fired"], ["x", "fired", "x"])
    assert await world.row(at("told")) is None


@on_each_store
async def test_resuming_a_run_keeps_its_identity(world: World) -> None:
    """`ctx.run_id`: stable over all repeats of one logical run; resuming shows that it was tried before."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(3_600_000, (Note(), Say("x")))))
    world.outside.refusals["x"] = 1
    await world.run(jobs.trigger("a"))
    failed = next(event for event in await world.history(at("a")) if event.type == "job.failed")
    await world.run(jobs.resume("a"))
    state = await world.run(jobs.get_state("a"))
    assert state is not None
    (seen,) = state.seen
    assert (seen.run_id, seen.attempt, seen.delivery, seen.is_retry) == (failed.run_id, 2, 1, True)
    assert (await world.run(jobs.trigger("a"))).outcome == Completed()

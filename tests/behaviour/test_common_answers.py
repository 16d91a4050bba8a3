"""``reference/behaviour.md`` 1, *Answers*: who owns a turn, and the answers of callers when something is lost."""

from typing import Any

import pytest
from machine import Add, AlarmIn, End, OnAlarm, Refuse, Say, Total, Wait, app, at, machine, machine_with, steps
from returns.result import Failure, Success
from world import HasOutside, Refused, World, on_each_store, say

from perdure import Backoff, Do, Retry, TaskContext, program
from perdure.client.local_gateway import engine_of
from perdure.programs import gather, race, sleep
from perdure.values.errors import (
    Conflict,
    EngineClosed,
    HookRaised,
    OutcomeUnknown,
    Overloaded,
    RunTimeout,
    StoreUnavailable,
)
from perdure.values.outcome import Completed, Failed, Retrying, Running, SelfTerminated
from perdure.values.status import Defect


# ---------------------------------------------------------------- the caller goes away
@on_each_store
async def test_cancelling_a_caller_removes_a_queued_request(world: World) -> None:
    """The engine owns a turn: cancelling a caller removes a request still queued…"""
    jobs = (await world.open(app(world.outside))).handle(machine)
    first = world.start(jobs.send("a", steps(Wait(1_000))))
    await world.settle()
    queued = world.start(jobs.send("a", steps(Add())))
    await world.settle()
    queued.cancel()
    await world.advance(s=1)
    assert isinstance(first.result(), Success)
    assert await world.run(jobs.get_state("a")) == Total(0)


@pytest.mark.parametrize("before", [Wait(1_000), Say("x")])
@on_each_store
async def test_a_turn_that_began_runs_to_its_commit(world: World, before: Wait | Say) -> None:
    """…a turn that began runs to its commit."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    world.suspension("x")
    call = world.start(jobs.send("a", steps(before, Add())))
    await world.settle()
    call.cancel()
    await world.settle()
    world.release("x")
    await world.advance(s=1)
    assert await world.run(jobs.get_state("a")) == Total(1)


# ---------------------------------------------------------------- first attempts
@on_each_store
async def test_a_trigger_answers_after_the_first_attempt(world: World) -> None:
    """`start`, `trigger` and `flush` answer after the first attempt with a value: `Completed`, `Retrying(error, at)` or
    `Failed(error)`, beside the call's information about the instance."""
    job = machine_with(retry=Retry(max_attempts=2, delay=Backoff.constant("5 s"), jitter=False, retry_if=_not_final))
    jobs = (await world.open(app(world.outside, job))).handle(job)
    for id_, step in (
        ("ran", Add()),
        ("retrying", Refuse("again")),
        ("failed", Refuse("final")),
        ("ended", End("bye")),
    ):
        await world.run(jobs.send(id_, OnAlarm(3_600_000, (step,))))
    outcomes = {id_: (await world.run(jobs.trigger(id_))).outcome for id_ in ("ran", "retrying", "failed", "ended")}
    assert outcomes == {
        "ran": Completed(),
        "retrying": Retrying(Refused("again"), outcomes["retrying"].at),  # type: ignore[union-attr]
        "failed": Failed(Refused("final")),
        "ended": SelfTerminated("bye"),
    }
    assert isinstance(outcomes["retrying"], Retrying)
    assert outcomes["retrying"].at.timestamp() * 1_000 == world.now_ms + 5_000


def _not_final(error: Refused) -> bool:
    return error.why != "final"


@on_each_store
async def test_a_caller_may_wait_for_the_claim_alone(world: World) -> None:
    """`wait=False` answers after the claim."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(3_600_000, (Wait(1_000), Add()))))
    before_ms = world.now_ms
    triggered = await world.run(jobs.trigger("a", wait_for="start"))
    assert (triggered.triggered, triggered.status, triggered.outcome) == (True, "running", Running())
    assert world.now_ms == before_ms
    assert (await world.run(jobs.status("a"))).status == "running"
    await world.advance(s=1)
    state = await world.run(jobs.get_state("a"))
    assert state is not None
    assert state.total == 1


# ---------------------------------------------------------------- run_timeout
@on_each_store
async def test_a_run_that_takes_too_long_fails_as_timed_out(world: World) -> None:
    """Every definition has `run_timeout` (default 15 minutes): then the program is cancelled and the run fails as
    `EffectTimeout`."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(3_600_000, (Wait(14 * 60_000), Add()))))
    assert (await world.run(jobs.trigger("a"))).outcome == Completed()
    await world.run(jobs.send("a", OnAlarm(3_600_000, (Say("begins"), Wait(3_600_000), Say("never")))))
    before_ms = world.now_ms
    outcome = (await world.run(jobs.trigger("a"))).outcome
    assert world.now_ms - before_ms == 15 * 60_000
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, Defect)
    assert outcome.error.error_type == "RunTimeout"
    assert world.outside.heard == ["begins"]
    status = await world.run(jobs.status("a"))
    assert status.last_error is not None
    assert status.last_error.form == "timed_out"


@on_each_store
async def test_an_event_that_takes_too_long_is_refused(world: World) -> None:
    """…the program is cancelled and the run fails: nothing of its draft is kept."""
    job = machine_with(run_timeout="1 minute")
    jobs = (await world.open(app(world.outside, job))).handle(job)
    for prefix in ((), (Say("x"),)):
        error = await world.error_of(jobs.send("a", steps(Add(), *prefix, Wait(3_600_000))))
        assert isinstance(error, RunTimeout)
        assert error.run_timeout_ms == 60_000
        assert await world.row(at("a")) is None


# ---------------------------------------------------------------- the store
@on_each_store
async def test_a_commit_whose_outcome_is_unknown_is_not_a_failure(world: World) -> None:
    """A timeout, or a commit whose outcome is not known, is `OutcomeUnknown`, never a failure."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    world.fail("commit", OutcomeUnknown("the disk went away"), applied=True)
    error = await world.error_of(jobs.send("a", steps(Add()), idempotency_key="k"))
    assert isinstance(error, OutcomeUnknown)
    assert (await world.run(jobs.send("a", steps(Add()), idempotency_key="k"))).created
    assert await world.run(jobs.get_state("a")) == Total(1)


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize("nth", [1, 2])
@on_each_store
async def test_no_lost_commit_leaves_a_run_without_an_owner(world: World, *, nth: int, applied: bool) -> None:
    """No instance is left without its alarm: not when the outcome of a claim, or of a run's end, is lost."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(3_600_000, (Add(), Say("x")))))
    world.fail("commit", OutcomeUnknown("the disk went away"), applied=applied, after=nth - 1)
    assert isinstance(await world.error_of(jobs.trigger("a")), OutcomeUnknown)
    await world.advance(s=5)
    row = await world.row(at("a"))
    assert row is not None
    assert row.claim is None
    assert len(world.outside.heard) <= 2


@pytest.mark.parametrize("nth", [1, 2])
@on_each_store
async def test_a_store_that_comes_back_gets_the_run(world: World, nth: int) -> None:
    """A store that does not answer for a while leaves no run without its end."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(1_000, (Add(), Say("x")))))
    world.fail("commit", StoreUnavailable("commit", "full"), after=nth - 1, times=3)
    await world.advance(s=30)
    row = await world.row(at("a"))
    state = await world.run(jobs.get_state("a"))
    assert row is not None
    assert state is not None
    assert (row.claim, row.alarm_ms, state.total) == (None, None, 1)


@on_each_store
async def test_a_run_whose_end_was_lost_goes_before_the_next_request(world: World) -> None:
    """Claimed runs are delivered again before new requests to their instances; the engine's second look comes later."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(3_600_000, (Add(), Say("first")))))
    world.fail("commit", StoreUnavailable("commit", "full"), after=1)
    assert isinstance(await world.error_of(jobs.trigger("a")), OutcomeUnknown)
    await world.run(jobs.send("a", steps(Say("second"))))
    assert world.outside.heard == ["first", "first", "second"]
    row = await world.row(at("a"))
    assert row is not None
    assert row.claim is None


@pytest.mark.parametrize("operation", ["load", "commit"])
@on_each_store
async def test_a_recovery_that_the_store_refuses_is_tried_again(world: World, operation: str) -> None:
    """No alarm wakes the instance for an hour: what settles its run is the engine's own second look, and its third."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(3_600_000, (Add(), Say("x")))))
    world.fail("commit", StoreUnavailable("commit", "full"), after=1)
    assert isinstance(await world.error_of(jobs.trigger("a")), OutcomeUnknown)
    world.fail(operation, StoreUnavailable(operation, "full"), times=2)
    await world.advance(s=10)
    row = await world.row(at("a"))
    assert row is not None
    assert row.claim is None
    assert '"total":1' in row.state


@on_each_store
async def test_an_alarm_survives_a_store_that_cannot_be_read(world: World) -> None:
    """…nor one that cannot be read for a while."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(1_000)))
    world.fail("load", StoreUnavailable("load", "busy"), times=3)
    await world.advance(s=10)
    state = await world.run(jobs.get_state("a"))
    assert state is not None
    assert state.total == 1


# ---------------------------------------------------------------- conflicts
@pytest.mark.parametrize(("conflicts", "answered"), [(1, Success), (5, Success), (6, Failure)])
@on_each_store
async def test_a_conflict_before_any_effect_re_runs_the_turn(
    world: World, conflicts: int, answered: type[object]
) -> None:
    """A conflict before any effect re-runs the turn (at most 5 times)…"""
    jobs = (await world.open(app(world.outside))).handle(machine)
    world.fail("commit", Conflict("somebody"), times=conflicts)
    answer = await world.attempt(jobs.send("a", steps(Add())))
    assert isinstance(answer, answered)
    if isinstance(answer, Failure):
        assert isinstance(answer.failure(), Conflict)
        assert await world.row(at("a")) is None
    else:
        assert await world.run(jobs.get_state("a")) == Total(1)


@on_each_store
async def test_after_an_effect_nothing_re_runs_here(world: World) -> None:
    """…after an effect nothing re-runs here: on an owned store the fence is lost and the engine stops."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    world.fail("commit", Conflict("somebody"), after=1)
    assert isinstance(await world.error_of(jobs.send("a", steps(Say("x"), Add()))), OutcomeUnknown)
    assert world.outside.heard == ["x"]
    assert engine_of(world.jobs).stopped.done()
    assert isinstance(await world.error_of(jobs.send("b", steps(Add()))), EngineClosed)
    crash_points = len(world.process.boundary.crash_points)
    await world.advance(hours=1)
    assert len(world.process.boundary.crash_points) == crash_points


# ---------------------------------------------------------------- bounds
@on_each_store
async def test_a_mailbox_takes_no_more_than_its_limit(world: World) -> None:
    """A full queue answers `Overloaded`: nothing was taken."""
    jobs = (await world.open(app(world.outside, mailbox_size=3))).handle(machine)
    running = world.start(jobs.send("a", steps(Wait(1_000))))
    await world.settle()
    answers = [world.start(jobs.send("a", steps(Add()))) for _ in range(4)]
    await world.settle()
    refused = [call for call in answers if call.done()]
    assert len(refused) == 1
    error = refused[0].result().failure()
    assert isinstance(error, Overloaded)
    assert (error.what, error.limit) == ("mailbox of task:machine:a", 3)
    assert not isinstance(await world.attempt(jobs.send("b", steps(Add()))), Failure)
    await world.advance(s=1)
    assert isinstance(running.result(), Success)
    assert await world.run(jobs.get_state("a")) == Total(3)


@on_each_store
async def test_the_engine_takes_no_more_than_its_limit(world: World) -> None:
    """Requests that wait or are being served are bounded in the whole engine, too."""
    jobs = (await world.open(app(world.outside, max_pending=3))).handle(machine)
    for id_ in "ab":
        world.start(jobs.send(id_, steps(Wait(1_000))))
    await world.settle()
    calls = [world.start(jobs.send(id_, steps(Add()))) for id_ in "ab"]
    await world.settle()
    (refused,) = [call.result().failure() for call in calls if call.done()]
    assert isinstance(refused, Overloaded)
    assert refused.limit == 3


@pytest.mark.parametrize(("extra", "fits"), [(0, True), (1, False)])
@on_each_store
async def test_a_state_is_bounded_to_the_byte(world: World, *, extra: int, fits: bool) -> None:
    """An oversized state is a defect of the hook that set it."""
    empty = len(b'{"total":0,"on_alarm":[],"seen":[],"text":""}')
    job = machine_with(initial=lambda id_: Total(text="x" * int(id_)))
    jobs = (await world.open(app(world.outside, job, state_bytes=1_000))).handle(job)
    answer = await world.attempt(jobs.send(str(1_000 - empty + extra), steps(AlarmIn(5))))
    assert isinstance(answer, Success) == fits
    if isinstance(answer, Failure):
        assert isinstance(answer.failure(), HookRaised)
        assert "1000 bytes" in str(answer.failure())


@pytest.mark.parametrize(("extra", "fits"), [(0, True), (1, False)])
@on_each_store
async def test_an_event_is_bounded_to_the_byte(world: World, *, extra: int, fits: bool) -> None:
    """An oversized payload is `InvalidInput`: nothing was taken."""
    empty = len(b'{"type":"Steps","steps":[{"type":"End","reason":""}]}')
    jobs = (await world.open(app(world.outside, payload_bytes=1_000))).handle(machine)
    answer = await world.attempt(jobs.send("a", steps(End("x" * (1_000 - empty + extra)))))
    assert isinstance(answer, Success) == fits
    if isinstance(answer, Failure):
        assert "at most 1000 bytes" in str(answer.failure())


# ---------------------------------------------------------------- a claim that takes its time
@on_each_store
async def test_a_run_that_times_out_while_it_is_claimed_leaves_no_claim(world: World) -> None:
    """No instance is left without its alarm, none half-written: whatever cancels a run, its claim is known."""
    job = machine_with(run_timeout="1 second")
    jobs = (await world.open(app(world.outside, job))).handle(job)
    world.slow("commit", ms=5_000)
    error = await world.error_of(jobs.send("a", steps(Add(), Wait(1), Say("x"))))
    assert isinstance(error, RunTimeout)
    assert error.run_timeout_ms == 1_000
    await world.advance(s=10)
    assert await world.row(at("a")) is None
    assert world.outside.heard == []


@on_each_store
async def test_a_claim_that_comes_before_a_service_takes_nothing_from_the_time_limit(world: World) -> None:
    """The time limit is the one of the program, and not of the store."""
    job = machine_with(run_timeout="1 second")
    jobs = (await world.open(app(world.outside, job))).handle(job)
    world.slow("commit", ms=5_000)
    assert (await world.run(jobs.send("a", steps(Add(), Say("x"))))).created
    assert world.outside.heard == ["x"]


@on_each_store
async def test_a_run_that_is_interrupted_while_it_is_claimed_leaves_no_claim(world: World) -> None:
    jobs = (await world.open(app(world.outside))).handle(machine)
    world.slow("commit", ms=5_000)
    call = world.start(jobs.send("a", steps(Add(), Say("x"))))
    await world.advance(s=1)
    assert (await world.run(jobs.terminate("a", interrupt=True))).terminated
    assert call.done()
    await world.advance(s=10)
    assert await world.row(at("a")) is None
    assert world.outside.heard == []


@pytest.mark.parametrize("given", [(Add(),), (Add(), Wait(1))], ids=["at once", "in a task"])
@on_each_store
async def test_a_run_that_is_released_while_it_is_claimed_counts_no_crash(world: World, given: Any) -> None:
    """Graceful shutdown never counts."""
    jobs = (await world.open(app(world.outside, shutdown_timeout="1000 ms"))).handle(machine)
    world.slow("commit", ms=5_000)
    world.start(jobs.send("a", steps(*given, Say("x"))))
    await world.settle()
    await world.close()
    assert world.outside.heard == []
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.advance(s=1)
    assert await world.run(jobs.get_state("a")) == Total(1)
    (recovered,) = [event for event in await world.history(at("a")) if event.type == "job.recovered"]
    assert recovered.recoveries == 0
    assert world.outside.heard == ["x"]


@on_each_store
async def test_a_branch_that_gives_up_while_the_run_is_claimed_blocks_no_other(world: World) -> None:
    """Parallel branches wait for the same claim: the loser of a race takes it from no other branch."""

    @program
    def race_and_say(ctx: TaskContext[Total], _: object) -> Do[None, Refused, HasOutside]:
        yield from gather(race(say("loser"), sleep("1 second").map(lambda _: None)), say("other"))

    job = machine_with(on_event=race_and_say)
    jobs = (await world.open(app(world.outside, job))).handle(job)
    world.slow("commit", ms=5_000)
    assert (await world.run(jobs.send("a", steps()))).created
    assert world.outside.heard == ["other"]


@on_each_store
async def test_an_alarm_of_a_commit_whose_outcome_is_unknown_fires(world: World) -> None:
    """Its outcome is unknown, so the engine queries the store by itself."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", steps()))
    world.fail("commit", OutcomeUnknown("the disk"), applied=True)
    assert isinstance(await world.error_of(jobs.send("a", OnAlarm(5_000, (Say("x"),)))), OutcomeUnknown)
    await world.advance(s=5)
    assert world.outside.heard == ["x"]

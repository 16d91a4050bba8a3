"""``reference/behaviour.md`` 1, *Turns* and *Claims and repeats*."""

import pytest
from machine import (
    Add,
    AlarmIn,
    Break,
    End,
    Mark,
    NoAlarm,
    Note,
    OnAlarm,
    Refuse,
    Say,
    Tell,
    Total,
    Wait,
    app,
    at,
    machine,
    machine_with,
    steps,
)
from returns.result import Success
from world import World, on_each_store

from perdure import Backoff, Retry
from perdure.client.local_gateway import engine_of
from perdure.values.errors import Conflict, HookRaised, OutcomeUnknown, Rejected, StoreUnavailable
from perdure.values.outcome import Triggered
from perdure.values.transition import Put


# ---------------------------------------------------------------- turns
@on_each_store
async def test_turns_of_one_instance_are_serialised(world: World) -> None:
    """Turns of one instance are serialised (three concurrent `+1` triggers end at 3)."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(3_600_000, (Wait(5), Add(), Say("x")))))
    answers = await world.all(*(jobs.trigger("a") for _ in range(3)))
    assert all(isinstance(answer, Success) for answer in answers)
    state = await world.run(jobs.get_state("a"))
    assert state is not None
    assert state.total == 3


@on_each_store
async def test_events_that_come_while_one_is_committed_are_handled_after_it(world: World) -> None:
    """Turns of one instance are serialised, also those that need nothing but their own commit."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", steps(Add())))
    answers = await world.all(*(jobs.send("a", steps(Add())) for _ in range(70)))
    assert all(isinstance(answer, Success) for answer in answers)
    assert await world.run(jobs.get_state("a")) == Total(71)


@pytest.mark.parametrize("conflicts", [1, 5, 6])
@pytest.mark.parametrize("turn", ["an event", "an event with an effect", "a run"])
@on_each_store
async def test_a_conflict_before_any_effect_begins_the_turn_again(world: World, turn: str, conflicts: int) -> None:
    """A conflict before any effect re-runs the turn (at most 5 times)."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(3_600_000, (Add(), Say("x")))))
    world.fail("commit", Conflict("task:machine:a"), times=conflicts)
    events = {"an event": steps(Add()), "an event with an effect": steps(Add(), Say("x"))}
    answer = await world.attempt(jobs.send("a", events[turn]) if turn in events else jobs.trigger("a"))
    state = await world.run(jobs.get_state("a"))
    assert state is not None
    if conflicts == 6:
        assert isinstance(answer.failure(), Conflict)
        assert "task:machine:a" in str(answer.failure())
        assert (state.total, world.outside.heard) == (0, [])
    else:
        assert isinstance(answer, Success)
        assert (state.total, world.outside.heard) == (1, [] if turn == "an event" else ["x"])


@on_each_store
async def test_after_an_effect_nothing_begins_again_here(world: World) -> None:
    """After an effect nothing re-runs here: the caller receives `OutcomeUnknown`, and the engine stops."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(3_600_000)))
    world.fail("commit", Conflict("task:machine:a"), after=1)
    error = await world.error_of(jobs.send("a", steps(Add(), Say("x"))))
    assert isinstance(error, OutcomeUnknown)
    assert "another writer changed task:machine:a" in str(error)
    assert world.outside.heard == ["x"]
    assert engine_of(world.jobs).stopped.done()


@pytest.mark.parametrize("turn", ["an event", "a run"])
@pytest.mark.parametrize("error", [StoreUnavailable("commit", "the disk is full"), OutcomeUnknown("the disk is away")])
@on_each_store
async def test_without_its_claim_nothing_reaches_outside(world: World, turn: str, error: Exception) -> None:
    """Before user code one commit records the claim: if that fails, its caller learns it, and nothing has run."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(3_600_000, (Add(), Say("x")))))
    world.fail("commit", error)
    call = jobs.send("a", steps(Add(), Say("x"))) if turn == "an event" else jobs.trigger("a")
    assert await world.error_of(call) is error
    assert world.outside.heard == []
    state = await world.run(jobs.get_state("a"))
    assert state is not None
    assert state.total == 0


@on_each_store
async def test_requests_are_applied_in_the_order_in_which_they_came(world: World) -> None:
    """The instance's mailbox orders the turns: first in, first out."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    words = [f"{number}" for number in range(5)]
    world.suspension("0")
    callers = []
    for word in words:
        callers.append(world.start(jobs.send("a", steps(Say(word)))))
        await world.settle()
    assert world.outside.heard == ["0"]
    world.release("0")
    await world.settle()
    assert all(caller.done() for caller in callers)
    assert world.outside.heard == words


@on_each_store
async def test_different_instances_run_concurrently(world: World) -> None:
    """Different instances run concurrently, bounded by `concurrency=` per engine and per job."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    before_ms = world.now_ms
    await world.all(*(jobs.send(str(number), steps(Wait(1_000))) for number in range(50)))
    assert world.now_ms - before_ms == 1_000


@on_each_store
async def test_the_engine_bounds_how_many_run_at_once(world: World) -> None:
    """…bounded by `concurrency=` per engine…"""
    jobs = (await world.open(app(world.outside, concurrency=2))).handle(machine)
    before_ms = world.now_ms
    await world.all(*(jobs.send(str(number), steps(Wait(1_000))) for number in range(6)))
    assert world.now_ms - before_ms == 3_000


@on_each_store
async def test_a_job_bounds_how_many_run_at_once(world: World) -> None:
    """…and per job."""
    narrow = machine_with(runs=1)
    jobs = (await world.open(app(world.outside, narrow))).handle(narrow)
    before_ms = world.now_ms
    await world.all(*(jobs.send(str(number), steps(Wait(1_000))) for number in range(3)))
    assert world.now_ms - before_ms == 3_000


@on_each_store
async def test_a_failed_run_never_changes_state(world: World) -> None:
    """A failed or crashed run never changes state: its draft is thrown away."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", steps(Add())))
    before = await world.row(at("a"))
    for end in (Refuse(), Break()):
        await world.error_of(jobs.send("a", steps(Add(), AlarmIn(5), Tell("b"), end)))
    assert await world.row(at("a")) == before
    assert await world.row(at("b")) is None


@on_each_store
async def test_a_failed_run_after_an_effect_never_changes_state(world: World) -> None:
    """A failed or crashed run never changes state: its draft is thrown away."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", steps(Add())))
    for end in (Refuse(), Break()):
        await world.error_of(jobs.send("a", steps(Add(), Say("x"), AlarmIn(5), Tell("b"), end)))
    row = await world.row(at("a"))
    assert row is not None
    assert (row.event_claim, row.alarm_ms, row.event_count) == (None, None, 1)
    assert await world.run(jobs.get_state("a")) == Total(1)
    assert await world.row(at("b")) is None


@on_each_store
async def test_a_failed_first_event_leaves_no_instance(world: World) -> None:
    """A failed first run leaves no instance, also when its claim had created it."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    for failing in (steps(Refuse()), steps(Say("x"), Refuse()), steps(Say("x"), Break())):
        assert isinstance(await world.error_of(jobs.send("a", failing)), Rejected | HookRaised)
        assert await world.row(at("a")) is None


@on_each_store
async def test_everything_of_a_turn_appears_together(world: World) -> None:
    """State, next alarm, messages, events and the answer appear together or not at all."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", steps(Add(), AlarmIn(5_000), Tell("b"), Tell("c"))))
    (transition, *_) = world.commits
    assert isinstance(transition.write, Put)
    assert transition.write.instance.alarm_ms == world.now_ms + 5_000
    assert [message.target.id for message in transition.messages] == ["b", "c"]
    assert [event.type for event in transition.events] == ["job.started", "task.scheduled"]


# ---------------------------------------------------------------- claims
@on_each_store
async def test_a_handler_without_effects_costs_exactly_one_commit(world: World) -> None:
    """An event's turn claims lazily, just before its first external effect: a handler without effects costs exactly
    one commit."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", steps(Add(), Wait(5), AlarmIn(60_000))))
    assert len(world.commits) == 1
    await world.run(jobs.send("a", steps(Add())))
    assert len(world.commits) == 2


@on_each_store
async def test_a_handler_with_effects_claims_before_the_first(world: World) -> None:
    """An event's turn claims lazily, just before its first external effect."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", steps(Add(), Say("x"), Say("y"))))
    claim, end = world.commits
    assert isinstance(claim.write, Put)
    assert claim.write.instance.event_claim is not None
    assert isinstance(end.write, Put)
    assert end.write.instance.event_claim is None
    crash_points = [
        crash_point
        for crash_point in world.process.boundary.crash_points
        if "commit" in crash_point or "effect" in crash_point
    ]
    assert crash_points == [
        "before commit", "after commit", "before effect say", "after effect say", "before effect say",
        "after effect say", "before commit", "after commit",
    ]  # fmt: skip


@on_each_store
async def test_a_run_is_claimed_before_user_code(world: World) -> None:
    """Before user code that an alarm, a start, a trigger or a flush drives, one commit records the claim."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(1_000, (Add(),))))
    await world.advance(s=1)
    await world.run(jobs.trigger("a"))
    _, alarm, _, trigger, _ = world.commits
    for transition, cause in ((alarm, "alarm"), (trigger, "trigger")):
        assert isinstance(transition.write, Put)
        assert transition.write.instance.claim is not None
        assert transition.write.instance.claim.cause == cause


@on_each_store
async def test_a_run_is_delivered_again_after_a_crash_and_the_program_sees_it(world: World) -> None:
    """After a crash a claimed run is delivered again; the program sees it: `ctx.attempt` (failures + 1), `ctx.delivery`
    (claims of this attempt), `ctx.is_retry` (either above 1), `ctx.run_id` (stable over all repeats of one
    logical run).
    """
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(1_000, (Note(), Say("x")))))
    world.suspension("x")
    await world.advance(s=1)
    row = await world.row(at("a"))
    assert row is not None
    assert row.claim is not None
    await world.crash()
    world.outside.held.clear()
    jobs = (await world.open(app(world.outside))).handle(machine)
    state = await world.run(jobs.get_state("a"))
    assert state is not None
    (seen,) = state.seen
    assert (seen.run_id, seen.attempt, seen.delivery, seen.is_retry) == (row.claim.run_id, 1, 2, True)
    assert seen.run_count == 1
    assert world.outside.heard == ["x", "x"]
    assert (await world.happened(at("a")))[-2:] == ["job.recovered", "job.executed"]


@on_each_store
async def test_a_crashed_event_is_delivered_again(world: World) -> None:
    """After a crash a claimed run is delivered again: an event, too."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    world.suspension("x")
    world.start(jobs.send("a", steps(Note(), Say("x"), Add())))
    await world.settle()
    await world.crash()
    world.outside.held.clear()
    jobs = (await world.open(app(world.outside))).handle(machine)
    state = await world.run(jobs.get_state("a"))
    assert state is not None
    assert (state.total, state.seen[0].attempt, state.seen[0].delivery, state.seen[0].event_count) == (1, 1, 2, 0)
    assert await world.happened(at("a")) == ["job.recovered", "job.started"]


@on_each_store
async def test_recovery_after_a_crash_precedes_new_requests_to_its_instance(world: World) -> None:
    """After a crash a claimed run is delivered again, before new requests to its instance; others need not wait."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(1_000, (Say("first"), Add()))))
    world.suspension("first")
    await world.advance(s=1)
    await world.crash()
    world.suspension("first")
    jobs = (await world.open(app(world.outside))).handle(machine)
    after = world.start(jobs.send("a", steps(Say("second"))))
    await world.run(jobs.send("b", steps(Say("beside"))))
    assert not after.done()
    assert world.outside.heard == ["first", "first", "beside"]
    world.release("first")
    await world.settle()
    assert after.done()
    assert world.outside.heard == ["first", "first", "beside", "second"]


@on_each_store
async def test_a_crash_consumes_no_attempt(world: World) -> None:
    """A crash consumes no attempt."""
    job = machine_with(retry=Retry(max_attempts=2, delay=Backoff.constant("1 second"), jitter=False))
    jobs = (await world.open(app(world.outside, job))).handle(job)
    await world.run(jobs.send("a", OnAlarm(1_000, (Note(), Say("x")))))
    world.suspension("x")
    await world.advance(s=1)
    await world.crash()
    world.outside.held.clear()
    world.outside.refusals["x"] = 1
    jobs = (await world.open(app(world.outside, job))).handle(job)
    assert (await world.run(jobs.status("a"))).status == "retrying"
    await world.advance(s=1)
    state = await world.run(jobs.get_state("a"))
    assert state is not None
    (seen,) = state.seen
    assert (seen.attempt, seen.delivery, seen.is_retry) == (2, 1, True)


@on_each_store
async def test_after_two_recoveries_a_run_is_delivered_alone_then_parked(world: World) -> None:
    """A run that was recovered twice is delivered alone, nothing claimed beside it; if it kills the process again it is
    parked, `recovery_exhausted`."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("killer", OnAlarm(1_000, (Say("kill"),))))
    world.suspension("kill")
    await world.advance(s=1)
    for _ in range(2):
        await world.crash()
        world.suspension("kill")
        jobs = (await world.open(app(world.outside))).handle(machine)
    beside = world.start(jobs.send("b", steps(Say("beside"))))
    await world.settle()
    assert not beside.done()
    assert world.outside.heard == ["kill"] * 3
    await world.crash()
    jobs = (await world.open(app(world.outside))).handle(machine)
    assert world.outside.heard == ["kill"] * 3
    status = await world.run(jobs.status("killer"))
    assert (status.status, status.parked) == ("parked", "recovery_exhausted")
    await world.run(jobs.send("b", steps(Say("beside"))))
    world.outside.held.clear()
    assert (await world.run(jobs.resume("killer"))).changed
    assert world.outside.heard == ["kill"] * 3 + ["beside", "kill"]


@on_each_store
async def test_a_crashed_run_that_nothing_else_would_wake_is_delivered_again(world: World) -> None:
    """After a crash a claimed run is delivered again: also where no alarm and no request comes to its instance."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(1_000, (Mark("x"),))))
    await world.run(jobs.send("a", steps(NoAlarm())))
    world.suspension("x#1.1")
    world.start(jobs.trigger("a"))
    await world.settle()
    await world.crash()
    await world.open(app(world.outside))
    assert world.outside.heard == ["x#1.1", "x#1.2"]


@on_each_store
async def test_others_continue_after_a_run_that_was_delivered_alone(world: World) -> None:
    """…is delivered alone, nothing claimed beside it: for as long as it runs."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("survivor", OnAlarm(1_000, (Say("x"),))))
    world.suspension("x")
    await world.advance(s=1)
    for _ in range(2):
        await world.crash()
        world.suspension("x")
        jobs = (await world.open(app(world.outside))).handle(machine)
    beside = world.start(jobs.send("b", steps(Say("beside"))))
    await world.settle()
    assert world.outside.heard == ["x"] * 3
    world.release("x")
    await world.settle()
    assert isinstance(beside.result(), Success)
    assert world.outside.heard == ["x"] * 3 + ["beside"]


@on_each_store
async def test_a_recovered_event_is_parked_after_its_third_crash_and_resumes(world: World) -> None:
    """…if it kills the process again it is parked: an event, too, with its claim."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    world.suspension("kill")
    world.start(jobs.send("a", steps(Say("kill"), Add())))
    await world.settle()
    for _ in range(3):
        await world.crash()
        world.suspension("kill")
        jobs = (await world.open(app(world.outside))).handle(machine)
    assert (await world.run(jobs.status("a"))).parked == "recovery_exhausted"
    await world.run(jobs.resume("a"))  # its recoveries begin again: one more crash does not park it
    await world.crash()
    world.outside.held.clear()
    jobs = (await world.open(app(world.outside))).handle(machine)
    assert await world.run(jobs.get_state("a")) == Total(1)


@pytest.mark.parametrize("deaths", [1, 2, 5])
@pytest.mark.parametrize("cause", ["alarm", "event"])
@on_each_store
async def test_the_job_says_how_many_deaths_park_a_run(world: World, cause: str, deaths: int) -> None:
    patient = machine_with(max_deaths=deaths)
    jobs = (await world.open(app(world.outside, patient))).handle(patient)
    world.suspension("kill")
    if cause == "alarm":
        await world.run(jobs.send("a", OnAlarm(1_000, (Say("kill"),))))
        await world.advance(s=1)
    else:
        world.start(jobs.send("a", steps(Say("kill"))))
        await world.settle()
    for death in range(1, deaths + 1):
        assert world.outside.heard == ["kill"] * death
        assert (await world.run(jobs.status("a"))).parked is None
        await world.crash()
        world.suspension("kill")
        jobs = (await world.open(app(world.outside, patient))).handle(patient)
    assert world.outside.heard == ["kill"] * deaths
    assert (await world.run(jobs.status("a"))).parked == "recovery_exhausted"
    # Code with the default, or of an earlier version, leaves it parked.
    await world.crash()
    jobs = (await world.open(app(world.outside, machine))).handle(machine)
    assert (world.outside.heard, (await world.run(jobs.status("a"))).parked) == (
        ["kill"] * deaths,
        "recovery_exhausted",
    )
    world.outside.held.clear()
    await world.run(jobs.resume("a"))
    await world.advance(s=1)
    assert world.outside.heard == ["kill"] * (deaths + 1)


@on_each_store
async def test_graceful_shutdown_never_counts(world: World) -> None:
    """Graceful shutdown never counts."""
    jobs = (await world.open(app(world.outside, shutdown_timeout="1000 ms"))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(1_000, (Note(), Say("x")))))
    world.suspension("x")
    await world.advance(s=1)
    for _ in range(4):
        await world.close()
        await world.open(app(world.outside, shutdown_timeout="1000 ms"))
    row = await world.row(at("a"))
    assert row is not None
    assert row.claim is not None
    assert row.claim.recoveries == 0
    world.outside.held.clear()
    await world.close()
    jobs = (await world.open(app(world.outside))).handle(machine)
    state = await world.run(jobs.get_state("a"))
    assert state is not None
    assert state.seen[0].attempt == 1
    assert state.seen[0].delivery > 1


@on_each_store
async def test_graceful_shutdown_lets_runs_end(world: World) -> None:
    """Runs in progress may end within the drain time."""
    jobs = (await world.open(app(world.outside, shutdown_timeout="10000 ms"))).handle(machine)
    call = world.start(jobs.send("a", steps(Say("x"), Wait(5_000), Add())))
    await world.settle()
    await world.close()
    assert isinstance(call.result(), Success)
    jobs = (await world.open(app(world.outside))).handle(machine)
    assert await world.run(jobs.get_state("a")) == Total(1)
    assert world.outside.heard == ["x"]


@on_each_store
async def test_a_termination_inside_a_hook_ends_the_instance(world: World) -> None:
    """`terminate` may be called inside every hook. Every termination emits `job.terminated` with its reason."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(1_000, (End("from execute"),))))
    triggered = await world.run(jobs.trigger("a"))
    assert triggered == Triggered(triggered=True, status=None, outcome=triggered.outcome)
    await world.run(jobs.send("a", steps(End("from on_event"))))
    reasons = [event.reason for event in await world.history(at("a")) if event.type == "job.terminated"]
    assert reasons == ["from execute", "from on_event"]
    assert await world.row(at("a")) is None

"""``reference/behaviour.md`` 4: the answers of a task's calls, and the view and abilities of its hooks."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from attrs import evolve
from machine import (
    Add,
    AlarmIn,
    Break,
    Event,
    Mark,
    NoAlarm,
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
from returns.result import Failure, Result, Success
from world import START, HasOutside, Refused, World, on_each_store, say

from perdure import (
    Alarm,
    App,
    Backoff,
    Decision,
    Do,
    Program,
    Retry,
    Task,
    TaskContext,
    TaskErrorContext,
    fail,
    program,
    succeed,
    tell,
)
from perdure.programs import gather, sleep
from perdure.values.answer import Sent
from perdure.values.errors import DefinitionError, HookRaised, Rejected
from perdure.values.outcome import Completed, Failed, Triggered
from perdure.values.status import Defect


# ---------------------------------------------------------------- calls
@on_each_store
async def test_send_creates_or_handles(world: World) -> None:
    """`send(id, event)`: creates; `created`, `scheduled_at`. Handles it."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    due = world.now + timedelta(seconds=5)
    assert await world.run(jobs.send("a", OnAlarm(5_000))) == Sent(created=True, status="scheduled", scheduled_at=due)
    assert await world.run(jobs.send("a", steps(Add()))) == Sent(created=False, status="scheduled", scheduled_at=due)
    assert await world.run(jobs.send("a", steps(NoAlarm()))) == Sent(created=False, status="idle", scheduled_at=None)


@on_each_store
async def test_the_initial_state_is_a_value_or_a_function_of_the_id(world: World) -> None:
    """`initial` (a value or a function of the id; the state is never `None`)."""
    job = machine_with(initial=lambda id_: Total(len(id_)))
    jobs = (await world.open(app(world.outside, job))).handle(job)
    assert await world.run(jobs.get_state("abc")) is None
    await world.run(jobs.send("abc", steps(Add())))
    assert await world.run(jobs.get_state("abc")) == Total(4)


@on_each_store
async def test_status_returns_counts_and_times(world: World) -> None:
    """`status(id)`: status, counts, times."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    created = world.now
    await world.run(jobs.send("a", OnAlarm(5_000)))
    await world.advance(s=1)
    await world.run(jobs.send("a", steps(Add())))
    status = await world.run(jobs.status("a"))
    assert (status.status, status.event_count, status.run_count) == ("scheduled", 2, 0)
    assert (status.created_at, status.updated_at) == (created, created + timedelta(seconds=1))
    assert (status.next_run_at, status.attempt) == (created + timedelta(seconds=5), 1)
    await world.advance(s=4)
    status = await world.run(jobs.status("a"))
    assert (status.status, status.run_count, status.next_run_at) == ("idle", 1, None)


@on_each_store
async def test_a_trigger_leaves_a_pending_alarm(world: World) -> None:
    """`trigger(id)` runs `execute` now; a pending alarm stays unless `execute` changes it."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("stays", OnAlarm(5_000, (Say("a"),))))
    await world.run(jobs.send("moves", OnAlarm(5_000, (Say("b"), AlarmIn(60_000)))))
    await world.run(jobs.send("goes", OnAlarm(5_000, (Say("c"), NoAlarm()))))
    for id_ in ("stays", "moves", "goes"):
        assert (await world.run(jobs.trigger(id_))).outcome == Completed()
    await world.advance(s=5)
    assert sorted(world.outside.heard) == ["a", "a", "b", "c"]
    await world.advance(s=55)
    assert sorted(world.outside.heard) == ["a", "a", "b", "b", "c"]


# ---------------------------------------------------------------- what hooks see
@on_each_store
async def test_the_facts_of_a_context(world: World) -> None:
    """ctx, facts (plain attributes): `id`, `job`, `run_id`, `attempt`, `delivery`, `is_retry`, `is_first_event`,
    `event_count`, `run_count`, `created_at`."""
    seen: list[TaskContext[Total]] = []

    def look(ctx: TaskContext[Total], *_: object) -> Result[None, str]:
        seen.append(ctx)
        return Success(None)

    job = machine_with(on_event=look, execute=look, on_idle=look)
    jobs = (await world.open(app(world.outside, job))).handle(job)
    created = world.now
    await world.run(jobs.send("a", steps()))
    await world.advance(s=1)
    await world.run(jobs.send("a", steps()))
    await world.run(jobs.trigger("a"))
    inputs = [(ctx.is_first_event, ctx.event_count, ctx.run_count, ctx.created_at) for ctx in seen]
    assert inputs == [
        (True, 0, 0, created),
        (True, 0, 0, created),
        (False, 1, 0, created),
        (False, 1, 0, created),
        (False, 2, 1, created),
        (False, 2, 1, created),
    ]
    assert {(ctx.id, ctx.job, ctx.attempt, ctx.delivery, ctx.is_retry) for ctx in seen} == {
        ("a", "machine", 1, 1, False)
    }
    first, idle, second, _, run, _ = (ctx.run_id for ctx in seen)
    assert first == idle
    assert len({first, second, run}) == 3


@on_each_store
async def test_reads_are_live_in_every_hook(world: World) -> None:
    """Reads are live in every hook: `state`, `now`, `scheduled_at`."""
    seen: list[object] = []

    @program
    def look(ctx: TaskContext[Total], *_: object) -> Do[None]:
        for total in (1, 2):
            yield from ctx.update_state(lambda state: evolve(state, total=state.total + 1))
            seen.append((yield from ctx.state).total)
            yield from ctx.schedule(after=f"{total} hours")
            seen.append((yield from ctx.scheduled_at))
        yield from ctx.cancel_schedule()
        seen.append((yield from ctx.scheduled_at))
        before = yield from ctx.now
        yield from sleep("5 s")
        seen.append((yield from ctx.now) - before)

    job = machine_with(on_event=look, execute=look)
    jobs = (await world.open(app(world.outside, job))).handle(job)
    hour = timedelta(hours=1)
    for call, total in ((lambda: jobs.send("a", steps()), 0), (lambda: jobs.trigger("a"), 2)):
        now = world.now
        await world.run(call())  # type: ignore[no-untyped-call]
        assert seen == [total + 1, now + hour, total + 2, now + 2 * hour, None, timedelta(seconds=5)]
        seen.clear()


@on_each_store
async def test_a_firing_alarm_is_consumed(world: World) -> None:
    """Firing consumes the alarm: an execute that sets none leaves the task `idle`."""
    seen: list[datetime | None] = []

    @program
    def look(ctx: TaskContext[Total]) -> Do[None]:
        seen.append((yield from ctx.scheduled_at))

    job = machine_with(execute=look)
    jobs = (await world.open(app(world.outside, job))).handle(job)
    await world.run(jobs.send("a", OnAlarm(1_000)))
    pending = world.now + timedelta(seconds=1)
    await world.run(jobs.trigger("a"))
    await world.advance(s=1)
    assert seen == [pending, None]
    assert (await world.run(jobs.status("a"))).status == "idle"


# ---------------------------------------------------------------- what hooks do
@on_each_store
async def test_the_last_schedule_call_wins_and_is_part_of_the_draft(world: World) -> None:
    """Schedule calls are part of the draft; the last one wins."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    sent = await world.run(jobs.send("a", steps(AlarmIn(1_000), NoAlarm(), AlarmIn(3_000), AlarmIn(2_000))))
    assert sent.scheduled_at == world.now + timedelta(seconds=2)
    await world.error_of(jobs.send("a", steps(NoAlarm(), Refuse())))
    assert (await world.run(jobs.status("a"))).next_run_at == sent.scheduled_at


@on_each_store
async def test_an_alarm_is_counted_from_the_end_of_its_handler(world: World) -> None:
    """`schedule(after=)`: so long after the turn commits, however long its handler took."""

    @program
    def slow(ctx: TaskContext[Total], _: Steps) -> Do[None]:
        yield from ctx.schedule(after="5 s")
        world.shift_wall_clock(2_000)

    job = machine_with(on_event=slow)
    jobs = (await world.open(app(world.outside, job))).handle(job)
    begun = world.now
    sent = await world.run(jobs.send("a", steps()))
    assert sent.scheduled_at == begun + timedelta(seconds=7)
    row = await world.row(at("a"))
    assert row is not None
    assert row.updated_ms == world.now_ms


@on_each_store
async def test_an_alarm_may_be_set_to_an_instant(world: World) -> None:
    """`schedule(after= or at=)`: one that is past fires at once."""
    past = world.now - timedelta(days=1)

    @program
    def soon(ctx: TaskContext[Total], _: Steps) -> Do[None]:
        yield from ctx.schedule(at=past)

    job = machine_with(on_event=soon, execute=lambda ctx: say("fired"))
    jobs = (await world.open(app(world.outside, job))).handle(job)
    sent = await world.run(jobs.send("a", steps()))
    assert sent.scheduled_at == past
    assert world.outside.heard == ["fired"]


@on_each_store
async def test_microseconds_of_an_alarm_are_rounded_up(world: World) -> None:
    """An alarm never fires before its instant, and a delay is never shorter than asked."""
    ahead = timedelta(hours=1, microseconds=1)
    instant = world.now + ahead

    @program
    def later(ctx: TaskContext[Total], _: Steps) -> Do[None]:
        yield from (ctx.schedule(at=instant) if ctx.id == "at" else ctx.schedule(after=ahead))

    job = machine_with(on_event=later)
    jobs = (await world.open(app(world.outside, job))).handle(job)
    for id_ in ("at", "after"):
        sent = await world.run(jobs.send(id_, steps()))
        assert sent.scheduled_at == world.now + timedelta(hours=1, milliseconds=1)


@pytest.mark.parametrize(
    "given",
    [{}, {"after": "1 s", "at": START}, {"after": 5}, {"at": 5}, {"at": datetime(2026, 1, 1)}],  # noqa: DTZ001
)
@on_each_store
async def test_a_bad_schedule_is_a_defect(world: World, given: dict[str, Any]) -> None:
    @program
    def bad(ctx: TaskContext[Total], _: Steps) -> Do[None]:
        yield from ctx.schedule(**given)

    job = machine_with(on_event=bad)
    jobs = (await world.open(app(world.outside, job))).handle(job)
    error = await world.error_of(jobs.send("a", steps()))
    assert isinstance(error, HookRaised)
    assert error.error_type == "DefinitionError"


@on_each_store
async def test_a_draft_in_a_branch_is_a_typed_defect(world: World) -> None:
    """Draft operations inside parallel branches are a typed defect."""

    @program
    def branching(ctx: TaskContext[Total], _: Steps) -> Do[None]:
        yield from gather(ctx.set_state(Total(1)), ctx.set_state(Total(2)))

    job = machine_with(on_event=branching)
    jobs = (await world.open(app(world.outside, job))).handle(job)
    error = await world.error_of(jobs.send("a", steps()))
    assert isinstance(error, HookRaised)
    assert error.error_type == "DraftInBranch"


# ---------------------------------------------------------------- decide
@pytest.mark.parametrize(
    ("alarm", "due_s"),
    [
        (Alarm.keep, 60),
        (Alarm.after("5 s"), 5),
        (Alarm.at(datetime.fromisoformat("2026-01-01T00:00:07+00:00")), 7),
        (Alarm.clear, None),
    ],
)
@on_each_store
async def test_a_pure_decider_decides_everything(world: World, alarm: Any, due_s: int | None) -> None:
    """`Decision(state, alarm=…, messages=())`, or a pure `decide(state, event) -> Result[Decision[S], E]`."""

    def decide(state: Total, event: Steps) -> Result[Decision[Total], Refused]:
        if state.total == 0:
            return Success(Decision(Total(1), Alarm.after("60 s")))
        if state.total == 2:
            return Failure(Refused("enough"))
        return Success(Decision(Total(2), alarm, messages=(tell(machine, "b").send(event),)))

    decider = Task(
        "decider", state=Total, event=Steps, initial=Total(), decide=decide, execute=lambda ctx: ctx.terminate("due")
    )
    jobs = (await world.open(app(world.outside, machine, decider))).handle(decider)
    await world.run(jobs.send("a", steps()))
    sent = await world.run(jobs.send("a", steps(Add(3))))
    assert sent.scheduled_at == (None if due_s is None else world.now + timedelta(seconds=due_s))
    assert await world.run(world.jobs.handle(machine).get_state("b")) == Total(3)
    error = await world.error_of(jobs.send("a", steps()))
    assert isinstance(error, Rejected)
    assert error.error == Refused("enough")
    assert await world.run(jobs.get_state("a")) == Total(2)
    assert len([transition for transition in world.commits if transition.address == decider.address("a")]) == 2


# ---------------------------------------------------------------- on_idle
@on_each_store
async def test_on_idle_runs_in_the_same_turn_when_nothing_is_scheduled(world: World) -> None:
    """`on_idle` runs in the same turn when, after a hook, nothing is scheduled."""

    @program
    def idle(ctx: TaskContext[Total]) -> Do[None, Refused, HasOutside]:
        yield from ctx.update_state(lambda state: evolve(state, total=state.total + 100))
        yield from ctx.schedule(after="1 hour")

    job = machine_with(on_idle=idle)
    jobs = (await world.open(app(world.outside, job))).handle(job)
    sent = await world.run(jobs.send("a", steps(Add())))
    assert (sent.scheduled_at, len(world.commits)) == (world.now + timedelta(hours=1), 1)
    await world.run(jobs.send("a", steps(Add())))
    assert await world.run(jobs.get_state("a")) == Total(102)
    await world.advance(hours=1)
    assert await world.run(jobs.get_state("a")) == Total(202)


@pytest.mark.parametrize("effect", [(), (Say("x"),)])
@on_each_store
async def test_an_on_idle_that_fails_fails_the_turn(world: World, effect: tuple[Any, ...]) -> None:
    """If it fails, the turn fails."""
    job = machine_with(on_idle=lambda _: Failure(Refused("never idle")))
    jobs = (await world.open(app(world.outside, job))).handle(job)
    error = await world.error_of(jobs.send("a", steps(Add(), *effect)))
    assert isinstance(error, Rejected)
    assert await world.row(at("a")) is None
    await world.run(jobs.send("a", OnAlarm(1_000, (Add(), *effect))))
    await world.advance(s=1)
    assert (await world.run(jobs.status("a"))).parked == "retries_exhausted"
    state = await world.run(jobs.get_state("a"))
    assert state is not None
    assert state.total == 0


@pytest.mark.parametrize("effect", [(), (Say("x"),)])
@on_each_store
async def test_on_error_is_not_called_for_an_on_idle_that_fails(world: World, effect: tuple[Any, ...]) -> None:
    """If `on_idle` fails, the turn fails, whatever `on_error` would make of it; and it has run once."""
    idle: list[str] = []

    def never(ctx: TaskContext[Total]) -> Program[None, Refused]:
        idle.append(ctx.run_id)
        return fail(Refused("never idle"))

    def handled(ctx: TaskErrorContext[Total, Event], error: object) -> Program[None]:
        return ctx.set_state(Total(-1))

    job = machine_with(on_idle=never, on_error=handled, retry=Retry(2, Backoff.constant("1 s"), jitter=False))
    jobs = (await world.open(app(world.outside, job))).handle(job)
    error = await world.error_of(jobs.send("a", steps(Add(), *effect)))
    assert isinstance(error, Rejected)
    assert error.error == Refused("never idle")
    assert (await world.row(at("a")), len(idle)) == (None, 1)
    await world.run(jobs.send("a", OnAlarm(1_000, (Add(), *effect))))
    await world.advance(s=5)
    status = await world.run(jobs.status("a"))
    assert (status.parked, len(idle)) == ("retries_exhausted", 3)
    assert [(event.hook, event.attempt) for event in await world.history(at("a")) if event.type == "job.failed"] == [
        ("on_idle", 1),
        ("on_idle", 2),
    ]


@on_each_store
async def test_an_on_idle_that_fails_after_on_error_fails_the_turn(world: World) -> None:
    """`on_idle` runs after every hook that leaves nothing scheduled, `on_error` too: both errors are recorded."""
    idle: list[str] = []

    def never(ctx: TaskContext[Total]) -> Program[None, Refused]:
        idle.append(ctx.run_id)
        return fail(Refused("never idle"))

    job = machine_with(on_idle=never, on_error=lambda ctx, _: ctx.set_state(Total(-1)))
    jobs = (await world.open(app(world.outside, job))).handle(job)
    error = await world.error_of(jobs.send("a", steps(Refuse("no"))))
    assert isinstance(error, Rejected)
    assert (error.error, len(idle)) == (Refused("never idle"), 1)
    assert [event.hook for event in await world.history(at("a"))] == ["on_event", "on_idle"]
    await world.run(jobs.send("a", OnAlarm(1_000, (Refuse("no"),))))
    await world.advance(s=1)
    assert [event.hook for event in await world.history(at("a")) if event.type == "job.failed"][2:] == [
        "execute",
        "on_idle",
    ]


# ---------------------------------------------------------------- on_error
def is_bug(error: object) -> bool:
    """Whether a hook received the defect, with its traceback."""
    assert isinstance(error, Defect)
    return (error.error_type, error.message) == ("RuntimeError", "bug") and "broken" in (error.traceback or "")


@pytest.mark.parametrize("end", [Refuse("no"), Break("bug")])
@on_each_store
async def test_on_error_gets_the_error_and_a_fresh_draft_at_once(world: World, end: Any) -> None:
    """`on_error` gets the typed error (or the defect) and a fresh draft of the committed state (the lost draft is
    readable as `ctx.failed_draft`); for `on_event` it runs at once; if it succeeds, its draft is committed."""
    seen: list[object] = []

    @program
    def rescue(ctx: TaskErrorContext[Total, Event], error: object) -> Do[None]:
        seen.append((error, (yield from ctx.state), ctx.failed_draft, (yield from ctx.scheduled_at)))
        yield from ctx.set_state(Total(-1))
        yield from tell(machine, "b").send(steps(Add()))

    job = machine_with(on_error=rescue)
    jobs = (await world.open(app(world.outside, job))).handle(job)
    await world.run(jobs.send("a", steps(Add(5))))
    sent = await world.run(jobs.send("a", steps(Add(), AlarmIn(1_000), Tell("c"), end)))
    assert (sent.created, sent.scheduled_at) == (False, None)
    ((error, state, lost, scheduled_at),) = seen  # type: ignore[misc]
    assert (state, lost, scheduled_at) == (Total(5), Total(6), None)
    assert (error == Refused("no")) if isinstance(end, Refuse) else is_bug(error)
    assert await world.run(jobs.get_state("a")) == Total(-1)
    assert await world.run(jobs.get_state("c")) is None
    (failed,) = [event for event in await world.history(at("a")) if event.type == "job.failed"]
    assert failed.hook == "on_event"


@pytest.mark.parametrize("end", [Refuse("no"), Break("bug")])
@on_each_store
async def test_on_error_of_a_run_comes_when_retries_are_used_up(world: World, end: Any) -> None:
    """…for `execute` when retries are used up; if it succeeds, its draft is committed and the retry ends."""
    seen: list[int] = []

    @program
    def rescue(ctx: TaskErrorContext[Total, Event], error: object) -> Do[None]:
        assert (error == Refused("no")) if isinstance(end, Refuse) else is_bug(error)
        seen.append(ctx.attempt)
        yield from ctx.set_state(Total(-1))

    job = machine_with(on_error=rescue, retry=Retry(max_attempts=3, delay=Backoff.constant("1 s"), jitter=False))
    jobs = (await world.open(app(world.outside, job))).handle(job)
    await world.run(jobs.send("a", OnAlarm(1_000, (Mark("x"), end))))
    await world.advance(s=2)
    assert seen == []
    await world.advance(s=5)
    assert (seen, world.outside.heard) == ([3], ["x#1.1", "x#2.1", "x#3.1"])
    status = await world.run(jobs.status("a"))
    assert (status.status, status.next_run_at) == ("idle", None)
    assert status.last_error is not None
    assert await world.run(jobs.get_state("a")) == Total(-1)


@pytest.mark.parametrize("effect", [(), (Say("x"),)])
@on_each_store
async def test_on_error_knows_the_hook_and_the_event_that_failed(world: World, effect: tuple[Any, ...]) -> None:
    """So that it can handle the failures of one hook, and refuse an event all the same."""
    seen: list[tuple[str, object]] = []

    def handled(ctx: TaskErrorContext[Total, Event], error: object) -> Program[None, Refused]:
        seen.append((ctx.failed_hook, ctx.event))
        return fail(Refused("still")) if ctx.failed_hook == "on_event" else succeed(None)

    job = machine_with(on_error=handled)
    jobs = (await world.open(app(world.outside, job))).handle(job)
    event = steps(Add(), *effect, Refuse("no"))
    error = await world.error_of(jobs.send("a", event))
    assert isinstance(error, Rejected)
    assert (error.error, await world.row(at("a"))) == (Refused("still"), None)
    await world.run(jobs.send("a", OnAlarm(1_000, (*effect, Refuse("no")))))
    await world.advance(s=1)
    assert seen == [("on_event", event), ("execute", None)]
    assert (await world.run(jobs.status("a"))).status == "idle"


@on_each_store
async def test_on_error_knows_the_event_of_a_run_that_is_delivered_again(world: World) -> None:
    seen: list[tuple[str, object, int]] = []

    def handled(ctx: TaskErrorContext[Total, Event], error: object) -> Program[None]:
        seen.append((ctx.failed_hook, ctx.event, ctx.delivery))
        return succeed(None)

    job = machine_with(on_error=handled)
    jobs = (await world.open(app(world.outside, job))).handle(job)
    await world.run(jobs.send("a", steps()))
    event = steps(Say("x"), Wait(1_000), Refuse("no"))
    world.start(jobs.send("a", event))
    await world.advance(ms=500)
    await world.crash()
    await world.open(app(world.outside, job))
    await world.advance(s=2)
    assert seen == [("on_event", event, 2)]


@on_each_store
async def test_the_caller_of_a_run_that_on_error_handled_receives_its_error(world: World) -> None:
    """`trigger` answers after the first attempt with a value: a run that failed has failed, whatever came of it."""
    job = machine_with(on_error=lambda ctx, _: ctx.schedule(after="1 hour"))
    jobs = (await world.open(app(world.outside, job))).handle(job)
    await world.run(jobs.send("a", OnAlarm(1_000, (Refuse("no"),))))
    triggered = await world.run(jobs.trigger("a"))
    assert triggered == Triggered(triggered=True, status="scheduled", outcome=Failed(Refused("no")))


@pytest.mark.parametrize(("end", "target"), [((), "b"), ((Refuse(),), "c")])
@on_each_store
async def test_messages_of_a_run_are_sent_with_its_commit(world: World, end: tuple[Any, ...], target: str) -> None:
    """`tell(definition, id).send(event, …)`: committed with the turn, dropped with a failed draft; `on_error` has its
    own."""
    job = machine_with(on_error=lambda _, __: tell(machine, "c").send(steps(Add())))
    jobs = (await world.open(app(world.outside, job))).handle(job)
    await world.run(jobs.send("a", OnAlarm(1_000, (Tell("b"), *end))))
    await world.advance(s=1)
    assert [await world.row(at(id_)) is not None for id_ in "bc"] == [id_ == target for id_ in "bc"]


@on_each_store
async def test_an_on_error_that_fails_leaves_both_errors(world: World) -> None:
    """If it fails, both errors are recorded."""
    job = machine_with(on_error=lambda _, __: Failure(Refused("second")))
    jobs = (await world.open(app(world.outside, job))).handle(job)
    error = await world.error_of(jobs.send("a", steps(Refuse("first"))))
    assert isinstance(error, Rejected)
    assert error.error == Refused("second")
    await world.run(jobs.send("b", OnAlarm(1_000, (Refuse("first"),))))
    triggered = await world.run(jobs.trigger("b"))
    assert triggered.outcome == Failed(Refused("first"))
    for id_ in "ab":
        failures = [event for event in await world.history(at(id_)) if event.type == "job.failed"]
        assert [event.error.message for event in failures] == ["Refused(why='first')", "Refused(why='second')"]
        assert [event.hook for event in failures][1:] == ["on_error"]
    assert (await world.run(jobs.status("b"))).status == "parked"


@on_each_store
async def test_an_on_error_that_fails_is_why_the_retries_ended(world: World) -> None:
    """If it fails, both errors are recorded: the run's own error is its cause of failure."""
    policy = Retry(max_attempts=1, delay=Backoff.constant("1 s"), jitter=False)
    job = machine_with(on_error=lambda _, __: Failure(Refused("second")), retry=policy)
    jobs = (await world.open(app(world.outside, job))).handle(job)
    await world.run(jobs.send("a", OnAlarm(1_000, (Refuse("first"),))))
    await world.advance(s=1)
    (exhausted,) = [event for event in await world.history(at("a")) if event.type == "job.retry_exhausted"]
    assert (exhausted.reason, exhausted.error.message) == ("on_error_failed", "Refused(why='first')")


@on_each_store
async def test_an_on_error_that_takes_over_leaves_the_end_of_the_retries_in_the_history(world: World) -> None:
    """Whatever ended them; a job without retries has none that end."""
    policy = Retry(2, Backoff.constant("1 s"), jitter=False, retry_if=lambda error: error.why != "final")
    for id_, retry, why, failures, reasons in (
        ("a", policy, "again", 2, ["max_attempts"]),
        ("b", policy, "final", 1, ["not_retryable"]),
        ("c", None, "again", 1, []),
    ):
        job = machine_with(on_error=lambda _, __: Success(None), retry=retry)
        jobs = (await world.open(app(world.outside, job))).handle(job)
        await world.run(jobs.send(id_, OnAlarm(1_000, (Refuse(why),))))
        await world.advance(s=5)
        history = await world.history(at(id_))
        assert [event.reason for event in history if event.type == "job.retry_exhausted"] == reasons
        ended = ["job.failed"] * failures + ["job.retry_exhausted"] * len(reasons)
        assert [event.type for event in history][-len(ended) :] == ended
        assert (await world.run(jobs.status(id_))).status == "idle"
        await world.close()


@on_each_store
async def test_without_on_error_the_failure_goes_to_the_caller(world: World) -> None:
    """Without it the failure goes to the caller and nothing of the draft is kept."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    error = await world.error_of(jobs.send("a", steps(Add(), Note(), Refuse("no"))))
    assert isinstance(error, Rejected)
    assert error.error == Refused("no")
    assert await world.happened(at("a")) == []


def test_the_state_is_never_none() -> None:
    """The state is never `None`."""
    with pytest.raises(DefinitionError):
        Task("optional", state=Total | None, event=Steps, initial=None, on_event=lambda _, __: Success(None))


def test_an_app_is_a_value() -> None:
    assert App(None).served == {}

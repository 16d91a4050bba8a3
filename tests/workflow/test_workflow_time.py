"""Time in workflows: sleeps that restarts do not move, time limits for each attempt, many timers."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flows import (
    Declined,
    HasShop,
    Shop,
    act,
    charge,
    journal,
    label,
    late,
    limited,
    mail,
    names,
    number,
    refund,
    sleeping,
)

from perdure import App, Backoff, Do, Retry, Task, TaskContext, Undo, Workflow, WorkflowContext, program, saga, tell
from perdure.programs import EffectTimeout, gather, now, race, sleep, sleep_until
from perdure.testing import Clock, Delay, Hang, Raise, WorkerDied, World
from perdure.values.answer import DeadlinePassed, Done, WasCancelled
from perdure.values.errors import InvalidArgument, InvalidInput
from perdure.values.outcome import Failed


def test_restarts_do_not_move_a_sleep() -> None:
    job = Workflow("sleeping", state=int, run=sleeping, keep=None)
    with World(App(None).with_jobs(job)) as world:
        began = world.now
        flow = world.handle(job)
        world.run(flow.start("s", 1))
        world.settle()
        due = world.run(flow.status("s")).next_run_at
        assert due is not None
        for minutes in (30, 29):
            world.advance(f"{minutes} minutes")
            world.crash()
            world.open()
            assert world.run(world.handle(job).status("s")).next_run_at == due
        world.advance("2 minutes")
        assert (due - began).total_seconds() == 3600
        assert world.run(world.handle(job).outcome("s")) == Done(value=due.isoformat())


def test_a_sleep_of_months_survives_the_process() -> None:
    @program
    def months(ctx: WorkflowContext[int]) -> Do[int, str]:
        yield from sleep("300 days")
        return (yield from act(1))

    job = Workflow("months", state=int, run=months, keep=None)
    with World(App(None).with_jobs(job)) as world:
        world.run(world.handle(job).start("m", 1))
        world.settle()
        world.crash()
        world.advance("299 days")
        world.open()
        assert world.run(world.handle(job).outcome("m")) is None
        world.advance("1 day")
        assert world.run(world.handle(job).outcome("m")) == Done(value=2)


def test_each_attempt_of_a_retried_step_has_its_own_time() -> None:
    shop = Shop()
    job = Workflow("limited", state=int, run=limited, keep=None)
    with World(App(shop).with_jobs(job)) as world:
        world.inject(Hang("label"))
        world.run(world.handle(job).start("l", 7))
        world.advance("10 seconds")
        assert world.run(world.handle(job).outcome("l")) == Done(value="label:a")
        assert names(journal(world, job, "l")) == ["timeout", "label", "sleep", "label"]


def test_a_step_has_its_full_time_after_a_downtime() -> None:
    job = Workflow("late", state=int, run=late, keep=None)
    with World(App(Shop()).with_jobs(job)) as world:
        world.run(world.handle(job).start("l", 0))
        world.settle()
        world.crash()
        world.advance("1 hour")
        world.inject(Delay("label", "500 ms"))
        world.open()
        world.advance("5 seconds")
        assert world.run(world.handle(job).outcome("l")) == Done(value="label:a")


@pytest.mark.parametrize(("delay", "in_time"), [("400 ms", True), ("600 ms", False)])
def test_a_time_limit_around_two_steps_counts_from_the_first(delay: str, in_time: object) -> None:
    @program
    def both(ctx: WorkflowContext[int]) -> Do[str, Declined | EffectTimeout, HasShop]:
        return (yield from label("a").bind(lambda _: mail("b")).timeout("1 second"))

    job = Workflow("both", state=int, run=both, keep=None)
    with World(App(Shop()).with_jobs(job)) as world:
        world.inject(Delay("label", delay), Delay("mail", delay))
        world.run(world.handle(job).start("b", 0))
        world.advance("1 minute")
        outcome = world.run(world.handle(job).outcome("b"))
        assert isinstance(outcome, Done if in_time else Failed)


def test_timers_fire_while_steps_are_in_progress() -> None:
    @program
    def mixed(ctx: WorkflowContext[int]) -> Do[tuple[str, str], Declined, HasShop]:
        return (yield from gather(label("slow"), sleep("1 second").bind(lambda _: mail("soon"))))

    shop = Shop()
    job = Workflow("mixed", state=int, run=mixed, keep=None)
    with World(App(shop).with_jobs(job)) as world:
        world.inject(Delay("label", "10 minutes"))
        world.run(world.handle(job).start("m", 0))
        world.advance("1 minute")
        assert shop.names == ["mail"]
        world.advance("1 hour")
        assert world.run(world.handle(job).outcome("m")) == Done(value=("label:slow", "mail:soon"))


def test_a_race_cancels_the_step_that_lost() -> None:
    @program
    def impatient(ctx: WorkflowContext[int]) -> Do[str, Declined, HasShop]:
        return (yield from race(label("slow"), sleep("1 second").map(lambda _: "time")))

    job = Workflow("impatient", state=int, run=impatient, keep=None)
    with World(App(Shop()).with_jobs(job)) as world:
        world.inject(Hang("label"))
        world.run(world.handle(job).start("i", 0))
        world.advance("1 second")
        assert world.run(world.handle(job).outcome("i")) == Done(value="time")
        rows = journal(world, job, "i")
        assert [(row.name, row.form) for row in rows] == [("sleep", "done"), ("label", "interrupted")]


def test_a_step_that_exceeds_run_timeout_is_retried_and_those_beside_it_stay() -> None:
    @program
    def slow(ctx: WorkflowContext[int]) -> Do[tuple[str, str], Declined, HasShop]:
        return (yield from gather(label("a"), mail("b")))

    shop = Shop()
    retry = Retry[object](max_attempts=3, delay=Backoff.constant("1 minute"), jitter=False)
    job = Workflow("slow", state=int, run=slow, retry_defects=retry, run_timeout="10 seconds", keep=None)
    with World(App(shop).with_jobs(job)) as world:
        world.inject(Hang("label"))
        world.run(world.handle(job).start("s", 0))
        world.advance("20 seconds")
        status = world.run(world.handle(job).status("s"))
        assert status.status == "retrying"
        assert status.last_error is not None
        assert status.last_error.form == "timed_out"
        world.advance("2 minutes")
        assert world.run(world.handle(job).outcome("s")) == Done(value=("label:a", "mail:b"))
        assert sorted(shop.names) == ["label", "mail"]


def test_a_time_limit_counts_again_for_an_attempt_that_the_policy_retries() -> None:
    @program
    def within(ctx: WorkflowContext[int]) -> Do[str, Declined | EffectTimeout, HasShop]:
        return (yield from label("a").timeout("1 second"))

    retry = Retry[object](max_attempts=3, delay=Backoff.constant("1 minute"), jitter=False)
    job = Workflow("within", state=int, run=within, retry_defects=retry, run_timeout="800 ms", keep=None)
    with World(App(Shop()).with_jobs(job)) as world:
        world.inject(Hang("label"))
        world.run(world.handle(job).start("w", 0))
        world.advance("30 seconds")
        world.inject(Delay("label", "500 ms"))
        world.advance("2 minutes")
        assert world.run(world.handle(job).outcome("w")) == Done(value="label:a")


def test_a_time_limit_around_a_signal_counts_from_the_wait() -> None:
    @program
    def waiting(ctx: WorkflowContext[int]) -> Do[int, EffectTimeout]:
        return (yield from number.receive().timeout("7 days"))

    job = Workflow("waiting", state=int, run=waiting, signals=(number,), keep=None)
    with World(App(None).with_jobs(job)) as world:
        for id_ in ("a", "b"):
            world.run(world.handle(job).start(id_, 0))
        world.advance("6 days")
        world.restart()
        world.run(world.handle(job).signal("a", number, 5))
        world.advance("1 day")
        assert world.run(world.handle(job).outcome("a")) == Done(value=5)
        assert isinstance(world.run(world.handle(job).outcome("b")), Failed)


@program
def until(ctx: WorkflowContext[datetime]) -> Do[bool]:
    deadline = yield from ctx.state
    yield from sleep(deadline - (yield from ctx.now))
    return (yield from ctx.now) >= deadline


@program
def until_instant(ctx: WorkflowContext[datetime]) -> Do[bool]:
    deadline = yield from ctx.state
    yield from sleep_until(deadline)
    return (yield from ctx.now) >= deadline


@pytest.mark.parametrize("microseconds", [0, 1, 999])
@pytest.mark.parametrize("run", [until, until_instant])
def test_a_deadline_with_microseconds_is_waited_for(run: Any, microseconds: int) -> None:
    job = Workflow("until", state=datetime, run=run, keep=None)
    with World(App(None).with_jobs(job), clock=Clock(datetime(2026, 1, 1, 0, 0, 0, microseconds, tzinfo=UTC))) as world:
        assert world.now.microsecond == microseconds
        deadline = world.now + timedelta(hours=1, microseconds=1)
        world.run(world.handle(job).start("u", deadline))
        world.advance("1 hour")
        world.crash()
        world.open()
        assert world.run(world.handle(job).outcome("u")) is None
        world.advance("2 ms")
        assert world.run(world.handle(job).outcome("u")) == Done(value=True)


def test_a_deadline_in_the_past_is_not_waited_for() -> None:
    job = Workflow("until", state=datetime, run=until_instant, keep=None)
    with World(App(None).with_jobs(job)) as world:
        world.run(world.handle(job).start("u", world.now - timedelta(days=1)))
        world.settle()
        assert world.run(world.handle(job).outcome("u")) == Done(value=True)


@program
def three_hours(ctx: WorkflowContext[int]) -> Do[str]:
    limit = yield from ctx.state
    yield from gather(*[sleep("1 hour")] * 3, limit=limit)
    return (yield from ctx.now).isoformat()


@pytest.mark.parametrize(("limit", "hours"), [(1, 3), (2, 2), (3, 1)])
def test_a_branch_that_starts_late_sleeps_from_then_on(limit: int, hours: int) -> None:
    job = Workflow("hours", state=int, run=three_hours, keep=None)
    with World(App(None).with_jobs(job)) as world:
        ends = world.now + timedelta(hours=hours)
        world.run(world.handle(job).start("h", limit))
        world.advance(timedelta(hours=hours) - timedelta(milliseconds=1))
        world.crash()
        world.open()
        assert world.run(world.handle(job).outcome("h")) is None
        world.advance("1 ms")
        assert world.run(world.handle(job).outcome("h")) == Done(value=ends.isoformat())


@program
def patient(ctx: WorkflowContext[int]) -> Do[str]:
    waits = yield from ctx.state
    yield from gather(*[number.receive().timeout("1 hour").attempt()] * waits)
    return (yield from ctx.now).isoformat()


def test_the_wait_behind_the_limit_of_gather_has_its_full_time() -> None:
    job = Workflow("patient", state=int, run=patient, signals=(number,), keep=None)
    with World(App(None).with_jobs(job)) as world:
        ends = world.now + timedelta(hours=2)
        world.run(world.handle(job).start("p", 101))
        world.advance("2 hours")
        assert world.run(world.handle(job).outcome("p")) == Done(value=ends.isoformat())


@program
def three_limits(_: WorkflowContext[int]) -> Do[list[str]]:
    ends: list[str] = []
    for _wait in range(3):
        yield from number.receive().timeout("1 hour").attempt()
        ends.append((yield from now()).isoformat())
    return ends


@program
def three_sleeps(_: WorkflowContext[int]) -> Do[list[str]]:
    ends: list[str] = []
    for _wait in range(3):
        yield from sleep("1 hour")
        ends.append((yield from now()).isoformat())
    return ends


@pytest.mark.parametrize("run", [three_limits, three_sleeps])
def test_waits_in_a_row_begin_when_the_program_reaches_them_also_after_a_downtime(run: Any) -> None:
    job = Workflow("row", state=int, run=run, signals=(number,), keep=None)
    with World(App(None).with_jobs(job)) as world:
        began = world.now
        world.run(world.handle(job).start("r", 0))
        world.advance("30 minutes")
        world.crash()
        world.advance("10 hours")
        world.open()
        world.advance("2 hours")
        ends = [(began + timedelta(hours=10 + passed, minutes=30)).isoformat() for passed in range(3)]
        assert world.run(world.handle(job).outcome("r")) == Done(value=ends)


def test_a_wait_that_no_process_reached_begins_when_the_first_one_does() -> None:
    job = Workflow("row", state=int, run=three_sleeps, signals=(number,), keep=None)
    with World(App(None).with_jobs(job)) as world:
        opened = len(world.crash_points)
        world.run(world.handle(job).start("r", 0))
        points = world.crash_points[opened:]
        _, waits = (number for number, point in enumerate(points) if point == "before commit")
    with World(App(None).with_jobs(job)) as world:
        began = world.now
        world.crash_after(waits)
        with suppress(WorkerDied):
            world.run(world.handle(job).start("r", 0))
            world.settle()
        world.advance("10 hours")
        world.open()
        world.advance("3 hours")
        ends = [(began + timedelta(hours=11 + passed)).isoformat() for passed in range(3)]
        assert world.run(world.handle(job).outcome("r")) == Done(value=ends)


# ---------------------------------------------------------------- delayed starts and deadlines
@program
def bought(undo: Undo[HasShop], wait: int) -> Do[str, Declined, HasShop]:
    receipt = yield from undo.after(charge("k", 1), refund)
    yield from sleep(timedelta(minutes=wait))
    return (yield from mail(receipt))


@program
def buying(ctx: WorkflowContext[int]) -> Do[str, Declined, HasShop]:
    return (yield from saga(bought, (yield from ctx.state)))


purchase = Workflow("purchase", state=int, run=buying, keep="10 days")


@pytest.mark.parametrize("store", ["memory://", "jobs.db"])
def test_a_delayed_start_begins_at_its_time_after_restarts_and_signals_wait_for_it(store: str, tmp_path: Path) -> None:
    @program
    def opened(ctx: WorkflowContext[int]) -> Do[tuple[datetime, datetime, int]]:
        first = yield from number.receive()
        return (ctx.started_at, (yield from ctx.now), first)

    job = Workflow("opened", state=int, run=opened, signals=(number,), keep=None)
    place: Any = store if "://" in store else tmp_path / store
    with World(App(None).with_jobs(job), store=place) as world:
        due = world.now + timedelta(hours=2)
        flow = world.handle(job)
        call = flow.start("after", 1, after="2 hours", idempotency_key="k", wait_for="completion")
        begun = world.run(call)
        assert (begun.created, begun.status) == (True, "scheduled")
        assert (
            world.run(flow.start("after", 1, after="120 minutes", idempotency_key="k", wait_for="completion")) == begun
        )
        assert world.run(flow.start("at", 1, at=due)).created
        assert not world.run(flow.start("at", 1)).created  # as every start of an existing one
        for id_ in ("after", "at"):
            assert world.run(flow.signal(id_, number, 7)).accepted
        world.advance("1 hour")
        world.crash()
        world.open()
        world.advance("59 minutes")
        flow = world.handle(job)
        for id_ in ("after", "at"):
            status = world.run(flow.status(id_))
            assert (status.run_count, status.next_run_at) == (0, due)
        world.advance("1 minute")
        for id_ in ("after", "at"):
            assert world.run(flow.outcome(id_)) == Done(value=(due, due, 7))


def test_a_workflow_that_has_not_begun_is_cancelled_and_performs_nothing() -> None:
    shop = Shop()
    with World(App(shop).with_jobs(purchase)) as world:
        flow = world.handle(purchase)
        world.run(flow.start("p", 1, after="2 hours"))
        assert world.run(flow.cancel("p", "too late")).accepted
        world.advance("1 second")
        assert world.run(flow.outcome("p")) == WasCancelled("too late")
        assert shop.names == []


@pytest.mark.parametrize("store", ["memory://", "jobs.db"])
@pytest.mark.parametrize("crashes", [False, True])
def test_a_deadline_cancels_a_workflow_that_has_not_ended_and_undoes_its_steps(
    store: str,
    crashes: bool,  # noqa: FBT001 - a parameter of the test
    tmp_path: Path,
) -> None:
    shop = Shop()
    place: Any = store if "://" in store else tmp_path / store
    with World(App(shop).with_jobs(purchase), store=place) as world:
        flow = world.handle(purchase)
        begins = world.now + timedelta(hours=1)
        world.run(flow.start("long", 60, after="1 hour", within="30 minutes"))
        world.run(flow.start("short", 29, after="1 hour", within="30 minutes"))
        assert world.run(flow.status("long")).deadline_at == begins + timedelta(minutes=30)
        world.advance("89 minutes")
        if crashes:
            world.crash()
            world.open()
            flow = world.handle(purchase)
        world.settle()
        assert world.run(flow.outcome("long")) is None
        assert world.run(flow.outcome("short")) == Done(value="mail:charge:1 k")
        world.advance("1 minute")
        world.settle()
        ended = world.run(flow.outcome("long"))
        assert ended == DeadlinePassed("its deadline passed")
        assert isinstance(ended, WasCancelled)
        assert world.run(flow.status("long")).phase == "timed_out"
        assert shop.names.count("refund") == 1
        assert world.error_of(flow.start_and_wait("next", 9, within="1 ms", timeout="0 ms")) is not None


def test_a_deadline_halts_branches_that_wait_beside_a_step_in_progress() -> None:
    @program
    def mixed(ctx: WorkflowContext[int]) -> Do[object, Declined, HasShop]:
        yield from gather(label("slow"), sleep("10 days").on_exit(mail("halted")))
        return (yield from mail("never"))

    shop = Shop()
    job = Workflow("mixed", state=int, run=mixed, keep=None)
    with World(App(shop).with_jobs(job)) as world:
        world.inject(Delay("label", "10 minutes"))
        world.run(world.handle(job).start("m", 0, within="1 minute"))
        world.advance("61 seconds")
        assert shop.names == ["mail"]  # the finalizer of the branch that waited
        # As a cancellation: the end of that branch decides, and the step beside it loses.
        assert world.run(world.handle(job).outcome("m")) == DeadlinePassed("its deadline passed")


@pytest.mark.parametrize("suspended", ["paused", "parked"])
def test_a_deadline_that_passes_while_the_workflow_is_suspended_cancels_it_when_it_is_resumed(suspended: str) -> None:
    shop = Shop()
    with World(App(shop).with_jobs(purchase)) as world:
        flow = world.handle(purchase)
        if suspended == "parked":
            world.inject(Raise("mail", OSError("no network")))
        world.run(flow.start("p", 2, within="1 hour"))
        world.advance("1 minute")
        if suspended == "paused":
            world.run(flow.pause("p"))
        world.advance("2 hours")
        status = world.run(flow.status("p"))
        assert (status.status, world.run(flow.outcome("p"))) == (suspended, None)
        assert status.deadline_at is not None
        assert status.deadline_at < world.now
        assert "refund" not in shop.names
        world.run(flow.resume("p"))
        world.advance("1 second")
        assert world.run(flow.outcome("p")) == DeadlinePassed("its deadline passed")
        assert shop.names.count("refund") == 1


def test_a_deadline_outlasts_start_over_and_a_request_to_cancel_comes_first() -> None:
    @program
    def again(ctx: WorkflowContext[int]) -> Do[None]:
        yield from sleep("10 minutes")
        yield from ctx.start_over((yield from ctx.state) + 1)

    job = Workflow("again", state=int, run=again, keep=None)
    with World(App(None).with_jobs(job)) as world:
        flow = world.handle(job)
        world.run(flow.start("a", 0, within="1 hour"))
        world.run(flow.start("b", 0, within="1 hour"))
        world.advance("55 minutes")
        world.run(flow.cancel("b", "enough"))
        world.advance("6 minutes")
        assert world.run(flow.outcome("a")) == DeadlinePassed("its deadline passed")
        assert world.run(flow.outcome("b")) == WasCancelled("enough")
        assert world.run(flow.get_state("a")) == 5


def test_a_defect_in_a_finalizer_at_the_deadline_is_retried_with_its_pauses() -> None:
    @program
    def broken(ctx: WorkflowContext[int]) -> Do[None, Declined, HasShop]:
        yield from sleep("1 day").on_exit(defective())

    @program
    def defective() -> Do[None, Declined, HasShop]:
        yield from mail("once")
        raise ValueError("a defect")

    shop = Shop()
    retry = Retry[object](max_attempts=3, delay=Backoff.constant("1 hour"), jitter=False)
    job = Workflow("broken", state=int, run=broken, retry_defects=retry, keep=None)
    with World(App(shop).with_jobs(job)) as world:
        flow = world.handle(job)
        world.run(flow.start("b", 0, within="1 minute"))
        world.advance("30 minutes")
        status = world.run(flow.status("b"))
        assert (status.status, status.run_count < 4) == ("retrying", True)
        world.advance("3 hours")
        assert world.run(flow.status("b")).status == "parked"
        assert shop.names == ["mail"]


def test_wrong_times_of_a_start_are_typed_errors_and_jobs_start_others_later() -> None:
    @program
    def passing(ctx: TaskContext[int], event: int) -> Do[None]:
        yield from tell(purchase, "told").start(event, after="1 hour", within="1 minute")

    task = Task("passing", state=int, event=int, initial=0, on_event=passing)
    with World(App(Shop()).with_jobs(purchase, task)) as world:
        flow = world.handle(purchase)
        wrong: list[dict[str, Any]] = [
            {"after": "soon"},
            {"within": "0 ms"},
            {"at": datetime(2026, 1, 1)},  # noqa: DTZ001 - it is refused
            {"after": "1 hour", "at": datetime(2030, 1, 1, tzinfo=UTC)},
            {"within": 5},
        ]
        for times in wrong:
            assert isinstance(world.error_of(flow.start("w", 1, **times)), InvalidInput | InvalidArgument)
        by_name = world.jobs.handle_by_name("workflow", "purchase")
        sent = '{"state":1,"after":"1h","at":"2030-01-01T00:00:00Z"}'
        assert isinstance(world.error_of(by_name.call("start_timed", "w", sent)), InvalidInput)
        assert world.run(flow.status("w")).status == "not_found"
        world.run(world.handle(task).send("t", 20))
        world.advance("59 minutes")
        assert world.run(flow.status("told")).run_count == 0
        world.advance("3 minutes")
        assert world.run(flow.outcome("told")) == DeadlinePassed("its deadline passed")


# ---------------------------------------------------------------- waits while a workflow is suspended
@pytest.mark.parametrize("suspended", ["paused", "parked"])
@pytest.mark.parametrize("signalled", [None, "1 hour", "3 hours"])
def test_a_wait_ends_when_a_suspended_workflow_is_resumed_and_stored_signals_come_first(
    suspended: str, signalled: str | None
) -> None:
    """A time limit of 2 hours passes while nothing runs: a signal that was stored meanwhile, also later, wins."""

    @program
    def both(ctx: WorkflowContext[int]) -> Do[int, Declined | EffectTimeout, HasShop]:
        first, _ = yield from gather(number.receive().timeout("2 hours"), sleep("1 minute").bind(lambda _: mail("x")))
        return first

    shop = Shop()
    job = Workflow("both", state=int, run=both, signals=(number,), keep=None)
    with World(App(shop).with_jobs(job)) as world:
        flow, began = world.handle(job), world.now
        if suspended == "parked":
            world.inject(Raise("mail", OSError("no network")))
        world.run(flow.start("b", 0))
        if suspended == "paused":
            world.run(flow.pause("b"))
        world.advance(signalled or "3 hours")
        if signalled is not None:
            assert world.run(flow.signal("b", number, 7)).accepted
            world.advance("4 hours")
        status = world.run(flow.status("b"))
        assert (status.status, world.run(flow.outcome("b"))) == (suspended, None)
        waits = {each.name: each.at_ms for each in world.run(flow.steps("b")) if each.status == "waiting"}
        assert "signal number" in waits  # shown, and the program has not been halted there
        world.run(flow.resume("b"))
        world.advance("1 second")
        ended = world.run(flow.outcome("b"))
        assert ended == Done(value=7) if signalled else isinstance(ended, Failed)
        assert began < world.now

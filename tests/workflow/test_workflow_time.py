"""Time in workflows: sleeps that restarts do not move, time limits for each attempt, many timers."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flows import Declined, HasShop, Shop, act, journal, label, late, limited, mail, names, number, sleeping

from perdure import App, Backoff, Do, Retry, Workflow, WorkflowContext, program
from perdure.programs import EffectTimeout, gather, now, race, sleep, sleep_until
from perdure.testing import Clock, Delay, Hang, WorkerDied, World
from perdure.values.answer import Done
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

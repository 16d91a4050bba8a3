"""The slots of an engine are shared fairly between its jobs: long runs of one job do not delay the runs of another."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from perdure import (
    App,
    Continuous,
    ContinuousContext,
    Do,
    ItemContext,
    Limits,
    Task,
    TaskContext,
    WorkerPool,
    every,
    program,
    tell,
)
from perdure.engine.runs.concurrency import too_many_runs
from perdure.programs import sleep
from perdure.testing import World


@program
def for_long(ctx: ItemContext[int]) -> Do[None]:
    yield from sleep("2 minutes")


@program
def event_for_long(ctx: TaskContext[int], event: int) -> Do[None]:
    yield from sleep("2 minutes")


@program
def tick_for_long(ctx: ContinuousContext[int]) -> Do[None]:
    yield from sleep("2 minutes")


@program
def shortly(ctx: TaskContext[int], event: int) -> Do[None]:
    yield from sleep("50 ms")
    yield from ctx.update_state(lambda total: total + event)


Backlog = Literal["pools", "events", "ticks"]

first = WorkerPool("first", item=int, work=for_long, workers=200)
second = WorkerPool("second", item=int, work=for_long, workers=200)
slow = Task("slow", state=int, event=int, initial=0, on_event=event_for_long)
ticking = Continuous("ticking", state=int, execute=tick_for_long, schedule=every("1 second"))
quick = Task("quick", state=int, event=int, initial=0, on_event=shortly)


@program
def pass_on(ctx: TaskContext[int], event: int) -> Do[None]:
    """Send a message to so many instances of the slow job, or one to the quick job."""
    for n in range(event):
        yield from tell(slow, str(n)).send(1)
    if not event:
        yield from tell(quick, "q").send(1)
    yield from ctx.update_state(lambda total: total + 1)


@program
def tick_shortly(ctx: ContinuousContext[int]) -> Do[None]:
    yield from ctx.update_state(lambda total: total + 1)


@program
def tick_for_long_later(ctx: ContinuousContext[int]) -> Do[None]:
    """End the first run at once, so that each instance waits for its alarm."""
    if (yield from ctx.state):
        yield from sleep("2 minutes")
    yield from ctx.set_state(1)


later = Continuous("later", state=int, execute=tick_for_long_later, schedule=every("1 second"))
brief = Continuous("brief", state=int, execute=tick_shortly, schedule=every("1 second"))
sender = Task("sender", state=int, event=int, initial=0, on_event=pass_on)

BACKLOGS: dict[Backlog, tuple[Any, ...]] = {"pools": (first, second), "events": (slow,), "ticks": (ticking,)}


def begin_backlog(world: World, backlog: Backlog, number: int) -> None:
    """Let a job, or two, have more runs than the engine has slots."""
    if backlog == "pools":
        for pool in BACKLOGS["pools"]:
            world.run(world.handle(pool).put_many((str(n), n) for n in range(number)))
    elif backlog == "events":
        for n in range(number):
            world.start(world.handle(slow).send(str(n), 1))
    else:
        world.concurrently(*(world.handle(ticking).start(str(n), 0) for n in range(number)))
    world.advance("1 s")


@pytest.mark.parametrize(
    ("backlog", "concurrency"),
    [(backlog, slots) for backlog in BACKLOGS for slots in (2, 8, 50) if slots > len(BACKLOGS[backlog])],
)
def test_an_event_with_an_effect_does_not_wait_for_the_long_runs_of_another_job(
    backlog: Backlog, concurrency: int
) -> None:
    app = App(None, limits=Limits(concurrency=concurrency)).with_jobs(*BACKLOGS[backlog], quick)
    with World(app, at_end="leave") as world:  # a continuous job never ends its backlog
        begin_backlog(world, backlog, 4 * concurrency)
        for n in range(5):
            since = world.now
            world.run(world.handle(quick).send(str(n), 1))
            assert (world.now - since).total_seconds() < 1
            world.advance("1 s")


def runs_of(world: World, job: Any, id_: str) -> int:
    """Return how many runs an instance has ended, 0 if there is none."""
    found = world.run(world.handle(job).status(id_))
    return getattr(found, "run_count", 0) + getattr(found, "event_count", 0)


@pytest.mark.parametrize(("batch", "slots"), [(1, 2), (2, 8), (16, 8), (256, 256)])
def test_a_message_does_not_wait_for_the_messages_of_another_job(batch: int, slots: int) -> None:
    app = App(None, limits=Limits(message_batch=batch, concurrency=slots)).with_jobs(sender, slow, quick)
    with World(app) as world:
        world.run(world.handle(sender).send("all", 2 * batch + slots))
        world.advance("1 s")
        for n in range(1, 6):
            world.run(world.handle(sender).send("one", 0))
            world.advance("1 s")
            assert runs_of(world, quick, "q") == n


@pytest.mark.parametrize(("pending", "slots"), [(1, 2), (4, 8), (16, 8)])
def test_an_alarm_does_not_wait_for_the_alarms_of_another_job(pending: int, slots: int) -> None:
    jobs = (later, brief)
    with World(App(None).with_jobs(*jobs), at_end="leave") as world:
        number = 2 * pending + slots
        world.concurrently(*(world.handle(later).start(str(n), 0) for n in range(number)))
        world.run(world.handle(brief).start("b", 0))
        world.close()
        world.open(App(None, limits=Limits(max_pending=pending, concurrency=slots)).with_jobs(*jobs))
        world.advance("3 s")
        for _ in range(5):
            before = runs_of(world, brief, "b")
            world.advance("10 s")
            assert runs_of(world, brief, "b") >= before + 9


@pytest.mark.parametrize(
    ("concurrency", "wanted", "slots"), [(16, 16, 15), (16, 100_000, 15), (2, 2, 1), (1, 2, 1), (400, 400, 399)]
)
def test_a_job_that_can_never_have_its_runs_is_a_warning_and_a_sentence_of_check(
    concurrency: int, wanted: int, slots: int
) -> None:
    limited = Task("limited", state=int, event=int, initial=0, on_event=shortly, runs=wanted)
    app = App(None, limits=Limits(concurrency=concurrency)).with_jobs(limited, quick)
    with World(app) as world:
        (warning,) = [record for record in world.logs if record.level == "warning"]
        assert warning.fields["slots"] == slots
    (found,) = too_many_runs(app.limits, app.served)
    kept = f" and keeps {concurrency - slots} for other jobs" if concurrency > slots else ""
    assert str(found) == (
        f"task:limited may have {wanted:,} runs at the same time, "
        f"but an engine has {concurrency} slots (`Limits.concurrency`){kept}"
    )


def test_a_job_whose_runs_fit_is_no_warning() -> None:
    limited = Task("limited", state=int, event=int, initial=0, on_event=shortly, runs=15)
    for jobs, concurrency in (((limited, quick), 16), ((limited,), 15)):
        with World(App(None, limits=Limits(concurrency=concurrency)).with_jobs(*jobs)) as world:
            assert [record for record in world.logs if record.level == "warning"] == []

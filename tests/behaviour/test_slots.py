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
)
from perdure.jobs.slots import too_many_runs
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
    with World(app) as world:
        begin_backlog(world, backlog, 4 * concurrency)
        for n in range(5):
            since = world.now
            world.run(world.handle(quick).send(str(n), 1))
            assert (world.now - since).total_seconds() < 1
            world.advance("1 s")


@pytest.mark.parametrize(
    ("concurrency", "wanted", "slots"), [(16, 16, 15), (16, 100_000, 15), (2, 2, 1), (1, 2, 1), (400, 400, 399)]
)
def test_a_job_that_can_never_have_its_runs_is_a_warning_and_a_sentence_of_check(
    concurrency: int, wanted: int, slots: int
) -> None:
    limited = Task("limited", state=int, event=int, initial=0, on_event=shortly, concurrency=wanted)
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
    limited = Task("limited", state=int, event=int, initial=0, on_event=shortly, concurrency=15)
    for jobs, concurrency in (((limited, quick), 16), ((limited,), 15)):
        with World(App(None, limits=Limits(concurrency=concurrency)).with_jobs(*jobs)) as world:
            assert [record for record in world.logs if record.level == "warning"] == []

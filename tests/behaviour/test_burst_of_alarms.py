"""A burst of alarms leaves room for requests, and is over as soon as the process, the disk and external systems allow.

The world is simulated, with work that keeps the process busy: the clock advances while nothing else can.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from returns.result import Result, Success
from world import World, play

from perdure import App, Do, Limits, Task, TaskContext, program
from perdure.programs import effect, sleep
from perdure.testing import Delay

ALARMS = 800
EVERY_MS = 5  # a request


@define
class Office:
    """What programs reach: work that keeps the process busy.

    Attributes:
        world: the world whose clock advances meanwhile.
        alarms: when the runs of alarms began, in milliseconds of the clock that does not jump.
        due_ms: when they were due; all at the same instant.
    """

    world: World
    alarms: list[float] = field(factory=list)
    due_ms: float = 0.0

    @property
    def now_ms(self) -> float:
        """That clock."""
        return self.world.process.simulation.runtime.monotonic_ms()

    def busy(self, work_ms: float) -> Result[None, Any]:
        """Keep the process busy."""
        self.world.process.simulation.stand_still(work_ms)
        return Success(None)

    def note(self) -> Result[None, Any]:
        """Note that an alarm's run began."""
        self.alarms.append(self.now_ms)
        return Success(None)


@effect
def busy(office: Office, work_ms: float) -> Result[None, Any]:
    return office.busy(work_ms)


@effect
def note(office: Office) -> Result[None, Any]:
    return office.note()


@program
def remind(ctx: TaskContext[int], event: int) -> Do[None]:
    yield from ctx.set_state(event)
    yield from ctx.schedule(after="1 second")


def reminders(name: str = "reminders", *, work_ms: float = 0.0, waits_ms: int = 0, **options: Any) -> Any:
    """Define the job: its run keeps the process busy, then waits for an external system."""

    @program
    def run(ctx: TaskContext[int]) -> Do[None, Any, Office]:
        yield from note()
        yield from busy(work_ms)
        if waits_ms:
            yield from sleep(f"{waits_ms} ms")

    return Task(name, state=int, event=int, initial=0, on_event=remind, execute=run, **options)


@program
def answer(ctx: TaskContext[int], event: int) -> Do[None, Any, Office]:
    yield from busy(0.1)
    yield from ctx.set_state(event)


requests = Task("requests", state=int, event=int, initial=0, on_event=answer)


async def burst(world: World, job: Any, *, commit_ms: int = 0) -> tuple[list[float], list[float]]:
    """Let all alarms be due at once, with requests meanwhile.

    Returns:
        How long each request took; and when each alarm's run began, from the instant it was due.
    """
    office = Office(world)
    limits = Limits(concurrency=ALARMS + 1)  # a place for a request while all of them are under way
    jobs = await world.open(App(office, limits=limits).with_jobs(job, requests))
    runtime = world.process.simulation.runtime
    for number in range(ALARMS):
        await world.run(jobs.handle(job).send(str(number), number))
    if commit_ms:
        world.world.inject(Delay("store.commit", f"{commit_ms} ms", times=10**6))
    office.due_ms = office.now_ms + 1_000
    took: list[float] = []

    async def one(number: int) -> None:
        began_ms = office.now_ms
        await jobs.handle(requests).send(str(number), number)
        took.append(office.now_ms - began_ms)

    async def callers() -> None:
        await runtime.sleep(1_000)
        number = 0
        while len(office.alarms) < ALARMS:
            number += 1
            runtime.spawn(one(number), name="caller")
            await runtime.sleep(EVERY_MS)

    await world.run(callers())
    await world.advance(s=5)
    return took, [at_ms - office.due_ms for at_ms in office.alarms]


@pytest.mark.parametrize("work_ms", [0.2, 2.0])
def test_a_request_waits_for_some_of_the_alarms_and_not_for_all(tmp_path: Path, work_ms: float) -> None:
    """However much work is due at once: the process is never idle meanwhile, and no request waits for much of it.

    The simulation draws which task is next, so that a few requests wait longer than on an event loop.
    """
    took, began = play("memory", tmp_path, lambda world: burst(world, reminders(work_ms=work_ms)))
    assert len(began) == ALARMS
    assert max(began) <= 1.25 * work_ms * ALARMS
    assert sorted(took)[len(took) * 95 // 100] <= 100 * work_ms


def test_alarms_whose_runs_wait_for_external_systems_block_no_others(tmp_path: Path) -> None:
    """All of them are under way long before the first one ends."""
    took, began = play("memory", tmp_path, lambda world: burst(world, reminders(waits_ms=1_000)))
    assert max(began) <= 200
    assert max(took) <= 10


@pytest.mark.parametrize("commit_ms", [1, 10])
def test_alarms_that_wait_for_the_disk_go_in_large_groups(tmp_path: Path, commit_ms: int) -> None:
    """A slow disk makes batches larger: not twelve alarms a commit, which were 1,300 ms at 10 ms a commit."""
    took, began = play("memory", tmp_path, lambda world: burst(world, reminders(work_ms=0.02), commit_ms=commit_ms))
    assert max(began) <= 300
    assert max(took) <= 3 * commit_ms + 25  # the group under way, one that is full, and its own


def test_alarms_run_in_large_groups_without_requests(tmp_path: Path) -> None:
    """A commit takes a millisecond, and each alarm has two: in groups of twelve they would take 130 ms.

    The claims of a group share the commit of the ends before them: apart, they would take longer.
    """

    @program
    def wait(ctx: TaskContext[int], event: int) -> Do[None]:
        yield from ctx.set_state(event)
        yield from ctx.schedule(after=f"{event} seconds")

    @program
    def run(ctx: TaskContext[int]) -> Do[None, Any, Office]:
        yield from note()

    async def scenario(world: World) -> float:
        office = Office(world)
        waiting = Task("waiting", state=int, event=int, initial=0, on_event=wait, execute=run)
        jobs = await world.open(App(office).with_jobs(waiting))
        for number in range(ALARMS):
            await world.run(jobs.handle(waiting).send(str(number), 5))
        await world.run(jobs.handle(waiting).send("the first to fire, which finds these requests", 1))
        world.world.inject(Delay("store.commit", "1 ms", times=10**6))
        await world.advance(s=10)
        _, *together = office.alarms
        assert len(together) == ALARMS
        return max(together) - min(together)

    assert play("memory", tmp_path, scenario) <= 25


def test_alarms_that_wait_for_a_slot_delay_those_of_other_jobs_for_a_moment_only(tmp_path: Path) -> None:
    """One job allows one run at a time, for ten minutes; another job's alarm is due behind hundreds of its."""

    async def scenario(world: World) -> float:
        office = Office(world)
        slow, quick = reminders("slow", waits_ms=600_000, runs=1), reminders("quick", work_ms=0.02)
        jobs = await world.open(App(office).with_jobs(slow, quick))
        for number in range(ALARMS):
            await world.run(jobs.handle(slow).send(str(number), number))
        await world.run(jobs.handle(quick).send("one", 1))
        await world.advance(s=60)
        (_, began_ms) = office.alarms
        return began_ms

    assert play("memory", tmp_path, scenario) <= 2_000

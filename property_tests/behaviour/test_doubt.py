"""A commit whose outcome is not known: whatever became of it, the engine heals without a restart.

For every operation, the answer to each of its commits is lost in turn, before the commit is written and after. The
caller repeats its request with its key while the outcome is not known, as callers do. Then the world must look as if no
answer had been lost, and code that ran again could see it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from cancel_sweep import LOST, cancelled, steps_of
from crash_sweep import KEY, Found, Operation, _arranged, _inspected, crossings_of, undisturbed
from crash_table import OPERATIONS
from hypothesis import settings
from machine import Add, Mark, machine, steps
from returns.result import Failure
from world import STORES, HasOutside, Refused, StoreKind, World, play, say

from perdure import App, Do, Migrations, Task, TaskContext, program, tell
from perdure.client.local_gateway import engine_of
from perdure.testing.fault import When
from perdure.values.errors import OutcomeUnknown, StoreUnavailable

NIGHTLY = settings.get_current_profile_name() in {"nightly", "mutants"}
KINDS: tuple[StoreKind, ...] = STORES if NIGHTLY else ("memory",)
TRIES = 6


# ---------------------------------------------------------------- one job that sends, with a key, over an older state
@frozen
class Words:
    """What older code stores."""

    text: str = ""


@frozen
class Count:
    """What newer code stores."""

    words: int = 0


def counted(old: Words) -> Count:
    """Upgrade."""
    return Count(len(old.text.split()))


@program
def forward(ctx: TaskContext[Any], event: str) -> Do[None, Refused, HasOutside]:
    """Take a word, pass it on twice, and speak of it."""
    yield from ctx.update_state(
        lambda state: Count(state.words + 1) if isinstance(state, Count) else Words(f"{state.text} {event}")
    )
    yield from tell(machine, "a").send(steps(Add(), Mark(event)))
    yield from tell(machine, "b").send(steps(Add(10)))
    yield from say(f"passed on {event}#{ctx.attempt}.{ctx.delivery}")
    yield from ctx.schedule(after="2 seconds")


@program
def forward_again(ctx: TaskContext[Any]) -> Do[None, Refused, HasOutside]:
    """Tell once more, when the alarm fires."""
    yield from tell(machine, "a").send(steps(Add(100), Mark("late")))
    yield from say(f"alarm#{ctx.attempt}.{ctx.delivery}")


def forwarding(state: Any, versions: Any = None) -> Any:
    return Task(
        "forward",
        state=state,
        event=str,
        initial=state(),
        on_event=forward,
        execute=forward_again,
        versions=versions,
    )


OLD, NEW = forwarding(Words), forwarding(Count, Migrations(Words).then(counted))


def sending(name: str, event: str | None, arrange: Callable[[World], Awaitable[None]]) -> Operation:
    async def looks(world: World) -> Any:
        handles = world.jobs.handle(machine)
        totals = [await world.run(handles.get_state(id_)) for id_ in ("a", "b")]
        row = await world.row(NEW.address("f"))
        found = None if row is None else (row.state, row.state_version, row.status, row.event_count, row.run_count)
        return found, [None if total is None else total.total for total in totals]

    return Operation(
        name=f"task: {name}",
        app=lambda world: App(world.outside).with_jobs(NEW, machine),
        arrange=arrange,
        request=None if event is None else lambda world: world.jobs.handle(NEW).send("f", event, idempotency_key=KEY),
        wait_ms=10_000,
        looks=looks,
    )


async def stored_by_older_code(world: World) -> None:
    """Begin with a state of the older version, whose alarm is due soon."""
    await world.close()
    jobs = await world.open(App(world.outside).with_jobs(OLD, machine))
    await world.run(jobs.handle(OLD).send("f", "once upon a time"))
    await world.close()
    await world.open(App(world.outside).with_jobs(NEW, machine))


async def nothing(_: World) -> None:
    """Begin with nothing."""


TELLING = (
    sending("a keyed event that tells, and begins an instance", "word", nothing),
    sending("a keyed event that tells, over the state of older code", "word", stored_by_older_code),
    sending("an alarm that tells, over the state of older code", None, stored_by_older_code),
)
ALL = (*OPERATIONS, *TELLING)


# ---------------------------------------------------------------- losing answers
def commits_of(operation: Operation, folder: Path) -> int:
    """Count the commits of an operation that nothing disturbs."""
    return crossings_of(operation, "memory", folder).count("before commit")


def in_doubt(
    operation: Operation, kind: StoreKind, folder: Path, place: int, when: When, *, times: int = 1, tries: int = TRIES
) -> tuple[Found, tuple[str, ...]]:
    """Lose the answers to some commits, repeat the request while its outcome is unknown; return the state found."""

    async def scenario(world: World) -> tuple[Found, tuple[str, ...]]:
        await _arranged(operation, world)
        world.fail("commit", LOST, applied=when == "after", after=place, times=times)
        await _until_known(operation, world, tries)
        await world.advance(ms=operation.wait_ms)
        found = await _inspected(operation, world)
        world.world.clear_faults()
        return found, engine_of(world.jobs).in_flight().described()

    return play(kind, folder, scenario)


async def _until_known(operation: Operation, world: World, tries: int) -> None:
    if operation.request is None:
        return
    for _ in range(tries if operation.repeated == "once" else 1):
        answer = await world.attempt(operation.request(world))
        if not (isinstance(answer, Failure) and isinstance(answer.failure(), OutcomeUnknown | StoreUnavailable)):
            return
    if operation.repeated == "once" and tries == TRIES:
        raise AssertionError(f"the outcome is still not known: {answer!r}")


def new(folder: Path, name: str) -> Path:
    made = folder / name
    made.mkdir()
    return made


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("operation", ALL, ids=lambda operation: operation.name)
def test_a_lost_answer_heals_without_a_restart(operation: Operation, when: When, tmp_path: Path) -> None:
    expected = undisturbed(operation, "memory", new(tmp_path, "undisturbed"))
    commits = commits_of(operation, new(tmp_path, "commits"))
    assert commits > 0 or "answered request" in operation.name
    for kind, place, times in product(KINDS, range(commits), (1, 2)):
        found, remains = in_doubt(operation, kind, new(tmp_path, f"{kind}-{place}-{times}"), place, when, times=times)
        where = f"the answers to {times} commits after {place} others were lost, {kind}"
        assert (found.stuck, found.unmarked) == ((), ()), where
        assert found.looks == expected.looks, where
        assert remains == (), where


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("operation", ALL, ids=lambda operation: operation.name)
def test_a_lost_answer_leaves_nothing_undone_if_its_caller_gives_up(
    operation: Operation, when: When, tmp_path: Path
) -> None:
    """No caller brings the instance up again: the engine settles by itself any work that the commit may have begun."""
    for place in range(commits_of(operation, new(tmp_path, "commits"))):
        found, remains = in_doubt(operation, "memory", new(tmp_path, str(place)), place, when, tries=1)
        where = f"the answer to a commit after {place} others was lost"
        assert (found.stuck, found.unmarked, remains) == ((), (), ()), where


@pytest.mark.parametrize("lost", ["before", "after"])
@pytest.mark.parametrize("operation", ALL, ids=lambda operation: operation.name)
def test_answers_that_are_lost_during_a_stop_leave_nothing_behind(
    operation: Operation, lost: When, tmp_path: Path
) -> None:
    """The stopped engine does nothing more, and the next start makes it good."""
    expected = undisturbed(operation, "memory", new(tmp_path, "undisturbed"))
    for place in range(1, steps_of(operation, new(tmp_path, "steps")), 1 if NIGHTLY else 3):
        rested = cancelled(operation, "memory", tmp_path, place, target="stop", lost=lost)
        where = f"after {place} steps"
        assert rested.remained == (), where
        assert (rested.found.stuck, rested.found.unmarked) == ((), ()), where
        assert rested.found.looks == expected.looks, where

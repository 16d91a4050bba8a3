"""The history and the status of runs that were given up, to the last field: operators decide by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from returns.result import Result, Success
from world import STORES

from perdure import App, Decision, Do, Migrations, Task, TaskContext, effect, program
from perdure.jobs.hooks import traceback_text
from perdure.testing import Crash, WorkerDied, World
from perdure.values.answer import PauseResult
from perdure.values.errors import HookRaised, Undecodable
from perdure.values.event import JobFailed, JobParked


@frozen
class Count:
    total: int = 0


@frozen
class Add:
    amount: int = 1


@effect
def touch(_: object) -> Result[None, str]:
    return Success(None)


@program
def on_event(ctx: TaskContext[Count], event: Add) -> Do[None, str, object]:
    yield from touch()
    count = yield from ctx.state
    yield from ctx.set_state(Count(count.total + event.amount))


@program
def execute(ctx: TaskContext[Count]) -> Do[None, str, object]:
    yield from touch()


JOB = Task("counter", state=Count, event=Add, initial=Count(), on_event=on_event, execute=execute)


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str | Path:
    return "memory://" if request.param == "memory" else tmp_path / "jobs.db"


def until_it_is_parked(world: World, call: Any) -> None:
    world.inject(Crash("touch", times=3))
    with pytest.raises(WorkerDied):
        world.run(call)
    for _ in range(2):
        with pytest.raises(WorkerDied):
            world.open()
    world.open()


@pytest.mark.parametrize("action", ["send", "trigger"])
def test_a_run_that_ended_its_process_three_times_is_parked_and_says_why(store: Any, action: str) -> None:
    with World(App(object()).with_jobs(JOB), store=store) as world:
        counter = world.handle(JOB)
        world.run(counter.send("a", Add()))
        until_it_is_parked(world, counter.send("a", Add()) if action == "send" else counter.trigger("a"))
        (parked,) = [event for event in world.history(JOB, "a") if isinstance(event, JobParked)]
        assert (parked.reason, parked.detail) == ("recovery_exhausted", "the process died 3 times during this run")
        status = world.run(counter.status("a"))
        assert status.status == "parked"
        if action == "trigger":
            assert status.last_error is not None
            assert (status.last_error.form, status.last_error.error_type) == ("defect", "RecoveryExhausted")
            assert status.last_error.message == parked.detail


def test_a_hook_that_breaks_before_there_is_an_instance_is_in_the_history(store: Any) -> None:
    def initial(_: str) -> Count:
        raise RuntimeError("no idea")

    job = Task("counter", state=Count, event=Add, initial=initial, on_event=on_event)
    with World(App(object()).with_jobs(job), store=store) as world:
        error = world.error_of(world.handle(job).send("a", Add()))
        assert isinstance(error, HookRaised)
        (failed,) = [event for event in world.history(job, "a") if isinstance(event, JobFailed)]
        assert (failed.hook, failed.attempt, failed.delivery, failed.duration_ms) == ("initial", 1, 1, 0)
        assert (failed.run_count, failed.retry_at_ms, failed.error.error_type) == (0, None, "RuntimeError")
        assert failed.run_id


@frozen
class Sum:
    total: int


def upgraded(_: Count) -> Sum:
    raise RuntimeError("no way")


def test_a_state_that_cannot_be_upgraded_is_left_and_says_why(store: Any) -> None:
    broken = Task(
        "counter",
        state=Sum,
        event=Add,
        initial=Sum(0),
        decide=lambda state, _: Success(Decision(state)),
        errors=str,
        versions=Migrations(Count).then(upgraded),
    )
    with World(App(object()).with_jobs(JOB), store=store) as world:
        world.run(world.handle(JOB).send("a", Add()))
        world.restart(App(object()).with_jobs(broken))
        error = world.error_of(world.handle(broken).send("a", Add()))
        assert isinstance(error, Undecodable)
        assert error.address == "task:counter:a"
        left, failed = world.history(broken, "a")[:2]
        assert (failed.hook, failed.attempt, failed.delivery, failed.duration_ms) == (
            "upgraded (version 1 to 2)",
            1,
            1,
            0,
        )
        assert failed.run_id
        assert left.error_type == "UpcastFailed"
        assert "no way" in left.detail
        assert str(world.error_of(world.handle(broken).resume("a"))) == str(error)
        world.restart(App(object()).with_jobs(JOB))
        assert world.run(world.handle(JOB).resume("a")) == PauseResult(changed=False, status="idle")
        assert world.run(world.handle(JOB).resume("b")) == PauseResult(changed=False, status=None)


def test_exceptions_that_cause_each_other_have_a_traceback() -> None:
    one, other = ValueError("one"), KeyError("other")
    one.__cause__, other.__cause__ = other, one
    text = traceback_text(one, frozenset())
    assert ("ValueError: one" in text, "KeyError: 'other'" in text) == (True, True)

"""``reference/behaviour.md`` 1, *Defects*, in every hook and in every container of ``returns``."""

from collections.abc import Callable
from typing import Any

import pytest
from attrs import frozen
from returns.context import RequiresContextFutureResult
from returns.future import FutureResult
from returns.io import IOResult, IOSuccess, impure_safe
from returns.result import Failure, Result, Success
from world import Outside, World, on_each_store

from perdure import App, Backoff, Decision, Program, Retry, Task, TaskContext
from perdure.values.errors import HookRaised, OutcomeUnknown, Rejected
from perdure.values.outcome import Failed, Retrying
from perdure.values.status import Defect
from perdure.values.transition import Put


@frozen
class Nothing:
    """A state, and an event, with nothing in it."""


def broken(*_: object) -> Any:
    raise ZeroDivisionError("bug")


def not_a_program(*_: object) -> Any:
    return "done"


def fine(*_: object) -> Result[None, str]:
    return Success(None)


def job(**hooks: Any) -> Task[Any, Any, Any, Any]:
    given = {"on_event": fine, "initial": Nothing()} | hooks
    if "decide" in hooks:
        del given["on_event"]
    return Task("job", state=Nothing, event=Nothing, **given)


@pytest.mark.parametrize("hook", ["on_event", "decide", "on_idle", "initial"])
@pytest.mark.parametrize("function", [broken, not_a_program])
@on_each_store
async def test_a_hook_that_breaks_in_an_event_is_a_defect(
    world: World, hook: str, function: Callable[..., Any]
) -> None:
    """An undeclared exception in any hook is a failure like any other: recorded with its traceback, visible."""
    task = job(**{hook: function})
    handle = (await world.open(App(world.outside).with_jobs(task))).handle(task)
    error = await world.error_of(handle.send("a", Nothing()))
    assert isinstance(error, HookRaised)
    if function is broken:
        assert error.error_type == "ZeroDivisionError"
        assert "raise ZeroDivisionError" in error.traceback
    (failed,) = await world.history(task.address("a"))
    assert (failed.type, failed.error.form, failed.error.traceback) == ("job.failed", "defect", error.traceback)
    assert failed.hook == ("on_event" if hook == "decide" else hook)
    assert await world.row(task.address("a")) is None


@pytest.mark.parametrize("function", [broken, not_a_program])
@on_each_store
async def test_a_run_that_breaks_is_retried_by_the_policy(world: World, function: Callable[..., Any]) -> None:
    """…retried by the policy."""
    policy: Retry[Any] = Retry(max_attempts=2, delay=Backoff.constant("1 second"), jitter=False)
    task = job(execute=function, retry=policy)
    handle = (await world.open(App(world.outside).with_jobs(task))).handle(task)
    await world.run(handle.send("a", Nothing()))
    triggered = await world.run(handle.trigger("a"))
    assert isinstance(triggered.outcome, Retrying)
    assert isinstance(triggered.outcome.error, Defect)
    await world.advance(s=1)
    status = await world.run(handle.status("a"))
    assert (status.status, status.parked) == ("parked", "retries_exhausted")
    assert status.last_error is not None
    assert status.last_error.form == "defect"
    failures = [event for event in await world.history(task.address("a")) if event.type == "job.failed"]
    assert [event.attempt for event in failures] == [1, 2]
    assert all("Traceback" in event.error.traceback for event in failures)


@on_each_store
async def test_an_on_error_that_breaks_records_both(world: World) -> None:
    """If `on_error` fails, both errors are recorded."""
    task = job(on_event=broken, on_error=not_a_program)
    handle = (await world.open(App(world.outside).with_jobs(task))).handle(task)
    error = await world.error_of(handle.send("a", Nothing()))
    assert isinstance(error, HookRaised)
    events = await world.history(task.address("a"))
    assert [(event.hook, event.error.error_type) for event in events] == [
        ("on_event", "ZeroDivisionError"),
        ("on_error", "NotAProgram"),
    ]


@on_each_store
async def test_a_retry_if_that_breaks_is_a_defect(world: World) -> None:
    """An undeclared exception in any hook: `retry_if` is one."""
    policy: Retry[Any] = Retry(max_attempts=2, delay=Backoff.constant("1 second"), retry_if=broken)
    task = job(execute=lambda _: Failure("no"), retry=policy)
    handle = (await world.open(App(world.outside).with_jobs(task))).handle(task)
    await world.run(handle.send("a", Nothing()))
    triggered = await world.run(handle.trigger("a"))
    assert isinstance(triggered.outcome, Retrying | Failed)
    assert isinstance(triggered.outcome.error, Defect)
    assert triggered.outcome.error.error_type == "ZeroDivisionError"
    assert (await world.run(handle.status("a"))).status != "running"


@on_each_store
async def test_a_cancellation_that_is_not_the_engines_is_a_defect(world: World) -> None:
    """A service that raises the cancellation of something else breaks its run, not the engine."""

    def cancelled(_: object) -> Program[Any, Any, Any]:
        async def wait(outside: Outside) -> Result[None, str]:
            assert outside.boundary is not None
            given_up = outside.boundary.runtime.future()
            given_up.cancel()
            await given_up
            return Success(None)

        return Program.from_context(lambda services: services).bind(
            lambda services: Program.from_future_result(FutureResult(wait(services)))
        )

    task = job(execute=cancelled)
    handle = (await world.open(App(world.outside).with_jobs(task))).handle(task)
    await world.run(handle.send("a", Nothing()))
    triggered = await world.run(handle.trigger("a"))
    assert isinstance(triggered.outcome, Failed)
    assert isinstance(triggered.outcome.error, Defect)
    assert "Cancel" in triggered.outcome.error.error_type
    await world.close()


@pytest.mark.parametrize("hook", ["on_event", "execute"])
@on_each_store
async def test_a_program_that_raises_a_cancellation_of_its_own_is_a_defect(world: World, hook: str) -> None:
    """It was not cancelled from outside: it fails alone, with its own exception."""

    def cancelled(*_: object) -> Program[Any]:
        def give_up(_: object) -> None:
            assert world.outside.boundary is not None
            raise world.outside.boundary.runtime.cancelled("of its own")

        return Program.from_value(None).map(give_up)

    task = job(**{hook: cancelled})
    handle = (await world.open(App(world.outside).with_jobs(task))).handle(task)
    if hook == "on_event":
        error = await world.error_of(handle.send("a", Nothing()))
    else:
        await world.run(handle.send("a", Nothing()))
        error = (await world.run(handle.trigger("a"))).outcome.error
    assert isinstance(error, HookRaised | Defect)
    assert error.message == "of its own"


# ---------------------------------------------------------------- containers
@pytest.mark.parametrize("container", ["IOResult", "impure_safe", "FutureResult", "RequiresContextFutureResult"])
@on_each_store
async def test_a_hook_that_acts_when_it_is_called_is_claimed_before(world: World, container: str) -> None:
    """Just before its first external effect: whatever container the hook answers with."""
    held: list[bool] = []

    def note() -> None:
        writes = [transition.write for transition in world.commits]
        held.append(any(isinstance(write, Put) and write.instance.owner is not None for write in writes))

    async def later() -> Result[None, str]:
        note()
        return Success(None)

    def ioresult(_: TaskContext[Nothing], __: Nothing) -> IOResult[None, str]:
        note()
        return IOSuccess(None)

    @impure_safe
    def impure(_: TaskContext[Nothing], __: Nothing) -> None:
        note()

    def future(_: TaskContext[Nothing], __: Nothing) -> FutureResult[None, str]:
        return FutureResult(later())

    def context(_: TaskContext[Nothing], __: Nothing) -> RequiresContextFutureResult[None, str, Outside]:
        return RequiresContextFutureResult(lambda _: FutureResult(later()))

    hooks: dict[str, Any] = {
        "IOResult": ioresult,
        "impure_safe": impure,
        "FutureResult": future,
        "RequiresContextFutureResult": context,
    }
    task = job(on_event=hooks[container])
    handle = (await world.open(App(world.outside).with_jobs(task))).handle(task)
    await world.run(handle.send("a", Nothing()))
    assert held == [True]


@on_each_store
async def test_a_hook_may_answer_a_plain_result(world: World) -> None:
    """`decide` and hooks may be pure: one commit, the failure is the caller's."""
    task = job(on_event=lambda _, __: Failure("no"))
    handle = (await world.open(App(world.outside).with_jobs(task))).handle(task)
    rejected = await world.error_of(handle.send("a", Nothing()))
    assert isinstance(rejected, Rejected)
    assert rejected.error == "no"
    pure = job(decide=lambda state, _: Success(Decision(state)))
    await world.close()
    handle = (await world.open(App(world.outside).with_jobs(pure))).handle(pure)
    assert (await world.run(handle.send("a", Nothing()))).created
    assert len(world.commits) == 1


class BrokenKind(Task[Any, Any, Any, Any]):
    """A kind of job that breaks where it settles a run: a bug that no policy can settle."""

    def succeeded(self, *_: Any) -> Any:
        raise ZeroDivisionError

    def error_handler(self, *_: Any) -> Any:
        raise ZeroDivisionError


@on_each_store
async def test_a_kind_of_job_that_raises_stops_no_other_job(world: World) -> None:
    """A defect of a kind itself: its caller receives `OutcomeUnknown`, others continue, and the engine can stop."""
    broken_kind = BrokenKind("job", state=Nothing, event=Nothing, initial=Nothing(), on_event=fine)
    sound, other = job(), Task("other", state=Nothing, event=Nothing, initial=Nothing(), on_event=fine)
    jobs = await world.open(App(world.outside).with_jobs(sound))
    await world.run(jobs.handle(sound).send("a", Nothing()))
    await world.close()
    jobs = await world.open(App(world.outside).with_jobs(broken_kind, other))
    for call in (jobs.handle(broken_kind).trigger("a"), jobs.handle(broken_kind).send("a", Nothing())):
        assert isinstance(await world.error_of(call), OutcomeUnknown)
    assert (await world.run(jobs.handle(other).send("a", Nothing()))).created
    assert any("internal error in turn" in line for line in world.logs)
    await world.close()


class MuteKind(Task[Any, Any, Any, Any]):
    """A kind of job that raises before it returns a program."""

    def program(self, *_: Any) -> Any:
        raise ZeroDivisionError("no program")

    event_program = program


@on_each_store
async def test_a_kind_of_job_that_returns_no_program_has_crashed_and_is_logged(world: World) -> None:
    """A defect that no run can record: its caller gets it, the log has it, and nothing is written."""
    mute = MuteKind("job", state=Nothing, event=Nothing, initial=Nothing(), on_event=fine)
    handle = (await world.open(App(world.outside).with_jobs(mute))).handle(mute)
    error = await world.error_of(handle.send("a", Nothing()))
    assert isinstance(error, HookRaised)
    assert (error.error_type, error.message) == ("ZeroDivisionError", "no program")
    assert "in program" in error.traceback
    (record,) = [record for record in world.world.logs if record.level == "error"]
    assert record.message == "hook raised before returning a program"
    assert record.fields == {"instance": "task:job:a", "error": "ZeroDivisionError('no program')"}
    assert world.commits == []

"""The failure of a run is in the log: once, at the right level, with job, id, run and error."""

from typing import Any

import pytest
from returns.result import Failure, Result, Success
from world import HasOutside, Refused, World, on_each_store, say

from perdure import App, Backoff, Continuous, Debounce, Do, Retry, Task, TaskContext, every, program, tell
from perdure.programs import Program, succeed
from perdure.runtime.record import LogRecord

ONCE_MORE: Retry[Any] = Retry(max_attempts=2, delay=Backoff.constant("1 s"), jitter=False)


def incidents(records: list[LogRecord]) -> list[tuple[str, str]]:
    return [(record.level, record.message) for record in records if "job" in record.fields]


def fields_of(records: list[LogRecord]) -> dict[str, object]:
    return dict(next(record.fields for record in records if "job" in record.fields))


def fine(*_: Any) -> Program[Any]:
    return succeed(None)


def broken(*_: Any) -> Any:
    raise ZeroDivisionError("bug")


def refusing(*_: Any) -> Result[None, str]:
    return Failure("no")


def task(**hooks: Any) -> Any:
    return Task("job", state=int, event=str, **({"on_event": fine, "initial": 0} | hooks))


def app(world: World, *jobs: Any) -> App[Any]:
    return App(world.outside).with_jobs(*jobs)


@on_each_store
async def test_a_run_that_is_retried_and_then_parked(world: World) -> None:
    job = task(execute=broken, retry=ONCE_MORE)
    calls = (await world.open(app(world, job))).handle(job)
    await world.run(calls.send("a", "x"))
    await world.run(calls.trigger("a"))
    assert incidents(world.world.logs) == [("warning", "run failed, will be retried")]
    fields = fields_of(world.world.logs)
    assert {name: fields[name] for name in ("job", "id", "hook", "attempt", "error")} == {
        "job": "task:job",
        "id": "a",
        "hook": "execute",
        "attempt": 1,
        "error": "ZeroDivisionError: bug",
    }
    await world.advance(s=1)
    assert incidents(world.world.logs)[1:] == [("error", "instance parked")]
    parked = world.world.logs[-1].fields
    assert (parked["run"], parked["reason"]) == (fields["run"], "retries_exhausted")


@pytest.mark.parametrize(("function", "level"), [(broken, "error"), (refusing, "warning")])
@pytest.mark.parametrize("exhausted", ["continue", "purge", "park", "none"])
@on_each_store
async def test_only_a_defect_is_an_error(world: World, function: Any, level: str, exhausted: Any) -> None:
    """A typed error is declared by the definition: its run failed as its author expected."""
    policy: Any = None if exhausted == "none" else Retry(max_attempts=1, on_exhausted=exhausted)
    job: Any = Continuous("job", state=int, schedule=every("1 hour"), execute=function, errors=str, retry=policy)
    if exhausted in {"purge", "park"}:
        job = task(execute=function, retry=policy, errors=str)
    calls = (await world.open(app(world, job))).handle(job)
    if exhausted in {"purge", "park"}:
        await world.run(calls.send("a", "x"))
        await world.run(calls.trigger("a"))
    else:
        await world.run(calls.start("a", 0))
    message = {"none": "run failed", "park": "instance parked"}.get(exhausted, "run failed, retries exhausted")
    assert incidents(world.world.logs) == [(level, message)]


@on_each_store
async def test_every_failed_run_of_a_schedule(world: World) -> None:
    job: Any = Continuous("job", state=int, schedule=every("1 minute"), execute=broken)
    await world.run((await world.open(app(world, job))).handle(job).start("a", 0))
    await world.advance(minutes=18)
    assert incidents(world.world.logs) == [("error", "run failed")] * 19


@pytest.mark.parametrize("exhausted", ["continue", "purge"])
@on_each_store
async def test_a_run_that_used_up_its_retries_without_being_parked(world: World, exhausted: str) -> None:
    policy: Any = Retry(max_attempts=1, on_exhausted=exhausted)  # type: ignore[arg-type] # of the parameters
    job: Any
    if exhausted == "continue":
        job = Continuous("job", state=int, schedule=every("1 hour"), execute=broken, retry=policy)
        await world.run((await world.open(app(world, job))).handle(job).start("a", 0))
    else:
        job = task(execute=broken, retry=policy)
        calls = (await world.open(app(world, job))).handle(job)
        await world.run(calls.send("a", "x"))
        await world.run(calls.trigger("a"))
    assert incidents(world.world.logs) == [("error", "run failed, retries exhausted")]


@pytest.mark.parametrize("function", [broken, refusing])
@on_each_store
async def test_an_event_is_an_error_only_if_its_handler_breaks(world: World, function: Any) -> None:
    """A typed rejection is an answer to the caller, with `on_error` as well."""
    plain, watched = (
        task(on_event=function),
        Task("other", state=int, event=str, initial=0, on_event=function, on_error=refusing),
    )
    jobs = await world.open(app(world, plain, watched))
    await world.error_of(jobs.handle(plain).send("a", "x"))
    await world.error_of(jobs.handle(watched).send("a", "x"))
    if function is broken:
        assert incidents(world.world.logs) == [("error", "run failed")] * 2
    else:
        assert incidents(world.world.logs) == [("debug", "event rejected")]


@program
def speak(_: TaskContext[int], __: str) -> Do[None, Refused, HasOutside]:
    yield from say("word")


@on_each_store
async def test_a_run_that_a_crash_left_behind(world: World) -> None:
    job = task(on_event=speak)
    world.suspension("word")
    world.start((await world.open(app(world, job))).handle(job).send("a", "x"))
    await world.settle()
    await world.crash()
    world.release("word")
    await world.open(app(world, job))
    await world.settle()
    assert incidents(world.world.logs) == [("warning", "run recovered")]
    fields = fields_of(world.world.logs)
    assert (fields["job"], fields["id"], fields["delivery"], fields["recoveries"]) == ("task:job", "a", 2, 1)
    assert "run" in fields


@on_each_store
async def test_a_retry_that_a_trigger_supersedes(world: World) -> None:
    job = task(execute=broken, retry=ONCE_MORE)
    calls = (await world.open(app(world, job))).handle(job)
    await world.run(calls.send("a", "x"))
    await world.run(calls.trigger("a"))
    await world.run(calls.trigger("a", new_run=True))
    assert incidents(world.world.logs)[:2] == [
        ("warning", "run failed, will be retried"),
        ("info", "retry given up for a new run"),
    ]


@on_each_store
async def test_a_message_that_becomes_a_dead_letter(world: World) -> None:
    target: Any = Debounce("target", event=int, flush_after="1 hour", on_event=broken, execute=fine)
    sender = task(on_event=lambda _, __: tell(target, "b").add(1))
    await world.run((await world.open(app(world, sender, target))).handle(sender).send("a", "x"))
    await world.advance(hours=2)
    (letter,) = [record for record in world.world.logs if record.message == "message became a dead letter"]
    assert letter.level == "error"
    fields = [letter.fields[name] for name in ("job", "id", "deliveries", "error")]
    assert fields == ["debounce:target", "b", 10, "ZeroDivisionError: bug"]


@on_each_store
async def test_successes_are_not_in_the_log(world: World) -> None:
    job = task(execute=lambda _: Success(None))
    calls = (await world.open(app(world, job))).handle(job)
    await world.run(calls.send("a", "x"))
    await world.run(calls.trigger("a"))
    assert incidents(world.world.logs) == []

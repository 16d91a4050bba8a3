"""A task without ``execute`` has no alarm: one would fire for nothing, long after the mistake."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from returns.result import Success
from world import World, on_each_store

from perdure import Alarm, App, Decision, Program, Task, TaskContext
from perdure.kinds.task.context import TaskErrorContext
from perdure.programs import fail, succeed
from perdure.values.event import JobFailed

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def after(ctx: TaskContext[int], *_: object) -> Program[None]:
    return ctx.schedule(after="1 hour")


def at(ctx: TaskContext[int], *_: object) -> Program[None]:
    return ctx.schedule(at=NOON)


def decide(state: int, _: str) -> Any:
    return Success(Decision(state, Alarm.after("1 hour")))


def fine(*_: object) -> Program[None]:
    return succeed(None)


def broken(*_: object) -> Program[None, str]:
    return fail("no")


def handled(ctx: TaskErrorContext[int, str], _: object) -> Program[None]:
    return ctx.schedule(after="1 hour")


def task(**hooks: Any) -> Any:
    return Task("job", state=int, event=str, initial=0, **hooks)


@pytest.mark.parametrize(
    "hooks",
    [
        {"on_event": after},
        {"on_event": at},
        {"decide": decide},
        {"on_event": fine, "on_idle": after},
        {"on_event": broken, "on_error": handled, "errors": str},
    ],
)
@on_each_store
async def test_a_hook_that_sets_an_alarm_fails(world: World, hooks: Any) -> None:
    job = task(**hooks)
    calls = (await world.open(App(None).with_jobs(job))).handle(job)
    refused = await world.error_of(calls.send("a", "x"))
    failed = [event.error.message for event in await world.history(job.address("a")) if isinstance(event, JobFailed)]
    assert "execute=..." in f"{refused}{failed}"
    assert (await world.run(calls.status("a"))).status == "not_found"


@on_each_store
async def test_an_alarm_that_stays_or_is_cleared_is_no_mistake(world: World) -> None:
    kept = task(decide=lambda state, _: Success(Decision(state + 1, Alarm.keep)))
    calls = (await world.open(App(None).with_jobs(kept))).handle(kept)
    await world.run(calls.send("a", "x"))
    await world.close()
    cleared = task(decide=lambda state, _: Success(Decision(state + 1, Alarm.clear)))
    calls = (await world.open(App(None).with_jobs(cleared))).handle(cleared)
    await world.run(calls.send("a", "x"))
    assert await world.run(calls.get_state("a")) == 2
    assert type((await world.run(calls.trigger("a"))).outcome).__name__ == "Completed"


@on_each_store
async def test_an_alarm_of_an_older_definition_fails_visibly(world: World) -> None:
    older = task(on_event=after, execute=fine)
    await world.run((await world.open(App(None).with_jobs(older))).handle(older).send("a", "x"))
    await world.close()
    newer = task(on_event=fine)
    calls = (await world.open(App(None).with_jobs(newer))).handle(newer)
    await world.advance(hours=1)
    status = await world.run(calls.status("a"))
    assert status.last_error is not None
    assert "execute=..." in status.last_error.message
    assert [record.message for record in world.world.logs if record.level == "error"] == ["instance parked"]
    await world.close()
    calls = (await world.open(App(None).with_jobs(older))).handle(older)
    await world.run(calls.resume("a"))
    await world.settle()
    assert (await world.run(calls.status("a"))).status == "idle"

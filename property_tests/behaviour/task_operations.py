"""The operations of a task, for the crash sweep."""

from __future__ import annotations

from typing import Any

import attrs
from crash_sweep import KEY, Operation
from machine import Add, AlarmIn, End, Event, Mark, OnAlarm, Refuse, Tell, Total, app, machine, machine_with, steps
from world import World

from perdure import Backoff, Do, Retry, TaskContext, program
from perdure.client.local_gateway import engine_of

IDS = ("a", "b")


async def nothing(_: World) -> None:
    return


async def looks(world: World) -> Any:
    handle = world.jobs.handle(engine_of(world.jobs).jobs["task", "machine"])
    found = []
    for id_ in IDS:
        status, state = await world.run(handle.status(id_)), await world.run(handle.get_state(id_))
        total = None if state is None else state.total
        found.append((id_, status.status, status.next_run_at is not None, status.event_count, status.run_count, total))
    return found


def sending(
    name: str, *given: Any, before: Event | None = None, job: Any = machine, wait_ms: int = 10_000
) -> Operation:
    async def arrange(world: World) -> None:
        if before is not None:
            await world.run(world.jobs.handle(job).send("a", before))

    event = given[0] if isinstance(given[0], OnAlarm) else steps(*given)
    return Operation(
        name=f"task: {name}",
        app=lambda world: app(world.outside, job),
        arrange=arrange,
        request=lambda world: world.jobs.handle(job).send("a", event, idempotency_key=KEY),
        wait_ms=wait_ms,
        looks=looks,
    )


def calling(name: str, call: str, before: Event, *, held: bool = False, job: Any = machine) -> Operation:
    async def arrange(world: World) -> None:
        await world.run(world.jobs.handle(job).send("a", before))
        if held:
            await world.run(world.jobs.handle(job).pause("a"))
            await world.advance(s=5)

    return Operation(
        name=f"task: {name}",
        app=lambda world: app(world.outside, job),
        arrange=arrange,
        request=lambda world: getattr(world.jobs.handle(job), call)("a", idempotency_key=KEY),
        wait_ms=10_000,
        looks=looks,
    )


def alarming(name: str, *given: Any, job: Any = machine, refusals: int = 0) -> Operation:
    async def arrange(world: World) -> None:
        await world.run(world.jobs.handle(job).send("a", OnAlarm(1_000, given)))
        world.outside.refusals["x#1.1"] = refusals
        world.outside.refusals["x#1.2"] = refusals

    return Operation(
        name=f"task: {name}",
        app=lambda world: app(world.outside, job),
        arrange=arrange,
        request=None,
        wait_ms=10_000,
        looks=looks,
    )


@program
def on_error(ctx: TaskContext[Total], error: object) -> Do[None]:
    yield from ctx.set_state(Total(-1))
    yield from ctx.schedule(after="1 hour")


@program
def on_idle(ctx: TaskContext[Total]) -> Do[None]:
    yield from ctx.schedule(after="1 hour")


retrying = machine_with(retry=Retry(max_attempts=2, delay=Backoff.constant("5 s"), jitter=False))
purging = machine_with(retry=Retry(max_attempts=1, on_exhausted="purge"))
rescued = machine_with(on_error=on_error)
never_idle = machine_with(on_idle=on_idle)

OPERATIONS = (
    sending("first event without effect", Add(), AlarmIn(10**7)),
    sending("first event with effects", Add(), Mark("x"), Mark("y"), AlarmIn(10**7)),
    sending("next event without effect", Add(), before=OnAlarm(10**7)),
    sending("next event with effects", Add(), Mark("x"), Mark("y"), before=OnAlarm(10**7)),
    sending("an event that sets an alarm that fires", OnAlarm(1_000, (Mark("x"), Add()))),
    sending("an event that sets an alarm that is due", OnAlarm(0, (Mark("x"), Add()))),
    sending("an event that ends the instance", Mark("x"), Tell("b"), End(), before=steps(Add())),
    sending("a first event that ends the instance", Mark("x"), Tell("b"), End()),
    attrs.evolve(
        sending("an event that is refused", Add(), Mark("x"), Refuse(), before=OnAlarm(10**7)), repeated="not"
    ),
    sending("an event that on_error takes care of", Add(), Mark("x"), Refuse(), job=rescued),
    sending("an event that on_idle follows", Add(), Mark("x"), job=never_idle),
    sending("a message to a sibling", Add(), Tell("b", (Add(), Mark("x")))),
    sending("messages to a sibling in order", Tell("b", (Add(),)), Tell("b", (Mark("x"), Add())), Tell("b", (Add(),))),
    sending("a message to itself", Add(), Tell("a", (Add(10), Mark("x")))),
    sending("a message that is refused", Add(), Tell("b", (Mark("x"), Refuse()))),
    calling("a trigger", "trigger", OnAlarm(10**7, (Mark("x"), Add()))),
    calling("a trigger without effects", "trigger", OnAlarm(10**7, (Add(),))),
    calling("a trigger that ends the instance", "trigger", OnAlarm(10**7, (Mark("x"), End()))),
    calling("a terminate", "terminate", OnAlarm(10**7)),
    calling("a pause", "pause", OnAlarm(10**7)),
    calling("a resume of an overdue alarm", "resume", OnAlarm(1_000, (Mark("x"), Add())), held=True),
    alarming("an alarm", Mark("x"), Add()),
    alarming("an alarm that sets the next", Mark("x"), Add(), AlarmIn(10**7)),
    alarming("an alarm that tells", Mark("x"), Tell("b", (Add(), Mark("y"))), Add()),
    alarming("a retry", Mark("x"), Add(), job=retrying, refusals=1),
    alarming("a run that fails for good and is parked", Mark("x"), Refuse(), job=retrying),
    alarming("a run that fails for good and is purged", Mark("x"), Refuse(), job=purging),
)

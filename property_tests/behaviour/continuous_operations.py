"""The operations of a continuous job, for the crash sweep."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import frozen
from crash_sweep import KEY, Operation
from world import HasOutside, Refused, World, say

from perdure import App, Backoff, Continuous, ContinuousContext, Do, Retry, every, program


@frozen
class Ticks:
    """How many runs were committed."""

    count: int = 0


@program
def tick(ctx: ContinuousContext[Ticks]) -> Do[None, Refused, HasOutside]:
    """Say which run this is, and how often it was tried and delivered; count it."""
    yield from say(f"run {ctx.run_count}#{ctx.attempt}.{ctx.delivery}")
    yield from ctx.update_state(lambda ticks: Ticks(ticks.count + 1))


@program
def tick_once(ctx: ContinuousContext[Ticks]) -> Do[None, Refused, HasOutside]:
    """Say it, and end."""
    yield from say(f"run {ctx.run_count}#{ctx.attempt}.{ctx.delivery}")
    if ctx.run_count == 2:
        yield from ctx.terminate("done")


def clock(**options: Any) -> Continuous[Ticks, Refused, HasOutside]:
    """Define the job, with further options."""
    given: dict[str, Any] = {"state": Ticks, "schedule": every("10 minutes"), "execute": tick}
    return Continuous("clock", **given | options)


plain = clock()
later = clock(start_immediately=False)
retrying = clock(retry=Retry(max_attempts=2, delay=Backoff.constant("5 s"), jitter=False))
ending = clock(execute=tick_once)

Arrange = Callable[[World, Any], Awaitable[None]]


async def nothing(world: World, handle: Any) -> None:
    """Begin with an empty store."""


async def started(world: World, handle: Any) -> None:
    """Begin with an instance that has run once."""
    await world.run(handle.start("a", Ticks()))


async def about_to_tick(world: World, handle: Any) -> None:
    """Begin a second before the next tick."""
    await started(world, handle)
    await world.advance(minutes=9, s=59)


async def held(world: World, handle: Any) -> None:
    """Begin with an instance that is paused, and overdue."""
    await started(world, handle)
    await world.run(handle.pause("a"))
    await world.advance(minutes=11)


async def failed_once(world: World, handle: Any) -> None:
    """Begin with an instance that waits for its retry."""
    refuse(world, "run 1", attempts=1)
    await started(world, handle)


async def failed_for_good(world: World, handle: Any) -> None:
    """Begin with an instance whose last run failed, and that waits for its next tick."""
    refuse(world, "run 1", attempts=1)
    await started(world, handle)


def refuse(world: World, run: str, *, attempts: int) -> None:
    """Let the external system refuse a run, however often its attempts are delivered."""
    for attempt in range(1, attempts + 1):
        for delivery in range(1, 4):
            world.outside.refusals[f"{run}#{attempt}.{delivery}"] = 1


def refusing(run: str, arrange: Arrange, *, attempts: int = 1) -> Arrange:
    """Let the external system refuse a later run."""

    async def arranged(world: World, handle: Any) -> None:
        await arrange(world, handle)
        refuse(world, run, attempts=attempts)

    return arranged


def operation(name: str, call: str | None, arrange: Arrange, *, job: Any = plain, wait_ms: int = 10_000) -> Operation:
    """Make an operation of a call, or of the clock alone."""

    async def looks(world: World) -> Any:
        handle = world.jobs.handle(job)
        status, state = await world.run(handle.status("a")), await world.run(handle.get_state("a"))
        said = sorted({word.split("#")[0] for word in world.outside.heard})
        return status.status, status.next_run_at is not None, status.run_count, state, said

    def request(world: World) -> Any:
        handle = world.jobs.handle(job)
        if call == "start":
            return handle.start("a", Ticks(), idempotency_key=KEY)
        if call == "trigger_new_run":
            return handle.trigger("a", new_run=True, idempotency_key=KEY)
        return getattr(handle, call or "")("a", idempotency_key=KEY)

    return Operation(
        name=f"continuous: {name}",
        app=lambda world: App(world.outside).with_jobs(job),
        arrange=lambda world: arrange(world, world.jobs.handle(job)),
        request=None if call is None else request,
        wait_ms=wait_ms,
        looks=looks,
    )


OPERATIONS = (
    operation("a start", "start", nothing),
    operation("a start that waits for its first tick", "start", nothing, job=later),
    operation("a start whose run fails", "start", refusing("run 1", nothing)),
    operation("a start whose run fails and is tried again", "start", refusing("run 1", nothing), job=retrying),
    operation("a trigger", "trigger", started),
    operation("a trigger that supersedes a retry", "trigger_new_run", failed_once, job=retrying),
    operation("a trigger that continues a run", "trigger", failed_once, job=retrying),
    operation("a trigger that continues a run that failed for good", "trigger", failed_for_good),
    operation("an alarm", None, about_to_tick),
    operation("an alarm whose run fails", None, refusing("run 2", about_to_tick)),
    operation("an alarm whose run fails and is tried again", None, refusing("run 2", about_to_tick), job=retrying),
    operation("an alarm whose retries are used up", None, refusing("run 2", about_to_tick, attempts=2), job=retrying),
    operation("an alarm that ends the instance", None, about_to_tick, job=ending),
    operation("a terminate", "terminate", started),
    operation("a pause", "pause", started),
    operation("a resume of an overdue alarm", "resume", held),
)

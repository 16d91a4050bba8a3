"""The operations of a schedule that is data, for the crash sweep."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from attrs import frozen
from crash_sweep import KEY, Operation
from returns.result import Success
from world import World

from perdure import App, Decision, Schedules, Task, cron, tell
from perdure.testing.world import START


@frozen
class Fired:
    """A firing's instant."""

    at: str


def note(ticks: tuple[str, ...], event: Fired) -> Success[Decision[tuple[str, ...]]]:
    """Keep the instant."""
    return Success(Decision((*ticks, event.at)))


notes = Task("notes", state=tuple[str, ...], event=Fired, initial=(), decide=note)
plain = Schedules("plain", targets=(notes,))

FIRST_MINUTES = cron("1,2 0 1 1 *", catch_up="all")
"""Two instants, and no further one in a year: a crash takes time, and all that is due after it fires as well."""

EACH_HOUR = cron("0 * * * *")
MESSAGE = tell(notes, "n").send(Fired(""))

Arrange = Callable[[World], Awaitable[None]]


def stored(*, paused_ms: int | None = None) -> Arrange:
    """Begin with a schedule that fires in the first two minutes. Or with one that has been paused for a while."""

    async def arranged(world: World) -> None:
        handle = world.jobs.handle(plain)
        await world.run(handle.put("s", FIRST_MINUTES, MESSAGE, tick_field="at"))
        if paused_ms is not None:
            await world.run(handle.pause("s"))
            await world.advance(ms=paused_ms)

    return arranged


async def nothing(world: World) -> None:
    """Begin with no schedule."""


def operation(
    name: str, request: Callable[[Any], Any] | None, arrange: Arrange, *, wait_ms: int = 130_000
) -> Operation:
    """Make an operation of a call, or of the clock alone."""

    async def looks(world: World) -> Any:
        handle = world.jobs.handle(plain)
        status, state = await world.run(handle.status("s")), await world.run(handle.get_state("s"))
        fired = await world.run(world.jobs.handle(notes).get_state("n"))
        return status.status, state is None or state.schedule, fired

    return Operation(
        name=f"schedule: {name}",
        app=lambda world: App(world.outside).with_jobs(plain, notes),
        arrange=arrange,
        request=None if request is None else lambda world: request(world.jobs.handle(plain)),
        wait_ms=wait_ms,
        looks=looks,
    )


def put(schedule: Any) -> Callable[[Any], Any]:
    """Return the request for a put."""
    return lambda handle: handle.put("s", schedule, MESSAGE, tick_field="at", idempotency_key=KEY)


def backfilled(handle: Any) -> Any:
    """Return the request for a backfill of two instants."""
    return handle.backfill("s", start=START - timedelta(days=365), end=START, idempotency_key=KEY)


OPERATIONS = (
    operation("a put, and its firings", put(FIRST_MINUTES), nothing),
    operation("a put of another schedule", put(EACH_HOUR), stored(), wait_ms=10_000),
    operation("two firings", None, stored()),
    operation("a backfill of two instants", backfilled, stored(), wait_ms=10_000),
    operation("a pause", lambda handle: handle.pause("s", idempotency_key=KEY), stored(), wait_ms=10_000),
    operation(
        "a resume of an overdue schedule",
        lambda handle: handle.resume("s", idempotency_key=KEY),
        stored(paused_ms=90_000),
    ),
    operation("a terminate", lambda handle: handle.terminate("s", idempotency_key=KEY), stored(), wait_ms=10_000),
)

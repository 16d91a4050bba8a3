"""The operations of a debounce, for the crash sweep."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import frozen
from crash_sweep import KEY, Operation
from world import HasOutside, Refused, World, say

from perdure import App, Backoff, Debounce, DebounceContext, Do, Retry, program


@frozen
class Pile:
    """The added numbers."""

    numbers: tuple[int, ...] = ()


@program
def collect(ctx: DebounceContext[Pile], number: int) -> Do[None, Refused, HasOutside]:
    """Put it on the pile; a negative one with an external call."""
    if number < 0:
        yield from say(f"ring {number}#{ctx.attempt}.{ctx.delivery}")
    yield from ctx.update_state(lambda pile: Pile((*pile.numbers, number)))


@program
def deliver(ctx: DebounceContext[Pile]) -> Do[None, Refused, HasOutside]:
    """Describe the pile."""
    pile = yield from ctx.state
    numbers = ",".join(map(str, pile.numbers))
    yield from say(f"batch {numbers}#{ctx.attempt}.{ctx.delivery}")


def piles(**options: Any) -> Debounce[Pile, int, Refused, HasOutside]:
    """Define the job, with further options."""
    given: dict[str, Any] = {
        "event": int,
        "state": Pile,
        "initial": Pile(),
        "flush_after": "60 s",
        "max_events": 3,
        "on_event": collect,
        "execute": deliver,
    }
    return Debounce("piles", **given | options)


plain = piles()
retrying = piles(retry=Retry(max_attempts=2, delay=Backoff.constant("5 s"), jitter=False))

Arrange = Callable[[World, Any], Awaitable[None]]


def holding(*numbers: int, refused: str | None = None, attempts: int = 1, paused_ms: int | None = None) -> Arrange:
    """Begin with a batch.

    Args:
        numbers: its content.
        refused: the batch that the external system refuses.
        attempts: how many attempts at it.
        paused_ms: how long it has been paused; None: it is not.
    """

    async def arranged(world: World, handle: Any) -> None:
        for number in numbers:
            await world.run(handle.add("a", number))
        for attempt in range(1, attempts + 1):
            for delivery in range(1, 4):
                world.outside.refusals[f"batch {refused}#{attempt}.{delivery}"] = 1
        if paused_ms is not None:
            await world.run(handle.pause("a"))
            await world.advance(ms=paused_ms)

    return arranged


def operation(
    name: str, call: str | None, arrange: Arrange, number: int = 0, *, job: Any = plain, wait_ms: int = 10_000
) -> Operation:
    """Make an operation of a call, or of the clock alone."""

    async def looks(world: World) -> Any:
        handle = world.jobs.handle(job)
        status, state = await world.run(handle.status("a")), await world.run(handle.get_state("a"))
        said = sorted({word.split("#")[0] for word in world.outside.heard})
        return status.status, status.will_flush_at is not None, status.event_count, state, said

    def request(world: World) -> Any:
        handle = world.jobs.handle(job)
        if call == "add":
            return handle.add("a", number, idempotency_key=KEY)
        return getattr(handle, call or "")("a", idempotency_key=KEY)

    return Operation(
        name=f"debounce: {name}",
        app=lambda world: App(world.outside).with_jobs(job),
        arrange=lambda world: arrange(world, world.jobs.handle(job)),
        request=None if call is None else request,
        wait_ms=wait_ms,
        looks=looks,
    )


TO_THE_FLUSH_MS = 70_000

OPERATIONS = (
    operation("a first add", "add", holding(), 1),
    operation("a next add", "add", holding(1), 2),
    operation("an add whose handler has an effect", "add", holding(1), -2),
    operation("a first add whose handler has an effect", "add", holding(), -1),
    operation("a first add, and its flush", "add", holding(), 1, wait_ms=TO_THE_FLUSH_MS),
    operation("an add that makes the batch full, and its flush", "add", holding(1, 2), 3),
    operation("a flush by time", None, holding(1, 2), wait_ms=TO_THE_FLUSH_MS),
    operation("a flush by hand", "flush", holding(1, 2)),
    operation("a flush that fails and is tried again", "flush", holding(1, refused="1"), job=retrying),
    operation("a flush that fails for good", "flush", holding(1, refused="1", attempts=2), job=retrying),
    operation("a clear", "clear", holding(1, 2)),
    operation("a pause", "pause", holding(1)),
    operation("a resume of an overdue batch", "resume", holding(1, paused_ms=90_000)),
    operation("a terminate", "terminate", holding(1)),
)

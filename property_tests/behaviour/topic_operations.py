"""The operations of a topic, for the crash sweep."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import frozen
from crash_sweep import KEY, Operation
from returns.result import Success
from world import World

from perdure import App, Decision, Limits, Task, Topic


@frozen
class Price:
    """An event of the topic."""

    cents: int


def note(seen: tuple[int, ...], event: Price) -> Success[Decision[tuple[int, ...]]]:
    """Keep the event."""
    return Success(Decision((*seen, event.cents)))


notes = Task("notes", state=tuple[int, ...], event=Price, initial=(), decide=note)
prices: Topic[Price] = Topic("prices", event=Price, subscribers=(notes,))


def subscribed(*ids: str, paused: bool = False) -> Callable[[World], Awaitable[None]]:
    """Begin with tasks that are subscribed. `gone` is subscribed without a task. Or the topic is paused."""

    async def arranged(world: World) -> None:
        handle = world.jobs.handle(prices)
        for id_ in ids:
            if id_ != "gone":
                await world.run(world.jobs.handle(notes).send(id_, Price(0)))
            await world.run(handle.subscribe("eur", notes.address(id_)))
        if paused:
            await world.run(handle.pause("eur"))

    return arranged


def operation(
    name: str, request: Callable[[Any], Any], arrange: Callable[[World], Awaitable[None]], *, messages: int = 1_000
) -> Operation:
    """Make an operation of a call. A commit holds so many messages."""

    async def looks(world: World) -> Any:
        handle = world.jobs.handle(prices)
        received = [await world.run(world.jobs.handle(notes).get_state(id_)) for id_ in ("a", "b", "gone")]
        status = await world.run(handle.status("eur"))
        return received, (await world.run(handle.subscribers("eur"))).subscribers, status.status

    return Operation(
        name=f"topic: {name}",
        app=lambda world: App(world.outside, limits=Limits(messages_per_turn=messages)).with_jobs(prices, notes),
        arrange=arrange,
        request=lambda world: request(world.jobs.handle(prices)),
        wait_ms=10_000,
        looks=looks,
    )


def published(cents: int) -> Callable[[Any], Any]:
    """Return the request for a publish."""
    return lambda handle: handle.publish("eur", Price(cents), idempotency_key=KEY)


OPERATIONS = (
    operation("a publish to a subscriber", published(5), subscribed("a")),
    operation("a publish in two commits", published(5), subscribed("a", "b"), messages=1),
    operation("a publish to a subscriber that is gone", published(5), subscribed("gone")),
    operation("a publish to a paused topic", published(5), subscribed("a", paused=True)),
    operation(
        "a first subscription",
        lambda handle: handle.subscribe("eur", notes.address("a"), idempotency_key=KEY),
        subscribed(),
    ),
    operation(
        "an end of a subscription",
        lambda handle: handle.unsubscribe("eur", notes.address("a"), idempotency_key=KEY),
        subscribed("a"),
    ),
)

"""The crash sweep: a process dies before and after each thing that crosses its border, and what is left is made good.

For every operation, every place where its process can die is tried: before and after each store operation and each
effect, until the operation is over. Then a new engine opens over the same store, the request is repeated once with its
key, and the world must look as if nothing had happened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import attrs
from returns.future import FutureResult
from world import ProcessDied, StoreKind, World, play

from perdure import App
from perdure.stores.store import Query
from perdure.values.event import JobRecovered, JobStarted, JobTerminated

KEY = "the-key"


@attrs.frozen(kw_only=True)
class Operation:
    """Something that an engine does, at whose every step its process may die.

    Attributes:
        name: for the test's id.
        app: what runs; asked for again after each crash.
        arrange: what comes before, over an open engine.
        request: the call, which must carry the key `KEY`; None when the clock alone sets things going.
        repeated: whether the caller repeats the request after a crash. A refusal is not remembered: a repeat of such a
            request is a new one.
        wait_ms: how long afterwards everything has settled, retries included.
        looks: what the world must look like in the end, with or without a crash; compared with ``==``.
    """

    name: str
    app: Callable[[World], App[Any]]
    arrange: Callable[[World], Awaitable[None]]
    request: Callable[[World], FutureResult[Any, Any]] | None
    wait_ms: int
    repeated: Literal["once", "not"] = "once"
    looks: Callable[[World], Awaitable[Any]]


def crossings_of(operation: Operation, kind: StoreKind, folder: Path) -> list[str]:
    """Run the operation without a crash, and give every crossing of the border on the way."""

    async def scenario(world: World) -> list[str]:
        await _arranged(operation, world)
        before = len(world.process.border.crossings)
        await _carried_out(operation, world)
        return world.process.border.crossings[before:]

    return play(kind, folder, scenario)


def undisturbed(operation: Operation, kind: StoreKind, folder: Path) -> Any:
    """Run the operation without a crash, and give what the world looks like."""

    async def scenario(world: World) -> Any:
        await _arranged(operation, world)
        await _carried_out(operation, world)
        return await _inspected(operation, world)

    return play(kind, folder, scenario)


def crashed(operation: Operation, kind: StoreKind, folder: Path, *places: int) -> Any:
    """Let one process after the other die at its place, then let one go on; give what the world looks like.

    Args:
        operation: what is going on.
        kind: over which store.
        folder: where it lies.
        places: the crossing at which each process dies, counted from the beginning of the operation in the first, and
            from its opening in the others.
    """

    async def scenario(world: World) -> Any:
        await _arranged(operation, world)
        first, *others = places
        border = world.process.border
        border.die_at = len(border.crossings) + first
        await _until_it_dies(operation, world)
        for place in others:
            await world.crash()
            await _reopened(operation, world, die_at=place)
        if world.process.border.died_at is not None:
            await world.crash()
            await world.open(operation.app(world))
        if operation.request is not None and operation.repeated == "once":
            await world.result(operation.request(world))
        await world.advance(ms=operation.wait_ms)
        return await _inspected(operation, world)

    return play(kind, folder, scenario)


async def _arranged(operation: Operation, world: World) -> None:
    await world.open(operation.app(world))
    await operation.arrange(world)


async def _carried_out(operation: Operation, world: World) -> None:
    if operation.request is not None:
        await world.result(operation.request(world))
    await world.advance(ms=operation.wait_ms)


async def _until_it_dies(operation: Operation, world: World) -> None:
    with suppress(ProcessDied):
        await _carried_out(operation, world)


async def _reopened(operation: Operation, world: World, *, die_at: int) -> None:
    """Open, and let the recovery go on until the process dies again."""
    with suppress(ProcessDied):
        await world.open(operation.app(world), die_at=die_at)
        await world.advance(ms=operation.wait_ms)


async def _inspected(operation: Operation, world: World) -> Any:
    """Look at the world, once what holds after every crash is seen to hold."""
    rows = await world.look(lambda store: store.find(Query(limit=1_000)))
    for row in rows:
        assert row.claim is None, f"{row.address} is left with a claim"
        assert row.event_claim is None, f"{row.address} is left with the claim of an event"
        assert row.due_ms is None or row.due_ms > world.now_ms, f"{row.address} is overdue and nobody wakes it"
    assert await world.messages() == (), "a message is left"
    repeats = {word: count for word, count in Counter(world.outside.heard).items() if count > 1}
    assert repeats == {}, f"user code ran twice and could not see it: {repeats}"
    _check_commits(world)
    return await operation.looks(world)


def _check_commits(world: World) -> None:
    """No transition was written twice, and every repeated delivery is in the log."""
    events = [event for transition in world.commits for event in transition.events]
    ids = Counter(event.event_id for event in events)
    assert max(ids.values(), default=1) == 1, "an event is in the log twice"
    recovered = {event.run_id for event in events if isinstance(event, JobRecovered)}
    assert all(recovered), "a recovery does not say whose"
    born = Counter(event.address for event in events if isinstance(event, JobStarted))
    ended = Counter(event.address for event in events if isinstance(event, JobTerminated))
    assert all(count <= ended[address] + 1 for address, count in born.items()), "an instance was created twice"

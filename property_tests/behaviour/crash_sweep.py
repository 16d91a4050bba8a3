"""The crash sweep: a process dies before and after each thing that crosses its boundary, and the next one recovers.

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
from world import ProcessDied, StoreKind, World, play

from perdure import App
from perdure.jobs.call import Call
from perdure.runtime.record import DEFAULT_SIZES, Sizes
from perdure.stores.values import Query
from perdure.values.event import JobRecovered, JobStarted, JobTerminated
from perdure.values.instance import Instance

KEY = "the-key"


@attrs.frozen(kw_only=True)
class Operation:
    """Something that an engine does, at whose every step its process may die.

    Attributes:
        name: its name in the table; it begins with the kind of job.
        app: the app that runs; called again after each crash.
        arrange: the preparation, over an open engine.
        request: the call, which must carry the key `KEY`; None when the clock alone sets things going.
        repeated: whether the caller repeats the request after a crash. A refusal is not remembered: a repeat of such a
            request is a new one.
        wait_ms: how long afterwards everything has settled, retries included.
        looks: the expected state of the world in the end, with or without a crash; compared with ``==``.
        marks: the mark of a repeat: the number of the delivery, which differs, or the key of the step, which does not.
    """

    name: str
    app: Callable[[World], App[Any]]
    arrange: Callable[[World], Awaitable[None]]
    request: Callable[[World], Call[Any, Any]] | None
    wait_ms: int
    repeated: Literal["once", "not"] = "once"
    looks: Callable[[World], Awaitable[Any]]
    marks: Literal["delivery", "step_key"] = "delivery"


@attrs.frozen(kw_only=True)
class Found:
    """The state found when all has settled.

    Attributes:
        looks: the state of the world.
        stuck: unattended work: claims, overdue alarms, messages.
        heard: the calls to external systems.
        deaths: how often a process died; None if runs are repeated for other reasons.
        marks: the mark of a repeat.
        runs: the number of distinct ids of the runs that had effects.
    """

    looks: Any
    stuck: tuple[str, ...]
    heard: tuple[str, ...]
    deaths: int | None = None
    marks: Literal["delivery", "step_key"] = "delivery"
    runs: int

    @property
    def unmarked(self) -> tuple[str, ...]:
        """The calls that were repeated without a mark: the external system could not see that they may be repeats."""
        if self.marks == "step_key":
            keys = Counter(name_of(word) for word in set(self.heard))
            most = len(self.heard) if self.deaths is None else 1 + self.deaths
            often = (word for word, count in Counter(self.heard).items() if count > most)
            return (*(name for name, count in keys.items() if count > 1), *often)
        return tuple(word for word, count in Counter(self.heard).items() if count > 1)


@attrs.frozen(kw_only=True)
class Swept:
    """Outcome of a crash at every crash point of an operation.

    Attributes:
        points: how many there are.
        repeated: at how many user code ran again, and could see it.
        stuck: at how many unattended work remains.
        half_written: at how many the world looks otherwise than without a crash.
        unmarked: at how many user code ran again, and could not see it.
        complaints: each of these, at length.
    """

    points: int
    repeated: int = 0
    stuck: int = 0
    half_written: int = 0
    unmarked: int = 0
    complaints: tuple[str, ...] = ()


def sweep(operation: Operation, kind: StoreKind, folder: Path, sizes: Sizes = DEFAULT_SIZES) -> Swept:
    """Let the process die at every crash point, one after the other."""
    expected = undisturbed(operation, kind, _new(folder, "undisturbed"))
    assert (expected.stuck, expected.unmarked) == ((), ())
    crash_points = crossings_of(operation, kind, _new(folder, "crash_points"), sizes)
    swept = Swept(points=len(crash_points))
    for place, crash_point in enumerate(crash_points):
        found = crashed(operation, kind, _new(folder, str(place)), place, sizes=sizes)
        swept = _counted(swept, found, expected, f"after a crash {crash_point} (number {place})")
    return swept


def _counted(swept: Swept, found: Found, expected: Found, where: str) -> Swept:
    differs = found.looks != expected.looks
    complaints = {
        f"{where}: stuck: {found.stuck}": bool(found.stuck),
        f"{where}: half-written: {found.looks}, not {expected.looks}": differs,
        f"{where}: repeated unmarked: {found.unmarked}": bool(found.unmarked),
        f"{where}: {found.runs} ids of {expected.runs} runs": found.runs > expected.runs,
    }
    return attrs.evolve(
        swept,
        repeated=swept.repeated + (len(found.heard) > len(expected.heard)),
        stuck=swept.stuck + bool(found.stuck),
        half_written=swept.half_written + differs,
        unmarked=swept.unmarked + bool(found.unmarked),
        complaints=(*swept.complaints, *(text for text, holds in complaints.items() if holds)),
    )


def _new(folder: Path, name: str) -> Path:
    new = folder / name
    new.mkdir()
    return new


def crossings_of(operation: Operation, kind: StoreKind, folder: Path, sizes: Sizes = DEFAULT_SIZES) -> list[str]:
    """Run the operation without a crash, and return every crash point on the way."""

    async def scenario(world: World) -> list[str]:
        await _arranged(operation, world)
        before = len(world.process.boundary.crash_points)
        await _carried_out(operation, world)
        return world.process.boundary.crash_points[before:]

    return play(kind, folder, scenario, requests="single", sizes=sizes)


def undisturbed(operation: Operation, kind: StoreKind, folder: Path) -> Found:
    """Run the operation without a crash, and return the state found."""

    async def scenario(world: World) -> Found:
        await _arranged(operation, world)
        await _carried_out(operation, world)
        return await _inspected(operation, world, 0)

    return play(kind, folder, scenario, requests="single")


def crashed(operation: Operation, kind: StoreKind, folder: Path, *places: int, sizes: Sizes = DEFAULT_SIZES) -> Found:
    """Let one process after the other die at its crash point, then let one finish; return the state found.

    Args:
        operation: the operation in progress.
        kind: over which store.
        folder: where it lies.
        places: the crash point at which each process dies, counted from the beginning of the operation in the first and
            from its opening in the others.
        sizes: the internal sizes.
    """

    async def scenario(world: World) -> Found:
        await _arranged(operation, world)
        first, *others = places
        boundary = world.process.boundary
        boundary.die_at = len(boundary.crash_points) + first
        await _until_it_dies(operation, world)
        for place in others:
            await world.crash()
            await _reopened(operation, world, die_at=place)
        if world.process.boundary.died_at is not None:
            await world.crash()
            await world.open(operation.app(world))
        world.process.boundary.die_at = None  # there were fewer crash points than that
        await _repeated(operation, world)
        await world.advance(ms=operation.wait_ms)
        return await _inspected(operation, world, len(places))

    return play(kind, folder, scenario, requests="single", sizes=sizes)


async def _repeated(operation: Operation, world: World) -> None:
    """Repeat the request with its key, unless it is one that a repeat does not find again."""
    if operation.request is not None and operation.repeated == "once":
        await world.attempt(operation.request(world))


async def _arranged(operation: Operation, world: World) -> None:
    await world.open(operation.app(world))
    await operation.arrange(world)


async def _carried_out(operation: Operation, world: World) -> None:
    if operation.request is not None:
        await world.attempt(operation.request(world))
    await world.advance(ms=operation.wait_ms)


async def _until_it_dies(operation: Operation, world: World) -> None:
    with suppress(ProcessDied):
        await _carried_out(operation, world)


async def _reopened(operation: Operation, world: World, *, die_at: int) -> None:
    """Open, repeat the request as its caller does, and let the recovery continue until the process dies again.

    The request comes before the clock moves: an hour later it would meet another world than without a crash.
    """
    with suppress(ProcessDied):
        await world.open(operation.app(world), die_at=die_at)
        await _repeated(operation, world)
        await world.advance(ms=operation.wait_ms)


async def _inspected(operation: Operation, world: World, deaths: int | None = None) -> Found:
    """Look at the world."""
    _check_commits(world)
    rows = await world.inspect(lambda store: store.find(Query(limit=1_000)))
    stuck = [
        *(f"{row.address} is left with a claim" for row in rows if row.claim is not None),
        *(f"{row.address} is left with the claim of an event" for row in rows if row.event_claim is not None),
        *(f"{row.address} is overdue and has no timer" for row in rows if _is_overdue(row, world)),
        *(f"{row.address} is left in its lane" for row in rows if row.rank_ms is not None),
        *(f"{message} is left" for message in await world.messages()),
    ]
    return Found(
        looks=await operation.looks(world),
        stuck=tuple(stuck),
        heard=tuple(world.outside.heard),
        deaths=deaths,
        marks=operation.marks,
        runs=len({call.run_id for call in world.world.effects}),
    )


def name_of(word: str) -> str:
    """Return a word without the key of its step."""
    return word.partition("#")[0]


def _is_overdue(row: Instance, world: World) -> bool:
    return row.due_ms is not None and row.due_ms <= world.now_ms


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

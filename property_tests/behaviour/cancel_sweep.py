"""The cancellation sweep: something is cancelled at each wait of the engine, and the engine comes to rest all the same.

For every operation, every place where the engine waits is tried: each store operation and each effect takes its time,
so that each of them is a wait. At that place the caller gives up, the instance is terminated, the run's time is over,
or the engine is stopped, and the stop is perhaps cancelled as well. Afterwards nothing of it may remain in the engine,
every other caller has an answer, and the repeated request leaves the world as if nothing had been cancelled.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeAlias

import attrs
from crash_sweep import Found, Operation, _inspected
from world import StoreKind, World, play

from perdure.app import OpenApp
from perdure.client.local_gateway import engine_of
from perdure.runtime.record import SpawnedTask
from perdure.testing.fault import STORE_OPERATIONS, STORE_PREFIX, Delay, When
from perdure.values.errors import OutcomeUnknown

Cancelled: TypeAlias = Literal["caller", "instance", "time", "stop"]
"""The cancelled task: the caller gives up, the instance ends, the time of all runs is over, the engine stops."""

MAX_STEPS = 2_000
"""No operation waits more often."""

LOST = OutcomeUnknown("the answer was lost")

_ALWAYS = 10**6
_CROSSING_MS = 2  # what crosses slowly, there and back


@attrs.frozen(kw_only=True)
class Rested:
    """Outcome of a cancellation.

    Attributes:
        found: the state found when the request was repeated and everything has settled.
        answer: the answer of the repeated request; None without one.
        unanswered: callers without an answer, tasks, timers and whatever else remained before.
        reached: whether there was such a place.
    """

    found: Found
    answer: Any
    remained: tuple[str, ...]
    reached: bool


def slowed(world: World, when: When) -> None:
    """Let each external call take a moment, so that it is a wait."""
    places = [*(f"{STORE_PREFIX}{name}" for name in STORE_OPERATIONS), "say"]
    world.world.inject(*(Delay(at, "1 ms", when=when, times=_ALWAYS) for at in places))


def run_steps(world: World, steps: int, *, over: Callable[[], bool], within_ms: int) -> bool:
    """Let the tasks of the engine take a number of steps; False: it was over before."""
    taken = -1

    def reached() -> bool:
        nonlocal taken
        taken += 1
        return taken >= steps or over()

    worker = world.process
    worker.backend.run_until(worker.simulation, reached, within_ms)
    return taken >= steps and not over()


def _begun(operation: Operation, world: World) -> SpawnedTask[Any] | None:
    return None if operation.request is None else world.start(operation.request(world))


def cancelled(
    operation: Operation,
    kind: StoreKind,
    folder: Path,
    *places: int,
    target: Cancelled,
    when: When = "before",
    lost: When | None = None,
) -> Rested:
    """Cancel something at a wait, recover as a caller does, and return the state found.

    Args:
        operation: the operation in progress.
        kind: over which store.
        folder: where it lies.
        places: after how many steps of the operation it is cancelled, 0 before it is begun; with ``stop``, a second
            number says after how many steps of the stop that is cancelled too.
        target: the task to cancel.
        when: whether store and effects have done their work when they take their time.
        lost: with ``stop``, whether the answers to all commits from then on are lost, before they are written or after.
    """

    async def scenario(world: World) -> Rested:
        await world.open(operation.app(world))
        await operation.arrange(world)
        slowed(world, when)
        call = _begun(operation, world) if places[0] else None
        reached = run_steps(
            world,
            places[0],
            over=lambda: call is not None and call.done(),
            within_ms=operation.wait_ms if call is None else 60_000,
        )
        if lost is not None:
            world.world.clear_faults()
            world.fail("commit", LOST, applied=lost == "after", times=_ALWAYS)
        remained = await _cancelled_there(operation, world, call, target, places[1:])
        answer = None
        if operation.request is not None and operation.repeated == "once" and target != "time":
            answer = await world.attempt(operation.request(world))
        await world.advance(ms=operation.wait_ms)
        found = await _inspected(
            attrs.evolve(operation, looks=_at_nothing) if target == "instance" else operation, world
        )
        return Rested(found=found, answer=answer, remained=remained, reached=reached)

    return play(kind, folder, scenario)


async def _cancelled_there(
    operation: Operation, world: World, call: SpawnedTask[Any] | None, target: Cancelled, then: tuple[int, ...]
) -> tuple[str, ...]:
    match target:
        case "caller":
            if call is not None:
                call.cancel()
            world.world.clear_faults()
        case "instance":
            for row in world.world.instances():
                job: Any = engine_of(world.jobs).jobs[row.address.kind, row.address.name]
                world.start(world.jobs.handle(job).terminate(row.address.id, interrupt=True))
            world.world.clear_faults()
        case "time":
            world.world.stall("1 day")
            world.world.clear_faults()
        case "stop":
            return await _stopped(operation, world, call, then)
    return ()


async def _stopped(
    operation: Operation, world: World, call: SpawnedTask[Any] | None, then: tuple[int, ...]
) -> tuple[str, ...]:
    """Stop the engine, and open the next one."""
    worker = world.process
    assert worker.open_app is not None
    engine = engine_of(world.jobs)
    begun: list[OpenApp] = []
    stop = worker.begin(_stop(worker.open_app, begun))
    worker.wait_for(lambda: bool(begun), 0)
    for steps in then:
        if run_steps(world, steps, over=stop.done, within_ms=120_000):
            stop.cancel()
    worker.wait_for(stop.done, 120_000)
    world.world.clear_faults()
    worker.advance(_CROSSING_MS)
    unanswered = () if call is None or call.done() else ("the caller has no answer",)
    remained = (*unanswered, *engine.in_flight().described(), *worker.remaining)
    worker.simulation.close()
    world.world._workers.forget()
    await world.open(operation.app(world))
    return remained


async def _stop(open_app: OpenApp, begun: list[OpenApp]) -> None:
    begun.append(open_app)  # from here on a cancellation finds the stop at a wait
    await open_app.__aexit__(None, None, None)


async def _at_nothing(_: World) -> None:
    """An ended instance is not inspected."""


def steps_of(operation: Operation, folder: Path, when: When = "before") -> int:
    """Count the steps of an operation that nothing disturbs."""

    async def scenario(world: World) -> int:
        await world.open(operation.app(world))
        await operation.arrange(world)
        slowed(world, when)
        call = _begun(operation, world)
        steps = 0
        worker = world.process

        def counted() -> bool:
            nonlocal steps
            steps += 1
            return call is not None and call.done()

        worker.backend.run_until(worker.simulation, counted, operation.wait_ms if call is None else 60_000)
        world.world.clear_faults()
        return min(steps, MAX_STEPS)

    return play("memory", folder, scenario)

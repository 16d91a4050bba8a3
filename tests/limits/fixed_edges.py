"""The limits that no option changes, under the names of the page of limits: the answers at each edge and one beyond."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

from edge import Edge
from engine_edges import plain, working

from perdure import Do, Limits, Task, TaskContext, program
from perdure.testing import Crash, WorkerDied, World
from perdure.values.status import FailureRecord


@program
def keep_size(ctx: TaskContext[int], event: int) -> Do[None]:
    yield from ctx.set_state(event)
    yield from ctx.schedule(after="1 second")


@program
def break_with(ctx: TaskContext[int]) -> Do[None]:
    raise ValueError("x" * (yield from ctx.state))


breaking: Any = Task("breaking", state=int, event=int, initial=0, on_event=keep_size, execute=break_with)


def error_of(world: World, id_: str, characters: int) -> FailureRecord:
    world.run(world.handle(breaking).send(id_, characters))
    world.advance("1 second")
    error = world.run(world.handle(breaking).status(id_)).last_error
    assert error is not None
    return error


def cut_off(world: World, characters: int) -> int:
    """Return how much is missing in the stored text of an error that has so many characters."""
    return characters - len(error_of(world, "a", characters).message)


def cut_traceback(world: World, characters: int) -> tuple[int, bool]:
    """Return the length of the stored traceback of so many characters, and whether its beginning is missing."""
    beside = len(error_of(world, "a", 1).traceback or "") - 1
    found = error_of(world, "b", characters - beside).traceback or ""
    return len(found), not found.startswith("Traceback")


def deaths(world: World, count: int) -> tuple[str, list[int]]:
    """Let the process die in so many deliveries of a run; return the status, and the delivery that ended."""
    world.inject(Crash("work", times=count))
    with suppress(WorkerDied):
        world.run(world.handle(working).send("a", 1))
    for _ in range(5):
        with suppress(WorkerDied):
            if not world.is_open:
                world.open()
            world.settle()
    return world.run(world.handle(working).status("a")).status, [call.delivery for call in world.effects]


def after_a_jump(world: World, waited_ms: int) -> object:
    """Return whether an alarm has fired so long after the clock jumped to its instant."""
    world.run(world.handle(plain).send("a", "alarm"))
    world.shift_wall_clock(timedelta(hours=1))
    world.advance(f"{waited_ms} ms")
    return world.run(world.handle(plain).get_state("a"))


DEFAULTS = Limits()
FIXED = (
    Edge("a stored error's text and traceback", DEFAULTS, (breaking,), cut_off, 2_000, 0, 1),
    Edge(
        "a stored error's text and traceback",
        DEFAULTS,
        (breaking,),
        cut_traceback,
        16_000,
        (16_000, False),
        (16_000, True),
    ),
    Edge(
        "crashes after which a run is delivered alone, and is parked",
        DEFAULTS,
        (working,),
        deaths,
        2,
        ("idle", [3]),
        ("parked", []),
    ),
    Edge(
        "longest sleep of an alarm between two readings of the clock", DEFAULTS, (plain,), after_a_jump, 59_999, "", "!"
    ),
)

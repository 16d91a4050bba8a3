"""Callers crowd before small limits, some give up, some instances are ended: the others are served all the same.

``reference/behaviour.md`` 1, *Back-pressure*: with ``on_full="block"`` no caller is refused. Afterwards every place,
every counter and every timer is free again, and as many runs begin at the same time as the limits allow.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Literal

import attrs
from hypothesis import given
from hypothesis import strategies as st
from machine import Add, Mark, machine_with, steps
from returns.result import Failure, Success
from world import World, play

from perdure import App, Limits, attempt
from perdure.client.local_gateway import engine_of
from perdure.jobs.call import Call
from perdure.testing import Delay
from perdure.values.errors import Overloaded

IDS = ("a", "b", "c")


@attrs.frozen
class Wish:
    """A request: to whom, and whether its run reaches outside."""

    id: str
    effect: Literal["with", "without"]


@attrs.frozen
class GivesUp:
    """A caller is cancelled."""

    index: int


@attrs.frozen
class Ends:
    """An instance is terminated."""

    id: str
    interrupt: bool


@attrs.frozen(kw_only=True)
class Crowd:
    """Callers, what befalls them step by step, and the limits that they meet."""

    wishes: list[Wish]
    befalls: list[tuple[int, GivesUp | Ends]]
    limits: Limits
    concurrency: int | None
    seed: int
    slow_store: bool


SMALL = st.integers(1, 3)
LIMITS = st.builds(
    lambda concurrency, mailbox, pending, on_full: Limits(
        concurrency=concurrency, mailbox_size=mailbox, max_pending=pending, on_full=on_full
    ),
    st.integers(1, 2),
    st.integers(1, 4),
    st.integers(1, 12),
    st.sampled_from(["block", "reject"]),
)
WISHES = st.lists(st.builds(Wish, st.sampled_from(IDS), st.sampled_from(["with", "without"])), min_size=2, max_size=10)
BEFALLS = st.lists(
    st.tuples(
        st.integers(0, 25),
        st.one_of(st.builds(GivesUp, st.integers(0, 9)), st.builds(Ends, st.sampled_from(IDS), st.booleans())),
    ),
    max_size=6,
)
CROWDS = st.builds(
    Crowd,
    wishes=WISHES,
    befalls=BEFALLS,
    limits=LIMITS,
    concurrency=st.none() | SMALL,
    seed=st.integers(0, 999),
    slow_store=st.booleans(),
)


def step_by_step(world: World, steps_taken: int) -> None:
    """Let the engine take a number of steps."""
    left = steps_taken
    worker = world.process

    def reached() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    worker.backend.run_until(worker.simulation, reached, 60_000)


def asked(job: Any, world: World, number: int, wish: Wish) -> Any:
    done = (Mark(f"word-{number}"), Add()) if wish.effect == "with" else (Add(),)
    return world.jobs.handle(job).send(wish.id, steps(*done))


@given(CROWDS)
def test_callers_that_stay_are_served_and_nothing_remains(crowd: Crowd) -> None:
    job = machine_with(runs=crowd.concurrency)

    async def scenario(world: World) -> None:
        await world.open(App(world.outside, limits=crowd.limits).with_jobs(job))
        places = [*(f"store.{name}" for name in ("load", "commit") if crowd.slow_store), "say"]
        world.world.inject(*(Delay(at, "5 ms", times=10**6) for at in places))
        begun: set[int] = set()

        async def noted(number: int, wish: Wish) -> Any:
            begun.add(number)  # a call that is cancelled before it began was never made
            return await attempt(asked(job, world, number, wish))

        calls = [world.start(Call(partial(noted, number, wish), "a wish")) for number, wish in enumerate(crowd.wishes)]
        gone: set[int] = set()
        for wait, action in crowd.befalls:
            step_by_step(world, wait)
            match action:
                case GivesUp(index) if index in begun:
                    gone.add(index)
                    calls[index].cancel()
                case Ends(id_, interrupt):
                    world.start(world.jobs.handle(job).terminate(id_, interrupt=interrupt))
                case _:
                    pass
        await world.advance(minutes=1)
        assert engine_of(world.jobs).in_flight().is_empty, engine_of(world.jobs).in_flight().described()
        for number, call in enumerate(calls):
            assert call.done(), f"caller {number} has no answer"
            if number not in gone:
                assert _is_fair(call.result(), crowd), f"caller {number} was answered {call.result()!r}"
        await _there_is_room_again(world, crowd, job)

    play("memory", Path(), scenario, seed=crowd.seed)


def _is_fair(result: Any, crowd: Crowd) -> bool:
    if isinstance(result, Success):
        return True
    return isinstance(result, Failure) and crowd.limits.on_full == "reject" and isinstance(result.failure(), Overloaded)


async def _there_is_room_again(world: World, crowd: Crowd, job: Any) -> None:
    """As many runs begin together as ever, and as many requests wait."""
    limits = crowd.limits
    runs = min(limits.concurrency, crowd.concurrency or limits.concurrency, limits.max_pending)
    for number in range(limits.max_pending):
        world.suspension(f"again-{number}#1.1")
        world.start(world.jobs.handle(job).send(f"again-{number}", steps(Mark(f"again-{number}"))))
    await world.advance(ms=50)
    assert engine_of(world.jobs).in_flight().programs == min(runs, limits.max_pending)
    assert engine_of(world.jobs).in_flight().requests == limits.max_pending

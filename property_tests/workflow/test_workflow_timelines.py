"""Waits of drawn programs: a workflow has the timeline of memory, and no wait is shorter than asked, whatever stops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, Never, Protocol, TypeAlias

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from returns.future import FutureResult
from returns.result import Failure, Success

from perdure import App, Do, Program, Workflow, WorkflowContext, effect, program
from perdure.programs import gather, race, run_sync, sleep
from perdure.runtime.simulated import Simulation
from perdure.testing import Clock, World
from perdure.testing.world.clock import START

P: TypeAlias = Program[Any, Any, Any]
Make: TypeAlias = Callable[[Iterator[int]], P]
"""Makes a program, with the numbers of its waits: wait ``k`` takes two to the power of ``k`` seconds.

So no two sums of waits are equal, and a race has no ties.
"""


class HasClock(Protocol):
    @property
    def now(self) -> datetime: ...


@attrs.define
class Outside:
    """Remembers when each wait began and ended, by a clock outside of the program."""

    clock: HasClock
    seen: list[tuple[str, int, datetime]] = attrs.Factory(list[tuple[str, int, datetime]])


@effect
def note(outside: Outside, event: str, number: int) -> FutureResult[None, Never]:
    outside.seen.append((event, number, outside.clock.now))
    return FutureResult.from_value(None)


def length(number: int) -> timedelta:
    return timedelta(seconds=2**number)


@program
def waited(number: int) -> Do[None, Any, Outside]:
    yield from note("begun", number)
    yield from sleep(length(number))
    yield from note("ended", number)


@program
def limited(inner: P, number: int) -> Do[None, Any, Outside]:
    yield from note("begun", number)
    match (yield from inner.timeout(length(number)).attempt()):
        case Failure():
            yield from note("ended", number)
        case Success():
            pass


@program
def in_turn(parts: list[P]) -> Do[None, Any, Outside]:
    for part in parts:
        yield from part


def together(children: st.SearchStrategy[Make]) -> st.SearchStrategy[Make]:
    several = st.lists(children, min_size=1, max_size=3)
    return st.one_of(
        several.map(lambda made: lambda numbers: in_turn([make(numbers) for make in made])),
        st.tuples(several, st.integers(1, 3)).map(
            lambda drawn: lambda numbers: gather(*[make(numbers) for make in drawn[0]], limit=drawn[1])
        ),
        several.map(lambda made: lambda numbers: race(*[make(numbers) for make in made])),
        children.map(lambda make: lambda numbers: limited(make(numbers), next(numbers))),
    )


WAIT: st.SearchStrategy[Make] = st.just(lambda numbers: waited(next(numbers)))
PROGRAMS = st.recursive(WAIT, together, max_leaves=6)
NUMBERS = st.permutations(range(14))


def flow_of(make: Make, numbers: list[int]) -> Workflow[Any, Any, Any, Any]:
    @program
    def main(_: WorkflowContext[int]) -> Do[None, Any, Outside]:
        yield from make(iter(numbers))

    return Workflow("drawn", state=int, run=main, keep=None)


def in_order(seen: list[tuple[str, int, datetime]]) -> list[tuple[datetime, str, int]]:
    return sorted((at, event, number) for event, number, at in seen)


@settings(deadline=None, max_examples=60)
@given(make=PROGRAMS, numbers=NUMBERS)
def test_a_workflow_waits_as_the_same_program_does_in_memory(make: Make, numbers: list[int]) -> None:
    simulation = Simulation(start=START)
    in_memory = Outside(simulation)
    assert run_sync(make(iter(numbers)), in_memory, simulation=simulation) is not None
    stored, job = Outside(Clock(START)), flow_of(make, numbers)
    with World(App(stored).with_jobs(job), clock=stored.clock) as world:  # type: ignore[arg-type]
        world.run(world.handle(job).start("d", 0))
        world.advance("30 days")
        assert world.run(world.handle(job).outcome("d")) is not None
    assert in_order(stored.seen) == in_order(in_memory.seen)


@settings(deadline=None, max_examples=60)
@given(
    make=PROGRAMS,
    numbers=NUMBERS,
    outages=st.lists(
        st.tuples(st.timedeltas(timedelta(0), timedelta(hours=2)), st.timedeltas(timedelta(0), timedelta(hours=9))),
        min_size=1,
        max_size=3,
    ),
)
def test_no_wait_is_shorter_than_asked_whatever_stops(
    make: Make, numbers: list[int], outages: list[tuple[timedelta, timedelta]]
) -> None:
    outside, job = Outside(Clock(START)), flow_of(make, numbers)
    with World(App(outside).with_jobs(job), clock=outside.clock) as world:  # type: ignore[arg-type]
        world.run(world.handle(job).start("d", 0))
        for until, for_ in outages:
            world.advance(until)
            world.crash()
            world.advance(for_)
            world.open()
        world.advance("30 days")
        assert world.run(world.handle(job).outcome("d")) is not None
    begun = {number: at for event, number, at in outside.seen if event == "begun"}
    for event, number, at in outside.seen:
        if event == "ended":
            assert at - begun[number] >= length(number)

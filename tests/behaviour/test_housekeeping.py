"""A maintenance round deletes everything beyond retention, and attributes are filled although calls fail."""

from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any, Literal

import attrs
import pytest
from returns.result import Success

from perdure import App, Attribute, Decision, Limits, Task, attribute
from perdure.engine.loops.upkeep import Maintenance
from perdure.runtime.record import DEFAULT_SIZES
from perdure.runtime.simulated import Simulation
from perdure.stores.contract import commit_one
from perdure.stores.memory import memory_store
from perdure.stores.values import Retention
from perdure.testing import Fail, World
from perdure.testing.conformance.assertions import value
from perdure.testing.conformance.histories import address, started
from perdure.testing.world.errors import WorkerDied
from perdure.testing.world.world import with_sizes
from perdure.values.errors import OutcomeUnknown, StoreUnavailable
from perdure.values.listings import MatchCount
from perdure.values.transition import Transition

A = address("a")
PAGE = Retention(now_ms=0, events_since_ms=0, max_events=0).limit


def test_a_round_removes_all_pages() -> None:
    simulation = Simulation()

    async def main() -> list[int]:
        store = memory_store()
        events = tuple(started(A, at_ms=number) for number in range(3 * PAGE + 2))
        await value(commit_one(store, Transition(address=A, events=events)))
        limits = Limits(history_events=1, history_retention=f"{simulation.runtime.now_ms()} ms")
        await Maintenance(store, simulation.runtime, limits, {}).prune()
        return [one.event.at_ms for one in await value(store.events(0, 4 * PAGE))]

    assert simulation.run(main()) == [3 * PAGE + 1]
    simulation.close()


@attribute
def is_odd(state: int) -> bool:
    return state % 2 == 1


def numbers(*attributes: Attribute[int, Any]) -> Task[int, int, Any, Any]:
    """The job, of an earlier version or with attributes."""
    return Task(
        "numbers",
        state=int,
        event=int,
        initial=0,
        decide=lambda _, event: Success(Decision(event)),
        attributes=attributes,
    )


plain, odd = numbers(), numbers(is_odd)
before, now = App(None).with_jobs(plain), App(None).with_jobs(odd)


@contextmanager
def deployed() -> Generator[World]:
    """A world with five instances without attributes, before the engine that fills them in three portions."""
    with with_sizes(World(before), attrs.evolve(DEFAULT_SIZES, attribute_rows=2)) as world:
        for number in range(5):
            world.run(world.handle(plain).send(str(number), number))
        world.close()
        yield world


def odd_ones(world: World) -> list[str]:
    """The instances that the filter finds in the end."""
    world.advance("1 minute")
    assert world.run(world.handle(odd).count_matching(where=[is_odd])) == MatchCount(number=2)
    return [one.address.id for one in world.run(world.jobs.list(odd, where=[is_odd]))]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("error", [StoreUnavailable("fill", "no answer"), OutcomeUnknown("the connection was lost")])
@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize("operation", ["known", "clear", "fill"])
def test_attributes_are_filled_although_a_call_fails(
    operation: str, call: int, error: Exception, when: Literal["before", "after"]
) -> None:
    with deployed() as world:
        world.inject(Fail(f"store.attributes.{operation}", error, call=call + (operation == "known"), when=when))
        world.open(now)
        assert odd_ones(world) == ["1", "3"]


def test_attributes_are_filled_whenever_the_process_dies() -> None:
    died, place = 0, 0
    while died == place:
        place += 1
        with deployed() as world:
            world.crash_after(place)
            with suppress(WorkerDied):
                world.open(now)
                world.advance("1 minute")
            if not world.is_open:
                died += 1
                world.open(now)
            world.cancel_crash()
            assert odd_ones(world) == ["1", "3"]
    assert died > 20

"""A maintenance round deletes everything beyond retention, and attributes are filled although a call fails."""

from typing import Any

import attrs
import pytest
from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure import Decision, Limits, Task, attribute
from perdure.engine.loops.upkeep import FillingAttributes, Maintenance
from perdure.jobs.attributes import declared_by, types_of
from perdure.programs.future import answer_of, asked
from perdure.runtime.record import DEFAULT_SIZES
from perdure.runtime.simulated import Simulation
from perdure.stores.contract import commit_one, overlay
from perdure.stores.memory import memory_store
from perdure.stores.values import Query, Retention
from perdure.testing.conformance.assertions import value
from perdure.testing.conformance.histories import address, put, started
from perdure.values.address import Address
from perdure.values.attributes import key_ranges
from perdure.values.errors import OutcomeUnknown, StoreUnavailable
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


JOB = ("task", "numbers")
numbers: Task[int, int, Any, Any] = Task(
    "numbers", state=int, event=int, initial=0, decide=lambda _, event: Success(Decision(event)), attributes=(is_odd,)
)


@pytest.mark.parametrize("error", [StoreUnavailable("fill", "no answer"), OutcomeUnknown("the connection was lost")])
@pytest.mark.parametrize("operation", ["known", "clear", "fill"])
def test_attributes_are_filled_although_a_call_that_was_performed_fails(operation: str, error: Exception) -> None:
    simulation = Simulation()
    runtime = attrs.evolve(simulation.runtime, sizes=attrs.evolve(DEFAULT_SIZES, attribute_rows=2))
    failures = [error]

    async def main() -> list[str]:
        store = memory_store()
        kept = store.attributes
        assert kept is not None
        for number in range(5):
            await value(commit_one(store, put(Address(*JOB, str(number)), state=str(number))))
        await value(kept.declare({JOB: declared_by(numbers)}))

        async def performed(call: FutureResult[Any, Any]) -> Result[Any, Any]:
            answer = await answer_of(call)
            return Failure(failures.pop()) if failures else answer

        call = getattr(kept, operation)
        failing = overlay(kept, **{operation: lambda *given: asked(performed(call(*given)))})
        filling = FillingAttributes(
            overlay(store, attributes=failing), runtime, {JOB: numbers}, lambda _: True, others=False
        )
        loop = runtime.spawn(filling.run(), name="attributes")
        await runtime.sleep(10_000)
        assert not loop.done()
        loop.cancel()
        where = key_ranges(types_of(numbers), ("is_odd",), "task:numbers")
        return [one.address.id for one in await value(store.find(Query(kind=JOB[0], name=JOB[1], where=where)))]

    assert simulation.run(main()) == ["1", "3"]
    assert failures == []
    simulation.close()

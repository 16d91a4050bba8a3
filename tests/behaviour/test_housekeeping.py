"""A maintenance round deletes everything beyond retention, however much that is."""

from perdure import Limits
from perdure.engine.loops.upkeep import Maintenance
from perdure.runtime.simulated import Simulation
from perdure.stores.contract import commit_one
from perdure.stores.memory import memory_store
from perdure.stores.values import Retention
from perdure.testing.conformance.assertions import value
from perdure.testing.conformance.histories import address, started
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

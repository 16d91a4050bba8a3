"""A run that waits for a change of its row: no commit is missed, also one that lands while the row is read."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import example, given
from hypothesis import strategies as st
from one_by_one import each_load
from returns.result import Success

from perdure.engine.mailbox.instance_cache import InstanceCache
from perdure.engine.runs.effects import Checkpoints
from perdure.programs.future import answer_of, asked
from perdure.runtime.simulated import Simulation
from perdure.stores.contract import commit_one, load_one, overlay
from perdure.stores.memory import MemoryBackend
from perdure.values.address import Address
from perdure.values.instance import Claim, Fence, Instance
from perdure.values.transition import Put, Transition

A = Address("workflow", "w", "a")
CLAIM = Claim(owner=1, cause="alarm", run_id="run", claimed_ms=1)


@attrs.frozen
class Execute:
    """The part of a run that a checkpoint reads."""

    instance: Instance
    claim: Claim = CLAIM

    def recorded(self, instance: Instance) -> Execute:
        return Execute(instance)


@attrs.define
class Run:
    """A run, on the row that it knows."""

    execute: Any


@given(pauses=st.lists(st.integers(0, 6), min_size=1, max_size=6), read_ms=st.integers(0, 4), seed=st.integers(0, 99))
@example(pauses=[1], read_ms=3, seed=0)
def test_a_run_sees_the_last_change_of_its_row(pauses: list[int], read_ms: int, seed: int) -> None:
    """Other turns write the row; the run continues with the row as it is stored then."""
    simulation = Simulation(seed=seed)
    runtime, inner = simulation.runtime, MemoryBackend().open()
    row = Instance(address=A, created_ms=1, updated_ms=1, version=1, claim=CLAIM)

    def load(*arguments: Any) -> Any:
        async def late() -> Any:
            found = await answer_of(load_one(inner, *arguments))
            await runtime.sleep(read_ms)
            return found

        return asked(late())

    cache = InstanceCache(overlay(inner, load=each_load(load, runtime), runtime=runtime))
    unused: Any = None
    checkpoints = Checkpoints(unused, cache.store, cache, runtime, unused, unused)
    seen = list[int]()

    async def wait(run: Run) -> None:
        while True:
            changed: Any = await checkpoints.changed(run)
            assert isinstance(changed, Success)
            seen.append(changed.unwrap().version)

    async def main() -> None:
        fence = (await answer_of(commit_one(inner, Transition(address=A, write=Put(row))))).unwrap()
        runtime.spawn(wait(Run(Execute(row.changed(incarnation=fence.incarnation)))), name="run")
        for number, pause_ms in enumerate(pauses):
            await runtime.sleep(pause_ms)
            expected = Fence(fence.incarnation, number + 1)
            after = row.changed(incarnation=fence.incarnation, version=number + 2)
            await answer_of(commit_one(inner, Transition(address=A, expected=expected, write=Put(after))))
            cache.others_wrote()
        await runtime.sleep(10 * (read_ms + 1))
        assert seen[-1] == len(pauses) + 1, "a change is missed"
        assert seen == sorted(set(seen)), "a row is returned twice"

    simulation.run(main())

"""Laws of simulated runs, over drawn programs, answers and faults."""

from __future__ import annotations

from typing import Any

import attrs
import hypothesis.strategies as st
from hypothesis import given
from returns.future import FutureResult
from returns.result import Failure, Success

from perdure import Do, effect, program, succeed
from perdure.programs import Program, Raised, bracket, gather, run_sync, sleep
from perdure.runtime.simulated import Simulation
from perdure.testing import Crash, Hung, ProcessDied, every_fault, fake_services, faults, simulate


@attrs.frozen
class Refused:
    code: int


@attrs.define
class World:
    """Counts what reached it, and answers as the seed says."""

    seed: int
    heard: list[str] = attrs.Factory(list[str])


@effect
def ask(services: World, word: str) -> FutureResult[int, Refused]:
    services.heard.append(word)
    number = (ord(word[0]) ^ services.seed) % 7
    return FutureResult.from_failure(Refused(number)) if number == 0 else FutureResult.from_value(number)


@program
def one_after_the_other(first: Program[Any, Any, Any], second: Program[Any, Any, Any]) -> Do[Any, Any, Any]:
    one = yield from first
    other = yield from second
    return one, other


def composed(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    pairs = st.tuples(inner, inner)
    return st.one_of(
        pairs.map(lambda two: one_after_the_other(*two)),
        pairs.map(lambda two: gather(*two)),
        pairs.map(lambda two: two[0].lash(lambda _: two[1])),
        pairs.map(lambda two: bracket(two[0], lambda _: two[1], lambda _: ask("release").attempt())),
        inner.map(lambda one: one.attempt()),
        inner.map(lambda one: one.timeout("1 minute")),
    )


leaves = st.one_of(
    st.sampled_from("abcdef").map(ask), st.integers(0, 90).map(lambda s: sleep(f"{s + 1} s")), st.just(succeed(None))
)
programs = st.recursive(leaves, composed, max_leaves=6)
seeds = st.integers(0, 100)


@given(programs, seeds)
def test_a_simulated_run_ends_as_any_other(drawn, seed):
    simulated, plain = World(seed), World(seed)
    seen = simulate(drawn, simulated)
    assert seen.exit == run_sync(drawn, plain, simulation=Simulation(order="fifo"))
    assert simulated.heard == [call.args[0] for call in seen.effects]


@given(programs, seeds)
def test_the_same_run_is_the_same_value(drawn, seed):
    assert simulate(drawn, World(seed)) == simulate(drawn, World(seed))


@given(programs, fake_services())
def test_the_answers_of_fake_services_are_those_in_the_trace(drawn, fakes):
    seen = simulate(drawn, fakes)
    assert all(isinstance(call.answer, Success | Failure) for call in seen.effects)
    assert isinstance(seen.exit, Success | Failure)


@given(programs, seeds, st.data())
def test_faults_are_met_as_planned(drawn, seed, data):
    clean = simulate(drawn, World(seed))
    plan = data.draw(faults(clean))
    world = World(seed)
    seen = simulate(drawn, world, faults=plan)
    met = [call.fault for call in seen.effects if call.fault is not None]
    assert sorted(map(repr, (*met, *seen.unused_faults))) == sorted(map(repr, plan))
    assert [call.args[0] for call in seen.effects if call.reached] == world.heard or len(seen.effects) > len(
        world.heard
    )
    if isinstance(seen.exit, ProcessDied):
        assert seen.exit.fault in plan


@given(programs, seeds)
def test_each_single_fault_changes_no_earlier_step(drawn, seed):
    clean = simulate(drawn, World(seed))
    for plan in every_fault(clean):
        (fault,) = plan
        seen = simulate(drawn, World(seed), faults=plan)
        assert seen.unused_faults == ()
        at = next(place for place, step in enumerate(seen.effects) if step.fault == fault)
        before = [(step.name, step.call, step.args) for step in clean.effects[:at]]
        assert [(step.name, step.call, step.args) for step in seen.effects[:at]] == before


@given(programs, seeds)
def test_a_crash_is_the_end(drawn, seed):
    clean = simulate(drawn, World(seed))
    for plan in every_fault(clean):
        seen = simulate(drawn, World(seed), faults=plan)
        if isinstance(seen.exit, ProcessDied):
            assert seen.effects[-1].fault == plan[0]
        else:
            assert isinstance(seen.exit, Success | Failure | Raised | Hung)
            assert not isinstance(plan[0], Crash)

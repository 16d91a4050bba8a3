"""A parent shows exactly those of its children that are parked, whatever happens to them."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import attrs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from returns.future import FutureResult

from perdure import App, Backoff, Do, Retry, Workflow, WorkflowContext, effect, program
from perdure.programs import gather, sleep
from perdure.testing import WorkerDied, World

COUNT = 3


@attrs.define
class Bench:
    """Raises for the numbers that are broken."""

    broken: set[int] = attrs.Factory(lambda: set(range(COUNT)))


@effect
def build(bench: Bench, number: int) -> FutureResult[int, str]:
    if number in bench.broken:
        raise RuntimeError("the bench is broken")
    return FutureResult.from_value(number)


@program
def building(ctx: WorkflowContext[int]) -> Do[int, str, Bench]:
    number = yield from ctx.state
    yield from sleep("1 minute")
    return (yield from build(number))


child: Workflow[int, int, str, Any] = Workflow(
    "builder", state=int, run=building, keep=None, retry_defects=Retry(2, Backoff.constant("1 second"))
)


@program
def ordering(ctx: WorkflowContext[int]) -> Do[int]:
    ended = yield from gather(*[child.call(f"c{number}", number).attempt() for number in range(COUNT)])
    return len(ended)


parent: Workflow[int, int, Any, Any] = Workflow("parent", state=int, run=ordering, keep=None)

steps = st.tuples(
    st.sampled_from(["resume", "terminate", "pause", "cancel", "repair", "damage", "crash", "wait"]),
    st.integers(0, COUNT - 1),
)


def perform(world: World, bench: Bench, verb: str, number: int) -> None:
    children = world.handle(child)
    match verb:
        case "repair":
            bench.broken.discard(number)
        case "damage":
            bench.broken.add(number)
        case "crash":
            world.crash_after(number)
        case "wait":
            world.advance("2 minutes")
        case "terminate" | "cancel":
            world.attempt(getattr(children, verb)(f"c{number}", "by hand"))
        case _:
            world.attempt(getattr(children, verb)(f"c{number}"))


def rest(world: World) -> None:
    """Let the messages arrive, in a new worker if the last one died."""
    if not world.is_open:
        world.open()
    world.advance("5 seconds")


def shown(world: World) -> set[str]:
    """Return the parked children that the parent names."""
    instance = world.instance(parent, "p")
    assert instance is not None
    facts = [str(fact.value) for fact in parent.display_fields_of(instance) if fact.label == "parked child"]
    return {fact.partition(",")[0] for fact in facts}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(steps, max_size=12))
def test_a_parent_shows_exactly_its_children_that_are_parked(actions: list[tuple[str, int]]) -> None:
    bench = Bench()
    with World(App(bench).with_jobs(parent, child)) as world:
        world.run(world.handle(parent).start("p", 0))
        world.advance("1 second")
        for verb, number in [("wait", 0), *actions]:
            with suppress(WorkerDied):
                perform(world, bench, verb, number)
            for _ in range(3):  # a crash that was asked for may come in the first ones
                with suppress(WorkerDied):
                    rest(world)
            parked = {
                str(each.address)
                for each in world.instances()
                if each.address.name == "builder" and each.status == "parked"
            }
            assert shown(world) == parked

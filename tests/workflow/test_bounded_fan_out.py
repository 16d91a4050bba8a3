"""``docs/how-to/call-a-child-workflow.md``: many children, a bounded number at a time."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from returns.result import Result, Success

from perdure import App, Defect, Do, Workflow, WorkflowContext, effect, program
from perdure.programs import gather, sleep
from perdure.runtime.record import Sizes
from perdure.testing import World
from perdure.testing.world.world import with_sizes
from perdure.values.answer import Done


@attrs.define
class Desk:
    """Counts the children that have begun and not ended."""

    open: int = 0
    most: int = 0


@effect
def enter(services: Desk) -> Result[None, str]:
    services.open += 1
    services.most = max(services.most, services.open)
    return Success(None)


@effect
def leave(services: Desk) -> Result[None, str]:
    services.open -= 1
    return Success(None)


@program
def visit(ctx: WorkflowContext[int]) -> Do[int, str, Desk]:
    number = yield from ctx.state
    yield from enter()
    yield from sleep(f"{1 + number % 3} s")
    yield from leave()
    return number


visits = Workflow("visits", state=int, run=visit)


@program
def fan_out(ctx: WorkflowContext[tuple[int, int]]) -> Do[int, str | Defect]:
    count, limit = yield from ctx.state
    calls = [visits.call(f"{ctx.run_id}-{number}", number) for number in range(count)]
    return sum((yield from gather(*calls, limit=limit)))


fans = Workflow("fans", state=tuple[int, int], run=fan_out)


def check(world: World, desk: Desk, count: int, limit: int) -> None:
    world.run(world.handle(fans).start("f", (count, limit)))
    world.advance(f"{3 * count + 60} s")
    assert world.run(world.handle(fans).outcome("f")) == Done(value=sum(range(count)))
    assert (desk.open, desk.most) == (0, min(count, limit))


@settings(max_examples=15)
@given(st.integers(1, 25), st.integers(1, 8), st.integers(1, 3))
def test_no_more_children_than_the_limit_are_in_progress(count: int, limit: int, turns: int) -> None:
    desk = Desk()
    with with_sizes(World(App(desk).with_jobs(visits, fans)), Sizes(turns_in_a_commit=turns)) as world:
        check(world, desk, count, limit)


@pytest.mark.parametrize("limit", [7, 50])
def test_hundreds_of_children_run_a_few_at_a_time(limit: int) -> None:
    desk = Desk()
    with World(App(desk).with_jobs(visits, fans)) as world:
        check(world, desk, 150, limit)

"""``docs/how-to/call-a-child-workflow.md``: many children, a bounded number at a time."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from returns.result import Result, Success

from perdure import App, Defect, Do, Workflow, WorkflowContext, effect, program
from perdure.kinds.workflow import replay
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


# ------------------------------------------------------------ the cost of a child
@program
def doubling(ctx: WorkflowContext[int]) -> Do[int]:
    number = yield from ctx.state
    yield from sleep(f"{1 + number % 7} s")
    return 2 * number


@program
def doubled(ctx: WorkflowContext[tuple[int, int]]) -> Do[int, Defect]:
    count, limit = yield from ctx.state
    calls = [child.call(f"{ctx.run_id}-{number}", number) for number in range(count)]
    return sum((yield from gather(*calls, limit=limit)))


child = Workflow("child", state=int, run=doubling)
parent = Workflow("parent", state=tuple[int, int], run=doubled, keep=None)


def calls_of_workflows(count: int, limit: int, sizes: Sizes) -> int:
    """Return how many functions of workflows are called for a parent with so many children, until it has ended."""
    calls, folder = 0, str(Path(replay.__file__).parent)

    def note(frame: FrameType, event: str, _: object) -> None:
        nonlocal calls
        calls += event == "call" and frame.f_code.co_filename.startswith(folder)

    with with_sizes(World(App(None).with_jobs(child, parent), debug=False), sizes) as world:
        before = sys.getprofile()
        sys.setprofile(note)
        try:
            world.run(world.handle(parent).start("p", (count, limit)))
            world.advance(f"{7 * count + 60} s")
        finally:
            sys.setprofile(before)
        assert world.run(world.handle(parent).outcome("p")) == Done(value=count * (count - 1))
    return calls


@pytest.mark.parametrize("limit", [3, 1_000])
def test_a_child_costs_the_same_however_many_there_are(limit: int) -> None:
    sizes = Sizes(replayed_rows=4, turns_in_a_commit=2)
    few, many = (calls_of_workflows(count, limit, sizes) / count for count in (20, 80))
    assert many < 1.1 * few


def test_without_a_program_in_memory_each_end_costs_a_replay_of_all_before() -> None:
    """So the test above can see such a cost."""
    few, many = (calls_of_workflows(count, 3, Sizes(kept_rows=1)) / count for count in (20, 80))
    assert many > 2 * few

"""``docs/how-to/call-a-child-workflow.md``: many children, a bounded number at a time."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from returns.result import Result, Success

from perdure import App, Defect, Do, Workflow, WorkflowContext, effect, program
from perdure.kinds.workflow import replay
from perdure.programs import as_completed, gather, sleep
from perdure.runtime.record import Sizes
from perdure.testing import WorkerDied, World
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


# ------------------------------------------------------------ in the order in which they come
DELAYS = (5, 1, 3, 1, 2)


@program
def delayed(ctx: WorkflowContext[int]) -> Do[int]:
    number = yield from ctx.state
    yield from sleep(f"{DELAYS[number]} s")
    return number


@effect
def tell_about(services: list[int], number: int) -> Result[None, str]:
    services.append(number)
    return Success(None)


@program
def arriving(ctx: WorkflowContext[tuple[int, ...]]) -> Do[tuple[int, ...], str | Defect, list[int]]:
    calls = [of_a_kind.call(f"{ctx.run_id}-{number}", number) for number in range(len(DELAYS))]

    @program
    def handled(number: int) -> Do[int, str, list[int]]:
        seen = yield from ctx.state
        yield from tell_about(number)
        yield from ctx.set_state((*seen, number))
        return number

    first = yield from as_completed(*calls, then=handled, count=4, limit=3)
    yield from sleep("1 hour")
    return first


of_a_kind = Workflow("of_a_kind", state=int, run=delayed)
arrivals = Workflow("arrivals", state=tuple[int, ...], run=arriving, keep=None)


def arrived(store: Any, crash: int | None) -> tuple[Any, Any, list[int], int]:
    told = list[int]()
    with World(App(told).with_jobs(of_a_kind, arrivals), store=store) as world:
        world.crash_after(crash) if crash is not None else None
        for act in (
            lambda: world.run(world.handle(arrivals).start("a", (), idempotency_key="a")),
            *[lambda: world.advance("2 s")] * 10,
        ):
            while True:
                try:
                    world.open() if not world.is_open else None
                    act()
                    break
                except WorkerDied:
                    continue
        points = len(world.crash_points)
        world.cancel_crash()
        world.open() if not world.is_open else None
        world.restart(App(told).with_jobs(of_a_kind, arrivals))
        state = world.run(world.handle(arrivals).get_state("a"))
        world.advance("2 hours")  # a replay of all before
        return world.run(world.handle(arrivals).outcome("a")), state, told, points


@pytest.mark.parametrize("store", ["memory://", "jobs.db"])
def test_values_are_handled_in_the_order_in_which_children_end_and_each_replay_repeats_it(
    store: str, tmp_path: Path
) -> None:
    place: Any = store if "://" in store else tmp_path / store
    order = (1, 3, 2, 4)  # three at a time: 3 begins when 1 has ended, and 4 when 3 has
    assert arrived(place, None)[:3] == (Done(value=order), order, list(order))


def test_a_crash_anywhere_keeps_the_order_in_which_values_came() -> None:
    _, _, _, points = arrived("memory://", None)
    for crash in range(points):
        outcome, state, told, _ = arrived("memory://", crash)
        assert isinstance(outcome, Done)
        # A child's end may come later than without the crash, but no replay sees another order than the first.
        assert outcome.value == state
        assert tuple(dict.fromkeys(told)) == state
        assert len(state) == 4


def test_the_programs_of_as_completed_change_no_state() -> None:
    @program
    def wrong(ctx: WorkflowContext[int]) -> Do[tuple[None, ...]]:
        return (yield from as_completed(ctx.set_state(1), ctx.set_state(2)))

    job = Workflow("wrong", state=int, run=wrong, keep=None)
    with World(App(None).with_jobs(job)) as world:
        world.run(world.handle(job).start("w", 0))
        world.advance("1 s")
        error = world.run(world.handle(job).status("w")).last_error
        assert error is not None
        assert "inside gather, race or another parallel branch" in error.message


def test_values_that_come_together_are_handled_one_after_the_other() -> None:
    @program
    def adding(ctx: WorkflowContext[int]) -> Do[int]:
        @program
        def add(number: int) -> Do[int]:
            before = yield from ctx.state
            yield from sleep("1 s")
            yield from ctx.set_state(before + number)
            return before

        yield from as_completed(*[sleep("1 s").map(lambda _: 1)] * 3, then=add)
        return (yield from ctx.state)

    job = Workflow("adding", state=int, run=adding, keep=None)
    with World(App(None).with_jobs(job)) as world:
        world.run(world.handle(job).start("w", 0))
        world.advance("10 s")
        assert world.run(world.handle(job).outcome("w")) == Done(value=3)

"""Long workflows: journals, children and messages beyond each chunk in which the engine works."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from flows import act, number
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure import App, Do, Limits, Task, TaskContext, Workflow, WorkflowContext, program, step, tell
from perdure.programs import gather, sleep
from perdure.stores.contract import overlay
from perdure.stores.memory import MemoryBackend
from perdure.testing import World
from perdure.values.answer import Done
from perdure.values.transition import Transition

STORES = ["memory://", "sqlite"]


def url(store: str, folder: Path) -> str | Path:
    return store if store == "memory://" else folder / "jobs.db"


@program
def long(ctx: WorkflowContext[int]) -> Do[int, str]:
    most = yield from ctx.state
    count = 0
    for _ in range(most):
        count = yield from act(count)
    yield from sleep("1 hour")
    count = yield from act(count)
    count += yield from number.receive()
    return (yield from act(count))


job = Workflow("long", state=int, run=long, signals=(number,), keep=None)


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("steps", [499, 500, 1_200])
def test_a_long_workflow_continues_after_a_wait_a_restart_and_a_signal(store: str, steps: int, tmp_path: Path) -> None:
    with World(App(None).with_jobs(job), store=url(store, tmp_path)) as world:
        flow = world.handle(job)
        world.run(flow.start("l", steps))
        world.restart()
        world.advance("1 hour")
        world.run(flow.signal("l", number, 100))
        world.advance("1 second")
        assert world.run(flow.outcome("l")) == Done(value=steps + 102)


@pytest.mark.parametrize("store", STORES)
def test_the_replay_of_a_long_workflow_lets_other_work_run_after_each_chunk(store: str, tmp_path: Path) -> None:
    begun: list[str] = []

    @program
    def noted(ctx: WorkflowContext[int]) -> Do[int, str]:
        count = 0
        for _ in range(20):
            begun.append(ctx.id)
            count = yield from act(count)
        yield from sleep("1 hour")
        return count

    two = Workflow("two", state=int, run=noted, keep=None)
    with World(App(None, limits=Limits(replay_chunk=4)).with_jobs(two), store=url(store, tmp_path)) as world:
        for id_ in "abcd":
            world.run(world.handle(two).start(id_, 0))
        begun.clear()
        world.advance("1 hour")
        assert world.run(world.handle(two).outcome("b")) == Done(value=20)
        # The simulation draws which replay continues. One after the other, they would be four groups.
        assert len(list(groupby(begun))) > 4, begun


@given(steps=st.integers(0, 12), chunk=st.integers(1, 5), page=st.integers(1, 5), dies=st.booleans())
@settings(max_examples=40)
def test_the_size_of_a_chunk_changes_no_result(steps: int, chunk: int, page: int, dies: bool) -> None:  # noqa: FBT001
    limits = Limits(replay_chunk=chunk, journal_page=page)
    with World(App(None, limits=limits).with_jobs(job)) as world:
        flow = world.handle(job)
        world.run(flow.start("l", steps))
        if dies:
            world.restart()
        world.advance("1 hour")
        world.run(flow.signal("l", number, 100))
        world.advance("1 second")
        assert world.run(flow.outcome("l")) == Done(value=steps + 102)
        listed = [step.name for step in world.run(flow.steps("l"))]
        assert listed == [*["act"] * steps, "sleep", "act", "signal number", "act"]


@program
def one(ctx: WorkflowContext[int]) -> Do[int]:
    state = yield from ctx.state
    yield from sleep("1 second")
    return state


child = Workflow("child", state=int, run=one)


@program
def family(ctx: WorkflowContext[int]) -> Do[int]:
    most = yield from ctx.state
    values = yield from gather(*[child.call(f"{ctx.id}-{n}", n) for n in range(most)], limit=most)
    return sum(values)


parent = Workflow("parent", state=int, run=family, keep=None)


@pytest.mark.parametrize("store", STORES)
def test_three_hundred_children_end_together(store: str, tmp_path: Path) -> None:
    with World(App(None).with_jobs(parent, child), store=url(store, tmp_path)) as world:
        flow = world.handle(parent)
        world.run(flow.start("p", 300))
        world.advance("1 minute")
        assert world.run(flow.outcome("p")) == Done(value=sum(range(300)))


@program
def count(ctx: TaskContext[int], event: int) -> Do[None]:
    yield from ctx.update_state(lambda state: state + event)


counter = Task("counter", state=int, event=int, initial=0, on_event=count)


@program
def telling(ctx: WorkflowContext[int]) -> Do[int]:
    most = yield from ctx.state
    for _ in range(most):
        yield from tell(counter, "c").send(1)
    yield from sleep("1 second")
    return most


teller = Workflow("teller", state=int, run=telling, keep=None)


@pytest.mark.parametrize("store", STORES)
def test_a_workflow_tells_one_thousand_and_five_hundred_messages(store: str, tmp_path: Path) -> None:
    with World(App(None).with_jobs(teller, counter), store=url(store, tmp_path)) as world:
        world.run(world.handle(teller).start("t", 1_500))
        world.advance("1 minute")
        assert world.run(world.handle(teller).outcome("t")) == Done(value=1_500)
        assert world.run(world.handle(counter).get_state("c")) == 1_500


def test_a_workflow_whose_journal_lost_rows_is_left_and_performs_no_step_again(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with World(App(None).with_jobs(job), store=path) as world:
        world.run(world.handle(job).start("l", 3))
        assert len(world.effects) == 3
        world.close()
        with closing(sqlite3.connect(path)) as file, file:
            file.execute("DELETE FROM journal WHERE place >= 2")
        world.open()
        world.advance("1 hour")
        assert world.run(world.handle(job).status("l")).status == "left"
        assert len(world.effects) == 3


@step
@program
def large(size: int) -> Do[str]:
    yield from sleep("1 ms")
    return size * "x"


@program
def wide(ctx: WorkflowContext[tuple[int, int, int]]) -> Do[int]:
    count, limit, size = yield from ctx.state
    return sum(map(len, (yield from gather(*[large(size)] * count, limit=limit))))


parallel = Workflow("parallel", state=tuple[int, int, int], run=wide, keep=None)
LARGEST = Limits().payload_bytes - 2  # in quotes


def journal_bytes_of_commits(count: int, limit: int, size: int) -> list[int]:
    """Run parallel steps whose results are large; return the bytes of the rows of each commit."""
    sizes: list[int] = []

    async def main() -> None:
        store = MemoryBackend().open()

        def commit(transitions: Sequence[Transition], answered: Callable[[Sequence[Any]], None]) -> None:
            journals = [each.journal for each in transitions]
            sizes.extend(sum(map(len, each.bodies)) for each in journals if each is not None)
            store.commit(transitions, answered)

        async with App(None).with_jobs(parallel).open(overlay(store, commit=commit), debug=False) as jobs:
            flow = jobs.handle(parallel)
            await flow.start("w", (count, limit, size))
            await jobs.until(parallel, "w")
            assert await flow.outcome("w") == Done(value=count * size)

    asyncio.run(main())
    return sizes


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_one_commit_holds_at_most_the_results_of_as_many_steps_as_run_at_once(limit: int) -> None:
    sizes = journal_bytes_of_commits(12, limit, 10_000)
    assert sum(sizes) > 12 * 10_000
    assert max(sizes) < min(limit, 12) * 10_400


@pytest.mark.parametrize("store", STORES)
def test_the_largest_results_of_a_wide_gather_are_stored(store: str, tmp_path: Path) -> None:
    with World(App(None).with_jobs(parallel), store=url(store, tmp_path)) as world:
        flow = world.handle(parallel)
        world.run(flow.start("w", (300, 100, LARGEST)))
        world.restart()
        world.advance("1 minute")
        assert world.run(flow.outcome("w")) == Done(value=300 * LARGEST)
        world.run(flow.start("beyond", (3, 3, LARGEST + 1)))  # in parts, beside each other
        world.restart()
        world.advance("1 minute")
        assert world.run(flow.outcome("beyond")) == Done(value=3 * (LARGEST + 1))

"""Signals and ends of children are rows of the journal: however many wait and however large, none stops a workflow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flows import Flow, act, bodies, number
from returns.result import Success

from perdure import App, Do, Limits, Signal, Workflow, WorkflowContext, program
from perdure.programs import gather, sleep
from perdure.testing import World
from perdure.values.answer import Done
from perdure.values.errors import Overloaded

STORES = ["memory://", "sqlite"]

text = Signal("text", str)


def url(store: str, folder: Path) -> str | Path:
    return store if store == "memory://" else folder / "jobs.db"


@program
def collecting(ctx: WorkflowContext[int]) -> Do[int]:
    """Sleep, and receive as many texts as the state says; return the sum of their lengths."""
    most = yield from ctx.state
    yield from sleep("1 hour")
    length = 0
    for _ in range(most):
        length += len((yield from text.receive()))
    return length


def collector(**options: Any) -> Flow:
    return Workflow("collecting", state=int, run=collecting, signals=(text, number), **{"keep": None, **options})


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize(("count", "size"), [(11, 100_000), (105, 10_000), (30, 250_000)])
def test_large_signals_wait_beyond_the_limit_of_a_state(store: str, count: int, size: int, tmp_path: Path) -> None:
    job = collector()
    with World(App(None).with_jobs(job), store=url(store, tmp_path)) as world:
        flow = world.handle(job)
        world.run(flow.start("c", count))
        for _ in range(count):
            assert world.run(flow.signal("c", text, "x" * size)).accepted
        world.restart()
        world.advance("1 hour")
        assert world.run(flow.outcome("c")) == Done(value=count * size)


def test_a_signal_costs_the_same_however_many_wait() -> None:
    """The row of the instance, which each commit writes, only counts them; the journal grows by one row."""
    job = collector()
    with World(App(None).with_jobs(job)) as world:
        flow = world.handle(job)
        world.run(flow.start("c", 300))
        sizes: list[tuple[int, int]] = []
        for _ in range(300):
            world.run(flow.signal("c", text, "x" * 1_000))
            row = world.instance(job, "c")
            assert row is not None
            sizes.append((row.journal_length, len(row.data)))
        assert [length for length, _ in sizes] == list(range(2, 302))  # the first row is the note of the sleep
        assert max(size for _, size in sizes) - min(size for _, size in sizes) <= 10
        world.advance("1 hour")
        assert world.run(flow.outcome("c")) == Done(value=300_000)
        assert sum(len(body) for body in bodies(world, job, "c")) < 400_000  # a receipt does not repeat the value


@program
def summing(ctx: WorkflowContext[int]) -> Do[int]:
    most = yield from ctx.state
    total = 0
    for _ in range(most):
        total += yield from number.receive()
    return total


@pytest.mark.parametrize(("store", "count"), [("memory://", 4_000), ("sqlite", 1_000)])
def test_thousands_of_signals_that_are_sent_together_are_received(store: str, count: int, tmp_path: Path) -> None:
    job = Workflow("summing", state=int, run=summing, signals=(number,), inbox=count, keep=None)
    limits = Limits(mailbox_size=count)
    app, place = App(None, limits=limits).with_jobs(job), url(store, tmp_path)
    with World(app, store=place, requests="grouped", debug=False) as world:
        flow = world.handle(job)
        world.run(flow.start("s", count))
        answers = world.concurrently(*(flow.signal("s", number, value) for value in range(count)))
        assert all(isinstance(answer, Success) and answer.unwrap().accepted for answer in answers)
        world.advance("1 second")
        assert world.run(flow.outcome("s")) == Done(value=sum(range(count)))


def test_a_run_that_has_received_its_signals_is_not_run_again() -> None:
    """It knows the rows that it has written: only rows that have arrived meanwhile begin another run."""

    @program
    def pausing(ctx: WorkflowContext[int]) -> Do[int, str]:
        count = yield from act(0)
        count = yield from act(count)
        count += yield from number.receive()
        count = yield from act(count)
        yield from sleep("1 hour")
        return count

    job = Workflow("pausing", state=int, run=pausing, signals=(number,), keep=None)
    with World(App(None).with_jobs(job)) as world:
        flow = world.handle(job)
        world.run(flow.start("p", 0))
        world.run(flow.signal("p", number, 1))
        world.advance("1 minute")
        assert world.run(flow.status("p")).run_count == 2
        world.advance("1 hour")
        assert world.run(flow.status("p")).run_count == 3
        assert world.run(flow.outcome("p")) == Done(value=4)


# ---------------------------------------------------------------- children
@program
def large(ctx: WorkflowContext[int]) -> Do[str]:
    size = yield from ctx.state
    yield from sleep("1 second")
    return "x" * size


child = Workflow("large", state=int, run=large)


@program
def family(ctx: WorkflowContext[int]) -> Do[int]:
    size = yield from ctx.state
    values = yield from gather(*[child.call(f"{ctx.id}-{n}", size) for n in range(100)])
    return sum(map(len, values))


parent = Workflow("family", state=int, run=family, signals=(number,), inbox=1, keep=None)


@pytest.mark.parametrize("store", STORES)
def test_one_hundred_children_with_large_values_end_together(store: str, tmp_path: Path) -> None:
    with World(App(None).with_jobs(parent, child), store=url(store, tmp_path)) as world:
        flow = world.handle(parent)
        world.run(flow.start("p", 20_000))
        world.advance("1 minute")
        assert world.run(flow.outcome("p")) == Done(value=2_000_000)


def test_the_ends_of_children_do_not_wait_for_room_in_the_inbox() -> None:
    with World(App(None).with_jobs(parent, child)) as world:
        flow = world.handle(parent)
        world.run(flow.start("p", 1))
        world.run(flow.signal("p", number, 1))
        assert isinstance(world.error_of(flow.signal("p", number, 2)), Overloaded)
        world.advance("1 second")
        assert world.run(flow.outcome("p")) == Done(value=100)
        assert not world.messages()


# ---------------------------------------------------------------- the limit
def test_a_received_signal_makes_room_for_the_next() -> None:
    job = Workflow("summing", state=int, run=summing, signals=(number, text), inbox=2, keep=None)
    with World(App(None).with_jobs(job)) as world:
        flow = world.handle(job)
        world.run(flow.start("s", 3))
        for _ in range(2):  # signals that the program does not wait for
            assert world.run(flow.signal("s", text, "a")).accepted
        refused = world.error_of(flow.signal("s", number, 1))
        assert isinstance(refused, Overloaded)
        assert "inbox of workflow:summing:s" in str(refused)
    job = Workflow("summing", state=int, run=summing, signals=(number, text), inbox=3, keep=None)
    with World(App(None).with_jobs(job)) as world:
        flow = world.handle(job)
        world.run(flow.start("s", 3))
        for _ in range(2):
            assert world.run(flow.signal("s", text, "a")).accepted
        for value in (1, 2, 3):
            assert world.run(flow.signal("s", number, value)).accepted
            world.advance("1 second")
        assert world.run(flow.outcome("s")) == Done(value=6)


# ---------------------------------------------------------------- starting over
@program
def lives(ctx: WorkflowContext[tuple[int, ...]]) -> Do[tuple[int, ...]]:
    """Receive two numbers, and start over with them, until there are twelve."""
    received = yield from ctx.state
    for _ in range(2):
        received = (*received, (yield from number.receive()))
    if len(received) < 12:
        yield from ctx.start_over(received)
    return received


@pytest.mark.parametrize("store", STORES)
def test_signals_wait_through_start_over_in_order(store: str, tmp_path: Path) -> None:
    job = Workflow("lives", state=tuple[int, ...], run=lives, signals=(number,), keep=None)
    with World(App(None).with_jobs(job), store=url(store, tmp_path)) as world:
        flow = world.handle(job)
        world.run(flow.start("l", ()))
        world.run(flow.pause("l"))
        for value in range(11):
            world.run(flow.signal("l", number, value))
        world.run(flow.resume("l"))
        world.advance("1 second")
        world.restart()
        row = world.instance(job, "l")
        assert row is not None
        assert row.journal_length <= 8, bodies(world, job, "l")
        world.run(flow.signal("l", number, 11))
        world.advance("1 second")
        assert world.run(flow.outcome("l")) == Done(value=tuple(range(12)))

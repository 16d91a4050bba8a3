"""Every healthy workflow ends without an operator, however small the limits, chunks and pages are drawn."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from postgres_harness import EMPTY_SCHEMA
from returns.future import FutureResult
from returns.result import Success
from small_limits import ONES, TWOS, cache_bytes, limits, requests, sizes

from perdure import App, Do, Limits, Signal, Task, TaskContext, Workflow, WorkflowContext, effect, program, tell
from perdure.programs import gather, sleep
from perdure.runtime.record import DEFAULT_SIZES, Sizes
from perdure.testing import WorkerDied, World
from perdure.testing.world.boundary import Requests
from perdure.testing.world.world import with_sizes
from perdure.values.answer import Done
from perdure.values.errors import Overloaded

word = Signal("word", str)


@effect
def act(services: object, text: str) -> FutureResult[str, str]:
    return FutureResult.from_value(text)


@program
def add(ctx: TaskContext[int], event: int) -> Do[None]:
    yield from ctx.update_state(lambda state: state + event)


counter = Task("counter", state=int, event=int, initial=0, on_event=add)


@program
def sized(ctx: WorkflowContext[int]) -> Do[str]:
    size = yield from ctx.state
    yield from sleep("1 second")
    return "c" * size


child = Workflow("child", state=int, run=sized, keep=None)


# ---------------------------------------------------------------- a drawn program
@attrs.frozen
class Act:
    """Perform a step."""


@attrs.frozen
class Nap:
    """Sleep a second."""


@attrs.frozen
class Take:
    """Receive a signal."""


@attrs.frozen
class Tell:
    """Send a message to a task."""


@attrs.frozen
class Raise:
    """Call a child, and receive its value."""

    size: int


@attrs.frozen
class Over:
    """Start over with the moves that remain."""


Simple: TypeAlias = Act | Nap | Take | Tell | Raise


@attrs.frozen
class Together:
    """Moves that run concurrently, some at the same time."""

    moves: tuple[Simple, ...]
    limit: int


Move: TypeAlias = Simple | Over | Together


@attrs.frozen
class Plan:
    """The state: the moves that remain, and the words so far."""

    moves: tuple[Move, ...]
    words: tuple[str, ...] = ()


@program
def moved(ctx: WorkflowContext[Plan], move: Move, place: str) -> Do[str, Any]:
    """Make one move, and return its word."""
    match move:
        case Act():
            return (yield from act("a"))
        case Nap():
            yield from sleep("1 second")
        case Take():
            return (yield from word.receive())
        case Tell():
            yield from tell(counter, ctx.id).send(1)
        case Raise(size):
            return (yield from child.call(f"{ctx.id}-{place}", size))
        case Together(moves, limit):
            each = [moved(ctx, one, f"{place}.{n}") for n, one in enumerate(moves)]
            return " ".join((yield from gather(*each, limit=limit)))
        case Over():
            pass
    return ""


@program
def following(ctx: WorkflowContext[Plan]) -> Do[tuple[str, ...], Any]:
    plan = yield from ctx.state
    words = plan.words
    for number, move in enumerate(plan.moves):
        words = (*words, (yield from moved(ctx, move, f"{len(words)}")))
        if isinstance(move, Over):
            yield from ctx.start_over(Plan(plan.moves[number + 1 :], words))
    return words


simple: st.SearchStrategy[Simple] = st.one_of(
    st.just(Act()),
    st.just(Nap()),
    st.just(Take()),
    st.just(Take()),
    st.just(Tell()),
    st.builds(Raise, st.integers(0, 40)),
)
moves: st.SearchStrategy[Move] = st.one_of(
    simple,
    simple,
    st.just(Over()),
    st.builds(Together, st.lists(simple, min_size=1, max_size=5).map(tuple), st.integers(1, 3)),
)


def takes_of(move: Move) -> int:
    if isinstance(move, Together):
        return sum(map(takes_of, move.moves))
    return int(isinstance(move, Take))


def expected(drawn: tuple[Move, ...]) -> tuple[Counter[str], int]:
    """Return the words of the outcome, and the messages that the task receives."""
    words: Counter[str] = Counter(f"w{n}" for n in range(sum(map(takes_of, drawn))))
    told = 0
    for one in [one for move in drawn for one in (move.moves if isinstance(move, Together) else (move,))]:
        if isinstance(one, Act):
            words["a"] += 1
        elif isinstance(one, Raise) and one.size:
            words["c" * one.size] += 1
        told += isinstance(one, Tell)
    return words, told


@attrs.define
class Operator:
    """Sends the signals, restarts the worker, and never repairs anything."""

    world: World

    def open(self) -> None:
        """Open the worker, which may die again."""
        while not self.world.is_open:
            with suppress(WorkerDied):
                self.world.open()

    def until(self, call: Any) -> Any:
        """Repeat a keyed call while the worker dies or the inbox is full."""
        for _ in range(200):
            self.open()
            try:
                found = self.world.attempt(call())
            except WorkerDied:
                continue
            if isinstance(found, Success):
                return found.unwrap()
            assert isinstance(found.failure(), Overloaded), found
            self.advance(1)
        raise AssertionError("the workflow does not receive its signals")

    def advance(self, seconds: int) -> None:
        self.open()
        with suppress(WorkerDied):
            self.world.advance(f"{seconds} seconds")
        self.open()


def check(
    place: str,
    *,
    drawn: tuple[Move, ...],
    limits: Limits,
    sizes: Sizes,
    requests: Requests,
    inbox: int,
    waits: list[int],
) -> None:
    job = Workflow("following", state=Plan, run=following, signals=(word,), inbox=inbox, keep=None)
    words, told = expected(drawn)
    app = App(None, limits=limits).with_jobs(job, child, counter)
    with with_sizes(World(app, store=place, requests=requests), sizes) as world:
        operator, flow = Operator(world), lambda: world.handle(job)
        operator.until(lambda: flow().start("f", Plan(drawn), idempotency_key="start"))
        for number in range(sum(map(takes_of, drawn))):
            wait = waits[number % len(waits)]
            if wait == 3:
                operator.until(lambda: flow().pause("f"))
                operator.advance(2)
                assert operator.until(lambda: flow().status("f")).parked is None  # no resumption repairs anything
                operator.until(lambda: flow().resume("f"))
            if wait == 0 and number < 2:  # a third death would park the run
                world.crash_after(3 + number)
            elif wait > 1:
                operator.advance(wait - 1)
            operator.until(lambda: flow().signal("f", word, f"w{number}", idempotency_key=f"w{number}"))  # noqa: B023
        operator.open()
        world.cancel_crash()
        for _ in range(len(drawn) * 5 + 5):
            operator.advance(2)
        status = operator.until(lambda: flow().status("f"))
        operator.until(lambda: flow().steps("f"))
        outcome = operator.until(lambda: flow().outcome("f"))
        assert isinstance(outcome, Done), (status, world.run(flow().steps("f")))
        assert Counter(each for text in outcome.value for each in text.split()) == words
        assert (operator.until(lambda: world.handle(counter).get_state("f")) or 0) == told
        assert not world.messages()


FAMILY = (
    Together((Raise(9),) * 5, 3),
    Over(),
    Take(),
    Take(),
    Over(),
    Take(),
    Tell(),
    Tell(),
    Together((Take(),) * 3, 2),
)


SMALL = Limits(replay_chunk=1, journal_page=1, messages_per_turn=1, message_batch=1, recovery_page=1)
DRAWN: dict[str, Any] = {
    "drawn": st.lists(moves, min_size=1, max_size=8).map(tuple),
    "limits": limits,
    "sizes": sizes,
    "requests": requests,
    "inbox": st.integers(1, 3),
    "waits": st.lists(st.integers(0, 3), min_size=1, max_size=4),
}


@given(**DRAWN)
@example(drawn=FAMILY, limits=SMALL, sizes=DEFAULT_SIZES, requests="single", inbox=2, waits=[1])
@example(drawn=FAMILY, limits=SMALL, sizes=ONES, requests="grouped", inbox=2, waits=[0, 1])
@settings(max_examples=100)
def test_every_healthy_workflow_ends(**drawn: Any) -> None:
    check("memory://", **drawn)


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_every_healthy_workflow_ends_on_a_real_store(store: str, tmp_path: Path) -> None:
    numbers = count()

    @given(**DRAWN, cache=cache_bytes)
    @example(drawn=FAMILY, limits=SMALL, sizes=DEFAULT_SIZES, requests="single", inbox=2, waits=[1], cache=0)
    @example(drawn=FAMILY, limits=SMALL, sizes=ONES, requests="grouped", inbox=2, waits=[0, 1], cache=0)
    @example(drawn=FAMILY, limits=SMALL, sizes=TWOS, requests="grouped", inbox=2, waits=[1], cache=0)
    @settings(max_examples=15)
    def play(*, cache: int, **drawn: Any) -> None:
        file = f"sqlite:///{tmp_path}/{next(numbers)}.db?durability=relaxed"
        url = file if store == "sqlite" else EMPTY_SCHEMA.url()
        check(f"{url}&cache={cache}", **drawn)

    play()

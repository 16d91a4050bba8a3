"""Every healthy history of tasks, continuous jobs and batches ends without an operator, however small the limits."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from typing import Any

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from postgres_harness import EMPTY_SCHEMA
from returns.future import FutureResult
from returns.result import Success
from small_limits import ONES, TWOS, cache_bytes, limits, requests, sizes

from perdure import (
    App,
    Continuous,
    ContinuousContext,
    Debounce,
    DebounceContext,
    Do,
    Limits,
    Task,
    TaskContext,
    effect,
    every,
    program,
    tell,
)
from perdure.programs import sleep
from perdure.runtime.record import DEFAULT_SIZES, Sizes
from perdure.stores.values import DEFAULT_CACHE_BYTES
from perdure.testing import WorkerDied, World
from perdure.testing.world.boundary import Requests
from perdure.testing.world.world import with_sizes
from perdure.values.errors import Overloaded


@attrs.frozen
class Move:
    """An event: add a number, perform an effect first, send it on, or set an alarm that adds it."""

    how: str
    amount: int = 1


@attrs.frozen
class Sum:
    total: int = 0
    later: int = 0


@effect
def act(services: object, number: int) -> FutureResult[int, str]:
    return FutureResult.from_value(number)


@program
def on_event(ctx: TaskContext[Sum], event: Move) -> Do[None, Any]:
    match event.how:
        case "tell":
            yield from tell(adder, f"told by {ctx.id}").send(Move("add", event.amount))
            return
        case "alarm":
            yield from ctx.update_state(lambda state: attrs.evolve(state, later=state.later + event.amount))
            yield from ctx.schedule(after=f"{event.amount * 300} ms")
            return
        case "act":
            yield from act(event.amount)
    yield from ctx.update_state(lambda state: attrs.evolve(state, total=state.total + event.amount))


@program
def on_alarm(ctx: TaskContext[Sum]) -> Do[None]:
    yield from ctx.update_state(lambda state: Sum(state.total + state.later))


@program
def on_tick(ctx: ContinuousContext[int]) -> Do[None, Any]:
    yield from sleep("2 seconds")
    yield from act(0)
    yield from ctx.update_state(lambda ticks: ticks + 1)


@program
def on_batched(ctx: DebounceContext[int], event: Move) -> Do[None]:
    yield from ctx.update_state(lambda total: total + event.amount)


@program
def on_flush(ctx: DebounceContext[int]) -> Do[None, Any]:
    yield from tell(adder, f"flushed by {ctx.id}").send(Move("add", (yield from ctx.state)))


adder: Any = Task("adder", state=Sum, event=Move, initial=Sum(), on_event=on_event, execute=on_alarm)
ticker: Any = Continuous("ticker", state=int, schedule=every("30 seconds"), execute=on_tick)
batch: Any = Debounce(
    "batch", state=int, initial=0, event=Move, on_event=on_batched, flush_after="2 seconds", execute=on_flush
)

DECLARED = ("declared 1", "declared 2", "declared 3")
MOVES = ("add", "act", "tell", "alarm")
OTHERS = ("batch", "burst", "restart", "crash", "crash after", "wait")
Step = tuple[str, int]
steps = st.lists(
    st.tuples(
        st.sampled_from((*MOVES, "batch", "burst", "restart", "crash", "crash after", "wait")), st.integers(1, 9)
    ),
    min_size=1,
    max_size=15,
)


@attrs.define
class Operator:
    """Makes keyed requests until each is accepted, restarts the worker, and never repairs anything."""

    world: World
    sent: int = 0
    planned_deaths: int = 0

    def until(self, *calls: Any) -> None:
        """Make calls at the same moment, and repeat those that a full queue refused, or whose worker died."""
        left = list(calls)
        for _ in range(100):
            if not left:
                return
            self.open()
            begun = [(call, self.world.start(call())) for call in left]
            left = []
            for call, made in begun:
                try:
                    found = made.result(patience="10 minutes")
                except WorkerDied:
                    left.append(call)
                    continue
                if not isinstance(found, Success):
                    assert isinstance(found.failure(), Overloaded), found
                    left.append(call)
            self.advance("100 ms")
        raise AssertionError("a request is never accepted")

    def open(self) -> None:
        while not self.world.is_open:
            with suppress(WorkerDied):
                self.world.open()

    def advance(self, by: str) -> None:
        self.open()
        with suppress(WorkerDied):
            self.world.advance(by)
        self.open()

    def send(self, how: str, amount: int, id_: str) -> Any:
        """Return a function that makes a request with a key of its own."""
        self.sent += amount
        key, job = f"k{self.sent}-{id_}", batch if how == "batch" else adder
        if how == "batch":
            return lambda: self.world.handle(job).add(id_, Move(how, amount), idempotency_key=key)
        return lambda: self.world.handle(job).send(id_, Move(how, amount), idempotency_key=key)

    def play(self, step: str, number: int) -> None:
        match step:
            case "burst":
                self.until(*(self.send(MOVES[each % 4], 1, "abc"[each % 3]) for each in range(number)))
            case "restart" if self.world.is_open:
                self.world.restart()
            case "crash" if self.planned_deaths < 2:
                self.planned_deaths += 1
                self.open()
                self.world.crash()
            case "crash after" if self.planned_deaths < 2:  # a run whose process died three times would be parked
                self.planned_deaths += 1
                self.open()
                self.world.crash_after(number)
            case "wait":
                self.advance(f"{number} seconds")
            case "add" | "act" | "tell" | "alarm" | "batch":
                self.until(self.send(step, number, "abc"[number % 3]))
            case _:
                pass


FULL = Limits(concurrency=2, mailbox_size=2, max_pending=2)
MIXED: list[Step] = [
    *[("burst", 9), ("burst", 9), ("batch", 3), ("crash after", 5)],
    *[("burst", 9), ("wait", 3), ("restart", 1), ("act", 2)],
]


@pytest.mark.parametrize("store", ["memory", "sqlite", "postgres"])
@settings(max_examples=25)
@given(limits=limits, sizes=sizes, given_=steps, requests=requests, seed=st.integers(0, 99), cache=cache_bytes)
@example(limits=FULL, sizes=DEFAULT_SIZES, given_=[("burst", 9)] * 3, requests="single", seed=0, cache=0)
@example(limits=FULL, sizes=ONES, given_=MIXED, requests="grouped", seed=0, cache=0)
@example(limits=Limits(), sizes=TWOS, given_=MIXED, requests="grouped", seed=0, cache=DEFAULT_CACHE_BYTES)
def test_every_healthy_history_ends_without_an_operator(
    *,
    store: str,
    limits: Limits,
    sizes: Sizes,
    given_: list[Step],
    requests: Requests,
    seed: int,
    cache: int,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        places = {"memory": "memory://", "sqlite": f"sqlite:///{folder}/jobs.db?durability=relaxed&cache={cache}"}
        at = places[store] if store in places else f"{EMPTY_SCHEMA.url()}&cache={cache}"
        app = App(object(), limits=limits).with_jobs(adder, ticker, batch)
        for id_ in DECLARED:
            app = app.ensuring(ticker, id_, lambda ticks: ticks.start(0))
        with with_sizes(World(app, store=at, seed=seed, requests=requests), sizes) as world:
            operator = Operator(world)
            operator.until(lambda: world.handle(ticker).start("t", 0, idempotency_key="start"))
            for step, number in given_:
                operator.play(step, number)
            world.cancel_crash() if world.is_open else operator.open()
            began = world.now
            for _ in range(6):
                operator.advance("20 seconds")
            rows = world.instances()
            assert [row.address for row in rows if row.status in {"parked", "left"}] == []
            assert {row.address.name for row in rows if row.status == "running"} <= {"ticker"}  # a tick takes a while
            assert world.messages() == ()
            assert world.run(world.jobs.dead_letters()) == ()
            totals = [
                world.run(world.handle(adder).get_state(row.address.id)) for row in rows if row.address.name == "adder"
            ]
            assert sum(each.total for each in totals) == operator.sent
            for id_ in ("t", *DECLARED):
                assert world.run(world.handle(ticker).get_state(id_)) >= (world.now - began).seconds // 40

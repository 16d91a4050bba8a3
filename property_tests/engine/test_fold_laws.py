"""Requests of one moment have the effects that they have one after the other, however the engine groups them."""

from __future__ import annotations

import asyncio
import tempfile
from collections import deque
from collections.abc import Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

from attrs import evolve, frozen
from hypothesis import example, given, settings
from hypothesis import strategies as st
from returns.result import Failure, Result, Success

from perdure import App, Do, Limits, Task, TaskContext, attempt, effect, fail, program, tell
from perdure.client.local_gateway import engine_of
from perdure.programs.future import awaited
from perdure.stores.contract import load_one, overlay
from perdure.stores.memory import MemoryBackend
from perdure.stores.sqlite import open_sqlite
from perdure.stores.values import Query
from perdure.values.errors import StoreUnavailable

FAR = datetime(2100, 1, 1, tzinfo=UTC)


@frozen
class Refused:
    why: str


@frozen
class Change:
    """An event, and its deed."""

    deed: str
    amount: int = 1


@frozen
class Total:
    total: int = 0
    seen: tuple[int, ...] = ()


@effect
def call(_: object) -> Result[None, Any]:
    """Reach outside."""
    return Success(None)


@program
def on_event(ctx: TaskContext[Total], event: Change) -> Do[None, Refused, object]:
    state = yield from ctx.state
    if event.deed == "refuse":
        yield from fail(Refused(f"at {state.total}"))
    if event.deed == "raise":
        raise ValueError(state.total)
    if event.deed == "even" and state.total % 2:
        yield from fail(Refused("odd"))
    if event.deed == "effect":
        yield from call()
    if event.deed == "end":
        yield from ctx.terminate("over")
    if event.deed == "tell":
        yield from tell(orders, "told").send(Change("add", event.amount))
    if event.deed == "alarm":
        yield from ctx.schedule(at=FAR)
    if event.deed == "no alarm":
        yield from ctx.cancel_schedule()
    if event.deed != "read":
        seen = (*state.seen, event.amount)[-5:]
        yield from ctx.set_state(evolve(state, total=state.total + event.amount, seen=seen))


@program
def execute(ctx: TaskContext[Total]) -> Do[None, Refused, object]:
    yield from call()
    yield from ctx.update_state(lambda state: evolve(state, total=-state.total))


orders: Any = Task("orders", state=Total, event=Change, initial=Total(), on_event=on_event, execute=execute)

deeds = ("add", "add", "add", "even", "read", "refuse", "raise", "effect", "alarm", "no alarm", "end")
changes = st.builds(Change, st.sampled_from(deeds), st.integers(1, 4))
to_a = st.tuples(st.just("send"), st.just("a"), changes | st.just(Change("tell")), st.none())
to_b = st.tuples(st.just("send"), st.just("b"), changes, st.none())
keyed = st.tuples(st.just("send"), st.just("a"), st.just(Change("add")), st.sampled_from(("k", "l")))
others = st.tuples(st.sampled_from(("trigger", "pause", "resume")), st.sampled_from("ab"), st.none(), st.none())
ends = st.tuples(st.just("terminate"), st.sampled_from("ab"), st.none(), st.none())  # ahead of others: alone
moments = st.lists(to_a | to_a | to_b | keyed | others, min_size=1, max_size=8) | st.tuples(ends)
histories = st.lists(moments, max_size=6)
BOTH_LOG_EVENTS: Any = [
    [("send", "a", Change("add"), None)],
    [("send", "a", Change("alarm"), None), ("send", "a", Change("no alarm"), None), ("pause", "a", None, None)],
]


def made(jobs: Any, call: Any) -> Any:
    verb, id_, event, key = call
    method = getattr(jobs.handle(orders), verb)
    return attempt(method(id_) if event is None else method(id_, event, idempotency_key=key))


def shown(answer: Any) -> object:
    """An answer without the parts that differ from run to run."""
    if isinstance(answer, Failure):
        error = answer.failure()
        return type(error).__name__, getattr(error, "error", None), getattr(error, "message", None)
    return answer.unwrap()


async def settled(jobs: Any) -> None:
    async with asyncio.timeout(120):
        while not engine_of(jobs).in_flight().is_empty or (await attempt(jobs.counts())).unwrap().messages:  # noqa: ASYNC110
            await asyncio.sleep(0)  # messages are delivered beside the calls


async def after(steps: int, call: Any) -> Any:
    """Make a call some steps of the event loop later: the turns before it may be on their way to the store."""
    for _ in range(steps):
        await asyncio.sleep(0)
    return await call


async def outcome(store: Any, history: Any, *, how: str, pace: int) -> object:
    """Play a history, and return everything that callers and the store show of it."""
    answers: list[object] = []
    app = App(object(), limits=Limits(concurrency=4)).with_jobs(orders)
    async with app.open(store, debug=how == "debug") as jobs:
        for step in history:
            if how == "one by one":
                answers += [shown(await made(jobs, one)) for one in step]
            else:
                answers += map(
                    shown, await asyncio.gather(*(after(at * pace, made(jobs, one)) for at, one in enumerate(step)))
                )
            await settled(jobs)
        rows = (await awaited(engine_of(jobs).store.find(Query(limit=9)))).unwrap()
        logged = (await awaited(engine_of(jobs).store.events(0, 999))).unwrap()
        events: dict[str, list[str]] = {}
        for entry in logged:
            events.setdefault(entry.event.address, []).append(entry.event.type)
        shown_rows = [
            (str(row.address), row.state, row.status, row.alarm_ms, row.suspension, row.run_count, row.event_count)
            for row in rows
        ]
        return answers, shown_rows, events


@asynccontextmanager
async def opened(kind: str) -> Any:
    if kind == "memory":
        yield MemoryBackend().open()
        return
    with tempfile.TemporaryDirectory(prefix="perdure-") as folder:
        yield await open_sqlite(
            f"{folder}/jobs.db", durability="relaxed", cache_bytes=0 if kind == "no cache" else 1 << 20
        )


def played(kind: str, history: Any, how: str, pace: int = 0) -> object:
    async def main() -> object:
        async with opened(kind) as store:
            return await outcome(store, history, how=how, pace=pace)

    return asyncio.run(main())


@given(
    histories,
    st.sampled_from(("memory", "sqlite", "sqlite", "no cache")),
    st.sampled_from(("together", "debug")),
    st.integers(0, 2),
)
@example(BOTH_LOG_EVENTS, "sqlite", "together", 0)
@settings(max_examples=40, deadline=None)
def test_requests_of_one_moment_are_as_requests_one_after_the_other(
    history: Any, kind: str, how: str, pace: int
) -> None:
    assert played(kind, history, how, pace) == played("memory", history, "one by one")


def test_a_turn_that_comes_while_others_are_written_is_decided_after_them() -> None:
    groups = deque[Callable[[], None]]()  # that have left, and are not carried out
    store = MemoryBackend().open()

    def commit(transitions: Any, answered: Any) -> None:
        groups.append(partial(store.commit, transitions, answered))

    async def answered(*calls: asyncio.Task[Any]) -> None:
        while not all(call.done() for call in calls):
            await asyncio.sleep(0)
            while groups:
                groups.popleft()()

    async def main() -> str:
        slow = overlay(store, commit=commit, synchronous=False)
        async with App(object()).with_jobs(orders).open(slow, debug=False) as jobs:
            handle = jobs.handle(orders)
            await answered(asyncio.create_task(attempt(handle.send("a", Change("add", 1)))))
            second = asyncio.create_task(attempt(handle.send("a", Change("add", 2))))
            while not groups:  # noqa: ASYNC110 - no event says it
                await asyncio.sleep(0)
            third = asyncio.create_task(attempt(handle.send("a", Change("add", 4))))
            for _ in range(9):  # its turn is decided meanwhile, if it does not wait
                await asyncio.sleep(0)
            await answered(second, third)
            stored: Any = (await awaited(load_one(store, orders.address("a"), None, 0))).unwrap().instance
            return str(stored.state)

    assert asyncio.run(main()) == '{"total":7,"seen":[1,2,4]}'


def refusing(store: Any) -> Any:
    """A store that cannot write messages, and says so as one that cannot write a text: of each transition alone."""

    def commit(transitions: Any, answered: Any) -> None:
        asyncio.get_running_loop().call_soon(write, transitions, answered)

    def write(transitions: Any, answered: Any) -> None:
        written = [one for one in transitions if not one.messages]
        store.commit(written, lambda stored: answered(filled(transitions, list(stored))))

    def filled(transitions: Any, stored: list[Any]) -> list[Any]:
        refused = Failure(StoreUnavailable("commit", "it cannot write a message"))
        return [refused if one.messages else stored.pop(0) for one in transitions]

    return overlay(store, commit=commit, synchronous=False)


@given(st.lists(st.lists(to_a | to_b | keyed | others, min_size=1, max_size=8), max_size=5), st.integers(0, 2))
@example([[("send", "a", Change("add"), None)], [("send", "a", Change(d), None) for d in ("add", "tell", "add")]], 0)
@settings(max_examples=30, deadline=None)
def test_a_turn_that_the_store_refuses_costs_no_neighbour_its_own(history: Any, pace: int) -> None:
    def of(how: str) -> object:
        return asyncio.run(outcome(refusing(MemoryBackend().open()), history, how=how, pace=pace))

    assert of("together") == of("one by one")

"""The kinds whose rows lie in ``kinds_N.sql``, and how the real engine writes each form that they store.

These jobs must continue to read those rows: change them only as a user would.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import attrs
from attrs import frozen
from returns.future import FutureResult
from returns.result import Success

from perdure import (
    App,
    Backoff,
    Decision,
    Do,
    ItemContext,
    Limit,
    Limits,
    PoolBatch,
    Promise,
    Published,
    Retry,
    Schedules,
    Signal,
    Stream,
    Task,
    Topic,
    Undo,
    Update,
    WorkerPool,
    Workflow,
    WorkflowContext,
    attribute,
    cron,
    effect,
    every,
    fail,
    patched,
    program,
    saga,
    tell,
)
from perdure.programs import gather, race, sleep
from perdure.testing import World

LIMITS = Limits(payload_bytes=2_000, history_retention="11000 days", idempotency_ttl="36500 days")


@frozen
class Order:
    """Attributes:
    program: which program runs.
    text: a text for it.
    cents: an amount for it.
    """

    program: str
    text: str = ""
    cents: int = 0


@frozen
class Declined:
    why: str


@attrs.define
class Services:
    """Attributes:
    heard: the texts that arrived.
    """

    heard: list[str] = attrs.Factory(list[str])

    def hear(self, text: str) -> FutureResult[str, Declined]:
        if text == "declined":
            return FutureResult.from_failure(Declined(text))
        self.heard.append(text)
        return FutureResult.from_value(text.upper())


@effect
def say(services: Services, text: str) -> FutureResult[str, Declined]:
    return services.hear(text)


approved, keyed, word = Signal("approved", str), Signal("keyed", int, by_key=True), Signal("word", str)
spend = Update("spend", int, int, Declined)
progress = Published("progress", int)
payment = Promise("payment", int, Declined)
tokens = Stream("tokens", str)


Context: TypeAlias = WorkflowContext[Order]


@program
def spent(cents: int) -> Do[int, Declined]:
    if cents > 100:
        yield from fail(Declined("too much"))
    yield from sleep("1 second")
    return cents + 1


@program
def booked(undo: Undo[Services], order: Order) -> Do[str, Declined, Services]:
    yield from undo.after(say(f"book {order.text}"), lambda _: say("unbook"))
    yield from undo.after(say("reserve"), lambda _: sleep("1 day").bind(lambda _: say("release")))
    return (yield from approved.receive())


@program
def after_a_day(text: str) -> Do[str, Declined, Services]:
    first = yield from say(text)
    yield from sleep("1 day")
    return first + (yield from say(f"{text} again"))


@program
def waits(ctx: Context) -> Do[Any, Any, Services]:
    return (yield from approved.receive().timeout("30 days"))


@program
def waits_by_key(ctx: Context) -> Do[Any, Any, Services]:
    yield from sleep("1 day")
    return (yield from keyed.for_key("k").receive())


@program
def large(ctx: Context) -> Do[Any, Any, Services]:
    text = yield from say("x" * 5_000)
    yield from sleep("1 day")
    return len(text)


@program
def answers(ctx: Context) -> Do[Any, Any, Services]:
    yield from progress.publish(7)
    yield from tokens.emit("one")
    yield from tokens.emit("two")
    first = yield from spend.answer(spent)
    yield from ctx.set_state(Order("answers", "changed"))
    second = yield from spend.answer(spent)
    yield from sleep("1 day")
    return f"{first} {second} {(yield from spend.answer(spent))}"


@program
def calls(ctx: Context) -> Do[Any, Any, Services]:
    one, other = yield from gather(*(children.call(f"{ctx.id} {n}", Order("sleeps", f"c{n}")) for n in range(2)))
    return f"{one} {other}"


@program
def again(ctx: Context) -> Do[Any, Any, Services]:
    order = yield from ctx.state
    if order.text != "over":
        yield from ctx.start_over(Order("again", "over"))
    return (yield from after_a_day("over"))


@program
def may_be_new(ctx: Context) -> Do[Any, Any, Services]:
    is_new = yield from patched("p")
    yield from sleep("1 day")
    return is_new


@program
def breaks(ctx: Context) -> Do[Any, Any, Services]:
    yield from say("before")
    raise RuntimeError("broken")


RETRY = Retry[object](max_attempts=3, delay=Backoff.constant("1 day"), jitter=False)
PROGRAMS: dict[str, Callable[[Context], Any]] = {
    "waits": waits,
    "by key": waits_by_key,
    "large": large,
    "answers": answers,
    "promise": lambda _: payment.wait(),
    "parent": calls,
    "parallel": lambda _: gather(after_a_day("left"), after_a_day("right")),
    "race": lambda _: race(approved.receive(), sleep("2 days")),
    "saga": lambda _: saga(booked, Order("saga", "trip")),
    "again": again,
    "patched": may_be_new,
    "fails": lambda _: say("declined"),
    "retries": lambda _: say("declined").retry(RETRY),
    "breaks": breaks,
    "done": lambda _: say("done"),
    "batch": lambda _: batches.done("waiting"),
}


@program
def run(ctx: Context) -> Do[str, Any, Services]:
    order = yield from ctx.state
    if order.program == "sleeps":
        return (yield from after_a_day(order.text[:20]))
    return str((yield from PROGRAMS[order.program](ctx)))


def job(name: str, **options: Any) -> Workflow[Any, Any, Any, Any]:
    given: dict[str, Any] = {
        "signals": (approved, keyed, word),
        "updates": (spend,),
        "publishes": (progress,),
        "promises": (payment,),
        "streams": (tokens,),
        "keep": None,
    }
    return Workflow(name, state=Order, run=run, **given | options)


children = job("children")
orders = job("orders")
limited = job("limited", concurrency=1)


# ---------------------------------------------------------------- pools, schedules, topics, attributes
@program
def work(ctx: ItemContext[str]) -> Do[str, Declined, Services]:
    item = yield from ctx.item
    if item == "long":
        yield from sleep("10 minutes")
    return (yield from say(item[:20]))


lines = Limit("lines", concurrency=2, rate=(100, "1 hour"))
pool = WorkerPool(
    "pool", item=str, work=work, keep="30 days", limits=[lines], retry=Retry(2, Backoff.constant("1 day"))
)


@frozen
class Add:
    text: str


@attribute
def amount(state: tuple[str, ...]) -> int:
    return len(state)


def note(state: tuple[str, ...], event: Add) -> Success[Decision[tuple[str, ...]]]:
    return Success(Decision((*state, event.text)))


notes = Task(
    "notes",
    state=tuple[str, ...],
    event=Add,
    initial=(),
    decide=note,
    attributes=[amount],
    accepted_in_events="payload",
)
batches = PoolBatch("batches", pool=pool)
table = Schedules("table", targets=(notes,))
news: Topic[Add] = Topic("news", event=Add, subscribers=(notes,))
JOBS = (orders, children, limited, pool, batches, notes, table, news)


def app(services: Services | None = None) -> App[Services]:
    return App(services or Services(), limits=LIMITS).with_jobs(*JOBS)


# ---------------------------------------------------------------- the scene
TEXTS = ("sleeps", "large", "parent", "parallel", "saga", "again", "patched", "fails", "retries", "breaks", "batch")


def write_scene(place: Path) -> None:
    """Leave a file with each form that these kinds store."""
    with World(app(), store=place, seed=1, debug=False) as world:
        begin_workflows(world)
        begin_others(world)
        world.advance("1 minute")
        use_workflows(world)
        use_others(world)
        world.settle()
        world.run(world.handle(pool).put("busy", "long"))
        world.advance("10 ms")
        world.crash()


def begin_workflows(world: World) -> None:
    flows = world.handle(orders)
    for text in (*TEXTS, "waits", "by key", "answers", "promise", "race", "done", "paused", "stopped"):
        state = Order("sleeps" if text in {"paused", "stopped"} else text, text)
        world.run(flows.start(text, state, idempotency_key=text))
    world.run(flows.start("later", Order("sleeps", "later"), after="1 hour", within="9 days"))
    world.run(flows.start("large state", Order("sleeps", "large state, " * 500)))
    world.run(flows.signal_with_start("signalled", word, "hello", Order("waits")))
    for number in range(3):
        world.run(world.handle(limited).start(str(number), Order("sleeps", f"limited {number}")))


def use_workflows(world: World) -> None:
    flows = world.handle(orders)
    world.run(flows.signal("by key", keyed.for_key("k"), 5))
    world.run(flows.signal("sleeps", approved, "early", idempotency_key="signal"))
    world.run(flows.pause("paused"))
    world.run(flows.cancel("saga", "enough", idempotency_key="enough"))
    world.run(flows.cancel("stopped", "stop"))
    world.run(flows.complete("promise", payment, 5, idempotency_key="paid"))
    world.run(flows.update("answers", spend, 5, idempotency_key="first"))
    world.error_of(flows.update("answers", spend, 500, idempotency_key="second"))
    world.run(flows.send_update("answers", spend, 7, idempotency_key="third"))
    world.run(flows.fork("forked", "parallel"))
    world.advance("1 s")


def begin_others(world: World) -> None:
    items, of = world.handle(pool), world.handle
    world.run(items.put("done", "done", idempotency_key="item"))
    world.run(items.put("declined", "declined"))
    world.run(items.put("later", "later", after="2 days"))
    world.run(items.put("large", "x" * 5_000))
    world.run(of(batches).put("open", {"b1": "one", "b2": "declined"}))
    world.run(of(batches).put("sealed", {"b3": "three"}, idempotency_key="batch"))
    world.run(of(batches).seal("sealed"))
    world.run(of(batches).put("waiting", {"b4": "four"}, after="2 days"))
    world.run(of(batches).seal("waiting"))
    for id_ in ("a", "b"):
        world.run(of(notes).send(id_, Add("first"), idempotency_key=id_))
        world.run(of(news).subscribe("eur", notes.address(id_)))
    message = tell(notes, "a").send(Add("nightly"))
    world.run(of(table).put("nightly", cron("0 3 * * *"), message))
    world.run(of(table).put("paused", every("1 hour", align="start"), message))


def use_others(world: World) -> None:
    of = world.handle
    world.run(of(table).pause("paused"))
    world.run(of(notes).pause("b"))
    world.run(of(news).publish("eur", Add("published"), idempotency_key="event"))
    world.run(of(notes).hold())
    world.run(of(news).publish("eur", Add("waits")))
    world.run(world.jobs.set_limit("lines", concurrency=3))

"""What waits in topics, schedules and queues of starts, in ``waiting_N.sql``: change the jobs only as a user would."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from attrs import frozen

from perdure import (
    App,
    Do,
    Limits,
    Schedules,
    Signal,
    Task,
    TaskContext,
    Topic,
    Workflow,
    WorkflowContext,
    cron,
    every,
    program,
    tell,
)
from perdure.testing import World

START = datetime(2026, 1, 1, tzinfo=UTC)


@frozen
class Make:
    """A report to make, for the instant of a schedule."""

    topic: str
    day: datetime | None = None


@frozen
class Price:
    """An event of a topic."""

    cents: int


@program
def note_report(ctx: TaskContext[tuple[Make, ...]], event: Make) -> Do[None]:
    yield from ctx.update_state(lambda made: (*made, event))


@program
def note_price(ctx: TaskContext[tuple[int, ...]], event: Price) -> Do[None]:
    yield from ctx.update_state(lambda seen: (*seen, event.cents))


@program
def watch(ctx: WorkflowContext[int]) -> Do[int]:
    most = yield from ctx.state
    price = yield from prices.receive("eur", where=lambda price: price.cents < most)
    return price.cents


@program
def imported(ctx: WorkflowContext[str]) -> Do[str]:
    number = yield from go.receive()
    return f"{(yield from ctx.state)} {number}"


go = Signal("go", int)
reports = Task("reports", state=tuple[Make, ...], event=Make, initial=(), on_event=note_report)
table = Schedules("table", targets=(reports,))
notes = Task("notes", state=tuple[int, ...], event=Price, initial=(), on_event=note_price)
far = Task("far", state=tuple[int, ...], event=Price, initial=(), on_event=note_price)
prices: Topic[Price] = Topic("prices", event=Price, subscribers=lambda: (notes, far, watcher))
watcher = Workflow("watcher", state=int, run=watch, signals=(prices.signal,))
imports = Workflow("imports", state=str, run=imported, signals=(go,), concurrency=1)

LIMITS = Limits(history_retention="11000 days", idempotency_ttl="36500 days")
SERVED = (reports, table, notes, prices, watcher, imports)
all_jobs = App(None, limits=LIMITS).with_jobs(*SERVED, far)
without_far = App(None, limits=LIMITS).with_jobs(*SERVED)


def write_waiting(path: Path) -> None:
    """Leave a file with a row in each form that these kinds store."""
    with World(all_jobs, store=path, at_end="leave") as world:
        _schedules(world)
        _subscriptions(world)
        for id_ in "abc":
            world.run(world.handle(imports).start(id_, id_))
        world.run(world.handle(imports).signal("b", go, 2))
        world.run(world.handle(imports).pause("c"))
        world.restart(without_far)
        _events(world)
        world.crash()


def _schedules(world: World) -> None:
    handle = world.handle(table)
    message = tell(reports, "eu").send(Make("sales"))
    aligned = every("1 minute", align="start", catch_up="all", catch_up_limit=3)
    world.run(handle.put("often", aligned, message, tick_field="day", idempotency_key="put"))
    world.run(handle.put("daily", cron("0 6 * * *", tz="Europe/Berlin"), message))
    world.run(handle.put("paused", aligned, message))
    world.run(handle.pause("paused"))
    world.advance("150 seconds")
    first, last = START.replace(year=2025), START.replace(year=2025, minute=3)
    world.run(handle.backfill("often", start=first, end=last, idempotency_key="backfill"))
    world.settle()


def _subscriptions(world: World) -> None:
    handle = world.handle(prices)
    for job in (notes, far):
        world.run(world.handle(job).send("a", Price(0)))
        world.run(handle.subscribe("eur", job.address("a"), idempotency_key=job.name))
        world.run(handle.subscribe("usd", job.address("a")))
    world.run(handle.unsubscribe("usd", notes.address("a"), idempotency_key="unsubscribe"))
    world.run(world.handle(watcher).start("w", 50))
    world.settle()


def _events(world: World) -> None:
    """Events that were sent and wait for code that serves their subscriber, and some that wait in the topic."""
    handle = world.handle(prices)
    world.run(handle.publish("eur", Price(80), idempotency_key="publish"))
    world.settle()
    world.run(handle.pause("usd"))
    world.run(handle.publish("usd", Price(70)))
    world.settle()

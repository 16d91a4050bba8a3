"""A store with all kinds of jobs in most of their statuses. The seed determines every byte of it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from attrs import evolve, frozen
from returns.result import Failure, Result, Success

from perdure import (
    Alarm,
    App,
    Backoff,
    BatchContext,
    Continuous,
    ContinuousContext,
    Debounce,
    DebounceContext,
    Decision,
    Do,
    ItemContext,
    Limit,
    Limits,
    PoolBatch,
    Promise,
    Published,
    Retry,
    Secret,
    Signal,
    StateQuery,
    Stream,
    Task,
    TaskContext,
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
    program,
    saga,
    tell,
)
from perdure.programs import gather, sleep
from perdure.testing import World
from perdure.testing.world import Clock

START = datetime(2100, 1, 1, 12, tzinfo=UTC)
"""When the scene begins: no alarm of it is due, and no key expires, while the tests run."""


@frozen
class Unreachable:
    host: str


@effect
def post(_: object, where: str) -> Result[str, Unreachable]:
    """Answer at once; a place that begins with an x cannot be reached."""
    return Failure(Unreachable(where)) if where.startswith("x") else Success(f"posted to {where}")


# ---------------------------------------------------------------- orders: a machine of states
LOST = 9_999
"""So many cents, and the message to the parcels becomes a dead letter."""


@frozen
class Placed:
    cents: int
    card: Annotated[str, Secret] = "4111-1111"


@frozen
class Paid:
    cents: int


@frozen
class Order:
    stage: str = "new"
    cents: int = 0
    card: Annotated[str, Secret] = ""


def decide(order: Order, event: Placed | Paid) -> Result[Decision[Order], str]:
    match order.stage, event:
        case "new", Placed(cents, card):
            return Success(Decision(Order("pending", cents, card), Alarm.after("30 minutes")))
        case "pending", Paid(cents) if cents >= order.cents:
            told = tell(parcels, "warehouse").send("broken" if cents == LOST else f"an order of {cents} cents")
            return Success(Decision(evolve(order, stage="paid"), Alarm.clear, messages=(told,)))
        case _:
            return Failure(f"{type(event).__name__} is illegal in {order.stage}")


@program
def expire(ctx: TaskContext[Order]) -> Do[None]:
    yield from ctx.terminate("unpaid")


@attribute
def cents(state: Order) -> int:
    return state.cents


@attribute
def stage(state: Order) -> str:
    return state.stage


# ---------------------------------------------------------------- parcels: refuse, fail, are retried, are parked
@program
def pack(ctx: TaskContext[list[str]], event: str) -> Do[None, Unreachable, object]:
    if event == "broken":
        raise ValueError("a parcel without a label")
    yield from post(event)
    yield from ctx.update_state(lambda packed: [*packed, event])
    yield from ctx.schedule(after="3 hours")


@program
def send_off(ctx: TaskContext[list[str]]) -> Do[None, Unreachable, object]:
    yield from post(ctx.id)
    yield from ctx.set_state([])


# ---------------------------------------------------------------- recurring work, batches, a pool
@program
def update_rates(ctx: ContinuousContext[int]) -> Do[None, Unreachable, object]:
    yield from post(ctx.id)
    yield from ctx.update_state(lambda count: count + 1)


@program
def post_digest(ctx: DebounceContext[list[str]]) -> Do[None, Unreachable, object]:
    yield from post(ctx.id)
    yield from ctx.set_state([])


@program
def collect(ctx: DebounceContext[list[str]], event: str) -> Do[None]:
    yield from ctx.update_state(lambda lines: [*lines, event])


@program
def mail_one(ctx: ItemContext[str]) -> Do[str, Unreachable, object]:
    return (yield from post((yield from ctx.item)))


@program
def mailed(ctx: BatchContext) -> Do[None, Unreachable, object]:
    end = yield from ctx.state
    yield from post(f"{end.done} of {end.put}")


# ---------------------------------------------------------------- workflows
approval = Signal("approval", str)
tracking = Published("tracking", str)
payment = Promise("payment", int, str)
words = Stream("words", str)


def fewer(left: int, by: int) -> int:
    return max(0, left - by)


rename = Update("rename", str, int, Unreachable)
rest = StateQuery("rest", int, int, fewer)


@program
def packing(ctx: WorkflowContext[str]) -> Do[str, Unreachable, object]:
    yield from sleep("1 hour")
    return (yield from post((yield from ctx.state)))


@program
def undoing(undo: Undo[object]) -> Do[str, Unreachable, object]:
    yield from undo.after(post("hotel"), lambda _: post("no hotel"))
    return (yield from post("xflight"))


@program
def travel(ctx: WorkflowContext[int]) -> Do[str, Any, object]:
    number = yield from ctx.state
    yield from words.emit(f"trip {number}")
    flight = yield from post(f"flight-{number}")
    yield from tracking.publish(flight)
    if number == 1:
        return flight
    if number == 2:
        return (yield from saga(undoing))
    if number == 3:
        return (yield from approval.receive().timeout("2 days"))
    if number == 4:
        return str((yield from payment.wait()))
    if number == 5:
        return ", ".join((yield from gather(*(boxes.call(f"{ctx.id}-{n}", place) for n, place in enumerate("ab")))))
    if number == 6:
        raise ZeroDivisionError("a trip has no parts")
    yield from gather(sleep("3 days"), sleep("5 days"))
    return "slept"


@program
def refuse(ctx: WorkflowContext[int]) -> Do[str, Unreachable, object]:
    yield from fail(Unreachable("never"))
    return str((yield from ctx.state))


carrier = Limit("carrier", concurrency=20, rate=(100, "1 minute"))

orders = Task(
    "orders", state=Order, event=Placed | Paid, initial=Order(), decide=decide, execute=expire,
    attributes=(cents, stage), accepted_in_events="payload",
)  # fmt: skip
parcels = Task(
    "parcels", state=list[str], event=str, initial=[], on_event=pack, execute=send_off, errors=Unreachable,
    retry=Retry(2, Backoff.constant("10 minutes"), jitter=False), limits=[carrier],
)  # fmt: skip
rates = Continuous(
    "exchange-rates", state=int, schedule=cron("30 6 * * mon-fri", tz="Europe/Berlin"), execute=update_rates,
    retry=Retry(4, Backoff.exponential("1 minute"), jitter=False), runs=2,
)  # fmt: skip
checks = Continuous("checks", state=int, schedule=every("1 hour"), execute=update_rates)
digests = Debounce(
    "digests", event=str, state=list[str], initial=[], on_event=collect, execute=post_digest,
    flush_after="1 hour", max_events=50,
)  # fmt: skip
mails = WorkerPool(
    "mails", item=str, work=mail_one, workers=2, key=lambda place: place[0], workers_per_key=1,
    rate=(100, "1 minute"), retry=Retry(1, Backoff.constant("5 minutes"), jitter=False),
)  # fmt: skip
campaigns = PoolBatch("campaigns", pool=mails, on_done=mailed)
boxes = Workflow("boxes", state=str, run=packing)
trips = Workflow(
    "trips", state=int, run=travel, signals=(approval,), publishes=(tracking,), promises=(payment,), streams=(words,),
    updates=(rename,), queries=(rest,), result=str, errors=Unreachable | str,
)  # fmt: skip
refusals = Workflow("refusals", state=int, run=refuse)

app = App(object(), limits=Limits(message_deliveries=1)).with_jobs(
    orders, parcels, rates, checks, digests, mails, campaigns, boxes, trips, refusals
)


def play(path: Path) -> int:
    """Write the store, and return the time at its end, in milliseconds since 1970."""
    with World(app, store=path, clock=Clock(START), at_end="leave", debug=True) as world:
        _send(world)
        _put(world)
        _travel(world)
        world.advance("25 minutes")
        world.run(world.handle(orders).pause("2100-0005", idempotency_key="pause-5"))
        world.run(world.handle(trips).pause("7"))
        world.run(world.handle(checks).hold())
        world.close()
        return world.now_ms


def _send(world: World) -> None:
    order, parcel = world.handle(orders), world.handle(parcels)
    for number in range(1, 8):
        world.run(order.send(f"2100-{number:04}", Placed(1_000 + 37 * number), idempotency_key=f"order-{number}"))
    world.run(order.send("2100-0003", Paid(5_000)))
    world.run(order.send("2100-0006", Paid(LOST)))
    world.attempt(order.send("2100-0003", Paid(5_000), idempotency_key="again"))
    world.attempt(order.send("2100-0004", Paid(13)))
    world.run(parcel.send("ada", "a cup"))
    world.run(parcel.send("xavier", "a pot"))
    world.attempt(parcel.send("ada", "broken"))
    world.run(parcel.trigger("xavier"))
    world.run(order.send("broken", Placed(1)))
    world.run(world.handle(rates).start("ecb", 0))
    world.run(world.handle(checks).start("xdns", 0))
    world.run(world.handle(checks).start("dns", 0))
    for line in ("shipped", "paid", "returned"):
        world.run(world.handle(digests).add("ada@example.com", line))
    world.run(world.handle(digests).add("xenia@example.com", "shipped"))
    world.run(world.handle(digests).flush("xenia@example.com"))


def _put(world: World) -> None:
    mail, batch = world.handle(mails), world.handle(campaigns)
    for place in ("berlin", "bonn", "paris", "xanten"):
        world.run(mail.put(place, place))
    world.run(mail.put("later", "lima", after="2 days"))
    world.run(batch.put("spring", {f"spring-{place}": place for place in ("bath", "xian")}))
    world.run(batch.seal("spring"))


def _travel(world: World) -> None:
    trip = world.handle(trips)
    for number in range(1, 8):
        world.attempt(trip.start(str(number), number))
    world.attempt(world.handle(refusals).start("r", 1))
    world.run(trip.signal("7", approval, "early"))

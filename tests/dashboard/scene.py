"""An app with instances in every status, which tests in a browser serve in another process."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from attrs import evolve, frozen
from reminder.definition import Reminder
from returns.result import Failure, Result, Success

from perdure import (
    Alarm,
    App,
    Backoff,
    Continuous,
    ContinuousContext,
    Debounce,
    DebounceContext,
    Decision,
    Do,
    Limits,
    Program,
    Retry,
    Secret,
    Task,
    TaskContext,
    attempt,
    cron,
    every,
    fail,
    program,
    tell,
)
from perdure.client.client import Client
from perdure.client.local_gateway import engine_of


# ---------------------------------------------------------------- an order: a state machine with messages
@frozen
class Placed:
    cents: int
    card: Annotated[str, Secret] = "4111-1111"


@frozen
class Paid:
    cents: int


OrderEvent: TypeAlias = Placed | Paid


@frozen
class Order:
    stage: Literal["new", "pending", "paid"] = "new"
    cents: int = 0
    card: Annotated[str, Secret] = ""


@frozen
class NoStock:
    article: str


def handle(order: Order, event: OrderEvent) -> Result[Decision[Order], str]:
    match order.stage, event:
        case "new", Placed(cents, card):
            return Success(Decision(Order("pending", cents, card), Alarm.after("30 minutes")))
        case "pending", Paid(cents) if cents >= order.cents:
            shipment = tell(shipments, "warehouse-1").send(Shipped("an order", cents))
            return Success(Decision(evolve(order, stage="paid"), Alarm.clear, messages=(shipment,)))
        case _:
            return Failure(f"{type(event).__name__} is illegal in {order.stage}")


def expire(ctx: TaskContext[Order]) -> Program[Any, Any, Any]:
    return ctx.terminate("unpaid")


# ---------------------------------------------------------------- a shipment: refuses some events
@frozen
class Shipped:
    content: str
    cents: int


@frozen
class Shipment:
    count: int = 0


def ship(ctx: TaskContext[Shipment], event: Shipped) -> Do[None, NoStock]:
    if event.cents == 13:
        raise ValueError(f"no label for {event.content} of {event.cents} cents")
    state = yield from ctx.state
    yield from ctx.set_state(Shipment(state.count + 1))


# ---------------------------------------------------------------- an invoice: fails, is retried, is parked
@frozen
class Invoice:
    number: str = ""


@frozen
class Unreachable:
    host: str


def note(ctx: TaskContext[Invoice], event: str) -> Do[None]:
    yield from ctx.set_state(Invoice(event))
    yield from ctx.schedule(after="1 ms")


def send_invoice(ctx: TaskContext[Invoice]) -> Do[None, Unreachable]:
    yield from fail(Unreachable(f"mail-{ctx.attempt}.example.com"))


def post_invoice(ctx: TaskContext[Invoice]) -> Do[None]:
    yield from ctx.set_state(Invoice("printing"))
    raise ConnectionResetError("the printer reset the connection")


# ---------------------------------------------------------------- recurring work
@frozen
class Rates:
    updates: int = 0


def update_rates(ctx: ContinuousContext[Rates]) -> Do[None]:
    yield from ctx.update_state(lambda rates: Rates(rates.updates + 1))


def watch(ctx: ContinuousContext[Rates]) -> Do[None, Unreachable]:
    state = yield from ctx.state
    yield from ctx.set_state(Rates(state.updates + 1))
    if ctx.id == "mail" and state.updates % 3 == 0:
        yield from fail(Unreachable("mail.example.com"))


# ---------------------------------------------------------------- batches
def post(ctx: DebounceContext[list[str]]) -> Do[None]:
    yield from ctx.set_state([])


def collect(ctx: DebounceContext[list[str]], event: str) -> Do[None]:
    yield from ctx.update_state(lambda lines: [*lines, event])


def remind(ctx: Any) -> Program[None]:
    return ctx.terminate("reminded")


orders = Task("orders", state=Order, event=OrderEvent, initial=Order(), decide=handle, execute=expire)
shipments = Task("shipments", state=Shipment, event=Shipped, initial=Shipment(), on_event=program(ship))
invoices = Task(
    "invoices",
    state=Invoice,
    event=str,
    initial=Invoice(),
    on_event=program(note),
    execute=program(send_invoice),
    retry=Retry(2, Backoff.constant("1 ms"), jitter=False),
)
printed = Task(
    "printed-invoices",
    state=Invoice,
    event=str,
    initial=Invoice(),
    on_event=program(note),
    execute=program(post_invoice),
    retry=Retry(20, Backoff.constant("10 minutes")),
)
rates = Continuous(
    "exchange-rates",
    state=Rates,
    schedule=cron("30 6 * * mon-fri", tz="Europe/Berlin"),
    execute=program(update_rates),
    start_immediately=False,
    runs=2,
)
checks = Continuous("checks", state=Rates, schedule=every("1 second", align="start"), execute=program(watch))
digests = Debounce(
    "digests",
    event=str,
    state=list[str],
    initial=[],
    on_event=program(collect),
    execute=program(post),
    flush_after="1 hour",
    max_events=50,
)
reminders = Reminder.of("reminders", remind)

app = App(None, limits=Limits(message_deliveries=1)).with_jobs(
    orders, shipments, invoices, printed, rates, checks, digests, reminders
)


async def seed(jobs: Client) -> None:
    """Make instances in every status."""
    order = jobs.handle(orders)
    for number in range(1, 61):
        await order.send(f"2026-{number:04}", Placed(1_000 + 37 * number))
    for number in (3, 7, 9):
        await order.send(f"2026-{number:04}", Paid(99_000))
    await order.send("2026-unlucky", Placed(13))
    await order.send("2026-unlucky", Paid(13))
    await order.pause("2026-0012")
    for number in ("R-100", "R-101"):
        await jobs.handle(invoices).send(number, "for an order")
    await jobs.handle(printed).send("P-7", "for an order")
    await jobs.handle(rates).start("ecb", Rates())
    for line in ("shipped", "paid", "returned"):
        await jobs.handle(digests).add("ada@example.com", line)
    await attempt(jobs.handle(reminders).wish("tea", "the tea is ready"))
    await _settled(jobs)


async def _settled(jobs: Client) -> None:
    """Read until the message is a dead letter and each run has failed as it should."""
    for _ in range(10_000):
        parked, retrying = await jobs.list(status="parked"), await jobs.list(status="retrying")
        if len(parked) == 2 and len(retrying) == 1 and await jobs.dead_letters():
            return
        await engine_of(jobs).runtime.sleep(1)
    raise AssertionError("the scene does not settle")


async def watch_services(jobs: Client) -> None:
    """Start recurring work that fails now and then."""
    for id_ in ("database", "mail", "search"):
        await jobs.handle(checks).start(id_, Rates())

"""A task: an order. A pure state machine, and a thin program around it."""

from __future__ import annotations

from typing import Literal, TypeAlias, assert_never

from attrs import evolve, frozen
from returns.result import Failure, Result, Success

from perdure import (
    Alarm,
    Decision,
    Do,
    Task,
    TaskContext,
    lift,
    program,
    succeed,
    tell,
)
from perdure.examples.mail import HasMailer, MailBounced, send_mail
from perdure.examples.token_refresher import token_refresher
from perdure.values.times import Duration


@frozen
class OrderPlaced:
    """A customer ordered, for an amount in cents."""

    owner: str
    amount: int


@frozen
class PaymentReceived:
    """A payment arrived, an amount in cents."""

    amount: int


@frozen
class Shipped:
    """The parcel left."""

    tracking: str


@frozen
class Delivered:
    """The parcel arrived."""


@frozen
class Cancelled:
    """The customer changed their mind."""

    reason: str


OrderEvent: TypeAlias = OrderPlaced | PaymentReceived | Shipped | Delivered | Cancelled
OrderStatus: TypeAlias = Literal[
    "new", "pending", "paid", "shipped", "delivered", "cancelled"
]


@frozen
class Order:
    """One order's stored state. Amounts are in cents."""

    status: OrderStatus = "new"
    owner: str = ""
    amount: int = 0
    paid: int = 0
    tracking: str = ""


@frozen
class IllegalTransition:
    """The event does not fit the order's status."""

    status: str
    event: str


@frozen(kw_only=True)
class Patience:
    """How long an order waits for payment, and between questions about its parcel."""

    payment: Duration = "5 minutes"
    parcel: Duration = "24 hours"


USUAL = Patience()


def decide_order(  # noqa: PLR0911 - one return for each transition
    order: Order, event: OrderEvent, patience: Patience = USUAL
) -> Result[Decision[Order], IllegalTransition]:
    """Decide the effect of an event on an order. The complete state machine, pure."""
    match order.status, event:
        case "new", OrderPlaced(owner, amount):
            placed = Order("pending", owner, amount)
            return Success(Decision(placed, Alarm.after(patience.payment)))
        case "pending", PaymentReceived(amount):
            paid = order.paid + amount
            if paid < order.amount:
                return Success(Decision(evolve(order, paid=paid), Alarm.keep))
            return Success(
                Decision(evolve(order, paid=paid, status="paid"), Alarm.clear)
            )
        case "paid", Shipped(tracking):
            shipped = evolve(order, status="shipped", tracking=tracking)
            return Success(Decision(shipped, Alarm.after(patience.parcel)))
        case "shipped", Delivered():
            return Success(
                Decision(evolve(order, status="delivered"), Alarm.after("0 s"))
            )
        case (("pending" | "paid"), Cancelled()):
            return Success(
                Decision(evolve(order, status="cancelled"), Alarm.after("0 s"))
            )
        case _:
            return Failure(IllegalTransition(order.status, type(event).__name__))


def notice(order_id: str, event: OrderEvent) -> str:
    """Return the text that notifies an event's customer."""
    match event:
        case OrderPlaced(_, amount):
            return f"{order_id}: thank you for your order of {amount / 100:.2f}"
        case PaymentReceived(amount):
            return f"{order_id}: we received {amount / 100:.2f}"
        case Shipped(tracking):
            return f"{order_id}: shipped, tracking {tracking}"
        case Delivered():
            return f"{order_id}: delivered"
        case Cancelled(reason):
            return f"{order_id}: cancelled, {reason}"
        case _:
            assert_never(event)


@program
def on_order_event(
    ctx: TaskContext[Order], event: OrderEvent, patience: Patience = USUAL
) -> Do[None, IllegalTransition | MailBounced, HasMailer]:
    """Call the state machine, notify the customer, apply the decision."""
    order = yield from ctx.state
    decision = yield from lift(decide_order(order, event, patience))
    yield from send_mail(ctx.run_id, decision.state.owner, notice(ctx.id, event))
    if decision.state.status == "shipped":
        yield from tell(token_refresher, decision.state.owner).trigger()
    yield from ctx.apply(decision)


@program
def on_order_alarm(
    ctx: TaskContext[Order], patience: Patience = USUAL
) -> Do[None, MailBounced, HasMailer]:
    """Run when the alarm fires: remind the customer, or end the order."""
    order = yield from ctx.state
    match order.status:
        case "pending":
            yield from ctx.terminate("unpaid")
        case "shipped":
            yield from send_mail(ctx.run_id, order.owner, f"{ctx.id}: is it there yet?")
            yield from ctx.schedule(after=patience.parcel)
        case "delivered" | "cancelled":
            yield from ctx.terminate(order.status)
        case "new" | "paid":
            yield from succeed(None)
        case _:
            assert_never(order.status)


order_processor = Task(
    "order-processor",
    state=Order,
    event=OrderEvent,
    initial=Order(),
    on_event=on_order_event,
    execute=on_order_alarm,
)

"""A task: the life of an order. A pure state machine, and a thin program around it."""

from __future__ import annotations

from typing import Literal, TypeAlias

from attrs import evolve, frozen
from returns.result import Failure, Result, Success
from typing_extensions import assert_never

from perdure import After, Cancel, Decision, Do, Keep, Task, TaskContext, lift, program, succeed, tell
from perdure.examples.mail import HasMailer, MailBounced, send_mail
from perdure.examples.token_refresher import token_refresher


@frozen
class OrderPlaced:
    """A customer ordered, for an amount in cents."""

    owner: str
    amount: int


@frozen
class PaymentReceived:
    """Money came, an amount in cents."""

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
OrderStatus: TypeAlias = Literal["new", "pending", "paid", "shipped", "delivered", "cancelled"]


@frozen
class Order:
    """What is stored of one order; amounts are in cents."""

    status: OrderStatus = "new"
    owner: str = ""
    amount: int = 0
    paid: int = 0
    tracking: str = ""


@frozen
class IllegalTransition:
    """The event does not fit the status of the order."""

    status: str
    event: str


def decide_order(order: Order, event: OrderEvent) -> Result[Decision[Order], IllegalTransition]:
    """Decide what an event does to an order: the whole state machine, without any effect."""
    match order.status, event:
        case "new", OrderPlaced(owner, amount):
            return Success(Decision(Order("pending", owner, amount), After("5 minutes")))
        case "pending", PaymentReceived(amount):
            paid = order.paid + amount
            if paid < order.amount:
                return Success(Decision(evolve(order, paid=paid), Keep()))
            return Success(Decision(evolve(order, paid=paid, status="paid"), Cancel()))
        case "paid", Shipped(tracking):
            return Success(Decision(evolve(order, status="shipped", tracking=tracking), After("24 hours")))
        case "shipped", Delivered():
            return Success(Decision(evolve(order, status="delivered"), After("0 s")))
        case ("new" | "pending" | "paid"), Cancelled():
            return Success(Decision(evolve(order, status="cancelled"), After("0 s")))
        case _:
            return Failure(IllegalTransition(order.status, type(event).__name__))


@program
def on_order_event(
    ctx: TaskContext[Order], event: OrderEvent
) -> Do[None, IllegalTransition | MailBounced, HasMailer]:
    """Ask the state machine, tell the customer, adopt the decision."""
    order = yield from ctx.state
    decision = yield from lift(decide_order(order, event))
    if decision.state.status == "shipped":
        yield from send_mail(decision.state.owner, f"shipped: {decision.state.tracking}")
        yield from tell(token_refresher, decision.state.owner).trigger()
    yield from ctx.apply(decision)


@program
def on_order_alarm(ctx: TaskContext[Order]) -> Do[None, MailBounced, HasMailer]:
    """Do what is due: remind, or end."""
    order = yield from ctx.state
    match order.status:
        case "pending":
            yield from ctx.terminate("unpaid")
        case "shipped":
            yield from send_mail(order.owner, "is it there yet?")
            yield from ctx.schedule(after="24 hours")
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

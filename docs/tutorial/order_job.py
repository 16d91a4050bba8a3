"""The order of lesson 4: a pure state machine, and a program for its alarm."""

from typing import Literal

from attrs import evolve, frozen
from returns.result import Failure, Result, Success
from token_job import Mail, MailBounced, send_mail

from perdure import Alarm, Decision, Do, Task, TaskContext, program


@frozen
class Placed:
    owner: str
    cents: int


@frozen
class Paid:
    cents: int


@frozen
class Shipped:
    tracking: str


OrderEvent = Placed | Paid | Shipped


@frozen
class Order:
    status: Literal["new", "pending", "paid", "shipped"] = "new"
    owner: str = ""
    cents: int = 0


@frozen
class IllegalTransition:
    status: str
    event: str


def decide(
    order: Order, event: OrderEvent
) -> Result[Decision[Order], IllegalTransition]:
    match order.status, event:
        case "new", Placed(owner, cents):
            placed = Order("pending", owner, cents)
            return Success(Decision(placed, Alarm.after("5 minutes")))
        case "pending", Paid(cents) if cents >= order.cents:
            return Success(Decision(evolve(order, status="paid"), Alarm.clear))
        case "paid", Shipped():
            shipped = evolve(order, status="shipped")
            return Success(Decision(shipped, Alarm.after("24 hours")))
        case _:
            return Failure(IllegalTransition(order.status, type(event).__name__))


@program
def on_alarm(ctx: TaskContext[Order]) -> Do[None, MailBounced, Mail]:
    order = yield from ctx.state
    if order.status == "shipped":
        yield from send_mail(order.owner, f"{ctx.id}: is it there yet?")
        yield from ctx.schedule(after="24 hours")
    else:
        yield from ctx.terminate("unpaid")


orders = Task(
    "orders",
    state=Order,
    event=OrderEvent,
    initial=Order(),
    decide=decide,
    execute=on_alarm,
)

"""The job behind the shop, and the app that ``perdure run`` serves."""

from __future__ import annotations

from typing import Never, Protocol, assert_never

from returns.result import Failure, Success

from perdure import App, Backoff, Do, Retry, Task, TaskContext, fail, program, succeed
from perdure.examples.mail import HasMailer, send_mail
from web_shop.order import (
    OrderEvent,
    ShopOrder,
    cancelled,
    decide,
    declined,
    paid,
)
from web_shop.services import (
    HasPayments,
    PaymentDeclined,
    PaymentError,
    charge,
    open_providers,
    refund,
)


class ShopServices(HasPayments, HasMailer, Protocol):
    """The services of the shop."""


@program
def work(ctx: TaskContext[ShopOrder]) -> Do[None, PaymentError, ShopServices]:
    """Run when the alarm fires: charge, refund, or cancel an order that is not paid.

    The key of each call is the run id, the same in each retry and repeat of the run.
    """
    order = yield from ctx.state
    match order.stage:
        case "paying":
            charged = charge(ctx.run_id, order.card, order.total_cents)
            match (yield from charged.attempt()):
                case Success(receipt):
                    yield from ctx.apply(paid(order, receipt))
                    yield from notify(ctx, order, "paid, thank you")
                case Failure(PaymentDeclined(reason)):
                    yield from ctx.apply(declined(order, reason))
                    yield from notify(ctx, order, f"not paid: {reason}")
                case Failure(error):
                    yield from fail(error)  # the engine retries the run
        case "refunding":
            yield from refund(ctx.run_id, order.receipt)
            yield from ctx.apply(cancelled(order, order.note))
            yield from notify(ctx, order, "cancelled, your money is on its way")
        case "awaiting_payment":
            yield from ctx.apply(cancelled(order, "not paid in time"))
            yield from notify(ctx, order, "cancelled: not paid in time")
        case "new" | "paid" | "shipped" | "cancelled":
            yield from succeed(None)
        case _:
            assert_never(order.stage)


@program
def notify(
    ctx: TaskContext[ShopOrder], order: ShopOrder, text: str
) -> Do[None, Never, HasMailer]:
    """Mail the customer. A mail that bounces does not stop an order."""
    yield from send_mail(ctx.run_id, order.customer, f"{ctx.id}: {text}").attempt()


orders = Task(
    "shop-orders",
    state=ShopOrder,
    event=OrderEvent,
    initial=ShopOrder(),
    decide=decide,
    execute=work,
    retry=Retry(max_attempts=8, delay=Backoff.exponential("1 second", max="1 minute")),
)

app = App(open_providers).with_jobs(orders)

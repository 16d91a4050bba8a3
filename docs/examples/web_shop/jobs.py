"""The job behind the shop, and the app that ``perdure run`` serves."""

from __future__ import annotations

from typing import Never, Protocol, assert_never

from attrs import frozen
from returns.result import Failure, Success

from perdure import (
    App,
    Backoff,
    Do,
    Program,
    Retry,
    Stream,
    Task,
    TaskContext,
    fail,
    program,
    succeed,
)
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


@frozen
class Progress:
    """A line on the page of the order.

    Attributes:
        run: the run that wrote it, the same in each of its repeats.
        text: the line.
    """

    run: str
    text: str


progress = Stream("progress", Progress, max_chunks=100)


def show(ctx: TaskContext[ShopOrder], text: str) -> Program[None]:
    """Show a line to the customer, whose page follows the order."""
    return progress.emit(Progress(ctx.run_id, text))


@program
def work(ctx: TaskContext[ShopOrder]) -> Do[None, PaymentError, ShopServices]:
    """Run when the alarm fires: charge, refund, or cancel an order that is not paid.

    The key of each call is the run id, the same in each retry and repeat of the run.
    """
    order = yield from ctx.state
    match order.stage:
        case "paying":
            yield from show(ctx, "Your card is charged…")
            charged = charge(ctx.run_id, order.card, order.total_cents)
            match (yield from charged.attempt()):
                case Success(receipt):
                    yield from ctx.apply(paid(order, receipt))
                    yield from show(ctx, "Paid. Thank you!")
                    yield from notify(ctx, order, "paid, thank you")
                case Failure(PaymentDeclined(reason)):
                    yield from ctx.apply(declined(order, reason))
                    yield from show(ctx, f"Not paid: {reason}.")
                    yield from notify(ctx, order, f"not paid: {reason}")
                case Failure(error):
                    yield from fail(error)  # the engine retries the run
        case "refunding":
            yield from show(ctx, "Your money is returned…")
            yield from refund(ctx.run_id, order.receipt)
            yield from ctx.apply(cancelled(order, order.note))
            yield from show(ctx, "Cancelled. Your money is on its way.")
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
    streams=[progress],
    retry=Retry(max_attempts=8, delay=Backoff.exponential("1 second", max="1 minute")),
)

app = App(open_providers).with_jobs(orders)

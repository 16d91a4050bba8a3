"""The state machine of an order: pure functions of values."""

from __future__ import annotations

from typing import Literal, TypeAlias

from attrs import evolve, frozen
from returns.result import Failure, Result, Success

from perdure import Alarm, Decision
from perdure.values.times import Duration

TIME_TO_PAY: Duration = "30 minutes"

Stage: TypeAlias = Literal[
    "new",
    "awaiting_payment",
    "paying",
    "paid",
    "shipped",
    "refunding",
    "cancelled",
]
"""``paying`` and ``refunding`` wait for the payment provider; no event changes them."""


@frozen
class OrderLine:
    """One article of an order; the price of one piece is in cents."""

    article: str
    quantity: int
    price_cents: int


@frozen
class Place:
    """The customer places the order."""

    customer: str
    lines: tuple[OrderLine, ...]


@frozen
class Pay:
    """The customer pays with a card; ``card`` is the token of the payment provider."""

    card: str


@frozen
class Ship:
    """The warehouse ships the parcel."""

    tracking: str


@frozen
class Cancel:
    """The customer cancels the order. A paid order is refunded."""

    reason: str


OrderEvent: TypeAlias = Place | Pay | Ship | Cancel


@frozen(kw_only=True)
class ShopOrder:
    """The stored state of one order.

    Attributes:
        stage: where the order stands.
        customer: the customer's mail address.
        lines: the articles.
        card: the token of the card that is charged, only while ``paying``.
        receipt: the provider's id of the payment, once it is paid.
        tracking: the number of the parcel, once it is shipped.
        note: the reason of a declined payment or a cancellation.
    """

    stage: Stage = "new"
    customer: str = ""
    lines: tuple[OrderLine, ...] = ()
    card: str = ""
    receipt: str = ""
    tracking: str = ""
    note: str = ""

    @property
    def total_cents(self) -> int:
        """The price of the order, in cents."""
        return sum(line.quantity * line.price_cents for line in self.lines)


@frozen
class NotPossible:
    """The event does not fit the stage of the order."""

    stage: str
    event: str


AT_ONCE = Alarm.after("0 s")


def decide(
    order: ShopOrder, event: OrderEvent
) -> Result[Decision[ShopOrder], NotPossible]:
    """Decide the effect of an event. Work for a provider is left to the alarm."""
    match order.stage, event:
        case "new", Place(customer, lines):
            placed = ShopOrder(stage="awaiting_payment", customer=customer, lines=lines)
            return Success(Decision(placed, Alarm.after(TIME_TO_PAY)))
        case "awaiting_payment", Pay(card):
            paying = evolve(order, stage="paying", card=card, note="")
            return Success(Decision(paying, AT_ONCE))
        case "paid", Ship(tracking):
            shipped = evolve(order, stage="shipped", tracking=tracking)
            return Success(Decision(shipped, Alarm.clear))
        case "awaiting_payment", Cancel(reason):
            return Success(cancelled(order, reason))
        case "paid", Cancel(reason):
            refunding = evolve(order, stage="refunding", note=reason)
            return Success(Decision(refunding, AT_ONCE))
        case _:
            return Failure(NotPossible(order.stage, type(event).__name__))


def paid(order: ShopOrder, receipt: str) -> Decision[ShopOrder]:
    """Decide the effect of a charged card."""
    return Decision(evolve(order, stage="paid", card="", receipt=receipt), Alarm.clear)


def declined(order: ShopOrder, reason: str) -> Decision[ShopOrder]:
    """Decide the effect of a declined card: the customer can use another one."""
    waiting = evolve(order, stage="awaiting_payment", card="", note=reason)
    return Decision(waiting, Alarm.after(TIME_TO_PAY))


def cancelled(order: ShopOrder, reason: str) -> Decision[ShopOrder]:
    """Decide the effect of a cancellation, when no money is left to return."""
    return Decision(evolve(order, stage="cancelled", note=reason), Alarm.clear)

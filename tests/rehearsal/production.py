"""Jobs with a mistake that only rare pasts reach, and a store in which they have happened."""

from __future__ import annotations

from enum import Enum
from typing import Annotated
from uuid import UUID

from attrs import frozen
from returns.result import Failure, Result, Success

from perdure import (
    App,
    Decision,
    Do,
    Secret,
    Signal,
    Task,
    Workflow,
    WorkflowContext,
    effect,
    program,
    succeed,
)
from perdure.testing import InstanceView


class Channel(Enum):
    """Where an order comes from."""

    WEB = "web"
    SHOP = "shop"


@frozen
class Placed:
    """An order is placed."""

    cents: int
    email: str = "ada@example.org"
    card: Annotated[int, Secret] = 4_111
    channel: Channel = Channel.WEB
    currency: str = "EUR"


PAYMENT = UUID("11111111-2222-3333-4444-555555555555")


@frozen
class Paid:
    """So much was paid."""

    cents: int
    reference: UUID = PAYMENT
    note: bytes = b"from ada"


@frozen
class Refunded:
    """So much was given back."""

    cents: int


SHIPPING = 4_917
"""An order costs so much more than its goods. Few drawn payments are exactly right."""


@frozen
class Order:
    """The state of an order."""

    due: int = 0
    paid: int = 0


def decide(state: Order, event: Placed | Paid | Refunded) -> Result[Decision[Order], str]:
    """Apply an event. Only an order that was paid exactly can be refunded, and nothing checks how much."""
    match event:
        case Placed(cents=cents) if state.due == 0 and cents > 0:
            return Success(Decision(Order(cents)))
        case Paid(cents=cents) if state.due and not state.paid and cents == state.due + SHIPPING:
            return Success(Decision(Order(state.due, cents)))
        case Refunded(cents=cents) if state.paid and cents > 0:
            return Success(Decision(Order(state.due, state.paid - cents)))
        case _:
            return Failure("not now")


orders = Task(
    "orders",
    state=Order,
    event=Placed | Paid | Refunded,
    initial=Order(),
    decide=decide,
    execute=lambda _: succeed(None),
    accepted_in_events="payload",
)


def no_more_is_given_back_than_was_paid(view: InstanceView[Order]) -> bool:
    """The mistake breaks it."""
    return view.state.paid >= 0


@frozen
class Quote:
    """The price of a parcel, as a service says."""

    cents: int
    carrier: str


@effect
def quote(services: object, parcel: str) -> Result[Quote, str]:
    """Ask for a quote."""
    return Success(Quote(len(parcel), "by foot"))


@effect
def book(services: object, carrier: str) -> Result[None, str]:
    """Book a carrier."""
    return Success(None)


approval = Signal("approval", bool)


@program
def send_parcel(ctx: WorkflowContext[str]) -> Do[int, str, object]:
    """Send a parcel. A price of exactly 31,415 is a mistake."""
    found = yield from quote((yield from ctx.state))
    if not (yield from approval.receive()):
        return 0
    if found.cents == 31_415:
        return -1
    yield from book(found.carrier)
    return found.cents


parcels = Workflow("parcels", state=str, run=send_parcel, signals=(approval,))
app = App(object()).with_jobs(orders, parcels)

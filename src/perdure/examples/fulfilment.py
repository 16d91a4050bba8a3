"""A workflow: an order that waits for a person and for days."""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

from attrs import evolve, frozen
from returns.future import FutureResult
from returns.result import Failure, Success

from perdure import (
    Backoff,
    Do,
    Retry,
    Signal,
    Undo,
    Workflow,
    WorkflowContext,
    effect,
    fail,
    program,
    saga,
    step_key,
)
from perdure.examples.mail import HasMailer, MailBounced, send_mail
from perdure.programs import gather, sleep


@frozen
class Purchase:
    """An order and its progress, which ``get_state`` returns."""

    owner: str
    item: str
    cents: int
    stage: Literal["new", "approved", "sent"] = "new"


@frozen
class Approval:
    """A person approved the order."""

    by: str


@frozen
class CardDeclined:
    """The bank refused the charge."""

    reason: str


@frozen
class OutOfStock:
    """The warehouse has none."""

    item: str


@frozen
class NotApproved:
    """The order was not approved in time."""


Refusal: TypeAlias = CardDeclined | OutOfStock | NotApproved


class Shop(Protocol):
    """The bank and the warehouse."""

    def charge(self, key: str, cents: int) -> FutureResult[str, CardDeclined]:
        """Charge a card, once for each key. Return the receipt."""
        ...

    def refund(self, receipt: str) -> FutureResult[None, CardDeclined]:
        """Refund a charge, once."""
        ...

    def reserve(self, key: str, item: str) -> FutureResult[str, OutOfStock]:
        """Reserve an item, once for each key. Return the parcel."""
        ...

    def release(self, parcel: str) -> FutureResult[None, OutOfStock]:
        """Release a reserved item, once."""
        ...

    def print_label(self, parcel: str) -> FutureResult[str, OutOfStock]:
        """Print a parcel's label. Return its tracking number."""
        ...


class HasShop(HasMailer, Protocol):
    """Services with a shop and a mailer."""

    @property
    def shop(self) -> Shop:
        """The bank and the warehouse."""
        ...


@effect
def charge(services: HasShop, key: str, cents: int) -> FutureResult[str, CardDeclined]:
    """Charge the card."""
    return services.shop.charge(key, cents)


@effect
def refund(services: HasShop, receipt: str) -> FutureResult[None, CardDeclined]:
    """Refund a charge."""
    return services.shop.refund(receipt)


@effect
def reserve(services: HasShop, key: str, item: str) -> FutureResult[str, OutOfStock]:
    """Reserve an item."""
    return services.shop.reserve(key, item)


@effect
def release(services: HasShop, parcel: str) -> FutureResult[None, OutOfStock]:
    """Release a reserved item."""
    return services.shop.release(parcel)


@effect
def print_label(services: HasShop, parcel: str) -> FutureResult[str, OutOfStock]:
    """Print a parcel's label."""
    return services.shop.print_label(parcel)


approval = Signal("approval", Approval)


@program
def secure(undo: Undo[HasShop], order: Purchase) -> Do[str, Refusal, HasShop]:
    """Charge, reserve and wait for a person. A failure undoes the first two."""
    charge_key = yield from step_key()
    yield from undo.after(charge(charge_key, order.cents), refund)
    reserve_key = yield from step_key()
    parcel = yield from undo.after(reserve(reserve_key, order.item), release)
    match (yield from approval.receive().timeout("2 days").attempt()):
        case Success(Approval()):
            return parcel
        case Failure(_):
            return (yield from fail(NotApproved()))


@program
def fulfil(
    ctx: WorkflowContext[Purchase],
) -> Do[str, Refusal | MailBounced, HasShop]:
    """Secure an order, wait for the weekend, and send it."""
    order = yield from ctx.state
    parcel = yield from saga(secure, order)
    yield from ctx.set_state(evolve(order, stage="approved"))
    yield from sleep("3 days")
    tracking, _ = yield from gather(
        print_label(parcel), send_mail(ctx.run_id, order.owner, "It is on its way.")
    )
    yield from ctx.set_state(evolve(order, stage="sent"))
    return tracking


fulfilment = Workflow(
    "fulfilment",
    state=Purchase,
    run=fulfil,
    signals=(approval,),
    retry_defects=Retry(
        max_attempts=5, delay=Backoff.exponential("1 second", max="1 hour")
    ),
)

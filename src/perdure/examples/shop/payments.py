"""The payment provider: a service of the shop, with typed errors."""

from __future__ import annotations

from typing import Protocol, TypeAlias

from attrs import frozen
from returns.result import Result

from perdure import effect


@frozen
class PaymentDeclined:
    """The bank refused the card: a retry with this card cannot succeed."""

    reason: str


@frozen
class PaymentsDown:
    """The provider did not respond: a retry may succeed."""

    detail: str


PaymentError: TypeAlias = PaymentDeclined | PaymentsDown


class Payments(Protocol):
    """A payment provider. A repeat with the key of an earlier call changes nothing."""

    async def charge(
        self, key: str, card: str, cents: int
    ) -> Result[str, PaymentError]:
        """Charge a card; return the receipt, the same for a repeat."""
        ...

    async def refund(self, key: str, receipt: str) -> Result[None, PaymentsDown]:
        """Return the money of a receipt."""
        ...


class HasPayments(Protocol):
    """Services with a payment provider."""

    @property
    def payments(self) -> Payments:
        """The payment provider."""
        ...


@effect
async def charge(
    services: HasPayments, key: str, card: str, cents: int
) -> Result[str, PaymentError]:
    """Charge a card once for each key."""
    return await services.payments.charge(key, card, cents)


@effect
async def refund(
    services: HasPayments, key: str, receipt: str
) -> Result[None, PaymentsDown]:
    """Return the money of a receipt once for each key."""
    return await services.payments.refund(key, receipt)

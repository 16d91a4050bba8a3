"""The payment provider: a service of the shop, with typed errors.

There are stand-ins for it and for the mail server: each appends to a file.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol, TypeAlias

import orjson
from attrs import define, field, frozen
from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure import effect
from perdure.examples.mail import MailBounced


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


DECLINED_CARD = "card-declined"
"""The token of a card that is always declined."""


@define
class CallFile:
    """The calls that a provider executed: one JSON line for each key.

    Attributes:
        path: the file; created by the first call.
    """

    path: Path
    _seen: set[str] = field(factory=set[str])

    def read(self) -> None:
        """Read the keys of earlier processes."""
        if self.path.exists():
            lines = self.path.read_bytes().splitlines()
            self._seen.update(orjson.loads(line)["key"] for line in lines)

    def add(self, key: str, **call: str | int) -> None:
        """Append a call, unless one with its key was executed before."""
        if key not in self._seen:
            with self.path.open("ab") as file:
                file.write(orjson.dumps({"key": key, **call}) + b"\n")
            self._seen.add(key)


@frozen
class FilePayments:
    """Charges every card but `DECLINED_CARD`."""

    calls: CallFile

    async def charge(
        self, key: str, card: str, cents: int
    ) -> Result[str, PaymentError]:
        """Charge a card once for each key."""
        if card == DECLINED_CARD:
            return Failure(PaymentDeclined("the bank refused the card"))
        self.calls.add(key, charged=cents, card=card)
        return Success(f"receipt-{key}")

    async def refund(self, key: str, receipt: str) -> Result[None, PaymentsDown]:
        """Return the money of a receipt once for each key."""
        self.calls.add(key, refunded=receipt)
        return Success(None)


@frozen
class FileMailer:
    """Writes mails to a file instead of sending them."""

    calls: CallFile

    def send(
        self, message_id: str, to: str, text: str
    ) -> FutureResult[None, MailBounced]:
        """Write a mail once for each message id."""
        self.calls.add(message_id, to=to, text=text)
        return FutureResult.from_value(None)


@frozen(kw_only=True)
class Providers:
    """The services of the shop's engine."""

    payments: FilePayments
    mailer: FileMailer


@asynccontextmanager
async def open_providers() -> AsyncGenerator[Providers]:
    """Open the providers in the folder ``SHOP_FILES``, by default the current one."""
    folder = Path(os.environ.get("SHOP_FILES", "."))
    payments = CallFile(folder / "payments.jsonl")
    mails = CallFile(folder / "mails.jsonl")
    payments.read()
    mails.read()
    yield Providers(payments=FilePayments(payments), mailer=FileMailer(mails))

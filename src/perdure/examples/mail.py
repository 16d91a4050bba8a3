"""Mail: a service that several example jobs use, and two jobs that only send mail.

``receipts`` is a worker pool, fair to every customer. ``welcome`` is a
workflow: three mails, with a pause between them.
"""

from __future__ import annotations

from functools import partial
from typing import Protocol

from attrs import frozen
from returns.future import FutureResult

from perdure import (
    Backoff,
    Do,
    ItemContext,
    Retry,
    WorkerPool,
    Workflow,
    WorkflowContext,
    effect,
    program,
    step_key,
)
from perdure.programs import sleep
from perdure.values.times import Duration


@frozen
class MailBounced:
    """The mail could not be delivered."""

    address: str


class Mailer(Protocol):
    """Sends mail."""

    def send(
        self, message_id: str, to: str, text: str
    ) -> FutureResult[None, MailBounced]:
        """Send one mail. Ignore a message id that was sent before."""
        ...


class HasMailer(Protocol):
    """Services with a mailer."""

    @property
    def mailer(self) -> Mailer:
        """The mailer."""
        ...


@effect
def send_mail(
    services: HasMailer, message_id: str, to: str, text: str
) -> FutureResult[None, MailBounced]:
    """Send one mail. A redelivered run repeats its id, so the mailer can skip it."""
    return services.mailer.send(message_id, to, text)


@frozen
class Receipt:
    """A receipt to mail.

    Attributes:
        customer: who gets it.
        number: its number.
    """

    customer: str
    number: int


def receipt_text(receipt: Receipt) -> str:
    """Return the mail's text."""
    return f"receipt {receipt.number} of {receipt.customer}"


@program
def mail_receipt(ctx: ItemContext[Receipt]) -> Do[int, MailBounced, HasMailer]:
    """Mail one receipt. The mailer skips a mail whose run it knows."""
    receipt = yield from ctx.item
    text = receipt_text(receipt)
    yield from send_mail(ctx.run_id, f"{receipt.customer}@example.com", text)
    return len(text)


def customer_of(receipt: Receipt) -> str:
    """Return the customer, whose receipts take turns with other customers' receipts."""
    return receipt.customer


def receipts_with(
    retry_delay: Duration = "1 minute", workers: int = 2
) -> WorkerPool[Receipt, int, MailBounced, HasMailer]:
    """Define the pool."""
    return WorkerPool(
        "receipts",
        item=Receipt,
        work=mail_receipt,
        key=customer_of,
        workers=workers,
        retry=Retry(max_attempts=3, delay=Backoff.constant(retry_delay)),
        keep="1 day",
    )


receipts = receipts_with()


MAILS = ("welcome", "first steps", "questions?")


def welcome_text(customer: str, mail: str) -> str:
    """Return a mail's text."""
    return f"{mail}, {customer}"


@program
def greet(
    ctx: WorkflowContext[str], pause: Duration = "1 day"
) -> Do[int, MailBounced, HasMailer]:
    """Send the mails. Each is a step: a crash repeats none that is recorded."""
    customer = yield from ctx.state
    for mail in MAILS:
        key = yield from step_key()
        address = f"{customer}@example.com"
        yield from send_mail(key, address, welcome_text(customer, mail))
        yield from sleep(pause)
    return len(MAILS)


def welcome_with(
    pause: Duration = "1 day", retry_delay: Duration = "1 minute"
) -> Workflow[str, int, MailBounced, HasMailer]:
    """Define the workflow."""
    return Workflow(
        "welcome",
        state=str,
        run=partial(greet, pause=pause),
        result=int,
        errors=MailBounced,
        retry_defects=Retry(max_attempts=3, delay=Backoff.constant(retry_delay)),
        keep="1 day",
    )


welcome = welcome_with()

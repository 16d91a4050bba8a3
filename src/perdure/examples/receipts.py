"""A worker pool that mails receipts, some at a time, fair to every customer."""

from __future__ import annotations

from attrs import frozen

from perdure import Backoff, Do, ItemContext, Retry, WorkerPool, program
from perdure.examples.mail import HasMailer, MailBounced, send_mail
from perdure.values.times import Duration


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
    """Return the text of the mail."""
    return f"receipt {receipt.number} of {receipt.customer}"


@program
def mail_receipt(ctx: ItemContext[Receipt]) -> Do[int, MailBounced, HasMailer]:
    """Mail one receipt. The mailer skips a mail whose run it knows."""
    receipt = yield from ctx.item
    text = receipt_text(receipt)
    yield from send_mail(ctx.run_id, f"{receipt.customer}@example.com", text)
    return len(text)


def customer_of(receipt: Receipt) -> str:
    """Return the key whose items take turns with those of others."""
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

"""The work of the demo besides its events: the items of the pool, and the customers of the workflow."""

from __future__ import annotations

from collections.abc import Iterator

from perdure.examples.receipts import Receipt, receipt_text
from perdure.examples.welcome import MAILS, welcome_text

RECEIPTS = {"ada": 60, "bob": 6, "cleo": 6}
"""The number of receipts of each customer: one has many, and the others do not wait for them."""

CUSTOMERS = ("ada", "bob", "cleo")


def receipts() -> Iterator[tuple[str, Receipt]]:
    """Yield the items of the pool with their ids."""
    for customer, number in RECEIPTS.items():
        for n in range(number):
            yield f"{customer}-{n}", Receipt(customer, n)


def expected_mails() -> tuple[str, ...]:
    """Return the text of each mail that the pool and the workflows send."""
    return (
        *(receipt_text(receipt) for _, receipt in receipts()),
        *(welcome_text(customer, mail) for customer in CUSTOMERS for mail in MAILS),
    )

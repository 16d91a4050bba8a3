"""The duration of each part of the demo, from its total duration, and its work besides the events."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import attrs

from perdure.cli.demo.paced_jobs import Pace
from perdure.examples.mail import MAILS, Receipt, receipt_text, welcome_text
from perdure.examples.order_processor import Patience

USUAL_SECONDS = 20.0

START_LIMIT_S = 30.0
"""A worker that is not ready after this time is reported as stuck."""

SETTLE_LIMIT_S = 30.0
"""Batches and retries that have not completed after this time are reported as they are."""

LONGER_THAN_A_DEMO = timedelta(days=1)


@attrs.frozen
class Timing:
    """All durations of one demo, in proportion to its length.

    Attributes:
        seconds: the approximate length.
    """

    seconds: float

    @property
    def feed_s(self) -> float:
        """The time for sending the events, without the crash."""
        return 0.7 * self.seconds

    @property
    def latency_ms(self) -> tuple[float, float]:
        """The range of the services' latencies."""
        return 60 * self._scale, 350 * self._scale

    @property
    def pace(self) -> Pace:
        """The durations of the jobs.

        Orders wait for payment longer than any demo lasts: on a slow machine, a payment would otherwise arrive after
        its order had ended, and be refused.
        """
        return Pace(
            refresh_every=self._scaled(3.0),
            flush_after=self._scaled(1.5),
            max_events=8,
            pause=self._scaled(2.5),
            retry_delay=self._scaled(0.4),
            patience=Patience(payment=LONGER_THAN_A_DEMO, parcel=self._scaled(4.0)),
        )

    @property
    def _scale(self) -> float:
        return self.seconds / USUAL_SECONDS

    def _scaled(self, seconds: float) -> timedelta:
        return timedelta(milliseconds=max(1, round(1000 * seconds * self._scale)))


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

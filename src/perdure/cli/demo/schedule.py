"""How long each part of the demo takes, from its total duration, and its work besides the events.

The demo's jobs are the example jobs with other durations, so that it shows hours and days in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial

import attrs
from attrs import field, frozen

from perdure import (
    Backoff,
    Continuous,
    Debounce,
    Retry,
    Task,
    WorkerPool,
    Workflow,
    every,
)
from perdure.examples.mail import (
    MAILS,
    HasMailer,
    MailBounced,
    Receipt,
    receipt_text,
    receipts_with,
    welcome_text,
    welcome_with,
)
from perdure.examples.order_processor import (
    IllegalTransition,
    Order,
    OrderEvent,
    Patience,
    on_order_alarm,
    on_order_event,
    order_processor,
)
from perdure.examples.token_refresher import (
    Alerting,
    AuthError,
    TokenState,
    is_transient,
    refresh_token,
    token_refresher,
)
from perdure.examples.webhook_batcher import (
    Batch,
    HasSink,
    SinkFull,
    Webhook,
    collect,
    flush,
    webhook_batcher,
)
from perdure.values.times import Duration


@frozen(kw_only=True)
class Pace:
    """The jobs' durations and limits.

    Attributes:
        refresh_every: from one token refresh's end to the next refresh.
        flush_after: from a batch's first webhook to its flush.
        max_events: how many webhooks make a batch flush immediately.
        pause: between two mails in the welcome workflow.
        retry_delay: the first delay after a failure. Each further one is twice as long.
        patience: how long orders wait.
    """

    refresh_every: Duration
    flush_after: Duration
    max_events: int
    pause: Duration = "1 second"
    retry_delay: Duration
    patience: Patience = field(factory=Patience)


@frozen(kw_only=True)
class PacedJobs:
    """The five definitions. They keep their names, so they read stored instances."""

    token_refresher: Continuous[TokenState, AuthError, Alerting]
    webhook_batcher: Debounce[Batch, Webhook, SinkFull, HasSink]
    order_processor: Task[Order, OrderEvent, IllegalTransition | MailBounced, HasMailer]
    receipts: WorkerPool[Receipt, int, MailBounced, HasMailer]
    welcome: Workflow[str, int, MailBounced, HasMailer]


def at_pace(pace: Pace) -> PacedJobs:
    """Define the five jobs with other durations.

    Raises:
        DefinitionError: a duration cannot be read, or is out of range.
    """
    delay = Backoff.exponential(pace.retry_delay)
    return PacedJobs(
        token_refresher=Continuous(
            token_refresher.name,
            state=TokenState,
            schedule=every(pace.refresh_every),
            execute=refresh_token,
            retry=Retry(max_attempts=3, delay=delay, retry_if=is_transient),
        ),
        webhook_batcher=Debounce(
            webhook_batcher.name,
            event=Webhook,
            state=Batch,
            initial=Batch(),
            flush_after=pace.flush_after,
            max_events=pace.max_events,
            on_event=collect,
            execute=flush,
            retry=Retry(max_attempts=5, delay=delay),
        ),
        order_processor=Task(
            order_processor.name,
            state=Order,
            event=OrderEvent,
            initial=Order(),
            on_event=partial(on_order_event, patience=pace.patience),
            execute=partial(on_order_alarm, patience=pace.patience),
            errors=IllegalTransition | MailBounced,  # a `partial` has no annotations to read them from
        ),
        receipts=receipts_with(pace.retry_delay),
        welcome=welcome_with(pace.pause, pace.retry_delay),
    )


USUAL_SECONDS = 20.0

START_LIMIT_S = 30.0
"""A worker that is not ready after this time is reported as stuck."""

SETTLE_LIMIT_S = 30.0
"""Batches and retries that have not completed after this time are reported as they are."""

LONGER_THAN_A_DEMO = timedelta(days=1)


@attrs.frozen
class Timing:
    """One demo's durations, in proportion to its length."""

    seconds: float

    @property
    def feed_s(self) -> float:
        """The time for sending the events, without the crash."""
        return 0.7 * self.seconds

    @property
    def latency_ms(self) -> tuple[float, float]:
        """The services' latency range."""
        return 60 * self._scale, 350 * self._scale

    @property
    def pace(self) -> Pace:
        """The jobs' durations.

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
"""How many receipts each customer has: one has many, and the others do not wait for them."""

CUSTOMERS = ("ada", "bob", "cleo")


def receipts() -> Iterator[tuple[str, Receipt]]:
    """Yield the pool's items with their ids."""
    for customer, number in RECEIPTS.items():
        for n in range(number):
            yield f"{customer}-{n}", Receipt(customer, n)


def expected_mails() -> tuple[str, ...]:
    """Return the mail texts that the pool and the workflows send."""
    return (
        *(receipt_text(receipt) for _, receipt in receipts()),
        *(welcome_text(customer, mail) for customer in CUSTOMERS for mail in MAILS),
    )

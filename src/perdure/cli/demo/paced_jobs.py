"""The example jobs with other durations, so that the demo shows hours and days in seconds."""

from __future__ import annotations

from functools import partial

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
from perdure.examples.mail import HasMailer, MailBounced, Receipt, receipts_with, welcome_with
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
    """The durations and limits of the jobs.

    Attributes:
        refresh_every: from the end of one token refresh to the next.
        flush_after: from a batch's first webhook to its flush.
        max_events: the number of webhooks at which a batch flushes at once.
        pause: between two mails of the welcome workflow.
        retry_delay: the first delay after a failure; each further one is twice as long.
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

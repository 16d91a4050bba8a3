"""A debounce: many webhooks in, few batches out.

Written with the methods of containers, without do-notation.
"""

from __future__ import annotations

from typing import Protocol

from attrs import frozen
from returns.future import FutureResult

from perdure import Backoff, Debounce, DebounceContext, Program, Retry, effect


@frozen
class Webhook:
    """One received webhook call."""

    event_id: str
    kind: str
    payload: str


@frozen
class Batch:
    """One contact's collected webhooks."""

    events: tuple[Webhook, ...] = ()


@frozen
class SinkFull:
    """The sink cannot accept a batch now."""

    detail: str


class Sink(Protocol):
    """The system that receives batches."""

    def push(
        self, batch_id: str, events: tuple[Webhook, ...]
    ) -> FutureResult[int, SinkFull]:
        """Accept a batch. Ignore a batch id that was accepted before."""
        ...


class HasSink(Protocol):
    """Services with a sink."""

    @property
    def sink(self) -> Sink:
        """The system that receives batches."""
        ...


@effect
def push(
    services: HasSink, batch_id: str, events: tuple[Webhook, ...]
) -> FutureResult[int, SinkFull]:
    """Push one batch to the sink."""
    return services.sink.push(batch_id, events)


def collect(ctx: DebounceContext[Batch], event: Webhook) -> Program[None]:
    """Add an event to the batch."""
    return ctx.update_state(lambda batch: Batch((*batch.events, event)))


def flush(ctx: DebounceContext[Batch]) -> Program[int, SinkFull, HasSink]:
    """Push the batch. The run id lets the sink ignore a repeat."""
    return ctx.state.bind(lambda batch: push(ctx.run_id, batch.events))


webhook_batcher = Debounce(
    "webhook-batcher",
    event=Webhook,
    state=Batch,
    initial=Batch(),
    flush_after="5 seconds",
    max_events=100,
    on_event=collect,
    execute=flush,
    retry=Retry(max_attempts=5, delay=Backoff.exponential("1 second", max="1 minute")),
)

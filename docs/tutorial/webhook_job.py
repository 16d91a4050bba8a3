"""The webhook batcher of lesson 5: many events in, few batches out."""

from typing import Protocol

from attrs import frozen
from returns.result import Result

from perdure import Backoff, Debounce, DebounceContext, Program, Retry, effect


@frozen
class Webhook:
    """One received call."""

    event_id: str
    payload: str


@frozen
class Batch:
    """The collected webhooks of one contact."""

    events: tuple[Webhook, ...] = ()


@frozen
class SinkFull:
    """The sink cannot accept a batch now."""

    detail: str


class Sink(Protocol):
    """The system that receives batches."""

    async def push(
        self, batch_id: str, events: tuple[Webhook, ...]
    ) -> Result[int, SinkFull]:
        """Accept a batch; ignore a batch id that was accepted before."""
        ...


@effect
async def push(
    services: Sink, batch_id: str, events: tuple[Webhook, ...]
) -> Result[int, SinkFull]:
    """Push one batch to the sink."""
    return await services.push(batch_id, events)


def collect(ctx: DebounceContext[Batch], event: Webhook) -> Program[None]:
    """Add an event to the batch."""
    return ctx.update_state(lambda batch: Batch((*batch.events, event)))


def flush(ctx: DebounceContext[Batch]) -> Program[int, SinkFull, Sink]:
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

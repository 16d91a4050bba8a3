"""A debounce: many webhooks in, few batches out. Written with the methods of containers, without do-notation."""

from __future__ import annotations

from typing import Protocol

from attrs import frozen
from returns.future import FutureResult

from perdure import Backoff, Debounce, DebounceContext, Program, Retry, effect


@frozen
class Webhook:
    """One call that came in."""

    event_id: str
    kind: str
    payload: str


@frozen
class Batch:
    """What is collected for one contact."""

    events: tuple[Webhook, ...] = ()


@frozen
class SinkFull:
    """The sink takes nothing at the moment."""

    detail: str


class Sink(Protocol):
    """Takes batches."""

    def push(self, batch_id: str, events: tuple[Webhook, ...]) -> FutureResult[int, SinkFull]:
        """Take a batch; one that came before, by its id, is not taken twice."""
        ...


class HasSink(Protocol):
    """Services with a sink."""

    @property
    def sink(self) -> Sink:
        """Takes batches."""
        ...


@effect
def push(services: HasSink, batch_id: str, events: tuple[Webhook, ...]) -> FutureResult[int, SinkFull]:
    """Hand a batch over."""
    return services.sink.push(batch_id, events)


def collect(ctx: DebounceContext[Batch], event: Webhook) -> Program[None]:
    """Take an event into the batch."""
    return ctx.update_state(lambda batch: Batch((*batch.events, event)))


def flush(ctx: DebounceContext[Batch]) -> Program[int, SinkFull, HasSink]:
    """Hand the batch over. Its run id makes a repeat harmless."""
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

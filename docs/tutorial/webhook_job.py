"""The webhook batcher of lesson 5: many events in, few batches out."""

from typing import Protocol

from attrs import frozen
from returns.result import Result

from perdure import Backoff, Debounce, DebounceContext, Program, Retry, effect


@frozen
class Webhook:
    event_id: str
    payload: str


@frozen
class Batch:
    events: tuple[Webhook, ...] = ()


@frozen
class SinkFull:
    detail: str


class Sink(Protocol):
    async def push(
        self, batch_id: str, events: tuple[Webhook, ...]
    ) -> Result[int, SinkFull]: ...


@effect
async def push(
    services: Sink, batch_id: str, events: tuple[Webhook, ...]
) -> Result[int, SinkFull]:
    return await services.push(batch_id, events)


def collect(ctx: DebounceContext[Batch], event: Webhook) -> Program[None]:
    return ctx.update_state(lambda batch: Batch((*batch.events, event)))


def flush(ctx: DebounceContext[Batch]) -> Program[int, SinkFull, Sink]:
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

"""The real exporter sends to a real collector; both outputs decode with the official definitions."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Literal

import attrs
import pytest
from collector import collector
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SentSpan
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from otlp_receiver import Received, receiving

from perdure import App, Do, Task, TaskContext, effect, program, tell
from perdure.engine.sinks import EngineView, OpenSink
from perdure.telemetry.opentelemetry import opentelemetry
from perdure.values.event import JobFailed
from perdure.values.live_event import AnyEvent


@effect
async def charge(services: object, amount: int) -> int:
    if amount < 0:
        raise ValueError("negative")
    return amount


@program
def on_event(ctx: TaskContext[int], event: int) -> Do[None]:
    yield from charge(event)
    yield from tell(payments, "b").send(event)


@program
def on_payment(ctx: TaskContext[int], event: int) -> Do[None]:
    yield from ctx.set_state(event)
    yield from ctx.schedule(after="1 ms")


@program
def settle(ctx: TaskContext[int]) -> Do[None]:
    state = yield from ctx.state
    yield from charge(-state)


SENDERS = ("exporter", "collector")
orders = Task("orders", state=int, event=int, initial=0, on_event=on_event)
payments = Task("payments", state=int, event=int, initial=0, on_event=on_payment, execute=settle)


@attrs.frozen
class FailureSeen:
    """Waits for a run that fails."""

    name: str = "failure"
    seen: asyncio.Event = attrs.Factory(asyncio.Event)

    def open(self, engine: EngineView) -> AbstractAsyncContextManager[OpenSink]:
        return nullcontext(OpenSink(on_event=self._take))

    def _take(self, event: AnyEvent) -> None:
        if isinstance(event, JobFailed):
            self.seen.set()


def attributes(pairs: Any) -> dict[str, object]:
    given: list[KeyValue] = list(pairs)
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in given}


async def run(url: str) -> None:
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{url}/v1/traces")))
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(f"{url}/v1/metrics"), 60_000)
    meters = MeterProvider([reader], shutdown_on_exit=False)
    sink, failure = opentelemetry(tracer_provider=tracers, meter_provider=meters), FailureSeen()
    app: App[None] = App(None).with_jobs(orders, payments).with_sinks(sink, failure)
    async with asyncio.timeout(120), app.open("memory://") as jobs:
        await jobs.handle(orders).send("a", 7)
        await failure.seen.wait()
        await asyncio.to_thread(tracers.force_flush)
        await asyncio.to_thread(meters.force_flush)
    await asyncio.to_thread(tracers.shutdown)
    await asyncio.to_thread(meters.shutdown)


def sent(by: Literal["exporter", "collector"]) -> Received:
    """The spans and metrics of one engine, from its exporter or forwarded by a collector."""
    with receiving() as received:
        if by == "exporter":
            asyncio.run(run(received.url))
        else:
            with collector(received.url) as url:
                asyncio.run(run(url))
    return received


@pytest.mark.parametrize("by", SENDERS)
def test_a_receiver_decodes_the_spans_and_their_links(by: Literal["exporter", "collector"]) -> None:
    received = sent(by)
    spans = received.spans
    assert spans.keys() == {"send task:orders", "charge", "send task:payments", "alarm task:payments"}
    first, told, alarm = spans["send task:orders"], spans["send task:payments"], spans["alarm task:payments"]
    assert spans["charge"].parent_span_id in (first.span_id, alarm.span_id)
    assert [(link.trace_id, link.span_id) for link in told.links] == [(first.trace_id, first.span_id)]
    assert [(link.trace_id, link.span_id) for link in alarm.links] == [(told.trace_id, told.span_id)]
    assert len({first.trace_id, told.trace_id, alarm.trace_id}) == 3
    assert first.kind == SentSpan.SPAN_KIND_CONSUMER
    assert attributes(told.attributes)["messaging.message.id"] == "1"
    (exception,) = alarm.events
    assert attributes(exception.attributes)["exception.message"] == "negative"
    assert attributes(alarm.attributes)["perdure.outcome"] == "failed"
    assert received.scopes == {"perdure"}


@pytest.mark.parametrize("by", SENDERS)
def test_a_receiver_decodes_the_metrics(by: Literal["exporter", "collector"]) -> None:
    received = sent(by)
    metrics = received.last_metrics
    (run_of_payments,) = metrics["perdure.run.duration"].histogram.data_points
    assert run_of_payments.count == 1
    assert attributes(run_of_payments.attributes) == {
        "perdure.kind": "task",
        "perdure.job": "payments",
        "perdure.outcome": "failed",
    }
    assert metrics["perdure.run.duration"].unit == "s"
    work = {attributes(point.attributes)["perdure.work"] for point in metrics["perdure.in_flight"].gauge.data_points}
    assert work >= {"requests", "alarms"}

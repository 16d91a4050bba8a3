"""The cost of tracing: one request on the memory store, without a sink and with OpenTelemetry.

Run it with ``python docs/benchmarks/tracing.py``. Figures are µs for one request: CPU time of the process, its
exporting thread included, the least of all rounds; and the median and 99th percentile of the latency of all requests.
The sinks are switched between rounds, so that all see the same machine.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from itertools import count
from statistics import quantiles
from typing import Any

from attrs import Factory, define
from debug import JOBS
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler

from perdure import App
from perdure.telemetry.opentelemetry import OpenTelemetry, opentelemetry

ROUNDS = 30
REQUESTS = 500


class Discard(SpanExporter):
    """Exports nothing: the cost of a network is not measured."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Accept spans."""
        return SpanExportResult.SUCCESS


def traced(sampler: Sampler, exporter: SpanExporter | None = None) -> OpenTelemetry:
    """Return a sink with providers of its own."""
    tracers = TracerProvider(sampler=ParentBased(sampler), shutdown_on_exit=False)
    tracers.add_span_processor(BatchSpanProcessor(exporter or Discard()))
    return opentelemetry(
        tracer_provider=tracers, meter_provider=MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    )


def to_collector(url: str) -> OpenTelemetry:
    """Return a sink that sends to a collector."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - for this only

    return traced(ALWAYS_ON, OTLPSpanExporter(f"{url}/v1/traces"))


@define
class Figures:
    """The figures of one sink."""

    cpu_us: float = float("inf")
    latencies_us: list[float] = Factory(list[float])

    def shown(self, without: Figures) -> str:
        """Print them beside those without a sink."""
        cut = quantiles(self.latencies_us, n=100)
        return f"CPU {self.cpu_us:6.1f} ({self.cpu_us - without.cpu_us:+5.1f})  p50 {cut[49]:6.1f}  p99 {cut[98]:6.1f}"


async def one_round(job: Any, sink: OpenTelemetry | None, figures: Figures) -> None:
    """Send requests one after another."""
    ids = count()
    app = App(object()).with_jobs(job)
    async with (app if sink is None else app.with_sinks(sink)).open("memory://", debug=False) as client:
        handle = client.handle(job)
        for _ in range(50):
            await handle.send(f"{next(ids)}", 1)
        began = time.process_time()
        for _ in range(REQUESTS):
            sent = time.perf_counter()
            await handle.send(f"{next(ids)}", 1)
            figures.latencies_us.append((time.perf_counter() - sent) * 1e6)
        figures.cpu_us = min(figures.cpu_us, (time.process_time() - began) * 1e6 / REQUESTS)


def main() -> None:
    """Measure, and print a table; a URL of a collector as the argument adds a line."""
    sinks: dict[str, Callable[[], OpenTelemetry | None]] = {
        "no sink": lambda: None,
        "the API without an SDK": opentelemetry,
        "SDK, no trace sampled, metrics": lambda: traced(ALWAYS_OFF),
        "SDK, all traces, metrics": lambda: traced(ALWAYS_ON),
    }
    if len(sys.argv) > 1:
        sinks["the same, to a collector over HTTP"] = lambda: to_collector(sys.argv[1])
    for name, job in JOBS.items():
        made = {sink: make() for sink, make in sinks.items()}
        found = {sink: Figures() for sink in sinks}
        for _ in range(ROUNDS):
            for sink, value in made.items():
                asyncio.run(one_round(job, value, found[sink]))
        print(name)
        for sink, figures in found.items():
            print(f"  {sink:36}{figures.shown(found['no sink'])}")


if __name__ == "__main__":
    main()

"""The exposition: read, rendered, and repeated for a second.

Counts and readings become the Prometheus client library's families, so it needs the extra ``prometheus``.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from itertools import accumulate
from typing import Final, TypeAlias

import attrs
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family

from perdure.engine.sinks import Exposition
from perdure.runtime.record import Runtime, SpawnedTask
from perdure.runtime.tasks import ended
from perdure.telemetry.prometheus.metrics import (
    READ,
    EngineReader,
    Histogram,
    KnownJobs,
    Metric,
    Readings,
    Tally,
    samples,
)
from perdure.values.errors import EngineClosed

Buckets: TypeAlias = list[tuple[str, float]]


def families(tally: Tally, readings: Readings | None, jobs: KnownJobs) -> Iterator[Family]:
    """Return every metric with its samples.

    Args:
        tally: the counts.
        readings: the engine's state. None if it was not read yet.
        jobs: the served jobs.
    """
    for metric, counted in tally.counters.items():
        counter = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
        # Copies: another thread may collect while the engine adds a label, and iterating would raise.
        for labels, number in counted.copy().items():
            counter.add_metric(labels, number)
        yield counter
    for metric, histograms in tally.histograms.items():
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, each in histograms.copy().items():
            histogram.add_metric(labels, _buckets(each), each.sum)
        yield histogram
    if readings is not None:
        yield from _gauges(readings, jobs)


def _buckets(histogram: Histogram) -> Buckets:
    # Prometheus counts each bucket with all smaller ones.
    totals = accumulate(histogram.counts.copy())
    bounds = [*(str(float(bound)) for bound in histogram.bounds), "+Inf"]
    return list(zip(bounds, totals, strict=True))


def _gauges(readings: Readings, jobs: KnownJobs) -> Iterator[Family]:
    gauges = {metric: gauge_of(metric) for metric in READ}
    for metric, labels, value in samples(readings, jobs):
        gauges[metric].add_metric(labels, value)
    yield from gauges.values()


def gauge_of(metric: Metric) -> GaugeMetricFamily:
    """Return a gauge without samples."""
    return GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)


FRESH_MS: Final = 1_000
"""How long a rendered page is repeated, so that many scrapes cost as much as one."""

PIECE: Final = 200
"""Samples that are rendered at once: one or two milliseconds."""

OPENMETRICS: Final = "application/openmetrics-text"
TEXT: Final = "text/plain"


def preferred(accept: str) -> str:
    """Return the first known format in an ``Accept`` header. Text if there is none.

    >>> preferred("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2"), preferred("*/*")
    ('application/openmetrics-text', 'text/plain')
    """
    listed = (each.partition(";")[0].strip().lower() for each in accept.split(","))
    return next((each for each in listed if each in {OPENMETRICS, TEXT}), TEXT)


@attrs.define(eq=False)
class EngineCollector:
    """One engine's metrics, as a registry collects them. Any thread may collect."""

    tally: Tally
    reader: EngineReader
    jobs: KnownJobs

    def collect(self) -> Iterator[Family]:
        """Return every metric, with the store as it was last read."""
        return families(self.tally, self.reader.readings(), self.jobs)

    def describe(self) -> Iterator[Family]:
        """Return the names: a registry refuses the second engine that would use them."""
        return families(Tally(), Readings(now_ms=0), KnownJobs({}))


@attrs.frozen
class _Piece:
    """Some of a metric's samples, in the form of a registry that the library renders."""

    family: Family

    def collect(self) -> tuple[Family]:
        """Return them."""
        return (self.family,)


def pieces(family: Family) -> Iterator[Family]:
    """Return a family in pieces with few samples. A user's family, which may have its own form, is one piece."""
    samples = family.samples
    if len(samples) <= PIECE or not family.name.startswith("perdure_"):
        yield family
        return
    for first in range(0, len(samples), PIECE):
        # A copy: the family belongs to its collector, which may keep it.
        piece = copy(family)
        piece.samples = samples[first : first + PIECE]
        yield piece


@attrs.define(eq=False)
class MetricsPage:
    """Exposes a registry.

    Attributes:
        reader: reads the engine before the registry is collected.
        registry: the engine's metrics, and the user's.
    """

    runtime: Runtime
    reader: EngineReader
    registry: CollectorRegistry
    _rendered: dict[str, tuple[float, Exposition]] = attrs.Factory(dict[str, tuple[float, Exposition]])
    _rendering: dict[str, SpawnedTask[Exposition]] = attrs.Factory(dict[str, SpawnedTask[Exposition]])

    async def expose(self, accept: str) -> Exposition:
        """Return the metrics in the format that a header ``Accept`` prefers, at most a second old.

        Raises:
            EngineClosed: the engine stopped meanwhile.
        """
        wanted = preferred(accept)
        # By format: a scraper that wants another one must not get this page.
        at_ms, page = self._rendered.get(wanted, (float("-inf"), None))
        if page is not None and self.runtime.monotonic_ms() - at_ms < FRESH_MS:
            return page
        rendering = self._rendering.get(wanted)
        # One rendering for all scrapes at the time: each costs the event loop tens of milliseconds.
        if rendering is None or rendering.done():
            rendering = self.runtime.spawn(self._render(wanted), name="perdure:metrics page")
            self._rendering[wanted] = rendering
        await ended(rendering, self.runtime)
        if rendering.cancelled():
            raise EngineClosed
        return rendering.result()

    async def _render(self, wanted: str) -> Exposition:
        """Render piece by piece. Others run in between, because a long page takes longer than they may wait."""
        await self.reader.refresh()
        encode, content_type = choose_encoder(wanted)
        end = b"# EOF\n" if wanted == OPENMETRICS else b""
        parts: list[bytes] = []
        for family in self.registry.collect():
            for number, piece in enumerate(pieces(family)):
                text = encode(_Piece(piece)).removesuffix(end)
                parts.append(text if number == 0 else _without_header(text))
                # After each piece: a page of 20 jobs takes 33 ms, in which no request would be answered (decision
                # 0033).
                await self.runtime.sleep(0)
        page = Exposition(text=b"".join((*parts, end)), content_type=content_type)
        self._rendered[wanted] = self.runtime.monotonic_ms(), page
        return page

    async def close(self) -> None:
        """End what is being rendered."""
        for rendering in self._rendering.values():
            rendering.cancel()
            await ended(rendering, self.runtime)


def _without_header(text: bytes) -> bytes:
    """Return a piece's samples: the family's first piece has the help and the type."""
    # A family with two headers is not valid, and Prometheus refuses the whole page.
    return b"".join(line for line in text.splitlines(keepends=True) if not line.startswith(b"# "))

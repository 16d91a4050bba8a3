"""Counts and readings as the families of the Prometheus client library."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import TypeAlias

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family

from perdure.telemetry.prometheus.catalogue import READ, Metric
from perdure.telemetry.prometheus.labels import KnownJobs
from perdure.telemetry.prometheus.readings import Readings, samples
from perdure.telemetry.prometheus.tally import Histogram, Tally

Buckets: TypeAlias = list[tuple[str, float]]


def families(tally: Tally, readings: Readings | None, jobs: KnownJobs) -> Iterator[Family]:
    """Return every metric with its samples.

    Args:
        tally: the counts.
        readings: the state of the engine; None if it was not read yet.
        jobs: the served jobs.
    """
    for metric, counted in tally.counters.items():
        counter = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
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

"""What was counted since the engine started, by the values of labels."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import attrs

from perdure.telemetry.prometheus.catalogue import COMMIT_SIZE, COUNTED, Metric

LabelValues: TypeAlias = tuple[str, ...]

DURATIONS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
"""The default bounds of the buckets of durations."""
SIZES_BYTES: Final = (64, 256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304)


@attrs.define(eq=False)
class Histogram:
    """Counts values by size. An instance is changed in place: it is on the path of every request.

    >>> sizes = Histogram((1.0, 2.0))
    >>> for value in (0.5, 1.0, 7.0): sizes.observe(value)
    >>> sizes.counts, sizes.sum
    ([2, 0, 1], 8.5)

    Attributes:
        bounds: the largest value of each bucket but the last, ascending.
        counts: the number of values in each bucket.
        sum: the sum of all values.
    """

    bounds: Sequence[float]
    counts: list[int] = attrs.field(init=False)
    sum: float = 0.0

    def __attrs_post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


@attrs.define(eq=False)
class Tally:
    """Counters and histograms. An instance is changed in place.

    The thread of the engine writes it; another one may read it.

    Attributes:
        buckets: the bounds of the buckets of durations, in seconds.
        counters: the values of each counter.
        histograms: those of each histogram.
    """

    buckets: Sequence[float] = DURATIONS_S
    counters: Mapping[Metric, dict[LabelValues, int]] = attrs.field(init=False)
    histograms: Mapping[Metric, dict[LabelValues, Histogram]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.counters = {metric: {} for metric in COUNTED if metric.form == "counter"}
        self.histograms = {metric: {} for metric in COUNTED if metric.form == "histogram"}

    def bounds_of(self, metric: Metric) -> Sequence[float]:
        """Return the bounds of the buckets of a histogram."""
        return SIZES_BYTES if metric is COMMIT_SIZE else self.buckets

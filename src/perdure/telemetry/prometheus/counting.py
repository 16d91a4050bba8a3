"""Counts events by the values of labels: one lookup by the class of the event, and a few additions."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs

from perdure.telemetry.prometheus.catalogue import (
    CAUSES,
    CLAIMS,
    COMMIT_DURATION,
    COMMIT_OUTCOMES,
    COMMIT_SIZE,
    COMMITS,
    COUNTED,
    DELIVERIES,
    DELIVERY_OUTCOMES,
    LATENESS,
    LEAVINGS,
    LEFT_REASONS,
    LOST_LEASES,
    OVERLOADS,
    PARKINGS,
    REASONS,
    RECOVERIES,
    REQUEST_DURATION,
    REQUEST_OUTCOMES,
    REQUESTS,
    RUN_DURATION,
    RUN_OUTCOMES,
    RUNS,
    KnownJobs,
    Metric,
    one_of,
)
from perdure.values.event import JobExecuted, JobFailed, JobLeft, JobParked, JobRecovered
from perdure.values.live_event import (
    AlarmFired,
    AnyEvent,
    EngineOverloaded,
    LeaseLost,
    MessageDelivered,
    RequestEnded,
    RunClaimed,
    StoreCommitted,
)

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


@attrs.define(eq=False)
class Counting:
    """Adds events to a tally.

    Attributes:
        jobs: the served jobs.
        tally: receives the counts.
    """

    jobs: KnownJobs
    tally: Tally
    _counters: Mapping[type[Any], Callable[[Any], None]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._counters = {
            RequestEnded: self._request,
            StoreCommitted: self._commit,
            RunClaimed: self._claim,
            JobExecuted: self._executed,
            JobFailed: self._failed,
            JobRecovered: self._recovered,
            JobParked: self._parked,
            JobLeft: self._left,
            AlarmFired: self._alarm,
            EngineOverloaded: self._overloaded,
            MessageDelivered: self._delivered,
            LeaseLost: self._lease_lost,
        }
        for outcome in sorted(
            COMMIT_OUTCOMES
        ):  # a counter that appears with its first value hides that value from rate()
            self._add(COMMITS, (outcome,), 0)
        self._add(LOST_LEASES, (), 0)
        for job in self.jobs.by_job.values():
            self._add(RECOVERIES, job.values, 0)
            for outcome in RUN_OUTCOMES:
                self._add(RUNS, (*job.values, outcome), 0)

    def on_event(self, event: AnyEvent) -> None:
        """Count an event."""
        count = self._counters.get(type(event))
        if count is not None:
            count(event)

    # ------------------------------------------------------------ each event
    def _request(self, event: RequestEnded) -> None:
        job = self.jobs.at(event.address)
        labels = (*job.values, one_of(job.actions, event.action))
        self._add(REQUESTS, (*labels, one_of(REQUEST_OUTCOMES, event.outcome)))
        self._observe(REQUEST_DURATION, labels, event.took_ms / 1_000)

    def _commit(self, event: StoreCommitted) -> None:
        self._add(COMMITS, (one_of(COMMIT_OUTCOMES, event.outcome),))
        self._observe(COMMIT_DURATION, (), event.took_ms / 1_000)
        self._observe(COMMIT_SIZE, (), event.size_bytes)

    def _claim(self, event: RunClaimed) -> None:
        self._add(CLAIMS, (*self.jobs.at(event.address).values, one_of(CAUSES, event.cause)))

    def _executed(self, event: JobExecuted) -> None:
        self._run(event, "completed")

    def _failed(self, event: JobFailed) -> None:
        if event.hook != "superseded":  # by a new run: no attempt ended
            self._run(event, "failed" if event.retry_at_ms is None else "retrying")

    def _run(self, event: JobExecuted | JobFailed, outcome: str) -> None:
        job = self.jobs.at(event.address).values
        self._add(RUNS, (*job, outcome))
        self._observe(RUN_DURATION, job, event.duration_ms / 1_000)

    def _recovered(self, event: JobRecovered) -> None:
        self._add(RECOVERIES, self.jobs.at(event.address).values)

    def _parked(self, event: JobParked) -> None:
        self._add(PARKINGS, (*self.jobs.at(event.address).values, one_of(REASONS, event.reason)))

    def _left(self, event: JobLeft) -> None:
        self._add(LEAVINGS, (*self.jobs.at(event.address).values, one_of(LEFT_REASONS, event.error_type)))

    def _alarm(self, event: AlarmFired) -> None:
        self._observe(LATENESS, self.jobs.at(event.address).values, max(0, event.at_ms - event.due_ms) / 1_000)

    def _overloaded(self, event: EngineOverloaded) -> None:
        queue = "mailbox" if event.queue.startswith("mailbox") else "engine"  # the name of a mailbox has an id
        self._add(OVERLOADS, (*self.jobs.at(event.address).values, queue))

    def _delivered(self, event: MessageDelivered) -> None:
        self._add(DELIVERIES, (*self.jobs.at(event.target).values, one_of(DELIVERY_OUTCOMES, event.outcome)))

    def _lease_lost(self, _: LeaseLost) -> None:
        self._add(LOST_LEASES, ())

    # ------------------------------------------------------------ the tally
    def _add(self, metric: Metric, labels: LabelValues, number: int = 1) -> None:
        counted = self.tally.counters[metric]
        counted[labels] = counted.get(labels, 0) + number

    def _observe(self, metric: Metric, labels: LabelValues, value: float) -> None:
        histograms = self.tally.histograms[metric]
        histogram = histograms.get(labels)
        if histogram is None:
            histogram = histograms[labels] = Histogram(self.tally.bounds_of(metric))
        histogram.observe(value)

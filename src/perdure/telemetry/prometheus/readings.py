"""What is read at a scrape: the store's health and counts, the work in progress, the lags of sinks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

import attrs

from perdure.engine.sinks import InFlight, SinkLag
from perdure.stores.values import Health
from perdure.telemetry.prometheus.catalogue import (
    CACHE_LIMIT,
    CACHE_SIZE,
    COUNTS_COMPLETE,
    DEAD_LETTERS,
    DUE_AGE,
    FILE_SIZE,
    IN_FLIGHT,
    INFO,
    INSTANCES,
    LAG_AGE,
    LAG_EVENTS,
    MEMBERS,
    MESSAGES,
    SHARE,
    SINK_FAILING,
    STORE_DEGRADED,
    STORE_UP,
    WAL_SIZE,
    Metric,
)
from perdure.telemetry.prometheus.labels import KnownJobs
from perdure.telemetry.prometheus.tally import LabelValues
from perdure.values.excerpt import fields_in_line
from perdure.values.listings import StoreCounts

WORK = ("requests", "programs", "slots", "waiting_for_slot", "waiting_for_room", "alarms", "messages")
"""The fields of `InFlight` that are exposed."""

Sample: TypeAlias = tuple[Metric, LabelValues, float]
"""A gauge, the values of its labels, and its value."""


@attrs.frozen(kw_only=True)
class Readings:
    """The state of an engine at a scrape.

    Attributes:
        now_ms: the time, integer milliseconds UTC.
        version: the version of the library.
        store: the name of the store.
        health: the health of the store; None if it did not answer.
        counts: its counts; None if it did not answer, or does not count.
        epoch: of the engine.
        members: the shares of the engines on the store, by epoch; None if one engine owns it, or it did not answer.
        in_flight: the work in progress.
        lags: how far each sink that exports the log is behind it, by its name.
    """

    __repr__ = fields_in_line

    now_ms: int
    version: str = ""
    store: str = ""
    health: Health | None = None
    counts: StoreCounts | None = None
    epoch: int = 0
    members: Mapping[int, float] | None = None
    in_flight: InFlight = attrs.Factory(InFlight)
    lags: Mapping[str, SinkLag] = attrs.Factory(dict[str, SinkLag])


def samples(readings: Readings, jobs: KnownJobs) -> Iterator[Sample]:
    """Return every gauge. Those whose value is not known are absent."""
    yield INFO, (readings.version, readings.store), 1
    for work in WORK:
        yield IN_FLIGHT, (work,), getattr(readings.in_flight, work)
    yield from _of_store(readings.health)
    if readings.members is not None:
        yield MEMBERS, (), len(readings.members)
        yield SHARE, (), readings.members.get(readings.epoch, 0)
    if readings.counts is not None:
        yield from _of_counts(readings.counts, readings.now_ms, jobs)
    for sink, lag in readings.lags.items():
        yield LAG_EVENTS, (sink,), lag.events
        yield LAG_AGE, (sink,), 0 if lag.oldest_ms is None else _age_s(lag.oldest_ms, readings.now_ms)
        yield SINK_FAILING, (sink,), 1 if lag.problem else 0


def _of_store(health: Health | None) -> Iterator[Sample]:
    yield STORE_UP, (), 0 if health is None or health.state == "failed" else 1
    if health is not None:
        yield STORE_DEGRADED, (), 1 if health.state == "degraded" else 0
        yield FILE_SIZE, (), health.file_bytes
        yield WAL_SIZE, (), health.log_bytes
        yield CACHE_SIZE, (), health.cache_bytes
        yield CACHE_LIMIT, (), health.max_cache_bytes


def _of_counts(counts: StoreCounts, now_ms: int, jobs: KnownJobs) -> Iterator[Sample]:
    yield COUNTS_COMPLETE, (), 1 if counts.complete else 0
    yield DUE_AGE, (), 0 if counts.oldest_due_ms is None else _age_s(counts.oldest_due_ms, now_ms)
    yield MESSAGES, (), counts.messages
    yield DEAD_LETTERS, (), counts.dead_letters
    if counts.complete:
        yield from _instances(counts, jobs)


def _instances(counts: StoreCounts, jobs: KnownJobs) -> Iterator[Sample]:
    numbers: dict[LabelValues, int] = {}
    for each in counts.instances:
        labels: LabelValues = (*jobs.of_job(each.kind, each.name).values, each.status)
        numbers[labels] = numbers.get(labels, 0) + each.number
    for known, number in numbers.items():
        yield INSTANCES, known, number


def _age_s(since_ms: int, now_ms: int) -> float:
    return max(0, now_ms - since_ms) / 1_000

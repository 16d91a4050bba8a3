"""What is read at a scrape: the store's health and counts, the work in progress, the lags of sinks.

The engine is read by one read of the store at a time, and without a wait that has no limit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias, TypeVar

import attrs
from returns.future import FutureResult
from returns.result import Result

from perdure.engine.sinks import EngineView, InFlight, SinkLag
from perdure.programs.future import answer_of
from perdure.runtime.record import LogRecord, SpawnedTask
from perdure.runtime.tasks import ended
from perdure.stores.shares import parts_of
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
    KnownJobs,
    Metric,
)
from perdure.telemetry.prometheus.counting import LabelValues
from perdure.values.excerpt import excerpt, fields_in_line
from perdure.values.listings import StoreCounts
from perdure.wire.engine_info import installed_version

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


T = TypeVar("T")

LIMIT_MS: Final = 2_000
"""How long a scrape waits for the store; a Prometheus server waits 10 seconds for the scrape by default."""


@attrs.define(eq=False)
class EngineReader:
    """Reads the state of an engine.

    Attributes:
        engine: the engine.
        name: the name of the sink, for logs.
    """

    engine: EngineView
    name: str
    _health: Health | None = None
    _counts: StoreCounts | None = None
    _members: Mapping[int, float] | None = None
    _reading: SpawnedTask[None] | None = None
    _version: str = attrs.Factory(installed_version)

    def readings(self) -> Readings:
        """Return the state of the engine, and of its store when it was last read. Any thread may call it."""
        return Readings(
            now_ms=self.engine.runtime.now_ms(),
            version=self._version,
            store=self.engine.store.name,
            health=self._health,
            counts=self._counts,
            epoch=self.engine.store.epoch,
            members=self._members,
            in_flight=self.engine.in_flight(),
            lags=self.engine.lags(),
        )

    async def refresh(self) -> None:
        """Read the store, or wait for the read in progress, for at most two seconds."""
        runtime = self.engine.runtime
        if self._reading is None or self._reading.done():
            self._reading = runtime.spawn(self._read(), name=f"perdure:sink {self.name}")
        reading, over = self._reading, runtime.future()

        def end(_: object = None) -> None:
            if not over.done():
                over.set_result(None)

        reading.add_done_callback(end)
        timer = runtime.call_later(LIMIT_MS, end)
        try:
            await over
        finally:
            timer.cancel()
            reading.remove_done_callback(end)
        if not reading.done():
            self._health = self._counts = self._members = None

    async def _read(self) -> None:
        store = self.engine.store
        try:
            health = await _known(store.health())
            counts = None if store.counts is None else await _known(store.counts())
            members = None if store.sharing is None else await _known(store.sharing.members())
        except Exception as error:  # noqa: BLE001 - of a store; a scrape says that it does not answer
            health = counts = members = None
            fields = {"sink": self.name, "error": excerpt(error)}
            self.engine.runtime.log(LogRecord("warning", "store not read for metrics", fields))
        self._health, self._counts = health, counts
        self._members = None if members is None else parts_of(members)

    async def close(self) -> None:
        """End a read in progress."""
        if self._reading is not None:
            self._reading.cancel()
            await ended(self._reading, self.engine.runtime)


async def _known(call: FutureResult[T, Any]) -> T | None:
    result: Result[T, Any] = await answer_of(call)
    return result.value_or(None)

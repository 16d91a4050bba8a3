"""The metrics: the complete catalogue, those that count events, and those that are read at a scrape.

The catalogue gives each its name, form, labels and description, and the labels' values. Counting is one lookup by an
event's class, and a few additions. A scrape reads the store's health and counts, the work in progress, and the sinks'
lags. Nothing here needs an extra.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, TypeVar, get_args

import attrs
from returns.future import FutureResult
from returns.result import Result

from perdure.engine.sinks import EngineView, SinkLag
from perdure.jobs.definition import AnyDefinition
from perdure.programs.future import answer_of
from perdure.runtime.record import LogRecord, SpawnedTask
from perdure.runtime.tasks import ended
from perdure.stores.shares import parts_of
from perdure.stores.values import Health, JobWork
from perdure.values.address import Job
from perdure.values.event import JobExecuted, JobFailed, JobLeft, JobParked, JobRecovered
from perdure.values.excerpt import excerpt, fields_in_line
from perdure.values.instance import HEALS
from perdure.values.listings import MAX_COUNTED, InFlight, StoreCounts
from perdure.values.live_event import (
    AlarmFired,
    AnyEvent,
    CommitOutcome,
    EngineOverloaded,
    LeaseLost,
    LoopBlocked,
    MessageDelivered,
    RequestEnded,
    RequestOutcome,
    RunClaimed,
    StoreCommitted,
)
from perdure.values.status import Suspension
from perdure.wire.records import installed_version


@attrs.frozen(kw_only=True, eq=False)  # compared by identity: it is a key on the path of every request
class Metric:
    """A metric.

    Attributes:
        name: its name, for a counter with ``_total``.
    """

    name: str
    form: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...] = ()
    help: str


def _counter(name: str, text: str, *labels: str) -> Metric:
    return Metric(name=f"perdure_{name}_total", form="counter", labels=labels, help=text)


def _gauge(name: str, text: str, *labels: str) -> Metric:
    return Metric(name=f"perdure_{name}", form="gauge", labels=labels, help=text)


def _histogram(name: str, text: str, *labels: str) -> Metric:
    return Metric(name=f"perdure_{name}", form="histogram", labels=labels, help=text)


# ------------------------------------------------------------ counted from events
REQUESTS: Final = _counter("requests", "Requests of callers that ended.", "kind", "job_name", "action", "outcome")
REQUEST_DURATION: Final = _histogram(
    "request_duration_seconds", "Time from the acceptance of a request to its answer.", "kind", "job_name", "action"
)
OVERLOADS: Final = _counter("overloads", "Requests that a full queue refused.", "kind", "job_name", "queue")
CLAIMS: Final = _counter("run_claims", "Claimed runs, retries and repeats included.", "kind", "job_name", "cause")
RUNS: Final = _counter("runs", "Attempts of runs that ended.", "kind", "job_name", "outcome")
RUN_DURATION: Final = _histogram("run_duration_seconds", "Duration of an attempt of a run.", "kind", "job_name")
RECOVERIES: Final = _counter("run_recoveries", "Abandoned runs that were delivered again.", "kind", "job_name")
PARKINGS: Final = _counter("instances_parked", "Instances that were parked.", "kind", "job_name", "reason")
LEAVINGS: Final = _counter(
    "instances_left", "Times that code left an instance which it cannot read.", "kind", "job_name", "reason"
)
LATENESS: Final = _histogram("alarm_lateness_seconds", "How late the turn of an alarm began.", "kind", "job_name")
COMMITS: Final = _counter("commits", "Commits that the store answered.", "outcome")
COMMIT_DURATION: Final = _histogram("commit_duration_seconds", "Time until the store answered a commit.")
COMMIT_SIZE: Final = _histogram("commit_size_bytes", "Size of the state, messages and answer of a commit.")
DELIVERIES: Final = _counter("message_deliveries", "Deliveries of messages, by target.", "kind", "job_name", "outcome")
LOST_LEASES: Final = _counter("lost_leases", "Leases that ended before their engine closed the shared store.")
LOOP_BLOCKED: Final = _histogram("loop_blocked_seconds", "How long one call held the event loop, beyond the limit.")

COUNTED: Final = (
    REQUESTS,
    REQUEST_DURATION,
    OVERLOADS,
    CLAIMS,
    RUNS,
    RUN_DURATION,
    RECOVERIES,
    PARKINGS,
    LEAVINGS,
    LATENESS,
    COMMITS,
    COMMIT_DURATION,
    COMMIT_SIZE,
    DELIVERIES,
    LOST_LEASES,
    LOOP_BLOCKED,
)

# ------------------------------------------------------------ read at a scrape
IN_FLIGHT: Final = _gauge("in_flight", "Accepted and unfinished work.", "work")
INSTANCES: Final = _gauge("instances", "Instances by status.", "kind", "job_name", "status")
DEMAND: Final = _gauge(
    "demand", "Work of a served job, each up to 10000; of a held job only what runs.", "kind", "job_name", "work"
)
LIMIT_IN_USE: Final = _gauge("limit_in_use", "Permits of a limit with a name that this engine uses.", "limit_name")
LIMIT_WAITING: Final = _gauge(
    "limit_waiting", "Runs, calls and items of this engine that wait for a limit with a name.", "limit_name"
)
COUNTS_COMPLETE: Final = _gauge("counts_complete", "1 if perdure_instances has all instances, 0 while it counts.")
DUE_AGE: Final = _gauge("oldest_due_alarm_age_seconds", "How long the oldest due alarm has been due; 0 if none is.")
MESSAGES: Final = _gauge("waiting_messages", "Messages that wait for their delivery, up to 10000.")
DEAD_LETTERS: Final = _gauge("dead_letters", "Messages that failed too often, up to 10000.")
STORE_UP: Final = _gauge("store_up", "1 if the store answered, 0 if it failed or took longer than 2 seconds.")
STORE_DEGRADED: Final = _gauge("store_degraded", "1 if the store works and reports a problem.")
MEMBERS: Final = _gauge("store_members", "Engines that share the store.")
SHARE: Final = _gauge("store_share", "The part of the work on the store that this engine handles; they add up to 1.")
FILE_SIZE: Final = _gauge("store_file_bytes", "Size of the store's file.")
WAL_SIZE: Final = _gauge("store_wal_bytes", "Size of its write-ahead log.")
CACHE_SIZE: Final = _gauge("store_cache_bytes", "Size of its cache of instances.")
CACHE_LIMIT: Final = _gauge("store_cache_limit_bytes", "The bound of this cache.")
LAG_EVENTS: Final = _gauge("sink_lag_events", "Stored events that a sink has not exported.", "sink")
LAG_AGE: Final = _gauge("sink_lag_seconds", "Age of the oldest of them that the sink has read.", "sink")
SINK_FAILING: Final = _gauge("sink_failing", "1 if the last attempt of the sink failed.", "sink")
INFO: Final = _gauge("info", "The version of the library and the store; always 1.", "version", "store")

READ: Final = (
    IN_FLIGHT,
    INSTANCES,
    DEMAND,
    LIMIT_IN_USE,
    LIMIT_WAITING,
    COUNTS_COMPLETE,
    DUE_AGE,
    MESSAGES,
    DEAD_LETTERS,
    STORE_UP,
    STORE_DEGRADED,
    MEMBERS,
    SHARE,
    FILE_SIZE,
    WAL_SIZE,
    CACHE_SIZE,
    CACHE_LIMIT,
    LAG_EVENTS,
    LAG_AGE,
    SINK_FAILING,
    INFO,
)

METRICS: Final = (*COUNTED, *READ)
"""Every metric, in the order of the exposition."""


OTHER: Final = "other"

REQUEST_OUTCOMES: Final = frozenset(get_args(RequestOutcome))
COMMIT_OUTCOMES: Final = frozenset(get_args(CommitOutcome))
CAUSES: Final = frozenset({"alarm", "start", "trigger", "flush", "event", "upgrade"})
"""The causes of the package's kinds. Those of other kinds are ``other``: nothing bounds their number."""
REASONS: Final = frozenset(get_args(Suspension))
LEFT_REASONS: Final = frozenset({"InvalidInput", *HEALS})
DELIVERY_OUTCOMES: Final = frozenset({"consumed", "postponed", "dead_lettered"})
RUN_OUTCOMES: Final = ("completed", "retrying", "failed")


def one_of(known: Collection[str], value: str) -> str:
    """Return a value if it is known, else ``other``."""
    # A label with any value of a caller grows without a bound: each one is a time series for as long as Prometheus
    # keeps it.
    return value if value in known else OTHER


@attrs.frozen
class JobLabels:
    """A job's labels."""

    values: tuple[str, str]
    actions: frozenset[str] = frozenset()


_UNSERVED: Final = JobLabels((OTHER, OTHER))


@attrs.frozen
class KnownJobs:
    """Finds the labels for an address's job.

    Attributes:
        by_job: each served job's labels, by kind and name.
    """

    by_job: Mapping[tuple[str, str], JobLabels]

    @classmethod
    def of(cls, jobs: Mapping[tuple[str, str], AnyDefinition]) -> KnownJobs:
        """Return the labels for served definitions."""
        return cls({job: JobLabels(job, frozenset(_commands(each))) for job, each in jobs.items()})

    def at(self, address: str) -> JobLabels:
        """Return the labels for an address's job. The address is printed ``kind:name:id``."""
        kind, _, rest = address.partition(":")
        # A name has no colon, and an id may have some.
        return self.of_job(kind, rest.partition(":")[0])

    def of_job(self, kind: str, name: str) -> JobLabels:
        """Return a job's labels."""
        # Jobs that this engine does not serve are one series: a store can hold any number of names.
        return self.by_job.get((kind, name), _UNSERVED)


def _commands(definition: AnyDefinition) -> Mapping[str, Any]:
    return definition.plan.commands


LabelValues: TypeAlias = tuple[str, ...]

DURATIONS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
"""The default bounds of the buckets of durations."""
SIZES_BYTES: Final = (64, 256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304)


@attrs.define(eq=False)
class Histogram:
    """Counts values by size. An instance is changed in place: it is on every request's path.

    >>> sizes = Histogram((1.0, 2.0))
    >>> for value in (0.5, 1.0, 7.0): sizes.observe(value)
    >>> sizes.counts, sizes.sum
    ([2, 0, 1], 8.5)

    Attributes:
        bounds: each bucket's largest value but the last, ascending.
        counts: the value count in each bucket.
        sum: all values added up.
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

    The engine's thread writes it. Another one may read it.

    Attributes:
        buckets: the duration buckets' bounds, in seconds.
    """

    buckets: Sequence[float] = DURATIONS_S
    counters: Mapping[Metric, dict[LabelValues, int]] = attrs.field(init=False)
    histograms: Mapping[Metric, dict[LabelValues, Histogram]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.counters = {metric: {} for metric in COUNTED if metric.form == "counter"}
        self.histograms = {metric: {} for metric in COUNTED if metric.form == "histogram"}

    def bounds_of(self, metric: Metric) -> Sequence[float]:
        """Return a histogram's bucket bounds."""
        return SIZES_BYTES if metric is COMMIT_SIZE else self.buckets


@attrs.define(eq=False)
class Counting:
    """Adds events to a tally."""

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
            LoopBlocked: self._loop_blocked,
        }
        for outcome in sorted(
            COMMIT_OUTCOMES
        ):  # a counter that appears with its first value hides that value from rate()
            self._add(COMMITS, (outcome,), 0)
        # From 0 on, as above.
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
        # An action comes from the caller, as text.
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
        # The error type is the name of any class: unbounded.
        self._add(LEAVINGS, (*self.jobs.at(event.address).values, one_of(LEFT_REASONS, event.error_type)))

    def _alarm(self, event: AlarmFired) -> None:
        # The clock may have gone back.
        self._observe(LATENESS, self.jobs.at(event.address).values, max(0, event.at_ms - event.due_ms) / 1_000)

    def _overloaded(self, event: EngineOverloaded) -> None:
        queue = "mailbox" if event.queue.startswith("mailbox") else "engine"  # the name of a mailbox has an id
        self._add(OVERLOADS, (*self.jobs.at(event.address).values, queue))

    def _delivered(self, event: MessageDelivered) -> None:
        self._add(DELIVERIES, (*self.jobs.at(event.target).values, one_of(DELIVERY_OUTCOMES, event.outcome)))

    def _lease_lost(self, _: LeaseLost) -> None:
        self._add(LOST_LEASES, ())

    def _loop_blocked(self, event: LoopBlocked) -> None:
        self._observe(LOOP_BLOCKED, (), event.took_ms / 1_000)

    # ------------------------------------------------------------ the tally
    def _add(self, metric: Metric, labels: LabelValues, number: int = 1) -> None:
        # No lock: only the engine's thread writes, and the lock of the client library costs as much as four counts.
        counted = self.tally.counters[metric]
        counted[labels] = counted.get(labels, 0) + number

    def _observe(self, metric: Metric, labels: LabelValues, value: float) -> None:
        histograms = self.tally.histograms[metric]
        histogram = histograms.get(labels)
        if histogram is None:
            histogram = histograms[labels] = Histogram(self.tally.bounds_of(metric))
        histogram.observe(value)


WORK = ("requests", "programs", "slots", "waiting_for_slot", "waiting_for_room", "alarms", "messages")
"""The fields of `InFlight` that are exposed."""

WAITING_WORK = ("queued", "due", "messages", "running")
"""The fields of `JobDemand` that are exposed."""

Sample: TypeAlias = tuple[Metric, LabelValues, float]
"""A gauge, the values of its labels, and its value."""


@attrs.frozen(kw_only=True)
class Readings:
    """An engine's state at a scrape.

    Attributes:
        now_ms: the time, integer milliseconds UTC.
        health: the store's health. None if it did not answer.
        counts: its counts. None if it did not answer, or does not count.
        members: the shares of the engines on the store, by epoch. None if one engine owns it, or it did not answer.
        in_flight: the work in progress.
        limits: the permits in use of each limit with a name, and how many runs, calls and items wait.
        lags: how far each sink that exports the log is behind it, by its name.
    """

    __repr__ = fields_in_line

    now_ms: int
    version: str = ""
    store: str = ""
    health: Health | None = None
    counts: StoreCounts | None = None
    demand: tuple[JobWork, ...] = ()
    epoch: int = 0
    members: Mapping[int, float] | None = None
    in_flight: InFlight = attrs.Factory(InFlight)
    limits: Mapping[str, tuple[int, int]] = attrs.Factory(dict[str, tuple[int, int]])
    lags: Mapping[str, SinkLag] = attrs.Factory(dict[str, SinkLag])


def samples(readings: Readings, jobs: KnownJobs) -> Iterator[Sample]:
    """Return every gauge. Those whose value is not known are absent."""
    yield INFO, (readings.version, readings.store), 1
    for work in WORK:
        yield IN_FLIGHT, (work,), getattr(readings.in_flight, work)
    for limit, (used, waiting) in readings.limits.items():
        yield LIMIT_IN_USE, (limit,), used
        yield LIMIT_WAITING, (limit,), waiting
    yield from _of_store(readings.health)
    if readings.members is not None:
        yield MEMBERS, (), len(readings.members)
        yield SHARE, (), readings.members.get(readings.epoch, 0)
    if readings.counts is not None:
        yield from _of_counts(readings.counts, readings.now_ms, jobs)
    for one in readings.demand:
        for work in WAITING_WORK:
            yield DEMAND, (*jobs.of_job(one.kind, one.name).values, work), getattr(one, work)
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
    # Partial counts would look like a loss of instances in each graph.
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
        # Jobs that are not served share a series, so their numbers are added.
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
    """Reads an engine's state.

    Attributes:
        name: the sink's name, for logs.
    """

    engine: EngineView
    name: str
    _health: Health | None = None
    _counts: StoreCounts | None = None
    _demand: tuple[JobWork, ...] = ()
    _members: Mapping[int, float] | None = None
    _reading: SpawnedTask[None] | None = None
    _version: str = attrs.Factory(installed_version)

    def readings(self) -> Readings:
        """Return the engine's state, and its store's state when it was last read. Any thread may call it."""
        return Readings(
            now_ms=self.engine.runtime.now_ms(),
            version=self._version,
            store=self.engine.store.name,
            health=self._health,
            counts=self._counts,
            demand=self._demand,
            epoch=self.engine.store.epoch,
            members=self._members,
            in_flight=self.engine.in_flight(),
            limits=self.engine.limits_in_use(),
            lags=self.engine.lags(),
        )

    async def refresh(self) -> None:
        """Read the store, or wait for the read in progress, for at most two seconds."""
        runtime = self.engine.runtime
        # A store that hangs gets one read, not one for each scrape.
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
            # Unknown, not the last known: old values would hide for hours that the store does not answer.
            self._health = self._counts = self._members = None
            self._demand = ()

    async def _read(self) -> None:
        store = self.engine.store
        try:
            health = await _known(store.health())
            counts = None if store.counts is None else await _known(store.counts.instances())
            demand = await self._read_demand(counts)
            members = None if store.sharing is None else await _known(store.sharing.members())
        except Exception as error:  # noqa: BLE001 - of a store; a scrape says that it does not answer
            health, counts, demand, members = None, None, (), None
            fields = {"sink": self.name, "error": excerpt(error)}
            self.engine.runtime.log(LogRecord("warning", "store not read for metrics", fields))
        # Together: a scrape must not show the counts of one read beside the health of another one.
        self._health, self._counts, self._demand = health, counts, demand
        self._members = None if members is None else parts_of(members)

    async def _read_demand(self, counts: StoreCounts | None) -> tuple[JobWork, ...]:
        store, jobs = self.engine.store, tuple(sorted(self.engine.jobs))
        if store.counts is None or counts is None:
            return ()
        now_ms = self.engine.runtime.now_ms()
        held = await _known(store.holds())
        work = await _known(store.counts.work(jobs, now_ms, MAX_COUNTED))
        if held is None or work is None:
            return ()
        return tuple(_unless_held(one, frozenset(held)) for one in work.jobs)

    async def close(self) -> None:
        """End a read in progress."""
        if self._reading is not None:
            self._reading.cancel()
            await ended(self._reading, self.engine.runtime)


def _unless_held(work: JobWork, held: frozenset[Job]) -> JobWork:
    is_held = (work.kind, work.name) in held
    return JobWork(kind=work.kind, name=work.name, running=work.running) if is_held else work


async def _known(call: FutureResult[T, Any]) -> T | None:
    result: Result[T, Any] = await answer_of(call)
    return result.value_or(None)

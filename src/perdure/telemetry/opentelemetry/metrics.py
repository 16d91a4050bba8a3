"""Events as metrics: what each event adds to which. No attribute is an id, so that their number stays small."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Literal, TypeAlias, assert_never

import attrs
from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation, get_meter

from perdure.engine.sinks import InFlight, OnEvent
from perdure.telemetry.opentelemetry.spans import SCOPE
from perdure.values.event import JobExecuted, JobFailed, JobLeft, JobParked, JobRecovered
from perdure.values.live_event import (
    AlarmFired,
    AnyEvent,
    EngineOverloaded,
    LeaseLost,
    MessageDelivered,
    RequestEnded,
    StoreCommitted,
)
from perdure.wire.engine_info import installed_version

Labels: TypeAlias = dict[str, str]


@attrs.frozen(kw_only=True)
class Instrument:
    """A metric.

    Attributes:
        name: its name.
        form: a counter, or a histogram.
        unit: its unit.
        description: its description.
    """

    name: str
    form: Literal["counter", "histogram"]
    unit: str
    description: str


REQUESTS: Final = Instrument(
    name="perdure.request.duration",
    form="histogram",
    unit="s",
    description="Time from the acceptance of a request to its answer.",
)
WAITS: Final = Instrument(
    name="perdure.request.wait", form="histogram", unit="s", description="Time of a request in its instance's mailbox."
)
OVERLOADS: Final = Instrument(
    name="perdure.request.overloads",
    form="counter",
    unit="{request}",
    description="Requests that a full queue refused.",
)
RUNS: Final = Instrument(
    name="perdure.run.duration", form="histogram", unit="s", description="Duration of an attempt of a run."
)
RECOVERIES: Final = Instrument(
    name="perdure.run.recoveries", form="counter", unit="{run}", description="Abandoned runs that were delivered again."
)
PARKED: Final = Instrument(
    name="perdure.instance.parked", form="counter", unit="{instance}", description="Instances that were parked."
)
LEFT: Final = Instrument(
    name="perdure.instance.left",
    form="counter",
    unit="{instance}",
    description="Times that code left an instance which it cannot read.",
)
LATENESS: Final = Instrument(
    name="perdure.alarm.lateness", form="histogram", unit="s", description="How late the turn of an alarm began."
)
COMMITS: Final = Instrument(
    name="perdure.commit.duration", form="histogram", unit="s", description="Time until the store answered a commit."
)
DELIVERIES: Final = Instrument(
    name="perdure.message.deliveries", form="counter", unit="{message}", description="Deliveries of messages."
)

LOST_LEASES: Final = Instrument(
    name="perdure.lease.losses",
    form="counter",
    unit="{lease}",
    description="Leases that ended before their engine closed the shared store.",
)

INSTRUMENTS: Final = (
    REQUESTS,
    WAITS,
    OVERLOADS,
    RUNS,
    RECOVERIES,
    PARKED,
    LEFT,
    LATENESS,
    COMMITS,
    DELIVERIES,
    LOST_LEASES,
)


@attrs.frozen
class MetricValue:
    """A value for a metric.

    Attributes:
        instrument: the metric.
        value: in its unit.
        labels: its attributes.
    """

    instrument: Instrument
    value: float
    labels: Labels


def metric_values(event: AnyEvent) -> tuple[MetricValue, ...]:
    """Return the values that an event adds."""
    match event:
        case RequestEnded():
            return _request(event)
        case EngineOverloaded() | AlarmFired() | StoreCommitted() | MessageDelivered():
            return (_live(event),)
        case JobExecuted() | JobFailed() | JobRecovered() | JobParked() | JobLeft():
            return _stored(event)
        case LeaseLost():
            return (MetricValue(LOST_LEASES, 1, {}),)
        case _:
            return ()


def _request(event: RequestEnded) -> tuple[MetricValue, ...]:
    labels = _of_job(event.address) | {"perdure.action": event.action, "perdure.outcome": event.outcome}
    ended = labels | {"error.type": event.error} if event.error else labels
    return MetricValue(REQUESTS, event.took_ms / 1_000, ended), MetricValue(WAITS, event.waited_ms / 1_000, labels)


def _live(event: EngineOverloaded | AlarmFired | StoreCommitted | MessageDelivered) -> MetricValue:
    match event:
        case EngineOverloaded():
            queue = "mailbox" if event.queue.startswith("mailbox") else "engine"  # the name of a mailbox has an id
            return MetricValue(OVERLOADS, 1, _of_job(event.address) | {"perdure.queue": queue})
        case AlarmFired():
            return MetricValue(LATENESS, event.lateness.total_seconds(), _of_job(event.address))
        case StoreCommitted():
            labels = _of_job(event.address) | {"perdure.outcome": event.outcome}
            return MetricValue(COMMITS, event.took_ms / 1_000, labels)
        case MessageDelivered():
            labels = _of_job(event.target) | {"perdure.action": event.action, "perdure.outcome": event.outcome}
            return MetricValue(DELIVERIES, 1, labels)
        case _:
            assert_never(event)


def _stored(event: JobExecuted | JobFailed | JobRecovered | JobParked | JobLeft) -> tuple[MetricValue, ...]:
    job = _of_job(event.address)
    match event:
        case JobExecuted():
            return (_run(event, "completed"),)
        case JobFailed():
            is_run = event.hook != "superseded"
            return (_run(event, "failed" if event.retry_at_ms is None else "retrying"),) if is_run else ()
        case JobRecovered():
            return (MetricValue(RECOVERIES, 1, job),)
        case JobParked():
            return (MetricValue(PARKED, 1, job | {"perdure.reason": event.reason}),)
        case JobLeft():
            return (MetricValue(LEFT, 1, job | {"perdure.reason": event.error_type}),)
        case _:
            assert_never(event)


def _run(event: JobExecuted | JobFailed, outcome: str) -> MetricValue:
    return MetricValue(RUNS, event.duration_ms / 1_000, _of_job(event.address) | {"perdure.outcome": outcome})


def _of_job(address: str) -> Labels:
    kind, name, _ = address.split(":", 2)
    return {"perdure.kind": kind, "perdure.job": name}


_BOUNDARIES_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
"""The advice for histograms; a view of the SDK can replace it."""


def metrics(provider: MeterProvider | None, in_flight: Callable[[], InFlight]) -> OnEvent:
    """Return the function that adds events to the metrics.

    Args:
        provider: provides the meter; None for the global one.
        in_flight: returns the work in progress of the engine.
    """
    meter = get_meter(SCOPE, installed_version(), provider)
    adders = {instrument.name: _adder(meter, instrument) for instrument in INSTRUMENTS}

    def observe(_: CallbackOptions) -> Iterable[Observation]:
        work = in_flight()
        for state in ("requests", "programs", "alarms", "messages", "waiting_for_slot", "waiting_for_room"):
            yield Observation(getattr(work, state), {"perdure.work": state})

    meter.create_observable_gauge(
        "perdure.in_flight", [observe], unit="{item}", description="Accepted and unfinished work."
    )

    def add(event: AnyEvent) -> None:
        for measured in metric_values(event):
            adders[measured.instrument.name](measured.value, measured.labels)

    return add


def _adder(meter: Meter, instrument: Instrument) -> Callable[[float, dict[str, str]], None]:
    if instrument.form == "counter":
        return meter.create_counter(instrument.name, instrument.unit, instrument.description).add
    return meter.create_histogram(
        instrument.name,
        instrument.unit,
        instrument.description,
        explicit_bucket_boundaries_advisory=_BOUNDARIES_S,
    ).record

"""Events as metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation, get_meter

from perdure.engine.sinks import InFlight, OnEvent
from perdure.telemetry.opentelemetry.metric_values import INSTRUMENTS, Instrument, metric_values
from perdure.telemetry.opentelemetry.spans import SCOPE
from perdure.values.live_event import AnyEvent
from perdure.wire.engine_info import installed_version

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

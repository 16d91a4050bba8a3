"""The signals: turns and effects as spans, and what each event adds to which metric.

Span attributes follow OpenTelemetry's messaging conventions, and are ``perdure.*`` besides. Trace contexts are text
outside this package, such as a ``traceparent``, and are translated both ways. No metric attribute is an id, so that
there are few time series.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Final, Literal, TypeAlias, assert_never

import attrs
from opentelemetry import context as contexts
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation, get_meter
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    TracerProvider,
    get_current_span,
    get_tracer,
    set_span_in_context,
)

from perdure.engine.sinks import EffectBegun, EffectSpan, OnEvent, TurnBegun, TurnEnded
from perdure.values.address import Address
from perdure.values.event import JobExecuted, JobFailed, JobLeft, JobParked, JobRecovered
from perdure.values.instance import Claim
from perdure.values.listings import InFlight
from perdure.values.live_event import (
    AlarmFired,
    AnyEvent,
    EngineOverloaded,
    LeaseLost,
    LoopBlocked,
    MessageDelivered,
    RequestEnded,
    StoreCommitted,
)
from perdure.values.status import FailureRecord
from perdure.wire.records import installed_version


def text_of(context: SpanContext) -> str | None:
    """Return a context as text. None if it is not valid: no SDK is set up."""
    if not context.is_valid:
        return None
    # The text of W3C's `traceparent`, which every tracing library reads. Version 00 has exactly these parts.
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & 0xFF:02x}"


def current() -> str | None:
    """Return the current span's context."""
    return text_of(get_current_span().get_span_context())


def span_context(text: str, *, is_remote: bool) -> SpanContext:
    """Return the context that a text of `text_of` describes.

    Args:
        text: the context.
        is_remote: whether its span is from another process.
    """
    _, trace_id, span_id, flags = text.split("-")
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=is_remote, trace_flags=TraceFlags(int(flags, 16)))


def inside(text: str, *, is_remote: bool, base: Context | None = None) -> Context:
    """Return a context in which this span is the current one.

    Args:
        text: the span's context.
        is_remote: whether another process's span is.
        base: holds the other values, such as baggage. By default none.
    """
    span = NonRecordingSpan(span_context(text, is_remote=is_remote))
    # Without a base, nothing of the running task may get into the trace.
    return set_span_in_context(span, Context() if base is None else base)


Attributes: TypeAlias = dict[str, str | int]

SYSTEM: Final = "perdure"


def name_of_turn(turn: TurnBegun) -> str:
    """Return a turn's span name: the operation and the destination."""
    return f"{turn.action} {job_of(turn.address)}"


def job_of(address: Address) -> str:
    """Return a job as a message destination."""
    return f"{address.kind}:{address.name}"


def of_turn(turn: TurnBegun) -> Attributes:
    """Return what is known when a turn begins."""
    attributes: Attributes = {
        "messaging.system": SYSTEM,
        "messaging.operation.name": turn.action,
        "messaging.operation.type": "process",
        "messaging.destination.name": job_of(turn.address),
        "perdure.cause": turn.cause,
        **of_instance(turn.address),
    }
    if turn.message_id is not None:
        attributes["messaging.message.id"] = str(turn.message_id)
    if turn.sender is not None:
        attributes["perdure.sender"] = turn.sender
    return attributes


def of_instance(address: Address) -> Attributes:
    """Return an address's parts."""
    return {"perdure.kind": address.kind, "perdure.job": address.name, "perdure.id": address.id}


def of_run(claim: Claim) -> Attributes:
    """Return a claim's run."""
    return {"perdure.run_id": claim.run_id, "perdure.attempt": claim.attempt, "perdure.delivery": claim.deliveries}


def of_effect(effect: EffectBegun) -> Attributes:
    """Return what is known when an effect begins."""
    return {"perdure.effect": effect.name, **of_instance(effect.address), **of_run(effect.claim)}


def of_exception(failure: FailureRecord) -> Attributes:
    """Return the event ``exception``'s attributes."""
    attributes: Attributes = {"exception.type": failure.error_type, "exception.message": failure.message}
    if failure.traceback is not None:
        attributes["exception.stacktrace"] = failure.traceback
    return attributes


SCOPE = "perdure"
"""The name of the instrumentation scope of spans and metrics."""

_ERRORS = frozenset({"failed", "unavailable", "unknown"})
"""The outcomes that are errors of the job or its store. A rejected or refused request is a mistake of its caller."""


@attrs.frozen
class Spans:
    """Traces an engine."""

    tracer: Tracer

    def current(self) -> str | None:
        """Return the running code's trace context."""
        return current()

    def begin(self, turn: TurnBegun, /) -> TurnOfSpan:
        """Begin a turn: a part of the caller's trace, or a new trace's root with a link to its cause."""
        # An empty context, not the current one: a turn runs in whichever task is free, and would become a part of its
        # trace.
        parent = Context() if turn.parent is None else inside(turn.parent, is_remote=True)
        links = () if turn.link is None else (Link(span_context(turn.link, is_remote=True)),)
        span = self.tracer.start_span(
            name_of_turn(turn), parent, kind=SpanKind.CONSUMER, attributes=of_turn(turn), links=links
        )
        return TurnOfSpan(span)

    @contextmanager
    def effect(self, effect: EffectBegun, /) -> Generator[EffectSpan]:
        """Perform an effect: its span is the current one inside the block."""
        base = contexts.get_current()
        parent = Context() if effect.parent is None else inside(effect.parent, is_remote=False, base=base)
        span = self.tracer.start_span(effect.name, parent, attributes=of_effect(effect))
        # Detached in any case: a span that stays current would become the parent of all later ones in this task.
        token = contexts.attach(set_span_in_context(span, parent))
        try:
            yield EffectOfSpan(span)
        finally:
            contexts.detach(token)
            span.end()


@attrs.frozen
class TurnOfSpan:
    """A turn as a span."""

    span: Span

    @property
    def context(self) -> str | None:
        """The trace context."""
        return text_of(self.span.get_span_context())

    def runs(self, claim: Claim) -> None:
        """Note the run that the turn executes."""
        self.span.set_attributes(of_run(claim))

    def end(self, ended: TurnEnded) -> None:
        """End it."""
        span = self.span
        span.set_attribute("perdure.outcome", ended.outcome)
        if ended.error_type:
            span.set_attribute("error.type", ended.error_type)
        if ended.failure is not None:
            _record(span, ended.failure)
        elif ended.outcome in _ERRORS:
            span.set_status(Status(StatusCode.ERROR, ended.error_type))
        span.end()


@attrs.frozen
class EffectOfSpan:
    """An effect as a span."""

    span: Span

    def failed(self, failure: FailureRecord) -> None:
        """Note its error."""
        self.span.set_attribute("error.type", failure.error_type)
        _record(self.span, failure)


def _record(span: Span, failure: FailureRecord) -> None:
    span.add_event("exception", of_exception(failure))
    span.set_status(Status(StatusCode.ERROR, failure.message))


def spans(provider: TracerProvider | None) -> Spans:
    """Return an engine's tracing.

    Args:
        provider: provides the tracer. None for the global one.
    """
    return Spans(get_tracer(SCOPE, installed_version(), provider))


Labels: TypeAlias = dict[str, str]


@attrs.frozen(kw_only=True)
class Instrument:
    """A metric."""

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
LOOP_BLOCKED: Final = Instrument(
    name="perdure.loop.blocked",
    form="histogram",
    unit="s",
    description="How long one call held the event loop, beyond the limit.",
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
    LOOP_BLOCKED,
)


@attrs.frozen
class MetricValue:
    """A value for a metric.

    Attributes:
        value: in its unit.
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
        case LoopBlocked():
            return (MetricValue(LOOP_BLOCKED, event.took_ms / 1_000, {}),)
        case _:
            return ()


def _request(event: RequestEnded) -> tuple[MetricValue, ...]:
    labels = _of_job(event.address) | {"perdure.action": event.action, "perdure.outcome": event.outcome}
    # Only the duration has the type of the error: the wait was over before it.
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
            # No attempt has ended: a new run has replaced this one.
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
    # Without the id: the SDK keeps one time series for each set of attributes.
    kind, name, _ = address.split(":", 2)
    return {"perdure.kind": kind, "perdure.job": name}


_BOUNDARIES_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
"""The advice for histograms; a view of the SDK can replace it."""


def metrics(provider: MeterProvider | None, in_flight: Callable[[], InFlight]) -> OnEvent:
    """Return the function that adds events to the metrics.

    Args:
        provider: provides the meter. None for the global one.
        in_flight: returns the engine's work in progress.
    """
    meter = get_meter(SCOPE, installed_version(), provider)
    # Once: a meter warns of an instrument that is made twice.
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

"""Turns and effects as spans.

Their attributes are the messaging conventions of OpenTelemetry, and ``perdure.*``. Trace contexts are text outside of
this package, such as a ``traceparent``, and are translated both ways.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, Literal, TypeAlias

import attrs
from opentelemetry import context as contexts
from opentelemetry.context import Context
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

from perdure.engine.sinks import EffectBegun, EffectSpan, TurnBegun, TurnEnded
from perdure.values.address import Address
from perdure.values.failure import FailureRecord
from perdure.values.instance import Claim
from perdure.wire.engine_info import installed_version


def text_of(context: SpanContext) -> str | None:
    """Return a context as text; None if it is not valid: no SDK is set up."""
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & 0xFF:02x}"


def current() -> str | None:
    """Return the context of the current span."""
    return text_of(get_current_span().get_span_context())


def span_context(text: str, *, origin: Literal["here", "elsewhere"]) -> SpanContext:
    """Return the context that a text of `text_of` describes.

    Args:
        text: the context.
        origin: whether its span is of this engine.
    """
    _, trace_id, span_id, flags = text.split("-")
    return SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=origin == "elsewhere", trace_flags=TraceFlags(int(flags, 16))
    )


def inside(text: str, *, origin: Literal["here", "elsewhere"], base: Context | None = None) -> Context:
    """Return a context in which this span is the current one.

    Args:
        text: the context of the span.
        origin: whether the span is of this engine.
        base: holds the other values, such as baggage; by default none.
    """
    return set_span_in_context(NonRecordingSpan(span_context(text, origin=origin)), Context() if base is None else base)


Attributes: TypeAlias = dict[str, str | int]

SYSTEM: Final = "perdure"


def name_of_turn(turn: TurnBegun) -> str:
    """Return the name of a turn's span: the operation and the destination."""
    return f"{turn.action} {job_of(turn.address)}"


def job_of(address: Address) -> str:
    """Return a job as the destination of messages."""
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
    """Return the parts of an address."""
    return {"perdure.kind": address.kind, "perdure.job": address.name, "perdure.id": address.id}


def of_run(claim: Claim) -> Attributes:
    """Return the run of a claim."""
    return {"perdure.run_id": claim.run_id, "perdure.attempt": claim.attempt, "perdure.delivery": claim.deliveries}


def of_effect(effect: EffectBegun) -> Attributes:
    """Return what is known when an effect begins."""
    return {"perdure.effect": effect.name, **of_instance(effect.address), **of_run(effect.claim)}


def of_exception(failure: FailureRecord) -> Attributes:
    """Return the attributes of the event ``exception``."""
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
    """Traces an engine.

    Attributes:
        tracer: begins the spans.
    """

    tracer: Tracer

    def current(self) -> str | None:
        """Return the trace context of the running code."""
        return current()

    def begin(self, turn: TurnBegun, /) -> TurnOfSpan:
        """Begin a turn: a part of the caller's trace, or the root of a new one with a link to its cause."""
        parent = Context() if turn.parent is None else inside(turn.parent, origin="elsewhere")
        links = () if turn.link is None else (Link(span_context(turn.link, origin="elsewhere")),)
        span = self.tracer.start_span(
            name_of_turn(turn), parent, kind=SpanKind.CONSUMER, attributes=of_turn(turn), links=links
        )
        return TurnOfSpan(span)

    @contextmanager
    def effect(self, effect: EffectBegun, /) -> Generator[EffectSpan]:
        """Perform an effect: its span is the current one inside the block."""
        base = contexts.get_current()
        parent = Context() if effect.parent is None else inside(effect.parent, origin="here", base=base)
        span = self.tracer.start_span(effect.name, parent, attributes=of_effect(effect))
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
    """Return the tracing of an engine.

    Args:
        provider: provides the tracer; None for the global one.
    """
    return Spans(get_tracer(SCOPE, installed_version(), provider))

"""Turns and effects as spans."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import attrs
from opentelemetry import context as contexts
from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    TracerProvider,
    get_tracer,
    set_span_in_context,
)

from perdure.engine.sinks import EffectBegun, EffectSpan, TurnBegun, TurnEnded
from perdure.telemetry.opentelemetry.attributes import name_of_turn, of_effect, of_exception, of_run, of_turn
from perdure.telemetry.opentelemetry.context import current, inside, span_context, text_of
from perdure.values.failure import FailureRecord
from perdure.values.instance import Claim
from perdure.wire.engine_info import installed_version

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

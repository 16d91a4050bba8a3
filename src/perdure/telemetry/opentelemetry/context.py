"""Trace contexts of OpenTelemetry as text, both ways."""

from __future__ import annotations

from typing import Literal

from opentelemetry.context import Context
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)


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

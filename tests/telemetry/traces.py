"""The spans of a test, kept in memory by the SDK of OpenTelemetry, and how they hang together."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler

from perdure.telemetry.opentelemetry import OpenTelemetry, opentelemetry


@attrs.define
class Traces:
    """Collects finished spans; each process of a test that ends them has its own provider, as it would have."""

    exporter: InMemorySpanExporter = attrs.Factory(InMemorySpanExporter)
    sampler: Sampler = attrs.Factory(lambda: ParentBased(ALWAYS_ON))
    provider: TracerProvider = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.provider = TracerProvider(sampler=self.sampler, shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def sink(self) -> OpenTelemetry:
        return opentelemetry(tracer_provider=self.provider)

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        """The finished spans, in the order of their beginnings."""
        return sorted(
            self.exporter.get_finished_spans(), key=lambda span: (span.start_time or 0, -(span.end_time or 0))
        )

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span

    def tree(self, root: ReadableSpan) -> object:
        """The names of a span and of those below it: text, or a pair of text and a list."""
        below = [self.tree(span) for span in self.spans if is_child(span, of=root)]
        return (root.name, below) if below else root.name


def is_child(span: ReadableSpan, *, of: ReadableSpan) -> bool:
    parent, context = span.parent, of.get_span_context()
    return (
        parent is not None
        and context is not None
        and (parent.trace_id, parent.span_id) == (context.trace_id, context.span_id)
    )


def is_linked(span: ReadableSpan, *, to: ReadableSpan) -> bool:
    """Whether a span is the root of a trace of its own with one link, to this span."""
    context, own = to.get_span_context(), span.get_span_context()
    assert context is not None
    assert own is not None
    return (
        span.parent is None
        and own.trace_id != context.trace_id
        and [(link.context.trace_id, link.context.span_id) for link in span.links]
        == [(context.trace_id, context.span_id)]
    )


def attribute(span: ReadableSpan, name: str) -> object:
    return (span.attributes or {}).get(name)


def exceptions(span: ReadableSpan) -> list[dict[str, object]]:
    return [dict(event.attributes or {}) for event in span.events if event.name == "exception"]

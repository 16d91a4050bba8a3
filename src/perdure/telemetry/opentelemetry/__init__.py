"""OpenTelemetry: spans for turns and effects, and metrics. It uses the API only. Your application sets up the SDK.

This module needs no extra: the sink imports the modules that do when an engine opens it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

import attrs

from perdure.engine.sinks import EngineView, OpenSink
from perdure.values.errors import DefinitionError

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

__all__ = ["OpenTelemetry", "current_trace", "opentelemetry"]


MISSING_EXTRA = "the extra 'opentelemetry': pip install 'perdure[opentelemetry]'"


@attrs.frozen(kw_only=True)
class OpenTelemetry:
    """A sink that reports to OpenTelemetry. `opentelemetry` makes it.

    Attributes:
        name: the sink's name in logs.
        tracer_provider: provides the tracer. None for the global one.
        meter_provider: provides the meter. None for the global one.
    """

    name: str = "opentelemetry"
    tracer_provider: TracerProvider | None = None
    meter_provider: MeterProvider | None = None

    def open(self, engine: EngineView, /) -> AbstractAsyncContextManager[OpenSink]:
        """Begin to report.

        Raises:
            DefinitionError: the extra ``opentelemetry`` is not installed.
        """
        return self._open(engine)

    @asynccontextmanager
    async def _open(self, engine: EngineView) -> AsyncGenerator[OpenSink]:
        try:
            from perdure.telemetry.opentelemetry.signals import metrics, spans  # noqa: PLC0415 - of the extra
        except ModuleNotFoundError as error:
            raise DefinitionError("opentelemetry", error, MISSING_EXTRA) from error
        yield OpenSink(on_event=metrics(self.meter_provider, engine.in_flight), tracing=spans(self.tracer_provider))


def opentelemetry(
    *, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
) -> OpenTelemetry:
    """Return a sink that reports spans and metrics to OpenTelemetry.

    ``app.with_sinks(opentelemetry())`` uses the providers that your application, or ``opentelemetry-instrument``, has
    set. Without an SDK it reports nothing.

    Args:
        tracer_provider: provides the tracer. By default the global one.
        meter_provider: provides the meter. By default the global one.
    """
    return OpenTelemetry(tracer_provider=tracer_provider, meter_provider=meter_provider)


def current_trace() -> str | None:
    """Return the running code's trace context, for ``connect(..., trace=current_trace)``. None if it has none.

    Raises:
        DefinitionError: the extra ``opentelemetry`` is not installed.
    """
    try:
        from perdure.telemetry.opentelemetry.signals import current  # noqa: PLC0415 - of the extra
    except ModuleNotFoundError as error:
        raise DefinitionError("current_trace", error, MISSING_EXTRA) from error
    return current()

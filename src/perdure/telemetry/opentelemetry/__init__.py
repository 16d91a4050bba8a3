"""OpenTelemetry: spans of turns and effects, and metrics. It uses the API only; your application sets up the SDK."""

from __future__ import annotations

from perdure.telemetry.opentelemetry.sink import OpenTelemetry, current_trace, opentelemetry

__all__ = ["OpenTelemetry", "current_trace", "opentelemetry"]

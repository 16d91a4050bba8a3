"""Telemetry: sinks for the events of an engine. Add them with ``App.with_sinks``."""

from perdure.telemetry.function_sink import FunctionSink, on_event

__all__ = ["FunctionSink", "on_event"]

"""Telemetry: sinks for the events of an engine. Add them with ``App.with_sinks``."""

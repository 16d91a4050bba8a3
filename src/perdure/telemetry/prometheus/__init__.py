"""Prometheus: counts what an engine does, and exposes it at ``/metrics``."""

from __future__ import annotations

from perdure.telemetry.prometheus.sink import Prometheus, prometheus

__all__ = ["Prometheus", "prometheus"]

"""The tracker: exports the event log to an HTTP endpoint in batches, at least once and in order."""

from __future__ import annotations

from perdure.telemetry.tracker.options import Selected, TrackerOptions
from perdure.telemetry.tracker.sink import Tracker, tracker

__all__ = ["Selected", "Tracker", "TrackerOptions", "tracker"]

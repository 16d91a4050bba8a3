"""The reason why the alarm of an instance does nothing now."""

from __future__ import annotations

from typing import Any

from perdure.values.times import from_ms


def why_no_alarm(instance: dict[str, Any] | None) -> str:
    """Return why the alarm of an instance does nothing now.

    >>> why_no_alarm({"status": "scheduled", "alarm_ms": 1_767_225_600_000})
    'its alarm is not due until 2026-01-01T00:00:00Z'
    >>> why_no_alarm({"status": "idle", "alarm_ms": None})
    'it is idle: no alarm is set'

    Args:
        instance: the instance before, of `perdure.wire.explanation`; None if there is none.
    """
    match instance:
        case None:
            return "there is no such instance"
        case {"status": "scheduled", "alarm_ms": int(at_ms)}:
            return f"its alarm is not due until {from_ms(at_ms):%Y-%m-%dT%H:%M:%SZ}"
        case {"status": "retrying", "pending_retry": {"at_ms": int(at_ms)}}:
            return f"its retry is not due until {from_ms(at_ms):%Y-%m-%dT%H:%M:%SZ}"
        case {"status": "idle"}:
            return "it is idle: no alarm is set"
        case {"status": status}:
            return f"it is {status}: no alarm fires"
        case _:
            return "no alarm is due"

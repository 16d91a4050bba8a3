"""Answers and refusals in words that a person understands without this library's names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, cast

from perdure.stores.values import LoggedEvent
from perdure.values.event import JobParked
from perdure.values.times import from_ms

WAITS: Final = "waits for a time, a signal or a child"

_SIGNALLED: Final = {"running": "has not ended", "ended": "has ended", "absent": "absent"}


def readable_answer(kind: str, answer: object) -> object:
    """Return an answer in its kind's words, to show it.

    A workflow run that succeeded may have stopped where the program waits, and not at its end. A signal is accepted by
    each workflow that has not ended: its answer says ``running`` also if no run is in progress.

    >>> readable_answer("workflow", {"type": "RunAnswer", "status": "scheduled", "outcome": {"form": "completed"}})
    {'type': 'RunAnswer', 'status': 'scheduled', 'outcome': {'form': 'waits for a time, a signal or a child'}}
    >>> readable_answer("workflow", {"type": "Signalled", "accepted": True, "found": "running", "status": "scheduled"})
    {'type': 'Signalled', 'accepted': True, 'workflow': 'has not ended', 'status': 'scheduled'}

    Args:
        kind: the job's kind.
        answer: the answer as JSON-able data.
    """
    if kind != "workflow" or not isinstance(answer, dict):
        return answer
    members = cast("dict[str, Any]", answer)
    if members.get("type") == "Signalled":
        return {
            "workflow" if name == "found" else name: _SIGNALLED.get(value, value) if name == "found" else value
            for name, value in members.items()
        }
    outcome = cast("dict[str, Any]", members.get("outcome") or {})
    # "Completed" is the run, and would be read as the end of the workflow.
    if outcome.get("form") == "completed" and members.get("status") not in {None, "done"}:
        return members | {"outcome": outcome | {"form": WAITS}}
    return members


def why_no_alarm(instance: dict[str, Any] | None) -> str:
    """Return why an instance's alarm does nothing now.

    >>> why_no_alarm({"status": "scheduled", "alarm_ms": 1_767_225_600_000})
    'its alarm is not due until 2026-01-01T00:00:00Z'
    >>> why_no_alarm({"status": "idle", "alarm_ms": None})
    'it is idle: no alarm is set'

    Args:
        instance: the instance before, as `perdure.wire.explanation` describes it. None if there is none.
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


def why_parked(newest_first: Iterable[LoggedEvent]) -> str:
    """Return the detail of the newest event that parked an instance, such as the step in a workflow that diverged.

    Args:
        newest_first: its address's newest events.

    Returns:
        The detail. Empty if these events do not hold it.
    """
    return next((each.event.detail for each in newest_first if isinstance(each.event, JobParked)), "")

"""Answers of requests in words that a person understands without the names of this library."""

from __future__ import annotations

from typing import Any, Final, cast

WAITS: Final = "waits for a time, a signal or a child"

_SIGNALLED: Final = {"running": "has not ended", "ended": "has ended", "absent": "absent"}


def readable_answer(kind: str, answer: object) -> object:
    """Return an answer with the words of its kind, to show it.

    A run of a workflow that succeeded may have stopped where the program waits, and not at its end. A signal is
    accepted by each workflow that has not ended: its answer says ``running`` also if none of its runs is in progress.

    >>> readable_answer("workflow", {"type": "RunAnswer", "status": "scheduled", "outcome": {"form": "completed"}})
    {'type': 'RunAnswer', 'status': 'scheduled', 'outcome': {'form': 'waits for a time, a signal or a child'}}
    >>> readable_answer("workflow", {"type": "Signalled", "accepted": True, "found": "running", "status": "scheduled"})
    {'type': 'Signalled', 'accepted': True, 'workflow': 'has not ended', 'status': 'scheduled'}

    Args:
        kind: the kind of the job.
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
    if outcome.get("form") == "completed" and members.get("status") not in {None, "done"}:
        return members | {"outcome": outcome | {"form": WAITS}}
    return members

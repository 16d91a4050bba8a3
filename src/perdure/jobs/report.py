"""The result of ``status``, for every kind of job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from perdure.values.instance import heals as heals_left
from perdure.values.status import FAILED_FOR_GOOD, InstanceStatus, Suspension
from perdure.values.times import from_ms

if TYPE_CHECKING:
    from perdure.values.instance import Instance

_FIX: Final = "Fix the cause, then resume it: the run continues, and the retry policy counts from the start."

HEALS: Final[Mapping[Suspension, str]] = {
    "paused": "Resume it: an overdue alarm fires once; ticks inside the pause are skipped.",
    "retries_exhausted": _FIX,
    "not_retryable": _FIX,
    "recovery_exhausted": "Find out why the run kills its process, fix that, then resume it.",
}
"""How an operator heals a suspension."""

NOT_FOUND = InstanceStatus(status="not_found")


def heals(instance: Instance) -> str:
    """Return how an operator heals an instance that is paused, parked or left; empty for any other."""
    if instance.left is not None:
        return heals_left(instance.left)
    return "" if instance.suspension is None else HEALS[instance.suspension]


def report_status(instance: Instance) -> InstanceStatus:
    """Describe an instance to a caller."""
    attempt = 1
    if instance.claim is not None:
        attempt = instance.claim.attempt
    elif instance.pending_retry is not None:
        attempt = instance.pending_retry.attempt - (instance.suspension in FAILED_FOR_GOOD)
    due_ms = instance.due_ms if instance.ended_ms is None else None  # afterwards it is the instant of the deletion
    left = instance.left
    since_ms = left.since_ms if left is not None else instance.suspended_ms if instance.suspension else None
    return InstanceStatus(
        status=instance.status,
        run_count=instance.run_count,
        event_count=instance.event_count,
        created_at=from_ms(instance.created_ms),
        updated_at=from_ms(instance.updated_ms),
        next_run_at=None if due_ms is None else from_ms(due_ms),
        attempt=attempt,
        parked=None if instance.suspension == "paused" else instance.suspension,
        left=None if left is None else left.error,
        since=None if since_ms is None else from_ms(since_ms),
        heals=heals(instance),
        last_error=instance.last_error,
    )

"""The result of ``status``, for every kind of job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.values.answer import InstanceStatus
from perdure.values.instant import from_ms
from perdure.values.status import FAILED_FOR_GOOD

if TYPE_CHECKING:
    from perdure.values.instance import Instance

NOT_FOUND = InstanceStatus(status="not_found")


def report_status(instance: Instance) -> InstanceStatus:
    """Describe an instance to a caller."""
    attempt = 1
    if instance.claim is not None:
        attempt = instance.claim.attempt
    elif instance.pending_retry is not None:
        attempt = instance.pending_retry.attempt - (instance.suspension in FAILED_FOR_GOOD)
    due_ms = instance.due_ms if instance.ended_ms is None else None  # afterwards it is the instant of the deletion
    return InstanceStatus(
        status=instance.status,
        run_count=instance.run_count,
        event_count=instance.event_count,
        created_at=from_ms(instance.created_ms),
        updated_at=from_ms(instance.updated_ms),
        next_run_at=None if due_ms is None else from_ms(due_ms),
        attempt=attempt,
        parked=None if instance.suspension == "paused" else instance.suspension,
        last_error=instance.last_error,
    )

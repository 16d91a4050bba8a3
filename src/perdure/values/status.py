"""The status of a stored instance."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

Suspension: TypeAlias = Literal["paused", "retries_exhausted", "not_retryable", "recovery_exhausted"]
"""Why the alarms of an instance are suspended: a caller paused it, or it was parked for one of three reasons."""

Held: TypeAlias = Literal["paused", "retries_exhausted", "not_retryable", "recovery_exhausted", "left", "undecodable"]
"""Why an instance was held until it was resumed: it was suspended, or code that cannot read it left it.

Versions before the mark parked unreadable instances as ``undecodable``: logs and remembered answers have it still.
"""

FAILED_FOR_GOOD: Final = frozenset[str | None]({"retries_exhausted", "not_retryable"})
"""The suspensions of an instance whose run, or step, failed and is not retried."""


def failed_for_good(reason: str) -> Literal["retries_exhausted", "not_retryable"]:
    """Return the suspension of an instance whose run is not retried.

    Args:
        reason: why, as the event ``job.retry_exhausted`` says.
    """
    return "not_retryable" if reason == "not_retryable" else "retries_exhausted"


Status: TypeAlias = Literal["scheduled", "queued", "idle", "running", "retrying", "paused", "parked", "left", "done"]
"""The statuses of a stored instance, the same for all kinds."""

"""A stored instance's statuses: its status, why its alarms are suspended, and the answer to ``status``."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal, TypeAlias

from perdure.values.excerpt import fields_in_line
from perdure.values.failure import FailureRecord
from perdure.values.frozen import frozen

Suspension: TypeAlias = Literal["paused", "retries_exhausted", "not_retryable", "recovery_exhausted"]
"""Why the alarms of an instance are suspended: a caller paused it, or it was parked for one of three reasons."""

Held: TypeAlias = Literal["paused", "retries_exhausted", "not_retryable", "recovery_exhausted", "left", "undecodable"]
"""Why an instance was held until it was resumed: it was suspended, or code that cannot read it left it.

Versions before the mark parked unreadable instances as ``undecodable``: logs and remembered answers have it still.
"""

FAILED_FOR_GOOD: Final = frozenset[str | None]({"retries_exhausted", "not_retryable"})
"""The suspensions of an instance whose run, or step, failed and is not retried."""


def failed_for_good(reason: str) -> Literal["retries_exhausted", "not_retryable"]:
    """Return an instance's suspension after a run that is not retried.

    Args:
        reason: why, as the event ``job.retry_exhausted`` says.
    """
    return "not_retryable" if reason == "not_retryable" else "retries_exhausted"


Status: TypeAlias = Literal["scheduled", "queued", "idle", "running", "retrying", "paused", "parked", "left", "done"]
"""The statuses of a stored instance, the same for all kinds."""


LastRunForm: TypeAlias = Literal["succeeded", "failed"]
"""How a continuous job's run ended: it succeeded, or it failed and the schedule continued without it."""


Hold: TypeAlias = Literal["held", "released"]
"""Whether the runs of a job may begin."""


@frozen(kw_only=True)
class InstanceStatus:
    """Result of ``status``.

    Attributes:
        status: ``not_found`` when the instance does not exist.
        run_count: logical runs started. Retries do not increase it.
        event_count: events accepted, or events in the current batch.
        created_at: when the instance was created.
        updated_at: when it last changed.
        next_run_at: when the next alarm or retry is due. None while the instance is paused, parked, idle or done.
        started_at: when the current batch started (debounce).
        will_flush_at: when the current batch flushes, unless later events change that (debounce). None while the
            instance is paused or parked.
        attempt: the attempt that is running or due next, the last one if retries are exhausted. 1 without a retry.
        parked: why the instance is parked, if it is.
        left: why code that cannot read the instance left it to other code, if it did.
        since: since when it is paused, parked or left. None if it is not.
        heals: how an operator ends that. Empty if there is no need.
        last_error: the last run's error.
        phase: a word that the job's kind reports: how a workflow ended, ``done``, ``failed`` or ``cancelled``, or
            ``child_parked`` while one of its children is parked. None for other kinds.
        parent: the workflow that called this one as its child, printed ``kind:name:id``. None for all others.
        deadline_at: when a workflow is cancelled that has not ended. None without a deadline. While the instance is
            paused or parked the deadline may pass: then it is cancelled when it is resumed.
        last_run_at: when the last run ended (continuous). A run ends when it succeeds or is not retried any more. None
            before the first end, and until the next one if an older version wrote the instance.
        last_run: how that run ended (continuous): ``succeeded`` or ``failed``.
    """

    __repr__ = fields_in_line

    status: Status | Literal["not_found"]
    run_count: int = 0
    event_count: int = 0
    created_at: datetime | None = None
    updated_at: datetime | None = None
    next_run_at: datetime | None = None
    started_at: datetime | None = None
    will_flush_at: datetime | None = None
    attempt: int = 1
    parked: Suspension | None = None
    left: FailureRecord | None = None
    since: datetime | None = None
    heals: str = ""
    last_error: FailureRecord | None = None
    phase: str | None = None
    parent: str | None = None
    deadline_at: datetime | None = None
    last_run_at: datetime | None = None
    last_run: LastRunForm | None = None

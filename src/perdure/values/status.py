"""The status of an instance, and the record of a failure that it may show."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal, TypeAlias

import attrs

from perdure.values.excerpt import excerpt, fields_in_line, size_only
from perdure.values.frozen import frozen

MAX_MESSAGE_CHARACTERS = 2_000
MAX_TRACEBACK_CHARACTERS = 16_000


@frozen(kw_only=True)
class FailureRecord:
    """A run's failure, as it is stored, logged and sent.

    Attributes:
        form: a ``failure`` is a declared, typed error. A ``defect`` an undeclared exception. ``timed_out`` a run that
            took longer than its job's ``run_timeout``.
        error_type: the class name of the error or the exception.
        message: its text, cut to 2,000 characters.
        data: the typed error as JSON, when the definition declares its type.
        traceback: a defect's formatted traceback, its last 16,000 characters.
    """

    form: Literal["failure", "defect", "timed_out"]
    error_type: str = attrs.field(repr=excerpt)
    message: str = attrs.field(repr=excerpt)
    data: str | None = attrs.field(default=None, repr=size_only)
    traceback: str | None = attrs.field(default=None, repr=excerpt)


@frozen
class Defect:
    """An undeclared exception, or an error whose type is undeclared, as the program's reader receives it."""

    error_type: str = attrs.field(repr=excerpt)
    message: str = attrs.field(repr=excerpt)
    traceback: str | None = attrs.field(default=None, repr=excerpt)


def printed(error: object) -> str:
    """Return a declared error's text. A client without the job's code has its type and its message."""
    return f"{error.error_type}: {error.message}" if isinstance(error, Defect) else excerpt(error)


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

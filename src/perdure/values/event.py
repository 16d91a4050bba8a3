"""The log's vocabulary: what happened to instances, one frozen class for each thing that can happen."""

from __future__ import annotations

from typing import ClassVar, TypeAlias

import attrs

from perdure.values.excerpt import fields_in_line
from perdure.values.failure import FailureRecord
from perdure.values.instance import Cause, Suspension


@attrs.frozen(kw_only=True)
class EventHeader:
    """What every event carries.

    Attributes:
        event_id: a UUIDv7, printed.
        at_ms: when, integer milliseconds UTC.
        address: the instance, printed ``kind:name:id``.
        run_count: the number of the run it belongs to; 0 before the first.
    """

    __repr__ = fields_in_line

    event_id: str
    at_ms: int
    address: str
    run_count: int = 0


@attrs.frozen(kw_only=True, repr=False)
class JobStarted(EventHeader):
    """An instance was created."""

    type: ClassVar[str] = "job.started"


@attrs.frozen(kw_only=True, repr=False)
class JobExecuted(EventHeader):
    """A run succeeded, and what it changed is safe."""

    type: ClassVar[str] = "job.executed"
    run_id: str
    cause: Cause
    attempt: int
    delivery: int
    duration_ms: int


@attrs.frozen(kw_only=True, repr=False)
class JobFailed(EventHeader):
    """An attempt failed, or an open retry was given up for a newer run (``superseded``).

    Attributes:
        hook: the user's function that failed.
        retry_at_ms: when the next attempt is due; None when there is none.
    """

    type: ClassVar[str] = "job.failed"
    run_id: str
    hook: str
    attempt: int
    delivery: int
    duration_ms: int
    error: FailureRecord
    retry_at_ms: int | None = None


@attrs.frozen(kw_only=True, repr=False)
class JobRetryExhausted(EventHeader):
    """A run failed for good."""

    type: ClassVar[str] = "job.retry_exhausted"
    run_id: str
    attempt: int
    reason: str
    error: FailureRecord


@attrs.frozen(kw_only=True, repr=False)
class JobTerminated(EventHeader):
    """An instance was purged before its own end, whoever asked."""

    type: ClassVar[str] = "job.terminated"
    reason: str


@attrs.frozen(kw_only=True, repr=False)
class JobParked(EventHeader):
    """An instance is kept aside, silent and resumable."""

    type: ClassVar[str] = "job.parked"
    reason: Suspension
    detail: str = ""


@attrs.frozen(kw_only=True, repr=False)
class JobPaused(EventHeader):
    """Somebody paused the instance."""

    type: ClassVar[str] = "job.paused"


@attrs.frozen(kw_only=True, repr=False)
class JobResumed(EventHeader):
    """A paused or parked instance goes on."""

    type: ClassVar[str] = "job.resumed"
    was: Suspension


@attrs.frozen(kw_only=True, repr=False)
class JobRecovered(EventHeader):
    """A claimed run is delivered again, because the process or its commit was lost."""

    type: ClassVar[str] = "job.recovered"
    run_id: str
    cause: Cause
    attempt: int
    delivery: int
    recoveries: int


@attrs.frozen(kw_only=True, repr=False)
class DebounceStarted(EventHeader):
    """The first event of a batch arrived."""

    type: ClassVar[str] = "debounce.started"
    flush_at_ms: int


@attrs.frozen(kw_only=True, repr=False)
class DebounceFlushed(EventHeader):
    """A batch was processed and dropped."""

    type: ClassVar[str] = "debounce.flushed"
    run_id: str
    reason: str
    batch_size: int


@attrs.frozen(kw_only=True, repr=False)
class TaskScheduled(EventHeader):
    """A task set its alarm."""

    type: ClassVar[str] = "task.scheduled"
    scheduled_ms: int


@attrs.frozen(kw_only=True, repr=False)
class MessageRejected(EventHeader):
    """A message that this instance sent was refused by its target."""

    type: ClassVar[str] = "message.rejected"
    target: str
    action: str
    error: FailureRecord


@attrs.frozen(kw_only=True, repr=False)
class EventsDropped(EventHeader):
    """Retention removed events that a sink had not taken yet."""

    type: ClassVar[str] = "events.dropped"
    sink: str
    count: int


Event: TypeAlias = (
    JobStarted
    | JobExecuted
    | JobFailed
    | JobRetryExhausted
    | JobTerminated
    | JobParked
    | JobPaused
    | JobResumed
    | JobRecovered
    | DebounceStarted
    | DebounceFlushed
    | TaskScheduled
    | MessageRejected
    | EventsDropped
)

EVENT_TYPES: dict[str, type[Event]] = {
    cls.type: cls
    for cls in (
        JobStarted,
        JobExecuted,
        JobFailed,
        JobRetryExhausted,
        JobTerminated,
        JobParked,
        JobPaused,
        JobResumed,
        JobRecovered,
        DebounceStarted,
        DebounceFlushed,
        TaskScheduled,
        MessageRejected,
        EventsDropped,
    )
}
"""Every event class by the name it is stored under."""

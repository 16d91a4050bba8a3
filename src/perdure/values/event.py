"""The log's events: one frozen class for each kind of instance change."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar, TypeAlias

import attrs

from perdure.values.excerpt import fields_in_line
from perdure.values.instance import Cause
from perdure.values.status import FailureRecord, Held
from perdure.values.times import from_ms


@attrs.frozen(kw_only=True)
class EventHeader:
    """Every event's fields.

    A field whose name ends in ``_ms`` is stored. Read the property beside it, an aware datetime or a timedelta.

    Attributes:
        event_id: a UUIDv7, printed.
        at_ms: the event's time, integer milliseconds UTC.
        address: the instance, printed ``kind:name:id``.
        run_count: the event's run number, 0 before the first run.
        by: the caller whose request caused it: its token's name, or how it reached the server without one
            (``owner``, ``local``, ``unchecked``). None for callers in the engine's process, for messages, for alarms
            and for the engine.
    """

    __repr__ = fields_in_line

    event_id: str
    at_ms: int
    address: str
    run_count: int = 0
    by: str | None = None

    @property
    def at(self) -> datetime:
        """The event's time, in UTC."""
        return from_ms(self.at_ms)


@attrs.frozen(kw_only=True, repr=False)
class JobStarted(EventHeader):
    """An instance was created.

    Attributes:
        state: its first state as JSON. None unless the definition says ``state_in_events=True``.
        told_by: the instance whose message created it, printed ``kind:name:id``. None if no message did.
    """

    type: ClassVar[str] = "job.started"
    state: str | None = None
    told_by: str | None = None


@attrs.frozen(kw_only=True, repr=False)
class JobExecuted(EventHeader):
    """A run succeeded. Its changes are durable.

    Attributes:
        state: what the run left, as JSON. None unless the definition says ``state_in_events=True``.
        told_by: the instance whose message caused the run, printed ``kind:name:id``. None if no message did.
        told: the instances that the run sent messages to, printed. At most 20.
    """

    type: ClassVar[str] = "job.executed"
    run_id: str
    cause: Cause
    attempt: int
    delivery: int
    duration_ms: int
    state: str | None = None
    told_by: str | None = None
    told: tuple[str, ...] = ()

    @property
    def duration(self) -> timedelta:
        """How long the attempt took."""
        return timedelta(milliseconds=self.duration_ms)


@attrs.frozen(kw_only=True, repr=False)
class JobFailed(EventHeader):
    """An attempt failed, or a newer run replaced a pending retry (``superseded``).

    Attributes:
        hook: the hook that failed.
        retry_at_ms: when the next attempt is due. None when there is none.
    """

    type: ClassVar[str] = "job.failed"
    run_id: str
    hook: str
    attempt: int
    delivery: int
    duration_ms: int
    error: FailureRecord
    retry_at_ms: int | None = None

    @property
    def duration(self) -> timedelta:
        """How long the attempt took."""
        return timedelta(milliseconds=self.duration_ms)

    @property
    def retry_at(self) -> datetime | None:
        """When the next attempt is due. None when there is none."""
        return None if self.retry_at_ms is None else from_ms(self.retry_at_ms)


@attrs.frozen(kw_only=True, repr=False)
class JobRetryExhausted(EventHeader):
    """A run failed and is not retried."""

    type: ClassVar[str] = "job.retry_exhausted"
    run_id: str
    attempt: int
    reason: str
    error: FailureRecord
    delivery: int = 1
    duration_ms: int = 0

    @property
    def duration(self) -> timedelta:
        """How long the last attempt took."""
        return timedelta(milliseconds=self.duration_ms)


@attrs.frozen(kw_only=True, repr=False)
class JobAccepted(EventHeader):
    """A request changed the instance. Only a definition with ``accepted_in_events`` has these events.

    Attributes:
        action: the request: ``send``, ``add``, ``start``, ``signal.approval``.
        received_at_ms: when the engine received the request.
        payload: its input as JSON, without secrets. None unless the definition says ``payload``, and for one above
            16,384 characters.
        told_by: the instance whose message it was, printed ``kind:name:id``. None if it was no message.
    """

    type: ClassVar[str] = "job.accepted"
    action: str
    received_at_ms: int
    payload: str | None = None
    told_by: str | None = None

    @property
    def received_at(self) -> datetime:
        """When the engine received the request."""
        return from_ms(self.received_at_ms)


@attrs.frozen(kw_only=True, repr=False)
class JobTerminated(EventHeader):
    """An instance was deleted by a call or a hook before its own end."""

    type: ClassVar[str] = "job.terminated"
    reason: str


@attrs.frozen(kw_only=True, repr=False)
class JobParked(EventHeader):
    """An instance was parked: it is inactive until it is resumed."""

    type: ClassVar[str] = "job.parked"
    reason: Held
    detail: str = ""


@attrs.frozen(kw_only=True, repr=False)
class JobLeft(EventHeader):
    """Code that cannot read the instance left it, unchanged, to other code.

    Attributes:
        code: that code's fingerprint.
        error_type: the problem's class.
        detail: the problem, with its path.
    """

    type: ClassVar[str] = "job.left"
    code: str
    error_type: str = "InvalidInput"
    detail: str = ""


@attrs.frozen(kw_only=True, repr=False)
class JobPaused(EventHeader):
    """A caller paused the instance."""

    type: ClassVar[str] = "job.paused"


@attrs.frozen(kw_only=True, repr=False)
class JobResumed(EventHeader):
    """A paused or parked instance was resumed, or code continues that reads an instance which other code left."""

    type: ClassVar[str] = "job.resumed"
    was: Held


@attrs.frozen(kw_only=True, repr=False)
class JobKeyForgotten(EventHeader):
    """An operator cleared an idempotency key: the request that used it can be made again.

    Attributes:
        key: the key.
        action: the request that had used it.
    """

    type: ClassVar[str] = "job.key_forgotten"
    key: str
    action: str


Parking: TypeAlias = JobParked | JobLeft | JobResumed
"""The event of a commit that parks or leaves an instance, or ends that."""


@attrs.frozen(kw_only=True, repr=False)
class JobRecovered(EventHeader):
    """A claimed run is delivered again, because the process stopped or its commit failed."""

    type: ClassVar[str] = "job.recovered"
    run_id: str
    cause: Cause
    attempt: int
    delivery: int
    recoveries: int


@attrs.frozen(kw_only=True, repr=False)
class DebounceStarted(EventHeader):
    """The first event in a batch arrived."""

    type: ClassVar[str] = "debounce.started"
    will_flush_at_ms: int

    @property
    def will_flush_at(self) -> datetime:
        """When the batch flushes, unless later events change that."""
        return from_ms(self.will_flush_at_ms)


@attrs.frozen(kw_only=True, repr=False)
class DebounceFlushed(EventHeader):
    """A batch was processed and deleted.

    Attributes:
        state: the batch's state, as JSON. None unless the definition says ``state_in_events=True``.
    """

    type: ClassVar[str] = "debounce.flushed"
    run_id: str
    reason: str
    event_count: int
    state: str | None = None
    attempt: int = 1
    delivery: int = 1
    duration_ms: int = 0

    @property
    def duration(self) -> timedelta:
        """How long the attempt took."""
        return timedelta(milliseconds=self.duration_ms)


@attrs.frozen(kw_only=True, repr=False)
class TaskScheduled(EventHeader):
    """A task set its alarm.

    Attributes:
        hook: the hook that set it: ``on_event``, ``execute``, ``on_idle`` or ``on_error``.
    """

    type: ClassVar[str] = "task.scheduled"
    scheduled_at_ms: int
    hook: str = ""

    @property
    def scheduled_at(self) -> datetime:
        """When the alarm is due."""
        return from_ms(self.scheduled_at_ms)


@attrs.frozen(kw_only=True, repr=False)
class JobNoted(EventHeader):
    """A job kind recorded its own event.

    Attributes:
        name: the event name, such as ``silence.broken``.
        data: its fields as JSON, without secrets.
    """

    type: ClassVar[str] = "job.noted"
    name: str
    data: str = "{}"


@attrs.frozen(kw_only=True, repr=False)
class MessageRejected(EventHeader):
    """The target refused a message that this instance sent."""

    type: ClassVar[str] = "message.rejected"
    target: str
    action: str
    error: FailureRecord


@attrs.frozen(kw_only=True, repr=False)
class MessageDeadLettered(EventHeader):
    """A message to this instance became a dead letter.

    Attributes:
        message_id: the message.
        sender: the instance that sent it, printed ``kind:name:id``.
        action: the command.
        deliveries: how many deliveries failed.
        error: the last failure.
    """

    type: ClassVar[str] = "message.dead_lettered"
    message_id: int
    sender: str
    action: str
    deliveries: int
    error: FailureRecord


@attrs.frozen(kw_only=True, repr=False)
class MessageRedriven(EventHeader):
    """An operator made one of this instance's dead letters a message again.

    Attributes:
        message_id: the message.
        sender: the instance that sent it, printed ``kind:name:id``.
        action: the command.
    """

    type: ClassVar[str] = "message.redriven"
    message_id: int
    sender: str
    action: str


@attrs.frozen(kw_only=True, repr=False)
class EventsDropped(EventHeader):
    """Events that a sink will not export: retention deleted them before, or their receiver refuses them.

    The address is the refused event's. For deleted events it is ``sink:<name>:retention``.

    Attributes:
        sink: the sink's name.
        count: the event count.
        reason: ``retention`` or ``refused``.
        detail: which events, and the answer to a refused one.
    """

    type: ClassVar[str] = "events.dropped"
    sink: str
    count: int
    reason: str = "retention"
    detail: str = ""


Event: TypeAlias = (
    JobStarted
    | JobExecuted
    | JobFailed
    | JobRetryExhausted
    | JobAccepted
    | JobTerminated
    | JobParked
    | JobLeft
    | JobPaused
    | JobResumed
    | JobKeyForgotten
    | JobRecovered
    | DebounceStarted
    | DebounceFlushed
    | TaskScheduled
    | JobNoted
    | MessageRejected
    | MessageDeadLettered
    | MessageRedriven
    | EventsDropped
)

EVENT_TYPES: dict[str, type[Event]] = {
    cls.type: cls
    for cls in (
        JobStarted,
        JobExecuted,
        JobFailed,
        JobRetryExhausted,
        JobAccepted,
        JobTerminated,
        JobParked,
        JobLeft,
        JobPaused,
        JobResumed,
        JobKeyForgotten,
        JobRecovered,
        DebounceStarted,
        DebounceFlushed,
        TaskScheduled,
        JobNoted,
        MessageRejected,
        MessageDeadLettered,
        MessageRedriven,
        EventsDropped,
    )
}
"""Every event class by its stored name."""

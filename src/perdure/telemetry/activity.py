"""An engine's activity in its last hour, in memory: what the dashboard draws."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import attrs

from perdure.engine.sinks import EngineView, OpenSink
from perdure.values.event import (
    DebounceFlushed,
    JobExecuted,
    JobFailed,
    JobLeft,
    JobParked,
    JobPaused,
    JobRecovered,
    JobResumed,
    JobRetryExhausted,
    JobStarted,
    JobTerminated,
    MessageDeadLettered,
)
from perdure.values.excerpt import fields_in_line
from perdure.values.live_event import AlarmFired, AnyEvent, CommitSlow, EngineOverloaded, RequestEnded

MINUTE_MS: Final = 60_000
KEPT_MINUTES: Final = 60
KEPT_FAILURES: Final = 20
MAX_JOBS: Final = 200
"""Jobs whose steps are counted; the steps of further ones are not."""


_COUNTED: Final[Mapping[type[AnyEvent], str]] = {
    JobExecuted: "executed",
    DebounceFlushed: "executed",
    JobFailed: "failed",
    JobRetryExhausted: "exhausted",
    RequestEnded: "requests",
    EngineOverloaded: "overloaded",
    CommitSlow: "slow_commits",
}
_STEPS: Final[Mapping[type[AnyEvent], tuple[str, str]]] = {
    JobStarted: ("new", "waiting"),
    JobExecuted: ("running", "waiting"),
    JobFailed: ("running", "retrying"),
    JobRecovered: ("running", "running"),
    JobParked: ("running", "parked"),
    JobLeft: ("waiting", "left"),
    JobPaused: ("waiting", "paused"),
    JobResumed: ("paused", "waiting"),
    DebounceFlushed: ("running", "ended"),
    JobTerminated: ("waiting", "ended"),
}


@attrs.frozen(kw_only=True)
class Minute:
    """One minute's counts.

    Attributes:
        start_ms: its beginning, integer milliseconds UTC.
        executed: runs that succeeded.
        failed: attempts that failed.
        exhausted: runs that failed for good.
        requests: callers' requests that ended.
        overloaded: requests that a full queue refused.
        alarms: alarms that fired.
        latest_ms: an alarm's greatest lateness, in milliseconds.
        slow_commits: commits that took longer than a second.
    """

    __repr__ = fields_in_line

    start_ms: int
    executed: int = 0
    failed: int = 0
    exhausted: int = 0
    requests: int = 0
    overloaded: int = 0
    alarms: int = 0
    latest_ms: int = 0
    slow_commits: int = 0


def counted(minute: Minute, event: AnyEvent, /) -> Minute:
    """Return a minute's counts with one more event. The same record if the event is not counted.

    >>> from perdure.values.live_event import AlarmFired
    >>> counted(Minute(start_ms=0), AlarmFired(at_ms=30, address="task:orders:1", due_ms=10)).latest_ms
    20
    """
    if isinstance(event, AlarmFired):
        late_ms = max(minute.latest_ms, event.at_ms - event.due_ms)
        return attrs.evolve(minute, alarms=minute.alarms + 1, latest_ms=late_ms)
    field = _COUNTED.get(type(event))
    return minute if field is None else attrs.evolve(minute, **{field: getattr(minute, field) + 1})


@attrs.frozen(kw_only=True)
class RecentFailure:
    """A recent failure.

    Attributes:
        address: the instance, printed ``kind:name:id``.
        error: the error's class, or the reason.
    """

    __repr__ = fields_in_line

    at_ms: int
    address: str
    type: str
    error: str
    message: str = ""


def failure_in(event: AnyEvent, /) -> RecentFailure | None:
    """Return the failure that an event reports, or None."""
    match event:
        case JobFailed(error=error) | JobRetryExhausted(error=error) | MessageDeadLettered(error=error):
            text = error.message
            return RecentFailure(
                at_ms=event.at_ms, address=event.address, type=event.type, error=error.error_type, message=text
            )
        case JobLeft():
            return RecentFailure(
                at_ms=event.at_ms, address=event.address, type=event.type, error=event.error_type, message=event.detail
            )
        case JobParked():
            return RecentFailure(
                at_ms=event.at_ms, address=event.address, type=event.type, error=event.reason, message=event.detail
            )
        case _:
            return None


def step_of(event: AnyEvent, /) -> tuple[str, str] | None:
    """Return the life cycle step that an event reports: the place before and the place after, or None."""
    match event:
        case JobFailed(retry_at_ms=None):
            return "running", "failed"
        case JobParked(reason="retries_exhausted" | "not_retryable"):
            return "failed", "parked"
        case JobResumed(was="left"):
            return "left", "waiting"
        case _:
            return _STEPS.get(type(event))


def job_of(event: AnyEvent, /) -> str:
    """Return an event's job, printed ``kind:name``. Empty for an engine event."""
    address: str = getattr(event, "address", "")
    return ":".join(address.split(":", 2)[:2])


@attrs.define(eq=False)
class Activity:
    """A sink that keeps the last hour in memory: counts by minute, the newest failures, each job's steps.

    Attributes:
        name: the sink's name.
    """

    name: str = "activity"
    _minutes: deque[Minute] = attrs.Factory(lambda: deque[Minute](maxlen=KEPT_MINUTES))
    _troubles: deque[RecentFailure] = attrs.Factory(lambda: deque[RecentFailure](maxlen=KEPT_FAILURES))
    _steps: dict[str, dict[tuple[str, str], int]] = attrs.Factory(dict[str, dict[tuple[str, str], int]])

    @asynccontextmanager
    async def open(self, _: EngineView, /) -> AsyncGenerator[OpenSink]:
        """Watch an engine."""
        yield self.sink

    @property
    def sink(self) -> OpenSink:
        """The open sink."""
        return OpenSink(on_event=self.on_event)

    def on_event(self, event: AnyEvent) -> None:
        """Count an event."""
        start_ms = event.at_ms // MINUTE_MS * MINUTE_MS
        last = self._minutes[-1] if self._minutes else None
        # a clock that went back counts in its last minute, unless that is not shown within the hour
        if last is None or not start_ms <= last.start_ms < start_ms + KEPT_MINUTES * MINUTE_MS:
            last = Minute(start_ms=start_ms)
            self._minutes.append(last)
        self._minutes[-1] = counted(last, event)
        trouble = failure_in(event)
        if trouble is not None:
            self._troubles.append(trouble)
        step = step_of(event)
        if step is not None:
            self._count(job_of(event), step)

    def _count(self, job: str, step: tuple[str, str]) -> None:
        if job in self._steps or len(self._steps) < MAX_JOBS:
            steps = self._steps.setdefault(job, {})
            steps[step] = steps.get(step, 0) + 1

    def minutes(self, now_ms: int, /) -> tuple[Minute, ...]:
        """Return the last 60 minutes, the oldest first, with empty ones where nothing happened."""
        known = {minute.start_ms: minute for minute in self._minutes}
        last_ms = now_ms // MINUTE_MS * MINUTE_MS
        starts = range(last_ms - (KEPT_MINUTES - 1) * MINUTE_MS, last_ms + 1, MINUTE_MS)
        return tuple(known.get(start_ms) or Minute(start_ms=start_ms) for start_ms in starts)

    @property
    def troubles(self) -> tuple[RecentFailure, ...]:
        """The newest failures, the newest first, at most 20."""
        return tuple(reversed(self._troubles))

    def steps(self, kind: str, name: str, /) -> Mapping[tuple[str, str], int]:
        """Return how often a job's instances took each step since the engine started."""
        return dict(self._steps.get(f"{kind}:{name}", {}))

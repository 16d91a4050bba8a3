"""The attempts of runs, read from the events of an instance. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from perdure.stores.values import LoggedEvent
from perdure.values.event import DebounceFlushed, JobExecuted, JobFailed, JobRecovered, JobRetryExhausted
from perdure.values.failure import FailureRecord


@attrs.frozen(kw_only=True)
class Attempt:
    """One attempt of a run.

    Attributes:
        at_ms: when it ended.
        run_id: its run.
        attempt: its number.
        outcome: how it ended.
        tone: the class of the outcome in the style.
        duration_ms: how long it took; None if that is not known.
        error: its error.
    """

    at_ms: int
    run_id: str
    attempt: int
    outcome: str
    tone: str
    duration_ms: int | None = None
    error: FailureRecord | None = None


def attempts_in(events: Sequence[LoggedEvent], /) -> tuple[Attempt, ...]:
    """Return the attempts in events, in their order."""
    found = (_attempt(logged) for logged in events)
    return tuple(each for each in found if each is not None)


def _attempt(logged: LoggedEvent) -> Attempt | None:
    match logged.event:
        case JobExecuted() as event:
            return Attempt(
                at_ms=event.at_ms,
                run_id=event.run_id,
                attempt=event.attempt,
                outcome="succeeded",
                tone="good",
                duration_ms=event.duration_ms,
            )
        case DebounceFlushed() as event:
            return Attempt(at_ms=event.at_ms, run_id=event.run_id, attempt=1, outcome="flushed", tone="good")
        case JobFailed() as event:
            return Attempt(
                at_ms=event.at_ms,
                run_id=event.run_id,
                attempt=event.attempt,
                outcome=f"{event.hook} failed" if event.retry_at_ms is None else "failed, retried",
                tone="warn",
                duration_ms=event.duration_ms,
                error=event.error,
            )
        case JobRetryExhausted() as event:
            outcome = f"given up: {event.reason.replace('_', ' ')}"
            return Attempt(at_ms=event.at_ms, run_id=event.run_id, attempt=event.attempt, outcome=outcome, tone="bad")
        case JobRecovered() as event:
            return Attempt(
                at_ms=event.at_ms, run_id=event.run_id, attempt=event.attempt, outcome="recovered", tone="warn"
            )
        case _:
            return None

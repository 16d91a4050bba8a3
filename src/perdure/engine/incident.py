"""Log records for failures: at most one per transition."""

from __future__ import annotations

from typing import Any, Literal

from perdure.runtime.record import LogRecord
from perdure.values.address import Address
from perdure.values.event import Event, JobFailed, JobLeft, JobParked, JobRecovered, JobRetryExhausted
from perdure.values.failure import FailureRecord
from perdure.values.message import DeadLettered
from perdure.values.transition import Transition

INCIDENTS = frozenset({JobFailed, JobLeft, JobParked, JobRecovered, JobRetryExhausted})
"""The events that are logged."""


def defect_in(step: str, address: Address, defect: BaseException) -> LogRecord:
    """Return the record of a defect of the engine itself.

    Args:
        step: what the engine did.
        address: the instance.
        defect: the exception.
    """
    return LogRecord("error", f"internal error in {step}", {"instance": str(address), "error": repr(defect)})


def incident(transition: Transition) -> LogRecord | None:
    """Return the log record of a transition, or None if nothing in it failed.

    A retry or a recovery is a warning. A run that failed, exhausted its retries or was parked is an error, but a
    warning if it failed with a typed error only: the definition declares that error, so it is not a bug. An instance
    that is left to other code is a warning. Only the most
    severe event is logged. A typed error in response to an event is logged at debug level.

    Args:
        transition: the committed transition.
    """
    events = [event for event in transition.events if type(event) in INCIDENTS]
    if not events:
        return None
    fields: dict[str, object] = {"job": f"{transition.address.kind}:{transition.address.name}"}
    fields["id"] = transition.address.id
    for event in events:
        fields |= _fields(event)
    return _record([type(event) for event in events], events, fields)


def dead_letter(transition: Transition) -> LogRecord | None:
    """Return the log record of a new dead letter, or None if the transition has none."""
    fate = transition.inbound
    if not isinstance(fate, DeadLettered):
        return None
    fields = {
        "job": f"{transition.address.kind}:{transition.address.name}",
        "id": transition.address.id,
        "message": fate.message_id,
        "attempts": fate.attempts,
        "error": _text(fate.error),
    }
    return LogRecord("error", "message became a dead letter", fields)


def _record(types: list[type[Event]], events: list[Event], fields: dict[str, object]) -> LogRecord:
    errors = [event.error for event in events if isinstance(event, JobFailed | JobRetryExhausted)]
    level: Literal["warning", "error"] = (
        "warning" if errors and all(error.form == "failure" for error in errors) else "error"
    )
    if JobParked in types:
        return LogRecord(level, "instance parked", fields)
    if JobLeft in types:
        return LogRecord("warning", "instance left to other code", fields)
    if JobRetryExhausted in types:
        return LogRecord(level, "run failed, retries exhausted", fields)
    if JobRecovered in types:
        return LogRecord("warning", "run recovered", fields)
    return _failed([event for event in events if isinstance(event, JobFailed)], level, fields)


def _failed(failures: list[JobFailed], level: Literal["warning", "error"], fields: dict[str, object]) -> LogRecord:
    first, last = failures[0], failures[-1]
    if last.hook == "superseded":
        return LogRecord("info", "retry given up for a new run", fields)
    if last.retry_at_ms is not None:
        return LogRecord("warning", "run failed, will be retried", fields)
    if first.hook == "on_event" and level == "warning":
        return LogRecord("debug", "event rejected", fields)
    return LogRecord(level, "run failed", fields)


def _fields(event: Event) -> dict[str, object]:
    match event:
        case JobFailed():
            retry: dict[str, object] = {} if event.retry_at is None else {"retry_at": event.retry_at.isoformat()}
            run = {"run": event.run_id, "hook": event.hook, "attempt": event.attempt, "delivery": event.delivery}
            return {**run, **retry, "error": _text(event.error)}
        case JobRetryExhausted():
            return {"run": event.run_id, "reason": event.reason}
        case JobRecovered():
            run = {"run": event.run_id, "attempt": event.attempt, "delivery": event.delivery}
            return {**run, "recoveries": event.recoveries}
        case JobParked():
            return {"reason": event.reason, "detail": event.detail}
        case JobLeft():
            return {"code": event.code, "reason": event.error_type, "detail": event.detail}
        case _:
            return {}


def _text(error: FailureRecord | None) -> Any:
    return None if error is None else f"{error.error_type}: {error.message}"

"""A timeline: events as rows, and the run attempts in them. A new event type shows up with its fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

import attrs
import htpy as h
import orjson

from perdure.dashboard.page import Frame, clock, code, error_line, link_text, moment, span_text
from perdure.stores.values import LoggedEvent, UnreadEvent
from perdure.values.event import DebounceFlushed, Event, JobExecuted, JobFailed, JobRecovered, JobRetryExhausted
from perdure.values.failure import FailureRecord

_HEADER: Final = {"event_id", "at_ms", "address", "run_count"}
_ADDRESSES: Final = {"target", "sender", "told_by"}
_TONES: Final = {
    "job.failed": "warn",
    "job.retry_exhausted": "bad",
    "job.parked": "bad",
    "job.left": "bad",
    "job.executed": "good",
    "debounce.flushed": "good",
    "message.rejected": "warn",
    "message.dead_lettered": "bad",
    "job.paused": "held",
}


def event_row(frame: Frame, logged: LoggedEvent, /) -> h.Element:
    """Show an event."""
    event = logged.event
    return h.tr(data_key=str(logged.sequence))[
        h.td[moment(frame, event.at_ms)],
        h.th(scope="row")[h.span(class_=f"event {_TONES.get(event.type, 'calm')}")[event.type]],
        h.td[_unread(event) if isinstance(event, UnreadEvent) else _fields(frame, event)],
        h.td(".count")[f"#{logged.sequence}"],
    ]


def _unread(event: UnreadEvent) -> h.Node:
    return ["not readable by this version: ", h.code[event.reason]]


def _fields(frame: Frame, event: Event) -> list[h.Node]:
    members = {field.name: getattr(event, field.name) for field in attrs.fields(type(event))}
    given = {name: value for name, value in members.items() if name not in _HEADER and value not in (None, "", ())}
    errors = [value for value in given.values() if isinstance(value, FailureRecord)]
    pairs = [h.span(".pair")[_value(frame, name, value)] for name, value in given.items() if value not in errors]
    return [*pairs, *(h.div[failure(error)] for error in errors)]


def _value(frame: Frame, name: str, value: object) -> h.Node:
    label = name.removesuffix("_ms").replace("_", " ")
    if isinstance(value, tuple):
        items = cast("tuple[object, ...]", value)
        return [f"{label} ", [[link_text(frame, str(item)), " "] for item in items]]
    match value:
        case int() if name == "duration_ms":
            shown: h.Node = h.b[span_text(value)]
        case int() if name.endswith("_ms"):
            shown = h.b[moment(frame, value), " ", h.small[clock(value)]]
        case str() if name in _ADDRESSES:
            shown = link_text(frame, value)
        case str() if name == "state":
            return h.details[h.summary["state"], code(indented(value), label="State")]
        case _:
            shown = h.b[str(value)]
    return [f"{label} ", shown]


def failure(error: FailureRecord | None, /) -> h.Node:
    """Show an error, if there is one: its class and text, and behind a button its data and its traceback."""
    if error is None:
        return None
    return [
        h.span(".failure")[error_line(error.error_type, error.message)],
        error.data and h.details[h.summary["data"], code(indented(error.data), label="Data of the error")],
        error.traceback and h.details[h.summary["traceback"], code(error.traceback, label="Traceback")],
    ]


def indented(encoded: str, /) -> str:
    """Return JSON text with indentation. Other text as it is."""
    try:
        return orjson.dumps(orjson.loads(encoded), option=orjson.OPT_INDENT_2).decode()
    except orjson.JSONDecodeError:
        return encoded


@attrs.frozen(kw_only=True)
class Attempt:
    """One run attempt.

    Attributes:
        at_ms: when it ended.
        run_id: the run.
        attempt: the attempt's number.
        outcome: how it ended.
        tone: the outcome's class in the style.
        duration_ms: how long it took. None if that is not known.
        error: the error.
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

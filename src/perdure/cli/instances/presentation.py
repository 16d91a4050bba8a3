"""Instances as table rows and as JSON-able data, and request answers as lines and as exit codes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Final

import attrs
import orjson

from perdure.cli.output import Table, object_of
from perdure.cli.process import ExitCode
from perdure.values.address import Address
from perdure.values.excerpt import shortened
from perdure.values.listings import Listed
from perdure.values.status import FailureRecord, InstanceStatus
from perdure.values.times import from_ms
from perdure.wire.records import data_of

MAX_ERROR_CHARACTERS: Final = 60
LIST_COLUMNS: Final = ("ADDRESS", "STATUS", "SINCE", "NEXT RUN", "RUNS", "EVENTS", "LAST ERROR")


def instant(at: datetime | None) -> str:
    """Print an instant in UTC, to the second. Empty if there is none."""
    return "" if at is None else f"{at:%Y-%m-%dT%H:%M:%SZ}"


def error_text(error: FailureRecord | None, limit: int = MAX_ERROR_CHARACTERS) -> str:
    """Print an error in a few words. Empty if there is none. A typed error prints as its value, which has its type."""
    return "" if error is None else shortened(_error_line(error.error_type, error.message), limit)


def _error_line(error_type: str, message: str) -> str:
    return message if message.startswith(f"{error_type}(") else f"{error_type}: {message}"


def status_text(status: str, report: InstanceStatus) -> str:
    """Print a status, with the phase that its kind reports, and why an instance is parked or left.

    >>> left = FailureRecord(form="defect", error_type="Diverged", message="step 2: ...")
    >>> status_text("left", InstanceStatus(status="left", left=left))
    'left (Diverged)'
    >>> status_text("done", InstanceStatus(status="done", phase="cancelled"))
    'done (cancelled)'
    >>> status_text("parked", InstanceStatus(status="parked", parked="retries_exhausted"))
    'parked (retries_exhausted)'
    """
    reason = report.parked if status == "parked" else None if report.left is None else report.left.error_type
    words = [word for word in (report.phase, reason) if word and word != status]
    return f"{status} ({', '.join(words)})" if words else status


def value_text(name: str, value: object) -> str:
    """Print one JSON-able field: an instant in UTC, an error in a few words. Empty if there is no value.

    >>> value_text("scheduled_at_ms", 1_767_225_600_000)
    '2026-01-01T00:00:00Z'
    """
    error = object_of(value)
    if error is not None and "error_type" in error:
        return _error_line(str(error["error_type"]), str(error.get("message", "")))
    if value in (None, "", []):
        return ""
    if isinstance(value, str):
        return value
    return (
        instant(from_ms(value)) if shown_name(name) != name and isinstance(value, int) else orjson.dumps(value).decode()
    )


def shown_name(name: str) -> str:
    """Return a field's name, without its unit if the field is an instant.

    >>> shown_name("scheduled_at_ms"), shown_name("duration_ms")
    ('scheduled_at', 'duration_ms')
    """
    is_instant = name.endswith("_ms") and name.removesuffix("_ms").rpartition("_")[2] in {"at", "alarm", "before"}
    return name.removesuffix("_ms") if is_instant else name


def list_table(found: Iterable[Listed]) -> Table:
    """Return instances as a table."""
    rows = tuple(
        (
            str(each.address),
            status_text(each.status, each.report),
            instant(each.report.since),
            instant(each.report.next_run_at),
            str(each.report.run_count),
            str(each.report.event_count),
            error_text(each.report.left or each.report.last_error),
        )
        for each in found
    )
    table = Table(LIST_COLUMNS, rows, frozenset({"ADDRESS", "STATUS", "LAST ERROR"}))
    return table.without_empty("LAST ERROR").without_empty("SINCE")


def remedies(found: Iterable[Listed]) -> tuple[str, ...]:
    """Return how an operator heals listed instances, once for each reason."""
    texts = {status_text(each.status, attrs.evolve(each.report, phase=None)): each.report.heals for each in found}
    return tuple(f"{status}: {heals}" for status, heals in texts.items() if heals)


def listed_data(listed: Listed) -> dict[str, Any]:
    """Return a listed instance as JSON-able data."""
    return status_data(listed.address, listed.report) | {"status": listed.status}


def status_data(address: Address, report: InstanceStatus) -> dict[str, Any]:
    """Return an instance's status as JSON-able data."""
    named = {"address": str(address), "kind": address.kind, "job": address.name, "id": address.id}
    data: dict[str, Any] = data_of(report)
    return named | data


_NOT_RUN: Final = frozenset({"failed", "retrying", "paused", "parked"})
_NAMES: Final = {
    "found": "instance",
    "outcome.form": "run",
    "outcome.error": "error",
    "outcome.at": "next attempt",
    "outcome.reason": "reason",
}
"""A `RunAnswer`'s fields as an operator reads them."""


def answer_lines(answer: object) -> Iterator[tuple[str, str]]:
    """Yield an answer's fields under names that an operator reads, without the class name.

    >>> list(answer_lines({"type": "RunAnswer", "found": "exists", "outcome": {"form": "completed"}}))
    [('instance', 'exists'), ('run', 'completed')]
    >>> list(answer_lines({"type": "RunAnswer", "created": True, "found": "absent", "status": "scheduled"}))
    [('created', 'true'), ('status', 'scheduled')]
    """
    fields = object_of(answer)
    # "instance absent" would be read as the state after the request, in which the instance exists.
    left_out = {"type", "found"} if fields is not None and fields.get("created") is True else {"type"}
    shown = answer if fields is None else {name: value for name, value in fields.items() if name not in left_out}
    for name, text in answer_fields(shown):
        yield _NAMES.get(name, name), text


def answer_fields(answer: object, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield an answer's fields, nested ones with their path.

    >>> list(answer_fields({"found": "exists", "outcome": {"form": "completed", "error": None}}))
    [('found', 'exists'), ('outcome.form', 'completed')]
    """
    fields = object_of(answer)
    if fields is None:
        yield prefix or "answer", value_text(prefix, answer)
        return
    for name, value in fields.items():
        path = f"{prefix}.{name}" if prefix else name
        inner = object_of(value)
        if inner is not None and "error_type" not in inner:
            yield from answer_fields(inner, path)
        elif text := value_text(name, value):
            yield shown_name(path), text


def code_of_answer(answer: object) -> ExitCode:
    """Return ``REFUSED`` if there was no instance, or if the run did not succeed.

    >>> code_of_answer({"found": "absent", "status": None, "outcome": None})
    <ExitCode.REFUSED: 3>
    >>> code_of_answer({"created": True, "found": "absent", "status": "scheduled", "outcome": None})
    <ExitCode.DONE: 0>
    """
    fields = object_of(answer) or {}
    outcome = object_of(fields.get("outcome")) or {}
    is_refused = (
        (fields.get("found") in {"absent", "empty"} and fields.get("created") is not True)
        or fields.get("terminated") is False
        or fields.get("cleared") is False
        or fields.get("accepted") is False
        or fields.get("cancelled") is False
        or (fields.get("changed") is False and fields.get("status") is None)
        or outcome.get("form") in _NOT_RUN
    )
    return ExitCode.REFUSED if is_refused else ExitCode.DONE

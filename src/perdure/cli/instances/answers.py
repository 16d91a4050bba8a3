"""Answers of requests as lines and as exit codes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from perdure.cli.exit_code import ExitCode
from perdure.cli.instances.records import shown_name, value_text
from perdure.cli.json_object import object_of

_NOT_RUN: Final = frozenset({"failed", "retrying", "paused", "parked"})
_NAMES: Final = {
    "found": "instance",
    "outcome.form": "run",
    "outcome.error": "error",
    "outcome.at": "next attempt",
    "outcome.reason": "reason",
}
"""The fields of a `RunAnswer` as an operator reads them."""


def answer_lines(answer: object) -> Iterator[tuple[str, str]]:
    """Yield the fields of an answer under names that an operator reads, without the name of its class.

    >>> list(answer_lines({"type": "RunAnswer", "found": "exists", "outcome": {"form": "completed"}}))
    [('instance', 'exists'), ('run', 'completed')]
    """
    fields = object_of(answer)
    shown = answer if fields is None else {name: value for name, value in fields.items() if name != "type"}
    for name, text in answer_fields(shown):
        yield _NAMES.get(name, name), text


def answer_fields(answer: object, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the fields of an answer, nested ones with their path.

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
    """
    fields = object_of(answer) or {}
    outcome = object_of(fields.get("outcome")) or {}
    is_refused = (
        fields.get("found") in {"absent", "empty"}
        or fields.get("terminated") is False
        or fields.get("cleared") is False
        or fields.get("accepted") is False
        or fields.get("cancelled") is False
        or (fields.get("changed") is False and fields.get("status") is None)
        or outcome.get("form") in _NOT_RUN
    )
    return ExitCode.REFUSED if is_refused else ExitCode.DONE

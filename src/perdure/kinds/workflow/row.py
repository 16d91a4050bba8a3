"""One row of the journal: the answer to one instruction of the program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import attrs
import orjson

from perdure.values.errors import InvalidInput
from perdure.values.excerpt import fields_in_line, size_only
from perdure.values.frozen import turn_value

Form: TypeAlias = Literal[
    "done", "failed", "mark", "dropped", "interrupted", "timed_out", "cancelled", "arrived", "waiting"
]
"""The form of an answer:

``done`` a value, ``failed`` a typed error, ``mark`` no value, ``dropped`` the halt of a branch whose fork was decided,
``interrupted`` the same after the step had begun, so that its effect may have happened,
``timed_out`` the end of a time limit, ``cancelled`` the halt of the workflow. A row that ``arrived`` is not an answer:
it is a signal or the end of a child, which a later row receives. Nor is one of ``waiting``: it holds the waits that the
program has reached, so that a restart neither moves them nor finds another program there.
"""


@turn_value(kw_only=True)
class Row:
    """One answer that the program received.

    Attributes:
        path: the number of the instruction; in a branch of a fork, the path of the fork and the branch come first.
        name: the name of the step.
        form: the form of the answer.
        at_ms: when the step ended: the clock of the program.
        began_ms: when the last attempt of the step began, or when the program reached the wait.
        attempts: the attempts of the step.
        value: the value as JSON; empty for a form that has none.
        secret: whether the value has secrets.
        signal: the number of the signal that arrives or is received; 0 for all other rows. The row of a receipt does
            not repeat the value.
    """

    __repr__ = fields_in_line

    path: str
    name: str
    form: Form
    at_ms: int
    began_ms: int
    attempts: int = 1
    value: str = attrs.field(default="", repr=size_only)
    secret: bool = False
    signal: int = 0


def body_of(row: Row) -> str:
    """Encode a row: a line of JSON, then the value."""
    head = [row.path, row.name, row.form, row.at_ms, row.at_ms - row.began_ms, row.attempts]
    if row.signal:
        head += [int(row.secret), row.signal]
    elif row.secret:
        head.append(1)
    return f"{orjson.dumps(head).decode()}\n{row.value}"


def row_of(body: str) -> Row:
    """Decode a row.

    Raises:
        InvalidInput: this code cannot decode it.
    """
    head, _, value = body.partition("\n")
    try:
        path, name, form, at_ms, took_ms, attempts, *more = orjson.loads(head)
        secret, signal = (*more, 0, 0)[:2]
        return Row(
            path=path,
            name=name,
            form=form,
            at_ms=at_ms,
            began_ms=at_ms - took_ms,
            attempts=attempts,
            value=value,
            secret=bool(secret),
            signal=signal,
        )
    except (ValueError, TypeError) as problem:
        raise InvalidInput("row of a journal", (f"not a row of a workflow: {problem}",)) from problem


def row_of_waits(waits: Sequence[tuple[str, str, int]]) -> Row:
    """Return the row that records waits: the path and the name of each, and when the program reached it."""
    last_ms = max(at_ms for _, _, at_ms in waits)
    return Row(
        path="", name="waits", form="waiting", at_ms=last_ms, began_ms=last_ms, value=orjson.dumps(waits).decode()
    )


def waits_in(row: Row) -> list[tuple[str, str, int]]:
    """Return the waits that a row records.

    Raises:
        InvalidInput: this code cannot decode it.
    """
    try:
        return [(str(path), str(name), int(at_ms)) for path, name, at_ms in orjson.loads(row.value)]
    except (ValueError, TypeError) as problem:
        raise InvalidInput("row of a journal", (f"not the waits of a workflow: {problem}",)) from problem

"""A step of an instance with a journal, as tools show it."""

from __future__ import annotations

import attrs

from perdure.values.excerpt import fields_in_line, size_only
from perdure.values.failure import FailureRecord


@attrs.frozen(kw_only=True)
class StepRecord:
    """A step that an instance has performed, is retrying, or waits for. It holds no secret.

    Attributes:
        path: the position of the step in its program.
        name: the name of the step.
        status: ``done``, ``failed``, ``retrying``, ``waiting``, or another word of the kind.
        attempts: the attempts so far; 0 if it has not begun.
        began_ms: when the last attempt began, or when the program reached the wait, integer milliseconds UTC; None if
            neither has happened.
        at_ms: when the step ended; for a retry or a timer, when it is due; None if neither is known.
        value: the outcome as JSON; None if there is none.
        error: the error of the last attempt; None if it did not fail.
    """

    __repr__ = fields_in_line

    path: str
    name: str
    status: str
    attempts: int = 1
    began_ms: int | None = None
    at_ms: int | None = None
    value: str | None = attrs.field(default=None, repr=size_only)
    error: FailureRecord | None = None

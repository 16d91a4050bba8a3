"""The stored form of a run's failure."""

from __future__ import annotations

from typing import Literal

import attrs

from perdure.values.excerpt import excerpt, size_only
from perdure.values.frozen import frozen

MAX_MESSAGE_CHARACTERS = 2_000
MAX_TRACEBACK_CHARACTERS = 16_000


@frozen(kw_only=True)
class FailureRecord:
    """A run's failure, as it is stored, logged and sent.

    Attributes:
        form: a ``failure`` is a declared, typed error. A ``defect`` an undeclared exception. ``timed_out`` a run that
            took longer than its job's ``run_timeout``.
        error_type: the class name of the error or the exception.
        message: its text, cut to 2,000 characters.
        data: the typed error as JSON, when the definition declares its type.
        traceback: a defect's formatted traceback, its last 16,000 characters.
    """

    form: Literal["failure", "defect", "timed_out"]
    error_type: str = attrs.field(repr=excerpt)
    message: str = attrs.field(repr=excerpt)
    data: str | None = attrs.field(default=None, repr=size_only)
    traceback: str | None = attrs.field(default=None, repr=excerpt)


@frozen
class Defect:
    """An undeclared exception, or an error whose type is undeclared, as the program's reader receives it."""

    error_type: str = attrs.field(repr=excerpt)
    message: str = attrs.field(repr=excerpt)
    traceback: str | None = attrs.field(default=None, repr=excerpt)


def printed(error: object) -> str:
    """Return a declared error's text. A client without the job's code has its type and its message."""
    return f"{error.error_type}: {error.message}" if isinstance(error, Defect) else excerpt(error)

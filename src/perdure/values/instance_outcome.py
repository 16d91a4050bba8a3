"""How an instance ended, as tools show it."""

from __future__ import annotations

import attrs

from perdure.values.excerpt import excerpt, fields_in_line, size_only
from perdure.values.failure import FailureRecord


@attrs.frozen(kw_only=True)
class InstanceOutcome:
    """How an instance ended, as tools show it: without secrets.

    Attributes:
        form: a word of its kind: ``done``, ``failed``, ``cancelled``, or ``dead`` for an item of a pool.
        value: its value as JSON.
        error: its error.
        reason: why it was cancelled.
    """

    __repr__ = fields_in_line

    form: str
    value: str | None = attrs.field(default=None, repr=size_only)
    error: FailureRecord | None = None
    reason: str | None = attrs.field(default=None, repr=excerpt)

"""The commands of a worker pool, and their inputs."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, TypeVar

from perdure.values.errors import DefinitionError, InvalidInput
from perdure.values.excerpt import fields_in_line
from perdure.values.frozen import frozen, turn_value
from perdure.values.times import Duration, due_ms, duration_ms, format_duration

V = TypeVar("V")

NO_TIME = "0ms"


@frozen(kw_only=True)
class NewItem(Generic[V]):
    """The input of ``put``: an item, and when it may be worked on.

    Attributes:
        item: of the pool's item type.
        after: not before this long from now.
        at: not before this aware instant; not together with ``after``.
        head_start: its place in line is that of an item which was put this much earlier.
    """

    __repr__ = fields_in_line

    item: V
    after: str = NO_TIME
    at: datetime | None = None
    head_start: str = NO_TIME


@turn_value(kw_only=True)
class PutCommand:
    """Take an item, unless one of this id is there. Integer milliseconds."""

    __repr__ = fields_in_line

    item: Any  # of the definition's own type
    after_ms: int
    at_ms: int | None
    head_start_ms: int


@frozen
class CancelCommand:
    """Delete an item, unless its work has begun."""


@frozen
class RetryCommand:
    """Queue an item now that waits for a retry."""


@frozen
class OutcomeCommand:
    """Read what became of an item."""


def new_item(item: V, after: Duration | None, at: datetime | None, head_start: Duration | None) -> NewItem[V]:
    """Return the input of ``put``, in its stored form.

    Raises:
        DefinitionError: a duration is not valid.
    """
    return NewItem(
        item=item,
        after=_normal(after, what="after of put"),
        at=at,
        head_start=_normal(head_start, what="head_start of put"),
    )


def _normal(value: Duration | None, *, what: str) -> str:
    if value is None or value == NO_TIME:
        return NO_TIME
    return format_duration(duration_ms(value, what=what, minimum_ms=0))


def _ms(value: str, *, what: str) -> int:
    return 0 if value == NO_TIME else duration_ms(value, what=what, minimum_ms=0)


def put_command(given: NewItem[Any]) -> PutCommand:
    """Return the command of an input.

    Raises:
        InvalidInput: a duration is not valid, or both ``after`` and ``at`` are set.
    """
    try:
        after_ms, head_start_ms = _ms(given.after, what="after"), _ms(given.head_start, what="head_start")
        at_ms = None if given.at is None else due_ms(given.at, what="at")
    except DefinitionError as wrong:
        raise InvalidInput("input of put", (str(wrong),)) from wrong
    if at_ms is not None and after_ms:
        raise InvalidInput("input of put", ("expected either after=... or at=..., got both",))
    return PutCommand(item=given.item, after_ms=after_ms, at_ms=at_ms, head_start_ms=head_start_ms)

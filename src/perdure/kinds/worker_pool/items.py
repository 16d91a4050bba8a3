"""A worker pool's items: the stored data, the context for the work, and the commands that change items."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Generic, TypeVar

from perdure.codecs import Codec
from perdure.codecs.codec import RowCodec
from perdure.jobs.context import JobContext
from perdure.programs import Program
from perdure.values.errors import DefinitionError, InvalidInput
from perdure.values.excerpt import fields_in_line
from perdure.values.frozen import frozen, turn_value
from perdure.values.instance import Instance
from perdure.values.times import Duration, due_ms, duration_ms, format_duration, from_ms

V = TypeVar("V")

MAX_KEY_CHARACTERS = 200
"""The longest key of an item: it is part of an index entry."""


@frozen(kw_only=True)
class ItemData:
    """An item's stored data. The item itself is the instance's state.

    Attributes:
        key: the item's key when it was put. Empty without keys.
        head_start_ms: the item's head start.
        result: the work's value as JSON, once the work succeeded.
    """

    __repr__ = fields_in_line

    key: str = ""
    head_start_ms: int = 0
    result: str | None = None


ITEM_DATA: RowCodec[ItemData] = RowCodec(Codec.of(ItemData, what="data of a pool's item"))


def data_of(instance: Instance) -> ItemData:
    """Decode an item's stored data.

    Raises:
        InvalidInput: this code cannot decode it.
    """
    return ITEM_DATA.read(instance.data) if instance.data else ItemData()


@turn_value(repr=False)
class ItemContext(JobContext[V], Generic[V]):
    """The context for the work on an item. The item does not change: a retry finds the one that was put."""

    @property
    def item(self) -> Program[V]:
        """Read the item."""
        return self.state

    @property
    def key(self) -> str:
        """The item's key. Empty if the pool has none."""
        return data_of(self._instance).key

    @property
    def put_at(self) -> datetime:
        """When the item was put."""
        return from_ms(self._instance.created_ms)


@frozen(kw_only=True)
class ItemPolicy:
    """How a pool keys and keeps its items.

    Attributes:
        key: returns an item's key. None: the pool has no keys.
        results: the results' codec.
        keep_ms: how long a result is kept. None: until the item is terminated.
    """

    key: Callable[[Any], object] | None
    results: Codec[Any]
    keep_ms: int | None


NO_TIME = "0ms"


@frozen(kw_only=True)
class NewItem(Generic[V]):
    """The ``put`` input: an item, and when it may be worked on.

    Attributes:
        item: of the pool's item type.
        after: not before this long from now.
        at: not before this aware instant. Not together with ``after``.
        head_start: it is ranked as if it had been put this much earlier.
    """

    __repr__ = fields_in_line

    item: V
    after: str = NO_TIME
    at: datetime | None = None
    head_start: str = NO_TIME


@turn_value(kw_only=True)
class PutCommand:
    """Take an item, unless one with this id exists. Integer milliseconds."""

    __repr__ = fields_in_line

    item: Any  # of the definition's own type
    after_ms: int
    at_ms: int | None
    head_start_ms: int


@frozen
class CancelCommand:
    """Delete an item, unless its work has begun."""


@frozen
class TriggerItemCommand:
    """Queue an item now that waits for a retry."""


@frozen
class OutcomeCommand:
    """Read an item's outcome."""


def new_item(item: V, after: Duration | None, at: datetime | None, head_start: Duration | None) -> NewItem[V]:
    """Return the ``put`` input, in its stored form.

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
    # One form for equal durations: the key's fingerprint is computed from the text.
    return format_duration(duration_ms(value, what=what, minimum_ms=0))


def _ms(value: str, *, what: str) -> int:
    return 0 if value == NO_TIME else duration_ms(value, what=what, minimum_ms=0)


def put_command(given: NewItem[Any]) -> PutCommand:
    """Return an input's command.

    Raises:
        InvalidInput: a duration is not valid, or both ``after`` and ``at`` are set.
    """
    try:
        after_ms, head_start_ms = _ms(given.after, what="after"), _ms(given.head_start, what="head_start")
        at_ms = None if given.at is None else due_ms(given.at, what="at")
    except DefinitionError as wrong:
        # An error of the input and not of the definition: it may come from another process.
        raise InvalidInput("input of put", (str(wrong),)) from wrong
    if at_ms is not None and after_ms:
        raise InvalidInput("input of put", ("expected either after=... or at=..., got both",))
    return PutCommand(item=given.item, after_ms=after_ms, at_ms=at_ms, head_start_ms=head_start_ms)

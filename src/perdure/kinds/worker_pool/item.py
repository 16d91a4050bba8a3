"""The stored data of an item, and the context of its work."""

from __future__ import annotations

from datetime import datetime
from typing import Generic, TypeVar

from perdure.codecs import Codec
from perdure.jobs.context import JobContext
from perdure.programs import Program
from perdure.values.excerpt import fields_in_line
from perdure.values.frozen import frozen, turn_value
from perdure.values.instance import Instance
from perdure.values.times import from_ms

V = TypeVar("V")

MAX_KEY_CHARACTERS = 200
"""The longest key of an item: it is part of an index entry."""


@frozen(kw_only=True)
class ItemData:
    """The stored data of an item; the item itself is the instance's state.

    Attributes:
        key: the key of the item when it was put; empty without keys.
        head_start_ms: its head start.
        result: the value of its work as JSON, once that succeeded.
    """

    __repr__ = fields_in_line

    key: str = ""
    head_start_ms: int = 0
    result: str | None = None


ITEM_DATA: Codec[ItemData] = Codec.of(ItemData, what="data of a pool's item")


def data_of(instance: Instance) -> ItemData:
    """Decode the stored data of an item.

    Raises:
        InvalidInput: this code cannot decode it.
    """
    return ITEM_DATA.decode(instance.data.encode()) if instance.data else ItemData()


@turn_value(repr=False)
class ItemContext(JobContext[V], Generic[V]):
    """The context of the work on an item. The item does not change: a retry finds the one that was put."""

    @property
    def item(self) -> Program[V]:
        """Read the item."""
        return self.state

    @property
    def key(self) -> str:
        """The key of the item; empty if the pool has none."""
        return data_of(self._instance).key

    @property
    def put_at(self) -> datetime:
        """When the item was put."""
        return from_ms(self._instance.created_ms)

"""Rows that cannot be decoded: left out of results, and reported by the health check."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import attrs

from perdure.stores.rows import Row
from perdure.values.address import Address
from perdure.values.errors import StoreCorrupt

T = TypeVar("T")

_LIMIT = 100
_SHOWN = 5


@attrs.define
class CorruptRows:
    """The corrupt rows found since the store was opened, the first 100 by name."""

    _found: dict[str, str] = attrs.Factory(dict[str, str])

    def note(self, error: StoreCorrupt) -> None:
        """Remember a corrupt row."""
        if len(self._found) < _LIMIT:
            self._found[error.what] = error.reason

    def forget(self, address: Address) -> None:
        """Forget a row that was decoded or overwritten."""
        if self._found:
            self._found.pop(str(address), None)

    def __bool__(self) -> bool:
        return bool(self._found)

    def __str__(self) -> str:
        shown = "; ".join(f"{what}: {reason}" for what, reason in list(self._found.items())[:_SHOWN])
        if not self._found:
            return ""
        if len(self._found) == 1:
            return f"1 row cannot be decoded and is left out: {shown}"
        return f"{len(self._found)} rows cannot be decoded and are left out: {shown}"


def readable(
    fetch: Callable[[Row, int], list[Row]],
    decode: Callable[[Row], T],
    place: Callable[[Row], Row],
    start: Row,
    limit: int,
    damage: CorruptRows,
) -> tuple[T, ...]:
    """Read up to `limit` rows that decode, and skip the others.

    Args:
        fetch: returns a number of rows after a position.
        decode: decodes a row.
        place: returns the position of a row in the order of the query.
        start: the position to start after.
        limit: maximum number of rows.
        damage: collects corrupt rows.
    """
    found: list[T] = []
    while wanted := limit - len(found):
        rows = fetch(start, wanted)
        for row in rows:
            try:
                found.append(decode(row))
            except StoreCorrupt as error:
                damage.note(error)
        if len(rows) < wanted:
            break
        start = place(rows[-1])
    return tuple(found)

"""The table ``streams``: groups of chunks, appended in the transaction of other commits."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from perdure.stores.rows import check_types, from_json
from perdure.stores.sqlite.counters import Counters
from perdure.values.address import Address
from perdure.values.errors import StoreCorrupt
from perdure.values.instance import Claim
from perdure.values.stream import StoredGroup, StreamGroup

_CLAIMS: Final = "SELECT claim, event_claim FROM instances WHERE incarnation = ? AND kind = ? AND name = ? AND id = ?"
_END: Final = "SELECT last, total FROM streams WHERE incarnation = ? AND stream = ? ORDER BY last DESC LIMIT 1"
_APPEND: Final = "INSERT INTO streams (incarnation, stream, last, first, total, body) VALUES (?, ?, ?, ?, ?, ?)"
# Totals grow with the offsets, so this reads only the groups that go, and one more.
_DROP: Final = """
DELETE FROM streams WHERE incarnation = ?1 AND stream = ?2 AND last < (
  SELECT last FROM streams WHERE incarnation = ?1 AND stream = ?2 AND last > ?3 AND total > ?4 ORDER BY last LIMIT 1)
"""
_READ: Final = """
WITH next AS (
  SELECT last, total FROM streams WHERE incarnation = ?1 AND stream = ?2 AND last > ?3 ORDER BY last LIMIT ?4)
SELECT first, last, body FROM streams WHERE incarnation = ?1 AND stream = ?2 AND last > ?3
  AND last <= (SELECT max(last) FROM next WHERE total <= ?5 + (SELECT min(total) FROM next)) ORDER BY last
"""
_TYPES: Final = ((int,), (int,), (str,))


def append(cursor: sqlite3.Cursor, counters: Counters, groups: Sequence[StreamGroup]) -> tuple[int | None, ...]:
    """Append groups whose runs hold their claims, and return where each begins."""
    # Not undone by a rollback: a purge that then finds no stream costs one statement.
    counters.streams = "some"
    return tuple(_append(cursor, group) for group in groups)


def _append(cursor: sqlite3.Cursor, group: StreamGroup) -> int | None:
    # In this transaction: a run whose claim another engine or attempt has taken must not write behind its marks.
    if not _holds_claim(cursor, group):
        return None
    stream = (group.incarnation, group.stream)
    before, total = cursor.execute(_END, stream).fetchone() or (-1, 0)
    first, total = before + 1 + group.skipped, total + group.size
    last = first + group.count - 1
    cursor.execute(_APPEND, (*stream, last, first, total, group.body))
    # The bounds are compared here first: most appends drop nothing, and need no second statement.
    if last >= group.max_chunks or total > group.max_bytes:
        cursor.execute(_DROP, (*stream, last - group.max_chunks, total - group.max_bytes))
    return first


def _holds_claim(cursor: sqlite3.Cursor, group: StreamGroup) -> bool:
    address = group.address
    row = cursor.execute(_CLAIMS, (group.incarnation, address.kind, address.name, address.id)).fetchone()
    claims = (text for text in row or () if text is not None)
    try:
        return any(group.is_of(from_json(Claim, text, what=f"claim of {address}")) for text in claims)
    except StoreCorrupt:  # raised here, it would undo the commits of the same transaction
        return False


def read(
    cursor: sqlite3.Cursor, address: Address, incarnation: int, stream: str, after: int, limit: int, *, max_bytes: int
) -> tuple[StoredGroup, ...]:
    """Return groups after an offset.

    Raises:
        StoreCorrupt: a row is damaged.
    """
    rows = cursor.execute(_READ, (incarnation, stream, after, limit, max_bytes)).fetchall()
    for row in rows:
        check_types(row, _TYPES, what=f"stream {stream} of {address}")
    return tuple(StoredGroup(*row) for row in rows)


def last(cursor: sqlite3.Cursor, incarnation: int, stream: str) -> int:
    """Return the newest offset, and -1 without one."""
    found: int = (cursor.execute(_END, (incarnation, stream)).fetchone() or (-1,))[0]
    return found


def delete(cursor: sqlite3.Cursor, incarnation: int) -> None:
    """Delete the streams of a purged instance."""
    cursor.execute("DELETE FROM streams WHERE incarnation = ?", (incarnation,))

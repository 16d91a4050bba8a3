"""The table ``journal``: appended to by commits, read in pages."""

from __future__ import annotations

import sqlite3

from perdure.stores.rows import check_types
from perdure.values.address import Address
from perdure.values.errors import StoreCorrupt
from perdure.values.transition import JournalChange

_APPEND = "INSERT INTO journal (incarnation, place, body) VALUES (?, ?, ?)"
_DELETE = "DELETE FROM journal WHERE incarnation = ?"
_READ = "SELECT place, body FROM journal WHERE incarnation = ? AND place >= ? ORDER BY place LIMIT ?"
_TYPES = ((int,), (str,))


def change(cursor: sqlite3.Cursor, incarnation: int, length: int, journal: JournalChange) -> None:
    """Append rows, after deleting the earlier ones if they are cut.

    Args:
        cursor: a cursor in the open transaction.
        incarnation: the incarnation that the journal belongs to.
        length: the number of rows afterwards.
        journal: the change.
    """
    if journal.earlier == "cut":
        delete(cursor, incarnation)
    first = length - len(journal.bodies)
    for number, body in enumerate(journal.bodies, first):
        cursor.execute(_APPEND, (incarnation, number, body))


def delete(cursor: sqlite3.Cursor, incarnation: int) -> None:
    """Delete the journal of an incarnation."""
    cursor.execute(_DELETE, (incarnation,))


def read(cursor: sqlite3.Cursor, address: Address, incarnation: int, first: int, limit: int) -> tuple[str, ...]:
    """Return rows from a place on.

    Raises:
        StoreCorrupt: a place is missing, or a row is damaged.
    """
    rows = cursor.execute(_READ, (incarnation, first, limit)).fetchall()
    for expected, row in enumerate(rows, first):
        check_types(row, _TYPES, what=f"journal of {address}")
        if row[0] != expected:
            raise StoreCorrupt(
                f"journal of {address}", f"expected a row at place {expected}, found the next at {row[0]}"
            )
    return tuple(body for _, body in rows)

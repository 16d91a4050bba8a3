"""The numbers that a store assigns, each only once."""

from __future__ import annotations

import sqlite3

import attrs

from perdure.stores.sqlite.status_counts import StatusCounts, take_saved


@attrs.define
class Counters:
    """The last numbers assigned, including those of the open transaction.

    Attributes:
        incarnation: of instances.
        message_id: of messages.
        sequence: of events.
        counts: the instances by job and status.
    """

    incarnation: int
    message_id: int
    sequence: int
    counts: StatusCounts = attrs.Factory(StatusCounts)
    _saved: tuple[int, int, int] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._saved = self._now

    def save(self, cursor: sqlite3.Cursor) -> None:
        """Write the numbers in the open transaction, if they changed."""
        if self._now != self._saved:
            cursor.execute("UPDATE counters SET incarnation = ?, message_id = ?, sequence = ?", self._now)

    def committed(self) -> None:
        """Note that the transaction is durable."""
        self._saved = self._now
        self.counts.committed()

    def rolled_back(self) -> None:
        """Return to the stored numbers, so that the event history has no gaps."""
        self.incarnation, self.message_id, self.sequence = self._saved
        self.counts.rolled_back()

    @property
    def _now(self) -> tuple[int, int, int]:
        return self.incarnation, self.message_id, self.sequence


def next_epoch(cursor: sqlite3.Cursor) -> tuple[int, StatusCounts]:
    """Count this opening of the file, and return its number and the counts that the previous engine saved."""
    cursor.execute("BEGIN IMMEDIATE")
    try:
        ((counted,),) = cursor.execute("UPDATE counters SET epoch = epoch + 1 RETURNING epoch").fetchall()
        counts = take_saved(cursor)
        cursor.execute("COMMIT")
    except sqlite3.Error:
        if cursor.connection.in_transaction:
            cursor.execute("ROLLBACK")
        raise
    return int(counted), counts


def epoch(cursor: sqlite3.Cursor) -> int:
    """Return the number of the last counted opening."""
    ((found,),) = cursor.execute("SELECT epoch FROM counters").fetchall()
    return int(found)


def read(cursor: sqlite3.Cursor, counts: StatusCounts) -> Counters:
    """Read the stored numbers.

    Args:
        cursor: a cursor of the connection.
        counts: the instances by job and status, as far as they are known.
    """
    query = "SELECT incarnation, message_id, sequence FROM counters"
    incarnation, message_id, sequence = cursor.execute(query).fetchone()
    return Counters(incarnation, message_id, sequence, counts)

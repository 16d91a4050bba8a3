"""The numbers that a store assigns, each only once."""

from __future__ import annotations

import sqlite3

import attrs


@attrs.define
class Counters:
    """The last numbers assigned, including those of the open transaction.

    Attributes:
        incarnation: of instances.
        message_id: of messages.
        sequence: of events.
    """

    incarnation: int
    message_id: int
    sequence: int
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

    def rolled_back(self) -> None:
        """Return to the stored numbers, so that the event history has no gaps."""
        self.incarnation, self.message_id, self.sequence = self._saved

    @property
    def _now(self) -> tuple[int, int, int]:
        return self.incarnation, self.message_id, self.sequence


def next_epoch(cursor: sqlite3.Cursor) -> int:
    """Count this opening of the file, and return its number."""
    ((counted,),) = cursor.execute("UPDATE counters SET epoch = epoch + 1 RETURNING epoch").fetchall()
    return int(counted)


def epoch(cursor: sqlite3.Cursor) -> int:
    """Return the number of the last counted opening."""
    ((found,),) = cursor.execute("SELECT epoch FROM counters").fetchall()
    return int(found)


def read(cursor: sqlite3.Cursor) -> Counters:
    """Read the stored numbers."""
    return Counters(*cursor.execute("SELECT incarnation, message_id, sequence FROM counters").fetchone())

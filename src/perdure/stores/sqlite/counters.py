"""The numbers that a store gives out, and never gives out again."""

from __future__ import annotations

import sqlite3

import attrs


@attrs.define
class Counters:
    """The last numbers given out, as they will be when the open transaction commits.

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
        """Write them with the open transaction, if they moved."""
        if self._now != self._saved:
            cursor.execute("UPDATE counters SET incarnation = ?, message_id = ?, sequence = ?", self._now)

    def committed(self) -> None:
        """Take note that the transaction is safe."""
        self._saved = self._now

    def rolled_back(self) -> None:
        """Go back to what is stored, so that the log has no holes."""
        self.incarnation, self.message_id, self.sequence = self._saved

    @property
    def _now(self) -> tuple[int, int, int]:
        return self.incarnation, self.message_id, self.sequence


def next_epoch(cursor: sqlite3.Cursor) -> int:
    """Count this opening of the file, and give its number."""
    ((counted,),) = cursor.execute("UPDATE counters SET epoch = epoch + 1 RETURNING epoch").fetchall()
    return int(counted)


def epoch(cursor: sqlite3.Cursor) -> int:
    """Give the number of the opening that was counted last."""
    ((found,),) = cursor.execute("SELECT epoch FROM counters").fetchall()
    return int(found)


def read(cursor: sqlite3.Cursor) -> Counters:
    """Read the numbers that are stored."""
    return Counters(*cursor.execute("SELECT incarnation, message_id, sequence FROM counters").fetchone())

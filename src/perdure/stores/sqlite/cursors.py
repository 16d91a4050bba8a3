"""The positions of sinks in the event history."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from perdure.stores.rows import Row
from perdure.stores.sqlite.change import append_events
from perdure.stores.sqlite.counters import Counters
from perdure.stores.store import Cursor

_READ = """
SELECT (SELECT sequence FROM cursors WHERE name = ?), (SELECT sequence FROM counters),
  (SELECT min(sequence) FROM events)
"""
_MOVE = """
INSERT INTO cursors (name, sequence) VALUES (?, ?)
ON CONFLICT (name) DO UPDATE SET sequence = excluded.sequence WHERE sequence < excluded.sequence
"""


def read(cursor: sqlite3.Cursor, name: str) -> Cursor:
    """Return the position of a sink, and the number of the newest event."""
    sequence, last, first = cursor.execute(_READ, (name,)).fetchone()
    gone = last if first is None else first - 1  # the numbers have no gaps
    return Cursor(sequence=sequence, last=last, deleted=0 if sequence is None else max(0, gone - sequence))


def move(cursor: sqlite3.Cursor, counters: Counters, name: str, sequence: int, events: Sequence[Row]) -> None:
    """Move a sink forward and append events; write nothing if it is there already."""
    if cursor.execute(_MOVE, (name, sequence)).rowcount == 1:
        append_events(cursor, counters, events)

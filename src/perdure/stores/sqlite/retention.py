"""Retention: deletes expired keys, old dead letters, then the oldest events."""

from __future__ import annotations

import sqlite3

from perdure.stores.sqlite.counters import Counters
from perdure.stores.store import Retention

_KEYS = """
DELETE FROM keys WHERE (address, key) IN
  (SELECT address, key FROM keys WHERE expires_ms <= ? ORDER BY expires_ms LIMIT ?)
"""
_DEAD_LETTERS = """
DELETE FROM dead_letters WHERE message_id IN
  (SELECT message_id FROM dead_letters WHERE sent_ms < ? ORDER BY sent_ms LIMIT ?)
"""
_EVENTS = """
DELETE FROM events WHERE sequence < (
  WITH oldest AS (SELECT sequence, at_ms FROM events ORDER BY sequence LIMIT :limit)
  SELECT coalesce(
    (SELECT min(sequence) FROM oldest WHERE at_ms >= :since_ms AND sequence > :last - :max_events),
    (SELECT max(sequence) + 1 FROM oldest)
  )
)
"""


def prune(cursor: sqlite3.Cursor, counters: Counters, retention: Retention) -> int:
    """Delete up to ``limit`` rows, and return their number.

    The event history has no gaps (its numbers are committed with it), so numbers determine the newest ``max_events``.
    """
    removed = cursor.execute(_KEYS, (retention.now_ms, retention.limit)).rowcount
    removed += cursor.execute(_DEAD_LETTERS, (retention.dead_letters_since_ms, retention.limit - removed)).rowcount
    values = {
        "limit": retention.limit - removed,
        "since_ms": retention.events_since_ms,
        "max_events": retention.max_events,
        "last": counters.sequence,
    }
    return removed + cursor.execute(_EVENTS, values).rowcount

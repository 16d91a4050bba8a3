"""The statements that send, settle, redrive and delete messages.

The head of a (sender, target) pair is its oldest message. It is marked in the table, so that a short index scan finds
the deliverable messages, however many wait behind them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Literal, assert_never

from perdure.stores.codec import to_json
from perdure.stores.rows import Row
from perdure.stores.sqlite.counters import Counters
from perdure.values.address import Address
from perdure.values.instance import left_key
from perdure.values.message import Consumed, DeadLettered, Kept, MessageFate, Postponed

_SEND = """
INSERT INTO messages (message_id, sender, target, action, payload, sent_ms, trace, attempts, not_before_ms, place)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, 0,
        iif(EXISTS (SELECT 1 FROM messages WHERE sender = ?2 AND target = ?3), 'behind', 'head'))
"""
_PROMOTE = """
UPDATE messages SET place = 'head' WHERE message_id =
  (SELECT message_id FROM messages WHERE sender = ? AND target = ? ORDER BY message_id LIMIT 1)
"""
_DEMOTE = "UPDATE messages SET place = 'behind' WHERE sender = ? AND target = ? AND place = 'head'"
_POSTPONE = "UPDATE messages SET attempts = ?, not_before_ms = ?, error = ?, left_by = ? WHERE message_id = ?"
_BURY = """
INSERT INTO dead_letters (message_id, sender, target, action, payload, sent_ms, trace, attempts, error)
SELECT message_id, sender, target, action, payload, sent_ms, trace, ?, ? FROM messages WHERE message_id = ?
"""
_REVIVE = """
INSERT INTO messages
  (message_id, sender, target, action, payload, sent_ms, trace, attempts, not_before_ms, error, place)
SELECT message_id, sender, target, action, payload, sent_ms, trace, attempts, 0, error, 'behind'
FROM dead_letters WHERE message_id = ?
"""


def pair_of(cursor: sqlite3.Cursor, message_id: int) -> Row | None:
    """Return sender and target of an undelivered message; None if it does not exist."""
    row: Row | None = cursor.execute(
        "SELECT sender, target FROM messages WHERE message_id = ?", (message_id,)
    ).fetchone()
    return row


def send(cursor: sqlite3.Cursor, counters: Counters, messages: Iterable[Row]) -> None:
    """Write messages, with the next ids."""
    for values in messages:
        counters.message_id += 1
        cursor.execute(_SEND, (counters.message_id, *values))


def settle(cursor: sqlite3.Cursor, fate: MessageFate, pair: Row) -> None:
    """Apply the outcome of an undelivered message."""
    match fate:
        case Consumed(message_id):
            _remove(cursor, message_id, pair)
        case Postponed(message_id=message_id, attempts=attempts, not_before_ms=not_before_ms, error=error):
            text = None if error is None else to_json(error)
            left_by = left_key(Address.parse(pair[1]), fate.codes) if fate.codes else None
            cursor.execute(_POSTPONE, (attempts, not_before_ms, text, left_by, message_id))
        case DeadLettered(message_id=message_id, attempts=attempts, error=error):
            cursor.execute(_BURY, (attempts, to_json(error), message_id))
            _remove(cursor, message_id, pair)
        case Kept():
            pass
        case _:
            assert_never(fate)


def redrive(cursor: sqlite3.Cursor, message_id: int) -> Literal["redriven", "not_found"]:
    """Turn a dead letter into a message again, at its old position in its pair."""
    cursor.execute(_REVIVE, (message_id,))
    if cursor.rowcount == 0:
        return "not_found"
    cursor.execute("DELETE FROM dead_letters WHERE message_id = ?", (message_id,))
    pair = pair_of(cursor, message_id)
    cursor.execute(_DEMOTE, pair or ())
    cursor.execute(_PROMOTE, pair or ())
    return "redriven"


def forget_own(cursor: sqlite3.Cursor, address: str) -> None:
    """Delete the messages that an instance sent to itself, dead letters included."""
    cursor.execute("DELETE FROM messages WHERE sender = ? AND target = ?", (address, address))
    cursor.execute("DELETE FROM dead_letters WHERE sender = ? AND target = ?", (address, address))


def _remove(cursor: sqlite3.Cursor, message_id: int, pair: Row) -> None:
    cursor.execute("DELETE FROM messages WHERE message_id = ?", (message_id,))
    cursor.execute(_PROMOTE, pair)

"""Rows of the driver as values. The columns are those of the SQLite store."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from perdure.stores import rows as stored_rows
from perdure.stores.codec import logged_event
from perdure.stores.postgres.text import decoded
from perdure.stores.rows import DEAD_LETTER_COLUMNS, EVENT_COLUMNS, INSTANCE_COLUMNS, MESSAGE_COLUMNS, Row
from perdure.stores.store import LoggedEvent
from perdure.values.instance import Instance
from perdure.values.message import StoredMessage
from perdure.values.transition import Remembered

__all__ = [
    "DEAD_LETTER_COLUMNS",
    "EVENT_COLUMNS",
    "INSTANCE_COLUMNS",
    "MESSAGE_COLUMNS",
    "Row",
    "event_from",
    "instance_from",
    "message_from",
    "prefixed",
    "remembered_from",
]


def prefixed(prefix: str, columns: str) -> str:
    """Return a list of columns of one table among several."""
    return ", ".join(f"{prefix}.{column}" for column in columns.split(", "))


def instance_from(row: Iterable[Any]) -> Instance:
    """Decode a row of `INSTANCE_COLUMNS`.

    Raises:
        StoreCorrupt: the row is not a valid instance.
    """
    return stored_rows.instance_from(_decoded(row))


def message_from(row: Iterable[Any]) -> StoredMessage:
    """Decode a row of `MESSAGE_COLUMNS` or `DEAD_LETTER_COLUMNS`.

    Raises:
        StoreCorrupt: the row is not a valid message.
    """
    return stored_rows.message_from(_decoded(row))


def event_from(row: Row) -> LoggedEvent:
    """Decode a row of `EVENT_COLUMNS`."""
    return logged_event(sequence=row[0], address=decoded(row[1]), type_=row[2], at_ms=row[3], body=row[4])


def remembered_from(key: str, row: Row) -> Remembered:
    """Decode action, fingerprint, answer, expiry and failures of a key."""
    action, fingerprint, answer, expires_ms, failures = _decoded(row)
    return Remembered(
        key=key, action=action, fingerprint=fingerprint, answer=answer, expires_ms=expires_ms, failures=failures
    )


def _decoded(row: Iterable[Any]) -> Row:
    return tuple(decoded(value) if type(value) is str else value for value in row)

"""What is in a store, counted from outside in short reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator

import attrs

from perdure.stores.sqlite.reader import Reader
from perdure.stores.sqlite.write_ahead_log import size_of

PAGE = 5_000
"""Rows of one read; only their places and statuses are taken."""

LEAST_GAIN_BYTES = 16 * 1024 * 1024
LEAST_GAIN_PART = 0.25
"""A file is worth a vacuum when it gives back so much, and this part of the whole."""

_INSTANCES = f"SELECT incarnation, kind, name, status FROM instances WHERE incarnation > ? ORDER BY 1 LIMIT {PAGE}"  # noqa: S608
_DUE = "SELECT count(*), min(due_ms) FROM instances WHERE due_ms <= ?"
_MESSAGES = "SELECT count(*), min(message_id) FROM messages"
_SENT = "SELECT sent_ms FROM messages WHERE message_id = ?"
_DEAD_LETTERS = "SELECT count(*) FROM dead_letters"
_KEYS = "SELECT count(*), count(*) FILTER (WHERE expires_ms <= ?) FROM keys"
_EVENTS = "SELECT min(sequence), max(sequence) FROM events"
_AT = "SELECT at_ms FROM events WHERE sequence = ?"


@attrs.frozen(kw_only=True)
class FileSize:
    """How large a store is on the disk.

    Attributes:
        file_bytes: the file.
        log_bytes: its write-ahead log.
        free_bytes: of the file, in pages that deleted rows left. New rows take them first.
    """

    file_bytes: int
    log_bytes: int
    free_bytes: int

    @property
    def is_worth_a_vacuum(self) -> bool:
        """Tell whether writing the file anew would give back a good part of it."""
        return self.free_bytes >= max(LEAST_GAIN_BYTES, LEAST_GAIN_PART * self.file_bytes)


@attrs.frozen(kw_only=True)
class Counts:
    """What is in a store.

    Attributes:
        openings: how often it was opened by an engine.
        instances: how many, by job (printed ``kind:name``) and status.
        due: instances whose alarm is due.
        due_since_ms: the earliest of their alarms.
        messages: sent and not consumed.
        oldest_message_ms: when the oldest of them was sent.
        dead_letters: messages that failed too often.
        keys: idempotency keys.
        expired_keys: those among them that retention will remove.
        events: of the log.
        oldest_event_ms: when the first of them happened.
        size: on the disk.
    """

    openings: int
    instances: dict[str, dict[str, int]]
    due: int
    due_since_ms: int | None
    messages: int
    oldest_message_ms: int | None
    dead_letters: int
    keys: int
    expired_keys: int
    events: int
    oldest_event_ms: int | None
    size: FileSize


def count(reader: Reader, now_ms: int) -> Counts:
    """Count what is in a store. Each table is read for itself: what an owner writes meanwhile may be seen or not.

    Args:
        reader: the store.
        now_ms: the present, to tell what is due and what is expired.
    """
    ((openings,),) = reader.rows("SELECT epoch FROM counters")
    ((due, due_since_ms),) = reader.rows(_DUE, (now_ms,))
    ((messages, first_message),) = reader.rows(_MESSAGES)
    ((dead_letters,),) = reader.rows(_DEAD_LETTERS)
    ((keys, expired_keys),) = reader.rows(_KEYS, (now_ms,))
    ((first_event, last_event),) = reader.rows(_EVENTS)
    return Counts(
        openings=openings,
        instances=_instances(reader),
        due=due,
        due_since_ms=due_since_ms,
        messages=messages,
        oldest_message_ms=_instant(reader, _SENT, first_message),
        dead_letters=dead_letters,
        keys=keys,
        expired_keys=expired_keys,
        events=0 if first_event is None else last_event - first_event + 1,  # the log has no holes
        oldest_event_ms=_instant(reader, _AT, first_event),
        size=_size(reader),
    )


def _instances(reader: Reader) -> dict[str, dict[str, int]]:
    found: dict[str, Counter[str]] = {}
    for kind, name, status in _places(reader):
        found.setdefault(f"{kind}:{name}", Counter())[status] += 1
    return {job: dict(sorted(statuses.items())) for job, statuses in sorted(found.items())}


def _places(reader: Reader) -> Generator[tuple[str, str, str]]:
    after = 0
    while rows := reader.rows(_INSTANCES, (after,)):
        yield from ((kind, name, status) for _, kind, name, status in rows)
        after = rows[-1][0]


def _instant(reader: Reader, sql: str, of: int | None) -> int | None:
    rows = [] if of is None else reader.rows(sql, (of,))
    return int(rows[0][0]) if rows else None  # it may have gone since


def _size(reader: Reader) -> FileSize:
    ((page_bytes,),) = reader.rows("PRAGMA page_size")
    ((free_pages,),) = reader.rows("PRAGMA freelist_count")
    return FileSize(file_bytes=size_of(reader.path), log_bytes=size_of(reader.log), free_bytes=free_pages * page_bytes)

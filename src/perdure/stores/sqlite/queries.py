"""The statements that read. Each function runs in the driver's thread and returns decoded values."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from perdure.stores.codec import logged_event
from perdure.stores.corrupt_rows import CorruptRows, readable
from perdure.stores.groups import LoadRequest
from perdure.stores.lanes import QueuedLane
from perdure.stores.rows import (
    DEAD_LETTER_COLUMNS,
    EVENT_COLUMNS,
    INSTANCE_COLUMNS,
    MESSAGE_COLUMNS,
    Row,
    instance_from,
    message_from,
)
from perdure.stores.sqlite.status_counts import StatusCounts
from perdure.stores.store import DuePosition, LoggedEvent
from perdure.values.address import Address, Job
from perdure.values.errors import StoreCorrupt
from perdure.values.instance import Instance, is_left_to
from perdure.values.listings import MAX_COUNTED, StoreCounts
from perdure.values.message import StoredMessage
from perdure.values.transition import Loaded, Remembered

T = TypeVar("T")

# ruff: noqa: S608 - the texts are made of constants; values are always bound
_LOAD = f"SELECT {INSTANCE_COLUMNS} FROM instances WHERE kind = ? AND name = ? AND id = ?"
_LOAD_SEVERAL = {
    count: f"SELECT {INSTANCE_COLUMNS} FROM instances WHERE kind = ? AND name = ? AND id IN ({', '.join('?' * count)})"
    for count in (4, 16, 64, 256)
}
"""Few texts, so that the driver keeps their statements prepared; a shorter list of ids repeats its last one."""

_MOST_AT_ONCE = max(_LOAD_SEVERAL)
_RECALL = """
SELECT key, action, fingerprint, answer, expires_ms, failures FROM keys
WHERE address = ? AND key = ? AND expires_ms > ?
"""
_KEYS_HELD = """
SELECT 1 + coalesce((SELECT max(ordinal) FROM keys WHERE address = ?1), -1)
  - coalesce((SELECT min(ordinal) FROM keys WHERE address = ?1), 0)
"""
_DUE = f"""
SELECT {INSTANCE_COLUMNS}, due_ms FROM instances WHERE due_ms = ?2 AND due_ms <= ?1 AND incarnation > ?3{{}}
UNION ALL
SELECT {INSTANCE_COLUMNS}, due_ms FROM instances WHERE due_ms > ?2 AND due_ms <= ?1{{}}
ORDER BY due_ms, incarnation LIMIT ?4
"""  # two searches of the index: a comparison of both columns would scan all that are due at the same instant
_NEXT_LANE = {
    after: f"""
SELECT lane FROM instances INDEXED BY instances_lanes
WHERE kind = ? AND name = ? {after} AND rank_ms IS NOT NULL ORDER BY lane LIMIT 1
"""
    for after in ("", "AND lane > ?")
}
_QUEUED = f"""
SELECT {INSTANCE_COLUMNS}, rank_ms FROM instances INDEXED BY instances_lanes
WHERE kind = ? AND name = ? AND lane = ? AND rank_ms IS NOT NULL AND (rank_ms, incarnation) > (?, ?)
ORDER BY rank_ms, incarnation LIMIT ?
"""
_NEXT_ALARM = "SELECT min(due_ms) FROM instances WHERE due_ms > ?"
_CLAIMED = f"""
SELECT {INSTANCE_COLUMNS} FROM instances INDEXED BY instances_owner
WHERE owner IS NOT NULL AND incarnation > ? ORDER BY incarnation LIMIT ?
"""
_MESSAGES = f"""
SELECT {MESSAGE_COLUMNS} FROM messages INDEXED BY messages_heads
WHERE place = 'head' AND message_id > ? AND not_before_ms <= ? ORDER BY message_id LIMIT ?
"""
_NEXT_LEFT = {
    table: f"SELECT left_by FROM {table} INDEXED BY {table}_left WHERE left_by > ? ORDER BY left_by LIMIT 1"
    for table in ("instances", "messages")
}
_LEFT = f"""
SELECT {INSTANCE_COLUMNS} FROM instances INDEXED BY instances_left
WHERE incarnation > ? AND left_by = ? ORDER BY incarnation LIMIT ?
"""
_LEFT_MESSAGES = f"""
SELECT {MESSAGE_COLUMNS} FROM messages INDEXED BY messages_left
WHERE message_id > ? AND left_by = ? AND place = 'head' ORDER BY message_id LIMIT ?
"""
_PAIR_COUNT = "SELECT count(*) FROM (SELECT 1 FROM messages WHERE sender = ? AND target = ? LIMIT ?)"
_SOME_MESSAGES = "SELECT count(*) FROM (SELECT 1 FROM messages LIMIT ?)"
_SOME_DEAD_LETTERS = "SELECT count(*) FROM (SELECT 1 FROM dead_letters LIMIT ?)"
_NEXT_MESSAGE = "SELECT min(not_before_ms) FROM messages WHERE not_before_ms > 0 AND not_before_ms > ?"
_DEAD_LETTERS = f"SELECT {DEAD_LETTER_COLUMNS} FROM dead_letters WHERE message_id > ? ORDER BY message_id LIMIT ?"
_HISTORY = f"SELECT {EVENT_COLUMNS} FROM events WHERE address = ? AND sequence < ? ORDER BY sequence DESC LIMIT ?"
_EVENTS = f"SELECT {EVENT_COLUMNS} FROM events WHERE sequence > ? ORDER BY sequence LIMIT ?"

_FIRST = -(2**63)
_LAST = 2**63 - 1


def load(cursor: sqlite3.Cursor, address: Address, key: str | None, now_ms: int) -> Loaded:
    """Read an address and the stored answer of a key.

    Raises:
        StoreCorrupt: the row cannot be decoded.
    """
    row = cursor.execute(_LOAD, (address.kind, address.name, address.id)).fetchone()
    instance = None if row is None else instance_from(row)
    if key is None:
        return Loaded(instance=instance)
    printed = str(address)
    kept = cursor.execute(_RECALL, (printed, key, now_ms)).fetchone()
    (held,) = cursor.execute(_KEYS_HELD, (printed,)).fetchone()
    return Loaded(instance=instance, remembered=None if kept is None else _remembered(kept), keys_held=held)


def load_all(cursor: sqlite3.Cursor, requests: Sequence[LoadRequest]) -> list[Loaded]:
    """Read several addresses: the instances of a job together, since a statement costs more than a row.

    Raises:
        StoreCorrupt: a row cannot be decoded.
    """
    ids: dict[Job, list[str]] = {}
    for request in requests:
        if request.idempotency_key is None:
            address = request.address
            ids.setdefault((address.kind, address.name), []).append(address.id)
    found = {job: _instances(cursor, job, wanted) for job, wanted in ids.items()}
    answers: list[Loaded] = []
    for request in requests:
        address = request.address
        if request.idempotency_key is None:
            answers.append(Loaded(instance=found[address.kind, address.name].get(address.id)))
        else:
            answers.append(load(cursor, address, request.idempotency_key, request.now_ms))
    return answers


def _instances(cursor: sqlite3.Cursor, job: Job, ids: list[str]) -> dict[str, Instance]:
    """Return the instances of a job that exist, by id."""
    found: dict[str, Instance] = {}
    for start in range(0, len(ids), _MOST_AT_ONCE):
        wanted = ids[start : start + _MOST_AT_ONCE]
        count = next(count for count in _LOAD_SEVERAL if count >= len(wanted))
        repeated = wanted[-1:] * (count - len(wanted))
        for row in cursor.execute(_LOAD_SEVERAL[count], (*job, *wanted, *repeated)).fetchall():
            instance = instance_from(row)
            if instance.address.id not in wanted:
                raise StoreCorrupt(str(instance.address), "the index has another id for this row")
            found[instance.address.id] = instance
    return found


def due(
    cursor: sqlite3.Cursor,
    damage: CorruptRows,
    now_ms: int,
    limit: int,
    after: DuePosition | None = None,
    except_jobs: Sequence[Job] = (),
) -> tuple[Instance, ...]:
    """Return the due instances of all jobs but these after a position, the earliest first."""
    places = ", ".join(f"(?{number}, ?{number + 1})" for number in range(5, 5 + 2 * len(except_jobs), 2))
    others = f" AND (kind, name) NOT IN (VALUES {places})" if except_jobs else ""
    statement = _DUE.format(others, others)
    excepted = tuple(part for job in except_jobs for part in job)

    def fetch(after: Row, wanted: int) -> list[Row]:
        return cursor.execute(statement, (now_ms, *after, wanted, *excepted)).fetchall()

    return readable(fetch, instance_from, lambda row: (row[-1], row[0]), after or (_FIRST, 0), limit, damage)


def lanes(cursor: sqlite3.Cursor, job: Job, after: str | None, limit: int) -> tuple[str, ...]:
    """Return the next lanes of a job: a seek in the index for each."""
    names: list[str] = []
    while len(names) < limit:
        bound = job if after is None else (*job, after)
        found = cursor.execute(_NEXT_LANE["" if after is None else "AND lane > ?"], bound).fetchone()
        if found is None:
            break
        (after,) = found
        names.append(found[0])
    return tuple(names)


def queued(
    cursor: sqlite3.Cursor, damage: CorruptRows, job: Job, names: Sequence[str], limit: int
) -> tuple[QueuedLane, ...]:
    """Return the first queued instances of lanes."""
    share = -(-limit // max(1, len(names)))
    return tuple(_lane(cursor, damage, job, name, share) for name in names)


def _lane(cursor: sqlite3.Cursor, damage: CorruptRows, job: Job, lane: str, limit: int) -> QueuedLane:
    def fetch(after: Row, wanted: int) -> list[Row]:
        return cursor.execute(_QUEUED, (*job, lane, *after, wanted)).fetchall()

    rows = readable(fetch, instance_from, lambda row: (row[-1], row[0]), (_FIRST, 0), limit + 1, damage)
    return QueuedLane(lane=lane, instances=rows[:limit], rest="none" if len(rows) <= limit else "some")


def next_alarm(cursor: sqlite3.Cursor, after_ms: int) -> int | None:
    """Return the earliest due instant after an instant."""
    return _number(cursor, _NEXT_ALARM, after_ms)


def claimed(cursor: sqlite3.Cursor, damage: CorruptRows, after_incarnation: int, limit: int) -> tuple[Instance, ...]:
    """Return instances with a claim, by incarnation."""

    def fetch(after: Row, wanted: int) -> list[Row]:
        return cursor.execute(_CLAIMED, (*after, wanted)).fetchall()

    return readable(fetch, instance_from, _first, (after_incarnation,), limit, damage)


def left_to(cursor: sqlite3.Cursor, damage: CorruptRows, codes: Mapping[Job, str], limit: int) -> tuple[Instance, ...]:
    """Return the instances that other code left."""
    return _left(cursor, "instances", codes, limit, lambda key, most: _of_key(cursor, damage, key, most))


def messages_left_to(
    cursor: sqlite3.Cursor, damage: CorruptRows, codes: Mapping[Job, str], limit: int
) -> tuple[StoredMessage, ...]:
    """Return the heads that other code left."""
    return _left(cursor, "messages", codes, limit, lambda key, most: _messages_of_key(cursor, damage, key, most))


def messages_left(cursor: sqlite3.Cursor, damage: CorruptRows, limit: int) -> tuple[StoredMessage, ...]:
    """Return the heads that code left, of all jobs."""
    return _left(cursor, "messages", None, limit, lambda key, most: _messages_of_key(cursor, damage, key, most))


def _left(
    cursor: sqlite3.Cursor,
    table: str,
    codes: Mapping[Job, str] | None,
    limit: int,
    read: Callable[[str, int], tuple[T, ...]],
) -> tuple[T, ...]:
    """Read the rows with keys that are left to other code, None for all: a seek in the index for each different key."""
    found: tuple[T, ...] = ()
    key = ""
    while len(found) < limit and (row := cursor.execute(_NEXT_LEFT[table], (key,)).fetchone()) is not None:
        (key,) = row
        if codes is None or any(is_left_to(key, job, code) for job, code in codes.items()):
            found += read(key, limit - len(found))
    return found


def _of_key(cursor: sqlite3.Cursor, damage: CorruptRows, key: str, limit: int) -> tuple[Instance, ...]:
    def fetch(after: Row, wanted: int) -> list[Row]:
        return cursor.execute(_LEFT, (*after, key, wanted)).fetchall()

    return readable(fetch, instance_from, _first, (_FIRST,), limit, damage)


def _messages_of_key(cursor: sqlite3.Cursor, damage: CorruptRows, key: str, limit: int) -> tuple[StoredMessage, ...]:
    def fetch(after: Row, wanted: int) -> list[Row]:
        return cursor.execute(_LEFT_MESSAGES, (*after, key, wanted)).fetchall()

    return readable(fetch, message_from, _first, (_FIRST,), limit, damage)


def messages(cursor: sqlite3.Cursor, damage: CorruptRows, now_ms: int, limit: int) -> tuple[StoredMessage, ...]:
    """Return the heads that may be delivered, the oldest first."""

    def fetch(after: Row, wanted: int) -> list[Row]:
        return cursor.execute(_MESSAGES, (*after, now_ms, wanted)).fetchall()

    return readable(fetch, message_from, _first, (_FIRST,), limit, damage)


def count_messages(cursor: sqlite3.Cursor, pairs: Sequence[tuple[Address, Address]], limit: int) -> tuple[int, ...]:
    """Count the messages of pairs of sender and target, up to a total."""
    counts: list[int] = []
    for sender, target in pairs:
        (count,) = cursor.execute(_PAIR_COUNT, (str(sender), str(target), limit)).fetchone() if limit else (0,)
        counts.append(count)
        limit -= count
    return tuple(counts)


def counts(cursor: sqlite3.Cursor, counted: StatusCounts) -> StoreCounts:
    """Count the next portion of instances, and the messages."""
    counted.portion(cursor)
    return StoreCounts(
        instances=counted.instances,
        complete=counted.progress == "all",
        oldest_due_ms=_number(cursor, _NEXT_ALARM, -1),
        messages=_number(cursor, _SOME_MESSAGES, MAX_COUNTED) or 0,
        dead_letters=_number(cursor, _SOME_DEAD_LETTERS, MAX_COUNTED) or 0,
    )


def next_message(cursor: sqlite3.Cursor, after_ms: int) -> int | None:
    """Return the earliest instant, after an instant, that a message waits for."""
    return _number(cursor, _NEXT_MESSAGE, after_ms)


def dead_letters(cursor: sqlite3.Cursor, damage: CorruptRows, after_id: int, limit: int) -> tuple[StoredMessage, ...]:
    """Return dead letters, the oldest first."""

    def fetch(after: Row, wanted: int) -> list[Row]:
        return cursor.execute(_DEAD_LETTERS, (*after, wanted)).fetchall()

    return readable(fetch, message_from, _first, (after_id,), limit, damage)


def history(cursor: sqlite3.Cursor, address: Address, before: int | None, limit: int) -> tuple[LoggedEvent, ...]:
    """Return the newest events of an address, the newest first."""
    values = (str(address), _LAST if before is None else before, limit)
    return tuple(_logged(row) for row in cursor.execute(_HISTORY, values))


def events(cursor: sqlite3.Cursor, after: int, limit: int) -> tuple[LoggedEvent, ...]:
    """Return the events after a sequence number, in order."""
    return tuple(_logged(row) for row in cursor.execute(_EVENTS, (after, limit)))


def _remembered(row: Row) -> Remembered:
    return Remembered(key=row[0], action=row[1], fingerprint=row[2], answer=row[3], expires_ms=row[4], failures=row[5])


def _logged(row: Row) -> LoggedEvent:
    return logged_event(sequence=row[0], address=row[1], type_=row[2], at_ms=row[3], body=row[4])


def _number(cursor: sqlite3.Cursor, sql: str, bound: int) -> int | None:
    (value,) = cursor.execute(sql, (bound,)).fetchone()
    return None if value is None else int(value)


def _first(row: Row) -> Row:
    return row[:1]

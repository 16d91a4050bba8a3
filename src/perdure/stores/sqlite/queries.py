"""The statements that read. Each function runs in the driver's thread and returns decoded values.

A search reads in chunks, so that other requests do not wait long.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias, TypeVar

import attrs

from perdure.runtime.record import DEFAULT_SIZES
from perdure.stores.rows import (
    DEAD_LETTER_COLUMNS,
    EVENT_COLUMNS,
    INSTANCE_COLUMNS,
    MESSAGE_COLUMNS,
    CorruptRows,
    Row,
    after_prefix,
    check_types,
    instance_from,
    logged_event,
    message_from,
    readable,
)
from perdure.stores.sqlite.counters import StatusCounts
from perdure.stores.values import (
    WITHOUT_WORK,
    Cursor,
    DuePosition,
    LoadRequest,
    LoggedEvent,
    Query,
    QueuedLane,
    StoredHistory,
    StoredWork,
)
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
"""Few texts, so that the driver keeps their statements prepared. A shorter id list repeats its last id."""

_RECALL = """
SELECT key, action, fingerprint, answer, expires_ms, failures FROM keys
WHERE address = ? AND key = ? AND expires_ms > ?
"""
# The difference of two ordinals: counting the keys would cost each keyed request a scan of up to ten million.
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
# The index is named here and in other listings: SQLite may choose another one, and then sort or scan all rows.
_QUEUED = f"""
SELECT {INSTANCE_COLUMNS}, rank_ms FROM instances INDEXED BY instances_lanes
WHERE kind = ? AND name = ? AND lane = ? AND rank_ms IS NOT NULL AND (rank_ms, incarnation) > (?, ?)
ORDER BY rank_ms, incarnation LIMIT ?
"""
# The index alone answers it: about 0.2 µs for each queued instance, where a search of each lane takes 7 µs.
_LAST_RANK = """
SELECT max(rank_ms) FROM instances INDEXED BY instances_lanes WHERE kind = ? AND name = ? AND rank_ms IS NOT NULL
"""
_NEXT_ALARM = "SELECT min(due_ms) FROM instances WHERE due_ms > ?"
_CLAIMED = f"""
SELECT {INSTANCE_COLUMNS} FROM instances INDEXED BY instances_owner
WHERE owner IS NOT NULL AND incarnation > ? ORDER BY incarnation LIMIT ?
"""
_MESSAGES = f"""
SELECT {MESSAGE_COLUMNS} FROM messages INDEXED BY messages_heads
WHERE place = 'head' AND message_id > ? AND not_before_ms <= ?{{}} ORDER BY message_id LIMIT ?
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
_ALARMS = """
SELECT kind, name, due_ms FROM instances INDEXED BY instances_due
WHERE due_ms IS NOT NULL AND owner IS NULL ORDER BY due_ms LIMIT ?
"""
_CLAIMS = """
SELECT kind, name, count(*) FROM (
  SELECT kind, name FROM instances INDEXED BY instances_owner WHERE owner IS NOT NULL ORDER BY incarnation LIMIT ?
) GROUP BY 1, 2
"""
_TARGETS = """
SELECT target FROM messages INDEXED BY messages_heads
WHERE place = 'head' AND not_before_ms <= ? ORDER BY message_id LIMIT ?
"""
_QUEUE_LENGTH = """
SELECT count(*) FROM (
  SELECT 1 FROM instances INDEXED BY instances_lanes WHERE kind = ? AND name = ? AND rank_ms IS NOT NULL LIMIT ?
)
"""
_HAS_WORK = f"""
SELECT EXISTS (SELECT 1 FROM instances INDEXED BY instances_lanes WHERE kind = ?1 AND name = ?2 AND rank_ms IS NOT NULL)
  OR EXISTS (SELECT 1 FROM instances WHERE kind = ?1 AND name = ?2 AND status NOT IN {WITHOUT_WORK})
  OR EXISTS (SELECT 1 FROM messages WHERE substr(target, 1, length(?3)) = ?3)
"""
_PAIR_COUNT = "SELECT count(*) FROM (SELECT 1 FROM messages WHERE sender = ? AND target = ? LIMIT ?)"
_SOME_MESSAGES = "SELECT count(*) FROM (SELECT 1 FROM messages LIMIT ?)"
_SOME_DEAD_LETTERS = "SELECT count(*) FROM (SELECT 1 FROM dead_letters LIMIT ?)"
_NEXT_MESSAGE = "SELECT min(not_before_ms) FROM messages WHERE not_before_ms > 0 AND not_before_ms > ?"
_DEAD_LETTERS = f"SELECT {DEAD_LETTER_COLUMNS} FROM dead_letters WHERE message_id > ? ORDER BY message_id LIMIT ?"
# Both in one statement, and so as of one moment: retention moves events from one table to the other.
_HISTORY = (
    " UNION ALL ".join(
        f"SELECT * FROM (SELECT {EVENT_COLUMNS} FROM {table} WHERE address = ?1 AND sequence < ?2"
        " ORDER BY sequence DESC LIMIT ?3)"
        for table in ("events", "kept_events")
    )
    + " ORDER BY sequence DESC LIMIT ?3"
)
_HISTORIES = """
SELECT job, age_ms, events,
  coalesce((SELECT max(number) FROM kept_events WHERE kept_events.job = histories.job)
    - (SELECT min(number) FROM kept_events WHERE kept_events.job = histories.job) + 1, 0)
FROM histories
"""
_EVENTS = f"SELECT {EVENT_COLUMNS} FROM events WHERE sequence > ? ORDER BY sequence LIMIT ?"

_FIRST = -(2**63)
_LAST = 2**63 - 1


def load(cursor: sqlite3.Cursor, address: Address, key: str | None, now_ms: int) -> Loaded:
    """Read an address and a key's stored answer.

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


def load_all(cursor: sqlite3.Cursor, requests: Sequence[LoadRequest], most: int) -> list[Loaded]:
    """Read several addresses: one job's instances together, since a statement costs more than a row.

    Args:
        cursor: a cursor in the file.
        requests: the addresses.
        most: how many instances one statement reads.

    Raises:
        StoreCorrupt: a row cannot be decoded.
    """
    ids: dict[Job, list[str]] = {}
    for request in requests:
        if request.idempotency_key is None:
            address = request.address
            ids.setdefault((address.kind, address.name), []).append(address.id)
    found = {job: _instances(cursor, job, wanted, most) for job, wanted in ids.items()}
    answers: list[Loaded] = []
    for request in requests:
        address = request.address
        if request.idempotency_key is None:
            answers.append(Loaded(instance=found[address.kind, address.name].get(address.id)))
        else:
            answers.append(load(cursor, address, request.idempotency_key, request.now_ms))
    return answers


def _instances(cursor: sqlite3.Cursor, job: Job, ids: list[str], most: int) -> dict[str, Instance]:
    """Return a job's existing instances, by id."""
    found: dict[str, Instance] = {}
    # Statements exist for a few lengths only: each other length would be prepared again.
    most = min(most, max(_LOAD_SEVERAL))
    for start in range(0, len(ids), most):
        wanted = ids[start : start + most]
        count = next(count for count in _LOAD_SEVERAL if count >= len(wanted))
        # The last id once more: a repeated id in IN finds no row twice.
        repeated = wanted[-1:] * (count - len(wanted))
        for row in cursor.execute(_LOAD_SEVERAL[count], (*job, *wanted, *repeated)).fetchall():
            instance = instance_from(row)
            # A damaged index returns the row of another instance: unchecked, its state would be committed under the
            # wrong address.
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
    """Return due instances after a position, the earliest first, without those of some jobs."""
    places = ", ".join(f"(?{number}, ?{number + 1})" for number in range(5, 5 + 2 * len(except_jobs), 2))
    others = f" AND (kind, name) NOT IN (VALUES {places})" if except_jobs else ""
    statement = _DUE.format(others, others)
    excepted = tuple(part for job in except_jobs for part in job)

    def fetch(after: Row, wanted: int) -> list[Row]:
        return cursor.execute(statement, (now_ms, *after, wanted, *excepted)).fetchall()

    # Page over corrupt rows: one that stays first in the order would otherwise hide every later alarm.
    return readable(fetch, instance_from, lambda row: (row[-1], row[0]), after or (_FIRST, 0), limit, damage)


def lanes(cursor: sqlite3.Cursor, job: Job, after: str | None, limit: int) -> tuple[str, ...]:
    """Return a job's next lanes: a seek in the index for each."""
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
    """Return the first queued instances in each lane."""
    # Rounded up: with more lanes than the limit, each lane still returns one.
    share = -(-limit // max(1, len(names)))
    return tuple(_lane(cursor, damage, job, name, share) for name in names)


def _lane(cursor: sqlite3.Cursor, damage: CorruptRows, job: Job, lane: str, limit: int) -> QueuedLane:
    def fetch(after: Row, wanted: int) -> list[Row]:
        return cursor.execute(_QUEUED, (*job, lane, *after, wanted)).fetchall()

    # One more than the limit tells whether the lane has more. A full page alone does not, and the rest would wait
    # unseen.
    rows = readable(fetch, instance_from, lambda row: (row[-1], row[0]), (_FIRST, 0), limit + 1, damage)
    return QueuedLane(lane=lane, instances=rows[:limit], rest="none" if len(rows) <= limit else "some")


def last_rank(cursor: sqlite3.Cursor, job: Job) -> int | None:
    """Return the greatest rank of a job's queued instances."""
    return _number(cursor, _LAST_RANK, *job)


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


def _left(
    cursor: sqlite3.Cursor,
    table: str,
    codes: Mapping[Job, str],
    limit: int,
    read: Callable[[str, int], tuple[T, ...]],
) -> tuple[T, ...]:
    """Read the rows with keys that are left to other code: a seek in the index for each different key."""
    found: tuple[T, ...] = ()
    key = ""
    # A seek for each different mark: a scan of all left rows would be repeated by every poll.
    while len(found) < limit and (row := cursor.execute(_NEXT_LEFT[table], (key,)).fetchone()) is not None:
        (key,) = row
        if any(is_left_to(key, job, code) for job, code in codes.items()):
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


def messages(
    cursor: sqlite3.Cursor, damage: CorruptRows, now_ms: int, limit: int, except_jobs: Sequence[Job] = ()
) -> tuple[StoredMessage, ...]:
    """Return the heads that may be delivered, the oldest first, without those to some jobs."""
    statement = _MESSAGES.format(" AND NOT target BETWEEN ? AND ?" * len(except_jobs))
    # A kind and a name have no colon: the last text is behind all addresses of the job, and before any other one.
    excepted = tuple(f"{kind}:{name}{end}" for kind, name in except_jobs for end in ":;")

    def fetch(after: Row, wanted: int) -> list[Row]:
        return cursor.execute(statement, (*after, now_ms, *excepted, wanted)).fetchall()

    return readable(fetch, message_from, _first, (_FIRST,), limit, damage)


def count_messages(cursor: sqlite3.Cursor, pairs: Sequence[tuple[Address, Address]], limit: int) -> tuple[int, ...]:
    """Count messages for each sender and target, up to a total."""
    counts: list[int] = []
    for sender, target in pairs:
        # The limit is for all pairs together.
        (count,) = cursor.execute(_PAIR_COUNT, (str(sender), str(target), limit)).fetchone() if limit else (0,)
        counts.append(count)
        limit -= count
    return tuple(counts)


def counts(cursor: sqlite3.Cursor, counted: StatusCounts) -> StoreCounts:
    """Count the next portion of the instances, and the messages."""
    # Here, on the read queue: between two portions other requests run.
    counted.portion(cursor)
    return StoreCounts(
        instances=counted.instances,
        complete=counted.progress == "all",
        oldest_due_ms=_number(cursor, _NEXT_ALARM, -1),
        messages=_number(cursor, _SOME_MESSAGES, MAX_COUNTED) or 0,
        dead_letters=_number(cursor, _SOME_DEAD_LETTERS, MAX_COUNTED) or 0,
    )


def work(cursor: sqlite3.Cursor, jobs: Sequence[Job], until_ms: int, limit: int) -> StoredWork:
    """Count the work of jobs."""
    targets = (Address.parse(target) for (target,) in cursor.execute(_TARGETS, (until_ms, limit)).fetchall())
    return StoredWork.of(
        jobs,
        until_ms,
        limit,
        alarms=[((kind, name), due_ms) for kind, name, due_ms in cursor.execute(_ALARMS, (limit,))],
        queued={job: _number(cursor, _QUEUE_LENGTH, *job, limit) or 0 for job in jobs},
        messages=Counter((target.kind, target.name) for target in targets),
        running={(kind, name): number for kind, name, number in cursor.execute(_CLAIMS, (limit,))},
    )


def has_work(cursor: sqlite3.Cursor, job: Job) -> bool:
    """Return whether a job has work. One statement reads one moment."""
    kind, name = job
    return bool(_number(cursor, _HAS_WORK, kind, name, f"{kind}:{name}:"))


def next_message(cursor: sqlite3.Cursor, after_ms: int) -> int | None:
    """Return the earliest instant, after an instant, that a message waits for."""
    return _number(cursor, _NEXT_MESSAGE, after_ms)


def dead_letters(cursor: sqlite3.Cursor, damage: CorruptRows, after_id: int, limit: int) -> tuple[StoredMessage, ...]:
    """Return dead letters, the oldest first."""

    def fetch(after: Row, wanted: int) -> list[Row]:
        return cursor.execute(_DEAD_LETTERS, (*after, wanted)).fetchall()

    return readable(fetch, message_from, _first, (after_id,), limit, damage)


def history(cursor: sqlite3.Cursor, address: Address, before: int | None, limit: int) -> tuple[LoggedEvent, ...]:
    """Return an address's newest events, the newest first."""
    values = (str(address), _LAST if before is None else before, limit)
    return tuple(_logged(row) for row in cursor.execute(_HISTORY, values))


def histories(cursor: sqlite3.Cursor) -> tuple[StoredHistory, ...]:
    """Return the histories that are kept longer than the log."""
    found = [(*job.split(":", 1), *rest) for job, *rest in cursor.execute(_HISTORIES)]
    return tuple(StoredHistory(*row) for row in sorted(found))


def events(cursor: sqlite3.Cursor, after: int, limit: int) -> tuple[LoggedEvent, ...]:
    """Return the events after a sequence number, in order."""
    return tuple(_logged(row) for row in cursor.execute(_EVENTS, (after, limit)))


def _remembered(row: Row) -> Remembered:
    return Remembered(key=row[0], action=row[1], fingerprint=row[2], answer=row[3], expires_ms=row[4], failures=row[5])


def _logged(row: Row) -> LoggedEvent:
    return logged_event(sequence=row[0], address=row[1], type_=row[2], at_ms=row[3], body=row[4])


def _number(cursor: sqlite3.Cursor, sql: str, *bound: int | str) -> int | None:
    (value,) = cursor.execute(sql, bound).fetchone()
    return None if value is None else int(value)


def _first(row: Row) -> Row:
    return row[:1]


_ADDRESS = ("kind", "name", "id")
_BY_ADDRESS: Final = "sqlite_autoindex_instances_1"
_BY_HELD_STATUS, _BY_RETRY, _BY_OWNER, _BY_LEFT = (
    *("instances_held", "instances_retrying", "instances_owner", "instances_left_listed"),
)
_INDEX_OF: Final = {
    "paused": _BY_HELD_STATUS,
    "parked": _BY_HELD_STATUS,
    "retrying": _BY_RETRY,
    "running": _BY_OWNER,
    "left": _BY_LEFT,
}
"""The index for a rare status: it holds only the instances that have it, or little more."""
_PART_OF: Final = {
    _BY_HELD_STATUS: "suspension IS NOT NULL",
    _BY_RETRY: "status = 'retrying'",
    _BY_OWNER: "owner IS NOT NULL",
    _BY_LEFT: "left_by IS NOT NULL",
}
"""The condition of a partial index, without which SQLite does not use it."""

_NEXT_JOB = f"""
SELECT kind, name FROM instances INDEXED BY {_BY_ADDRESS} WHERE (kind, name) >= (?, ?) ORDER BY kind, name LIMIT 1
"""

Conditions: TypeAlias = dict[str, Any]
"""SQL conditions, each with its value."""


@attrs.frozen(kw_only=True)
class Search:
    """A search's state.

    Attributes:
        after: the address to start after, as a row. None: the search is complete.
        size: instances per chunk.
    """

    query: Query
    after: Row | None
    size: int = DEFAULT_SIZES.searched_rows

    @classmethod
    def of(cls, query: Query, size: int) -> Search:
        """Start where the query says."""
        place = query.after
        return cls(query=query, after=("", "", "") if place is None else (place.kind, place.name, place.id), size=size)

    @property
    def is_between(self) -> bool:
        """Whether the position is between two jobs, and no address."""
        return self.after is not None and not self.after[2]

    def portion(self, cursor: sqlite3.Cursor, damage: CorruptRows, limit: int) -> tuple[tuple[Instance, ...], Search]:
        """Search one chunk, and return its matches and the rest's search."""
        query = self.query
        by_prefix = query.id_prefix and len(self._fixed) < 2  # noqa: PLR2004 - a seek in each job, not a look at all
        if query.jobs is not None or query.except_jobs or by_prefix:
            return self._portion_of_job(cursor, damage, limit)
        start = self._start()
        if start is None:
            return (), attrs.evolve(self, after=None)
        end = self._end(cursor, start) if self._index == _BY_ADDRESS else None  # the other indexes hold few instances
        conditions = {**self._conditions(end), **self._wanted()}

        def fetch(place: Row, wanted: int) -> list[Row]:
            return _rows(cursor, INSTANCE_COLUMNS, self._index, self._from(place) | conditions, (wanted, 0))

        found = readable(fetch, instance_from, lambda row: (">", *row[2 + len(self._fixed) : 5]), start, limit, damage)
        return found, attrs.evolve(self, after=end)

    def _portion_of_job(
        self, cursor: sqlite3.Cursor, damage: CorruptRows, limit: int
    ) -> tuple[tuple[Instance, ...], Search]:
        """Search one queried job. A seek skips other jobs' rows."""
        job = self._next_job(cursor)
        if job is None:
            return (), attrs.evolve(self, after=None)
        kind, name = job
        query = attrs.evolve(self.query, kind=kind, name=name, jobs=None, except_jobs=())
        found, rest = attrs.evolve(self, query=query).portion(cursor, damage, limit)
        return found, attrs.evolve(self, after=(kind, _after(name), "") if rest.after is None else rest.after)

    def _next_job(self, cursor: sqlite3.Cursor) -> Row | None:
        """Return the first queried job, at or after the position, that may have rows."""
        query, place = self.query, ("", "") if self.after is None else self.after[:2]
        if query.jobs is not None:
            return min((job for job in query.jobs if job >= place and self._is_asked_for(job)), default=None)
        # One seek for each job: a condition on the job would read all rows of the others.
        while (row := cursor.execute(_NEXT_JOB, place).fetchone()) is not None:
            if self._is_asked_for(row):
                return tuple(row)
            # Behind all instances of the job: the first text after its name.
            place = (row[0], _after(row[1]))
        return None

    def _is_asked_for(self, job: Row) -> bool:
        query = self.query
        return job not in query.except_jobs and query.kind in (None, job[0]) and query.name in (None, job[1])

    @property
    def _fixed(self) -> Row:
        """The address parts that the query names, from the left: the index leads straight to them."""
        kind, name = self.query.kind, self.query.name
        return () if kind is None else (kind,) if name is None else (kind, name)

    @property
    def _index(self) -> str:
        return _INDEX_OF.get(self.query.status or "", _BY_ADDRESS)

    def _start(self) -> Row | None:
        """Return ``>`` or ``>=`` and the first position among the parts that are not fixed. None if it is past them."""
        fixed = self._fixed
        depth = len(fixed)
        # The position is in a later kind or job: all rows of this one are behind it.
        if self.after is None or self.after[:depth] > fixed:
            return None
        place = self.after[depth:] if self.after[:depth] == fixed else ("",) * (3 - depth)
        # A prefix is a range of ids only below a kind and a name.
        if depth == 2 and self.query.id_prefix > place[0]:  # noqa: PLR2004 - kind and name
            return ">=", self.query.id_prefix
        return ">", *place

    def _end(self, cursor: sqlite3.Cursor, start: Row) -> Row | None:
        """Return the chunk's last address. None if the chunk reaches the end."""
        found = _rows(
            cursor, ", ".join(_ADDRESS), self._index, self._from(start) | self._conditions(None), (1, self.size - 1)
        )
        return found[0] if found else None

    def _from(self, place: Row) -> Conditions:
        columns = _ADDRESS[len(self._fixed) :]
        return {f"({', '.join(columns)}) {place[0]} ({_marks(columns)})": place[1:]}

    def _conditions(self, end: Row | None) -> Conditions:
        """Return the conditions that the index serves: the fixed parts, and the end."""
        fixed = self._fixed
        depth = len(fixed)
        conditions: Conditions = {f"{column} = ?": (value,) for column, value in zip(_ADDRESS, fixed, strict=False)}
        if self._index in _PART_OF:
            conditions[_PART_OF[self._index]] = ()
        if end is not None:
            columns = _ADDRESS[depth:]
            return {**conditions, f"({', '.join(columns)}) <= ({_marks(columns)})": end[depth:]}
        above = after_prefix(self.query.id_prefix) if depth == 2 else None  # noqa: PLR2004 - as above
        return conditions if above is None else {**conditions, "id < ?": (above,)}

    def _wanted(self) -> Conditions:
        """Return the conditions that are checked row by row."""
        query = self.query
        asked = {
            # "+": SQLite checks the condition row by row, and reads no other range of the index because of it.
            "+name = ?": query.name if query.kind is None else None,
            "+id >= ?": query.id_prefix or None,
            "+id < ?": after_prefix(query.id_prefix),
            "status = ?": query.status,
            "+due_ms < ?": query.due_before_ms,
        }
        return {condition: (value,) for condition, value in asked.items() if value is not None}


def _rows(cursor: sqlite3.Cursor, columns: str, index: str, conditions: Conditions, page: Row) -> list[Row]:
    sql = f"""
    SELECT {columns} FROM instances INDEXED BY {index} WHERE {" AND ".join(conditions)}
    ORDER BY kind, name, id LIMIT ? OFFSET ?
    """
    return cursor.execute(sql, (*(value for values in conditions.values() for value in values), *page)).fetchall()


def _after(name: str) -> str:
    """Return the first text after a name, ordered by code point."""
    return f"{name}\0"


def _marks(columns: Row) -> str:
    return ", ".join("?" for _ in columns)


_JOURNAL = "SELECT place, body FROM journal WHERE incarnation = ? AND place >= ? ORDER BY place LIMIT ?"
_JOURNAL_TYPES = ((int,), (str,))


def journal(cursor: sqlite3.Cursor, address: Address, incarnation: int, first: int, limit: int) -> tuple[str, ...]:
    """Return rows from a place on.

    Raises:
        StoreCorrupt: a place is missing, or a row is damaged.
    """
    rows = cursor.execute(_JOURNAL, (incarnation, first, limit)).fetchall()
    for expected, row in enumerate(rows, first):
        check_types(row, _JOURNAL_TYPES, what=f"journal of {address}")
        # A replay that skips a missing row would perform the later steps with wrong results.
        if row[0] != expected:
            raise StoreCorrupt(
                f"journal of {address}", f"expected a row at place {expected}, found the next at {row[0]}"
            )
    return tuple(body for _, body in rows)


_CURSOR = """
SELECT (SELECT sequence FROM cursors WHERE name = ?), (SELECT sequence FROM counters),
  (SELECT min(sequence) FROM events)
"""


def cursor_of_sink(cursor: sqlite3.Cursor, name: str) -> Cursor:
    """Return a sink's position, and the newest event's number."""
    sequence, last, first = cursor.execute(_CURSOR, (name,)).fetchone()
    gone = last if first is None else first - 1  # the numbers have no gaps
    return Cursor(sequence=sequence, last=last, deleted=0 if sequence is None else max(0, gone - sequence))


_HOLDS = "SELECT kind, name FROM holds ORDER BY kind, name"


def holds(cursor: sqlite3.Cursor) -> tuple[Job, ...]:
    """Return the held jobs, ordered by kind and name."""
    return tuple((kind, name) for kind, name in cursor.execute(_HOLDS).fetchall())

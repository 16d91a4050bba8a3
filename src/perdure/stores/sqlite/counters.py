"""Counters: the numbers that a store assigns, each only once, and its instances by job and status.

Instances are counted once in portions, and from then on by each commit's changes.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from typing import Literal, TypeAlias

import attrs

from perdure.runtime.record import DEFAULT_SIZES
from perdure.stores.sqlite.attributes import Numbers, numbers_of
from perdure.values.instance import Instance
from perdure.values.listings import StatusCount
from perdure.values.status import Status

_JobStatus: TypeAlias = tuple[str, str, Status]

# By position, not by arithmetic: purged instances leave gaps.
_END = "SELECT incarnation FROM instances WHERE incarnation > ? ORDER BY incarnation LIMIT 1 OFFSET ?"
_COUNT = """
SELECT kind, name, status, count(*) FROM instances WHERE incarnation > ? AND incarnation <= ? GROUP BY 1, 2, 3
"""
_REST = "SELECT kind, name, status, count(*) FROM instances WHERE incarnation > ? GROUP BY 1, 2, 3"
_STATUS = "SELECT status FROM instances WHERE incarnation = ?"
_SAVED = "SELECT kind, name, status, number FROM instance_counts"
_FORGET = "DELETE FROM instance_counts"
_SAVE = "INSERT INTO instance_counts (kind, name, status, number) VALUES (?, ?, ?, ?)"


@attrs.define
class StatusCounts:
    """Counts instances whose incarnation is at most `counted_to`, and all when `progress` is ``all``.

    A change to an instance that is not counted yet changes nothing: the count meets the row later. So the count is
    exact at every moment, although other transactions run between its portions.

    Attributes:
        progress: ``none`` until the first portion: then no change costs anything.
        counted_to: the greatest incarnation that is counted.
        size: instances per portion.
    """

    progress: Literal["none", "some", "all"] = "none"
    counted_to: int = 0
    size: int = DEFAULT_SIZES.counted_rows
    _numbers: Counter[_JobStatus] = attrs.field(alias="numbers", factory=Counter[_JobStatus])
    _changes: Counter[_JobStatus] = attrs.Factory(Counter[_JobStatus])  # of the open transaction

    @property
    def instances(self) -> tuple[StatusCount, ...]:
        """The counts so far."""
        return tuple(sorted(StatusCount(*place, number) for place, number in self._numbers.items() if number))

    def portion(self, cursor: sqlite3.Cursor) -> None:
        """Count the next instances, outside a transaction that writes."""
        if self.progress == "all":
            return
        # By incarnation, which never changes: a row cannot move over the limit between two portions and be counted
        # twice.
        end = cursor.execute(_END, (self.counted_to, self.size - 1)).fetchone()
        # The last portion has no end: it includes rows that were inserted since the one before.
        if end is None:
            rows = cursor.execute(_REST, (self.counted_to,)).fetchall()
            self.progress = "all"
        else:
            rows = cursor.execute(_COUNT, (self.counted_to, *end)).fetchall()
            self.progress, (self.counted_to,) = "some", end
        for *place, number in rows:
            kind, name, status = place
            self._numbers[kind, name, status] += number

    # ------------------------------------------------------------ changes
    def before(self, cursor: sqlite3.Cursor, incarnation: int, known: Instance | None) -> Status | None:
        """Return an instance's status before a change. None if it need not be known.

        Args:
            cursor: a cursor in the open transaction.
            incarnation: the instance's incarnation.
            known: the instance, if a cache has it.
        """
        if not self._counts(incarnation):
            return None
        if known is not None:
            return known.status
        row = cursor.execute(_STATUS, (incarnation,)).fetchone()
        return None if row is None else row[0]

    def changed(self, place: tuple[str, str], incarnation: int, before: Status | None, after: Status | None) -> None:
        """Note a change in the open transaction.

        Args:
            place: the job's kind and name.
            incarnation: the instance's incarnation.
            before: its status before, from `before`. None if it did not exist.
            after: its status now. None if it was deleted.
        """
        if before == after or not self._counts(incarnation):
            return
        if before is not None:
            self._changes[*place, before] -= 1
        if after is not None:
            self._changes[*place, after] += 1

    def committed(self) -> None:
        """Note that the transaction is durable."""
        if self._changes:
            self._numbers.update(self._changes)
            self._changes.clear()

    def rolled_back(self) -> None:
        """Forget the changes that a failed transaction made."""
        # Otherwise the counts would keep changes that were never committed, and nothing would correct them later.
        self._changes.clear()

    def _counts(self, incarnation: int) -> bool:
        # A row beyond `counted_to` is counted when its portion is read: a change noted now would count it twice.
        return self.progress == "all" or (self.progress == "some" and incarnation <= self.counted_to)

    # ------------------------------------------------------------ from one opening to the next
    def save(self, cursor: sqlite3.Cursor) -> None:
        """Write complete counts, in an engine's last transaction."""
        cursor.executemany(_SAVE, [attrs.astuple(count) for count in self.instances])


def take_saved(cursor: sqlite3.Cursor, size: int) -> StatusCounts:
    """Return the counts that the previous engine saved when it closed the file, and delete them: they become stale.

    Args:
        cursor: a cursor in the transaction that counts the opening.
        size: instances that are counted at once.
    """
    counts = saved(cursor)
    if not counts:
        return StatusCounts(size=size)
    # In the transaction that counts the opening: if this engine crashes, its changes are in no count.
    cursor.execute(_FORGET)
    return StatusCounts(
        progress="all", numbers=Counter({(one.kind, one.name, one.status): one.number for one in counts})
    )


def saved(cursor: sqlite3.Cursor) -> tuple[StatusCount, ...]:
    """Return the counts that an engine saved when it closed the file. Empty if it did not."""
    return tuple(StatusCount(*row) for row in cursor.execute(_SAVED))


@attrs.define
class Counters:
    """The last numbers assigned, including those in the open transaction.

    Attributes:
        incarnation: the last instance's number.
        sequence: the last event's number.
        counts: the instances by job and status.
        streams: whether a stream may have groups. If none has, a purge need not delete any.
    """

    incarnation: int
    message_id: int
    sequence: int
    counts: StatusCounts = attrs.Factory(StatusCounts)
    attributes: Numbers = attrs.Factory(dict[tuple[str, str, str], int])
    streams: Literal["none", "some"] = "some"
    _saved_attributes: Numbers = attrs.field(init=False)
    _saved: tuple[int, int, int] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._saved, self._saved_attributes = self._now, self.attributes

    def save(self, cursor: sqlite3.Cursor) -> None:
        """Write the numbers in the open transaction, if they changed."""
        # Most transactions assign no number: they write one row less.
        if self._now != self._saved:
            cursor.execute("UPDATE counters SET incarnation = ?, message_id = ?, sequence = ?", self._now)

    def committed(self) -> None:
        """Note that the transaction is durable."""
        # After COMMIT only. Noted earlier, a rollback would return to numbers that were never stored.
        self._saved = self._now
        self.counts.committed()
        self._saved_attributes = self.attributes

    def rolled_back(self) -> None:
        """Return to the stored numbers, so that the event history has no gaps."""
        # Numbers of rolled back rows are used again: no reader saw them, and the log must have no gaps.
        self.incarnation, self.message_id, self.sequence = self._saved
        self.attributes = self._saved_attributes
        self.counts.rolled_back()

    @property
    def _now(self) -> tuple[int, int, int]:
        return self.incarnation, self.message_id, self.sequence


def next_epoch(cursor: sqlite3.Cursor, size: int) -> tuple[int, StatusCounts]:
    """Count this opening, and return its number and the counts that the previous engine saved.

    Args:
        cursor: a cursor in the file.
        size: instances that are counted at once.
    """
    # Claims name the epoch of their engine: with an epoch that is used twice, the runs of the dead engine look like
    # those of the living one and are never recovered.
    cursor.execute("BEGIN IMMEDIATE")
    try:
        ((counted,),) = cursor.execute("UPDATE counters SET epoch = epoch + 1 RETURNING epoch").fetchall()
        counts = take_saved(cursor, size)
        cursor.execute("COMMIT")
    except sqlite3.Error:
        if cursor.connection.in_transaction:
            cursor.execute("ROLLBACK")
        raise
    return int(counted), counts


def epoch(cursor: sqlite3.Cursor) -> int:
    """Return the last counted opening's number."""
    ((found,),) = cursor.execute("SELECT epoch FROM counters").fetchall()
    return int(found)


def read(cursor: sqlite3.Cursor, counts: StatusCounts) -> Counters:
    """Read the stored numbers.

    Args:
        cursor: a cursor on the connection.
        counts: the instances by job and status, as far as they are known.
    """
    query = "SELECT incarnation, message_id, sequence, EXISTS (SELECT 1 FROM streams) FROM counters"
    incarnation, message_id, sequence, has_streams = cursor.execute(query).fetchone()
    streams: Literal["none", "some"] = "some" if has_streams else "none"
    return Counters(incarnation, message_id, sequence, counts, numbers_of(cursor), streams)

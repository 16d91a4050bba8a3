"""Group commits and checkpoints, in the driver's thread: several transitions are written as one.

One statement writes all rows for each kind of change.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import attrs
from returns.result import Failure, Result, Success

from perdure.stores.rows import Row
from perdure.stores.sqlite.changes import (
    INSERT,
    LOG,
    NARROW_STATEMENTS,
    Change,
    FullChange,
    Insert,
    NarrowForm,
    Overwrite,
    apply,
    are_new,
    count_insert,
    count_narrow,
    count_update,
    encode,
    event_values,
    keys_of,
    narrow_values,
    new_keys_of,
    remember,
)
from perdure.stores.sqlite.counters import Counters
from perdure.stores.sqlite.ownership import Ownership
from perdure.stores.sqlite.schema import is_longer_than
from perdure.values.address import Address
from perdure.values.errors import Conflict, OutcomeUnknown, OwnershipLost, StoreError, StoreUnavailable
from perdure.values.instance import Fence
from perdure.values.transition import AS_EXPECTED, Transition


class RowsDiffer(Exception):
    """A statement for many rows did not change as many: one of them conflicts. The changes must be written singly."""


class ChangeGroup:
    """The changes in several transitions."""

    __slots__ = (
        "_answers",
        "_changes",
        "_events",
        "_inserts",
        "_keys",
        "_moved",
        "_narrow",
        "_new_keys",
        "_others",
        "_transitions",
        "_updates",
        "is_split",
    )

    def __init__(self, transitions: Sequence[Transition]) -> None:
        self.is_split = False
        self._transitions = transitions
        self._answers: list[Any] = [None] * len(transitions)
        self._changes: list[Change | None] = []  # None: it does not encode, or changes few columns
        self._narrow: dict[NarrowForm, list[Row]] = {}
        self._moved: list[Transition] = []  # those of them that change a status
        self._updates: dict[str, list[tuple[int, Overwrite]]] = {}
        self._inserts: list[tuple[int, Insert]] = []
        self._events: list[Row] = []
        self._keys: list[Row] = []
        self._new_keys: list[Row] = []
        self._others: list[tuple[int, FullChange]] = []
        for place, transition in enumerate(transitions):
            try:
                self._sort(place, transition)
            except Exception as error:  # noqa: BLE001 - a value that JSON cannot represent
                self._answers[place] = _does_not_encode(error)
                self._changes.append(None)

    def _sort(self, place: int, transition: Transition) -> None:
        """Encode a transition, and add it to its kind."""
        narrow = narrow_values(transition)
        if narrow is not None:
            events = list(map(event_values, transition.events)) if transition.events else ()
            form, values = narrow
            if form in {"claim", "run"}:
                self._moved.append(transition)
            self._narrow.setdefault(form, []).append(values)
            self._events += events
            if transition.remember:
                self._keys += keys_of(transition)
            if transition.new_keys is not None:
                self._new_keys += new_keys_of(transition)
            self._changes.append(None)
            self._answers[place] = AS_EXPECTED
            return
        change = encode(transition)
        self._changes.append(change)
        write = change if isinstance(change, Overwrite) else _only_row(change)
        if type(write) is Overwrite:
            self._updates.setdefault(write.sql, []).append((place, write))
        elif type(write) is Insert:
            self._inserts.append((place, write))
        elif isinstance(change, FullChange):
            self._others.append((place, change))
            return
        if isinstance(change, FullChange):
            self._events += change.events
            self._keys += change.keys
            self._new_keys += change.new_keys

    # ------------------------------------------------------------ in the driver's thread
    def __call__(self, cursor: sqlite3.Cursor, counters: Counters) -> Result[list[Any], Any]:
        """Write all changes in the open transaction, and return the answer to each.

        Raises:
            RowsDiffer: a change conflicts, and nothing may be committed.
        """
        if self.is_split:
            # Each with its own check: those that conflict are refused, and the others are written in this transaction.
            answers = [part(cursor, counters) for part in self.parts]
            return Success(answers)
        # Before the statements: afterwards the old status of a row that no cache has cannot be read.
        count_narrow(cursor, counters, self._moved)
        for form, rows in self._narrow.items():
            # A smaller count means that the fence of some row differs. Which one is unknown, so nothing may be answered
            # as written.
            if cursor.executemany(NARROW_STATEMENTS[form], rows).rowcount != len(rows):
                raise RowsDiffer
        for sql, updates in self._updates.items():
            self._update(cursor, counters, sql, updates)
        if self._inserts:
            self._insert(cursor, counters)
        if self._events:
            # Numbered in this transaction and saved with it: a rollback takes them back, so that the log has no gaps.
            first = counters.sequence + 1
            cursor.executemany(LOG, [(first + number, *values) for number, values in enumerate(self._events)])
            counters.sequence += len(self._events)
        if self._keys or self._new_keys:
            self._store_keys(cursor)
        for place, change in self._others:
            self._answers[place] = written(change.address, change, cursor, counters)
        return Success(self._answers)

    def _store_keys(self, cursor: sqlite3.Cursor) -> None:
        # First those of claims: a key that another transition of the group stores is no earlier use of it.
        if not are_new(cursor, self._new_keys) or not all(remember(cursor, key) for key in self._keys):
            raise RowsDiffer

    def _update(
        self, cursor: sqlite3.Cursor, counters: Counters, sql: str, updates: list[tuple[int, Overwrite]]
    ) -> None:
        befores = count_update(cursor, counters, [update for _, update in updates])
        # As above: to accept fewer rows would acknowledge a write that met a conflict.
        if cursor.executemany(sql, [update.values for _, update in updates]).rowcount != len(updates):
            raise RowsDiffer
        befores.changed(counters)
        for place, update in updates:
            self._answers[place] = Success(update.fence)

    def _insert(self, cursor: sqlite3.Cursor, counters: Counters) -> None:
        first = counters.incarnation + 1
        rows = [(first + number, *insert.values) for number, (_, insert) in enumerate(self._inserts)]
        if cursor.executemany(INSERT, rows).rowcount != len(rows):
            raise RowsDiffer
        counters.incarnation += len(rows)
        for number, (place, insert) in enumerate(self._inserts):
            count_insert(counters, first + number, insert)
            self._answers[place] = Success(Fence(first + number, 1))

    @property
    def parts(self) -> list[Any]:
        """The changes as separate writes, in order."""
        return [
            partial(written, transition.address, encode(transition) if change is None else change)
            if change is not None or answer is AS_EXPECTED
            else partial(_known, answer)
            for transition, change, answer in zip(self._transitions, self._changes, self._answers, strict=True)
        ]

    # ------------------------------------------------------------ the answer
    def answers(self, answer: Result[list[Any], Any]) -> list[Any]:
        """Return the answer to each transition."""
        return answer.unwrap() if isinstance(answer, Success) else [answer] * len(self._transitions)


def written(address: Address, change: Change, cursor: sqlite3.Cursor, counters: Counters) -> Result[Fence, Conflict]:
    """Write one change in the open transaction."""
    fence = apply(cursor, counters, change)
    return Failure(Conflict(str(address))) if fence is None else Success(fence)


def _known(answer: Any, _: sqlite3.Cursor, __: Counters) -> Any:
    return answer


def _does_not_encode(error: Exception) -> Failure[StoreUnavailable]:
    return Failure(StoreUnavailable("commit", f"the transition does not encode: {error!r}"))


def _only_row(change: FullChange) -> Overwrite | Insert | None:
    """Return the row that a change writes, if it consists only of the row, events and keys."""
    row = change.write
    if type(row) is not Overwrite and type(row) is not Insert:
        return None
    # A part left out of this condition would be acknowledged and never written.
    if change.messages or change.fates or change.journal is not None or change.attributes is not None:
        return None
    return row


Written: TypeAlias = Result[Any, StoreError | OutcomeUnknown]
Write: TypeAlias = Callable[[sqlite3.Cursor, Counters], Written]
"""Executes statements in the open transaction. A write that returns a failure has written nothing."""

_HELD = "if another program (a shell, a tool) is in a transaction on this file, end that; the engine then continues"


class _NotBegun(Exception):
    """The transaction could not begin: another connection is in a transaction on this file."""


class _CommitFailed(Exception):
    """COMMIT failed: it is unknown how much reached the disk."""


@attrs.define(kw_only=True)
class GroupWriter:
    """Writes groups, and knows whether the connection can still be trusted.

    Attributes:
        counters: the numbers assigned so far.
        ownership: checks that this engine still owns the file.
        checkpoint_pages: the write-ahead log's length, in pages, from which on it is checkpointed.
        is_trusted: False after a transaction could not be ended: the connection must be replaced.
        lost: why this engine no longer owns the file. Nothing is written from then on.
        has_errors: whether SQLite reported an error since the last transaction.
    """

    counters: Counters
    ownership: Ownership
    checkpoint_pages: int
    is_trusted: bool = True
    lost: OwnershipLost | None = None
    has_errors: bool = False
    _is_checkpoint_due: bool = False
    _has_unmoved_commits: bool = False

    def write(self, cursor: sqlite3.Cursor, group: Sequence[Write]) -> list[Written]:
        """Write a group in one transaction, and answer each write.

        If a statement fails (a full disk, a value too large), nothing in the group is written, and each write is
        retried in its own transaction: only writes that fail alone are refused. If the transaction cannot begin, all
        writes fail: each would wait as long for the other connection.
        """
        try:
            return self._write_together(cursor, group)
        # All of the group at once: each write on its own would wait five seconds for the same transaction of another
        # program.
        except _NotBegun as error:
            self.has_errors = True
            return [Failure(StoreUnavailable("commit", f"{error.__cause__}; {_HELD}"))] * len(group)
        # The log may hold the commit without a sync, which no later sync repairs: the connection must be replaced. The
        # group may be on the disk, so "unavailable", which promises that nothing was written, would be false.
        except _CommitFailed as error:
            self.is_trusted = False
            self.ownership.loss_after_transaction()  # notes the log
            return [Failure(OutcomeUnknown(f"COMMIT failed: {error.__cause__}"))] * len(group)
        # Undone and written singly: then only the transitions that do conflict are answered with a conflict.
        except RowsDiffer:
            self._undo(cursor)
            for write in group:
                if isinstance(write, ChangeGroup):
                    write.is_split = True
            return self.write(cursor, group)
        except Exception as error:  # noqa: BLE001 - values that the driver cannot bind raise many kinds
            self._undo(cursor)
            # Only writes that fail alone are refused: one value that is too large must not fail the requests beside it.
            if len(group) == 1 or not self.is_trusted:
                return [self._apart(cursor, write, error) for write in group]
        return [answer for write in group for answer in self.write(cursor, (write,))]

    def _apart(self, cursor: sqlite3.Cursor, write: Write, error: Exception) -> Written:
        """Write a group's changes in separate transactions, because it could not be written together."""
        parts = write.parts if isinstance(write, ChangeGroup) and self.is_trusted else ()
        if len(parts) <= 1:
            refused = _unavailable(error)
            return Success([refused]) if parts else refused
        return Success([self.write(cursor, (part,))[0] for part in parts])

    def _write_together(self, cursor: sqlite3.Cursor, group: Sequence[Write]) -> list[Written]:
        if not self.is_trusted:
            raise sqlite3.OperationalError("the previous transaction could not be ended; the file is being reopened")
        try:
            # IMMEDIATE: the write lock comes before the check of ownership, so no other program can write between check
            # and write.
            cursor.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise _NotBegun from error
        # Before the first write of every transaction (decision 0016). A periodic check would acknowledge commits into a
        # file that no engine reads again.
        self.lost = self.lost or self.ownership.loss(cursor, has_errors=self.has_errors)
        if self.lost is not None:
            self._undo(cursor)
            return [Failure(self.lost)] * len(group)
        self.has_errors = False
        answers = [write(cursor, self.counters) for write in group]
        # In the same transaction as the rows that use the numbers: a crash in between would assign a number twice.
        self.counters.save(cursor)
        if self._is_checkpoint_due:
            # The commit before a checkpoint carries a new mark. A checkpoint without one cannot be told from a copy
            # over the file.
            self.ownership.marks.write(cursor)
        try:
            cursor.execute("COMMIT")
        except sqlite3.Error as error:
            raise _CommitFailed from error
        # Only now: a number or a count that is noted before COMMIT would survive a rollback.
        self.counters.committed()
        self.ownership.marks.committed()
        self._has_unmoved_commits = True
        # Again, before the answer: a file that was replaced during the commit does not have the group.
        self.lost = self.ownership.loss_after_transaction() or self._move_log(cursor)
        if self.lost is not None:  # during the commit: no engine may ever read it
            # Not "lost" alone: the group may be in the file that was moved away, and an operator may put that back.
            return [Failure(OutcomeUnknown(str(self.lost)))] * len(group)
        return answers

    def finish(self, cursor: sqlite3.Cursor) -> None:
        """Save the counts and checkpoint before the connection is closed, so that SQLite has nothing to do then."""
        # Incomplete counts must not be saved: the next opening would take them for all instances.
        if self.is_trusted and self.lost is None and self.counters.counts.progress == "all":
            self.write(cursor, (_save_counts,))
        self.move_all(cursor)

    def move_all(self, cursor: sqlite3.Cursor) -> None:
        """Move the whole log into the file."""
        if self.is_trusted and self.lost is None and self._has_unmoved_commits:
            # With one page, any log is long enough for a checkpoint.
            self._is_checkpoint_due, pages, self.checkpoint_pages = True, self.checkpoint_pages, 1
            self.write(cursor, ())
            self.checkpoint_pages = pages

    def _move_log(self, cursor: sqlite3.Cursor) -> OwnershipLost | None:
        """Checkpoint if the log is long enough and the next checkpoint mark has been written."""
        log, _ = self.ownership.parts["log"]
        try:
            if not is_longer_than(log, self.checkpoint_pages):
                return None
        except OSError:  # a later commit will know
            return None
        # The next commit writes a mark, and the checkpoint follows that commit.
        self._is_checkpoint_due = True
        if self.ownership.marks.is_moved:
            return None
        moved_all = False
        try:
            # PASSIVE waits for no reader. FULL or RESTART would stop all callers while a shell holds a transaction.
            busy, pages, moved_pages = cursor.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            moved_all = not busy and pages == moved_pages
        except sqlite3.Error:  # the commits stay in the log for a later checkpoint
            self.has_errors = True
        if moved_all:
            self._is_checkpoint_due, self._has_unmoved_commits = False, False
        return self.ownership.loss_after_checkpoint(moved_all=moved_all)

    def _undo(self, cursor: sqlite3.Cursor) -> None:
        self.has_errors = True
        # Otherwise the log would have gaps, and retention, which computes with the numbers, would keep too few events.
        self.counters.rolled_back()
        self.ownership.marks.rolled_back()
        try:
            if cursor.connection.in_transaction:
                cursor.execute("ROLLBACK")
        # A transaction that could not end would be part of the next COMMIT: writes that were refused would appear.
        except sqlite3.Error:
            self.is_trusted = False
        self.ownership.loss_after_transaction()  # notes the log


def _unavailable(error: Exception) -> Failure[StoreUnavailable]:
    return Failure(StoreUnavailable("commit", f"{type(error).__name__}: {error}"))


def _save_counts(cursor: sqlite3.Cursor, counters: Counters) -> Written:
    counters.counts.save(cursor)
    return Success(None)

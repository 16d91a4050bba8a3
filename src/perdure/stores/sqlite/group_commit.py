"""The writer: group commits and checkpoints. All of it runs in the driver's thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import attrs
from returns.result import Failure, Result, Success

from perdure.stores.sqlite.change_group import ChangeGroup, RowsDiffer
from perdure.stores.sqlite.counters import Counters
from perdure.stores.sqlite.ownership import Ownership
from perdure.stores.sqlite.write_ahead_log import is_longer_than
from perdure.values.errors import OutcomeUnknown, OwnershipLost, StoreError, StoreUnavailable

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
        checkpoint_pages: length of the write-ahead log, in pages, from which on it is checkpointed.
        is_trusted: False after a transaction could not be ended: the connection must be replaced.
        lost: why this engine no longer owns the file; nothing is written from then on.
        errors: whether SQLite reported an error since the last transaction.
    """

    counters: Counters
    ownership: Ownership
    checkpoint_pages: int
    is_trusted: bool = True
    lost: OwnershipLost | None = None
    errors: Literal["none", "some"] = "none"
    _checkpoint: Literal["not due", "due"] = "not due"
    _unmoved: Literal["nothing", "commits"] = "nothing"

    def write(self, cursor: sqlite3.Cursor, group: Sequence[Write]) -> list[Written]:
        """Write a group in one transaction, and answer each write.

        If a statement fails (a full disk, a value too large), nothing of the group is written, and each write is
        retried in its own transaction: only writes that fail alone are refused. If the transaction cannot begin, all of
        them fail: each would wait as long for the other connection.
        """
        try:
            return self._write_together(cursor, group)
        except _NotBegun as error:
            self.errors = "some"
            return [Failure(StoreUnavailable("commit", f"{error.__cause__}; {_HELD}"))] * len(group)
        except _CommitFailed as error:
            self.is_trusted = False
            self.ownership.loss_after_transaction()  # notes the log
            return [Failure(OutcomeUnknown(f"COMMIT failed: {error.__cause__}"))] * len(group)
        except RowsDiffer:
            self._undo(cursor)
            for write in group:
                if isinstance(write, ChangeGroup):
                    write.how = "singly"
            return self.write(cursor, group)
        except Exception as error:  # noqa: BLE001 - values that the driver cannot bind raise many kinds
            self._undo(cursor)
            if len(group) == 1 or not self.is_trusted:
                return [self._apart(cursor, write, error) for write in group]
        return [answer for write in group for answer in self.write(cursor, (write,))]

    def _apart(self, cursor: sqlite3.Cursor, write: Write, error: Exception) -> Written:
        """Write the changes of a group in transactions of their own, because it could not be written together."""
        parts = write.parts if isinstance(write, ChangeGroup) and self.is_trusted else ()
        if len(parts) <= 1:
            refused = _unavailable(error)
            return Success([refused]) if parts else refused
        return Success([self.write(cursor, (part,))[0] for part in parts])

    def _write_together(self, cursor: sqlite3.Cursor, group: Sequence[Write]) -> list[Written]:
        if not self.is_trusted:
            raise sqlite3.OperationalError("the previous transaction could not be ended; the file is being reopened")
        try:
            cursor.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise _NotBegun from error
        self.lost = self.lost or self.ownership.loss(cursor, errors=self.errors)
        if self.lost is not None:
            self._undo(cursor)
            return [Failure(self.lost)] * len(group)
        self.errors = "none"
        answers = [write(cursor, self.counters) for write in group]
        self.counters.save(cursor)
        if self._checkpoint == "due":
            self.ownership.marks.write(cursor)
        try:
            cursor.execute("COMMIT")
        except sqlite3.Error as error:
            raise _CommitFailed from error
        self.counters.committed()
        self.ownership.marks.committed()
        self._unmoved = "commits"
        self.lost = self.ownership.loss_after_transaction() or self._move_log(cursor)
        if self.lost is not None:  # during the commit: no engine may ever read it
            return [Failure(OutcomeUnknown(str(self.lost)))] * len(group)
        return answers

    def finish(self, cursor: sqlite3.Cursor) -> None:
        """Save the counts and checkpoint before the connection is closed, so that SQLite has nothing to do then."""
        if self.is_trusted and self.lost is None and self.counters.counts.progress == "all":
            self.write(cursor, (_save_counts,))
        self.move_all(cursor)

    def move_all(self, cursor: sqlite3.Cursor) -> None:
        """Move the whole log into the file."""
        if self.is_trusted and self.lost is None and self._unmoved == "commits":
            self._checkpoint, pages, self.checkpoint_pages = "due", self.checkpoint_pages, 1
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
        self._checkpoint = "due"
        if self.ownership.marks.is_moved:
            return None
        moved: Literal["all", "some"] = "some"
        try:
            busy, pages, moved_pages = cursor.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            moved = "all" if not busy and pages == moved_pages else "some"
        except sqlite3.Error:  # the commits stay in the log for a later checkpoint
            self.errors = "some"
        if moved == "all":
            self._checkpoint, self._unmoved = "not due", "nothing"
        return self.ownership.loss_after_checkpoint(moved)

    def _undo(self, cursor: sqlite3.Cursor) -> None:
        self.errors = "some"
        self.counters.rolled_back()
        self.ownership.marks.rolled_back()
        try:
            if cursor.connection.in_transaction:
                cursor.execute("ROLLBACK")
        except sqlite3.Error:
            self.is_trusted = False
        self.ownership.loss_after_transaction()  # notes the log


def _unavailable(error: Exception) -> Failure[StoreUnavailable]:
    return Failure(StoreUnavailable("commit", f"{type(error).__name__}: {error}"))


def _save_counts(cursor: sqlite3.Cursor, counters: Counters) -> Written:
    counters.counts.save(cursor)
    return Success(None)

"""The writer: a group of writes in one transaction. All of it runs in the driver's thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import attrs
from returns.result import Failure, Result

from perdure.stores.sqlite.counters import Counters
from perdure.stores.sqlite.ownership import Ownership
from perdure.values.errors import OutcomeUnknown, OwnershipLost, StoreError, StoreUnavailable

Written: TypeAlias = Result[Any, StoreError | OutcomeUnknown]
Write: TypeAlias = Callable[[sqlite3.Cursor, Counters], Written]
"""Statements inside the open transaction. A write that answers a failure has written nothing."""

_HELD = "if another program (a shell, a tool) is in a transaction on this file, end that: the engine goes on by itself"


class _NotBegun(Exception):
    """The transaction could not begin: somebody else is in one on this file."""


class _CommitFailed(Exception):
    """COMMIT itself failed: what reached the disk is not known."""


@attrs.define
class GroupWriter:
    """Writes groups, and knows whether the connection can still be trusted.

    Attributes:
        counters: the numbers given out.
        ownership: tells whether the file is still this engine's.
        is_trusted: False once a transaction could not be ended: the connection must be replaced.
        lost: why the file is not this engine's any more: nothing is written from then on.
    """

    counters: Counters
    ownership: Ownership
    is_trusted: bool = True
    lost: OwnershipLost | None = None

    def write(self, cursor: sqlite3.Cursor, group: Sequence[Write]) -> list[Written]:
        """Write a group in one transaction, and answer each write for itself.

        When a statement breaks (a full disk, a value too large), nothing of the group is written, and each write is
        tried again in a transaction of its own: only those that break alone fail. When the transaction does not even
        begin, all of them fail: each would wait as long for whoever holds the file.
        """
        try:
            return self._write_together(cursor, group)
        except _NotBegun as error:
            return [Failure(StoreUnavailable("commit", f"{error.__cause__}; {_HELD}"))] * len(group)
        except _CommitFailed as error:
            self.is_trusted = False
            return [Failure(OutcomeUnknown(f"COMMIT failed: {error.__cause__}"))] * len(group)
        except Exception as error:  # noqa: BLE001 - values that the driver cannot bind raise many kinds
            self._undo(cursor)
            if len(group) == 1 or not self.is_trusted:
                return [Failure(StoreUnavailable("commit", f"{type(error).__name__}: {error}"))] * len(group)
        return [answer for write in group for answer in self.write(cursor, (write,))]

    def _write_together(self, cursor: sqlite3.Cursor, group: Sequence[Write]) -> list[Written]:
        if not self.is_trusted:
            raise sqlite3.OperationalError("the transaction before could not be ended; the file is being opened again")
        try:
            cursor.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise _NotBegun from error
        self.lost = self.lost or self.ownership.loss(cursor)
        if self.lost is not None:
            self._undo(cursor)
            return [Failure(self.lost)] * len(group)
        answers = [write(cursor, self.counters) for write in group]
        self.counters.save(cursor)
        try:
            cursor.execute("COMMIT")
        except sqlite3.Error as error:
            raise _CommitFailed from error
        self.counters.committed()
        self.lost = self.ownership.loss_after_commit()
        if self.lost is not None:  # it went while the group was on its way: there may be nobody who will read this
            return [Failure(OutcomeUnknown(str(self.lost)))] * len(group)
        return answers

    def _undo(self, cursor: sqlite3.Cursor) -> None:
        self.counters.rolled_back()
        try:
            if cursor.connection.in_transaction:
                cursor.execute("ROLLBACK")
        except sqlite3.Error:
            self.is_trusted = False

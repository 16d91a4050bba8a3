"""Backs up a store in use: in steps on its own connection, between commit groups.

The store's file has one connection, which writes and checkpoints, and a backup opens no second one. A step is queued
like any other read, so commits continue, and no checkpoint waits for a reader.
"""

from __future__ import annotations

import os
import sqlite3
from functools import partial
from pathlib import Path
from typing import Final, cast

import attrs
from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure.programs.future import asked
from perdure.runtime.record import Runtime
from perdure.stores.sqlite.database import Batcher, File, Read
from perdure.stores.sqlite.offline import PartialFile
from perdure.stores.sqlite.thread import ConnectionLoan, DatabaseThread, LoanRevoked, WorkConnection, connect
from perdure.stores.values import Backup, BackupProgress, OnBackupProgress
from perdure.values.errors import BackupFailed, StoreError, StoreUnavailable

STEP_PAGES: Final = 64
"""Pages per step, 256 KiB: a commit waits for at most one step."""

_OPERATION = "make a backup"


@attrs.frozen
class LentConnection:
    """The store's connection, lent to a backup.

    Attributes:
        connection: the connection.
        loan: hands it over, a step at a time.
        page_bytes: a page's size.
    """

    connection: WorkConnection
    loan: ConnectionLoan
    page_bytes: int


@attrs.frozen(kw_only=True)
class SqliteBackups:
    """Makes backups while a store is open.

    Attributes:
        batcher: queues the steps.
        file: the store's file.
        runtime: starts the copy.
        step_pages: pages per step.
    """

    batcher: Batcher
    file: File
    runtime: Runtime
    step_pages: int = STEP_PAGES

    def make(self, path: str | os.PathLike[str], progress: OnBackupProgress, /) -> FutureResult[Backup, StoreError]:
        """Copy the store into a new file."""
        return asked(self._make(PartialFile(Path(path).absolute(), self.file.disk.sync), progress))

    async def _make(self, copy: PartialFile, progress: OnBackupProgress) -> Result[Backup, StoreError]:
        loan = ConnectionLoan()
        # Over the queue of reads: no transaction is open between steps, so commits and checkpoints continue (decision
        # 0022).
        lent = await self.batcher.read(Read(_OPERATION, partial(_lend, loan=loan)))
        if not isinstance(lent, Success):
            return Failure(lent.failure())
        try:
            copy.begin()
        except BackupFailed as failed:
            return Failure(failed)
        try:
            # A thread of its own: SQLite's `backup` returns when the copy is complete, and the store's thread has to
            # serve its callers between the steps.
            thread = await connect(str(copy.path))
            try:
                return await self._fill(copy, lent.unwrap(), thread, progress)
            finally:
                await thread.close()  # after its present work
        except sqlite3.Error as error:
            return Failure(copy.failed(str(error)))
        finally:
            copy.discard()

    async def _fill(
        self, copy: PartialFile, lent: LentConnection, thread: DatabaseThread, progress: OnBackupProgress
    ) -> Result[Backup, StoreError]:
        loan = lent.loan
        filling = thread.run(lambda cursor: self._filled(copy, lent, cursor.connection))
        filled = self.runtime.spawn(filling, name=f"backup of {self.file.store}")
        try:
            while not loan.is_over:
                stepped = await self.batcher.read(Read(_OPERATION, lambda _: loan.step()))
                if not isinstance(stepped, Success):
                    return Failure(stepped.failure())
                if loan.left is not None:
                    progress(_progress(*loan.left, lent.page_bytes))
        finally:
            # Also after a failure: a worker that still holds the connection would use it beside the store's thread.
            taken = await self.batcher.read(Read(_OPERATION, lambda _: loan.take()))
            if not isinstance(taken, Success):  # the store is closing, or lost: its thread works no more
                loan.take()
        return await filled

    def _filled(
        self, copy: PartialFile, lent: LentConnection, target: sqlite3.Connection
    ) -> Result[Backup, StoreError]:
        """Run in the copy's thread, and return the result even if the caller has gone."""

        def pages() -> None:
            # The store's own connection: SQLite applies its commits to the copy. With another connection each commit
            # would restart the copy, and on a busy store it would never end.
            lent.connection.backup(target, pages=self.step_pages, progress=lent.loan.between, sleep=0)

        try:
            return Success(copy.fill(target, lambda: lent.loan.work(pages)))
        except LoanRevoked:
            return Failure(StoreUnavailable(_OPERATION, "the store was closed or reopened during the backup"))
        except BackupFailed as failed:
            return Failure(failed)


def _lend(cursor: sqlite3.Cursor, loan: ConnectionLoan) -> LentConnection:
    connection = cast("WorkConnection", cursor.connection)  # the store's thread opens no other class
    connection.lend(loan)
    ((page_bytes,),) = cursor.execute("PRAGMA page_size").fetchall()
    return LentConnection(connection, loan, page_bytes)


def _progress(pages_left: int, pages: int, page_bytes: int) -> BackupProgress:
    return BackupProgress((pages - pages_left) * page_bytes, pages * page_bytes)

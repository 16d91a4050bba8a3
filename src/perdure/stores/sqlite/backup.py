"""Backs up a store in use, in steps on its own connection between commit groups, and from outside; and vacuums a file.

The store's file has one connection, which writes and checkpoints, and a backup opens no second one. A step is queued
like any other read, so commits continue, and no checkpoint waits for a reader. A backup has another name until it is
complete and on stable storage.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final, cast

import attrs
from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure.programs.future import asked
from perdure.runtime.record import Runtime
from perdure.stores.sqlite.database import Batcher, File, Read
from perdure.stores.sqlite.files import open_private, sync_path
from perdure.stores.sqlite.lock import acquire
from perdure.stores.sqlite.reader import MAX_LOG_GROWTH_BYTES, read_from_outside
from perdure.stores.sqlite.schema import log_of, size_of, truncate_log
from perdure.stores.sqlite.thread import ConnectionLoan, DatabaseThread, LoanRevoked, WorkConnection, connect
from perdure.stores.values import Backup, BackupProgress, OnBackupProgress
from perdure.values.errors import BackupFailed, StoreError, StoreUnavailable

SUFFIX = ".partial"

SETTINGS = ("journal_mode = OFF", "synchronous = OFF", "cache_size = -4096")
"""For the connection that writes the copy: no process reads it before it is complete, and then it is synced."""


@attrs.frozen
class PartialFile:
    """A file that becomes a backup.

    Attributes:
        sync: writes a file, or the names in a folder, to stable storage.
    """

    target: Path
    sync: Callable[[Path], None] = sync_path

    @property
    def path(self) -> Path:
        """The incomplete file's path."""
        return self.target.with_name(self.target.name + SUFFIX)

    def begin(self) -> None:
        """Create the file, empty, such that only its owner can open it.

        Raises:
            BackupFailed: it exists already, or cannot be created.
        """
        self._refuse_existing()
        try:
            os.close(open_private(self.path, os.O_EXCL | os.O_WRONLY))
        except FileExistsError as error:
            reason = f"{self.path} exists: another backup is running, or one was killed; if none is running, delete it"
            raise self.failed(reason) from error
        except OSError as error:
            raise self.failed(f"{error}; its folder must exist and be writable") from error

    def fill(self, target: sqlite3.Connection, copy_pages: Callable[[], None]) -> Backup:
        """Copy a database into the file, and rename it to its target.

        Args:
            target: an open connection to the file, which is closed.
            copy_pages: copies all pages over that connection.

        Raises:
            BackupFailed: SQLite or the disk failed.
        """
        try:
            with closing(target):
                for setting in SETTINGS:
                    target.execute(f"PRAGMA {setting}")
                copy_pages()
            return self.publish()
        except (sqlite3.Error, OSError) as error:
            raise self.failed(str(error)) from error

    def discard(self) -> None:
        """Delete the incomplete file."""
        self.path.unlink(missing_ok=True)

    def failed(self, reason: str) -> BackupFailed:
        """Return the error for this backup."""
        return BackupFailed(str(self.target), reason)

    def publish(self) -> Backup:
        """Sync the complete file, and rename it to its target.

        Raises:
            BackupFailed: a file of that name appeared meanwhile.
        """
        # Sync, rename, sync the folder: in another order a loss of power leaves an incomplete file under the name of a
        # backup.
        self.sync(self.path)
        # Again: `rename` would replace a file that appeared during the copy.
        self._refuse_existing()
        self.path.rename(self.target)
        self.sync(self.target.parent)
        return Backup(str(self.target), self.target.stat().st_size)

    def _refuse_existing(self) -> None:
        if os.path.lexists(self.target):
            raise self.failed("a file of that name exists; choose another name, or move it away")


def copy_from_outside(
    path: str | os.PathLike[str],
    target: str | os.PathLike[str],
    progress: OnBackupProgress,
    *,
    max_log_growth_bytes: int = MAX_LOG_GROWTH_BYTES,
) -> Backup:
    """Copy a store's file as it is when the call begins. It writes nothing to the file and takes no lock.

    An owner continues to commit. Until the copy is complete its checkpoints stop at that moment, so its write-ahead log
    grows. Afterwards it shrinks again.

    Args:
        path: the store's file.
        target: the new file, which must not exist.
        progress: called after each step.
        max_log_growth_bytes: stop when the log has grown by more.

    Raises:
        BackupFailed: the copy cannot be written. No file is left.
        StoreError: the file cannot be read, or its log grew too much. No file is left.
    """
    copy = PartialFile(Path(target).absolute())
    with read_from_outside(path) as reader:
        copy.begin()
        try:
            connection = sqlite3.connect(copy.path, isolation_level=None)
            return copy.fill(
                connection, lambda: reader.copy(connection, progress, max_log_growth_bytes=max_log_growth_bytes)
            )
        finally:
            copy.discard()


_VACUUM = "vacuum"
_TEMPORARY = ("/var/tmp", "/usr/tmp", "/tmp")  # noqa: S108 - where SQLite looks, in its order

FreeBytes = Callable[[Path], int]
"""Returns the free space on a folder's disk, in bytes."""


@attrs.frozen(kw_only=True)
class Vacuumed:
    """A vacuum's result.

    Attributes:
        before_bytes: size before, with the log.
        after_bytes: size afterwards, with the log.
        reader: whether a reader keeps the file from shrinking until it closes the file.
    """

    before_bytes: int
    after_bytes: int
    reader: bool


def free_on_disk(folder: Path) -> int:
    """Return the free space on a folder's disk, in bytes."""
    return shutil.disk_usage(folder).free


def vacuum(path: str | os.PathLike[str], *, free_bytes: FreeBytes = free_on_disk) -> Vacuumed:
    """Take the lock and rebuild the file. SQLite does it in one transaction: a crash leaves the file unchanged.

    Args:
        path: the file. It must exist.
        free_bytes: returns the free space on a folder's disk.

    Raises:
        StoreLocked: an engine owns it.
        StoreUnavailable: there is no such file, or too little space.
        StoreTooNew: a newer version of the library wrote it.
        StoreCorrupt: the file is not a perdure store.
    """
    with read_from_outside(path) as reader:
        place, store = reader.path, reader.store
    # VACUUM rewrites all pages. Beside an engine, that engine would take it for a copy over its file, and stop.
    lock = acquire(f"{place}.lock", store=store, database=str(place))
    try:
        with closing(sqlite3.connect(place, isolation_level=None, timeout=1.0)) as connection:
            return _vacuumed(connection, place, free_bytes)
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{_VACUUM} {store}", str(error)) from error
    finally:
        lock.release()


def _vacuumed(connection: sqlite3.Connection, path: Path, free_bytes: FreeBytes) -> Vacuumed:
    before = _size(path)
    truncate_log(connection)  # a crash may have left commits in the log
    _refuse_without_room(connection, path, free_bytes)
    connection.execute("VACUUM")
    begun = truncate_log(connection)
    return Vacuumed(before_bytes=before, after_bytes=_size(path), reader=begun == "blocked")


def _refuse_without_room(connection: sqlite3.Connection, path: Path, free_bytes: FreeBytes) -> None:
    """Check the space for the new file, which SQLite writes into its temporary folder and from there into the log."""
    (pages,), (free_pages,), (page_bytes,) = (
        connection.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "freelist_count", "page_size")
    )
    live_bytes = (pages - free_pages) * page_bytes
    needs = {path.parent: live_bytes}
    temporary = _temporary_folder()
    # On one disk both copies exist at the same time.
    if temporary.stat().st_dev == path.stat().st_dev:
        needs[path.parent] += live_bytes
    else:
        needs[temporary] = live_bytes
    for folder, needed in needs.items():
        free = free_bytes(folder)
        if free < needed:
            reason = f"it needs {needed:,} bytes in {folder}, and {free:,} are free; free space there first"
            raise StoreUnavailable(_VACUUM, reason)


def _temporary_folder() -> Path:
    named = (os.environ.get("SQLITE_TMPDIR"), os.environ.get("TMPDIR"), *_TEMPORARY)
    return next((Path(name) for name in named if name and os.access(name, os.W_OK | os.X_OK)), Path())


def _size(path: Path) -> int:
    return size_of(path) + size_of(log_of(path))


STEP_PAGES: Final = 64
"""Pages per step, 256 KiB: a commit waits for at most one step."""

_OPERATION = "make a backup"


@attrs.frozen
class LentConnection:
    """The store's connection, lent to a backup.

    Attributes:
        loan: hands it over, a step at a time.
    """

    connection: WorkConnection
    loan: ConnectionLoan
    page_bytes: int


@attrs.frozen(kw_only=True)
class SqliteBackups:
    """Makes backups while a store is open.

    Attributes:
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

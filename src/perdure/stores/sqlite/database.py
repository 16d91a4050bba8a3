"""The open file: its thread and its writer, and how both are replaced when the connection can no longer be trusted."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import attrs
from returns.result import Failure, Result, Success

from perdure.stores.sqlite import counters
from perdure.stores.sqlite.disk import REAL_DISK, Disk, why_unreadable
from perdure.stores.sqlite.group_commit import GroupWriter, Write, Written
from perdure.stores.sqlite.missing_file import LOST_LOG
from perdure.stores.sqlite.ownership import another_engine, take_note
from perdure.stores.sqlite.schema import Synchronous, prepare
from perdure.stores.sqlite.status_counts import StatusCounts
from perdure.stores.sqlite.thread import DatabaseThread, Work
from perdure.stores.sqlite.write_ahead_log import CHECKPOINT_PAGES, truncate_log
from perdure.values.errors import OwnershipLost, StoreCorrupt, StoreError, StoreUnavailable

T = TypeVar("T")


@attrs.frozen
class Read:
    """A function that reads, and its name in errors."""

    operation: str
    work: Work[Any]


@attrs.frozen(kw_only=True)
class File:
    """A file to open, and how.

    Attributes:
        path: its absolute path, because the working directory may change.
        lock: the absolute path of its lock file.
        store: the store's name in errors.
        synchronous: when commits reach the disk.
        checkpoint_pages: length of the write-ahead log, in pages, from which on it is checkpointed.
        descriptor: the file's descriptor, open as long as the engine owns it.
        disk: the disk that holds it.
    """

    path: str
    lock: str
    store: str
    synchronous: Synchronous
    checkpoint_pages: int = CHECKPOINT_PAGES
    descriptor: int = -1
    disk: Disk = REAL_DISK


@attrs.define(kw_only=True)
class Database:
    """An open file. Only one `read` or `write` may be in progress.

    Attributes:
        file: the file.
        epoch: how often the file was opened.
    """

    file: File
    epoch: int
    _thread: DatabaseThread = attrs.field(alias="thread")
    _writer: GroupWriter = attrs.field(alias="writer")
    _connection: Literal["open", "closed"] = "open"

    @property
    def lost(self) -> OwnershipLost | None:
        """Why this engine no longer owns the file; None while it does."""
        return self._writer.lost

    @property
    def counts(self) -> StatusCounts:
        """The instances by job and status, as far as they are counted; for the thread."""
        return self._writer.counters.counts

    async def read(self, reads: Sequence[Read]) -> list[Result[Any, StoreError]]:
        """Run reads in one thread round trip; each has its own answer."""
        await self._ensure_trusted()
        writer, file = self._writer, self.file
        return await self._thread.run(lambda cursor: [_answer(cursor, read, writer, file) for read in reads])

    async def write(self, group: Sequence[Write]) -> list[Written]:
        """Run writes in one transaction and one thread round trip; each has its own answer."""
        await self._ensure_trusted()
        writer = self._writer
        return await self._thread.run(lambda cursor: writer.write(cursor, group))

    async def close(self) -> None:
        """Close the file and end its thread."""
        if self._connection == "open":
            await self._thread.run(self._writer.finish)
        if self.lost is None:
            await self._thread.close()
            return
        ownership = self._writer.ownership
        with ownership.kept_from_checkpoint(self.lost):
            await self._thread.close()
        ownership.set_log_aside(f"{os.path.basename(self.file.path)}{LOST_LOG}{self.epoch}", self.lost)  # noqa: PTH119

    def abandon(self) -> None:
        """End the thread after its present work, without waiting: for an event loop that is stopping."""
        self._thread.stop()

    async def _ensure_trusted(self) -> None:
        if self._writer.is_trusted:
            return
        before = self._writer.ownership
        moved = before.loss_before_closing() if self._connection == "open" else None
        if moved is None:
            await self._thread.close()  # SQLite makes a checkpoint then
            self._connection = "closed"
            moved = before.without_log().files_loss()  # before SQLite creates a new file
        if moved is not None:
            self._writer.lost = moved
            raise moved
        self._thread, (self._writer, epoch) = await _set_up(self.file, lambda cursor: _reopened(cursor, self.file))
        self._connection = "open"
        if epoch != self.epoch or not before.marks.may_become(self._writer.ownership.marks):
            self._writer.lost = another_engine(self.file.store)
            raise self._writer.lost


async def open_database(file: File) -> Database:
    """Open a file, create or migrate its tables, and count the opening.

    Raises:
        StoreError: the file cannot be opened.
    """
    thread, (writer, epoch) = await _set_up(file, lambda cursor: _opened(cursor, file))
    return Database(file=file, epoch=epoch, thread=thread, writer=writer)


async def _set_up(file: File, setting_up: Work[T]) -> tuple[DatabaseThread, T]:
    """Open a file and prepare it. If this fails, no thread remains."""
    try:
        return await _set_up_once(file, setting_up)
    except StoreCorrupt as error:
        unread = _unread(file)
        if unread is not None:
            raise StoreUnavailable(f"open {file.store}", str(unread)) from error
    return await _set_up_once(file, setting_up)  # the disk may have failed for a moment


async def _set_up_once(file: File, setting_up: Work[T]) -> tuple[DatabaseThread, T]:
    try:
        thread = await file.disk.connect(file.path)
    except sqlite3.Error as error:
        raise StoreUnavailable(f"open {file.store}", str(error)) from error
    try:
        return thread, await thread.run(setting_up)
    except (sqlite3.Error, OSError) as error:
        await thread.close()
        raise StoreUnavailable(f"open {file.store}", str(error)) from error
    except BaseException:
        await thread.close()
        raise


def _unread(file: File) -> OSError | None:
    return why_unreadable(file.disk, file.descriptor, f"{file.path}-wal")


def _opened(cursor: sqlite3.Cursor, file: File) -> tuple[GroupWriter, int]:
    prepare(cursor, store=file.store, synchronous=file.synchronous)
    cursor.execute("PRAGMA wal_checkpoint(PASSIVE)")  # unlike `_reopened`, after no failure: waits for no reader
    epoch, counts = counters.next_epoch(cursor)
    writer = _writer(cursor, file, epoch, counts)
    if counters.epoch(cursor) != epoch:
        raise another_engine(file.store)
    return writer, epoch


def _reopened(cursor: sqlite3.Cursor, file: File) -> tuple[GroupWriter, int]:
    """Checkpoint the log before anything is written after it.

    A log whose sync failed can be read but is not on the disk, and no later sync changes that: the operating system
    considers its pages written. Commits after it would be lost with it at a loss of power.
    """
    prepare(cursor, store=file.store, synchronous=file.synchronous)
    if truncate_log(cursor) == "blocked":
        raise StoreUnavailable(f"open {file.store}", "a reader blocks the truncation of its write-ahead log; end it")
    epoch = counters.epoch(cursor)
    return _writer(cursor, file, epoch, StatusCounts()), epoch


def _writer(cursor: sqlite3.Cursor, file: File, epoch: int, counts: StatusCounts) -> GroupWriter:
    # Note the state first: a later write is detected, and an earlier one is read here.
    ownership = take_note(
        cursor,
        store=file.store,
        path=file.path,
        lock=file.lock,
        descriptor=file.descriptor,
        disk=file.disk,
        epoch=epoch,
    )
    numbers = counters.read(cursor, counts)
    return GroupWriter(counters=numbers, ownership=ownership, checkpoint_pages=file.checkpoint_pages)


def _answer(cursor: sqlite3.Cursor, read: Read, writer: GroupWriter, file: File) -> Result[Any, StoreError]:
    try:
        return Success(_read_twice(cursor, read, writer, file))
    except StoreError as error:
        return Failure(error)
    except sqlite3.OperationalError as error:
        writer.errors = "some"
        return Failure(StoreUnavailable(read.operation, str(error)))
    except sqlite3.DatabaseError as error:
        writer.errors = "some"
        return Failure(StoreCorrupt(f"the pages read to {read.operation}", str(error)))
    except Exception as error:  # noqa: BLE001 - values that the driver cannot bind raise many kinds
        return Failure(StoreUnavailable(read.operation, f"{type(error).__name__}: {error}"))


def _read_twice(cursor: sqlite3.Cursor, read: Read, writer: GroupWriter, file: File) -> object:
    """Read again if SQLite reports damage, which a temporary failure of the disk may cause.

    Raises:
        StoreUnavailable: the disk still does not read.
        sqlite3.DatabaseError: the bytes are damaged.
    """
    try:
        return read.work(cursor)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        writer.errors = "some"
        unread = _unread(file)
        if unread is not None:
            raise StoreUnavailable(read.operation, str(unread)) from error
    return read.work(cursor)

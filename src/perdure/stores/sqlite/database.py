"""The open file: its thread, its ledger, and how both are replaced when the connection can no longer be trusted."""

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
from perdure.stores.sqlite.ownership import another_engine, take_note
from perdure.stores.sqlite.schema import Synchronous, prepare
from perdure.stores.sqlite.thread import DatabaseThread, Work
from perdure.stores.sqlite.write_ahead_log import CHECKPOINT_PAGES, begin_anew
from perdure.values.errors import OwnershipLost, StoreCorrupt, StoreError, StoreUnavailable

T = TypeVar("T")


@attrs.frozen
class Read:
    """A reading function, and what it does, for errors."""

    operation: str
    work: Work[Any]


@attrs.frozen(kw_only=True)
class File:
    """A file to open, and how.

    Attributes:
        path: where it is, absolute: the working directory may change.
        lock: where its lock file is, absolute.
        store: what errors call it.
        synchronous: when commits reach the disk.
        checkpoint_pages: the length of the log from which on it is moved into the file.
        descriptor: of the file, open as long as the engine owns it.
        disk: how to reach it.
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
    """One file, open. Only one `read` or `write` may be under way.

    Attributes:
        file: which file.
        epoch: how often the file has been opened.
    """

    file: File
    epoch: int
    _thread: DatabaseThread = attrs.field(alias="thread")
    _ledger: GroupWriter = attrs.field(alias="ledger")
    _connection: Literal["open", "closed"] = "open"

    @property
    def lost(self) -> OwnershipLost | None:
        """Why the file is not this engine's any more."""
        return self._ledger.lost

    async def read(self, reads: Sequence[Read]) -> list[Result[Any, StoreError]]:
        """Run reads in one hop; each is answered for itself."""
        await self._ensure_trusted()
        ledger, file = self._ledger, self.file
        return await self._thread.run(lambda cursor: [_answer(cursor, read, ledger, file) for read in reads])

    async def write(self, group: Sequence[Write]) -> list[Written]:
        """Run writes in one transaction and one hop; each is answered for itself."""
        await self._ensure_trusted()
        ledger = self._ledger
        return await self._thread.run(lambda cursor: ledger.write(cursor, group))

    async def close(self) -> None:
        """Close the file and end its thread."""
        if self._connection == "open":
            await self._thread.run(self._ledger.move_all)
        if self.lost is None:
            await self._thread.close()
            return
        ownership = self._ledger.ownership
        with ownership.kept_from_checkpoint(self.lost):
            await self._thread.close()
        ownership.set_log_aside(f"{os.path.basename(self.file.path)}-wal.lost-{self.epoch}", self.lost)  # noqa: PTH119

    def abandon(self) -> None:
        """End the thread without waiting, after what it does now: for an event loop that is stopping."""
        self._thread.stop()

    async def _ensure_trusted(self) -> None:
        if self._ledger.is_trusted:
            return
        before = self._ledger.ownership
        moved = before.loss_before_closing() if self._connection == "open" else None
        if moved is None:
            await self._thread.close()  # SQLite makes a checkpoint then
            self._connection = "closed"
            moved = before.without_log().files_loss()  # before a new file is made where there is none
        if moved is not None:
            self._ledger.lost = moved
            raise moved
        self._thread, (self._ledger, epoch) = await _set_up(self.file, lambda cursor: _reopened(cursor, self.file))
        self._connection = "open"
        if epoch != self.epoch or not before.marks.may_become(self._ledger.ownership.marks):
            self._ledger.lost = another_engine(self.file.store)
            raise self._ledger.lost


async def open_database(file: File) -> Database:
    """Open a file, create or migrate its tables, and count the opening.

    Raises:
        StoreError: why it cannot be opened.
    """
    thread, (ledger, epoch) = await _set_up(file, lambda cursor: _opened(cursor, file))
    return Database(file=file, epoch=epoch, thread=thread, ledger=ledger)


async def _set_up(file: File, setting_up: Work[T]) -> tuple[DatabaseThread, T]:
    """Open a file and prepare it. On any failure, no thread is left behind."""
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
    cursor.execute(
        "PRAGMA wal_checkpoint(PASSIVE)"
    )  # as `_reopened`, but knowing of no failure: no reader is waited for
    epoch = counters.next_epoch(cursor)
    ledger = _ledger(cursor, file, epoch)
    if counters.epoch(cursor) != epoch:
        raise another_engine(file.store)
    return ledger, epoch


def _reopened(cursor: sqlite3.Cursor, file: File) -> tuple[GroupWriter, int]:
    """Build nothing on the log that is found.

    A log whose sync failed can be read and is not on the disk, and no later sync makes it so: the system has taken its
    pages for written. What is committed after it would be lost with it when power is cut.
    """
    prepare(cursor, store=file.store, synchronous=file.synchronous)
    if begin_anew(cursor) == "held up":
        raise StoreUnavailable(f"open {file.store}", "a reader keeps its log from being begun anew; let it end")
    epoch = counters.epoch(cursor)
    return _ledger(cursor, file, epoch), epoch


def _ledger(cursor: sqlite3.Cursor, file: File, epoch: int) -> GroupWriter:
    # The note is taken first: a later write is noticed, and an earlier one is read here.
    ownership = take_note(
        cursor,
        store=file.store,
        path=file.path,
        lock=file.lock,
        descriptor=file.descriptor,
        disk=file.disk,
        epoch=epoch,
    )
    return GroupWriter(counters=counters.read(cursor), ownership=ownership, checkpoint_pages=file.checkpoint_pages)


def _answer(cursor: sqlite3.Cursor, read: Read, ledger: GroupWriter, file: File) -> Result[Any, StoreError]:
    try:
        return Success(_read_twice(cursor, read, ledger, file))
    except StoreError as error:
        return Failure(error)
    except sqlite3.OperationalError as error:
        ledger.errors = "some"
        return Failure(StoreUnavailable(read.operation, str(error)))
    except sqlite3.DatabaseError as error:
        ledger.errors = "some"
        return Failure(StoreCorrupt(f"what was read to {read.operation}", str(error)))
    except Exception as error:  # noqa: BLE001 - values that the driver cannot bind raise many kinds
        return Failure(StoreUnavailable(read.operation, f"{type(error).__name__}: {error}"))


def _read_twice(cursor: sqlite3.Cursor, read: Read, ledger: GroupWriter, file: File) -> object:
    """Read again if SQLite reports damage: the disk may have failed for a moment, which SQLite reports as damage too.

    Raises:
        StoreUnavailable: the disk still does not read.
        sqlite3.DatabaseError: the bytes are damaged.
    """
    try:
        return read.work(cursor)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        ledger.errors = "some"
        unread = _unread(file)
        if unread is not None:
            raise StoreUnavailable(read.operation, str(unread)) from error
    return read.work(cursor)

"""Checks around each transaction, in the driver's thread, that this engine still owns its file.

The file holds marks that tell the engine's own checkpoints from a copy over the file. `Disk` holds all file operations
other than SQL, which tests replace.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Awaitable, Callable, Generator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Final, Literal, TypeAlias

import attrs

from perdure.stores.sqlite.files import sync_path
from perdure.stores.sqlite.lock import locked_like_a_reader
from perdure.stores.sqlite.thread import DatabaseThread, connect
from perdure.values.errors import OwnershipLost

Connect: TypeAlias = Callable[[str], Awaitable[DatabaseThread]]
"""Opens a file, in its own thread."""


@attrs.frozen(kw_only=True)
class Disk:
    """All file operations of the store other than SQL statements.

    Attributes:
        connect: open a connection.
        stat: return size, times and identity for the file at a path.
        read: read a number of bytes at an offset, through a descriptor.
        touch: set the modification time, in nanoseconds, through a descriptor.
        sync: write a file, or the names in a folder, to stable storage.
    """

    connect: Connect = connect
    stat: Callable[[str], os.stat_result] = os.stat
    read: Callable[[int, int, int], bytes] = os.pread
    touch: Callable[[int, int], None] = attrs.field(default=lambda file, time_ns: os.utime(file, ns=(time_ns, time_ns)))
    sync: Callable[[Path], None] = sync_path


REAL_DISK = Disk()

_BLOCK_BYTES: Final = 1024 * 1024


def why_unreadable(disk: Disk, descriptor: int, log: str) -> OSError | None:
    """Read a database and its log completely, and return the disk's error, if there is one.

    SQLite reports corruption both when the system fails to read and when the bytes are damaged. This tells them apart.
    """
    try:
        _read_all(disk, descriptor)
        beside = os.open(log, os.O_RDONLY)  # SQLite has no lock on it that closing it here could drop
        try:
            _read_all(disk, beside)
        finally:
            os.close(beside)
    except FileNotFoundError:
        return None
    except OSError as error:
        return error
    return None


def _read_all(disk: Disk, descriptor: int) -> None:
    offset = 0
    while read := len(disk.read(descriptor, _BLOCK_BYTES, offset)):
        offset += read


ReadFile: TypeAlias = Callable[[int, int], bytes]
"""Reads a number of bytes at an offset in the file, bypassing SQLite."""

TABLES: Final = ("checkpoint_marks_a", "checkpoint_marks_b")
_WRITE = tuple(f"UPDATE {table} SET mark = ?" for table in TABLES)  # noqa: S608 - made of constants
_READ = tuple(f"SELECT mark FROM {table}" for table in TABLES)  # noqa: S608 - made of constants


@attrs.define
class _Place:
    """One mark table.

    Attributes:
        offset: its page's offset in the file.
        possible: the marks that the file may hold, the last committed one at the end. Empty if unknown.
        stored: the last committed mark.
    """

    offset: int
    stored: str
    possible: list[str]


@attrs.define
class CheckpointMarks:
    """Writes marks, and finds them again.

    Attributes:
        epoch: the opening that writes them.
        is_moved: whether the last committed mark is in the file.
    """

    epoch: int
    page_bytes: int
    _places: tuple[_Place, ...]
    _number: int
    is_moved: bool = True
    _written: str | None = None

    def may_become(self, later: CheckpointMarks) -> bool:
        """Whether a file with these marks may have the later ones, after a COMMIT with unknown outcome."""
        # A COMMIT of unknown outcome may have written its mark. To expect only the old one would give up a sound file.
        written = () if self._written is None else (self._written,)
        return all(
            after.stored in (before.stored, *written) for before, after in zip(self._places, later._places, strict=True)
        )

    def write(self, cursor: sqlite3.Cursor) -> None:
        """Write the next mark in the open transaction."""
        if self._written is None:
            self._number += 1
            self._written = f"{self.epoch:016x}-{self._number:016x}"
            # In two tables in turn: a checkpoint writes the newest mark over a copy that is made meanwhile. The older
            # mark is not in the log any more, so the copy removes it.
            cursor.execute(_WRITE[self._number % 2], (self._written,))

    def committed(self) -> None:
        """Note that the transaction is durable."""
        if self._written is not None:
            place = self._places[self._number % 2]
            place.stored = self._written
            if place.possible:
                place.possible.append(self._written)
            self._written = None
            self.is_moved = False

    def rolled_back(self) -> None:
        """Note that the transaction was rolled back."""
        self._written = None

    def are_found(self, read: ReadFile, *, moved_all: bool) -> bool:
        """Read both marks from the file after a checkpoint, and return whether they are the expected ones.

        Args:
            read: reads the file.
            moved_all: whether the complete log is in the file now. Otherwise it may still hold an older mark.
        """
        # A list, not a generator: each call updates its place, and `all` would end with the first that is not found.
        found = [self._is_found(place, read, moved_all=moved_all) for place in self._places]
        newest = self._places[self._number % 2]
        self.is_moved = newest.possible == [newest.stored]
        return all(found)

    def _is_found(self, place: _Place, read: ReadFile, *, moved_all: bool) -> bool:
        page = read(self.page_bytes, place.offset)
        # After a partial checkpoint an older mark is legitimate: to insist on the newest would give up a sound file.
        wanted = [place.stored] if moved_all else place.possible
        found = [index for index, mark in enumerate(wanted) if mark.encode() in page]
        if found:
            place.possible = wanted[found[-1] :]
        return bool(found) or not wanted


def read_marks(cursor: sqlite3.Cursor, *, epoch: int, read: ReadFile) -> CheckpointMarks:
    """Read the marks in an opened file.

    Args:
        cursor: a cursor on its connection.
        epoch: this opening's number.
        read: reads the file.
    """
    ((page_bytes,),) = cursor.execute("PRAGMA page_size").fetchall()
    places: list[_Place] = []
    for table, sql in zip(TABLES, _READ, strict=True):
        ((root,),) = cursor.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchall()
        ((mark,),) = cursor.execute(sql).fetchall()
        offset = (root - 1) * page_bytes
        # Compare with the file, not with SQLite's view: a reader may keep the mark in the log.
        is_there = mark.encode() in read(page_bytes, offset)  # False while a reader blocks the checkpoint
        places.append(_Place(offset, mark, [mark] if is_there else []))
    ours = [int(place.stored.partition("-")[2], 16) for place in places if place.stored.startswith(f"{epoch:016x}-")]
    return CheckpointMarks(epoch, page_bytes, tuple(places), max(ours, default=0))


FilePart: TypeAlias = Literal["file", "log", "lock"]
FileIdentity: TypeAlias = tuple[int, int]  # device and inode
FileStamp: TypeAlias = tuple[int, int]  # size in bytes, and the time of the last change in nanoseconds

_WRITTEN = (
    "another connection wrote to it; find the program that opens this file (a shell, a second engine on a copy of the "
    "lock, a disk whose locks do not work), then start again"
)
_LOG_WRITTEN = (
    "another connection or program wrote into its write-ahead log; find the program that opens this file, leave the "
    "log to the engine, and start again"
)
_WRITTEN_OVER = (
    "another program wrote into the file itself (a copy over it, a checkpoint from outside); before you restore a "
    "backup, stop the engine, and move the write-ahead log away with the file"
)
_WRITTEN_OVER_DURING = (
    "another program wrote into the file itself during a checkpoint, so that it may hold parts of both; move the "
    "write-ahead log away with the file, and restore a backup"
)
_GONE: dict[FilePart, str] = {
    "file": "it was deleted while it was open; put it back, or restore a backup, before you start again",
    "log": "its write-ahead log was deleted while it was open; let the engine stop first, which saves the log",
    "lock": "its lock file was deleted, so that a second engine could open it; leave the lock file, and start again",
}
_REPLACED: dict[FilePart, str] = {
    "file": "another file was put in its place while it was open; stop the engine before you replace a file",
    "log": "another file was put in the place of its write-ahead log; stop the engine before you replace a file",
    "lock": "another lock file was put in the place of its own; leave the lock file in place, and start again",
}


@attrs.define(kw_only=True)
class Ownership:
    """The file's state when it was opened, and when this engine last wrote to it.

    Attributes:
        store: the store's name in errors.
        descriptor: the file's descriptor, open as long as the engine owns it.
        parts: path and identity for the file, its log and its lock.
        data_version: changes when another connection has written: https://sqlite.org/pragma.html#pragma_data_version.
            SQLite also changes it when an error made it drop its cache.
        stamp: the file's times, which only this engine's checkpoints change.
        log_stamp: the log's times, which only this engine's transactions change. None: the disk did not say.
        schema_version: a number in the file that differs in each backup: SQLite increments it when it copies.
        marks: distinguish this engine's checkpoints from other programs' writes.
    """

    store: str
    disk: Disk
    descriptor: int
    parts: dict[FilePart, tuple[str, FileIdentity]]
    data_version: int
    stamp: FileStamp
    log_stamp: FileStamp | None
    schema_version: int
    marks: CheckpointMarks

    def loss(self, cursor: sqlite3.Cursor, *, has_errors: bool) -> OwnershipLost | None:
        """Inspect the files in an open transaction, before anything is written: 1 µs for SQLite, 2 µs for each file.

        Args:
            cursor: a cursor on the connection.
            has_errors: whether this connection reported an error since the last transaction, which also changes
                `data_version`.
        """
        (found,) = cursor.execute("PRAGMA data_version").fetchone()
        log_stamp, self.log_stamp = self.log_stamp, None
        lost = self._loss(log_stamp)
        # SQLite changes data_version after its own errors too. Then only a changed log proves a second writer, and
        # without this distinction each full disk would end the engine.
        if found != self.data_version and (not has_errors or (lost is not None and lost.reason == _LOG_WRITTEN)):
            return OwnershipLost(self.store, _WRITTEN)
        self.data_version = found
        return lost

    def loss_after_transaction(self) -> OwnershipLost | None:
        """Inspect the files again. COMMIT changes only the log: the file must be unchanged."""
        self.log_stamp = None
        return self._loss(None)

    def loss_before_closing(self) -> OwnershipLost | None:
        """Inspect the files outside a transaction."""
        return self._loss(self.log_stamp)

    def loss_after_checkpoint(self, *, moved_all: bool) -> OwnershipLost | None:
        """Note the file's state after this engine's checkpoint, and look for the marks in it.

        The modification time is set one nanosecond back: no system assigns that time to a later change, however coarse
        its clock.

        Args:
            moved_all: whether the complete log is in the file now.
        """
        found = self._look()
        if isinstance(found, OwnershipLost):
            return found
        # Only a checkpoint may move the noted stamp. To note it anywhere else would accept a copy over the file as our
        # own.
        if found["file"] is not None:
            self.stamp = self._marked(found["file"])
        try:
            are_found = self.marks.are_found(self._read, moved_all=moved_all)
        except OSError:  # a disk that fails to answer proves nothing
            return None
        return None if are_found else OwnershipLost(self.store, _WRITTEN_OVER_DURING)

    def _marked(self, stamp: FileStamp) -> FileStamp:
        path, _ = self.parts["file"]
        try:
            self.disk.touch(self.descriptor, stamp[1] - 1)
            return _stamp(self.disk.stat(path))
        except OSError:  # the file belongs to another user
            return stamp

    def _read(self, size: int, offset: int) -> bytes:
        return self.disk.read(self.descriptor, size, offset)

    def _loss(self, log_stamp: FileStamp | None) -> OwnershipLost | None:
        found = self._look()
        if isinstance(found, OwnershipLost):
            return found
        self.log_stamp = found["log"]
        # Inode and data_version stay equal when `cp` overwrites the file: size and time are the only traces.
        if found["file"] not in (self.stamp, None):
            return OwnershipLost(self.store, _WRITTEN_OVER)
        if log_stamp is not None and found["log"] not in (log_stamp, None):
            return OwnershipLost(self.store, _LOG_WRITTEN)
        return None

    def files_loss(self) -> OwnershipLost | None:
        """Check whether the files at their paths are still the same."""
        found = self._look()
        return found if isinstance(found, OwnershipLost) else None

    def _look(self) -> dict[FilePart, FileStamp | None] | OwnershipLost:
        """Inspect every file. A disk that fails to answer proves nothing."""
        stamps: dict[FilePart, FileStamp | None] = {"file": None, "log": None, "lock": None}
        for part, (path, identity) in self.parts.items():
            try:
                found = self.disk.stat(path)
            except FileNotFoundError:
                return OwnershipLost(self.store, _GONE[part])
            # A network disk that fails for a moment must not end the engine: a loss is final.
            except OSError:
                continue
            # A path with another inode: SQLite would continue to write into the file that has no name any more.
            if (found.st_dev, found.st_ino) != identity:
                return OwnershipLost(self.store, _REPLACED[part])
            stamps[part] = _stamp(found)
        return stamps

    def without_log(self) -> Ownership:
        """Return the part that must hold after the connection was closed, which deletes the log."""
        return self._only("file", "lock")

    @contextmanager
    def kept_from_checkpoint(self, lost: OwnershipLost) -> Generator[None]:
        """Close a lost file's last connection in this block, without moving its log into another program's file.

        SQLite ensures that itself if the file was deleted or replaced. If it was overwritten, only a reader prevents
        the checkpoint: a lock on the bytes that readers lock, whatever the file contains, or another connection, which
        cannot write and so checkpoints nothing either.
        """
        path, _ = self.parts["file"]
        with ExitStack() as stack:
            if self._is_overwritten(lost):
                # Two means, because each fails for some content of the file: without either, closing moves this log
                # into it.
                stack.enter_context(locked_like_a_reader(self.descriptor))
                with suppress(sqlite3.Error):  # the file may not be a database now
                    beside = stack.enter_context(closing(sqlite3.connect(f"{Path(path).as_uri()}?mode=ro", uri=True)))
                    beside.execute("BEGIN")
                    beside.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            yield

    def set_log_aside(self, name: str, lost: OwnershipLost) -> None:
        """Rename a lost file's log, so that the next program that opens its path does not use it.

        SQLite leaves the log in place when it closes such a file. Read together with another file, it would destroy
        that file. If other programs wrote to this very file, its log belongs to it.
        """
        path, _ = self.parts["file"]
        is_other = (
            self._only("file").files_loss() is not None
            or lost.reason == _WRITTEN_OVER_DURING
            or (self._is_overwritten(lost) and _schema_version_in(path) != self.schema_version)
        )
        if is_other and self._only("log").files_loss() is None:
            log = Path(self.parts["log"][0])
            log.rename(log.with_name(name))

    def _is_overwritten(self, lost: OwnershipLost) -> bool:
        if lost.reason in (_WRITTEN_OVER, _WRITTEN_OVER_DURING):
            return True
        now = self._loss(None)  # the engine may have detected another loss first
        return now is not None and now.reason == _WRITTEN_OVER

    def _only(self, *parts: FilePart) -> Ownership:
        return attrs.evolve(self, parts={part: self.parts[part] for part in parts})


def another_engine(store: str) -> OwnershipLost:
    """Return the error for a file that another engine opened meanwhile."""
    return OwnershipLost(store, _WRITTEN)


def _schema_version_in(path: str) -> int:
    """Read it from the header in a file that no connection has open: https://sqlite.org/fileformat2.html."""
    with Path(path).open("rb") as file:
        return int.from_bytes(file.read(44)[40:])


def take_note(
    cursor: sqlite3.Cursor, *, store: str, path: str, lock: str, descriptor: int, disk: Disk, epoch: int
) -> Ownership:
    """Note a file's state after its log has been written to.

    Args:
        cursor: a cursor on its connection.
        store: the store's name in errors.
        path: the file's absolute path, because the working directory may change.
        lock: the lock file's absolute path.
        descriptor: the file's descriptor, open as long as the engine owns it.
        disk: reads the files.
        epoch: this opening's number.
    """
    paths: dict[FilePart, str] = {"file": path, "log": f"{path}-wal", "lock": lock}
    (data_version,) = cursor.execute("PRAGMA data_version").fetchone()
    (schema_version,) = cursor.execute("PRAGMA schema_version").fetchone()
    found = {part: disk.stat(where) for part, where in paths.items()}
    return Ownership(
        store=store,
        disk=disk,
        descriptor=descriptor,
        parts={part: (where, (found[part].st_dev, found[part].st_ino)) for part, where in paths.items()},
        data_version=data_version,
        stamp=_stamp(found["file"]),
        log_stamp=_stamp(found["log"]),
        schema_version=schema_version,
        marks=read_marks(cursor, epoch=epoch, read=lambda size, offset: disk.read(descriptor, size, offset)),
    )


def _stamp(found: os.stat_result) -> FileStamp:
    return found.st_size, found.st_mtime_ns

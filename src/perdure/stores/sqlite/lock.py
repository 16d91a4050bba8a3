"""One engine owns a file: an advisory lock beside it, which names the owner, and one on the file itself.

The lock file belongs to a path, and names the owner. The lock on the database file itself belongs to the file, whatever
its path: a hard link, a bind mount, a folder that was renamed.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import IO, Final

from perdure.stores.sqlite.fork_guard import guard_fork
from perdure.stores.sqlite.missing_file import check_missing
from perdure.stores.sqlite.owner import holder_of
from perdure.stores.sqlite.private_file import open_private
from perdure.stores.store import IfMissing
from perdure.values.errors import StoreLocked, StoreUnavailable

_BY_ANOTHER_NAME: Final = (
    "an engine that opened it by another name (a hard link, a bind mount, a renamed folder), or lost its lock file"
)

_SHARED_FIRST: Final = 0x4000_0002  # of SQLite's lock bytes: https://sqlite.org/fileformat2.html#the_lock_byte_page
_SHARED_SIZE: Final = 510
_EXCLUSIVE: Final = fcntl.LOCK_EX | fcntl.LOCK_NB

_held: set[tuple[int, int]] = set()  # files that this process owns, by device and inode


class FileLock:
    """Both locks. The kernel releases them when the process ends, for any reason.

    SQLite has locks of its own on the database file, of another kind (`fcntl`, not `flock`), which it would lose if
    this process closed the file. So the descriptor stays open until SQLite has closed its own.

    Attributes:
        path: the lock file.
        database: the descriptor of the database file.
    """

    def __init__(self, path: str, file: IO[bytes], database: int, identity: tuple[int, int]) -> None:
        self.path = path
        self.database = database
        self._file = file
        self._identity = identity
        _held.add(identity)
        guard_fork(self)

    def fileno(self) -> int:
        """Return the descriptor that holds the lock."""
        return self._file.fileno()

    def release(self) -> None:
        """Release both. The lock file stays: deleting it could let two engines lock two files of one name."""
        if not self._file.closed:
            fcntl.flock(self.database, fcntl.LOCK_UN)  # now, even if a forked child still shares it
            fcntl.flock(self._file, fcntl.LOCK_UN)
            self.leave()

    def leave(self) -> None:
        """Close a child's copy of the descriptors, which would keep the file locked after its parent's death."""
        if not self._file.closed:
            _held.discard(self._identity)
            os.close(self.database)
            self._file.close()


def acquire(path: str, *, store: str, database: str, if_missing: IfMissing = "create") -> FileLock:
    """Lock a store without waiting, and write the owner's process into the lock file.

    Args:
        path: the lock file; it is created if it does not exist.
        store: the store's name in errors.
        database: the database file; it is created empty if it does not exist.
        if_missing: whether the database file may be created.

    Raises:
        StoreLocked: another engine holds the lock.
        StoreMissing: the database file is missing or empty, and must not be created.
        StoreUnavailable: one of the files cannot be created or opened.
    """
    while True:
        file = _opened(path, store)
        try:
            _lock(file, path, store)
            if _is_at(file, path):
                check_missing(database, store=store, if_missing=if_missing)
                return _signed(FileLock(path, file, *_database_locked(database, store)), file, store)
        except BaseException:
            file.close()
            raise
        file.close()  # deleted or replaced meanwhile: its lock excludes no engine


def _database_locked(path: str, store: str) -> tuple[int, tuple[int, int]]:
    """Lock the database file. A file that this process serves is not opened: closing it would drop locks."""
    try:
        if os.path.exists(path) and _identity(os.stat(path)) in _held:  # noqa: PTH110, PTH116 - a path as text
            raise StoreLocked(store, _BY_ANOTHER_NAME)
        file = open_private(path, os.O_RDWR)
    except OSError as error:
        raise StoreUnavailable(f"open {store}", f"{error}; it must be readable and writable") from error
    try:
        if sys.platform == "linux":  # elsewhere this lock would stop SQLite's own
            fcntl.flock(file, _EXCLUSIVE)
        return file, _identity(os.fstat(file))
    except BlockingIOError as error:
        os.close(file)
        raise StoreLocked(store, _BY_ANOTHER_NAME) from error
    except OSError as error:
        os.close(file)
        reason = f"it cannot be locked: {error}; use a file on a local disk"
        raise StoreUnavailable(f"open {store}", reason) from error


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _opened(path: str, store: str) -> IO[bytes]:
    try:
        return os.fdopen(open_private(path, os.O_RDWR | os.O_APPEND), "a+b", buffering=0)
    except OSError as error:
        raise StoreUnavailable(f"open {store}", f"{error}; its folder must exist and be writable") from error


def _lock(file: IO[bytes], path: str, store: str) -> None:
    try:
        fcntl.flock(file, _EXCLUSIVE)
    except BlockingIOError as error:
        raise StoreLocked(store, holder_of(file, path)) from error
    except OSError as error:
        reason = f"its lock file cannot be locked: {error}; use a file on a local disk"
        raise StoreUnavailable(f"open {store}", reason) from error


def _is_at(file: IO[bytes], path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))  # noqa: PTH116 - beside the other one
    except FileNotFoundError:
        return False


def _signed(lock: FileLock, file: IO[bytes], store: str) -> FileLock:
    try:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    except OSError as error:
        lock.release()
        reason = f"its lock file cannot be written: {error}; free space, or make it writable"
        raise StoreUnavailable(f"open {store}", reason) from error
    return lock


@contextmanager
def locked_like_a_reader(database: int) -> Generator[None]:
    """Keep every connection of SQLite from being the last one of a database, as a reader does.

    SQLite moves the log into the file when the last connection is closed, which it knows by an exclusive lock on these
    bytes. The lock belongs to the descriptor and not to the process, so it stops the connections of this process too.
    Where the system has no such lock, this does nothing.
    """
    if sys.platform == "linux":
        _lock_shared_bytes(database, fcntl.F_RDLCK)
    try:
        yield
    finally:
        if sys.platform == "linux":
            _lock_shared_bytes(database, fcntl.F_UNLCK)


def _lock_shared_bytes(database: int, kind: int) -> None:
    with suppress(OSError):
        request = struct.pack("hhqqi4x", kind, os.SEEK_SET, _SHARED_FIRST, _SHARED_SIZE, 0)
        fcntl.fcntl(database, fcntl.F_OFD_SETLK, request)

"""One engine owns a file: an advisory lock beside it, which names the owner, and one on the file itself.

An engine that stands by takes over when the owner ends, for any reason. It tries the lock five times a second, which
costs at most 0.1 % CPU time on a core and delays the takeover by at most 200 ms. A blocking request would need a thread
that cannot be cancelled. A missing file is not locked where the previous file's data was lost.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import struct
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from perdure.runtime.record import LogRecord, Runtime
from perdure.stores.sqlite.files import guard_fork, open_private
from perdure.stores.sqlite.schema import log_of, size_of
from perdure.stores.values import IfMissing
from perdure.values.errors import StoreLocked, StoreMissing, StoreUnavailable

LOST_LOG = "-wal.lost-"
"""Between file name and epoch, in the name that a lost file's write-ahead log gets."""

COPYING = ".copying"
"""The suffix for a file that a copy writes, until it is complete."""


def check_missing(path: str, *, store: str, if_missing: IfMissing) -> None:
    """Check that a file has content, or that an empty store may be created in its place.

    A write-ahead log that survived its file holds commits from the engine that wrote it. SQLite deletes such a log when
    it opens an empty file.

    Args:
        path: the database file.
        store: the store's name in errors.
        if_missing: ``create``: unless a write-ahead log survived, or a copy into it is unfinished. ``refuse``: never.

    Raises:
        StoreMissing: the file is missing or empty, and must not be created.
    """
    file = Path(path)
    try:
        is_empty = not size_of(file)
    except OSError:  # opening the file reports why
        return
    if not is_empty:
        return
    # SQLite deletes the log of an empty file when it opens that: the last commits of the lost store would be gone.
    left = ", ".join(_logs_left(file))
    if left:
        reason = (
            f"the file is missing or empty, and its engine left {left}; put the file back, or move {left} away and "
            "restore a backup or create an empty store"
        )
        raise StoreMissing(store, reason)
    partial = file.with_name(file.name + COPYING)
    # An engine that creates the file here would make the unfinished copy unusable, and start without its data.
    if partial.exists():
        reason = f"{partial.name} is an unfinished copy into it; finish it with perdure copy, or delete it"
        raise StoreMissing(store, reason)
    if if_missing == "refuse":
        reason = "the file is missing or empty; check the path, or create a store with if_missing 'create'"
        raise StoreMissing(store, reason)


def _logs_left(file: Path) -> list[str]:
    log = log_of(file)
    try:
        lost = sorted(each.name for each in file.parent.iterdir() if each.name.startswith(f"{file.name}{LOST_LOG}"))
    except OSError:  # likewise
        lost = []
    return [log.name, *lost] if size_of(log) else lost


_LOCKS: Final = Path("/proc/locks")
_CLOSED: Final = b"closed\n"
_SIGNED: Final = re.compile(r"process (\d+) on ")


def owner_of(path: str | os.PathLike[str]) -> str | None:
    """Return the process that owns a store, as its lock file names it.

    It reads the kernel's lock table: a lock taken as a probe, however briefly, could refuse an engine that starts
    at that moment.

    Args:
        path: the store's file, whether or not it exists.

    Returns:
        Such as ``process 41 on host``. None if no process on this machine owns the store, or the system has no such
        table.
    """
    lock = Path(f"{os.path.realpath(path)}.lock")
    try:
        signed = lock.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
        inode = lock.stat().st_ino
        table = _LOCKS.read_text(encoding="ascii", errors="replace") if sys.platform == "linux" else ""
    except OSError:
        return None
    named = _SIGNED.match(signed)
    return signed if named is not None and named[1] in _holders(inode, table) else None


def holder_of(lock_file: IO[bytes], path: str) -> str:
    """Return the process that keeps a lock file locked, for an error.

    An engine writes its process into the file once it has the lock. Another program that may open the file can lock it
    too, and leaves the last engine's name in it.
    """
    lock_file.seek(0)
    signed = lock_file.read().decode(errors="replace").partition("\n")[0]
    try:
        table = _LOCKS.read_text(encoding="ascii", errors="replace") if sys.platform == "linux" else ""
    except OSError:
        table = ""
    named = _SIGNED.match(signed)
    found = os.fstat(lock_file.fileno())
    device = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}"  # of some file systems the table has another
    holders = _holders(found.st_ino, table, device)
    # The text may be of a dead engine: to name that process would send the operator to the wrong one.
    if not holders or (named is not None and named[1] in holders):
        return signed or "another process"
    last = f"the last engine was {signed}" if signed else "it names no engine"
    return f"process {' and process '.join(holders)}, which locked {path} and did not sign it ({last})"


def _holders(inode: int, table: str, device: str = r"\S+") -> list[str]:
    """Return the process ids that hold a lock on a file, from the kernel's table."""
    return [found[1] for found in re.finditer(rf"FLOCK +ADVISORY +(?:WRITE|READ) (\d+) {device}:{inode} ", table)]


_BY_ANOTHER_NAME: Final = (
    "an engine that opened it by another name (a hard link, a bind mount, a renamed folder), or lost its lock file"
)

_SHARED_FIRST: Final = 0x4000_0002  # of SQLite's lock bytes: https://sqlite.org/fileformat2.html#the_lock_byte_page
_SHARED_SIZE: Final = 510
# A blocking lock could not be cancelled, and a shared one would let a standby take over a living owner.
_EXCLUSIVE: Final = fcntl.LOCK_EX | fcntl.LOCK_NB

_held: set[tuple[int, int]] = set()  # files that this process owns, by device and inode


class FileLock:
    """Both locks. The kernel releases them when the process ends, for any reason.

    SQLite takes its own locks on the database file, with another system call (`fcntl`, not `flock`). It would lose
    them if this process closed the file. So the descriptor stays open until SQLite has closed its own.

    Attributes:
        was_closed: whether the former owner closed the file, although a reader kept its log.
    """

    was_closed = False

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

    def note_closed(self) -> None:
        """Write into the lock file that the owner has closed the database. The next owner overwrites it."""
        with suppress(OSError):  # then the next engine believes that this one died
            self._file.write(_CLOSED)

    def release(self) -> None:
        """Release both. The lock file stays: deleting it could let two engines lock two files with one name."""
        if not self._file.closed:
            fcntl.flock(self.database, fcntl.LOCK_UN)  # now, even if a forked child still shares it
            fcntl.flock(self._file, fcntl.LOCK_UN)
            self.leave()

    def leave(self) -> None:
        """Close a child's copies, which would keep the file locked after its parent's death."""
        if not self._file.closed:
            _held.discard(self._identity)
            # Close without LOCK_UN: an unlock in the child would also release the lock of its parent.
            os.close(self.database)
            self._file.close()


def acquire(path: str, *, store: str, database: str, if_missing: IfMissing = "create") -> FileLock:
    """Lock a store without waiting, and write the owner's process into the lock file.

    Args:
        path: the lock file. It is created if it does not exist.
        store: the store's name in errors.
        database: the database file. It is created empty if it does not exist.
        if_missing: whether the database file may be created.

    Raises:
        StoreLocked: another engine holds the lock.
        StoreMissing: the database file is missing or empty, and must not be created.
        StoreUnavailable: one file cannot be created or opened.
    """
    while True:
        file = _opened(path, store)
        try:
            _lock(file, path, store)
            # A lock on a file that has lost its name excludes no process: the next one locks the new file of that name.
            if _is_at(file, path):
                # Again, under the lock: the former owner may have lost its file since the first check.
                check_missing(database, store=store, if_missing=if_missing)
                return _signed(FileLock(path, file, *_database_locked(database, store)), file, store)
        except BaseException:  # left open, the descriptor keeps every engine from the file
            file.close()
            raise
        file.close()  # deleted or replaced meanwhile: its lock excludes no engine


def _database_locked(path: str, store: str) -> tuple[int, tuple[int, int]]:
    """Lock the database file. A file that this process serves is not opened: closing it would drop locks."""
    try:
        # Closing any descriptor of a file drops all `fcntl` locks that this process has on it, SQLite's included.
        if os.path.exists(path) and _identity(os.stat(path)) in _held:  # noqa: PTH110, PTH116 - a path as text
            raise StoreLocked(store, _BY_ANOTHER_NAME)
        # With the final mode from the first moment: a user who opens it before a chmod keeps access.
        file = open_private(path, os.O_RDWR)
    except OSError as error:
        raise StoreUnavailable(f"open {store}", f"{error}; it must be readable and writable") from error
    try:
        # The lock on the database itself stops a second engine that reaches the file by another name, such as a hard
        # link.
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
        # After the lock is held: a process that was refused must not overwrite the name of the owner.
        file.seek(0)
        lock.was_closed = file.read().endswith(_CLOSED)
        file.truncate(0)
        if lock.was_closed:
            os.fsync(file.fileno())  # else a power cut could bring the note back after this engine
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    except OSError as error:
        lock.release()
        reason = f"its lock file cannot be written: {error}; free space, or make it writable"
        raise StoreUnavailable(f"open {store}", reason) from error
    return lock


@contextmanager
def locked_like_a_reader(database: int) -> Generator[None]:
    """Keep every SQLite connection from being a database's last one, as a reader does.

    SQLite moves the log into the file when the last connection is closed, which it knows by an exclusive lock on these
    bytes. The lock belongs to the descriptor and not to the process, so it stops this process's connections too.
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
        # An OFD lock, not a process lock: SQLite's connection in this process must see it as a lock of someone else.
        request = struct.pack("hhqqi4x", kind, os.SEEK_SET, _SHARED_FIRST, _SHARED_SIZE, 0)
        fcntl.fcntl(database, fcntl.F_OFD_SETLK, request)


POLL_MS = 200
"""Pause between two attempts to lock, in milliseconds."""


async def stand_by(
    path: str, *, store: str, database: str, runtime: Runtime, if_missing: IfMissing = "create"
) -> FileLock:
    """Wait until a lock is free, and take it. Cancelling the wait takes nothing.

    An owner that hangs keeps its lock: it is not taken over.

    Args:
        path: the lock file.
        store: the store's name in the log.
        database: the database file.
        runtime: waits, and logs the present owner.
        if_missing: whether the database file may be created.

    Raises:
        StoreMissing: the database file is missing or empty, and must not be created.
        StoreUnavailable: the lock file cannot be created or opened.
    """
    owner, since_ms = "", runtime.monotonic_ms()
    while True:
        try:
            lock = acquire(path, store=store, database=database, if_missing=if_missing)
        except StoreLocked as held:
            if held.owner != owner:
                owner = held.owner
                runtime.log(LogRecord("info", "waiting for store lock", {"store": store, "owner": owner}))
            await runtime.sleep(POLL_MS)
            continue
        if owner:
            waited_ms = round(runtime.monotonic_ms() - since_ms)
            runtime.log(
                LogRecord("info", "acquired store lock", {"store": store, "from": owner, "waited_ms": waited_ms})
            )
        return lock

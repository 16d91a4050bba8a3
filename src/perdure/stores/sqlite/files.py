"""A store's files: private modes, the owner's socket beside them, the lock of their owner, and forked children.

One engine owns a file: an advisory lock beside it, which names the owner, and one on the file itself. An engine that
stands by takes over when the owner ends, for any reason. It tries the lock five times a second, which costs at most 0.1
% CPU time on a core and delays the takeover by at most 200 ms. A blocking request would need a thread that cannot be
cancelled. A missing file is not locked where the previous file's data was lost.

A lock that a child shares outlives its parent. The child must not even close a connection: SQLite's locks were not
inherited, and its mutexes in an arbitrary state (https://sqlite.org/howtocorrupt.html#_carrying_an_open_database_connection_across_a_fork_).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import socket
import stat
import struct
import sys
import tempfile
import weakref
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final, Protocol

from perdure.runtime.record import LogRecord, Runtime
from perdure.stores.sqlite.schema import log_of, size_of
from perdure.stores.values import IfMissing
from perdure.values.errors import StoreLocked, StoreMissing, StoreUnavailable

# Not readable by a group: states may hold personal data, and a reader can lock the file so that no engine starts.
PRIVATE: Final = 0o600
"""The mode for a new file, whatever the umask. SQLite creates log and index with the database file's mode."""

# The lock file too: a user who can open it can lock it, and then no engine starts.
_BESIDE: Final = ("", ".lock", "-wal", "-shm")


def open_private(path: str | os.PathLike[str], flags: int) -> int:
    """Open a file, and create it with its final mode if it does not exist. An existing file keeps its mode.

    Args:
        path: the file.
        flags: flags for `os.open`, without ``O_CREAT``. With ``O_EXCL`` the file must not exist.

    Returns:
        A descriptor that child processes do not inherit.

    Raises:
        OSError: the system refused.
    """
    while True:
        try:
            # The mode is an argument of the creation: a later chmod would leave a moment in which others open the file.
            descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE)
        except FileExistsError:
            if flags & os.O_EXCL:
                raise
        else:
            os.fchmod(descriptor, stat.S_IMODE(os.fstat(descriptor).st_mode) | PRIVATE)  # a umask may take the owner's
            return descriptor
        try:
            return os.open(path, flags | os.O_CLOEXEC)
        except FileNotFoundError:  # deleted meanwhile, or a link to a missing file
            if os.path.islink(path):  # noqa: PTH114 - a path as text
                return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, PRIVATE)


def exposed_files(path: str | os.PathLike[str]) -> dict[str, int]:
    """Return a store's files that every user on the machine can read or write, with their modes.

    A group is not judged: an operator chose the mode then, because new files have none for a group.

    Args:
        path: the database file. Its lock file and its log are examined too, as far as they exist.
    """
    found: dict[str, int] = {}
    for suffix in _BESIDE:
        file = Path(f"{os.fspath(path)}{suffix}")
        try:
            mode = stat.S_IMODE(file.stat().st_mode)
        except OSError:
            continue
        if mode & stat.S_IRWXO & ~stat.S_IXOTH:
            found[file.name] = mode
    return found


MAX_SOCKET_PATH_BYTES: Final = 103
"""The longest socket path that every system accepts: Linux takes 107 bytes, macOS 103."""

_MAX_NAME_BYTES: Final = 80
_DESCRIPTORS: Final = "/proc/self/fd"


def owner_socket(file: str | os.PathLike[str]) -> str:
    """Return the path to a file owner's socket: ``jobs.db.sock`` beside ``jobs.db``, links resolved.

    If that name is longer than 80 bytes, it is ``perdure-<hash of the name>.sock``.

    Args:
        file: the database file's path, which need not exist.
    """
    folder, name = os.path.split(os.path.realpath(file))
    own = f"{name}.sock"
    if len(os.fsencode(own)) > _MAX_NAME_BYTES:
        own = f"perdure-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}.sock"
    return str(Path(folder) / own)


@contextmanager
def short_path(path: str) -> Generator[str]:
    """Yield a path to the same socket that is short enough to bind or to connect to, valid within the block.

    A socket in a deep folder is reached through a descriptor for the folder in ``/proc``, or else through a link in a
    private folder for temporary files.

    Args:
        path: the socket's path. Its last part has at most 80 bytes.

    Raises:
        OSError: its folder does not exist or cannot be searched.
    """
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES:
        yield path
    elif Path(_DESCRIPTORS).is_dir():
        with _through_descriptor(path) as short:
            yield short
    else:
        with _through_link(path) as short:
            yield short


@contextmanager
def _through_descriptor(path: str) -> Generator[str]:
    folder, name = os.path.split(path)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"{_DESCRIPTORS}/{descriptor}/{name}"
    finally:
        os.close(descriptor)


@contextmanager
def _through_link(path: str) -> Generator[str]:
    folder, name = os.path.split(path)
    with tempfile.TemporaryDirectory(prefix="perdure-") as private:
        link = Path(private) / "d"
        link.symlink_to(folder, target_is_directory=True)
        yield str(link / name)


def sync_path(path: Path) -> None:
    """Write a file, or the names in a folder, to stable storage."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class ForkAware(Protocol):
    """A resource that belongs to one process."""

    def leave(self) -> None:
        """Abandon the resource in a forked child: the parent keeps it."""
        ...


_open: weakref.WeakSet[ForkAware] = weakref.WeakSet()


def guard_fork(thing: ForkAware) -> None:
    """Call ``leave`` in every child that is forked from now on."""
    _open.add(thing)


def _leave_to_parent() -> None:
    for thing in tuple(_open):
        thing.leave()
    _open.clear()


os.register_at_fork(after_in_child=_leave_to_parent)


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
        signed = lock.read_text(encoding="utf-8", errors="replace").strip()
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

    Args:
        lock_file: the open file.
        path: its path.
    """
    lock_file.seek(0)
    signed = lock_file.read().decode(errors="replace").strip()
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
        path: the lock file.
        database: the database file's descriptor.
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
        file.truncate(0)
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

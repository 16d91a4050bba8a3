"""One engine owns a file: an advisory lock beside it, held for life and named after its owner."""

from __future__ import annotations

import fcntl
import os
import socket
from typing import IO

from perdure.stores.sqlite.fork_guard import guard_fork
from perdure.values.errors import StoreLocked, StoreUnavailable


class FileLock:
    """A lock that the kernel drops when the process ends, however it ends.

    The lock is a file of its own: SQLite opens and closes the database file itself, and would drop a lock on it.
    """

    def __init__(self, path: str, file: IO[bytes]) -> None:
        self.path = path
        self._file = file
        guard_fork(self)

    def fileno(self) -> int:
        """Give the descriptor that holds the lock."""
        return self._file.fileno()

    def release(self) -> None:
        """Give the lock back. The file stays: deleting it could let two engines lock two files of one name."""
        if not self._file.closed:
            fcntl.flock(self._file, fcntl.LOCK_UN)  # at once, even if a forked child still shares it
            self._file.close()

    def leave(self) -> None:
        """Close a child's share: else it would keep the file locked when its parent died."""
        self._file.close()


def acquire(path: str, *, store: str) -> FileLock:
    """Lock a file without waiting, and write into it who holds it.

    Args:
        path: the lock file; it is made if it is not there.
        store: what the error calls the store.

    Raises:
        StoreLocked: somebody holds it.
        StoreUnavailable: it cannot be made or opened.
    """
    while True:
        file = _opened(path, store)
        try:
            _lock(file, store)
            if _is_at(file, path):
                _sign(file, store)
                return FileLock(path, file)
        except BaseException:
            file.close()
            raise
        file.close()  # it was deleted, or replaced, between the two steps: its lock keeps nobody out


def _opened(path: str, store: str) -> IO[bytes]:
    try:
        return open(path, "a+b", buffering=0)  # noqa: PTH123 - held open until `release`
    except OSError as error:
        raise StoreUnavailable(f"open {store}", f"{error}; its folder must exist and be writable") from error


def _lock(file: IO[bytes], store: str) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        raise StoreLocked(store, file.read().decode(errors="replace").strip() or "another process") from error
    except OSError as error:
        reason = f"its lock file cannot be locked: {error}; use a file on a local disk"
        raise StoreUnavailable(f"open {store}", reason) from error


def _is_at(file: IO[bytes], path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))  # noqa: PTH116 - beside the other one
    except FileNotFoundError:
        return False


def _sign(file: IO[bytes], store: str) -> None:
    try:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    except OSError as error:
        reason = f"its lock file cannot be written: {error}; make room, or make it writable"
        raise StoreUnavailable(f"open {store}", reason) from error

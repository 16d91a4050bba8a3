"""A store's files: private modes, the owner's socket beside them, and their protection from forked children.

A lock that a child shares outlives its parent. The child must not even close a connection: SQLite's locks were not
inherited, and its mutexes in an arbitrary state (https://sqlite.org/howtocorrupt.html#_carrying_an_open_database_connection_across_a_fork_).
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import weakref
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

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
        # Without O_CREAT: a file that was deleted meanwhile is created above, with its mode.
        try:
            return os.open(path, flags | os.O_CLOEXEC)
        except FileNotFoundError:  # deleted meanwhile, or a link to a missing file
            # A link to a missing file: O_EXCL refuses it for ever, so this loop would not end.
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
    # The limit of a socket's path counts bytes.
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
    # A copy: `leave` may drop the last reference to another entry.
    for thing in tuple(_open):
        thing.leave()
    _open.clear()


os.register_at_fork(after_in_child=_leave_to_parent)

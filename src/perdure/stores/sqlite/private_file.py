"""Files that only their owner can open: a store and its commands create them so, and report others.

Permission to read is enough to harm a store: to read every state, and to lock the file or its lock file with `flock`,
which keeps the engine from starting.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

PRIVATE: Final = 0o600
"""The mode of a new file, whatever the umask. SQLite creates a log and an index of it with the mode of their file."""

_BESIDE: Final = ("", ".lock", "-wal", "-shm")


def open_private(path: str | os.PathLike[str], flags: int) -> int:
    """Open a file, and create it with its final mode if it does not exist. An existing file keeps its mode.

    Args:
        path: the file.
        flags: those of `os.open`, without ``O_CREAT``; with ``O_EXCL`` the file must not exist.

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
    """Return the files of a store that every user of the machine can read or write, with their modes.

    A group is not judged: an operator chose the mode then, because new files have none for a group.

    Args:
        path: the database file; its lock file and its log are examined too, as far as they exist.
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

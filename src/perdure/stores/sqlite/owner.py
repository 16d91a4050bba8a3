"""Finds the process that owns a file, or holds its lock file, without touching the lock."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import IO, Final

_LOCKS: Final = Path("/proc/locks")
_SIGNED: Final = re.compile(r"process (\d+) on ")


def owner_of(path: str | os.PathLike[str]) -> str | None:
    """Return the process that owns a store, as its lock file names it.

    It reads the kernel's table of locks: a lock taken as a probe, however briefly, could refuse an engine that starts
    at that moment.

    Args:
        path: the file of the store, whether or not it exists.

    Returns:
        Such as ``process 41 on host``; None if no process of this machine owns the store, or the system has no such
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
    too, and leaves the name of the last engine in it.

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
    if not holders or (named is not None and named[1] in holders):
        return signed or "another process"
    last = f"the last engine was {signed}" if signed else "it names no engine"
    return f"process {' and process '.join(holders)}, which locked {path} and did not sign it ({last})"


def _holders(inode: int, table: str, device: str = r"\S+") -> list[str]:
    """Return the ids of the processes that hold a lock on a file, from the kernel's table."""
    return [found[1] for found in re.finditer(rf"FLOCK +ADVISORY +(?:WRITE|READ) (\d+) {device}:{inode} ", table)]

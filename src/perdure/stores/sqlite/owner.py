"""Finds the process that owns a file, without touching its lock."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Final

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
    if named is None:
        return None
    held = re.search(rf"FLOCK +ADVISORY +WRITE {named[1]} \S+:{inode} ", table)
    return None if held is None else signed

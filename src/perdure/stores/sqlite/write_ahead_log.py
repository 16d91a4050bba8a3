"""The write-ahead log beside a file: where it is, how large it is and may be, and how it begins anew."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Final, Literal

CHECKPOINT_PAGES: Final = 1_000
"""Pages in the log, 4 MiB, from which on the engine moves them into the file. It bounds what a commit waits for."""

LOG_LIMIT_BYTES: Final = 64 * 1024 * 1024
"""A log that was larger is cut to this when it is begun anew. It is larger only where a reader holds it up."""

_HEADER_BYTES: Final = 32
_FRAME_BYTES: Final = 24  # before each page


def begin_anew(connection: sqlite3.Connection | sqlite3.Cursor) -> Literal["done", "held up"]:
    """Move the log into the file, sync that, and begin an empty log; or as much of it as whoever reads the file allows.

    Raises:
        sqlite3.Error: SQLite or the disk could not do it.
    """
    (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return "held up" if busy else "done"


def is_longer_than(log: str, pages: int) -> bool:
    """Whether a log holds so many pages or more. SQLite uses a log again from its beginning, so its size does not say.

    Each page in it carries the salts of the log's header, as it was when the page was written:
    https://sqlite.org/walformat.html. SQLite takes no lock on this file that closing it here could drop.

    Raises:
        OSError: it cannot be read.
    """
    descriptor = os.open(log, os.O_RDONLY)
    try:
        header = os.pread(descriptor, _HEADER_BYTES, 0)
        page_bytes = int.from_bytes(header[8:12])
        frame = os.pread(descriptor, _FRAME_BYTES, _HEADER_BYTES + (pages - 1) * (_FRAME_BYTES + page_bytes))
    finally:
        os.close(descriptor)
    return len(frame) == _FRAME_BYTES and frame[8:16] == header[16:24]


def log_of(path: Path) -> Path:
    """Give the log of a file."""
    return path.with_name(f"{path.name}-wal")


def size_of(path: Path) -> int:
    """Give the size of a file, 0 if there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def complaint_about(log: Path) -> str:
    """Say that a log is held up, if it is; else nothing."""
    size_bytes = size_of(log)
    if size_bytes <= LOG_LIMIT_BYTES:
        return ""
    return (
        f"its write-ahead log has {size_bytes:,} bytes, expected up to {LOG_LIMIT_BYTES:,}: somebody reads the file in "
        "one long transaction, so that the log cannot be moved into it; find who does, and end it"
    )

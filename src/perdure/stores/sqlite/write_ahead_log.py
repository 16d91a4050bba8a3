"""The write-ahead log of a file: its path, its size and limit, and its truncation."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Final, Literal

CHECKPOINT_PAGES: Final = 1_000
"""Length of the log, 4 MiB, from which on the engine checkpoints it. It limits how long a commit waits."""

LOG_LIMIT_BYTES: Final = 64 * 1024 * 1024
"""A larger log is cut to this size when it restarts. It is larger only while a reader blocks checkpoints."""

_HEADER_BYTES: Final = 32
_FRAME_BYTES: Final = 24  # before each page


def truncate_log(connection: sqlite3.Connection | sqlite3.Cursor) -> Literal["done", "blocked"]:
    """Checkpoint the log, sync the file, and truncate the log, as far as other readers allow.

    Raises:
        sqlite3.Error: SQLite or the disk failed.
    """
    (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return "blocked" if busy else "done"


def is_longer_than(log: str, pages: int) -> bool:
    """Whether a log holds at least this many pages. SQLite reuses a log from its beginning, so its size does not tell.

    Each page in it has the salts of the log's header at the time of its write: https://sqlite.org/walformat.html.
    SQLite takes no lock on this file that closing it here could drop.

    Raises:
        OSError: the log cannot be read.
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
    """Return the path of a file's log."""
    return path.with_name(f"{path.name}-wal")


def size_of(path: Path) -> int:
    """Return the size of a file in bytes, 0 if it does not exist."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def complaint_about(log: Path) -> str:
    """Return why a log is larger than its limit; else an empty text."""
    size_bytes = size_of(log)
    if size_bytes <= LOG_LIMIT_BYTES:
        return ""
    return (
        f"its write-ahead log has {size_bytes:,} bytes, expected up to {LOG_LIMIT_BYTES:,}: a reader in one long "
        "transaction keeps it from being checkpointed; find the process that reads the file, and end it"
    )

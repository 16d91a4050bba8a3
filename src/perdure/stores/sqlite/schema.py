"""The file format: application id, table version, connection settings, and the write-ahead log.

A file that no engine has migrated yet can be read from outside: columns that it lacks are NULL.
"""

from __future__ import annotations

import os
import re
import sqlite3
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal, Self

from perdure.values.errors import StoreCorrupt, StoreTooNew, StoreUnavailable

CHECKPOINT_PAGES: Final = 1_000
"""The log length, 4 MiB, from which on the engine checkpoints it. It limits how long a commit waits."""

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

    Each page in it has the salts that the log's header had when it was written: https://sqlite.org/walformat.html.
    SQLite takes no lock on this file that closing it here could drop.

    Raises:
        OSError: the log cannot be read.
    """
    descriptor = os.open(log, os.O_RDONLY)
    try:
        header = os.pread(descriptor, _HEADER_BYTES, 0)
        page_bytes = int.from_bytes(header[8:12])
        # Read the frame, not the size: after a checkpoint SQLite reuses the log from its beginning, and the file stays
        # long.
        frame = os.pread(descriptor, _FRAME_BYTES, _HEADER_BYTES + (pages - 1) * (_FRAME_BYTES + page_bytes))
    finally:
        os.close(descriptor)
    return len(frame) == _FRAME_BYTES and frame[8:16] == header[16:24]


def log_of(path: Path) -> Path:
    """Return the path to a file's log."""
    return path.with_name(f"{path.name}-wal")


def size_of(path: Path) -> int:
    """Return a file's size in bytes, 0 if it does not exist."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def complaint_about(log: Path) -> str:
    """Return why a log is larger than its limit. Else an empty text."""
    size_bytes = size_of(log)
    if size_bytes <= LOG_LIMIT_BYTES:
        return ""
    return (
        f"its write-ahead log has {size_bytes:,} bytes, expected up to {LOG_LIMIT_BYTES:,}: a reader in one long "
        "transaction keeps it from being checkpointed; find the process that reads the file, and end it"
    )


APPLICATION_ID = 0x70657264  # "perd"; it identifies the file, also for `file(1)`

Synchronous = Literal["FULL", "NORMAL"]

_PRAGMAS = (
    "wal_autocheckpoint = 0",  # the engine makes its own checkpoints, to know of each
    f"journal_size_limit = {LOG_LIMIT_BYTES}",
    # Negative: in KiB, whatever the size of a page.
    "cache_size = -65536",
    "temp_store = MEMORY",
    # A stray write of a C extension could reach a mapped file, and mapping gained nothing in measurements.
    "mmap_size = 0",
)


@cache
def migrations() -> tuple[str, ...]:
    """Return the scripts that lead from an empty file to the present tables. The first creates version 1."""
    folder = files("perdure.stores.sqlite") / "migrations"
    scripts = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    return tuple(script.read_text(encoding="utf-8") for script in scripts)


def prepare(cursor: sqlite3.Cursor, *, store: str, synchronous: Synchronous) -> None:
    """Migrate a file to the present version and configure the connection.

    Nothing is written to a file that is not a store, or newer than this code.

    Args:
        cursor: a cursor on the connection.
        store: the store's name in errors.
        synchronous: when commits reach the disk.

    Raises:
        StoreCorrupt: the file is not a perdure store.
        StoreTooNew: a newer version of the library wrote it.
        StoreUnavailable: the file cannot have a write-ahead log.
        sqlite3.Error: SQLite failed.
    """
    scripts = migrations()
    found = version_of(cursor, store=store)
    # Before the first PRAGMA that writes: an older library must leave a newer file as it is.
    if found > len(scripts):
        raise StoreTooNew(store, found, len(scripts))
    _set(cursor, store=store, synchronous=synchronous)
    for version in range(found + 1, len(scripts) + 1):
        _migrate(cursor, scripts[version - 1], version)


def version_of(cursor: sqlite3.Cursor, *, store: str) -> int:
    """Return the version of a file's tables, 0 for an empty file.

    Args:
        cursor: a cursor on the connection.
        store: the store's name in errors.

    Raises:
        StoreCorrupt: the file is not a perdure store.
        sqlite3.OperationalError: SQLite cannot read it now.
    """
    try:
        application_id = _number(cursor, "PRAGMA application_id")
        version = _number(cursor, "PRAGMA user_version")
        tables = _number(cursor, "SELECT count(*) FROM sqlite_schema")
    # A busy or unreadable file is not damaged: reported as corrupt, an operator would restore a backup over it.
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        raise StoreCorrupt(store, f"{error}; choose another path, or restore the file from a backup") from error
    is_empty = application_id == 0 and version == 0 and tables == 0
    if application_id != APPLICATION_ID and not is_empty:
        reason = f"it is the database of another application (application_id {application_id}); choose another path"
        raise StoreCorrupt(store, reason)
    return version


def _set(cursor: sqlite3.Cursor, *, store: str, synchronous: Synchronous) -> None:
    (mode,) = cursor.execute("PRAGMA journal_mode = WAL").fetchone()
    # SQLite returns the mode that it could set. Without a write-ahead log, each reader would block commits.
    if mode != "wal":
        reason = f"it has journal_mode {mode!r} and cannot have 'wal'; use a file on a local disk"
        raise StoreUnavailable(f"open {store}", reason)
    cursor.execute(f"PRAGMA synchronous = {synchronous}")
    for pragma in _PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}").fetchall()


def _migrate(cursor: sqlite3.Cursor, script: str, version: int) -> None:
    # One transaction for tables and version. `executescript` commits an open one first, hence the text.
    marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version};"
    try:
        cursor.executescript(f"BEGIN IMMEDIATE;\n{script}\n{marks}\nCOMMIT;")
    except sqlite3.Error:
        if cursor.connection.in_transaction:
            cursor.execute("ROLLBACK")
        raise


def _number(cursor: sqlite3.Cursor, sql: str) -> int:
    (value,) = cursor.execute(sql).fetchone()
    return int(value)


ADDED: Final[dict[int, tuple[str, ...]]] = {
    5: ("alarm_trace", "trace"),
    8: ("journal_length",),
    9: ("lane", "rank_ms", "ended_ms"),
    10: ("ordinal", "failures"),
    11: ("left_by", "left_mark", "suspended_ms"),
}
"""The columns that each migration adds to a table. Statements use none of these names for anything else."""


FIRST_WITH_HISTORIES: Final = 14
"""The migration that adds the table of kept events."""


@cache
def cursor_of(schema_version: int) -> type[sqlite3.Cursor]:
    """Return the cursor class that runs the present statements on tables with an older version.

    Args:
        schema_version: the migration that the tables are at.
    """
    missing = [name for version, names in ADDED.items() if version > schema_version for name in names]
    if schema_version >= FIRST_WITH_HISTORIES:
        return sqlite3.Cursor
    column = re.compile(rf"\b({'|'.join(missing)})\b") if missing else None

    class OlderTables(sqlite3.Cursor):
        """Replaces the missing columns' names, and the table of kept events."""

        def execute(self, sql: str, parameters: Any = (), /) -> Self:
            # No rows, with the columns of the log, which the kept events share.
            text = sql.replace("FROM kept_events", "FROM (SELECT * FROM events WHERE 0)")
            return super().execute(text if column is None else column.sub("NULL", text), parameters)

    return OlderTables

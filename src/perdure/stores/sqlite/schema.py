"""The file format: application id, version of the tables, and connection settings."""

from __future__ import annotations

import sqlite3
from functools import cache
from importlib.resources import files
from typing import Literal

from perdure.stores.sqlite.write_ahead_log import LOG_LIMIT_BYTES
from perdure.values.errors import StoreCorrupt, StoreTooNew, StoreUnavailable

APPLICATION_ID = 0x70657264  # "perd"; it identifies the file, also for `file(1)`

Synchronous = Literal["FULL", "NORMAL"]

_PRAGMAS = (
    "wal_autocheckpoint = 0",  # the engine makes its own checkpoints, to know of each
    f"journal_size_limit = {LOG_LIMIT_BYTES}",
    "cache_size = -65536",
    "temp_store = MEMORY",
    "mmap_size = 0",
)


@cache
def migrations() -> tuple[str, ...]:
    """Return the scripts that lead from an empty file to the present tables; the first creates version 1."""
    folder = files("perdure.stores.sqlite") / "migrations"
    scripts = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    return tuple(script.read_text(encoding="utf-8") for script in scripts)


def prepare(cursor: sqlite3.Cursor, *, store: str, synchronous: Synchronous) -> None:
    """Migrate a file to the present version and configure the connection.

    Nothing is written to a file that is not a store, or newer than this code.

    Args:
        cursor: a cursor of the connection.
        store: the store's name in errors.
        synchronous: when commits reach the disk.

    Raises:
        StoreCorrupt: the file is not a store of this library.
        StoreTooNew: a newer version of the library wrote it.
        StoreUnavailable: the file cannot have a write-ahead log.
        sqlite3.Error: SQLite failed.
    """
    scripts = migrations()
    found = version_of(cursor, store=store)
    if found > len(scripts):
        raise StoreTooNew(store, found, len(scripts))
    _set(cursor, store=store, synchronous=synchronous)
    for version in range(found + 1, len(scripts) + 1):
        _migrate(cursor, scripts[version - 1], version)


def version_of(cursor: sqlite3.Cursor, *, store: str) -> int:
    """Return the version of a file's tables, 0 for an empty file.

    Args:
        cursor: a cursor of the connection.
        store: the store's name in errors.

    Raises:
        StoreCorrupt: the file is not a store of this library.
        sqlite3.OperationalError: SQLite cannot read it now.
    """
    try:
        application_id = _number(cursor, "PRAGMA application_id")
        version = _number(cursor, "PRAGMA user_version")
        tables = _number(cursor, "SELECT count(*) FROM sqlite_schema")
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

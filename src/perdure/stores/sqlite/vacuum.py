"""Rebuilds a file to reclaim the space of deleted rows, while no engine owns it."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import attrs

from perdure.stores.sqlite.lock import acquire
from perdure.stores.sqlite.reader import read_from_outside
from perdure.stores.sqlite.write_ahead_log import log_of, size_of, truncate_log
from perdure.values.errors import StoreUnavailable

_OPERATION = "vacuum"
_TEMPORARY = ("/var/tmp", "/usr/tmp", "/tmp")  # noqa: S108 - where SQLite looks, in its order

FreeBytes = Callable[[Path], int]
"""Returns the free space on the disk of a folder, in bytes."""


@attrs.frozen(kw_only=True)
class Vacuumed:
    """The result of a vacuum.

    Attributes:
        before_bytes: size before, with the log.
        after_bytes: size afterwards, with the log.
        reader: whether a reader keeps the file from shrinking until it closes the file.
    """

    before_bytes: int
    after_bytes: int
    reader: bool


def free_on_disk(folder: Path) -> int:
    """Return the free space on a folder's disk, in bytes."""
    return shutil.disk_usage(folder).free


def vacuum(path: str | os.PathLike[str], *, free_bytes: FreeBytes = free_on_disk) -> Vacuumed:
    """Take the lock and rebuild the file. SQLite does it in one transaction: a crash leaves the file unchanged.

    Args:
        path: the file. It must exist.
        free_bytes: returns the free space on the disk of a folder.

    Raises:
        StoreLocked: an engine owns it.
        StoreUnavailable: there is no such file, or too little space.
        StoreTooNew: a newer version of the library wrote it.
        StoreCorrupt: it is not a store of this library.
    """
    with read_from_outside(path) as reader:
        place, store = reader.path, reader.store
    lock = acquire(f"{place}.lock", store=store, database=str(place))
    try:
        with closing(sqlite3.connect(place, isolation_level=None, timeout=1.0)) as connection:
            return _vacuumed(connection, place, free_bytes)
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{_OPERATION} {store}", str(error)) from error
    finally:
        lock.release()


def _vacuumed(connection: sqlite3.Connection, path: Path, free_bytes: FreeBytes) -> Vacuumed:
    before = _size(path)
    truncate_log(connection)  # a crash may have left commits in the log
    _refuse_without_room(connection, path, free_bytes)
    connection.execute("VACUUM")
    begun = truncate_log(connection)
    return Vacuumed(before_bytes=before, after_bytes=_size(path), reader=begun == "blocked")


def _refuse_without_room(connection: sqlite3.Connection, path: Path, free_bytes: FreeBytes) -> None:
    """Check the space for the new file, which SQLite writes into its temporary folder and from there into the log."""
    (pages,), (free_pages,), (page_bytes,) = (
        connection.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "freelist_count", "page_size")
    )
    live_bytes = (pages - free_pages) * page_bytes
    needs = {path.parent: live_bytes}
    temporary = _temporary_folder()
    if temporary.stat().st_dev == path.stat().st_dev:
        needs[path.parent] += live_bytes
    else:
        needs[temporary] = live_bytes
    for folder, needed in needs.items():
        free = free_bytes(folder)
        if free < needed:
            reason = f"it needs {needed:,} bytes in {folder}, and {free:,} are free; free space there first"
            raise StoreUnavailable(_OPERATION, reason)


def _temporary_folder() -> Path:
    named = (os.environ.get("SQLITE_TMPDIR"), os.environ.get("TMPDIR"), *_TEMPORARY)
    return next((Path(name) for name in named if name and os.access(name, os.W_OK | os.X_OK)), Path())


def _size(path: Path) -> int:
    return size_of(path) + size_of(log_of(path))

"""Refuse to create an empty store where the data of another one was lost."""

from __future__ import annotations

from pathlib import Path

from perdure.stores.sqlite.write_ahead_log import log_of, size_of
from perdure.stores.store import IfMissing
from perdure.values.errors import StoreMissing

LOST_LOG = "-wal.lost-"
"""Between the name of a file and the epoch, in the name of the write-ahead log that a lost file left behind."""

COPYING = ".copying"
"""At the end of the name of a file that a copy writes, until it is complete."""


def check_missing(path: str, *, store: str, if_missing: IfMissing) -> None:
    """Check that a file has content, or that an empty store may be created in its place.

    A write-ahead log that survived its file holds commits of the engine that wrote it. SQLite deletes such a log when
    it opens an empty file.

    Args:
        path: the database file.
        store: the store's name in errors.
        if_missing: ``create``: unless a write-ahead log survived, or a copy into it is unfinished. ``refuse``: never.

    Raises:
        StoreMissing: the file is missing or empty, and must not be created.
    """
    file = Path(path)
    try:
        is_empty = not size_of(file)
    except OSError:  # opening the file reports why
        return
    if not is_empty:
        return
    left = ", ".join(_logs_left(file))
    if left:
        reason = (
            f"the file is missing or empty, and its engine left {left}; put the file back, or move {left} away and "
            "restore a backup or create an empty store"
        )
        raise StoreMissing(store, reason)
    partial = file.with_name(file.name + COPYING)
    if partial.exists():
        reason = f"{partial.name} is an unfinished copy into it; finish it with perdure copy, or delete it"
        raise StoreMissing(store, reason)
    if if_missing == "refuse":
        reason = "the file is missing or empty; check the path, or create a store with if_missing 'create'"
        raise StoreMissing(store, reason)


def _logs_left(file: Path) -> list[str]:
    log = log_of(file)
    try:
        lost = sorted(each.name for each in file.parent.iterdir() if each.name.startswith(f"{file.name}{LOST_LOG}"))
    except OSError:  # likewise
        lost = []
    return [log.name, *lost] if size_of(log) else lost

"""A backup from outside: of a file that nobody owns, or beside an owner that is not asked."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from perdure.stores.sqlite.reader import MAX_LOG_GROWTH_BYTES, read_from_outside
from perdure.stores.sqlite.temp_file import PartialFile
from perdure.stores.store import Backup, OnBackupProgress


def copy_from_outside(
    path: str | os.PathLike[str],
    target: str | os.PathLike[str],
    progress: OnBackupProgress,
    *,
    max_log_growth_bytes: int = MAX_LOG_GROWTH_BYTES,
) -> Backup:
    """Copy a store's file as it is at the moment of the call. It writes nothing to it and takes no lock.

    An owner goes on committing. Until the copy is done its checkpoints end at that moment, so its log grows by what it
    commits; it gets smaller again afterwards.

    Args:
        path: the store's file.
        target: the new file, which must not be there.
        progress: told after each step.
        max_log_growth_bytes: give up when the log grew by more.

    Raises:
        BackupFailed: the copy cannot be written; nothing is left of it.
        StoreError: the file cannot be read, or its log grew too much; nothing is left of the copy.
    """
    copy = PartialFile(Path(target).absolute())
    with read_from_outside(path) as reader:
        copy.begin(like=str(reader.path))
        try:
            connection = sqlite3.connect(copy.path, isolation_level=None)
            return copy.fill(
                connection, lambda: reader.copy(connection, progress, max_log_growth_bytes=max_log_growth_bytes)
            )
        finally:
            copy.discard()

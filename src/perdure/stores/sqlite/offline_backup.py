"""Backups from outside the engine: of a file without an owner, or beside its owner."""

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
    """Copy a store's file as it is at the moment of the call. It writes nothing to the file and takes no lock.

    An owner continues to commit. Until the copy is complete its checkpoints stop at that moment, so its write-ahead log
    grows; afterwards it shrinks again.

    Args:
        path: the store's file.
        target: the new file, which must not exist.
        progress: called after each step.
        max_log_growth_bytes: stop when the log has grown by more.

    Raises:
        BackupFailed: the copy cannot be written; no file is left.
        StoreError: the file cannot be read, or its log grew too much; no file is left.
    """
    copy = PartialFile(Path(target).absolute())
    with read_from_outside(path) as reader:
        copy.begin()
        try:
            connection = sqlite3.connect(copy.path, isolation_level=None)
            return copy.fill(
                connection, lambda: reader.copy(connection, progress, max_log_growth_bytes=max_log_growth_bytes)
            )
        finally:
            copy.discard()

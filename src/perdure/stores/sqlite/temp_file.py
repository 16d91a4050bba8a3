"""A backup while it is being written: it has another name until it is complete and on stable storage."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import attrs

from perdure.stores.sqlite.private_file import open_private
from perdure.stores.store import Backup
from perdure.values.errors import BackupFailed

SUFFIX = ".partial"

SETTINGS = ("journal_mode = OFF", "synchronous = OFF", "cache_size = -4096")
"""Settings of the connection that writes the copy: no process reads it before it is complete, and then it is synced."""


def sync_path(path: Path) -> None:
    """Write a file, or the names in a folder, to stable storage."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@attrs.frozen
class PartialFile:
    """A file that becomes a backup.

    Attributes:
        target: the absolute path of the backup.
        sync: writes a file, or the names in a folder, to stable storage.
    """

    target: Path
    sync: Callable[[Path], None] = sync_path

    @property
    def path(self) -> Path:
        """The path of the incomplete file."""
        return self.target.with_name(self.target.name + SUFFIX)

    def begin(self) -> None:
        """Create the file, empty, such that only its owner can open it.

        Raises:
            BackupFailed: it exists already, or cannot be created.
        """
        self._refuse_existing()
        try:
            os.close(open_private(self.path, os.O_EXCL | os.O_WRONLY))
        except FileExistsError as error:
            reason = f"{self.path} exists: another backup is running, or one was killed; if none is running, delete it"
            raise self.failed(reason) from error
        except OSError as error:
            raise self.failed(f"{error}; its folder must exist and be writable") from error

    def fill(self, target: sqlite3.Connection, copy_pages: Callable[[], None]) -> Backup:
        """Copy a database into the file, and rename it to its target.

        Args:
            target: an open connection to the file, which is closed.
            copy_pages: copies all pages over that connection.

        Raises:
            BackupFailed: SQLite or the disk failed.
        """
        try:
            with closing(target):
                for setting in SETTINGS:
                    target.execute(f"PRAGMA {setting}")
                copy_pages()
            return self._publish()
        except (sqlite3.Error, OSError) as error:
            raise self.failed(str(error)) from error

    def discard(self) -> None:
        """Delete the incomplete file."""
        self.path.unlink(missing_ok=True)

    def failed(self, reason: str) -> BackupFailed:
        """Return the error for this backup."""
        return BackupFailed(str(self.target), reason)

    def _publish(self) -> Backup:
        self.sync(self.path)
        self._refuse_existing()
        self.path.rename(self.target)
        self.sync(self.target.parent)
        return Backup(str(self.target), self.target.stat().st_size)

    def _refuse_existing(self) -> None:
        if os.path.lexists(self.target):
            raise self.failed("a file of that name exists; choose another name, or move it away")

"""A look at a store's file from outside, beside its owner: read-only, in short reads, without the lock."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import attrs

from perdure.stores.sqlite.rows import Row
from perdure.stores.sqlite.schema import APPLICATION_ID, migrations, version_of
from perdure.stores.sqlite.write_ahead_log import log_of, size_of
from perdure.stores.store import BackupProgress, OnBackupProgress
from perdure.values.errors import StoreCorrupt, StoreTooNew, StoreUnavailable

BUSY_TIMEOUT_S = 5.0
"""How long a read waits while somebody recovers the log of a crashed owner."""

MAX_LOG_GROWTH_BYTES: Final = 256 * 1024 * 1024
"""How much the log may grow while one moment is held; a checkpoint of so much takes about a second afterwards."""

MAX_FINDINGS: Final = 100
"""Findings of SQLite about one file; after so many it looks no further."""

_STEP_PAGES: Final = 1_024
_STEP_INSTRUCTIONS: Final = 100_000  # of SQLite's machine, between two looks at the log: a few milliseconds


@attrs.frozen
class Reader:
    """Reads a file that another process may own and write.

    Each read is a transaction of its own and sees one moment. It is over when `rows` returns, so that the owner's
    checkpoints are never held up for longer than one page takes: ask for pages. `copy` and `findings` hold one moment
    for as long as they take. The owner goes on, and its log grows meanwhile; when that is too much, they give up.

    Attributes:
        path: the file.
        store: what errors call it.
        schema_version: which migration its tables are at.
    """

    path: Path
    store: str
    schema_version: int
    _connection: sqlite3.Connection = attrs.field(alias="connection", repr=False)

    def rows(self, sql: str, values: Row = ()) -> list[Row]:
        """Run one reading statement.

        Args:
            sql: a SELECT, or a PRAGMA that reads. Give it a LIMIT.
            values: what its parameters stand for.

        Raises:
            StoreCorrupt: SQLite cannot read the file.
            StoreUnavailable: it did not do it now, or it was asked to write.
        """
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.OperationalError as error:
            raise StoreUnavailable(f"read {self.store}", str(error)) from error
        except sqlite3.DatabaseError as error:
            raise StoreCorrupt(self.store, str(error)) from error

    def copy(
        self,
        target: sqlite3.Connection,
        progress: OnBackupProgress,
        *,
        max_log_growth_bytes: int = MAX_LOG_GROWTH_BYTES,
    ) -> None:
        """Copy all pages, as they are at one moment, into an empty database.

        Args:
            target: a connection to it.
            progress: told after each step of 4 MiB.
            max_log_growth_bytes: how much the owner's log may grow meanwhile.

        Raises:
            StoreUnavailable: it grew by more.
            sqlite3.Error: SQLite could not do it.
        """
        suspension = _Hold(self.log, max_log_growth_bytes)
        ((page_bytes,),) = self.rows("PRAGMA page_size")

        def between(_: int, pages_left: int, pages: int) -> None:
            suspension.check()
            progress(BackupProgress((pages - pages_left) * page_bytes, pages * page_bytes))

        self._connection.execute("BEGIN")
        try:
            self._connection.execute("SELECT epoch FROM counters").fetchall()  # the moment: SQLite begins lazily
            self._connection.backup(target, pages=_STEP_PAGES, progress=between, sleep=0)
        finally:
            self._connection.execute("ROLLBACK")

    def findings(self, *, max_log_growth_bytes: int = MAX_LOG_GROWTH_BYTES) -> list[str]:
        """Let SQLite look at every page and every index entry, and give what it finds wrong, at most 100 things.

        Args:
            max_log_growth_bytes: how much the owner's log may grow meanwhile.

        Raises:
            StoreUnavailable: it grew by more, or SQLite could not look.
            StoreCorrupt: the file is damaged so much that SQLite cannot look.
        """
        suspension = _Hold(self.log, max_log_growth_bytes)
        self._connection.set_progress_handler(lambda: int(suspension.is_too_long), _STEP_INSTRUCTIONS)
        try:
            found = [text for (text,) in self.rows(f"PRAGMA integrity_check({MAX_FINDINGS})")]
        except StoreUnavailable:
            suspension.check()
            raise
        finally:
            self._connection.set_progress_handler(None, 0)
        return [] if found == ["ok"] else found

    @property
    def log(self) -> Path:
        """The write-ahead log of the file."""
        return log_of(self.path)


@attrs.define
class _Hold:
    """How long one moment may be held, measured by what it costs the owner: the growth of the log."""

    log: Path
    max_growth_bytes: int
    began_bytes: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.began_bytes = size_of(self.log)

    @property
    def is_too_long(self) -> bool:
        return size_of(self.log) - self.began_bytes > self.max_growth_bytes

    def check(self) -> None:
        if self.is_too_long:
            reason = (
                f"its log grew by more than {self.max_growth_bytes:,} bytes meanwhile, because a reader holds it up; "
                "allow more, do it when less is written, or use a backup that the engine makes itself (jobs.backup)"
            )
            raise StoreUnavailable("hold one moment of the file", reason)


@contextmanager
def read_from_outside(path: str | os.PathLike[str]) -> Generator[Reader]:
    """Open a file to look at it, whether an engine runs on it or not.

    No lock is taken, nothing is written to the file or its log, and nothing is ever checkpointed: the connection is
    read-only, so SQLite could not. ``<path>-wal`` and ``<path>-shm`` come to lie beside a file that nobody owns.

    Args:
        path: the file. It must exist.

    Raises:
        StoreUnavailable: there is no such file, or it cannot be read.
        StoreTooNew: a newer version of the library wrote it.
        StoreCorrupt: it is not a store of this library.
    """
    store = f"sqlite:///{os.fspath(path)}"
    with closing(_connected(Path(path), store)) as connection:
        yield Reader(Path(os.path.realpath(path)), store, _checked(connection, store), connection)


def _connected(path: Path, store: str) -> sqlite3.Connection:
    if not path.is_file():
        raise StoreUnavailable(f"read {store}", "there is no such file")
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_S)
    except sqlite3.Error as error:
        raise StoreUnavailable(f"read {store}", f"{error}; it must be readable, and its folder writable") from error
    connection.execute("PRAGMA query_only = ON")
    return connection


def _checked(connection: sqlite3.Connection, store: str) -> int:
    try:
        found = version_of(connection.cursor(), store=store)
    except sqlite3.OperationalError as error:
        raise StoreUnavailable(f"read {store}", f"{error}; it must be readable, and its folder writable") from error
    if found > len(migrations()):
        raise StoreTooNew(store, found, len(migrations()))
    if found == 0:
        reason = f"it is empty: a store has the application_id {APPLICATION_ID:#x} and tables; check the path"
        raise StoreCorrupt(store, reason)
    return found

"""Reads a store's file from outside the engine, beside its owner: read-only, in short reads, without the lock."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Awaitable, Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, TypeVar

import attrs

from perdure.runtime.record import DEFAULT_SIZES
from perdure.stores.rows import CorruptRows, Row
from perdure.stores.sqlite.schema import APPLICATION_ID, cursor_of, log_of, migrations, size_of, version_of
from perdure.stores.values import BackupProgress, OnBackupProgress
from perdure.values.errors import StoreCorrupt, StoreTooNew, StoreUnavailable

T = TypeVar("T")

_VALUE: Final = re.compile(r"\$(\d)")

BUSY_TIMEOUT_S = 5.0
"""How long a read waits while another process recovers the log of a crashed owner."""

MAX_LOG_GROWTH_BYTES: Final = 256 * 1024 * 1024
"""How much the log may grow during a long read. The checkpoint afterwards takes about a second."""

MAX_FINDINGS: Final = 100
"""How many findings from SQLite are kept for one file."""

_STEP_PAGES: Final = 1_024
_INTERRUPTED: Final = "interrupted"
"""What SQLite reports for a progress handler that raised: the driver does not pass on the exception."""
_STEP_INSTRUCTIONS: Final = 100_000  # of SQLite's machine, a few milliseconds, between two checks of the log


@attrs.frozen
class Reader:
    """Reads a file that another process may own and write.

    Each read is its own transaction and sees one moment. It ends when `rows` returns, so read in pages to delay
    the owner's checkpoints for only one page. `copy` and `findings` hold one moment until they are done. The owner
    continues, and its log grows meanwhile. If it grows too much, they stop.

    Attributes:
        store: the store's name in errors.
        schema_version: the migration that its tables are at.
        damage: the rows that were left out of lists.
        page: rows that `perdure.stores.at_rest` reads together.
    """

    path: Path
    store: str
    schema_version: int
    _connection: sqlite3.Connection = attrs.field(alias="connection", repr=False)
    damage: CorruptRows = attrs.field(factory=CorruptRows)
    page: int = DEFAULT_SIZES.rows_at_rest

    def rows(self, sql: str, *values: object) -> list[Row]:
        """Run one statement that reads.

        Args:
            sql: a SELECT, or a PRAGMA that reads. Add a LIMIT. As in a statement for PostgreSQL, ``perdure.`` may
                precede a table's name, and ``$1`` may stand for a value.
            values: its parameters' values.

        Raises:
            StoreCorrupt: SQLite cannot read the file.
            StoreUnavailable: SQLite cannot read it now, or the statement writes.
        """
        own = _VALUE.sub(r"?\1", sql.replace("perdure.", ""))
        return self.read(lambda cursor: cursor.execute(own, values).fetchall())

    def read(self, statements: Callable[[sqlite3.Cursor], T]) -> T:
        """Run a function from `perdure.stores.sqlite.queries`, and return its result.

        Args:
            statements: executes statements that read. Each is its own transaction.

        Raises:
            StoreCorrupt: SQLite cannot read the file, or a row cannot be decoded.
            StoreUnavailable: SQLite cannot read it now, or a statement writes.
        """
        try:
            return statements(self._connection.cursor(cursor_of(self.schema_version)))
        except sqlite3.OperationalError as error:
            if "decode to UTF-8" in str(error):  # the driver's only report of a text that is damaged
                raise StoreCorrupt(self.store, str(error)) from error
            raise StoreUnavailable(f"read {self.store}", str(error)) from error
        except sqlite3.DatabaseError as error:
            raise StoreCorrupt(self.store, str(error)) from error

    def wait(self, answer: Awaitable[T]) -> T:
        """Return the answer from an operation on the file, which needs no event loop."""
        try:
            # The file's operations never wait, so the first step ends with the answer.
            next(answer.__await__())
        except StopIteration as end:
            result: T = end.value
            return result
        raise TypeError(answer)

    def pages(self, sql: str, after: Row, values: Row = (), *, page: int) -> Generator[list[Row]]:
        """Yield pages with rows until a page is not full.

        Args:
            sql: a SELECT for the rows after a key, ordered by that key, which its first columns are. Limited to a page.
            after: the key before the first.
            values: further parameters.
            page: how many rows a page has.

        Raises:
            StoreCorrupt: SQLite cannot read the file, or its rows are out of order, so that the pages would not end.
            StoreUnavailable: SQLite cannot read now.
        """
        while rows := self.rows(sql, *after, *values):
            yield rows
            if len(rows) < page:
                return
            before, after = after, rows[-1][: len(after)]
            # A damaged index can return a key twice: without this check a reader of pages would never end.
            if any(type(one) is not type(other) for one, other in zip(before, after, strict=True)) or after <= before:
                raise StoreCorrupt(self.store, "its rows are not in the order of their keys")

    @contextmanager
    def moment(self, *, max_log_growth_bytes: int = MAX_LOG_GROWTH_BYTES) -> Generator[Callable[[], None]]:
        """Let all reads in the block see one moment. The owner cannot checkpoint meanwhile.

        Args:
            max_log_growth_bytes: how much the owner's log may grow meanwhile.

        Yields:
            A function to call after each page: it raises `StoreUnavailable` if the log grew by more.
        """
        self._connection.execute("BEGIN")
        try:
            self.rows("SELECT epoch FROM counters")  # fixes the moment: SQLite begins lazily
            yield _Hold(self.log, max_log_growth_bytes).check
        finally:
            self._connection.execute("ROLLBACK")

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
            progress: called after each 4 MiB step.
            max_log_growth_bytes: how much the owner's log may grow meanwhile.

        Raises:
            StoreUnavailable: it grew by more.
            sqlite3.Error: SQLite failed.
        """
        suspension = _Hold(self.log, max_log_growth_bytes)
        ((page_bytes,),) = self.rows("PRAGMA page_size")

        def between(_: int, pages_left: int, pages: int) -> None:
            suspension.check()
            progress(BackupProgress((pages - pages_left) * page_bytes, pages * page_bytes))

        # One transaction for all steps: without it each commit of the owner would restart the copy.
        self._connection.execute("BEGIN")
        try:
            self._connection.execute("SELECT epoch FROM counters").fetchall()  # fixes the moment: SQLite begins lazily
            self._connection.backup(target, pages=_STEP_PAGES, progress=between, sleep=0)
        finally:
            self._connection.execute("ROLLBACK")

    def findings(self, *, max_log_growth_bytes: int = MAX_LOG_GROWTH_BYTES) -> list[str]:
        """Let SQLite check every page and every index entry, and return its findings, at most 100 lines.

        Args:
            max_log_growth_bytes: how much the owner's log may grow meanwhile.

        Raises:
            StoreUnavailable: it grew by more, or SQLite could not check.
            StoreCorrupt: the file is too damaged for SQLite to check.
            KeyboardInterrupt: a user interrupted the process.
        """
        suspension = _Hold(self.log, max_log_growth_bytes)
        # A check reads every page in one transaction, and the owner cannot checkpoint meanwhile: stop before its disk
        # is full.
        self._connection.set_progress_handler(lambda: int(suspension.is_too_long), _STEP_INSTRUCTIONS)
        try:
            found = [text for (text,) in self.rows(f"PRAGMA integrity_check({MAX_FINDINGS})")]
        except StoreUnavailable as error:
            # First: the handler may have interrupted because of the log's growth, which is no user's interrupt.
            suspension.check()
            if error.reason == _INTERRUPTED:
                raise KeyboardInterrupt from error
            raise
        finally:
            self._connection.set_progress_handler(None, 0)
        return [] if found == ["ok"] else found

    @property
    def log(self) -> Path:
        """The file's write-ahead log."""
        return log_of(self.path)


@attrs.define
class _Hold:
    """Limits how long one moment is held, by its cost to the owner: the log's growth."""

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
                f"its write-ahead log grew by more than {self.max_growth_bytes:,} bytes meanwhile, because this read "
                "blocks checkpoints; allow more, retry under less load, or let the engine make the backup (jobs.backup)"
            )
            raise StoreUnavailable("hold one moment of the file", reason)


@contextmanager
def read_from_outside(path: str | os.PathLike[str]) -> Generator[Reader]:
    """Open a file to read it, whether or not an engine runs on it.

    It takes no lock, writes nothing to the file or its log, and never checkpoints: the connection is read-only.
    If no engine has the file open, SQLite creates ``<path>-wal`` and ``<path>-shm`` next to it.

    Args:
        path: the file. It must exist.

    Raises:
        StoreUnavailable: there is no such file, or it cannot be read.
        StoreTooNew: a newer version of the library wrote it.
        StoreCorrupt: the file is not a perdure store.
    """
    store = f"sqlite:///{os.fspath(path)}"
    with closing(_connected(Path(path), store)) as connection:
        yield Reader(Path(os.path.realpath(path)), store, _checked(connection, store), connection)


def _connected(path: Path, store: str) -> sqlite3.Connection:
    if not path.is_file():
        raise StoreUnavailable(f"read {store}", "there is no such file")
    try:
        # Read-only, so that it cannot checkpoint: SQLite before 3.51.3 can corrupt a file when one connection resets
        # the log while another one checkpoints.
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

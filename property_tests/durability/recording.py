"""The store of the library over a real SQLite whose every write, sync and deletion is written down.

The driver is `apsw` instead of `sqlite3`: it lets Python run between SQLite and its files. All else is the library's:
its statements, its transactions and groups, its pragmas. It runs in the caller's own thread, so that the same load
produces the same log.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, TypeVar

import apsw
import attrs
from disk import Entry, Named, NamesSynced, Read, Synced, Truncated, Wrote

from perdure.runtime.record import Runtime
from perdure.stores.contract import Store
from perdure.stores.sqlite.database import File, open_database
from perdure.stores.sqlite.database import Read as StoreRead
from perdure.stores.sqlite.lock import acquire
from perdure.stores.sqlite.opening import _SYNCHRONOUS, store_over
from perdure.stores.sqlite.ownership import Disk
from perdure.stores.sqlite.schema import CHECKPOINT_PAGES
from perdure.stores.sqlite.thread import Work

T = TypeVar("T")

Chosen = Literal["full", "relaxed"]

_SYNCS_ITS_DIRECTORY = (
    apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL | apsw.SQLITE_OPEN_WAL
)  # on their first sync: `UNIXFILE_DIRSYNC` in SQLite's os_unix.c


class _RecordedFile(apsw.VFSFile):
    """A file whose changes go into the log, and then to the file."""

    def __init__(self, recorder: Recorder, file: int, name: Any, flags: list[int]) -> None:
        self._recorder = recorder
        self._file = file
        self._directory: Literal["synced", "unsynced"] = "unsynced" if flags[0] & _SYNCS_ITS_DIRECTORY else "synced"
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name, here and below
        self._recorder.before(wrote := Wrote(self._file, offset, bytes(data)))
        self._recorder.note(wrote)
        super().xWrite(data, offset)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        self._recorder.before(Read())
        return super().xRead(amount, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        self._recorder.before(truncated := Truncated(self._file, newsize))
        self._recorder.note(truncated)
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._recorder.before(synced := Synced(self._file))
        self._recorder.note(synced)  # and no more: where this disk is cut, the log alone decides durability
        if self._directory == "unsynced":
            self._recorder.note(NamesSynced())
            self._directory = "synced"


class Recorder(apsw.VFS):
    """SQLite's way to its files, with a log.

    Attributes:
        name: what SQLite knows it by.
        log: the operations on files, in order.
        statements: the statements for SQLite, in order.
        hops: thread round trips to the driver.
        connection: the connection that was opened.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.log: list[Entry] = []
        self.statements: list[str] = []
        self.hops = 0
        self.connection: apsw.Connection | None = None
        self._files: dict[str, int] = {}
        self._last = 0
        super().__init__(name, "")

    def note(self, entry: Entry) -> None:
        """Record the next operation."""
        self.log.append(entry)

    def number(self, name: str) -> int | None:
        """Return the number that a file has in the log; None when there is no such file."""
        return self._files.get(name)

    def before(self, entry: Entry | Read) -> None:
        """Be called before each access to a file. The disk answers with the error that is raised here."""

    def read(self, descriptor: int, size: int, offset: int) -> bytes:
        """Read a file past SQLite."""
        try:
            self.before(Read())
        except apsw.Error as error:
            raise OSError(errno.EIO, str(error)) from error
        return os.pread(descriptor, size, offset)

    def xOpen(self, name: Any, flags: list[int]) -> _RecordedFile:  # noqa: N802
        path = Path(name.filename() if isinstance(name, apsw.URIFilename) else name)
        if path.name not in self._files:
            self._last += 1
            self._files[path.name] = self._last
            self.note(Named(path.name, self._last))
            self._note_existing_files(path)
        return _RecordedFile(self, self._files[path.name], name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: FBT001, N802
        super().xDelete(filename, syncdir)
        name = Path(filename).name
        if self._files.pop(name, None) is not None:
            self.note(Named(name, None))
        if syncdir:
            self.note(NamesSynced())

    def _note_existing_files(self, path: Path) -> None:
        """A file that was there before is safe as it is."""
        if path.exists():
            self.note(Wrote(self._last, 0, path.read_bytes()))
            self.note(Synced(self._last))
            self.note(NamesSynced())


@contextmanager
def _errors_of_the_driver() -> Iterator[None]:
    """Raise the error that `sqlite3` raises. SQLite calls it corruption when the system answers EIO to a read."""
    try:
        yield
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise sqlite3.DatabaseError(str(error)) from error
    except apsw.IOError as error:
        if getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_CORRUPTFS:
            raise sqlite3.DatabaseError("database disk image is malformed") from error
        raise sqlite3.OperationalError(str(error)) from error
    except apsw.Error as error:
        raise sqlite3.OperationalError(str(error)) from error


@attrs.frozen
class Changed:
    """The number of rows that several executions of a statement changed."""

    rowcount: int


class _Cursor:
    """The methods that the store uses of a cursor of `sqlite3`, over one of `apsw`."""

    def __init__(self, connection: apsw.Connection, statements: list[str]) -> None:
        self.connection = connection
        self._statements = statements
        self._cursor = connection.cursor()

    def execute(self, sql: str, parameters: Any = ()) -> _Cursor:
        self._statements.append(sql)
        with _errors_of_the_driver():
            try:
                self._cursor.execute(sql, parameters)
            except apsw.Error:
                if sql != "ROLLBACK" or self.connection.in_transaction:
                    raise  # else SQLite answers OK, and drops its cache
        return self

    def executemany(self, sql: str, rows: Sequence[Any]) -> Changed:
        """Execute a statement for each row, as SQLite does."""
        return Changed(sum(self.execute(sql, values).rowcount for values in rows))

    def executescript(self, sql: str) -> None:
        self.execute(sql)

    def fetchone(self) -> Any:
        with _errors_of_the_driver():
            return self._cursor.fetchone()

    def fetchall(self) -> list[Any]:
        with _errors_of_the_driver():
            return self._cursor.fetchall()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.fetchall())

    @property
    def rowcount(self) -> int:
        return self.connection.changes()


@attrs.define
class _RecordedThread:
    """Replaces the driver's thread, without a thread."""

    recorder: Recorder
    connection: apsw.Connection
    cursor: Any

    async def run(self, work: Work[T]) -> T:
        self.recorder.hops += 1
        return work(self.cursor)

    async def close(self) -> None:
        self.stop()

    def stop(self) -> None:
        with suppress(apsw.Error):  # of the checkpoint that SQLite makes then: the connection is closed all the same
            self.connection.close()


async def open_recorded(
    path: Path,
    recorder: Recorder,
    *,
    durability: Chosen = "full",
    checkpoint_pages: int = CHECKPOINT_PAGES,
    pragmas: tuple[str, ...] = (),
    cache_bytes: int = 1 << 20,
    runtime: Runtime,
) -> Store:
    """Open a file as the store does, with everything that is done to it in the recorder's log.

    Args:
        path: the file.
        recorder: what notes it.
        durability: as the user chooses it.
        checkpoint_pages: the length of the log from which on it is moved into the file.
        pragmas: the settings that differ from those of the library.
        cache_bytes: maximum size of the cache of recent instances.
        runtime: in which world.
    """

    async def connect(path: str) -> Any:
        try:
            connection = recorder.connection = apsw.Connection(path, vfs=recorder.name)
        except apsw.Error as error:
            raise sqlite3.OperationalError(str(error)) from error
        return _RecordedThread(recorder, connection, _Cursor(connection, recorder.statements))

    place = os.path.abspath(path)  # noqa: ASYNC240, PTH100 - of a test, in its own thread
    lock = acquire(f"{place}.lock", store="recorded", database=place)
    file = File(
        path=place,
        lock=lock.path,
        store="recorded",
        synchronous=_SYNCHRONOUS[durability],
        checkpoint_pages=checkpoint_pages,
        descriptor=lock.database,
        disk=Disk(connect=connect, read=recorder.read),
    )
    database = await open_database(file)
    for pragma in pragmas:
        await database.read(
            [StoreRead("set it otherwise", lambda cursor, pragma=pragma: cursor.execute(f"PRAGMA {pragma}"))]
        )
    return store_over(database, lock, durability=durability, cache_bytes=cache_bytes, runtime=runtime)

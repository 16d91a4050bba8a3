"""A SQLite file as a copy's source or target.

A target has another name until it is complete: ``jobs.db.copying``.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import attrs
import orjson

from perdure.stores.copying import (
    COLUMNS,
    PAGE_ROWS,
    RENUMBERED,
    CopiedCursor,
    CopyPage,
    CopyPosition,
    CopySource,
    CopyTarget,
    Numbers,
    Row,
    Table,
    claim_owner,
)
from perdure.stores.sqlite.files import sync_path
from perdure.stores.sqlite.lock import COPYING, FileLock, acquire
from perdure.stores.sqlite.reader import read_from_outside
from perdure.stores.sqlite.schema import migrations, prepare, version_of
from perdure.values.errors import CopyFailed, StoreCorrupt, StoreUnavailable

_NUMBERS: Final = """
SELECT epoch, incarnation, message_id, sequence, coalesce((SELECT min(sequence) FROM events) - 1, sequence)
FROM counters
"""
_CURSORS: Final = """
SELECT name, sequence, (SELECT count(*) FROM events WHERE events.sequence > cursors.sequence) FROM cursors ORDER BY name
"""
_NEWEST: Final = "SELECT (SELECT max(sequence) FROM kept_events), (SELECT max(sequence) FROM events)"
_MARK: Final = "CREATE TABLE IF NOT EXISTS copying (source TEXT, moment TEXT, numbers TEXT, position TEXT)"
_WRITTEN: Final = "UPDATE copying SET position = ?"
# Never backwards: a number that the source has assigned would be assigned again, and its fences would match.
_COUNTERS: Final = """
UPDATE counters SET epoch = max(epoch, ?), incarnation = max(incarnation, ?), message_id = max(message_id, ?),
  sequence = ?
"""


async def open_source(path: str) -> CopySource:
    """Lock a file, and read it.

    Raises:
        StoreLocked: an engine owns it.
        StoreUnavailable: there is no such file, or its tables are older than this library.
        StoreTooNew: a newer version of the library wrote it.
        StoreCorrupt: the file is not a perdure store.
    """
    with read_from_outside(path) as reader:
        place, store, version = reader.path, reader.store, reader.schema_version
    if version < len(migrations()):
        reason = (
            f"its tables have the version {version}, and a copy needs {len(migrations())}; start an engine on it once"
        )
        raise StoreUnavailable(f"copy {store}", reason)
    # The owner's lock, for the whole copy: an engine that starts meanwhile would change rows that are already copied.
    lock = acquire(f"{place}.lock", store=store, database=str(place))
    try:
        # Not read-only: the log that a crash left is read with the file, and moved into it at the end.
        return _Tables(place, sqlite3.connect(place, isolation_level=None), lock).source
    except BaseException:  # an interrupt must not leave the file locked
        lock.release()
        raise


async def open_target(path: str) -> CopyTarget:
    """Create a file, or continue an unfinished one.

    Raises:
        CopyFailed: a file with that name exists.
        StoreLocked: another process writes it.
        StoreUnavailable: it cannot be created.
    """
    # Keeps a second copy from this file. An engine is kept out by the file's name: see `check_missing`.
    place, partial = _free_places(path)
    store = f"sqlite:///{place}"
    lock = acquire(f"{partial}.lock", store=store, database=str(partial))
    try:
        connection = sqlite3.connect(partial, isolation_level=None)
        return _Target(place, _Tables(partial, connection, lock)).target
    except BaseException:  # as above
        lock.release()
        raise


def _free_places(path: str) -> tuple[Path, Path]:
    """Return a target's path, and the one that it has until it is complete.

    Raises:
        CopyFailed: a file with that name exists.
    """
    place = Path(os.path.realpath(path))
    partial = place.with_name(place.name + COPYING)
    if place.exists() and partial.exists() and place.samefile(partial):
        partial.unlink()  # complete: only its second name was left
    if os.path.lexists(place):
        reason = "a file of that name exists; choose another name, or move it away with its -wal and -shm"
        raise CopyFailed(f"sqlite:///{place}", reason)
    return place, partial


@attrs.define
class _Tables:
    """The tables in a file that this process has locked."""

    path: Path
    connection: sqlite3.Connection
    lock: FileLock

    @property
    def source(self) -> CopySource:
        """The file as a source."""
        return CopySource(
            name=f"sqlite:///{self.path}", numbers=self.numbers, sizes=self.sizes, pages=self.pages, close=self.close
        )

    async def numbers(self) -> Numbers:
        """Read the numbers."""
        with _errors(f"read {self.path}"):
            rows = self.connection.execute(_NUMBERS).fetchall()
            if len(rows) != 1:
                raise StoreCorrupt(
                    f"sqlite:///{self.path}", f"expected one row of counters, got {len(rows)}; run verify"
                )
            epoch, incarnation, message_id, sequence, pruned_to = rows[0]
            cursors = tuple(
                CopiedCursor(name=name, sequence=at, deleted=max(0, pruned_to - at), remaining=remaining)
                for name, at, remaining in self.connection.execute(_CURSORS)
            )
        return Numbers(
            epoch=epoch,
            incarnation=incarnation,
            message_id=message_id,
            sequence=sequence,
            pruned_to=pruned_to,
            events="dense",
            cursors=cursors,
        )

    async def sizes(self) -> Mapping[Table, int]:
        """Count the rows."""
        with _errors(f"read {self.path}"):
            return {
                table: self.connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - constants
                for table in COLUMNS
            }

    async def pages(self, table: Table, after: Row, /) -> AsyncGenerator[Sequence[Row]]:
        """Read a table's rows."""
        columns = COLUMNS[table]
        key = ", ".join(columns.names[: columns.key])
        marks = ", ".join("?" * columns.key)
        while True:
            where = f"WHERE ({key}) > ({marks})" if after else ""
            sql = f"SELECT {', '.join(columns.names)} FROM {table} {where} ORDER BY {key} LIMIT {PAGE_ROWS}"  # noqa: S608 - constants
            page, full = CopyPage(), False
            with _errors(f"read {self.path}"), closing(self.connection.execute(sql, after)) as cursor:
                full = any(map(page.add, cursor))
            rows = page.rows
            if not rows:
                return
            # A damaged index can return a key twice: the copy would then never end.
            if after and rows[0][: columns.key] <= after:
                raise StoreCorrupt(f"sqlite:///{self.path}", "its rows are not in the order of their keys; run verify")
            yield rows
            if not full:
                return
            after = rows[-1][: columns.key]

    async def close(self) -> None:
        """Close the file, and release the lock."""
        self.connection.close()
        self.lock.release()


@attrs.define
class _Target:
    """A file that is written under another name."""

    place: Path
    tables: _Tables
    events_first: int | None = None
    """The least number of the first event in the log, if the events get new numbers."""

    @property
    def target(self) -> CopyTarget:
        """The file as a target."""
        return CopyTarget(
            name=f"sqlite:///{self.place}",
            begin=self.begin,
            write=self.write,
            finish=self.finish,
            written=self.tables.source,
            close=self.tables.close,
        )

    async def begin(self, source: str, numbers: Numbers, /) -> CopyPosition | None:
        """Create the tables, or continue."""
        connection = self.tables.connection
        with self._errors():
            version = version_of(connection.cursor(), store=str(self.tables.path))
            if version not in (0, len(migrations())):
                # Its rows have the columns of that version. Migrated, they would be beside rows that are copied now.
                reason = f"{self.tables.path} is an unfinished copy by an older version; delete it to begin again"
                raise CopyFailed(f"sqlite:///{self.place}", reason)
            if version:
                connection.execute(_MARK)  # a kill after `prepare` left none
            marks = connection.execute("SELECT source, moment, position FROM copying").fetchall() if version else []
            prepare(connection.cursor(), store=str(self.tables.path), synchronous="NORMAL")
            # `prepare` turns SQLite's own checkpoints off, because an engine makes them. Here no engine does.
            connection.execute("PRAGMA wal_autocheckpoint = 4000")
            if numbers.events == "sparse":
                # Behind the events that each sink has lost: its position must not become negative.
                self.events_first = 1 + max((cursor.deleted for cursor in numbers.cursors), default=0)
            if marks:
                return self._begun(marks[0], source, numbers)
            with _transaction(connection):
                connection.execute(_MARK)
                connection.execute("INSERT INTO copying VALUES (?, ?, NULL, NULL)", (source, numbers.moment))
        return None

    def _begun(self, mark: Row, source: str, numbers: Numbers) -> CopyPosition | None:
        if mark[:2] != (source, numbers.moment):
            reason = f"{self.tables.path} is an unfinished copy of {mark[0]} at {mark[1]}; delete it to begin again"
            raise CopyFailed(f"sqlite:///{self.place}", reason)
        if mark[2] is None:
            return None
        table, *key = orjson.loads(mark[2])
        return CopyPosition(table, tuple(key))

    async def write(self, position: CopyPosition, rows: Sequence[Row], /) -> None:
        """Insert rows, with the position."""
        table, connection = position.table, self.tables.connection
        names = COLUMNS[table].names
        with self._errors():
            if table == "instances":
                names, rows = (*names, "owner"), [(*row, owner_of(row)) for row in rows]
            if table in RENUMBERED and self.events_first is not None:
                # Dense: this store computes with the numbers, and takes a gap for a loss.
                rows = [(sequence, *row[1:]) for sequence, row in enumerate(rows, self._newest(table) + 1)]
            marks = ", ".join("?" * len(names))
            with _transaction(connection):
                connection.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})", rows)  # noqa: S608 - constants
                # In the transaction of the rows: after a crash the copy continues exactly behind them.
                connection.execute(_WRITTEN, (orjson.dumps([table, *position.key]).decode(),))

    async def finish(self, numbers: Numbers, /) -> None:
        """Set the numbers, and give the file its name."""
        connection = self.tables.connection
        with self._errors():
            last = self._last_event(numbers)
            # Counted from the end: the events have new numbers, and the remaining ones are the same.
            cursors = [(each.name, last - each.remaining - each.deleted) for each in numbers.cursors]
            with _transaction(connection):
                connection.executemany("INSERT INTO cursors (name, sequence) VALUES (?, ?)", cursors)
                connection.execute(_COUNTERS, (numbers.epoch, numbers.incarnation, numbers.message_id, last))
                connection.execute("DROP TABLE copying")
            # Into the file: only the file gets the target's name.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.execute("PRAGMA optimize")
        self._publish()

    def _last_event(self, numbers: Numbers) -> int:
        return numbers.sequence if self.events_first is None else self._newest("events")

    def _newest(self, table: Table) -> int:
        """Return the newest number so far in a table whose events get new numbers. Kept events have the first ones."""
        kept, last = self.tables.connection.execute(_NEWEST).fetchone()
        if table == "kept_events" or last is not None:
            return int((kept if table == "kept_events" else last) or 0)
        return max(kept or 0, (self.events_first or 1) - 1)

    def _publish(self) -> None:
        self.tables.connection.close()
        partial = self.tables.path
        try:
            sync_path(partial)
            # `link`, not `rename`: a file that appeared under the target's name meanwhile must not be replaced.
            os.link(partial, self.place)  # fails if the name was taken meanwhile
            sync_path(self.place.parent)
            partial.unlink()
            Path(f"{partial}.lock").unlink(missing_ok=True)
            sync_path(self.place.parent)
        except OSError as error:
            raise CopyFailed(f"sqlite:///{self.place}", f"{error}; the copy is {partial}") from error

    @contextmanager
    def _errors(self) -> Generator[None]:
        with _errors(f"write {self.tables.path}"):
            yield


def owner_of(row: Row) -> int | None:
    """Return the owner that is indexed for an instance row: its claim's, or its event claim's."""
    at = COLUMNS["instances"].names.index("claim")
    return claim_owner(row[at]) if row[at] is not None else claim_owner(row[at + 1])


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Generator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:  # an open transaction would block each later one of this connection
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _errors(operation: str) -> Generator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreUnavailable(operation, str(error)) from error

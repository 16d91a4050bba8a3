"""A look at a store's file from outside, beside its owner: read-only, in short reads, without the lock."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

import attrs

from perdure.stores.sqlite.rows import Row
from perdure.stores.sqlite.schema import APPLICATION_ID, migrations, version_of
from perdure.values.errors import StoreCorrupt, StoreTooNew, StoreUnavailable

BUSY_TIMEOUT_S = 5.0
"""How long a read waits while somebody recovers the log of a crashed owner."""


@attrs.frozen
class Reader:
    """Reads a file that another process may own and write.

    Each read is a transaction of its own and sees one moment. It is over when `rows` returns, so that the owner's
    checkpoints are never held up for longer than one page takes: ask for pages.

    Attributes:
        store: what errors call the file.
        schema_version: which migration its tables are at.
    """

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
        yield Reader(store, _checked(connection, store), connection)


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

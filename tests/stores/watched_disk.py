"""A disk of the SQLite store that calls a test before and after each statement, over the real driver and files.

Tests reach the connection of an open store through it: they watch statements, let one fail, and run their own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, cast

import attrs

from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.stores.contract import Store
from perdure.stores.sqlite import DEFAULT_CACHE_BYTES
from perdure.stores.sqlite.opening import open_file
from perdure.stores.sqlite.ownership import Disk
from perdure.stores.sqlite.thread import DatabaseThread, Work, connect

T = TypeVar("T")

Moment: TypeAlias = Literal["before", "after"]
OnStatement: TypeAlias = Callable[[Moment, str], None]


def _pass(_moment: Moment, _sql: str) -> None:
    pass


@attrs.frozen
class Changed:
    """The number of rows that several executions of a statement changed."""

    rowcount: int


@attrs.frozen
class WatchedCursor:
    """A cursor of `sqlite3`; an exception of the callback replaces the answer of SQLite."""

    cursor: sqlite3.Cursor
    on_statement: OnStatement

    def execute(self, sql: str, values: Any = ()) -> WatchedCursor:
        try:
            self.on_statement("before", sql)
        except sqlite3.Error:
            if sql == "COMMIT":
                self.cursor.execute("ROLLBACK")  # as SQLite does when the disk refuses
            raise
        self.cursor.execute(sql, values)
        self.on_statement("after", sql)
        return self

    def executemany(self, sql: str, rows: Sequence[Any]) -> Changed:
        """Execute a statement for each row, as SQLite does."""
        return Changed(sum(self.execute(sql, values).rowcount for values in rows))

    def executescript(self, sql: str) -> None:
        self.cursor.executescript(sql)

    def fetchone(self) -> Any:
        return self.cursor.fetchone()

    def fetchall(self) -> list[Any]:
        return self.cursor.fetchall()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.cursor)

    @property
    def rowcount(self) -> int:
        return self.cursor.rowcount

    @property
    def connection(self) -> sqlite3.Connection:
        return self.cursor.connection


@attrs.frozen
class WatchedThread:
    """A thread of the driver."""

    thread: DatabaseThread
    on_statement: OnStatement

    async def run(self, work: Work[T]) -> T:
        return await self.thread.run(lambda cursor: work(cast("Any", WatchedCursor(cursor, self.on_statement))))

    async def close(self) -> None:
        await self.thread.close()

    def stop(self) -> None:
        self.thread.stop()


@attrs.define
class WatchedDisk:
    """Hands out watched connections, and keeps them.

    Attributes:
        on_statement: called before and after each statement, in the driver's thread.
        threads: the connections that were opened, the last one at the end.
    """

    on_statement: OnStatement = _pass
    threads: list[WatchedThread] = attrs.Factory(list[WatchedThread])

    @property
    def disk(self) -> Disk:
        """The record for the store."""
        return Disk(connect=cast("Any", self._connect))

    async def _connect(self, path: str) -> WatchedThread:
        self.threads.append(WatchedThread(await connect(path), self._called))
        return self.threads[-1]

    def _called(self, moment: Moment, sql: str) -> None:
        self.on_statement(moment, sql)  # which may have been replaced since the connection was opened

    async def open(self, path: Path | str, **options: Any) -> Store:
        """Open a store on this disk; the options are those of `open_file`."""
        everyday = {"durability": "full", "cache_bytes": DEFAULT_CACHE_BYTES, "on_locked": "raise"}
        return await open_file(path, **(everyday | options), runtime=asyncio_runtime(), disk=self.disk)

    def fail_next(self, statement: str) -> None:
        """Let SQLite refuse the next statement that begins like this."""

        def refuse(moment: Moment, sql: str) -> None:
            if moment == "before" and sql.startswith(statement):
                self.on_statement = _pass
                raise sqlite3.OperationalError("disk I/O error")

        self.on_statement = refuse

    def stop(self) -> None:
        """End the threads of all connections, without waiting for them."""
        for thread in self.threads:
            thread.stop()

    async def execute(self, sql: str) -> list[Any]:
        """Run a statement on the store's own connection."""
        return await self.threads[-1].thread.run(lambda cursor: cursor.execute(sql).fetchall())

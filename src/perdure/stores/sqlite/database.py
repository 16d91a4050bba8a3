"""The open file: its thread, its ledger, and how both are replaced when the connection can no longer be trusted."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, TypeVar

import attrs
from returns.result import Failure, Result, Success

from perdure.stores.sqlite import counters
from perdure.stores.sqlite.ledger import Ledger, Write, Written
from perdure.stores.sqlite.schema import Synchronous, prepare
from perdure.stores.sqlite.thread import DatabaseThread, Work, connect
from perdure.values.errors import StoreCorrupt, StoreError, StoreUnavailable

T = TypeVar("T")


@attrs.frozen
class Read:
    """A reading function, and what it does, for errors."""

    operation: str
    work: Work[Any]


@attrs.define(kw_only=True)
class Database:
    """One file, open. Only one `read` or `write` may be under way.

    Attributes:
        path: where the file is.
        store: what errors call it.
        synchronous: when commits reach the disk.
        epoch: how often the file has been opened.
    """

    path: str
    store: str
    synchronous: Synchronous
    epoch: int
    _thread: DatabaseThread = attrs.field(alias="thread")
    _ledger: Ledger = attrs.field(alias="ledger")

    async def read(self, reads: Sequence[Read]) -> list[Result[Any, StoreError]]:
        """Run reads in one hop; each is answered for itself."""
        await self._ensure_trusted()
        return await self._thread.run(lambda cursor: [_answer(cursor, read) for read in reads])

    async def write(self, group: Sequence[Write]) -> list[Written]:
        """Run writes in one transaction and one hop; each is answered for itself."""
        await self._ensure_trusted()
        ledger = self._ledger
        return await self._thread.run(lambda cursor: ledger.write(cursor, group))

    async def close(self) -> None:
        """Close the file and end its thread."""
        await self._thread.close()

    def abandon(self) -> None:
        """End the thread without waiting, after what it does now: for an event loop that is stopping."""
        self._thread.stop()

    async def _ensure_trusted(self) -> None:
        if self._ledger.is_trusted:
            return
        await self._thread.close()
        self._thread, self._ledger = await _connect(
            self.path, self.store, lambda cursor: _prepared(cursor, self.store, self.synchronous)
        )


async def open_database(path: str, *, store: str, synchronous: Synchronous) -> Database:
    """Open a file, create or migrate its tables, and count the opening.

    Raises:
        StoreError: why it cannot be opened.
    """
    thread, (ledger, epoch) = await _connect(
        path, store, lambda cursor: (_prepared(cursor, store, synchronous), counters.next_epoch(cursor))
    )
    return Database(path=path, store=store, synchronous=synchronous, epoch=epoch, thread=thread, ledger=ledger)


async def _connect(path: str, store: str, setting_up: Work[T]) -> tuple[DatabaseThread, T]:
    """Open a file and prepare it. Whatever goes wrong, no thread is left behind."""
    try:
        thread = await connect(path)
    except sqlite3.Error as error:
        raise StoreUnavailable(f"open {store}", str(error)) from error
    try:
        return thread, await thread.run(setting_up)
    except sqlite3.Error as error:
        await thread.close()
        raise StoreUnavailable(f"open {store}", str(error)) from error
    except BaseException:
        await thread.close()
        raise


def _prepared(cursor: sqlite3.Cursor, store: str, synchronous: Synchronous) -> Ledger:
    prepare(cursor, store=store, synchronous=synchronous)
    return Ledger(counters.read(cursor))


def _answer(cursor: sqlite3.Cursor, read: Read) -> Result[Any, StoreError]:
    try:
        return Success(read.work(cursor))
    except StoreCorrupt as error:
        return Failure(error)
    except sqlite3.OperationalError as error:
        return Failure(StoreUnavailable(read.operation, str(error)))
    except sqlite3.DatabaseError as error:
        return Failure(StoreCorrupt(f"what was read to {read.operation}", str(error)))
    except Exception as error:  # noqa: BLE001 - values that the driver cannot bind raise many kinds
        return Failure(StoreUnavailable(read.operation, f"{type(error).__name__}: {error}"))

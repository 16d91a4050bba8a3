"""Runs a function in the driver's thread in one thread round trip, and lends the connection to another thread.

`aiosqlite` sends each statement to its thread and back, which takes about 30 µs. Its `connect` passes ``factory=`` to
`sqlite3`, and its `execute_fetchall` calls ``execute(...).fetchall()`` inside the thread: so a connection whose
`execute` accepts a function runs that function there, with public means only.
"""

from __future__ import annotations

import ctypes
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import attrs

from perdure.stores.sqlite.files import guard_fork

if TYPE_CHECKING:
    import aiosqlite


class LoanRevoked(Exception):
    """The loan ended before the work did: the connection is being closed, or the work was revoked."""


@attrs.define
class ConnectionLoan:
    """Coordinates the steps of the working thread.

    Attributes:
        left: how many pages are left, and how many there are. None before the first step.
        is_over: whether the work has ended, for any reason.
    """

    left: tuple[int, int] | None = None
    is_over: bool = False
    _is_held: bool = False  # the worker waits for its next step
    _is_wanted: bool = True
    _door: threading.Lock = attrs.Factory(threading.Lock)
    _go: threading.Semaphore = attrs.Factory(lambda: threading.Semaphore(0))
    _back: threading.Semaphore = attrs.Factory(lambda: threading.Semaphore(0))

    # ------------------------------------------------------------ in the driver's thread
    def step(self) -> None:
        """Lend the connection for a step, and take it back. Does nothing before the work begins or after its end."""
        with self._door:
            self._step()

    def take(self) -> None:
        """End the work now, if it has not ended: it does not use the connection again."""
        with self._door:
            # Under the lock: a worker that begins at this moment would otherwise wait for a step that never comes.
            self._is_wanted = False
            self._step()
            self.is_over = True

    def _step(self) -> None:
        # Without a worker that waits, this thread would wait for ever for the connection's return.
        if self._is_held and not self.is_over:
            self._go.release()
            self._back.acquire()

    # ------------------------------------------------------------ in the working thread
    def work(self, work: Callable[[], None]) -> None:
        """Run work that calls `between` after each step.

        Raises:
            LoanRevoked: the loan ended first.
        """
        with self._door:
            if not self._is_wanted:
                raise LoanRevoked
            self._is_held = True
        try:
            self._wait()
            work()
        finally:
            self.is_over = True
            # Always, also after an error: the driver's thread waits for this, and all callers of the store wait for
            # that thread.
            self._back.release()

    def between(self, _: int, pages_left: int, pages: int) -> None:
        """Return the connection until the next step.

        Raises:
            LoanRevoked: there is no next step.
        """
        self.left = pages_left, pages
        self._back.release()
        self._wait()

    def _wait(self) -> None:
        self._go.acquire()
        if not self._is_wanted:
            raise LoanRevoked


T = TypeVar("T")

Work: TypeAlias = Callable[[sqlite3.Cursor], T]
"""A function that runs in the thread: statements on the store's one cursor."""

_WORK = "-- a function"


@attrs.frozen
class _Done:
    """Acts as a cursor whose rows are the work's result."""

    answer: object

    def fetchall(self) -> object:
        return self.answer


class WorkConnection(sqlite3.Connection):
    """A connection that runs functions as well as statements."""

    def __init__(self, *settings: Any, **options: Any) -> None:
        super().__init__(*settings, **options)
        self._cursor: sqlite3.Cursor | None = None
        self._handoffs: list[ConnectionLoan] = []
        guard_fork(self)

    def lend(self, loan: ConnectionLoan) -> None:
        """Lend this connection to another thread, in steps, at most until it is closed."""
        # Loans that are over are dropped: a store that makes many backups would keep them all.
        self._handoffs = [each for each in self._handoffs if not each.is_over]
        self._handoffs.append(loan)

    def close(self) -> None:
        """Close the connection after all handoffs have ended: otherwise SQLite would keep the file open."""
        for loan in self._handoffs:
            loan.take()
        cursor, self._cursor = self._cursor, None
        if (
            cursor is not None
        ):  # SQLite keeps a closed connection open, with its transaction, for a statement of a cursor
            cursor.close()
        super().close()

    def __del__(self) -> None:
        """Close a connection that no caller received, because its opening was cancelled."""
        with suppress(sqlite3.ProgrammingError):
            super().close()

    def leave(self) -> None:
        """Keep the connection from being closed in a forked child, even when the interpreter exits."""
        # SQLite's locks are not inherited, and a thread that the child lacks may hold its mutexes: even a close could
        # damage the file or hang. Only an object that is never freed is not closed at exit.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))

    def execute(self, sql: str, parameters: Any = (), /) -> Any:  # `sqlite3` types its own the same way
        """Run a statement, or, for the driver's thread, a function on the store's cursor."""
        # By identity: no text, whatever it contains, becomes a call of a function.
        if sql is not _WORK:
            return super().execute(sql, parameters)
        if self._cursor is None:
            self._cursor = self.cursor()
        return _Done(parameters(self._cursor))


class DatabaseThread:
    """The one connection to the file, in its own thread. Call `close`: the thread outlives the event loop."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def run(self, work: Work[T]) -> T:
        """Run a function on the connection, in one thread round trip.

        Raises:
            Exception: the function's exception.
        """
        given: Any = work  # where the driver's types expect a statement's parameters, and rows as the answer
        answer: Any = await self._connection.execute_fetchall(_WORK, given)
        result: T = answer
        return result

    async def close(self) -> None:
        """Close the connection and end the thread."""
        await self._connection.close()

    def stop(self) -> None:
        """Tell the thread to close the connection and end, without waiting for it."""
        self._connection.stop()  # pyright: ignore[reportUnknownMemberType] - an unparametrised future


async def connect(path: str) -> DatabaseThread:
    """Open a file in its own thread. Another thread may use the connection while this thread waits.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    import aiosqlite  # noqa: PLC0415 - an extra, which a file that is only read does not need

    # isolation_level=None: the driver's implicit transactions are deferred, and hold no write lock while the store
    # checks its ownership.
    connection = await aiosqlite.connect(
        path,
        isolation_level=None,
        timeout=5.0,
        cached_statements=256,
        factory=WorkConnection,
        # A backup uses the connection in its own thread, while this one waits.
        check_same_thread=False,
    )
    return DatabaseThread(connection)

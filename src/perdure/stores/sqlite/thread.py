"""Runs functions on a connection in a thread of its own, and lends the connection to another thread.

A function takes one thread round trip for all its statements, and its answer one step of the event loop.
"""

from __future__ import annotations

import asyncio
import ctypes
import sqlite3
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from typing import Any, Generic, TypeAlias, TypeVar

import attrs
from returns.result import Failure, Result, Success

from perdure.stores.sqlite.files import guard_fork


class LoanRevoked(Exception):
    """The loan ended before the work did: the connection is being closed, or the work was revoked."""


@attrs.define
class ConnectionLoan:
    """Coordinates the steps of the working thread.

    Attributes:
        left: number of pages left, and of all pages. None before the first step.
        is_over: whether the work has ended, for any reason.
    """

    left: tuple[int, int] | None = None
    is_over: bool = False
    _is_held: bool = False  # the worker waits for its next step
    _is_wanted: bool = True
    _door: threading.Lock = attrs.Factory(threading.Lock)
    _go: threading.Semaphore = attrs.Factory(lambda: threading.Semaphore(0))
    _back: threading.Semaphore = attrs.Factory(lambda: threading.Semaphore(0))

    # ------------------------------------------------------------ in the store's thread
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
        if self._is_held and not self.is_over:
            self._go.release()
            self._back.acquire()

    # ------------------------------------------------------------ in the working thread
    def work(self, work: Callable[[], None]) -> None:
        """Run work that calls `between` after each of its steps.

        Raises:
            HandoffRevoked: the loan ended first.
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
            # Always, also after an error: the store's thread waits for this, and all callers of the store wait for
            # that thread.
            self._back.release()

    def between(self, _: int, pages_left: int, pages: int) -> None:
        """Return the connection until the next step.

        Raises:
            HandoffRevoked: there is no next step.
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

Answer: TypeAlias = Result[T, BaseException]
"""The result of a function, or its exception."""

Told: TypeAlias = Callable[[Answer[Any]], object]
"""Called with the answer."""


class WorkConnection(sqlite3.Connection):
    """A connection that runs functions, and that a forked child does not close."""

    def __init__(self, *settings: Any, **options: Any) -> None:
        super().__init__(*settings, **options)
        self._cursor: sqlite3.Cursor | None = None
        self._handoffs: list[ConnectionLoan] = []
        guard_fork(self)

    def lend(self, loan: ConnectionLoan) -> None:
        """Lend this connection to another thread, in steps, at most until it is closed."""
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

    def work_on(self, work: Work[T]) -> T:
        """Run a function on the store's cursor."""
        if self._cursor is None:
            self._cursor = self.cursor()
        return work(self._cursor)


def _opened(path: str) -> WorkConnection:
    # isolation_level=None: the driver's implicit transactions are deferred, and hold no write lock while the store
    # checks its ownership.
    return sqlite3.connect(
        path,
        isolation_level=None,
        timeout=5.0,
        cached_statements=256,
        factory=WorkConnection,
        check_same_thread=False,
    )


_Request: TypeAlias = tuple[Work[Any] | None, Told]
"""The next function of a thread, and the one that is told its answer; None: it closes the connection, and ends."""


def _serve(path: str, requests: SimpleQueue[_Request]) -> None:
    """Open a file, and run functions on it until it is closed. The body of a thread."""
    connection: WorkConnection | None = None
    is_over = False
    while not is_over:
        work, tell = requests.get()
        is_over = work is None
        answer: Answer[Any]
        try:
            answer = Success(None)
            if work is not None:
                connection = connection or _opened(path)
                answer = Success(connection.work_on(work))
            elif connection is not None:
                connection.close()
        except BaseException as raised:  # noqa: BLE001 - of any kind, for the caller
            answer = Failure(raised)
        tell(answer)
        # While the thread waits, it must keep nothing of its last request alive, least of all its own store.
        del work, tell, answer


@attrs.frozen
class ThreadCall(Generic[T]):
    """A function that the thread will run: awaited, or sent. It raises nothing."""

    _thread: DatabaseThread
    _work: Work[T]

    def send(self, tell: Callable[[Answer[T]], object]) -> None:
        """Let the thread run it, and call ``tell`` in the event loop with the answer."""
        self._thread.put(self._work, tell)

    def __await__(self) -> Generator[Any, Any, Answer[T]]:
        answered: asyncio.Future[Answer[T]] = asyncio.get_running_loop().create_future()

        def tell(answer: Answer[T]) -> None:
            if not answered.done():  # its caller may be cancelled
                answered.set_result(answer)

        self.send(tell)
        return (yield from answered)


class DatabaseThread:
    """The one connection to the file, in its own thread. Call `close`: the thread outlives the event loop.

    Answers are told in the event loop in which it was made, and in its context variables.

    Args:
        path: the file.
    """

    def __init__(self, path: str) -> None:
        self._requests: SimpleQueue[_Request] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()
        self._is_closed = False
        # No daemon: the interpreter would end it between two writes of SQLite.
        threading.Thread(target=_serve, args=(path, self._requests), name=f"perdure: {path}").start()

    def __del__(self) -> None:
        """End the thread of a store that was never closed: it would keep the process alive."""
        self.stop()

    def call(self, work: Work[T]) -> ThreadCall[T]:
        """Return a call of a function on the connection, in one thread round trip."""
        return ThreadCall(self, work)

    async def run(self, work: Work[T]) -> T:
        """Run a function on the connection, in one thread round trip.

        Raises:
            BaseException: the function's exception.
        """
        answer = await self.call(work)
        if isinstance(answer, Success):
            result: T = answer.unwrap()
            return result
        raise answer.failure()

    def put(self, work: Work[T], tell: Callable[[Answer[T]], object]) -> None:
        """Let the thread run a function, and be told the answer in the event loop."""
        if self._is_closed:
            self._tell(tell, Failure(sqlite3.ProgrammingError("Cannot operate on a closed database.")))
        else:
            self._requests.put((work, partial(self._tell, tell)))

    def _tell(self, tell: Callable[[Answer[T]], object], answer: Answer[T]) -> None:
        # The event loop may have ended: then no caller waits.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(tell, answer, context=self._context)

    async def close(self) -> None:
        """Close the connection and end the thread, after its present work."""
        if self._is_closed:
            return
        self._is_closed = True
        closed: asyncio.Future[Answer[None]] = self._loop.create_future()

        def tell(answer: Answer[None]) -> None:
            if not closed.done():
                closed.set_result(answer)

        self._requests.put((None, partial(self._tell, tell)))
        answer = await closed
        if not isinstance(answer, Success):
            raise answer.failure()

    def stop(self) -> None:
        """Tell the thread to close the connection and end, without waiting for it."""
        if not self._is_closed:
            self._is_closed = True
            self._requests.put((None, _ignore))


def _ignore(_: Answer[Any]) -> None:
    pass


async def connect(path: str) -> DatabaseThread:
    """Open a file in a thread of its own. Another thread may use the connection while this thread waits.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    thread = DatabaseThread(path)
    try:
        await thread.run(lambda _: None)
    except BaseException:  # also a cancellation: the thread would keep the process alive
        thread.stop()
        raise
    return thread

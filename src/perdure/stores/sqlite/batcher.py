"""Batches pending reads and writes into group commits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import attrs
from returns.result import Failure, Result

from perdure.runtime.eager_task import start_eagerly
from perdure.runtime.record import Future, Runtime
from perdure.stores.sqlite.database import Database, Read
from perdure.stores.sqlite.fork_guard import guard_fork
from perdure.stores.sqlite.group_commit import Write
from perdure.stores.sqlite.lock import FileLock
from perdure.values.errors import OutcomeUnknown, PerdureError, StoreError, StoreUnavailable

R = TypeVar("R")

_GROUP = 1_000  # limits a transaction, so that no caller waits long

_Send: TypeAlias = Callable[[Sequence[R]], Awaitable[Sequence[Result[Any, Any]]]]

Note: TypeAlias = Callable[[Result[Any, Any]], None]
"""Called with each answer, in the order of the database, even if the caller no longer waits."""


def _ignore(_: Result[Any, Any]) -> None:
    """Ignore an answer."""


class PendingOperation(Generic[R]):
    """A request to the database. It is sent when its answer is first awaited, and can be awaited again.

    Attributes:
        request: the request.
        operation: its name in errors.
    """

    __slots__ = ("_answer", "_batcher", "_note", "_queue", "operation", "request")

    def __init__(self, batcher: Batcher, queue: _Queue[R], operation: str, request: R, note: Note) -> None:
        self.request = request
        self.operation = operation
        self._batcher = batcher
        self._queue = queue
        self._note = note
        self._answer: Future[Any] | None = None

    def __await__(self) -> Generator[Any, Any, Result[Any, Any]]:
        if self._answer is None:
            refused = self._batcher.refusal(self.operation)
            if refused is not None:
                return Failure(refused)
            self._answer = self._batcher.future()
            self._batcher.enqueue(self._queue, self)
        answer: Result[Any, Any] = yield from self._answer.__await__()
        return answer

    def send(self) -> None:
        """Send the request at once: its caller has waited for the end of the step of the event loop."""
        refused = self._batcher.refusal(self.operation)
        if refused is not None:
            self.answered(Failure(refused))
        else:
            self._batcher.enqueue(self._queue, self, start="now")

    def answered(self, answer: Result[Any, Any]) -> None:
        """Note the answer, and pass it to the caller."""
        self._note(answer)
        if self._answer is not None and not self._answer.done():  # its caller may be cancelled
            self._answer.set_result(answer)


@attrs.define
class _Queue(Generic[R]):
    """Pending requests.

    Attributes:
        send: sends a batch to the database.
        lost: creates the error of a batch whose sending failed.
        largest: how many requests a batch holds at most.
    """

    send: _Send[R]
    lost: Callable[[str], PerdureError]
    largest: int
    waiting: list[PendingOperation[R]] = attrs.Factory(list[Any])

    async def serve(self) -> None:
        """Send the pending requests, and answer them."""
        batch, self.waiting = self.waiting[: self.largest], self.waiting[self.largest :]
        try:
            answers = await self.send([pending.request for pending in batch])
        except StoreError as error:  # the file could not be opened again: nothing was sent
            answers = [Failure(error)] * len(batch)
        except BaseException as error:
            _answer(batch, [Failure(self.lost(repr(error)))] * len(batch))
            raise
        _answer(batch, answers)


class Batcher:
    """One batch is with the database at a time; the next one accumulates meanwhile. There is no timer.

    A single request is sent at once. When the database is idle, all requests of the same step of the event loop form a
    batch. Cancelling a caller does not affect its batch.

    Args:
        runtime: starts the task that serves the requests.
        database: the file.
        lock: released with it.
        largest: how many requests a batch holds at most.

    Attributes:
        lost: done, with the reason, when this engine no longer owns the file.
    """

    def __init__(self, runtime: Runtime, database: Database, lock: FileLock, *, largest: int = _GROUP) -> None:
        self._runtime = runtime
        self._database = database
        self._lock = lock
        self._place: Literal["here", "parent"] = "here"
        self.lost: Future[str] = runtime.future()
        guard_fork(self)
        self._reads: _Queue[Read] = _Queue(database.read, lambda reason: StoreUnavailable("read", reason), largest)
        self._writes: _Queue[Write] = _Queue(database.write, OutcomeUnknown, largest)
        self._state: Literal["idle", "driven", "closed"] = "idle"
        self._closers: list[Future[None]] | None = None  # the callers of `close`

    def read(self, read: Read, note: Note = _ignore) -> PendingOperation[Read]:
        """Create a read."""
        return PendingOperation(self, self._reads, read.operation, read, note)

    def write(self, operation: str, work: Write, note: Note = _ignore) -> PendingOperation[Write]:
        """Create a write; it is answered when it is durable."""
        return PendingOperation(self, self._writes, operation, work, note)

    def read_all(self, reads: Sequence[Read], answered: Callable[[Sequence[Result[Any, Any]]], None]) -> None:
        """Send reads at once, and call a function with their answers."""
        answers: list[Result[Any, Any]] = []

        def note(answer: Result[Any, Any]) -> None:
            answers.append(answer)
            if len(answers) == len(reads):
                answered(answers)

        for read in reads:
            self.read(read, note).send()

    async def close(self) -> None:
        """Reject new requests, wait for the pending ones, close the file and release the lock."""
        if self._state == "closed" or self._place == "parent":
            return
        if self._closers is None:
            self._closers = []
        closed = self._runtime.future()
        self._closers.append(closed)
        self._set_going()
        await closed

    def leave(self) -> None:
        """Reject all requests in a forked child, which has no thread to answer them."""
        self._place = "parent"

    def refusal(self, operation: str) -> StoreError | None:
        """Return why requests are rejected; None while the store is open, owned, and in its own process."""
        if self._closers is not None or self._state == "closed":
            return StoreUnavailable(operation, "the store is closed")
        if self._database.lost is not None:
            return self._database.lost
        if self._place == "parent":
            return StoreUnavailable(operation, "it belongs to the process that this one was forked from")
        return None

    def enqueue(
        self, queue: _Queue[R], pending: PendingOperation[R], *, start: Literal["soon", "now"] = "soon"
    ) -> None:
        """Add an operation to the next batch.

        Args:
            queue: the queue of its kind.
            pending: the operation.
            start: whether the batch may leave before the step of the event loop ends.
        """
        queue.waiting.append(pending)
        self._set_going(start)

    def future(self) -> Future[Any]:
        """Create a future for a caller that waits for an operation."""
        return self._runtime.future()

    def _look_for_loss(self) -> None:
        if self._database.lost is not None and not self.lost.done():
            self.lost.set_result(str(self._database.lost))

    def _set_going(self, start: Literal["soon", "now"] = "soon") -> None:
        if self._state != "idle":
            return
        self._state = "driven"
        name = f"perdure:writer {self._database.file.store}"
        if start == "now":
            start_eagerly(self._drive(), self._runtime, name=name)
        else:  # after this step of the event loop, so that all requests of the step join its batch
            self._runtime.spawn(self._drive(), name=name)

    async def _drive(self) -> None:
        try:
            await self._serve()
        except BaseException:  # the event loop is stopping, or this code has a defect
            await self._shut()
            raise
        if self._closers is None:
            self._state = "idle"
        else:
            await self._shut()

    async def _shut(self) -> None:
        try:
            await self._database.close()  # after the thread's present work
        except BaseException:
            self._database.abandon()
            raise
        finally:
            self._end()

    async def _serve(self) -> None:
        while self._reads.waiting or self._writes.waiting:
            if self._reads.waiting:
                await self._reads.serve()
            if self._writes.waiting:
                await self._writes.serve()
                self._look_for_loss()

    def _end(self) -> None:
        self._state = "closed"
        self._lock.release()
        unsent = Failure(StoreUnavailable("answer", "its event loop is stopping"))
        for queue in (self._reads, self._writes):
            _answer(queue.waiting, [unsent] * len(queue.waiting))
            queue.waiting.clear()
        for closed in self._closers or ():
            if not closed.done():
                closed.set_result(None)


def _answer(batch: Sequence[PendingOperation[Any]], answers: Sequence[Result[Any, Any]]) -> None:
    for pending, answer in zip(batch, answers, strict=True):
        pending.answered(answer)

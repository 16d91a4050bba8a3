"""The open file: its thread and its writer, and the queues of reads and writes that become groups.

Thread and writer are replaced when the connection can no longer be trusted.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Awaitable, Callable, Generator, Sequence
from pathlib import Path
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import attrs
from returns.result import Failure, Result, Success

from perdure.runtime.record import DEFAULT_SIZES, Future, Runtime
from perdure.stores.sqlite import counters
from perdure.stores.sqlite.counters import StatusCounts
from perdure.stores.sqlite.files import guard_fork
from perdure.stores.sqlite.group_commit import GroupWriter, Write, Written
from perdure.stores.sqlite.lock import LOST_LOG, FileLock
from perdure.stores.sqlite.ownership import REAL_DISK, Disk, another_engine, take_note, why_unreadable
from perdure.stores.sqlite.schema import CHECKPOINT_PAGES, Synchronous, log_of, prepare, truncate_log
from perdure.stores.sqlite.thread import DatabaseThread, Work
from perdure.values.errors import (
    OutcomeUnknown,
    OwnershipLost,
    PerdureError,
    StoreCorrupt,
    StoreError,
    StoreUnavailable,
)

T = TypeVar("T")


@attrs.frozen
class Read:
    """A function that reads, and its name in errors."""

    operation: str
    work: Work[Any]


@attrs.frozen(kw_only=True)
class File:
    """A file to open, and how.

    Attributes:
        path: its absolute path, because the working directory may change.
        lock: the absolute path of its lock file.
        store: the store's name in errors.
        synchronous: when commits reach the disk.
        checkpoint_pages: the write-ahead log's length, in pages, from which on it is checkpointed.
        counted_rows: instances that are counted at once.
        descriptor: the file's descriptor, open as long as the engine owns it.
        disk: the disk that holds it.
    """

    path: str
    lock: str
    store: str
    synchronous: Synchronous
    checkpoint_pages: int = CHECKPOINT_PAGES
    counted_rows: int = DEFAULT_SIZES.counted_rows
    descriptor: int = -1
    disk: Disk = REAL_DISK


@attrs.define(kw_only=True)
class Database:
    """An open file. Only one `read` or `write` may be in progress.

    Attributes:
        epoch: how often the file was opened.
    """

    file: File
    epoch: int
    _thread: DatabaseThread = attrs.field(alias="thread")
    _writer: GroupWriter = attrs.field(alias="writer")
    _connection: Literal["open", "closed"] = "open"

    @property
    def lost(self) -> OwnershipLost | None:
        """Why this engine no longer owns the file. None while it does."""
        return self._writer.lost

    @property
    def counts(self) -> StatusCounts:
        """The instances by job and status, as far as they are counted. For the thread."""
        return self._writer.counters.counts

    async def read(self, reads: Sequence[Read]) -> list[Result[Any, StoreError]]:
        """Run reads in one thread round trip. Each has its own answer."""
        # Reads too: after a ROLLBACK that failed they would see rows that were refused.
        if not self._writer.is_trusted:
            await self._open_again()
        writer, file = self._writer, self.file
        return await self._thread.run(lambda cursor: [_answer(cursor, read, writer, file) for read in reads])

    async def write(self, group: Sequence[Write]) -> list[Written]:
        """Run writes in one transaction and one thread round trip. Each has its own answer."""
        if not self._writer.is_trusted:
            await self._open_again()
        writer = self._writer
        return await self._thread.run(lambda cursor: writer.write(cursor, group))

    async def close(self) -> None:
        """Close the file and end its thread."""
        # A reopening that failed has left no connection to finish.
        if self._connection == "open":
            await self._thread.run(self._writer.finish)
        if self.lost is None:
            await self._thread.close()
            return
        ownership = self._writer.ownership
        # The last connection that closes checkpoints its log. On a lost file that would write this engine's pages into
        # the file of another program, which damages both.
        with ownership.kept_from_checkpoint(self.lost):
            await self._thread.close()
        ownership.set_log_aside(f"{os.path.basename(self.file.path)}{LOST_LOG}{self.epoch}", self.lost)  # noqa: PTH119

    def abandon(self) -> None:
        """End the thread after its present work, without waiting: for an event loop that is stopping."""
        self._thread.stop()

    async def _open_again(self) -> None:
        before = self._writer.ownership
        # Inspect the files before the close: the close itself checkpoints, and so would hide a foreign write.
        moved = before.loss_before_closing() if self._connection == "open" else None
        if moved is None:
            await self._thread.close()  # SQLite makes a checkpoint then
            self._connection = "closed"
            moved = before.without_log().files_loss()  # before SQLite creates a new file
        if moved is not None:
            self._writer.lost = moved
            raise moved
        self._thread, (self._writer, epoch) = await _set_up(self.file, lambda cursor: _reopened(cursor, self.file))
        self._connection = "open"
        # An equal epoch is not enough: a restored backup can have the same one. Its marks then differ.
        if epoch != self.epoch or not before.marks.may_become(self._writer.ownership.marks):
            self._writer.lost = another_engine(self.file.store)
            raise self._writer.lost


async def open_database(file: File) -> Database:
    """Open a file, create or migrate its tables, and count the opening.

    Raises:
        StoreError: the file cannot be opened.
    """
    thread, (writer, epoch) = await _set_up(file, lambda cursor: _opened(cursor, file))
    return Database(file=file, epoch=epoch, thread=thread, writer=writer)


async def _set_up(file: File, setting_up: Work[T]) -> tuple[DatabaseThread, T]:
    """Open a file and prepare it. If this fails, no thread remains."""
    try:
        return await _set_up_once(file, setting_up)
    except StoreCorrupt as error:
        # SQLite reports damage for a failed read too. An operator who believes it restores a backup over a sound file.
        unread = _unread(file)
        if unread is not None:
            raise StoreUnavailable(f"open {file.store}", str(unread)) from error
    return await _set_up_once(file, setting_up)  # the disk may have failed for a moment


async def _set_up_once(file: File, setting_up: Work[T]) -> tuple[DatabaseThread, T]:
    try:
        thread = await file.disk.connect(file.path)
    except sqlite3.Error as error:
        raise StoreUnavailable(f"open {file.store}", str(error)) from error
    try:
        return thread, await thread.run(setting_up)
    except (sqlite3.Error, OSError) as error:
        await thread.close()
        raise StoreUnavailable(f"open {file.store}", str(error)) from error
    # The driver's thread is no daemon: if this coroutine is cancelled, the thread would keep the process alive.
    except BaseException:
        await thread.close()
        raise


def _unread(file: File) -> OSError | None:
    return why_unreadable(file.disk, file.descriptor, f"{file.path}-wal")


def _opened(cursor: sqlite3.Cursor, file: File) -> tuple[GroupWriter, int]:
    prepare(cursor, store=file.store, synchronous=file.synchronous)
    cursor.execute("PRAGMA wal_checkpoint(PASSIVE)")  # unlike `_reopened`, after no failure: waits for no reader
    # The checkpoint comes before this write: a log that a crash left may never have been synced, and commits that
    # follow it would be lost together with it.
    epoch, counts = counters.next_epoch(cursor, file.counted_rows)
    writer = _writer(cursor, file, epoch, counts)
    # Another engine may have opened the file between the count and the note of its state. Without this check both
    # engines would hold a correct note and would both write.
    if counters.epoch(cursor) != epoch:
        raise another_engine(file.store)
    return writer, epoch


def _reopened(cursor: sqlite3.Cursor, file: File) -> tuple[GroupWriter, int]:
    """Checkpoint the log before anything is written after it.

    A log whose sync failed can be read but is not on the disk, and no later sync changes that: the operating system
    considers its pages written. A power loss would lose commits after it too.
    """
    prepare(cursor, store=file.store, synchronous=file.synchronous)
    if truncate_log(cursor) == "blocked":
        raise StoreUnavailable(f"open {file.store}", "a reader blocks the truncation of its write-ahead log; end it")
    # No new epoch: claims of this engine must stay its own. The counts may miss a commit of unknown outcome.
    epoch = counters.epoch(cursor)
    return _writer(cursor, file, epoch, StatusCounts(size=file.counted_rows)), epoch


def _writer(cursor: sqlite3.Cursor, file: File, epoch: int, counts: StatusCounts) -> GroupWriter:
    # Note the state first: a later write is detected, and an earlier one is read here.
    ownership = take_note(
        cursor,
        store=file.store,
        path=file.path,
        lock=file.lock,
        descriptor=file.descriptor,
        disk=file.disk,
        epoch=epoch,
    )
    numbers = counters.read(cursor, counts)
    return GroupWriter(counters=numbers, ownership=ownership, checkpoint_pages=file.checkpoint_pages)


def _answer(cursor: sqlite3.Cursor, read: Read, writer: GroupWriter, file: File) -> Result[Any, StoreError]:
    try:
        return Success(_read_twice(cursor, read, writer, file))
    except StoreError as error:
        return Failure(error)
    # Before `DatabaseError`, its base class: a busy file or a full disk is no damage.
    except sqlite3.OperationalError as error:
        writer.has_errors = True
        return Failure(StoreUnavailable(read.operation, str(error)))
    except sqlite3.DatabaseError as error:
        writer.has_errors = True
        return Failure(StoreCorrupt(f"the pages read to {read.operation}", str(error)))
    except Exception as error:  # noqa: BLE001 - values that the driver cannot bind raise many kinds
        return Failure(StoreUnavailable(read.operation, f"{type(error).__name__}: {error}"))


def _read_twice(cursor: sqlite3.Cursor, read: Read, writer: GroupWriter, file: File) -> object:
    """Read again if SQLite reports damage, which a temporary disk failure may cause.

    Raises:
        StoreUnavailable: the disk still does not read.
        sqlite3.DatabaseError: the bytes are damaged.
    """
    try:
        return read.work(cursor)
    # Not again: the driver has waited five seconds for a busy file.
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        writer.has_errors = True
        unread = _unread(file)
        if unread is not None:
            raise StoreUnavailable(read.operation, str(unread)) from error
    return read.work(cursor)


R = TypeVar("R")

_Send: TypeAlias = Callable[[Sequence[R]], Awaitable[Sequence[Result[Any, Any]]]]

Note: TypeAlias = Callable[[Result[Any, Any]], None]
"""Called with each answer, in the database's order, even if the caller no longer waits."""


def ignore(_: Result[Any, Any]) -> None:
    """Ignore an answer."""


class PendingOperation(Generic[R]):
    """A request to the database. It is sent when its answer is first awaited, and can be awaited again.

    Attributes:
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
        """Send the request immediately: its caller has waited until the event loop's step ended."""
        refused = self._batcher.refusal(self.operation)
        if refused is not None:
            self.answered(Failure(refused))
        else:
            self._batcher.enqueue(self._queue, self, now=True)

    def answered(self, answer: Result[Any, Any]) -> None:
        """Note the answer, and pass it to the caller."""
        # Also for a caller that was cancelled: its operation has happened, and the record of corrupt rows must follow.
        self._note(answer)
        if self._answer is not None and not self._answer.done():  # its caller may be cancelled
            self._answer.set_result(answer)


@attrs.define
class _Queue(Generic[R]):
    """Pending requests.

    Attributes:
        send: sends a batch to the database.
        lost: creates the error for a batch whose sending failed.
        largest: the maximum number of requests in a batch.
    """

    send: _Send[R]
    lost: Callable[[str], PerdureError]
    largest: int
    waiting: list[PendingOperation[R]] = attrs.Factory(list[Any])

    async def serve(self) -> None:
        """Send the pending requests, and answer them."""
        batch, self.waiting = self.waiting[: self.largest], self.waiting[self.largest :]
        try:
            # Taken from the queue before the wait: requests that arrive meanwhile form the next batch and cannot be
            # dropped.
            answers = await self.send([pending.request for pending in batch])
        except StoreError as error:  # the file could not be opened again: nothing was sent
            answers = [Failure(error)] * len(batch)
        # Every caller needs an answer also when the event loop stops: one without would wait forever.
        except BaseException as error:
            _answer_each(batch, [Failure(self.lost(repr(error)))] * len(batch))
            raise
        _answer_each(batch, answers)


class Batcher:
    """One batch is with the database at a time. The next one accumulates meanwhile. There is no timer.

    A single request is sent immediately. When the database is idle, all requests in one event loop step form a
    batch. Cancelling a caller does not affect its batch.

    Args:
        runtime: starts the task that serves the requests.
        lock: released with it.

    Attributes:
        lost: done, with the reason, when this engine no longer owns the file.
    """

    def __init__(self, runtime: Runtime, database: Database, lock: FileLock) -> None:
        self._runtime = runtime
        largest = runtime.sizes.group
        self._database = database
        self._name = f"perdure:writer {database.file.store}"
        self._lock = lock
        self._is_forked = False
        self.lost: Future[str] = runtime.future()
        guard_fork(self)
        self._reads: _Queue[Read] = _Queue(database.read, lambda reason: StoreUnavailable("read", reason), largest)
        self._writes: _Queue[Write] = _Queue(database.write, OutcomeUnknown, largest)
        self._state: Literal["idle", "driven", "closed"] = "idle"
        self._closers: list[Future[None]] | None = None  # the callers of `close`

    def read(self, read: Read, note: Note = ignore) -> PendingOperation[Read]:
        """Create a read."""
        return PendingOperation(self, self._reads, read.operation, read, note)

    def write(self, operation: str, work: Write, note: Note = ignore) -> PendingOperation[Write]:
        """Create a write. It is answered when it is durable."""
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
        # A forked child has no thread that could close the file.
        if self._state == "closed" or self._is_forked:
            return
        if self._closers is None:
            # From here on `refusal` rejects new requests, so the queues become empty.
            self._closers = []
        closed = self._runtime.future()
        self._closers.append(closed)
        self._set_going()
        await closed

    def leave(self) -> None:
        """Reject all requests in a forked child, which has no thread to answer them."""
        self._is_forked = True

    def refusal(self, operation: str) -> StoreError | None:
        """Return why requests are rejected. None while the store is open, owned, and in its own process."""
        if self._closers is not None or self._state == "closed":
            return StoreUnavailable(operation, "the store is closed")
        if self._database.lost is not None:
            return self._database.lost
        if self._is_forked:
            return StoreUnavailable(operation, "it belongs to the process that this one was forked from")
        return None

    def enqueue(self, queue: _Queue[R], pending: PendingOperation[R], *, now: bool = False) -> None:
        """Add an operation to the next batch.

        Args:
            queue: the queue for its kind.
            pending: the operation.
            now: whether the batch may leave before the event loop's step ends.
        """
        queue.waiting.append(pending)
        self._set_going(now=now)

    def future(self) -> Future[Any]:
        """Create a future for a caller that waits for an operation."""
        return self._runtime.future()

    def _look_for_loss(self) -> None:
        if self._database.lost is not None and not self.lost.done():
            self.lost.set_result(str(self._database.lost))

    def _set_going(self, *, now: bool = False) -> None:
        if self._state != "idle":
            return
        # One batch at a time: two overlapping batches were measured slower (decision 0025), and writes would lose their
        # order.
        self._state = "driven"
        if now:
            self._begin()
        else:  # so that all requests of the step join its batch
            self._runtime.at_step_end(self._begin)

    def _begin(self) -> None:
        self._runtime.carry_out(self._drive(), name=self._name)

    async def _drive(self) -> None:
        reads, writes = self._reads, self._writes
        try:
            while reads.waiting or writes.waiting:
                # One batch of each kind in turn: with a loop over reads alone, a stream of reads would delay commits
                # without a bound.
                if reads.waiting:
                    await reads.serve()
                if writes.waiting:
                    await writes.serve()
                    self._look_for_loss()
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
            if self._database.lost is None and log_of(Path(self._database.file.path)).exists():  # a reader keeps it
                self._lock.note_closed()
        except BaseException:  # a cancelled close must not wait for the thread again
            self._database.abandon()
            raise
        finally:
            self._end()

    def _end(self) -> None:
        self._state = "closed"
        # Released after the thread has closed the file: a standby that locks earlier would open the file beside this
        # connection.
        self._lock.release()
        unsent = Failure(StoreUnavailable("answer", "its event loop is stopping"))
        for queue in (self._reads, self._writes):
            _answer_each(queue.waiting, [unsent] * len(queue.waiting))
            queue.waiting.clear()
        # All callers of `close`, not only the first: the others would never return.
        for closed in self._closers or ():
            if not closed.done():
                closed.set_result(None)


def _answer_each(batch: Sequence[PendingOperation[Any]], answers: Sequence[Result[Any, Any]]) -> None:
    for pending, answer in zip(batch, answers, strict=True):
        pending.answered(answer)

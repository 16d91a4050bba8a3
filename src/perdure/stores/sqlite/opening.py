"""Open a SQLite file as a store."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, Final, Literal, assert_never

import attrs
from returns.result import Failure, Result, Success

from perdure.runtime.record import LogRecord, Runtime
from perdure.stores.contract import Store
from perdure.stores.sqlite.backup import STEP_PAGES, SqliteBackups
from perdure.stores.sqlite.database import Batcher, Database, File, Note, Read, ignore, open_database
from perdure.stores.sqlite.files import exposed_files
from perdure.stores.sqlite.group_commit import Write
from perdure.stores.sqlite.lock import FileLock, acquire, check_missing, stand_by
from perdure.stores.sqlite.operations import SqliteStore
from perdure.stores.sqlite.ownership import REAL_DISK, Disk
from perdure.stores.sqlite.reader import Reader
from perdure.stores.sqlite.schema import CHECKPOINT_PAGES, Synchronous, log_of
from perdure.stores.values import Durability, IfMissing, OnLocked, PreviousExit
from perdure.values.errors import StoreError, StoreUnavailable

# NORMAL does not sync the log at COMMIT: with it for `full`, a loss of power would take acknowledged commits.
_SYNCHRONOUS: dict[Literal["full", "relaxed"], Synchronous] = {"full": "FULL", "relaxed": "NORMAL"}

_EXPOSED: Final = "every user of the machine can open files of the store"
_PRIVATE_FIX: Final = "chmod o-rw; a reader sees every state, and can lock the store so that no engine starts"


async def open_file(
    path: str | os.PathLike[str],
    *,
    durability: Literal["full", "relaxed"],
    cache_bytes: int,
    on_locked: OnLocked,
    runtime: Runtime,
    if_missing: IfMissing = "create",
    disk: Disk = REAL_DISK,
    checkpoint_pages: int = CHECKPOINT_PAGES,
    backup_pages: int = STEP_PAGES,
) -> Store:
    """Lock and open a file as a store. `perdure.stores.sqlite.open_sqlite` describes the options.

    Args:
        path: see there.
        durability: see there.
        cache_bytes: see there.
        on_locked: see there.
        runtime: see there.
        if_missing: see there.
        disk: the disk that holds the file.
        checkpoint_pages: the write-ahead log's length, in pages, from which on it is checkpointed.
        backup_pages: pages per backup step.
    """
    file = attrs.evolve(
        _file(path, _SYNCHRONOUS[durability]),
        disk=disk,
        checkpoint_pages=checkpoint_pages,
        counted_rows=runtime.sizes.counted_rows,
    )
    check_missing(file.path, store=file.store, if_missing=if_missing)  # and again under the lock
    lock = await _lock(file, on_locked, if_missing, runtime)
    # Before the file is opened, which creates a log, and under the lock: a living owner has a log as well.
    # SQLite deletes the log when the last connection is closed, which may be a reader's.
    has_log = log_of(Path(file.path)).exists()
    previous_exit: PreviousExit = "died" if has_log and not lock.was_closed else "closed"
    try:
        database = await open_database(attrs.evolve(file, descriptor=lock.database))
    except BaseException:  # a cancelled opening must not leave the file locked
        lock.release()
        raise
    exposed = exposed_files(file.path)
    if exposed:
        modes = ", ".join(f"{name} {mode:04o}" for name, mode in exposed.items())
        runtime.log(LogRecord("warning", _EXPOSED, {"store": file.store, "files": modes, "fix": _PRIVATE_FIX}))
    store = store_over(
        database,
        lock,
        durability=durability,
        cache_bytes=cache_bytes,
        runtime=runtime,
        backup_pages=backup_pages,
    )
    store.previous_exit = previous_exit
    return store


async def _lock(file: File, on_locked: OnLocked, if_missing: IfMissing, runtime: Runtime) -> FileLock:
    match on_locked:
        case "raise":
            return acquire(file.lock, store=file.store, database=file.path, if_missing=if_missing)
        case "wait":
            return await stand_by(
                file.lock, store=file.store, database=file.path, runtime=runtime, if_missing=if_missing
            )
        case _:
            assert_never(on_locked)


def _file(path: str | os.PathLike[str], synchronous: Synchronous) -> File:
    place = os.path.realpath(path)  # one file has one lock for all its names
    return File(path=place, lock=f"{place}.lock", store=f"sqlite:///{os.fspath(path)}", synchronous=synchronous)


def store_over(
    database: Database,
    lock: FileLock,
    *,
    durability: Durability,
    cache_bytes: int,
    runtime: Runtime,
    backup_pages: int = STEP_PAGES,
) -> Store:
    """Make a store over an open file."""
    batcher, file = Batcher(runtime, database, lock), database.file
    store = SqliteStore(
        batcher, Path(file.path), file.store, durability, counted=lambda: database.counts, sizes=runtime.sizes
    )
    store.epoch = database.epoch
    store.lost = batcher.lost
    store.cache_bytes = cache_bytes
    store.runtime = runtime
    store.backup = SqliteBackups(batcher=batcher, file=file, runtime=runtime, step_pages=backup_pages)
    return store


def read_only_store(reader: Reader) -> Store:
    """Make a store over a file that this process only reads, whether or not an engine owns it.

    Each read answers within the call, from its own moment. Every write returns `StoreUnavailable`.
    """
    # Without counts: they are exact only in the process that writes.
    store = SqliteStore(_ReadOnly(reader), reader.path, reader.store, "none", counted=None, damage=reader.damage)
    # Another process writes the file, and does not notify this one.
    store.cache_bytes = 0
    store.synchronous = True
    return store


@attrs.frozen
class _Answered:
    """A request that is answered already."""

    answer: Result[Any, Any]

    def __await__(self) -> Generator[None, None, Result[Any, Any]]:
        # The `yield` below is never reached: it makes this a generator, as `await` needs.
        return self.answer
        yield

    def send(self) -> None:
        """Do nothing: it was performed when it was created."""


@attrs.frozen
class _ReadOnly:
    """Performs each read when it is created, and refuses writes."""

    reader: Reader

    def read(self, read: Read, note: Note = ignore, /) -> _Answered:
        answer: Result[Any, Any]
        try:
            answer = Success(self.reader.read(read.work))
        except StoreError as error:
            answer = Failure(error)
        note(answer)
        return _Answered(answer)

    def read_all(self, reads: Sequence[Read], answered: Callable[[Sequence[Result[Any, Any]]], None], /) -> None:
        answered([self.read(read).answer for read in reads])

    def write(self, operation: str, _: Write, note: Note = ignore, /) -> _Answered:
        refused = Failure(StoreUnavailable(operation, f"{self.reader.store} is opened read-only"))
        note(refused)
        return _Answered(refused)

    async def close(self) -> None:
        """Do nothing: the reader closes the file."""

"""Ships a store's changes to object storage beside its engine, and restores a store from there.

Each turn reads the pages that were written since the former one, under a hold on the write-ahead log. The engine never
waits for the endpoint. If the log grows too much meanwhile, the hold ends, and the next turn compares all pages.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as WaitTimeoutError
from contextlib import closing, suppress
from itertools import groupby
from pathlib import Path
from threading import Event
from typing import IO, Final, TypeAlias

import attrs

from perdure.runtime.record import LogRecord, Runtime
from perdure.runtime.tasks import is_cancelled
from perdure.stores.encryption.keys import Encryption
from perdure.stores.sqlite.backup import PartialFile
from perdure.stores.sqlite.files import open_private
from perdure.stores.sqlite.lock import check_missing
from perdure.stores.sqlite.log_frames import HeldLog, LogPosition, Snapshot
from perdure.stores.sqlite.object_storage import (
    PIECE_PAGES,
    BackupBucket,
    Piece,
    StoredObject,
    hash_of,
    name_of,
    seal,
    unseal,
)
from perdure.stores.sqlite.reader import MAX_FINDINGS, MAX_LOG_GROWTH_BYTES, read_from_outside
from perdure.stores.sqlite.schema import CHECKPOINT_PAGES
from perdure.stores.values import Backup
from perdure.values.errors import BackupFailed, StoreCorrupt, StoreUnavailable
from perdure.values.excerpt import excerpt
from perdure.values.times import Duration, duration_ms

IDENTITY: Final = ".backup"
"""The suffix for the file beside a store that names its backups."""

HEARTBEAT_MS: Final = 60_000
"""An idle store ships an empty piece this often, so that the newest moment shows that the backup runs."""

MIN_GROWTH_BYTES: Final = 64 * 1024 * 1024
MAX_PIECES: Final = 8_192
_FETCHED: Final = 16
_LOOKS: Final = 100
_LOOK_IN_WINDOW_S: Final = 0.002
_TURNS_OF_A_WINDOW: Final = 16
_LOOK_S: Final = 0.25
_EXPIRE_MS: Final = 60_000
_LONGEST_PAUSE_S: Final = 30.0
_HASH_BYTES: Final = 16
_REPORTED: Final = "backup to object storage"


class PageHashes:
    """A hash for each page of a store, and their sum, which is a checksum over the whole store: 4 MiB for a GiB."""

    def __init__(self) -> None:
        self._hashes = bytearray()
        self._sum = 0

    def update(self, number: int, page: bytes) -> bool:
        """Note a page, and return whether it differs from the noted one."""
        end = number * _HASH_BYTES
        if len(self._hashes) < end:
            self._hashes.extend(bytes(end - len(self._hashes)))
        # Salted with the number: two pages that change places would otherwise leave the sum as it is.
        new = hashlib.blake2b(page, digest_size=_HASH_BYTES, salt=struct.pack(">Q", number)).digest()
        old = bytes(self._hashes[end - _HASH_BYTES : end])
        self._sum += int.from_bytes(new) - int.from_bytes(old)
        self._hashes[end - _HASH_BYTES : end] = new
        return new != old

    def cut(self, pages: int) -> None:
        """Forget the pages behind a size."""
        for start in range(pages * _HASH_BYTES, len(self._hashes), _HASH_BYTES):
            # The page must leave the sum too: the file may grow again with other content.
            self._sum -= int.from_bytes(self._hashes[start : start + _HASH_BYTES])
        del self._hashes[pages * _HASH_BYTES :]

    @property
    def digest(self) -> str:
        """The checksum over all pages."""
        return f"{self._sum % 2 ** (8 * _HASH_BYTES):032x}"


@attrs.frozen(kw_only=True)
class ShippedSnapshot:
    """A snapshot that is in object storage, complete.

    Attributes:
        moment_ms: it has every commit before this time.
    """

    moment_ms: int
    pages: int
    size_bytes: int


OnShipped: TypeAlias = Callable[[ShippedSnapshot], object]
"""Is told about each shipped snapshot."""


@attrs.frozen(kw_only=True)
class ShippingServices:
    """Everything from outside that shipping needs.

    Attributes:
        new_id: draws a random id: 32 hexadecimal digits.
        wait: waits some seconds, and returns True as soon as the backup is to stop.
        report: is told that the endpoint fails, and that it works again.
    """

    now_ms: Callable[[], int]
    new_id: Callable[[], str]
    wait: Callable[[float], bool]
    report: Callable[[str], None]


class Shipper:
    """Ships one store to one URL.

    Args:
        path: the store's file. It must exist.
        services: time, chance and waiting.
        keep_ms: how long replaced generations are kept.
        max_log_bytes: how much the log may grow while the endpoint stores nothing.
        max_pieces: a whole copy begins a new generation after this many objects.
        adopt: continue backups although the file beside the store does not say that they are its own.

    Raises:
        BackupFailed: the URL has another store's backups.
        StoreError: the file is not a readable store.
        OSError: the endpoint does not answer.
    """

    def __init__(
        self,
        path: Path,
        bucket: BackupBucket,
        services: ShippingServices,
        *,
        encryption: Encryption | None = None,
        keep_ms: int = 7 * 86_400_000,
        max_log_bytes: int = MAX_LOG_GROWTH_BYTES,
        piece_pages: int = PIECE_PAGES,
        max_pieces: int = MAX_PIECES,
        adopt: bool = False,
    ) -> None:
        with read_from_outside(path) as reader:  # the checks of any reader
            self._path = reader.path
        self._bucket, self._services, self._encryption = bucket, services, encryption
        self._keep_ms, self._max_log_bytes = keep_ms, max_log_bytes
        self._piece_pages, self._max_pieces = piece_pages, max_pieces
        self._store = self._checked_identity(adopt=adopt)
        self._hashes = PageHashes()
        self._generation, self._number, self._previous = "", 0, ""
        self._position: LogPosition | None = None
        self._shipped_bytes = self._base_bytes = 0
        self._moment_ms = self._turns = 0
        self._is_open = False
        self._former = ""
        self._replaced = bucket.completed()
        self._expired = ""
        self._log = HeldLog(self._path)
        self._uploads = ThreadPoolExecutor(1, "perdure backup")

    def ship(self) -> ShippedSnapshot | None:
        """Ship the changes since the last call. None if there are none.

        Raises:
            BackupFailed: another writer took over, or the backup was to stop while the endpoint failed.
            StoreError: the file cannot be read.
        """
        is_new = self._is_base_due()
        if is_new:
            self._begin_generation()
        shipped_bytes, shipped_pages, moment_ms = self._shipped_bytes, 0, 0
        is_restarted = False
        self._turns += 1
        while True:
            # The time first: the snapshot has every commit from before it.
            moment_ms = self._services.now_ms()
            position = self._log.begin()
            snapshot = self._log.snapshot(position)
            with closing(snapshot):
                numbers = None if self._position is None else self._log.changed(self._position, snapshot)
                self._log.settle()
                pages = range(1, position.pages + 1) if numbers is None else sorted(numbers)
                self._hashes.cut(position.pages)
                is_open = self._is_open
                found = self._ship_pages(snapshot, pages, moment_ms, is_open=is_open)
            shipped_pages += abs(found)
            # None: the hold ended in the middle, so the next snapshot compares all pages.
            self._position = position if found >= 0 else None
            # One window for each call at most: the engine writes during each, and this loop would not end.
            if found >= 0 and (is_restarted or not self._restart_log(position)):
                break
            is_restarted = found >= 0
        if is_new:
            self._base_bytes = self._shipped_bytes
            self._replaced.append((self._generation, moment_ms))
            with suppress(OSError):  # then the former generation is kept for longer
                self._bucket.complete(self._generation, moment_ms)
            # Last: the former writer must not be ended before this generation can restore the store.
            self._end_former()
        if shipped_bytes == self._shipped_bytes:
            return None
        self._moment_ms = moment_ms
        return ShippedSnapshot(moment_ms=moment_ms, pages=shipped_pages, size_bytes=self._shipped_bytes - shipped_bytes)

    def expire(self) -> None:
        """Delete the generations that a newer complete one replaced long enough ago."""
        limit = self._services.now_ms() - self._keep_ms
        # The newest that was complete before the limit: a restore to any later moment begins with it.
        kept = max((name for name, complete_ms in self._replaced if complete_ms <= limit), default="")
        if kept > self._expired:
            with suppress(OSError):  # the next call tries again
                self._bucket.delete_before(kept)
                self._expired = kept

    def ship_until(self, is_stopping: Callable[[], bool], pause_s: float, shipped: OnShipped) -> None:
        """Ship in turns until it is to stop, and then the rest.

        Args:
            is_stopping: whether it is to stop. Then `ShippingServices.wait` returns True, too.
            pause_s: the seconds between two turns.
            shipped: is told about each snapshot.

        Raises:
            BackupFailed: see `ship`.
            StoreError: see `ship`.
        """
        expired_ms = 0
        while True:
            is_last = is_stopping()
            done = self.ship()
            if done is not None:
                shipped(done)
                # Also in the last turn: no later one deletes the old generations.
                if is_last or done.moment_ms - expired_ms > _EXPIRE_MS:
                    expired_ms = done.moment_ms
                    self.expire()
            if is_last:
                return
            self._services.wait(pause_s)

    def close(self) -> None:
        """End the hold on the log."""
        self._log.close()
        self._uploads.shutdown(wait=False)

    # ------------------------------------------------------------ one snapshot
    def _ship_pages(self, snapshot: Snapshot, numbers: Iterable[int], moment_ms: int, *, is_open: bool) -> int:
        """Ship those of the pages that changed. Return how many, negative if the hold ended meanwhile."""
        pages: list[tuple[int, bytes]] = []
        shipped = 0
        for number in numbers:
            if number > snapshot.position.pages:
                # A later commit may have made the file shorter than the page that an earlier one wrote.
                continue
            page = snapshot.page(number)
            if not self._hashes.update(number, page):
                continue
            if len(pages) == self._piece_pages:
                self._put(self._piece(snapshot, pages, moment_ms, more=True))
                shipped, is_open = shipped + len(pages), True
                pages = []
            pages.append((number, page))
            # The hold has ended: the pages behind this one may be newer than the snapshot.
            if not self._log.is_held:
                self._put(self._piece(snapshot, pages, moment_ms, more=True))
                # Negative: the pages are stored, but complete no snapshot.
                return -(shipped + len(pages))
        is_late = moment_ms - self._moment_ms >= HEARTBEAT_MS
        if pages or is_open or is_late:
            self._put(self._piece(snapshot, pages, moment_ms, more=False))
        return shipped + len(pages)

    def _piece(self, snapshot: Snapshot, pages: list[tuple[int, bytes]], moment_ms: int, *, more: bool) -> Piece:
        return Piece(
            store=self._store,
            moment_ms=moment_ms,
            page_bytes=snapshot.page_bytes,
            pages=snapshot.position.pages,
            more=more,
            previous=self._previous,
            # Only the last piece of a snapshot has a digest: before it, the pages belong to no moment.
            digest="" if more else self._hashes.digest,
            numbers=tuple(number for number, _ in pages),
            content=b"".join(page for _, page in pages),
        )

    def _put(self, piece: Piece) -> None:
        name = name_of(self._generation, self._number + 1)
        data = seal(piece, name, self._encryption)
        tries = 0
        # For ever, with pauses: the store works without its backup, and an operator sees the report.
        while (failed := self._tried(name, data)) is not None:
            if not tries:
                self._services.report(f"{self._bucket.url} stores nothing, and is tried again: {failed}")
            if self._paused(min(2.0**tries, _LONGEST_PAUSE_S)):
                reason = f"the newest changes are not there, because the endpoint failed: {failed}"
                raise BackupFailed(self._bucket.url, reason)
            tries += 1
        if tries:
            self._services.report(f"{self._bucket.url} works again")
        # Only after the object is stored: a repeated attempt must write the same name.
        self._number += 1
        self._is_open = piece.more
        self._previous = hash_of(data)
        self._shipped_bytes += len(data)

    def _tried(self, name: str, data: bytes) -> OSError | None:
        upload = self._uploads.submit(self._bucket.create, name, data)
        while True:
            try:
                upload.result(timeout=_LOOK_S)
            except WaitTimeoutError:
                # While an upload waits, the log grows: the hold ends before the disk is full.
                self._limit_log()
            except OSError as error:
                return error
            else:
                return None

    def _paused(self, pause_s: float) -> bool:
        while pause_s > 0:
            if self._services.wait(min(pause_s, _LOOK_S)):
                return True
            self._limit_log()
            pause_s -= _LOOK_S
        return False

    def _limit_log(self) -> None:
        if self._log.is_held and self._log.log_bytes() > self._max_log_bytes:
            self._log.release()

    def _restart_log(self, position: LogPosition) -> bool:
        """End the hold for a moment, so that the engine can reuse a long log. Return whether it ended.

        Sometimes also for a short log: an engine whose disk failed waits for the end of all readers.
        """
        if not self._log.is_held or (position.frame < CHECKPOINT_PAGES and self._turns % _TURNS_OF_A_WINDOW):
            return False
        self._log.release()
        for _ in range(_LOOKS):
            if self._log.position().salts != position.salts or self._services.wait(_LOOK_IN_WINDOW_S):
                break
        return True

    # ------------------------------------------------------------ generations
    def _is_base_due(self) -> bool:
        growth = max(self._base_bytes, MIN_GROWTH_BYTES)
        return (
            not self._generation or self._number >= self._max_pieces or self._shipped_bytes - self._base_bytes > growth
        )

    def _begin_generation(self) -> None:
        self._former = self._generation
        now_ms = self._services.now_ms()
        newest = self._replaced[-1][0] if self._replaced else ""
        # Behind every generation that was ever seen: names sort by time, and a clock may be set back.
        start_ms = max(now_ms, int(newest[:13] or 0) + 1, int(self._newest[:13] or 0) + 1)
        self._generation = f"{start_ms:013d}-{self._services.new_id()[:8]}"
        self._number, self._previous, self._position = 0, "", None
        self._is_open = False
        self._shipped_bytes = self._base_bytes = 0
        self._hashes = PageHashes()

    def _end_former(self) -> None:
        """End the former generation, so that its writer fails at the next object."""
        former = self._former or self._newest
        while former and former != self._generation:
            last = max((each.number for each in self._bucket.objects() if each.generation == former), default=0)
            if not last:
                break
            name, previous = name_of(former, last + 1), hash_of(self._bucket.read(name_of(former, last)))
            end = Piece(store=self._store, moment_ms=self._services.now_ms(), is_end=True, previous=previous)
            try:
                self._bucket.create(name, seal(end, name, self._encryption))
            except BackupFailed:  # that writer stored another object meanwhile
                continue
            break

    def _checked_identity(self, *, adopt: bool) -> str:
        found = self._bucket.objects()
        self._newest = found[-1].generation if found else ""
        beside = self._path.with_name(self._path.name + IDENTITY)
        theirs = _store_of(self._bucket, found[-1], self._encryption) if found else ""
        with suppress(FileNotFoundError, ValueError, KeyError):
            ours = str(json.loads(beside.read_text(encoding="utf-8"))["store"])
            # A bucket with another store's pieces: to continue there would mix two stores.
            if theirs not in ("", ours):
                reason = f"it has the backups of another store, according to {beside.name}; choose another URL"
                raise BackupFailed(self._bucket.url, reason)
            return ours
        # A copied or restored file has no identity: to ship it over the original's backups needs an explicit decision.
        if theirs and not adopt:
            reason = (
                f"it has backups, and there is no {beside.name} which says that they are this store's; choose another "
                "URL, or pass --adopt if they are"
            )
            raise BackupFailed(self._bucket.url, reason)
        ours = theirs or self._services.new_id()
        write_identity(self._path, ours)
        return ours


def write_identity(path: Path, store: str) -> None:
    """Write the file that names a store's backups."""
    descriptor = open_private(path.with_name(path.name + IDENTITY), os.O_WRONLY | os.O_TRUNC)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(json.dumps({"store": store}))


def _store_of(bucket: BackupBucket, newest: StoredObject, encryption: Encryption | None) -> str:
    return unseal(bucket.read(newest.name), newest.name, encryption, url=bucket.url).store


async def ship_changes(
    path: str | os.PathLike[str],
    url: str,
    *,
    every: Duration = "1s",
    keep: Duration = "7d",
    encryption: Encryption | None = None,
    adopt: bool = False,
    on_shipped: OnShipped | None = None,
    runtime: Runtime | None = None,
) -> None:
    """Ship a store's changes to object storage, in a thread, until this is cancelled.

    It does the same as ``perdure backup --to``. A cancelled call ships the changes that are left, and then ends: await
    it before the process exits. It needs the extra ``backup``.

    Args:
        path: the store's file. It must exist: open the engine first.
        url: ``s3://bucket/path``, ``gs://bucket/path``, ``az://account/container/path`` or ``file:///path``.
        every: the pause between two turns.
        keep: how long whole copies are kept after newer ones replaced them.
        encryption: encrypts the objects.
        adopt: continue the backups at the URL although the file beside the store does not say that they are its.
        on_shipped: is told about each snapshot that is stored, in the thread.
        runtime: performs the function in a thread, and logs when the endpoint fails and works again. By default the
            running event loop's, with a thread of its own.

    Raises:
        DefinitionError: the URL or a duration is wrong, or the extra is not installed.
        BackupFailed: the URL has another store's backups, another writer took over, or the endpoint failed when this
            was cancelled, so that the newest changes are not there.
        StoreError: the file cannot be read.
        OSError: the endpoint did not answer at the start.
    """
    pause_s = duration_ms(every, what="every of ship_changes") / 1_000
    keep_ms = duration_ms(keep, what="keep of ship_changes", minimum_ms=0)
    bucket = BackupBucket(url)
    if runtime is None:
        from perdure.runtime.on_asyncio import asyncio_runtime  # noqa: PLC0415 - asyncio is imported when needed

        runtime = asyncio_runtime(threads=1)
    services = _services_of(runtime, f"sqlite:///{os.fspath(path)}")
    failed: list[Exception] = []

    def ship() -> None:
        try:
            shipper = Shipper(Path(path), bucket, services, encryption=encryption, keep_ms=keep_ms, adopt=adopt)
            with closing(shipper):
                shipper.ship_until(is_cancelled, pause_s, on_shipped or (lambda _: None))
        except Exception as error:
            failed.append(error)
            raise

    try:
        await runtime.elsewhere("thread", ship, (), {})
    except runtime.cancelled:
        if failed:  # the cancellation would hide it
            raise failed[0] from None
        raise


def _services_of(runtime: Runtime, store: str) -> ShippingServices:
    def wait(pause_s: float) -> bool:
        while pause_s > 0 and not is_cancelled():
            Event().wait(min(pause_s, _LOOK_S))
            pause_s -= _LOOK_S
        return is_cancelled()

    return ShippingServices(
        now_ms=runtime.now_ms,
        # A generation's name has the first digits, which are the time in a UUIDv7.
        new_id=lambda: f"{int(runtime.random() * 2**48):012x}{runtime.new_id():032x}"[:32],
        wait=wait,
        report=lambda text: runtime.log(LogRecord("warning", _REPORTED, {"store": store, "report": text})),
    )


# ---------------------------------------------------------------- restore
@attrs.frozen(kw_only=True)
class RestoredBackup:
    """A restored store.

    Attributes:
        moment_ms: it has every commit before this time.
        incomplete: why newer objects were not used, one sentence each.
    """

    backup: Backup
    moment_ms: int
    incomplete: tuple[str, ...]


def restore_from(
    bucket: BackupBucket, target: Path, *, encryption: Encryption | None = None, at_ms: int | None = None
) -> RestoredBackup:
    """Restore a store into a new file: the newest snapshot, or the newest one until a time.

    Args:
        bucket: the backups.
        target: the file, which must not exist.
        encryption: the keys, if they are encrypted.
        at_ms: the time.

    Raises:
        StoreUnavailable: there is no complete snapshot. No file is left.
        StoreCorrupt: an object cannot be read, its key is missing, or the store was damaged when it was shipped. No
            file is left.
        BackupFailed: the file exists, or cannot be written.
        StoreMissing: an engine's write-ahead log lies where the file belongs.
        OSError: the endpoint does not answer.
    """
    copy = PartialFile(target.absolute())
    found = bucket.objects()
    generations = [(name, list(each)) for name, each in groupby(found, key=lambda each: each.generation)]
    # A log beside a missing file holds the last commits: an operator must move it first.
    check_missing(str(copy.target), store=f"sqlite:///{target}", if_missing="create")
    skipped: list[str] = []
    # From the newest backwards: the first generation with a complete snapshot restores the most.
    for _, objects in reversed(generations):
        copy.begin()
        try:
            with copy.path.open("r+b") as file:
                last, why = _filled(file, _pieces(bucket, objects, encryption, skipped), at_ms)
                skipped.extend(why)
                if last is None:
                    continue
                file.truncate(last.pages * last.page_bytes)
                _verify_digest(file, last, bucket.url)
            _verify_database(copy.path, bucket.url)
            write_identity(copy.target, last.store)
            return RestoredBackup(backup=copy.publish(), moment_ms=last.moment_ms, incomplete=tuple(skipped))
        finally:
            copy.discard()
    reason = "; ".join(skipped) or "it has no backups"
    of_time = "" if at_ms is None else " of that time"
    raise StoreUnavailable(f"restore {target}", f"{bucket.url} has no complete snapshot{of_time}: {reason}")


def _pieces(
    bucket: BackupBucket, objects: list[StoredObject], encryption: Encryption | None, skipped: list[str]
) -> Iterator[Piece]:
    """Yield consecutive pieces until the first that is missing or is not the next one."""
    previous = ""
    with ThreadPoolExecutor(_FETCHED, "perdure restore") as fetching:
        # Some objects at a time: the pieces of a large store do not fit into memory.
        for start in range(0, len(objects), _FETCHED):
            group = objects[start : start + _FETCHED]
            for place, (each, data) in enumerate(
                zip(group, fetching.map(bucket.read, [each.name for each in group]), strict=True), start + 1
            ):
                if each.number != place:
                    skipped.append(f"object {name_of(each.generation, place)} is missing; later ones were not used")
                    return
                piece = unseal(data, each.name, encryption, url=bucket.url)
                # The hash chain: an object of another writer, or an old one under this name, would damage the store.
                if piece.previous != previous:
                    raise StoreCorrupt(f"object {each.name} of {bucket.url}", "it does not follow the one before it")
                if piece.is_end:
                    return
                previous = hash_of(data)
                yield piece


def _filled(file: IO[bytes], pieces: Iterator[Piece], at_ms: int | None) -> tuple[Piece | None, list[str]]:
    """Write complete snapshots into a file, and return the last one's last piece."""
    last: Piece | None = None
    with tempfile.TemporaryFile() as waiting:  # of a snapshot that is not complete yet
        for piece in pieces:
            # Before the piece is applied: the snapshot that is wanted is complete at its last piece.
            if at_ms is not None and piece.moment_ms > at_ms:
                return last, []
            # Without a complete snapshot there is nothing to protect: the first one goes directly into the file.
            if last is None or not piece.more:
                waiting.seek(0)
                while header := waiting.read(8):
                    offset, size = struct.unpack(">II", header)
                    _write(file, offset, waiting.read(size))
                waiting.seek(0)
                waiting.truncate()
                for place, number in enumerate(piece.numbers):
                    _write(file, number, piece.content[place * piece.page_bytes : (place + 1) * piece.page_bytes])
                if not piece.more:
                    # A vacuumed store is shorter: pages of the former snapshot must not stay behind its end.
                    file.truncate(piece.pages * piece.page_bytes)
                    last = piece
            else:
                for place, number in enumerate(piece.numbers):
                    page = piece.content[place * piece.page_bytes : (place + 1) * piece.page_bytes]
                    waiting.write(struct.pack(">II", number, len(page)) + page)
        is_incomplete = last is None or waiting.tell() > 0
    return last, ["the newest snapshot is incomplete"] if is_incomplete else []


def _write(file: IO[bytes], number: int, page: bytes) -> None:
    file.seek((number - 1) * len(page))
    file.write(page)


def _verify_digest(file: IO[bytes], last: Piece, url: str) -> None:
    hashes = PageHashes()
    file.seek(0)
    for number in range(1, last.pages + 1):
        hashes.update(number, file.read(last.page_bytes))
    if hashes.digest != last.digest:
        raise StoreCorrupt(f"the backup at {url}", "the restored pages differ from the shipped ones; report this bug")


def _verify_database(path: Path, url: str) -> None:
    """Run SQLite's own checks: equal pages prove that nothing changed on the way, but not that the store was whole."""
    uri = f"{path.as_uri()}?immutable=1"  # else SQLite creates a log beside it
    try:
        with closing(sqlite3.connect(uri, uri=True)) as database:
            found = [str(text) for (text,) in database.execute(f"PRAGMA integrity_check({MAX_FINDINGS})")]
    except sqlite3.DatabaseError as error:
        found = [str(error)]
    if found != ["ok"]:
        reason = f"the store was damaged when it was shipped; restore an earlier moment: {excerpt('; '.join(found))}"
        raise StoreCorrupt(f"the backup at {url}", reason)

"""Reads a store's pages from its file and its write-ahead log, beside the engine, as they were at one commit.

`HeldLog` keeps the engine from reusing the log between two reads, with overlapping read transactions. It never
checkpoints, writes nothing, and takes no lock that an engine waits for.
"""

from __future__ import annotations

import os
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import attrs

from perdure.stores.sqlite.schema import LOG_LIMIT_BYTES, log_of, size_of
from perdure.values.errors import StoreUnavailable

HEADER_BYTES: Final = 32
FRAME_BYTES: Final = 24  # before each page: https://sqlite.org/walformat.html

_INDEX: Final = struct.Struct("=IIIBBHII8s8s8s")  # one copy of the header of the log's index, in native byte order
_TRIES: Final = 1_000
_BIG_ENDIAN: Final = 0x377F0683
MAX_TAIL_FRAMES: Final = 4_000
"""The most frames that are read of a log that the engine has begun to overwrite: 16 MiB."""


@attrs.frozen(kw_only=True)
class LogPosition:
    """A commit in the write-ahead log.

    Attributes:
        salts: the log's two salts, 8 bytes. The first one is incremented when the log starts over.
        frame: the commit's last frame, 0 in an empty log.
        checksum: the log's checksum after that frame: equal checksums have equal frames before them.
        pages: the database's size in pages.
    """

    salts: bytes
    frame: int
    checksum: bytes
    pages: int

    @property
    def restarts(self) -> int:
        """How often the log started over, from an arbitrary number on."""
        return int.from_bytes(self.salts[:4])


class LogOverwrittenError(Exception):
    """The engine reused a log that was to be read."""


_kept: Final[dict[tuple[int, int], int]] = {}
"""A descriptor of each file that SQLite locks, by device and inode. Closing one drops this process's locks on it."""


def _descriptor(path: Path) -> int:
    found = path.stat()
    identity = (found.st_dev, found.st_ino)
    # Never closed: closing one descriptor drops this process's locks on the file, SQLite's included.
    if identity not in _kept:
        _kept[identity] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    return _kept[identity]


@attrs.define
class Snapshot:
    """All pages at one commit. Read it while its `HeldLog` holds the log.

    Attributes:
        frames: for each page in the log, its last frame.
        tail: pages that were read from the former log's end, which is overwritten now.
        is_overwritten: whether the log was reused meanwhile, so that it does not tell which pages changed.
    """

    position: LogPosition
    page_bytes: int
    frames: dict[int, int]
    _file: int
    log: int
    tail: dict[int, bytes] = attrs.field(factory=dict[int, bytes])
    is_overwritten: bool = False

    def page(self, number: int) -> bytes:
        """Return a page's content."""
        frame = self.frames.get(number)
        if frame is not None:
            found = self._in_log(frame)
            if found is not None:
                return found
        elif number in self.tail:
            return self.tail[number]
        # A page that is not in the log, or was: the log was reused under the hold, so all of it is in the file, and
        # no checkpoint writes to the file before the hold ends.
        found = os.pread(self._file, self.page_bytes, (number - 1) * self.page_bytes)
        return found.ljust(self.page_bytes, b"\0")

    def _in_log(self, frame: int) -> bytes | None:
        offset = HEADER_BYTES + (frame - 1) * (FRAME_BYTES + self.page_bytes)
        found = os.pread(self.log, FRAME_BYTES + self.page_bytes, offset)
        # Read the header again: SQLite writes it before the page, so an old header after the read proves an old page.
        again = os.pread(self.log, FRAME_BYTES, offset)
        is_old = found[8:16] == self.position.salts == again[8:16]
        return found[FRAME_BYTES:] if is_old and len(found) == FRAME_BYTES + self.page_bytes else None

    def close(self) -> None:
        """Close the log."""
        with suppress(OSError):
            os.close(self.log)


class HeldLog:
    """Holds a store's log by read transactions on two connections in turn: the next begins before the last one ends.

    A read transaction keeps the engine from reusing the log. The one exception is a transaction that begins when the
    whole log is in the file. It then keeps the engine from moving anything more, so that the log starts over at most
    once before the next transaction, and nothing is overwritten that the former one could not read.

    Attributes:
        is_unbroken: whether the log was held since the last `begin`.
    """

    def __init__(self, path: Path, *, max_tail_frames: int = MAX_TAIL_FRAMES) -> None:
        self.path = path
        self._max_tail_frames = max_tail_frames
        self._connections = [_connected(path), _connected(path)]
        self._held: list[sqlite3.Connection] = []
        self.is_unbroken = False
        ((self.page_bytes,),) = self._connections[0].execute("PRAGMA page_size").fetchall()
        self._identity = _identity(path)
        self._file = _descriptor(path)

    def begin(self) -> LogPosition:
        """Hold the present commit, and end the former hold's duty: call `settle` when its frames have been read.

        Raises:
            StoreUnavailable: the file was replaced, or cannot be read.
        """
        self._check_place()
        # The other connection still holds the log: the new transaction begins before the old one ends.
        spare = next(each for each in self._connections if each not in self._held)
        try:
            spare.execute("BEGIN")
            spare.execute("SELECT epoch FROM counters").fetchall()  # SQLite begins lazily
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                spare.execute("ROLLBACK")
            raise StoreUnavailable(f"read {self.path}", str(error)) from error
        self._held.append(spare)
        return self.position()

    def settle(self) -> None:
        """End the former transaction. The log remains held by the newest one."""
        # The newest stays: without an overlap the engine could reuse the log in between.
        for former in self._held[:-1]:
            former.execute("ROLLBACK")
        del self._held[:-1]
        self.is_unbroken = True

    def release(self) -> None:
        """End the hold: the engine may reuse the log."""
        for each in self._held:
            each.execute("ROLLBACK")
        self._held.clear()
        self.is_unbroken = False

    @property
    def is_held(self) -> bool:
        """Whether a transaction holds the log."""
        return bool(self._held)

    def position(self) -> LogPosition:
        """Return the log's last commit.

        Raises:
            StoreUnavailable: the log has no valid index.
        """
        index = _descriptor(self.path.with_name(f"{self.path.name}-shm"))
        for _ in range(_TRIES):
            both = os.pread(index, 2 * _INDEX.size, 0)
            # SQLite writes the two copies one after the other: equal ones are not half-written.
            if len(both) == 2 * _INDEX.size and both[: _INDEX.size] == both[_INDEX.size :]:
                _, _, _, is_valid, _, _, frame, pages, checksum, salts, _ = _INDEX.unpack(both[: _INDEX.size])
                if is_valid:
                    if not frame:
                        pages = os.fstat(self._file).st_size // self.page_bytes
                    return LogPosition(salts=salts, frame=frame, checksum=checksum, pages=pages)
        raise StoreUnavailable(f"read {self.path}", "the index of its write-ahead log changes all the time; try again")

    def snapshot(self, position: LogPosition) -> Snapshot:
        """Return all pages at a commit. The log must be held."""
        log = os.open(log_of(self.path), os.O_RDONLY | os.O_CLOEXEC)
        snapshot = Snapshot(position, self.page_bytes, {}, self._file, log)
        try:
            for frame, page in self._frames(log, 1, position):
                snapshot.frames[page] = frame
        except LogOverwrittenError:  # then everything is in the file
            snapshot.frames.clear()
            snapshot.is_overwritten = True
        except BaseException:
            snapshot.close()
            raise
        return snapshot

    def changed(self, since: LogPosition, snapshot: Snapshot) -> set[int] | None:
        """Return the pages that were written after one commit and until another. None: the log does not tell.

        Args:
            since: the former commit.
            snapshot: the later one.
        """
        now = snapshot.position
        if snapshot.is_overwritten:
            return set[int]() if now == since else None
        if now.salts == since.salts and now.frame >= since.frame:
            return {page for page, frame in snapshot.frames.items() if frame > since.frame}
        # The log started over more than once: the pages that a log in between had are unknown.
        if now.restarts != (since.restarts + 1) % 2**32:
            return None
        if self.is_unbroken:
            return set(snapshot.frames)
        tail = self._tail(since, now, snapshot)
        snapshot.tail = tail or {}
        return None if tail is None else set(snapshot.frames) | set(tail)

    def close(self) -> None:
        """Close both connections. They cannot write, so that none checkpoints."""
        self.release()
        for each in self._connections:
            each.close()

    def log_bytes(self) -> int:
        """Return the log file's size."""
        return size_of(log_of(self.path))

    def _frames(self, log: int, first: int, until: LogPosition) -> Iterator[tuple[int, int]]:
        size = FRAME_BYTES + self.page_bytes
        for frame in range(first, until.frame + 1):
            header = os.pread(log, FRAME_BYTES, HEADER_BYTES + (frame - 1) * size)
            # Another salt: the engine has begun to overwrite the log with a new one.
            if header[8:16] != until.salts:
                raise LogOverwrittenError
            yield frame, int.from_bytes(header[:4])

    def _tail(self, since: LogPosition, now: LogPosition, snapshot: Snapshot) -> dict[int, bytes] | None:
        """Return the pages that commits at the former log's end wrote. None: a part may be overwritten.

        The log starts over at its beginning, so its end stays until the new log is as long. The checksums prove which
        frames belong to the former log.
        """
        log = snapshot.log
        size = FRAME_BYTES + self.page_bytes
        is_big = int.from_bytes(os.pread(log, 4, 0)) == _BIG_ENDIAN
        checksum = struct.unpack("=II", since.checksum)
        # The new log is as long: it may have overwritten the frames behind the former position.
        if since.frame <= now.frame or not since.frame:
            return None
        committed: dict[int, bytes] = {}
        pages: dict[int, bytes] = {}
        for frame in range(since.frame + 1, since.frame + 1 + self._max_tail_frames):
            found = os.pread(log, size, HEADER_BYTES + (frame - 1) * size)
            if len(found) < size:
                # The end of the file. A longer log was cut there, so that its end is unknown.
                is_cut = self.log_bytes() >= LOG_LIMIT_BYTES - size
                return None if is_cut or self.position().frame >= since.frame else committed
            if found[8:16] == now.salts:
                return None
            checksum = _summed(found[:8] + found[FRAME_BYTES:], checksum, is_big=is_big)
            if found[8:16] != since.salts or struct.pack(">II", *checksum) != found[16:24]:
                # A frame that does not continue the checksum: the end of the former log,
                # unless the new one has reached it meanwhile.
                return None if self.position().frame >= since.frame else committed
            pages[int.from_bytes(found[:4])] = found[FRAME_BYTES:]
            # Only complete commits: frames of a transaction that was rolled back are in the log too.
            if int.from_bytes(found[4:8]):  # the last frame of a commit
                committed.update(pages)
                pages.clear()
        return None

    def _check_place(self) -> None:
        try:
            is_same = _identity(self.path) == self._identity
        except OSError as error:
            raise StoreUnavailable(f"read {self.path}", str(error)) from error
        if not is_same:
            reason = "another file was put in its place; start the backup again"
            raise StoreUnavailable(f"read {self.path}", reason)


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _connected(path: Path) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=5.0, check_same_thread=False)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _summed(data: bytes, start: tuple[int, int], *, is_big: bool) -> tuple[int, int]:
    first, second = start
    words = struct.unpack(f"{'>' if is_big else '<'}{len(data) // 4}I", data)
    for one, two in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + two + first) & 0xFFFFFFFF
    return first, second

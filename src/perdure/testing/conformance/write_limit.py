"""Kill the store's process in the middle of a write, so that its last bytes are missing."""

from __future__ import annotations

import os
import resource
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

import attrs

_WRITES: Final = os.O_WRONLY | os.O_RDWR
_DESCRIPTORS: Final = Path("/dev/fd")

_File: TypeAlias = tuple[int, int]  # device and inode
_Sizes: TypeAlias = dict[_File, int]


@attrs.frozen
class ArmWriteLimit:
    """Kill the process when a file grows beyond a limit.

    Attributes:
        percent: the limit, in percent of the bytes that the last commit appended.
    """

    percent: int


class WriteLimit:
    """Measures how files grow during a commit, and lets the operating system cut a later write at a byte.

    The limit is that of ``RLIMIT_FSIZE``: a write that crosses it is cut there, and the next one kills the process.
    """

    def __init__(self) -> None:
        self._paths: set[Path] = set()
        self._before: _Sizes = {}
        self._after: _Sizes = {}

    def install(self) -> None:
        """Record which files are opened for writing. Call it before the store is opened."""
        sys.addaudithook(self._audit)

    def begin_commit(self) -> None:
        """Measure the files before a commit."""
        self._before = self._sizes()

    def end_commit(self) -> None:
        """Measure the files after a commit."""
        self._after = self._sizes()

    def arm(self, limit: ArmWriteLimit) -> None:
        """Set the limit. Without a file that grew there is none."""
        # Files that were appended to come before new ones, of which the next commit may write others.
        grown = [(file in self._before, size - self._before.get(file, 0), size) for file, size in self._after.items()]
        appended, growth, size = max(grown, default=(False, 0, 0))
        if growth > 0:
            begin = size if appended else 0
            bytes_ = begin + max(1, growth * limit.percent // 100)
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it, and raises OSError
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and isinstance(flags := arguments[2], int) and flags & _WRITES:
            path = arguments[0]
            if isinstance(path, str | bytes):
                self._paths.add(Path(os.fsdecode(path)))

    def _sizes(self) -> _Sizes:
        return {(one.st_dev, one.st_ino): one.st_size for one in self._files() if stat.S_ISREG(one.st_mode)}

    def _files(self) -> Iterator[os.stat_result]:
        for path in tuple(self._paths):
            with suppress(OSError):
                yield path.stat()
        for descriptor in _descriptors():  # includes files that C code opened, such as SQLite
            with suppress(OSError):
                yield descriptor.stat()


def _descriptors() -> list[Path]:
    """Return the open descriptors; none in a root without ``/proc``, where no file of C code is cut."""
    try:
        return list(_DESCRIPTORS.iterdir())
    except FileNotFoundError:
        return []

"""Kill the store's process at a chosen line of the store's code, or in the middle of a write.

Each such crash can be repeated.
"""

from __future__ import annotations

import linecache
import os
import resource
import signal
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from perdure.stores.contract import Store

if TYPE_CHECKING:
    from _typeshed import TraceFunction


_CHANGES: Final = frozenset({"os.rename", "os.remove", "os.truncate", "os.mkdir", "os.rmdir", "os.link", "os.symlink"})
_WRITES: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@attrs.frozen(kw_only=True)
class SourceLine:
    """A line of a store's code.

    Attributes:
        file: the name of the file.
        number: the number of the line.
        text: the line.
    """

    file: str
    number: int
    text: str

    def __str__(self) -> str:
        return f"line {self.number} of {self.file} ({self.text})"


@attrs.frozen
class LinesRun:
    """What ran while an injector was armed.

    Attributes:
        lines: how many lines of the store's code ran.
        changes: after how many lines a file was opened for writing, renamed, deleted or truncated.
    """

    lines: int
    changes: tuple[int, ...]


@attrs.frozen(kw_only=True)
class ArmCrash:
    """Kill the process before a line.

    Attributes:
        lines: how many lines of the store's code run before.
        stall: block a worker thread at that line instead, so that the event loop runs on until the process is killed.
    """

    lines: int
    stall: bool = False


class CrashInjector:
    """Counts the lines of a store's code as they run, in every thread, and kills the process before a chosen one.

    Args:
        report: called with the line that will not run, just before the process ends.
        code: where the store's code is, when that is known before the store is opened.
    """

    def __init__(self, report: Callable[[SourceLine], None], code: str = "") -> None:
        self._report = report
        self.code = code
        self._left: int | None = None
        self._stall = False
        self._run = 0
        self._changes: list[int] = []

    def install(self) -> None:
        """Watch this thread and those that it will start. Call it before the store is opened.

        Only calls that begin while the injector is armed are followed: not a loop that a thread is in already, but the
        functions that the loop calls.
        """
        sys.addaudithook(self._audit)
        threading.settrace(self._trace)
        sys.settrace(self._trace)

    def watch(self, store: Store) -> None:
        """Count the lines of the code that defines a store's ``commit``: its package, or else its module."""
        module = sys.modules[store.commit.__module__]
        file = Path(module.__file__ or "")
        self.code = f"{file.parent}{os.sep}" if module.__package__ else str(file)

    def arm(self, crash: ArmCrash) -> None:
        """Crash after this many lines from now on."""
        self._run, self._left, self._stall, self._changes = 0, crash.lines, crash.stall, []

    def disarm(self) -> LinesRun:
        """Do not crash any more, and return which lines ran since `arm`."""
        self._left = None
        return LinesRun(self._run, tuple(dict.fromkeys(self._changes)))

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        """Record a change to the file system: the case kills the process before the next line."""
        if self._left is None:
            return
        if event in _CHANGES or (event == "open" and isinstance(flags := arguments[2], int) and flags & _WRITES):
            self._changes.append(self._run)

    def _trace(self, frame: FrameType, event: str, _: object, /) -> TraceFunction | None:
        left = self._left
        if left is None or not self.code or not frame.f_code.co_filename.startswith(self.code):
            return None  # this call is not followed: watching costs as much as running
        if event == "line":
            self._count(frame, left)
        return self._trace

    def _count(self, frame: FrameType, left: int) -> None:
        if self._run >= left:
            self._left = None  # other threads may reach a line before the process has ended
            file, number = frame.f_code.co_filename, frame.f_lineno
            self._report(SourceLine(file=Path(file).name, number=number, text=linecache.getline(file, number).strip()))
            if self._stall and threading.current_thread() is not threading.main_thread():
                threading.Event().wait()  # never set: the suite kills the process
            os.kill(os.getpid(), signal.SIGKILL)
        self._run += 1


_WRITE_FLAGS: Final = os.O_WRONLY | os.O_RDWR
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
        if event == "open" and isinstance(flags := arguments[2], int) and flags & _WRITE_FLAGS:
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

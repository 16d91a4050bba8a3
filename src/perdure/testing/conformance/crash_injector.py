"""Kill the own process at a line: so that crashes come at every step of a store, and come there again."""

from __future__ import annotations

import linecache
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import attrs

from perdure.stores.store import Store

if TYPE_CHECKING:
    from _typeshed import TraceFunction


@attrs.frozen(kw_only=True)
class SourceLine:
    """A line of a store's code.

    Attributes:
        file: its file's name.
        number: which line.
        text: what it says.
    """

    file: str
    number: int
    text: str

    def __str__(self) -> str:
        return f"line {self.number} of {self.file} ({self.text})"


@attrs.frozen
class LinesRun:
    """What ran while a fuse was armed.

    Attributes:
        lines: how many lines of the store's code.
        changes: after how many lines a file was opened for writing, renamed, deleted or truncated.
    """

    lines: int
    changes: tuple[int, ...]


_CHANGES = frozenset({"os.rename", "os.remove", "os.truncate", "os.mkdir", "os.rmdir", "os.link", "os.symlink"})
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class CrashInjector:
    """Counts the lines of a store's code as they run, in every thread, and kills the process before a chosen one.

    Args:
        burn: told the line that will not run any more, just before the end.
    """

    def __init__(self, burn: Callable[[SourceLine], None]) -> None:
        self._burn = burn
        self._code = ""  # where the store's code is
        self._left: int | None = None
        self._run = 0
        self._changes: list[int] = []

    def install(self) -> None:
        """Watch this thread and those that it will start. Call it before the store is opened.

        Only calls that begin while the fuse is armed are followed: a loop that a thread is in already is not, what it
        calls is.
        """
        sys.addaudithook(self._audit)
        threading.settrace(self._trace)
        sys.settrace(self._trace)

    def watch(self, store: Store) -> None:
        """Count the lines of the code that a store's ``commit`` is in: its package, or its module if it has none."""
        module = sys.modules[store.commit.__module__]
        file = Path(module.__file__ or "")
        self._code = f"{file.parent}{os.sep}" if module.__package__ else str(file)

    def arm(self, lines: int) -> None:
        """Let so many lines run from now on, and no more."""
        self._run, self._left, self._changes = 0, lines, []

    def disarm(self) -> LinesRun:
        """Let all lines run, and say which have since `arm`."""
        self._left = None
        return LinesRun(self._run, tuple(dict.fromkeys(self._changes)))

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        """Note a change to the file system: the line after it is the place for a kill."""
        if self._left is None:
            return
        if event in _CHANGES or (event == "open" and isinstance(flags := arguments[2], int) and flags & _WRITES):
            self._changes.append(self._run)

    def _trace(self, frame: FrameType, event: str, _: object, /) -> TraceFunction | None:
        left = self._left
        if left is None or not frame.f_code.co_filename.startswith(self._code):
            return None  # this call is not followed: watching costs as much as running
        if event == "line":
            self._count(frame, left)
        return self._trace

    def _count(self, frame: FrameType, left: int) -> None:
        if self._run >= left:
            file, number = frame.f_code.co_filename, frame.f_lineno
            self._burn(SourceLine(file=Path(file).name, number=number, text=linecache.getline(file, number).strip()))
            os.kill(os.getpid(), signal.SIGKILL)
        self._run += 1

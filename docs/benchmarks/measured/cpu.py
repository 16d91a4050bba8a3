"""Where CPU time goes: by thread, and by samples of what the event loop's thread is doing."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self, TypeAlias

from attrs import Factory, define, frozen

EVERY_SECONDS = 0.002
SHOWN = 25
_SITE = "site-packages/"
_GENERATED = "<attrs generated methods "  # and a class's full name


Seconds: TypeAlias = dict[str, float]
"""CPU time by name."""


@frozen
class CpuTime:
    """CPU seconds of this process, so far or between two looks.

    Attributes:
        main: of the thread that runs the event loop.
        others: of all other threads: the driver of the database.
    """

    main: float
    others: float

    @classmethod
    def now(cls) -> CpuTime:
        """Read the clocks. Call it from the thread that runs the event loop."""
        main = time.thread_time()
        here = threading.get_ident()
        idents = [thread.ident for thread in threading.enumerate() if thread.ident not in (None, here)]
        return cls(main, sum(time.clock_gettime(time.pthread_getcpuclockid(ident)) for ident in idents if ident))

    def since(self, before: CpuTime) -> CpuTime:
        """Give what was used between two looks."""
        return CpuTime(self.main - before.main, self.others - before.others)


@define
class Sampler:
    """Looks every two milliseconds of CPU time at what the main thread runs.

    Each look weighs as much CPU as the main thread used since the one before: time of the driver's thread counts for
    nothing here. A look that finds the loop asleep tells nothing, so its weight goes to the next one. All this costs a
    few percent, and does not slow down small functions more than large ones.

    Attributes:
        own: CPU seconds of the functions that were running.
        inside: CPU seconds of the functions that were running or waited for a call to return.
        layers: CPU seconds by package.
    """

    own: Seconds = Factory(dict[str, float])
    inside: Seconds = Factory(dict[str, float])
    layers: Seconds = Factory(dict[str, float])
    _last: float = 0.0

    def __enter__(self) -> Self:
        self._last = time.thread_time()
        signal.signal(signal.SIGPROF, self._look)
        signal.setitimer(signal.ITIMER_PROF, EVERY_SECONDS, EVERY_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, signal.SIG_IGN)

    def _look(self, _: int, frame: FrameType | None) -> None:
        if frame is None or frame.f_code.co_filename.endswith("selectors.py"):
            return
        now = time.thread_time()
        used, self._last = now - self._last, now
        _add(used, self.own, (_named(frame),))
        _add(used, self.layers, (_layer(frame),))
        _add(used, self.inside, {_named(above) for above in _stack(frame)})

    def report(self, requests: int) -> str:
        """Say where the main thread's time went, in µs a request."""
        parts = [f"  {'layer':<34}{'µs each':>9}{'share':>8}"]
        whole = sum(self.layers.values()) or 1
        parts += [
            f"  {name:<34}{seconds / requests * 1e6:9.1f}{seconds / whole:8.1%}" for name, seconds in _most(self.layers)
        ]
        for title, times in (("own", self.own), ("with what it calls", self.inside)):
            parts.append(f"  {'µs each, ' + title:>28}")
            parts += [f"  {seconds / requests * 1e6:9.1f}  {name}" for name, seconds in _most(times)[:SHOWN]]
        return "\n".join(parts)


def _add(used: float, times: Seconds, names: Iterable[str]) -> None:
    for name in names:
        times[name] = times.get(name, 0.0) + used


def _most(times: Seconds) -> list[tuple[str, float]]:
    return sorted(times.items(), key=lambda item: -item[1])


def _stack(frame: FrameType | None) -> Iterable[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _named(frame: FrameType) -> str:
    return f"{_short(frame.f_code.co_filename)}:{frame.f_code.co_firstlineno} {frame.f_code.co_qualname}"


def _layer(frame: FrameType) -> str:
    package, *below = _short(frame.f_code.co_filename).split("/")
    return f"{package}/{below[0]}" if package == "perdure" and len(below) > 1 else package


def _short(filename: str) -> str:
    if filename.startswith(_GENERATED):
        return filename.removeprefix(_GENERATED).rstrip(">").replace(".", "/")
    for mark in ("/src/perdure/", f"{_SITE}perdure/"):
        if mark in filename:
            return "perdure/" + filename.rpartition(mark)[2]
    if _SITE in filename:
        return filename.rpartition(_SITE)[2]
    standard = str(Path(sys.modules["threading"].__file__ or "").parent)
    return filename.removeprefix(standard + "/") if filename.startswith(standard) else Path(filename).name

"""Finds code that holds an event loop: a thread of its own looks at the loop's thread.

It looks once within the limit, so it finds the code after one to two times the limit. A loop at work is asked for an
answer. An idle one is not woken.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable
from os import sep
from pathlib import Path
from types import FrameType
from typing import Final, Literal

import attrs

from perdure.runtime.record import BlockingCode

MAX_STACK: Final = 20
"""Frames of the blocking code that are shown, the innermost ones."""

# With the separator: a folder that only begins like this one is another library.
_LIBRARY: Final = str(Path(__file__).parents[1]) + sep
_LOOP: Final = (f"{sep}asyncio{sep}", f"{sep}selectors.py")


def is_of_loop(frame: FrameType) -> bool:
    """Return whether a frame belongs to the event loop itself, and not to code that it called."""
    return any(part in frame.f_code.co_filename for part in _LOOP)


def step_of(frame: FrameType) -> FrameType:
    """Return the frame in which the loop's present step began. Each step has another one.

    Args:
        frame: the innermost frame of the loop's thread.
    """
    outer = frame
    while outer.f_back is not None and not (is_of_loop(outer) and outer.f_code.co_name == "_run"):
        outer = outer.f_back
    return outer


def blocking_code(frame: FrameType) -> BlockingCode:
    """Describe the code that holds a loop: the function that the library, or the loop, called last.

    Args:
        frame: the innermost frame of the loop's thread.
    """
    chain = [frame]
    # The library's own frames are left out: the user can change only the code that it called.
    while (outer := chain[-1].f_back) is not None and not _is_caller(outer):
        chain.append(outer)
    function = chain[-1]
    lines = traceback.StackSummary.extract((each, each.f_lineno) for each in reversed(chain[:MAX_STACK]))
    return BlockingCode(
        function=function.f_code.co_qualname,
        place=f"{function.f_code.co_filename}:{function.f_lineno}",
        stack="".join(lines.format()),
    )


def _is_caller(frame: FrameType) -> bool:
    return is_of_loop(frame) or frame.f_code.co_filename.startswith(_LIBRARY)


@attrs.define(eq=False)
class LoopWatch:
    """Finds the code that holds a loop for longer than a limit. `look` is called by another thread.

    Attributes:
        limit_ms: the limit, in milliseconds.
        now_ms: a clock that never goes back.
        frame: returns the innermost frame of the loop's thread. None if it has ended.
        soon: calls a function in the loop, from another thread.
        began: called with the code, in the other thread, while it holds the loop.
        ended: called with it in the loop, and with the milliseconds that it took.
    """

    limit_ms: float
    now_ms: Callable[[], float]
    frame: Callable[[], FrameType | None]
    soon: Callable[[Callable[[], None]], object]
    began: Callable[[BlockingCode], None]
    ended: Callable[[BlockingCode, float], None]
    _lock: threading.Lock = attrs.field(factory=threading.Lock)
    _asked: bool = False
    _step: FrameType | None = None
    _since_ms: float = 0
    _found: BlockingCode | None = None

    def look(self) -> None:
        """Look at the loop once."""
        frame = self.frame()
        if frame is None:
            return
        with self._lock:
            if not self._asked:
                # An idle loop is not woken: it blocks nothing.
                if is_of_loop(frame):
                    return
                self._asked = True
                # The answer shows that the loop has taken a step since: without one, all that follows is one block.
                self.soon(self._answer)
            if self._found is not None:
                return
            # A loop with much work takes new steps, and none of them blocks it.
            if (step := step_of(frame)) is not self._step:
                self._step, self._since_ms = step, self.now_ms()
            if self.now_ms() - self._since_ms < self.limit_ms:
                return
            found = self._found = blocking_code(frame)
        # Outside of the lock: the listener may take long, and `_answer` runs in the loop.
        self.began(found)

    def _answer(self) -> None:
        with self._lock:
            found, took_ms = self._found, self.now_ms() - self._since_ms
            self._asked, self._step, self._found = False, None, None
        if found is not None:
            self.ended(found, took_ms)


@attrs.define(eq=False)
class WatchingThread:
    """Looks at a loop until it is cancelled.

    Attributes:
        watch: the watch.
    """

    watch: LoopWatch
    _phase: Literal["looking", "over"] = "looking"

    def start(self) -> None:
        """Start the thread. It does not keep the process alive."""
        threading.Thread(target=self._run, name="perdure: blocked loop", daemon=True).start()

    def cancel(self) -> None:
        """Stop looking, at the next look."""
        self._phase = "over"

    def _run(self) -> None:
        while True:
            time.sleep(self.watch.limit_ms / 1_000)  # to wait for an event, such as the end, costs twice as much
            if self._phase == "over":
                return
            try:
                self.watch.look()
            except RuntimeError:  # the loop is closed
                return


def frame_of(thread_id: int) -> Callable[[], FrameType | None]:
    """Return a function that returns the innermost frame of a thread."""
    return lambda: sys._current_frames().get(thread_id)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - documented, for this

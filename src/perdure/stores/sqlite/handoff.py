"""Two threads on one connection, never at the same moment: the driver's thread lends it for a step at a time.

`sqlite3` copies a database in one call, which does not return before the end. So that call runs in a thread of its own
and waits after each step; the driver's thread lets it go on between two groups of commits, and stands still meanwhile.
What this connection commits between two steps goes into the copy as well, so SQLite never has to begin it anew.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import attrs


class HandoffRevoked(Exception):
    """The steps are over before the work was: the connection is being closed, or nobody wants the work any more."""


@attrs.define
class Handoff:
    """What the working thread needs for each step.

    Attributes:
        left: how many pages are left, and how many there are; None before the first step.
        is_over: whether the work has ended, in whatever way.
    """

    left: tuple[int, int] | None = None
    is_over: bool = False
    _is_held: bool = False  # the worker waits for its next step
    _is_wanted: bool = True
    _door: threading.Lock = attrs.Factory(threading.Lock)
    _go: threading.Semaphore = attrs.Factory(lambda: threading.Semaphore(0))
    _back: threading.Semaphore = attrs.Factory(lambda: threading.Semaphore(0))

    # ------------------------------------------------------------ in the driver's thread
    def step(self) -> None:
        """Lend the connection for a step, and take it back. It does nothing before the work begins or after its end."""
        with self._door:
            self._step()

    def take(self) -> None:
        """Let the work end now, if it has not: it does not touch the connection again."""
        with self._door:
            self._is_wanted = False
            self._step()
            self.is_over = True

    def _step(self) -> None:
        if self._is_held and not self.is_over:
            self._go.release()
            self._back.acquire()

    # ------------------------------------------------------------ in the working thread
    def work(self, work: Callable[[], None]) -> None:
        """Do work that calls `between` after each of its steps.

        Raises:
            HandoffRevoked: its end came first.
        """
        with self._door:
            if not self._is_wanted:
                raise HandoffRevoked
            self._is_held = True
        try:
            self._wait()
            work()
        finally:
            self.is_over = True
            self._back.release()

    def between(self, _: int, pages_left: int, pages: int) -> None:
        """Give the connection back until the next step.

        Raises:
            HandoffRevoked: there is none.
        """
        self.left = pages_left, pages
        self._back.release()
        self._wait()

    def _wait(self) -> None:
        self._go.acquire()
        if not self._is_wanted:
            raise HandoffRevoked

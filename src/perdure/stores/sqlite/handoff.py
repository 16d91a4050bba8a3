"""Two threads on one connection, never at the same time: the driver's thread lends it for a step at a time.

`sqlite3` copies a database in one call, which returns only at the end. So that call runs in a thread of its own and
waits after each step; the driver's thread lets it continue between two groups of commits, and waits meanwhile. Commits
of this connection between two steps go into the copy too, so SQLite never has to restart it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import attrs


class HandoffRevoked(Exception):
    """The handoff ended before the work did: the connection is being closed, or the work was revoked."""


@attrs.define
class Handoff:
    """Coordinates the steps of the working thread.

    Attributes:
        left: number of pages left, and of all pages; None before the first step.
        is_over: whether the work has ended, for any reason.
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
        """Lend the connection for a step, and take it back. Does nothing before the work begins or after its end."""
        with self._door:
            self._step()

    def take(self) -> None:
        """End the work now, if it has not ended: it does not use the connection again."""
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
        """Run work that calls `between` after each of its steps.

        Raises:
            HandoffRevoked: the handoff ended first.
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
        """Return the connection until the next step.

        Raises:
            HandoffRevoked: there is no next step.
        """
        self.left = pages_left, pages
        self._back.release()
        self._wait()

    def _wait(self) -> None:
        self._go.acquire()
        if not self._is_wanted:
            raise HandoffRevoked

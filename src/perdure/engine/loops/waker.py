"""Wakes a loop at an instant of the wall clock, or earlier on request, or periodically."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import attrs

from perdure.runtime.record import Future, Runtime, Timer

MAX_SLEEP_MS = 60_000
"""A sleep reads the wall clock at least this often, because the clock may jump."""


@attrs.define
class Waker:
    """Wakes one loop.

    Attributes:
        runtime: the only interface to time.
    """

    runtime: Runtime
    _state: Literal["quiet", "notified"] = "quiet"
    _asleep: Future[Any] | None = None
    _until_ms: int | None = None
    _timer: Timer | None = None

    def notify(self) -> None:
        """Notify the loop, or keep it from its next sleep."""
        self._state = "notified"
        self._end()

    def bring_forward(self, at_ms: int) -> None:
        """End the present sleep of the loop at this instant, which is earlier than the one that it waits for."""
        # A new timer instead of a loop that wakes, looks, and sleeps again: each run that sets an alarm would wake it.
        self._until_ms = at_ms
        if self._asleep is not None:
            self._set_timer()

    async def wait_until(self, at_ms: int | None) -> None:
        """Sleep until an instant, or until notified.

        Args:
            at_ms: integer milliseconds UTC of the wall clock. None: until notified.
        """
        self._until_ms = at_ms
        while self._state == "quiet":
            await self._sleep()
            if self._until_ms is not None and self.runtime.now_ms() >= self._until_ms:
                break
        self._state = "quiet"

    async def _sleep(self) -> None:
        self._asleep = self.runtime.future()
        self._set_timer()
        try:
            await self._asleep
        finally:
            self._asleep = None
            self._cancel_timer()

    def _set_timer(self) -> None:
        self._cancel_timer()
        if self._until_ms is not None:
            delay_ms = max(0, min(self._until_ms - self.runtime.now_ms(), MAX_SLEEP_MS))
            self._timer = self.runtime.call_later(delay_ms, self._end)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self) -> None:
        if self._asleep is not None and not self._asleep.done():
            self._asleep.set_result(None)


async def every(runtime: Runtime, delay_ms: float, act: Callable[[], object]) -> None:
    """Call a function periodically, until the task is cancelled."""
    while True:
        await runtime.sleep(delay_ms)
        act()

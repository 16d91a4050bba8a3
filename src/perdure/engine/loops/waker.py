"""Wakes a loop at an instant of the wall clock, or earlier on request, or periodically."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import attrs

from perdure.runtime.record import Future, Runtime

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

    def notify(self) -> None:
        """Notify the loop, or keep it from its next sleep."""
        self._state = "notified"
        if self._asleep is not None and not self._asleep.done():
            self._asleep.set_result(None)

    async def wait_until(self, at_ms: int | None) -> None:
        """Sleep until an instant, or until notified.

        Args:
            at_ms: integer milliseconds UTC of the wall clock. None: until notified.
        """
        while self._state == "quiet":
            await self._sleep(None if at_ms is None else max(0, min(at_ms - self.runtime.now_ms(), MAX_SLEEP_MS)))
            if at_ms is not None and self.runtime.now_ms() >= at_ms:
                break
        self._state = "quiet"

    async def _sleep(self, delay_ms: float | None) -> None:
        asleep = self._asleep = self.runtime.future()

        def end() -> None:
            if not asleep.done():
                asleep.set_result(None)

        timer = None if delay_ms is None else self.runtime.call_later(delay_ms, end)
        try:
            await asleep
        finally:
            if timer is not None:
                timer.cancel()
            self._asleep = None


async def every(runtime: Runtime, delay_ms: float, act: Callable[[], object]) -> None:
    """Call a function periodically, until the task is cancelled."""
    while True:
        await runtime.sleep(delay_ms)
        act()

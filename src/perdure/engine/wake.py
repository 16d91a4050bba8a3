"""An alarm clock for a loop: it sleeps until an instant of the wall clock, or until somebody wakes it."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from perdure.runtime.record import Future, Runtime

MAX_SLEEP_MS = 60_000
"""A sleep towards an instant is looked at again at least this often, because the wall clock may jump."""


@attrs.define
class Wake:
    """Wakes one loop.

    Attributes:
        runtime: the only door to time.
    """

    runtime: Runtime
    _state: Literal["quiet", "rung"] = "quiet"
    _asleep: Future[Any] | None = None

    def ring(self) -> None:
        """Wake the loop, or keep it from its next sleep."""
        self._state = "rung"
        if self._asleep is not None and not self._asleep.done():
            self._asleep.set_result(None)

    async def wait_until(self, at_ms: int | None) -> None:
        """Sleep until an instant, or until rung. None: until rung, or looked at again.

        Args:
            at_ms: integer milliseconds UTC of the wall clock.
        """
        if self._state == "quiet":
            delay_ms = MAX_SLEEP_MS if at_ms is None else max(0, min(at_ms - self.runtime.now_ms(), MAX_SLEEP_MS))
            await self._sleep(delay_ms)
        self._state = "quiet"

    async def _sleep(self, delay_ms: float) -> None:
        asleep = self._asleep = self.runtime.future()
        timer = self.runtime.call_later(delay_ms, lambda: None if asleep.done() else asleep.set_result(None))
        try:
            await asleep
        finally:
            timer.cancel()
            self._asleep = None

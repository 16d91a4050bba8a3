"""A time limit for a coroutine, which costs nothing while the coroutine does not wait."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

import attrs

from perdure.runtime.record import Runtime, Timer
from perdure.runtime.tasks import Resumed

T = TypeVar("T")


@attrs.define
class TimeLimit(Generic[T]):
    """Awaits a coroutine, and calls a function when it takes too long.

    The timer is set at the first wait: most event handlers never wait.

    Attributes:
        coroutine: the coroutine.
        limit_ms: the limit in milliseconds, from the first wait on.
        runtime: sets the timer.
        expired: called when the limit is over; it must end the coroutine.
    """

    coroutine: Coroutine[Any, Any, T]
    limit_ms: int
    runtime: Runtime
    expired: Callable[[], None]
    _restarted_ms: float | None = None
    _timer: Timer | None = None

    def restart(self) -> None:
        """Let the time limit begin again. It costs nothing but the time of the clock: the timer is set at its end."""
        self._restarted_ms = self.runtime.monotonic_ms()

    def __await__(self) -> Generator[Any, Any, T]:
        try:
            awaited = self.coroutine.send(None)
        except StopIteration as stop:
            value: T = stop.value
            return value
        self._timer = self.runtime.call_later(self.limit_ms, self._over)
        try:
            return (yield from Resumed(self.coroutine, awaited).__await__())
        finally:
            self._timer.cancel()

    def _over(self) -> None:
        restarted_ms, self._restarted_ms = self._restarted_ms, None
        if restarted_ms is None:
            self.expired()
            return
        left_ms = restarted_ms + self.limit_ms - self.runtime.monotonic_ms()
        self._timer = self.runtime.call_later(max(0, math.ceil(left_ms)), self._over)

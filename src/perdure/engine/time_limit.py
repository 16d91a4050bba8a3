"""A time limit for a coroutine, which costs nothing while the coroutine does not wait."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

import attrs

from perdure.engine.eager_task import Resumed
from perdure.runtime.record import Runtime

T = TypeVar("T")


@attrs.frozen
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

    def __await__(self) -> Generator[Any, Any, T]:
        try:
            awaited = self.coroutine.send(None)
        except StopIteration as stop:
            value: T = stop.value
            return value
        timer = self.runtime.call_later(self.limit_ms, self.expired)
        try:
            return (yield from Resumed(self.coroutine, awaited).__await__())
        finally:
            timer.cancel()

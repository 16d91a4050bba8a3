"""Work that is expensive for the event loop: little of it at once, and pauses in between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import attrs

from perdure.runtime.record import Runtime

T = TypeVar("T")


@attrs.frozen(eq=False)
class Few:
    """Performs so much work at once; more waits, in the order of arrival.

    After each piece of work its slot rests for as long as the work took, so that with one slot it takes at most half of
    the event loop, however much of it clients request.

    Attributes:
        slots: how much is performed at once.
    """

    slots: int
    _free: asyncio.Semaphore = attrs.field(
        init=False, default=attrs.Factory(lambda self: asyncio.Semaphore(self.slots), takes_self=True)
    )

    async def perform(self, work: Callable[[], Awaitable[T]], runtime: Runtime) -> T:
        """Wait for a slot and do the work.

        Args:
            work: a function that does it.
            runtime: the clock.
        """
        await self._free.acquire()
        began_ms = runtime.monotonic_ms()
        try:
            return await work()
        finally:
            runtime.call_later(runtime.monotonic_ms() - began_ms, self._free.release)

"""The entrance: where callers wait who would rather wait than be refused."""

from __future__ import annotations

from collections import deque
from typing import Any, TypeAlias

import attrs

from perdure.runtime.record import Future, Runtime
from perdure.values.address import Address

Before: TypeAlias = Address | None
"""What there is no room in: the mailbox of an instance, or, as None, the engine."""


@attrs.define
class AdmissionQueue:
    """One queue before each full mailbox, and one before the engine, first in, first out.

    Whoever is called looks again whether there is room, and waits elsewhere if it is another queue's turn now.

    Attributes:
        runtime: makes the futures that callers wait for.
    """

    runtime: Runtime
    _queues: dict[Before, deque[Future[Any]]] = attrs.Factory(dict[Before, deque[Future[Any]]])

    @property
    def is_empty(self) -> bool:
        """Whether nobody waits."""
        return not self._queues

    @property
    def waiting(self) -> int:
        """How many callers wait."""
        return sum(not called.done() for queue in self._queues.values() for called in queue)

    async def wait(self, before: Before) -> None:
        """Wait to be called. Who gives up when called already lets the next one in."""
        called = self.runtime.future()
        self._queues.setdefault(before, deque()).append(called)
        try:
            await called
        except self.runtime.cancelled:
            if called.done() and not called.cancelled():
                self.call(before)
            raise

    def call(self, before: Before) -> None:
        """Call the first who waits there, because there is room for one."""
        queue = self._queues.get(before)
        while queue:
            called = queue.popleft()
            if not queue:
                del self._queues[before]
            if not called.done():
                called.set_result(None)
                return

    def call_all(self) -> None:
        """Call everybody: the engine takes nothing any more."""
        for before in tuple(self._queues):
            while before in self._queues:
                self.call(before)

"""Admission queue for callers when ``on_full="block"``."""

from __future__ import annotations

from collections import deque
from typing import Any, TypeAlias

import attrs

from perdure.engine.item import Item
from perdure.engine.resident import Resident
from perdure.runtime.record import Future, Runtime
from perdure.values.address import Address
from perdure.values.errors import Overloaded
from perdure.values.limits import Limits

Before: TypeAlias = Address | None
"""The full queue: the mailbox of an instance, or None for the engine's own."""


@attrs.define
class AdmissionQueue:
    """One first-in-first-out queue per full mailbox, and one for the engine.

    A caller that is admitted checks again whether there is room, and waits in the other queue if that one is full.

    Attributes:
        runtime: creates the futures that callers wait for.
        queues: the callers that wait.
    """

    runtime: Runtime
    queues: dict[Before, deque[Future[Any]]] = attrs.Factory(dict[Before, deque[Future[Any]]])

    @property
    def waiting(self) -> int:
        """Number of callers that wait."""
        return sum(not called.done() for queue in self.queues.values() for called in queue)

    async def wait(self, before: Before) -> None:
        """Wait to be admitted. A caller that is cancelled after its admission admits the next one."""
        called = self.runtime.future()
        self.queues.setdefault(before, deque()).append(called)
        try:
            await called
        except self.runtime.cancelled:
            if called.done() and not called.cancelled():
                self.call(before)
            raise

    def call(self, before: Before) -> None:
        """Admit the first caller of a queue, because there is room for one."""
        queue = self.queues.get(before)
        while queue:
            called = queue.popleft()
            if not queue:
                del self.queues[before]
            if not called.done():
                called.set_result(None)
                return

    def call_all(self) -> None:
        """Admit all callers: the engine accepts no more requests, which they find out themselves."""
        for before in tuple(self.queues):
            while before in self.queues:
                self.call(before)


def overload(item: Item, resident: Resident | None, pending: int, limits: Limits) -> Overloaded | None:
    """Return why there is no room for a request; None if there is.

    Args:
        item: the request. What counts nothing has limits of its own.
        resident: its instance, if it is in memory.
        pending: the requests that wait or are being served.
        limits: the engine's limits.
    """
    if not item.counts:
        return None
    if resident is not None and len(resident.waiting) >= limits.mailbox_size:
        return Overloaded(f"mailbox of {resident.address}", limits.mailbox_size)
    if pending >= limits.max_pending and item.request.inbound is None:  # the outbox has its own limit
        return Overloaded("the engine's queue", limits.max_pending)
    return None

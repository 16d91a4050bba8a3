"""What loops share: a waker, which wakes a loop at an instant or on request, and the places of the jobs in a loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import attrs

from perdure.runtime.record import Future, Runtime, Timer
from perdure.values.address import Address, Job

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


@attrs.define
class Places:
    """How much of a loop's work is in progress, and which jobs leave the rest to others.

    A job without work in progress always has a place. One with work has one while its own, counted twice, and that of
    the others is less than twice the limit. So a job alone may have the limit, the next one beside it half of that, and
    all together at most twice the limit and one for each job.
    """

    limit: int
    total: int = 0
    _of: dict[Job, int] = attrs.Factory(dict[Job, int])

    def has(self, job: Job) -> bool:
        """Whether more of a job may begin."""
        # A bound for all jobs together would be used up by the one with long runs, and the others wait for their end.
        mine = self._of.get(job)
        return mine is None or mine + self.total < 2 * self.limit

    def number_of(self, job: Job) -> int:
        """How much of a job is in progress."""
        return self._of.get(job, 0)

    @property
    def full(self) -> tuple[Job, ...]:
        """The jobs without a place."""
        return tuple(job for job in self._of if not self.has(job))

    def take(self, target: Address) -> None:
        """Count work of an instance as in progress."""
        job = (target.kind, target.name)
        self._of[job] = self._of.get(job, 0) + 1
        self.total += 1

    def leave(self, target: Address) -> None:
        """Count work of an instance as over."""
        job = (target.kind, target.name)
        self.total -= 1
        if (rest := self._of[job] - 1) > 0:
            self._of[job] = rest
        else:
            del self._of[job]


async def every(runtime: Runtime, delay_ms: float, act: Callable[[], object]) -> None:
    """Call a function periodically, until the task is cancelled."""
    while True:
        await runtime.sleep(delay_ms)
        act()

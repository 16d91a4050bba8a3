"""The two clocks of the simulation and the timers on them."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count

import attrs

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Schedule = Callable[[Callable[[], object]], object]


@attrs.define(eq=False)
class SimulatedTimer:
    """A call that is scheduled for the time `at_ms` of the monotonic clock."""

    at_ms: float
    function: Callable[[], object] | None

    def cancel(self) -> None:
        """Cancel the call."""
        self.function = None


class SimulatedClock:
    """A wall clock and a monotonic one: they move together, and the wall clock can be made to jump.

    Args:
        start: the initial wall clock.
        ties: draws the order of timers with the same time; None keeps the order in which they were set.
    """

    def __init__(self, start: datetime, ties: random.Random | None) -> None:
        if start.tzinfo is None:
            raise ValueError(f"the start of a simulation must be an aware datetime, got {start!r}; add tzinfo=UTC")
        self.monotonic_ms = 0.0
        self._wall_at_zero_us = (start - _EPOCH) // _MICROSECOND
        self._timers: list[tuple[float, float, int, SimulatedTimer]] = []
        self._sequence = count()
        self._ties = ties
        self._seen_ms = -1.0

    def wall_us(self) -> int:
        """The wall clock, in microseconds since 1970 UTC."""
        return self._wall_at_zero_us + int(self.monotonic_ms * 1_000)

    def wall_ms(self) -> int:
        """The wall clock, in milliseconds since 1970 UTC."""
        return self.wall_us() // 1_000

    def shift_wall(self, delta_ms: int) -> None:
        """Make the wall clock jump."""
        self._wall_at_zero_us += delta_ms * 1_000

    def advance_to(self, at_ms: float) -> None:
        """Move the monotonic clock, never backwards."""
        self.monotonic_ms = max(self.monotonic_ms, at_ms)

    @property
    def timers(self) -> tuple[str, ...]:
        """Return the names of the functions of all set timers."""
        live = [timer for *_, timer in self._timers if timer.function is not None]
        return tuple(f"a timer of {getattr(timer.function, '__qualname__', timer.function)!s}" for timer in live)

    def has_not_moved(self) -> bool:
        """Return whether the clock has not moved since the previous call."""
        before_ms, self._seen_ms = self._seen_ms, self.monotonic_ms
        return before_ms == self.monotonic_ms

    def call_later(self, delay_ms: float, function: Callable[[], object]) -> SimulatedTimer:
        """Set a timer that expires after `delay_ms` milliseconds."""
        timer = SimulatedTimer(self.monotonic_ms + max(0.0, delay_ms), function)
        tie = self._ties.random() if self._ties is not None else 0.0
        heapq.heappush(self._timers, (timer.at_ms, tie, next(self._sequence), timer))
        return timer

    def jump_to_next_timer(self, schedule: Schedule, *, until_ms: float = float("inf")) -> bool:
        """Move to the next timer, if it is not after `until_ms`, and pass the due calls to `schedule`.

        Returns:
            False when there is no such timer; then the clock did not move.
        """
        self._drop_cancelled()
        if not self._timers or self._timers[0][0] > until_ms:
            return False
        self.advance_to(self._timers[0][0])
        self.fire_due(schedule)
        return True

    def fire_due(self, schedule: Schedule) -> None:
        """Pass the due calls to `schedule`."""
        while self._timers and self._timers[0][0] <= self.monotonic_ms:
            timer = heapq.heappop(self._timers)[-1]
            if timer.function is not None:
                schedule(timer.function)

    def _drop_cancelled(self) -> None:
        while self._timers and self._timers[0][-1].function is None:
            heapq.heappop(self._timers)

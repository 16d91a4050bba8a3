"""A world's clock, also for fake services that are built before the world."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import attrs

from perdure.runtime.simulated import Simulation
from perdure.values.times import Duration, duration_ms, to_ms

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""The initial time of a world's clock."""


@attrs.define(init=False, eq=False)
class Clock:
    """A virtual clock. Only its world moves it. Outside a world it shows its start.

    Args:
        start: the initial time, an aware datetime. The clock keeps its microseconds, as a production clock has some.

    Raises:
        DefinitionError: the start has no time zone.
    """

    _now: datetime
    _simulation: Simulation | None

    def __init__(self, start: datetime = START) -> None:
        to_ms(start, what="start of a Clock")
        self._now = start.astimezone(UTC)
        self._simulation = None

    @property
    def now(self) -> datetime:
        """The current time, an aware instant in UTC."""
        return self._now if self._simulation is None else self._simulation.now

    @property
    def now_ms(self) -> int:
        """The current time, in milliseconds since 1970 UTC."""
        return to_ms(self._now) if self._simulation is None else self._simulation.now_ms

    async def sleep(self, duration: Duration) -> None:
        """Wait in a fake service: virtual time passes."""
        delay_ms = duration_ms(duration, what="duration of sleep", minimum_ms=0)
        if self._simulation is not None:
            await self._simulation.runtime.sleep(delay_ms)

    # ------------------------------------------------------------ for its world
    def follow(self, simulation: Simulation) -> None:
        """Show this simulation's time."""
        self._simulation = simulation

    def stop(self) -> None:
        """Stop at the current time."""
        self._now, self._simulation = self.now, None

    def shift(self, delta_ms: int) -> None:
        """Jump, forward or backward. Timers follow the monotonic clock and are not affected."""
        if self._simulation is None:
            self._now += timedelta(milliseconds=delta_ms)
        else:
            self._simulation.shift_wall_clock(delta_ms)

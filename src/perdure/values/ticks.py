"""Ticks: the nominal times of a schedule, in a fixed order."""

from __future__ import annotations

from typing import Protocol

from perdure.values.frozen import frozen


class Ticks(Protocol):
    """An infinite series of instants, integer milliseconds UTC, strictly rising."""

    def after(self, instant_ms: int) -> int:
        """Return the first tick later than an instant."""
        ...

    def count(self, after_ms: int, until_ms: int, *, most: int) -> int:
        """Count the ticks later than ``after_ms`` and not later than ``until_ms``, up to ``most``."""
        ...

    def last(self, after_ms: int, until_ms: int, *, most: int) -> tuple[int, ...]:
        """Return the latest of those ticks, at most ``most``, in rising order."""
        ...


@frozen
class Grid:
    """Ticks at ``anchor + k * interval``, for every whole k.

    Attributes:
        anchor_ms: any tick.
        interval_ms: the time between two ticks.
    """

    anchor_ms: int
    interval_ms: int

    def after(self, instant_ms: int) -> int:
        """Return the first tick later than an instant."""
        return self._tick(self._number(instant_ms) + 1)

    def count(self, after_ms: int, until_ms: int, *, most: int) -> int:
        """Count the ticks later than ``after_ms`` and not later than ``until_ms``, up to ``most``."""
        return max(0, min(self._number(until_ms) - self._number(after_ms), most))

    def last(self, after_ms: int, until_ms: int, *, most: int) -> tuple[int, ...]:
        """Return the latest of those ticks, at most ``most``, in rising order."""
        end = self._number(until_ms) + 1
        first = end - self.count(after_ms, until_ms, most=most)
        return tuple(self._tick(number) for number in range(first, end))

    def _tick(self, number: int) -> int:
        return self.anchor_ms + number * self.interval_ms

    def _number(self, instant_ms: int) -> int:
        """Return the number of the latest tick that is not later than an instant."""
        return (instant_ms - self.anchor_ms) // self.interval_ms

"""Limits how many alarms are in progress, so that a burst of them leaves room for requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Literal, TypeVar

import attrs

A = TypeVar("A")

FIRST = 12
"""Alarms in the first batch: two milliseconds of work, which a request may wait for more than once."""

ALONE = 128
"""Alarms in a batch while no requests arrive: a larger commit costs less per alarm."""

LARGEST = 1_024
"""Alarms in the largest batch."""

PATIENCE_MS = 10
"""How long a batch may take before the loop checks whether it waits or works."""

BUSY_MS = 5
"""A timer that is this late shows that the process is busy: more alarms would only queue."""

MAX_PATIENCE = 10
"""After this many checks the next batch is fired in any case."""


@attrs.define
class AlarmWindow(Generic[A]):
    """The alarms that were fired together and are not settled yet.

    Alarms whose runs wait for external systems cost nothing while they wait: they leave the batch, and the next batch
    is twice as large. Alarms that wait for a slow disk let the batch grow slowly, since a large commit costs little
    more than a small one. Alarms that keep the process busy delay the next ones; otherwise every request would wait for
    all due alarms.

    Attributes:
        company: whether requests arrive too, for which alarms leave room.
    """

    company: Literal["requests", "none"] = "requests"
    _size: int = FIRST
    _members: set[A] = attrs.Factory(set[A])
    _looks: int = 0

    @property
    def has_room(self) -> bool:
        """Whether one more may be fired."""
        return len(self._members) < self._limit

    @property
    def is_half_done(self) -> bool:
        """Whether it is worth firing more."""
        return len(self._members) <= self._limit // 2

    @property
    def _limit(self) -> int:
        return self._size if self.company == "requests" else max(self._size, ALONE)

    def add(self, alarm: A) -> None:
        """Count a fired alarm."""
        self._members.add(alarm)

    def settle(self, alarm: A) -> None:
        """Remove an alarm whose turn is over."""
        self._members.discard(alarm)

    def refill(self) -> None:
        """Restart the patience, because much of the batch is settled."""
        self._looks = 0

    def reset(self) -> None:
        """Start again with a small batch, because nothing more is due."""
        self._size = FIRST

    def look(self, late_ms: float, waits_outside: Callable[[A], bool]) -> None:
        """Adjust the size of a batch that takes long.

        Args:
            late_ms: lateness of the timer that triggered this check, in milliseconds.
            waits_outside: whether the run of an alarm waits for external systems.
        """
        self._looks += 1
        if self._looks == MAX_PATIENCE:
            self.forget()
        elif late_ms >= BUSY_MS:
            self._size = max(FIRST, self._size // 2)
        else:
            before = len(self._members)
            self._members = {alarm for alarm in self._members if not waits_outside(alarm)}
            self._size = min(LARGEST, self._size * 2 if len(self._members) < before // 2 else self._size + FIRST)

    def forget(self) -> None:
        """Forget the alarms in progress: they had their time and wait for something."""
        self._looks = 0
        self._members.clear()

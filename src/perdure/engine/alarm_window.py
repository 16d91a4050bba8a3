"""Portions: how many alarms may be under way at the same time, so that a flood of them leaves room for requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import attrs

from perdure.values.address import Address

FIRST = 12
"""Alarms in the first portion: two milliseconds of work, which a request waits for more than once."""

ALONE = 128
"""Alarms in a portion while nobody asks for anything: the more in a commit, the less each costs."""

LARGEST = 1_024
"""Alarms in the largest portion."""

PATIENCE_MS = 10
"""How long a portion may take before it is looked at whether it waits or works."""

BUSY_MS = 5
"""A timer that is so late says that the process is busy: then the portion works, and more would only queue."""

MAX_PATIENCE = 10
"""After so many looks the next portion comes whatever the process does."""


@attrs.define
class AlarmWindow:
    """The alarms that were fired together and are not settled yet.

    Alarms whose runs wait for the world outside cost nothing while they wait: they leave the portion, and the next one
    is twice as large. Those that wait for a slow disk let it grow by and by, since a commit of many costs little more
    than one of a few. Alarms that keep the process busy hold the next ones back: else every request would wait behind
    all that is due.

    Attributes:
        company: whether requests come in as well, which alarms leave room for.
    """

    company: Literal["requests", "nobody"] = "requests"
    _size: int = FIRST
    _members: set[Address] = attrs.Factory(set[Address])
    _looks: int = 0

    @property
    def has_room(self) -> bool:
        """Whether one more may be fired."""
        return len(self._members) < self._limit

    @property
    def is_half_done(self) -> bool:
        """Whether it is worth while to fire more."""
        return len(self._members) <= self._limit // 2

    @property
    def _limit(self) -> int:
        return self._size if self.company == "requests" else max(self._size, ALONE)

    def add(self, address: Address) -> None:
        """Count an alarm that is fired."""
        self._members.add(address)

    def settle(self, address: Address) -> None:
        """An alarm's turn is over."""
        self._members.discard(address)

    def refill(self) -> None:
        """Much of it is settled: what is fired next has its whole time."""
        self._looks = 0

    def reset(self) -> None:
        """Nothing more is due: the next portion is a small one again."""
        self._size = FIRST

    def look(self, late_ms: float, waits_outside: Callable[[Address], bool]) -> None:
        """Look at a portion that takes long.

        Args:
            late_ms: by how much the timer was late that called for this look.
            waits_outside: whether the run of an instance waits for the world outside.
        """
        self._looks += 1
        if self._looks == MAX_PATIENCE:
            self.forget()
        elif late_ms >= BUSY_MS:
            self._size = max(FIRST, self._size // 2)
        else:
            before = len(self._members)
            self._members = {address for address in self._members if not waits_outside(address)}
            self._size = min(LARGEST, self._size * 2 if len(self._members) < before // 2 else self._size + FIRST)

    def forget(self) -> None:
        """What is under way had its time, and waits for something."""
        self._looks = 0
        self._members.clear()

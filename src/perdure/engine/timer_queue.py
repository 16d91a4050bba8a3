"""The next alarms, in memory, and when to read more from the store."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import TypeAlias

import attrs

from perdure.values.address import Address

Entry: TypeAlias = tuple[Address, int]
"""An instance, and when its alarm is due."""

NEVER_MS = 2**63 - 1
"""Later than any alarm."""

ROOM = 10_000
"""Maximum number of alarms in memory."""


@attrs.define
class TimerQueue:
    """All alarms up to an instant, and when the first alarm after it may be due.

    Only this engine sets alarms in its store, and it adds each one here after its commit: a read stays complete. An
    entry may be stale, because its alarm was moved or cancelled meanwhile; its turn finds that out.

    Attributes:
        known_until_ms: every alarm that is due up to this instant is an entry.
        next_ms: no later alarm is due before this instant; then the store must be read again.
        room: maximum number of entries; further alarms are read from the store when they are due.
    """

    known_until_ms: int = -1
    next_ms: int = 0
    room: int = ROOM
    _entries: list[tuple[int, int, Address]] = attrs.Factory(list[tuple[int, int, Address]])
    _pushed: int = 0
    _added_since: list[Entry] | None = None

    def add(self, address: Address, due_ms: int) -> None:
        """Add an alarm that became durable."""
        if self._added_since is not None:
            self._added_since.append((address, due_ms))
        self._place(address, due_ms)

    def pop(self, now_ms: int) -> Address | None:
        """Remove and return an instance whose alarm is due, the earliest first; None if there is none."""
        return heapq.heappop(self._entries)[2] if self.has_due(now_ms) else None

    def has_due(self, now_ms: int) -> bool:
        """Whether an entry is due."""
        return bool(self._entries) and self._entries[0][0] <= now_ms

    def doubt(self, now_ms: int) -> None:
        """Require another read, because the store may hold an alarm that was not added."""
        self.next_ms = min(self.next_ms, now_ms)

    def must_be_read(self, now_ms: int) -> bool:
        """Whether the store may hold a due alarm that is not an entry. Due entries are fired first."""
        return self.next_ms <= now_ms and not self.has_due(now_ms)

    @property
    def wake_ms(self) -> int:
        """When to fire or to read next; ``NEVER_MS`` if there is nothing to do."""
        return min(self._entries[0][0], self.next_ms) if self._entries else self.next_ms

    # ------------------------------------------------------------ reading
    def begin_reading(self) -> None:
        """Record additions from here on: the read that starts now may miss them."""
        self._added_since = []

    def read(self, entries: Iterable[Entry], until_ms: int) -> None:
        """Replace the entries with those of the store: all alarms up to an instant, and perhaps later ones."""
        self._entries.clear()
        self.known_until_ms, self.next_ms = until_ms, until_ms + 1
        for address, due_ms in entries:
            self._push(address, due_ms)
        for address, due_ms in self._added_since or ():
            self._place(address, due_ms)

    def end_reading(self, next_ms: int) -> None:
        """Set the due time of the first alarm after ``known_until_ms``, as the store returned it."""
        added = (due_ms for _, due_ms in self._added_since or () if due_ms > self.known_until_ms)
        self.next_ms = min((next_ms, *added))
        self._added_since = None

    def _place(self, address: Address, due_ms: int) -> None:
        if due_ms <= self.known_until_ms and len(self._entries) < self.room:
            self._push(address, due_ms)
        else:
            self.known_until_ms = min(self.known_until_ms, due_ms - 1)
            self.next_ms = min(self.next_ms, due_ms)

    def _push(self, address: Address, due_ms: int) -> None:
        self._pushed += 1
        heapq.heappush(self._entries, (due_ms, self._pushed, address))

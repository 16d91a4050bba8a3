"""The agenda: the alarms of the next moments, in memory, and when to look into the store for more."""

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
"""Alarms that are kept in memory."""


@attrs.define
class TimerQueue:
    """Every alarm up to an instant, and when the first one after it may be due.

    Only this engine sets alarms in a store that it owns, and each is added here when its commit is durable: so what was
    read once stays complete. An entry may be out of date, because its alarm was moved or cancelled meanwhile: the turn
    it leads to finds that out.

    Attributes:
        known_until_ms: every alarm that is due up to this instant is an entry.
        next_ms: no alarm after that one is due before this instant: then the store must be read again.
        room: entries at most; alarms beyond are read from the store when they are due.
    """

    known_until_ms: int = -1
    next_ms: int = 0
    room: int = ROOM
    _entries: list[tuple[int, int, Address]] = attrs.Factory(list[tuple[int, int, Address]])
    _pushed: int = 0
    _added_since: list[Entry] | None = None

    def add(self, address: Address, due_ms: int) -> None:
        """Take note of an alarm that became durable."""
        if self._added_since is not None:
            self._added_since.append((address, due_ms))
        self._place(address, due_ms)

    def pop(self, now_ms: int) -> Address | None:
        """Give an instance whose alarm is due, the earliest first; None when there is none on the agenda."""
        return heapq.heappop(self._entries)[2] if self.has_due(now_ms) else None

    def has_due(self, now_ms: int) -> bool:
        """Whether an entry is due."""
        return bool(self._entries) and self._entries[0][0] <= now_ms

    def doubt(self, now_ms: int) -> None:
        """The store may hold an alarm that nobody took note of: it must be read again."""
        self.next_ms = min(self.next_ms, now_ms)

    def must_be_read(self, now_ms: int) -> bool:
        """Whether the store may hold something due that is no entry. What is on the agenda goes first."""
        return self.next_ms <= now_ms and not self.has_due(now_ms)

    @property
    def wake_ms(self) -> int:
        """When there is something to do: to fire, or to read. ``NEVER_MS``: nothing, as far as is known."""
        return min(self._entries[0][0], self.next_ms) if self._entries else self.next_ms

    # ------------------------------------------------------------ reading
    def begin_reading(self) -> None:
        """Remember what is added from here on: it may be missing from what is about to be read."""
        self._added_since = []

    def read(self, entries: Iterable[Entry], until_ms: int) -> None:
        """Take what the store had: these are all the alarms up to this instant, and perhaps some more."""
        self._entries.clear()
        self.known_until_ms, self.next_ms = until_ms, until_ms + 1
        for address, due_ms in entries:
            self._push(address, due_ms)
        for address, due_ms in self._added_since or ():
            self._place(address, due_ms)

    def end_reading(self, next_ms: int) -> None:
        """Take when the first alarm after ``known_until_ms`` was due at the time it was asked for."""
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

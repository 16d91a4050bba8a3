"""The next alarms, in memory, and when to read more from the store."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Literal, TypeAlias

import attrs

from perdure.stores.values import DuePosition
from perdure.values.address import Address

Entry: TypeAlias = tuple[Address, int]
"""An instance, and when its alarm is due."""

NEVER_MS = 2**63 - 1
"""Later than any alarm."""

ROOM = 10_000
"""Maximum number of alarms in memory."""

_START: DuePosition = (-1, 0)
_LAST = 2**63 - 1


def end_of(instant_ms: int) -> DuePosition:
    """Return the position behind all alarms that are due at an instant."""
    return instant_ms, _LAST


@attrs.define
class TimerQueue:
    """All alarms up to a position in the store's order, and when the first alarm behind it may be due.

    Only this engine sets alarms in its store, and it adds each one here after its commit: so the store is read once,
    from one position to the next. When a commit may have set an alarm that was not added, it is read from its start
    again. An entry may be stale, because its alarm was moved or cancelled meanwhile; its turn finds that out.

    Attributes:
        position: every alarm up to this position is an entry, or was one.
        next_ms: no alarm behind the position is due before this instant; then the store must be read again.
        room: maximum number of added entries; further alarms are read from the store when they are due.
    """

    position: DuePosition = _START
    next_ms: int = 0
    room: int = ROOM
    _entries: list[tuple[int, int, Address]] = attrs.Factory(list[tuple[int, int, Address]])
    _pushed: int = 0
    _added_since: list[Entry] = attrs.Factory(list[Entry])
    _reading: Literal["no", "yes", "outdated"] = "no"

    def add(self, address: Address, due_ms: int) -> None:
        """Add an alarm that became durable."""
        if self._reading != "no":
            self._added_since.append((address, due_ms))
        if due_ms <= self.position[0]:
            self._push(address, due_ms)
            if len(self._entries) > self.room:
                self._drop_latest()
        else:
            self.next_ms = min(self.next_ms, due_ms)

    def pop(self, now_ms: int) -> Entry | None:
        """Remove and return the earliest alarm that is due; None if there is none."""
        if not self._entries or self._entries[0][0] > now_ms:
            return None
        due_ms, _, address = heapq.heappop(self._entries)
        return address, due_ms

    def has_due(self, now_ms: int) -> bool:
        """Whether an entry is due."""
        return bool(self._entries) and self._entries[0][0] <= now_ms

    def doubt(self, now_ms: int) -> None:
        """Read the store from its start again, because it may hold an alarm that was not added."""
        self._entries.clear()
        self._go_back(_START, now_ms)

    def must_be_read(self, now_ms: int) -> bool:
        """Whether the store may hold a due alarm that is not an entry. Due entries are fired first."""
        return self.next_ms <= now_ms and not self.has_due(now_ms)

    @property
    def wake_ms(self) -> int:
        """When to fire or to read next; ``NEVER_MS`` if there is nothing to do."""
        return min(self._entries[0][0], self.next_ms) if self._entries else self.next_ms

    # ------------------------------------------------------------ reading
    def begin_reading(self) -> DuePosition | None:
        """Record additions from here on: the read that starts now may miss them.

        Returns:
            The position after which the store is read; None for its start.
        """
        self._added_since.clear()
        self._reading = "yes"
        return None if self.position == _START else self.position

    def read(self, entries: Sequence[Entry], position: DuePosition) -> None:
        """Add the entries that the store returned: all alarms behind the previous position, up to this one."""
        if self._reading == "outdated":
            return
        self.position, self.next_ms = position, position[0] + 1
        for address, due_ms in entries:
            self._push(address, due_ms)
        if self._added_since:
            found = set(entries)
            for entry in self._added_since:
                if entry not in found and entry[1] <= self.position[0]:
                    self._push(*entry)

    def end_reading(self, next_ms: int) -> None:
        """Set the due time of the first alarm behind the position, as the store returned it."""
        if self._reading == "yes":
            added = (due_ms for _, due_ms in self._added_since if due_ms > self.position[0])
            self.next_ms = min((next_ms, *added))
        self._reading = "no"
        self._added_since.clear()

    def _push(self, address: Address, due_ms: int) -> None:
        self._pushed += 1
        heapq.heappush(self._entries, (due_ms, self._pushed, address))

    def _drop_latest(self) -> None:
        """Drop the later half of the entries: the store returns them again."""
        self._entries.sort()
        first_ms = self._entries[len(self._entries) // 2][0]
        self._entries = [entry for entry in self._entries if entry[0] < first_ms]
        self._go_back(end_of(first_ms - 1), first_ms)

    def _go_back(self, position: DuePosition, next_ms: int) -> None:
        self.position = min(self.position, position)
        self.next_ms = min(self.next_ms, next_ms)
        if self._reading == "yes":
            self._reading = "outdated"  # it began at a later position

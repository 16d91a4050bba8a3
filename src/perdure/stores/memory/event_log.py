"""The event log of the memory store, and the positions of sinks in it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import dropwhile, islice

from perdure.stores.store import Cursor, LoggedEvent
from perdure.values.address import Address
from perdure.values.event import Event


class EventLog:
    """Events by sequence number. Only the beginning of the log is deleted, so the remaining numbers have no gaps."""

    __slots__ = ("_cursors", "_events", "_first", "_history", "_last")

    def __init__(self) -> None:
        self._events: dict[int, Event] = {}
        self._history: dict[str, deque[int]] = {}  # sequence numbers by printed address
        self._first = 1
        self._last = 0
        self._cursors: dict[str, int] = {}

    def append(self, event: Event) -> None:
        """Add an event at the end."""
        self._last = sequence = self._last + 1
        self._events[sequence] = event
        self._history.setdefault(event.address, deque()).append(sequence)

    def after(self, sequence: int, limit: int) -> tuple[LoggedEvent, ...]:
        """Return the events after a sequence number, in order."""
        begin = max(sequence + 1, self._first)
        return tuple(self._logged(number) for number in range(begin, min(begin + limit, self._last + 1)))

    def history(self, address: Address, before: int | None, limit: int) -> tuple[LoggedEvent, ...]:
        """Return the newest events of an address, newest first."""
        newest_first = reversed(self._history.get(str(address), ()))
        older = newest_first if before is None else dropwhile(lambda sequence: sequence >= before, newest_first)
        return tuple(self._logged(sequence) for sequence in islice(older, limit))

    def prune(self, since_ms: int, max_events: int, limit: int) -> int:
        """Delete old events from the beginning, up to the first that is kept, and return their number."""
        removed = 0
        while removed < limit and self._events and self._is_let_go(since_ms, max_events):
            self._remove_first()
            removed += 1
        return removed

    def cursor(self, name: str) -> Cursor:
        """Return the position of a sink."""
        sequence = self._cursors.get(name)
        deleted = 0 if sequence is None else max(0, self._first - 1 - sequence)
        return Cursor(sequence=sequence, last=self._last, deleted=deleted)

    def move_cursor(self, name: str, sequence: int, events: Sequence[Event]) -> None:
        """Move a sink forward and log events; do nothing if it is there already."""
        if sequence > self._cursors.get(name, -1):
            self._cursors[name] = sequence
            for event in events:
                self.append(event)

    def _is_let_go(self, since_ms: int, max_events: int) -> bool:
        return len(self._events) > max_events or self._events[self._first].at_ms < since_ms

    def _remove_first(self) -> None:
        address = self._events.pop(self._first).address
        history = self._history[address]
        history.popleft()
        if not history:
            del self._history[address]
        self._first += 1

    def _logged(self, sequence: int) -> LoggedEvent:
        return LoggedEvent(sequence=sequence, event=self._events[sequence])

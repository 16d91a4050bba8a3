"""All data in a memory store, with its smaller tables: idempotency keys, journals, and the log with its cursors."""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Sequence
from itertools import dropwhile, islice

import attrs

from perdure.runtime.record import DEFAULT_SIZES
from perdure.stores.memory.instances import Instances
from perdure.stores.memory.messages import MessageTable
from perdure.stores.values import Cursor, LoggedEvent
from perdure.values.address import Address, Job
from perdure.values.event import Event
from perdure.values.transition import JournalChange, NewKeys, Remembered


@attrs.define
class _Held:
    """One address's keys, numbered in the order of first use."""

    by_key: dict[str, Remembered] = attrs.Factory(dict[str, Remembered])
    ordinals: OrderedDict[str, int] = attrs.Factory(OrderedDict[str, int])  # ascending
    by_ordinal: dict[int, str] = attrs.Factory(dict[int, str])

    @property
    def newest(self) -> int:
        return next(reversed(self.ordinals.values()), 0)

    @property
    def number(self) -> int:
        """How many keys there are, or more if some in between were deleted."""
        return self.newest - next(iter(self.ordinals.values()), 1) + 1

    def add(self, remembered: Remembered) -> None:
        ordinal = self.ordinals.get(remembered.key)
        if ordinal is None:
            ordinal = self.newest + 1
            self.ordinals[remembered.key], self.by_ordinal[ordinal] = ordinal, remembered.key
        self.by_key[remembered.key] = remembered
        # By ordinal, not by the number of keys: retention deletes keys in between, and the other stores count ordinals.
        older = self.by_ordinal.get(ordinal - remembered.full_answers)
        if older is not None:
            self.by_key[older] = attrs.evolve(self.by_key[older], answer="")

    def remove(self, key: str) -> None:
        del self.by_key[key]
        del self.by_ordinal[self.ordinals.pop(key)]


class Keys:
    """Stored results, by address and key. They outlive the instance, until they expire."""

    __slots__ = ("_addresses", "_expiring")

    def __init__(self) -> None:
        self._addresses: dict[Address, _Held] = {}
        self._expiring: list[tuple[int, Address, str]] = []  # a heap; replaced keys leave stale entries

    def remember(self, address: Address, remembered: Remembered) -> None:
        """Store a result, in place of an earlier one with the same key."""
        held = self._addresses.get(address)
        if held is None:
            held = self._addresses[address] = _Held()
        held.add(remembered)
        heapq.heappush(self._expiring, (remembered.expires_ms, address, remembered.key))

    def recall(self, address: Address, key: str, now_ms: int) -> tuple[Remembered | None, int]:
        """Return a key's result, and how many keys its address has."""
        held = self._addresses.get(address)
        if held is None:
            return None, 0
        remembered = held.by_key.get(key)
        # Expired keys may still be stored: retention deletes a limited number at a time.
        if remembered is not None and remembered.expires_ms <= now_ms:
            remembered = None
        return remembered, held.number

    def are_new(self, address: Address, new: NewKeys) -> bool:
        """Return whether all of these keys are unknown."""
        return all(self.recall(address, key, new.at_ms)[0] is None for key in new.keys)

    def prune(self, now_ms: int, limit: int) -> int:
        """Delete expired keys, oldest first, and return how many."""
        removed = 0
        while removed < limit and self._expiring and self._expiring[0][0] <= now_ms:
            removed += self._expire(*heapq.heappop(self._expiring))
        return removed

    def _expire(self, expires_ms: int, address: Address, key: str) -> int:
        held = self._addresses.get(address)
        current = None if held is None else held.by_key.get(key)
        # The key was stored again with a later expiry: this heap entry is an old one, and to delete the key would
        # repeat a turn.
        if held is None or current is None or current.expires_ms != expires_ms:
            return 0
        held.remove(key)
        if not held.by_key:
            del self._addresses[address]
        return 1


class Journals:
    """Journal rows by incarnation. A row's place is its index."""

    __slots__ = ("_rows",)

    def __init__(self) -> None:
        self._rows: dict[int, list[str]] = {}

    def change(self, incarnation: int, change: JournalChange) -> None:
        """Append rows, after deleting the earlier ones if they are cut."""
        if change.earlier == "cut":
            self.delete(incarnation)
        if change.bodies:
            self._rows.setdefault(incarnation, []).extend(change.bodies)

    def read(self, incarnation: int, first: int, limit: int) -> tuple[str, ...]:
        """Return rows from a place on."""
        return tuple(self._rows.get(incarnation, ())[first : first + limit])

    def delete(self, incarnation: int) -> None:
        """Delete an incarnation's journal."""
        self._rows.pop(incarnation, None)


class EventLog:
    """Events by sequence number. Retention deletes only from the log's beginning, so the numbers have no gaps."""

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
        """Return an address's newest events, newest first."""
        newest_first = reversed(self._history.get(str(address), ()))
        older = newest_first if before is None else dropwhile(lambda sequence: sequence >= before, newest_first)
        return tuple(self._logged(sequence) for sequence in islice(older, limit))

    def prune(self, since_ms: int, max_events: int, limit: int) -> int:
        """Delete old events from the beginning, up to the first that is kept, and return how many."""
        removed = 0
        # Stops at the first event that is kept: a hole in the log would look like a loss to sinks.
        while removed < limit and self._events and self._is_let_go(since_ms, max_events):
            self._remove_first()
            removed += 1
        return removed

    def cursor(self, name: str) -> Cursor:
        """Return a sink's position."""
        sequence = self._cursors.get(name)
        deleted = 0 if sequence is None else max(0, self._first - 1 - sequence)
        return Cursor(sequence=sequence, last=self._last, deleted=deleted)

    def move_cursor(self, name: str, sequence: int, events: Sequence[Event]) -> None:
        """Move a sink forward and log events. Do nothing if it is there already."""
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


@attrs.define
class Tables:
    """All data in a memory store. It outlives the openings."""

    block: int = DEFAULT_SIZES.memory_block
    instances: Instances = attrs.Factory(lambda self: Instances(self.block), takes_self=True)
    mail: MessageTable = attrs.Factory(lambda self: MessageTable(self.block), takes_self=True)
    keys: Keys = attrs.Factory(Keys)
    log: EventLog = attrs.Factory(EventLog)
    holds: set[Job] = attrs.Factory(set[Job])
    journals: Journals = attrs.Factory(Journals)

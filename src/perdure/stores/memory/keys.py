"""The idempotency keys of the memory store."""

from __future__ import annotations

import heapq
from collections import OrderedDict

import attrs

from perdure.values.address import Address
from perdure.values.transition import Remembered


@attrs.define
class _Held:
    """The keys of one address, numbered in the order of their first use."""

    by_key: dict[str, Remembered] = attrs.Factory(dict[str, Remembered])
    ordinals: OrderedDict[str, int] = attrs.Factory(OrderedDict[str, int])  # ascending
    by_ordinal: dict[int, str] = attrs.Factory(dict[int, str])

    @property
    def newest(self) -> int:
        return next(reversed(self.ordinals.values()), 0)

    @property
    def number(self) -> int:
        """The number of keys, or more if some in between were deleted."""
        return self.newest - next(iter(self.ordinals.values()), 1) + 1

    def add(self, remembered: Remembered) -> None:
        ordinal = self.ordinals.get(remembered.key)
        if ordinal is None:
            ordinal = self.newest + 1
            self.ordinals[remembered.key], self.by_ordinal[ordinal] = ordinal, remembered.key
        self.by_key[remembered.key] = remembered
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
        """Store a result; it replaces an earlier one of the same key."""
        held = self._addresses.get(address)
        if held is None:
            held = self._addresses[address] = _Held()
        held.add(remembered)
        heapq.heappush(self._expiring, (remembered.expires_ms, address, remembered.key))

    def recall(self, address: Address, key: str, now_ms: int) -> tuple[Remembered | None, int]:
        """Return the result of a key, and the number of keys of the address."""
        held = self._addresses.get(address)
        if held is None:
            return None, 0
        remembered = held.by_key.get(key)
        if remembered is not None and remembered.expires_ms <= now_ms:
            remembered = None
        return remembered, held.number

    def prune(self, now_ms: int, limit: int) -> int:
        """Delete expired keys, oldest first, and return their number."""
        removed = 0
        while removed < limit and self._expiring and self._expiring[0][0] <= now_ms:
            removed += self._expire(*heapq.heappop(self._expiring))
        return removed

    def _expire(self, expires_ms: int, address: Address, key: str) -> int:
        held = self._addresses.get(address)
        current = None if held is None else held.by_key.get(key)
        if held is None or current is None or current.expires_ms != expires_ms:
            return 0
        held.remove(key)
        if not held.by_key:
            del self._addresses[address]
        return 1

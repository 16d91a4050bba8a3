"""The idempotency keys of the memory store."""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right, insort

import attrs

from perdure.values.address import Address
from perdure.values.transition import Remembered


@attrs.define
class _Held:
    """The keys of one address."""

    by_key: dict[str, Remembered] = attrs.Factory(dict[str, Remembered])
    expiries_ms: list[int] = attrs.Factory(list[int])  # ascending: one for each key

    def add(self, remembered: Remembered) -> None:
        if remembered.key in self.by_key:
            self.remove(remembered.key)
        self.by_key[remembered.key] = remembered
        insort(self.expiries_ms, remembered.expires_ms)

    def remove(self, key: str) -> None:
        expires_ms = self.by_key.pop(key).expires_ms
        del self.expiries_ms[bisect_left(self.expiries_ms, expires_ms)]

    def unexpired(self, now_ms: int) -> int:
        return len(self.expiries_ms) - bisect_right(self.expiries_ms, now_ms)


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
        """Return the result of a key, and the number of keys of the address; expired ones do not count."""
        held = self._addresses.get(address)
        if held is None:
            return None, 0
        remembered = held.by_key.get(key)
        if remembered is not None and remembered.expires_ms <= now_ms:
            remembered = None
        return remembered, held.unexpired(now_ms)

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

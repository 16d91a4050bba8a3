"""A sorted set of integer tuples, in blocks, so that a change moves a few hundred entries and never all."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import TypeAlias

Entry: TypeAlias = tuple[int, ...]

_BLOCK = 512


class Ordered:
    """Entries in ascending order. Adding, removing and finding an entry take logarithmic time."""

    __slots__ = ("_blocks", "_lasts")

    def __init__(self) -> None:
        self._blocks: list[list[Entry]] = []
        self._lasts: list[Entry] = []  # the last entry of each block

    def add(self, entry: Entry) -> None:
        """Insert an entry, which must not exist."""
        if not self._blocks:
            self._blocks.append([entry])
            self._lasts.append(entry)
            return
        at = min(bisect_left(self._lasts, entry), len(self._lasts) - 1)
        block = self._blocks[at]
        insort(block, entry)
        self._lasts[at] = block[-1]
        if len(block) > 2 * _BLOCK:
            self._split(at)

    def remove(self, entry: Entry) -> None:
        """Remove an entry, which must exist."""
        at = bisect_left(self._lasts, entry)
        block = self._blocks[at]
        del block[bisect_left(block, entry)]
        if block:
            self._lasts[at] = block[-1]
        else:
            del self._blocks[at]
            del self._lasts[at]

    def from_(self, bound: Entry) -> Iterator[Entry]:
        """Yield the entries at or after a bound, in order. The set must not change meanwhile."""
        at = bisect_left(self._lasts, bound)
        if at == len(self._blocks):
            return
        block = self._blocks[at]
        yield from block[bisect_left(block, bound) :]
        for later in self._blocks[at + 1 :]:
            yield from later

    def __contains__(self, entry: Entry) -> bool:
        return next(self.from_(entry), None) == entry

    def __iter__(self) -> Iterator[Entry]:
        for block in self._blocks:
            yield from block

    def _split(self, at: int) -> None:
        block = self._blocks[at]
        self._blocks[at : at + 1] = [block[:_BLOCK], block[_BLOCK:]]
        self._lasts[at : at + 1] = [block[_BLOCK - 1], block[-1]]

"""Caches the instances that were read or written recently; no other process writes to the file."""

from __future__ import annotations

import attrs

from perdure.values.address import Address
from perdure.values.instance import Instance

_OVERHEAD_BYTES = 1_500  # an instance of this library beside its texts


@attrs.define
class InstanceCache:
    """The stored instances at recently used addresses.

    A turn finds the instance here that the previous turn wrote, without a thread round trip. The cache also decides
    which indexed columns an update can leave out: SQLite rewrites an index entry for each indexed column in SET,
    changed or not, which costs three pages instead of one.

    The store reports every answer of the database, in order. After a conflict or an unknown outcome the address is
    dropped, and so read from the file at its next use.

    Attributes:
        max_bytes: maximum size; beyond it the oldest entry is dropped.
    """

    max_bytes: int
    _bytes: int = 0
    _known: dict[Address, Instance] = attrs.Factory(dict[Address, Instance])

    @property
    def size_bytes(self) -> int:
        """The present size."""
        return self._bytes

    def get(self, address: Address) -> Instance | None:
        """Return the cached instance at an address, or None."""
        return self._known.get(address)

    def keep(self, instance: Instance) -> None:
        """Cache a stored instance."""
        address = instance.address
        before = self._known.pop(address, None)
        self._known[address] = instance
        self._bytes += _weight(instance) - (0 if before is None else _weight(before))
        while self._bytes > self.max_bytes:
            self.forget(next(iter(self._known)))

    def forget(self, address: Address) -> None:
        """Drop an address."""
        known = self._known.pop(address, None)
        if known is not None:
            self._bytes -= _weight(known)


def _weight(instance: Instance) -> int:
    return len(instance.state) + len(instance.data) + _OVERHEAD_BYTES

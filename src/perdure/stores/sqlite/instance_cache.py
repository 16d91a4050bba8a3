"""The instances that were read or written lately, as they are stored: nobody else writes to the file."""

from __future__ import annotations

import attrs

from perdure.values.address import Address
from perdure.values.instance import Instance

_OVERHEAD_BYTES = 1_500  # an instance of this library beside its texts


@attrs.define
class InstanceCache:
    """What is stored at addresses that were used lately.

    A turn finds the instance here that the turn before it wrote, without a hop into the driver's thread. It also tells
    which indexed columns an update need not name: SQLite writes an index entry anew for each indexed column that SET
    names, changed or not, which is three pages instead of one for a transition.

    It is told of every answer of the database in the order in which the database gave them. Whatever may have changed
    otherwise (a conflict, an outcome that is not known) is forgotten, and so read from the file when it is next used.

    Attributes:
        max_bytes: of all that is kept; the instance that was noted first is forgotten beyond that.
    """

    max_bytes: int
    _bytes: int = 0
    _known: dict[Address, Instance] = attrs.Factory(dict[Address, Instance])

    def get(self, address: Address) -> Instance | None:
        """Give what is stored at an address, if that is known."""
        return self._known.get(address)

    def keep(self, instance: Instance) -> None:
        """Take note of what is stored."""
        address = instance.address
        before = self._known.pop(address, None)
        self._known[address] = instance
        self._bytes += _weight(instance) - (0 if before is None else _weight(before))
        while self._bytes > self.max_bytes:
            self.forget(next(iter(self._known)))

    def forget(self, address: Address) -> None:
        """Know nothing of an address any more."""
        known = self._known.pop(address, None)
        if known is not None:
            self._bytes -= _weight(known)


def _weight(instance: Instance) -> int:
    return len(instance.state) + len(instance.data) + _OVERHEAD_BYTES

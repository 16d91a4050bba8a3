"""The other engines that share a store, as an engine knows them."""

from __future__ import annotations

from typing import Final

import attrs


@attrs.frozen
class OtherEngines:
    """The other engines that may be alive: all whose death is not known.

    Attributes:
        living: their epochs, as of the last heartbeat.
        known_up_to: the greatest epoch of that time; an engine that joined later may be alive.
        me: the epoch of this engine; 0 when it owns its store.
    """

    living: frozenset[int] = frozenset()
    known_up_to: int = 1 << 63
    me: int = 0

    def __contains__(self, epoch: object) -> bool:
        """Return whether an epoch belongs to another engine that may be alive."""
        return epoch in self.living or (isinstance(epoch, int) and epoch > self.known_up_to and epoch != self.me)

    def __bool__(self) -> bool:
        """Return whether this engine shares its store."""
        return self.me != 0


NO_OTHERS: Final = OtherEngines()
"""This engine owns its store."""

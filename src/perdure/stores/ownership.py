"""The optional part of the contract of a store whose ownership can be in doubt for a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, TypeAlias

OwnershipListener: TypeAlias = Callable[[Literal["sure", "in_doubt"]], None]


class WatchOwnershipOperation(Protocol):
    """The function ``watch_ownership``."""

    def __call__(self, listener: OwnershipListener, /) -> None:
        """Call a listener whenever it becomes uncertain, or certain again, that no other engine owns the store."""
        ...

"""The optional part of the contract of a store that other processes send messages to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class ListenOperation(Protocol):
    """The function ``listen``."""

    def __call__(self, listener: Callable[[], None], /) -> None:
        """Call a listener whenever another process may have written messages."""
        ...

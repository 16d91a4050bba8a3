"""The operations of a store that count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from returns.future import FutureResult

from perdure.values.address import Address
from perdure.values.errors import StoreError
from perdure.values.listings import StoreCounts


class CountMessagesOperation(Protocol):
    """The function ``count_messages``."""

    def __call__(
        self, pairs: Sequence[tuple[Address, Address]], limit: int, /
    ) -> FutureResult[tuple[int, ...], StoreError]:
        """Count the living messages of pairs of sender and target."""
        ...


class CountsOperation(Protocol):
    """The function ``counts``."""

    def __call__(self) -> FutureResult[StoreCounts, StoreError]:
        """Count the instances by job and status."""
        ...

"""The operations of a store that hold jobs."""

from __future__ import annotations

from typing import Literal, Protocol

from returns.future import FutureResult

from perdure.values.address import Job
from perdure.values.errors import StoreError
from perdure.values.status import Hold


class HoldsOperation(Protocol):
    """The function ``holds``."""

    def __call__(self) -> FutureResult[tuple[Job, ...], StoreError]:
        """Return the held jobs."""
        ...


class SetHoldOperation(Protocol):
    """The function ``set_hold``."""

    def __call__(self, job: Job, hold: Hold, /) -> FutureResult[Literal["changed", "unchanged"], StoreError]:
        """Hold or release a job."""
        ...

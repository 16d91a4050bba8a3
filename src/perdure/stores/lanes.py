"""The optional part of the contract of a store that queues instances: the lanes of a job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import attrs
from returns.future import FutureResult

from perdure.values.address import Job
from perdure.values.errors import StoreError
from perdure.values.excerpt import fields_in_line
from perdure.values.instance import Instance


@attrs.frozen(kw_only=True)
class QueuedLane:
    """The first queued instances of a lane.

    Attributes:
        lane: the lane.
        instances: its first queued instances, in order.
        rest: whether more instances are queued in it.
    """

    __repr__ = fields_in_line

    lane: str
    instances: tuple[Instance, ...]
    rest: Literal["none", "some"]


class LanesOperation(Protocol):
    """The function ``lanes``."""

    def __call__(self, job: Job, after: str | None, limit: int, /) -> FutureResult[tuple[str, ...], StoreError]:
        """Return the next lanes of a job."""
        ...


class QueuedOperation(Protocol):
    """The function ``queued``."""

    def __call__(
        self, job: Job, lanes: Sequence[str], limit: int, /
    ) -> FutureResult[tuple[QueuedLane, ...], StoreError]:
        """Return the first queued instances of lanes."""
        ...

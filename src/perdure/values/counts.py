"""Counts of the data in a store."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import attrs

from perdure.values.excerpt import fields_in_line
from perdure.values.instant import from_ms
from perdure.values.status import Status


@attrs.frozen(order=True)
class StatusCount:
    """The number of instances of one job with one status; never 0."""

    __repr__ = fields_in_line

    kind: str
    name: str
    status: Status
    number: int


@attrs.frozen(kw_only=True)
class StoreCounts:
    """The counts of a store.

    Attributes:
        instances: the instances of each job and status, in the order of kind, name and status.
        complete: whether ``instances`` counts all of them. A store that is still counting returns those that it has
            counted so far.
        age_ms: how long ago the instances were counted; 0 unless a store keeps counts that take long.
        oldest_due_ms: the earliest alarm, integer milliseconds UTC, due or not; None if no alarm is set.
        messages: messages that wait for their delivery, at most `MAX_COUNTED`.
        dead_letters: messages that failed too often, at most `MAX_COUNTED`.
    """

    __repr__ = fields_in_line

    instances: tuple[StatusCount, ...] = ()
    complete: bool = True
    age_ms: int = 0
    oldest_due_ms: int | None = None
    messages: int = 0
    dead_letters: int = 0

    @property
    def oldest_due(self) -> datetime | None:
        """The earliest alarm, due or not, in UTC; None if no alarm is set."""
        return None if self.oldest_due_ms is None else from_ms(self.oldest_due_ms)

    @property
    def total(self) -> int:
        """The number of instances."""
        return sum(count.number for count in self.instances)

    def by_status(self) -> Mapping[Status, int]:
        """Return the number of instances of each status that occurs, over all jobs."""
        totals: dict[Status, int] = {}
        for count in self.instances:
            totals[count.status] = totals.get(count.status, 0) + count.number
        return totals


MAX_COUNTED = 10_000
"""The largest number of messages that a store counts: `StoreCounts` says this number for any larger one."""

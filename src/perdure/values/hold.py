"""Held jobs: nothing of a held job begins to run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, TypeAlias

import attrs

from perdure.values.excerpt import fields_in_line
from perdure.values.status import Status

Hold: TypeAlias = Literal["held", "released"]
"""Whether the runs of a job may begin."""

Job: TypeAlias = tuple[str, str]
"""A job, by its kind and its name."""


@attrs.frozen(kw_only=True)
class HoldResult:
    """Result of ``hold`` and ``release``.

    Attributes:
        changed: whether the call changed anything.
        hold: whether the job is held now.
    """

    changed: bool
    hold: Hold


@attrs.frozen(kw_only=True)
class JobCount:
    """Result of ``count``.

    Attributes:
        hold: whether the job is held.
        by_status: the number of instances of each status that occurs.
        complete: whether that counts all of them; a store that is still counting returns those counted so far.
        age_ms: how long ago they were counted; 0 unless a store keeps counts that take long.
        oldest: when the longest waiting of the queued instances was created, among the first ones of the first 1,000
            lanes; None if none is queued.
        ended: number of runs of the job that ended since the engine started; None for a job without a limit of its own.
    """

    __repr__ = fields_in_line

    hold: Hold
    by_status: Mapping[Status, int]
    complete: bool = True
    age_ms: int = 0
    oldest: datetime | None = None
    ended: int | None = None

    @property
    def total(self) -> int:
        """The number of instances."""
        return sum(self.by_status.values())

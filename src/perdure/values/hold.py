"""Held jobs: nothing of a held job begins to run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import attrs

from perdure.values.excerpt import fields_in_line
from perdure.values.instance import Status

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
    """

    __repr__ = fields_in_line

    hold: Hold
    by_status: Mapping[Status, int]
    complete: bool = True

    @property
    def total(self) -> int:
        """The number of instances."""
        return sum(self.by_status.values())

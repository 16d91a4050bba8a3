"""Why an instance is parked, from its history."""

from __future__ import annotations

from collections.abc import Iterable

from perdure.stores.values import LoggedEvent
from perdure.values.event import JobParked


def why_parked(newest_first: Iterable[LoggedEvent]) -> str:
    """Return the detail of the newest event that parked an instance, such as the step of a workflow that diverged.

    Args:
        newest_first: the newest events of its address.

    Returns:
        The detail; empty if these events do not hold it.
    """
    return next((each.event.detail for each in newest_first if isinstance(each.event, JobParked)), "")

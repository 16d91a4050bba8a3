"""The queued instances of the memory store, by job and lane."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator

import attrs

from perdure.stores.memory.ordered import Entry, Ordered
from perdure.values.address import Job
from perdure.values.instance import Instance


@attrs.define
class _JobLanes:
    names: list[str] = attrs.Factory(list[str])  # in order
    entries: dict[str, Ordered] = attrs.Factory(dict[str, Ordered])  # (rank_ms, incarnation)


class LaneIndex:
    """An index of the queued instances. A lane that has none is not kept."""

    __slots__ = ("_jobs",)

    def __init__(self) -> None:
        self._jobs: dict[Job, _JobLanes] = {}

    def change(self, incarnation: int, before: Instance | None, after: Instance | None) -> None:
        """Note that an instance was written or deleted."""
        was, entry = _entry(before), _entry(after)
        if was == entry:
            return
        if was is not None:
            self._remove(was[0], was[1], (was[2], incarnation))
        if entry is not None:
            self._add(entry[0], entry[1], (entry[2], incarnation))

    def after(self, job: Job, lane: str | None, most: int) -> tuple[str, ...]:
        """Return the next lanes of a job after one, or the first ones."""
        names = self._jobs[job].names if job in self._jobs else []
        start = 0 if lane is None else bisect_right(names, lane)
        return tuple(names[start : start + most])

    def of(self, job: Job, lane: str) -> Iterator[Entry]:
        """Yield the ranks and incarnations of a lane, in order."""
        lanes = self._jobs.get(job)
        return iter(()) if lanes is None or lane not in lanes.entries else iter(lanes.entries[lane])

    def _add(self, job: Job, lane: str, entry: Entry) -> None:
        lanes = self._jobs.setdefault(job, _JobLanes())
        if lane not in lanes.entries:
            insort(lanes.names, lane)
            lanes.entries[lane] = Ordered()
        lanes.entries[lane].add(entry)

    def _remove(self, job: Job, lane: str, entry: Entry) -> None:
        lanes = self._jobs[job]
        lanes.entries[lane].remove(entry)
        if next(iter(lanes.entries[lane]), None) is None:
            del lanes.entries[lane]
            del lanes.names[bisect_left(lanes.names, lane)]


def _entry(instance: Instance | None) -> tuple[Job, str, int] | None:
    if instance is None or instance.lane is None or instance.rank_ms is None:
        return None
    return (instance.address.kind, instance.address.name), instance.lane, instance.rank_ms

"""The memory store's instances, with sorted indexes: due, claimed and queued ones."""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice, takewhile
from operator import attrgetter
from typing import TypeAlias

import attrs

from perdure.runtime.record import DEFAULT_SIZES
from perdure.stores.values import DuePosition, Query, QueuedLane
from perdure.values.address import Address, Job
from perdure.values.instance import Fence, Instance
from perdure.values.listings import StatusCount
from perdure.values.status import Status

Entry: TypeAlias = tuple[int, ...]


class Ordered:
    """Entries in ascending order. Adding, removing and finding an entry take logarithmic time."""

    __slots__ = ("_block", "_blocks", "_lasts")

    def __init__(self, block: int = DEFAULT_SIZES.memory_block) -> None:
        self._block = block
        self._blocks: list[list[Entry]] = []
        self._lasts: list[Entry] = []  # the last entry of each block

    def add(self, entry: Entry) -> None:
        """Insert an entry, which must not exist."""
        if not self._blocks:
            self._blocks.append([entry])
            self._lasts.append(entry)
            return
        # Behind the last entry: the last block takes it, because no block has a greater one.
        at = min(bisect_left(self._lasts, entry), len(self._lasts) - 1)
        block = self._blocks[at]
        insort(block, entry)
        self._lasts[at] = block[-1]
        # Twice the size: a split leaves two blocks of the size, which are not split again soon.
        if len(block) > 2 * self._block:
            self._split(at)

    def remove(self, entry: Entry) -> None:
        """Remove an entry, which must exist."""
        at = bisect_left(self._lasts, entry)
        block = self._blocks[at]
        del block[bisect_left(block, entry)]
        if block:
            self._lasts[at] = block[-1]
        else:
            # No empty block stays: its last entry, which the search compares, would not exist.
            del self._blocks[at]
            del self._lasts[at]

    @property
    def last(self) -> Entry:
        """The greatest entry of a set that is not empty."""
        return self._lasts[-1]

    def from_(self, bound: Entry) -> Iterator[Entry]:
        """Yield the entries at or after a bound, in order. The set must not change meanwhile."""
        at = bisect_left(self._lasts, bound)
        if at == len(self._blocks):
            return
        block = self._blocks[at]
        yield from block[bisect_left(block, bound) :]
        for later in self._blocks[at + 1 :]:
            yield from later

    def __contains__(self, entry: Entry) -> bool:
        return next(self.from_(entry), None) == entry

    def __len__(self) -> int:
        return sum(map(len, self._blocks))

    def __iter__(self) -> Iterator[Entry]:
        for block in self._blocks:
            yield from block

    def _split(self, at: int) -> None:
        block, half = self._blocks[at], self._block
        self._blocks[at : at + 1] = [block[:half], block[half:]]
        self._lasts[at : at + 1] = [block[half - 1], block[-1]]


@attrs.define
class _JobLanes:
    names: list[str] = attrs.Factory(list[str])  # in order
    entries: dict[str, Ordered] = attrs.Factory(dict[str, Ordered])  # (rank_ms, incarnation)


class LaneIndex:
    """An index over the queued instances. It drops a lane without any."""

    __slots__ = ("_block", "_jobs")

    def __init__(self, block: int = DEFAULT_SIZES.memory_block) -> None:
        self._block = block
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
        """Return a job's next lanes after one, or the first ones."""
        names = self._jobs[job].names if job in self._jobs else []
        start = 0 if lane is None else bisect_right(names, lane)
        return tuple(names[start : start + most])

    def of(self, job: Job, lane: str) -> Iterator[Entry]:
        """Yield a lane's ranks and incarnations, in order."""
        lanes = self._jobs.get(job)
        return iter(()) if lanes is None or lane not in lanes.entries else iter(lanes.entries[lane])

    def last_rank(self, job: Job) -> int | None:
        """Return the greatest rank of a job; None if it has none."""
        lanes = self._jobs.get(job)
        return None if lanes is None else max((lane.last[0] for lane in lanes.entries.values()), default=None)

    def number_of(self, job: Job) -> int:
        """Return how many instances of a job are queued."""
        lanes = self._jobs.get(job)
        return 0 if lanes is None else sum(map(len, lanes.entries.values()))

    def _add(self, job: Job, lane: str, entry: Entry) -> None:
        lanes = self._jobs.setdefault(job, _JobLanes())
        if lane not in lanes.entries:
            # In order: pages of lanes continue after a name, so a lane at the end would be skipped.
            insort(lanes.names, lane)
            lanes.entries[lane] = Ordered(self._block)
        lanes.entries[lane].add(entry)

    def _remove(self, job: Job, lane: str, entry: Entry) -> None:
        lanes = self._jobs[job]
        lanes.entries[lane].remove(entry)
        # A lane without entries is dropped: a job with many short-lived lanes would keep all their names.
        if next(iter(lanes.entries[lane]), None) is None:
            del lanes.entries[lane]
            del lanes.names[bisect_left(lanes.names, lane)]


def _entry(instance: Instance | None) -> tuple[Job, str, int] | None:
    if instance is None or instance.lane is None or instance.rank_ms is None:
        return None
    return (instance.address.kind, instance.address.name), instance.lane, instance.rank_ms


_Place: TypeAlias = tuple[str, str, str]  # an address as a plain tuple: hashed and compared in C


def _matches(_: Instance, __: Query) -> bool:
    return True


class Instances:
    """Instances by address and by incarnation."""

    __slots__ = ("_claimed", "_due", "_incarnations", "_last_incarnation", "_left", "_rows", "lanes")

    def __init__(self, block: int = DEFAULT_SIZES.memory_block) -> None:
        self._incarnations: dict[_Place, int] = {}
        self._rows: dict[int, Instance] = {}
        self._due = Ordered(block)  # (due_ms, incarnation)
        self._claimed: set[int] = set()
        self._left: set[int] = set()
        self.lanes = LaneIndex(block)
        self._last_incarnation = 0

    def get(self, address: Address) -> Instance | None:
        """Return the instance at an address, or None."""
        incarnation = self._incarnations.get((address.kind, address.name, address.id))
        return None if incarnation is None else self._rows[incarnation]

    def put(self, before: Instance | None, after: Instance) -> Fence:
        """Write an instance over the previous one, and return its new fence."""
        if before is None:
            return self._create(after)
        incarnation, version = before.incarnation, before.version + 1
        # The store decides the fence, not its caller: a row with another version would conflict with the returned
        # fence.
        if after.incarnation != incarnation or after.version != version:
            after = attrs.evolve(after, incarnation=incarnation, version=version)
        self._rows[incarnation] = after
        self._reindex(incarnation, before, after)
        return Fence(incarnation, version)

    def restore(self, instance: Instance) -> None:
        """Add an instance of another store, with its incarnation and version."""
        address, incarnation = instance.address, instance.incarnation
        self._incarnations[address.kind, address.name, address.id] = incarnation
        self._rows[incarnation] = instance
        # At least that number: a new instance must not get the incarnation of a restored one.
        self._last_incarnation = max(self._last_incarnation, incarnation)
        self._reindex(incarnation, None, instance)

    def purge(self, before: Instance) -> None:
        """Delete an instance."""
        address, incarnation, due_ms = before.address, before.incarnation, before.due_ms
        del self._incarnations[address.kind, address.name, address.id]
        del self._rows[incarnation]
        self._claimed.discard(incarnation)
        self._left.discard(incarnation)
        if due_ms is not None:
            self._due.remove((due_ms, incarnation))
        self.lanes.change(incarnation, before, None)

    def due(
        self, now_ms: int, limit: int, after: DuePosition | None = None, except_jobs: frozenset[Job] = frozenset()
    ) -> tuple[Instance, ...]:
        """Return due instances after a position, earliest first, without those of some jobs."""
        # Behind the position: the entry at it was in the page before.
        entries = self._due if after is None else self._due.from_((after[0], after[1] + 1))
        due = takewhile(lambda entry: entry[0] <= now_ms, entries)
        rows = (self._rows[incarnation] for _, incarnation in due)
        wanted = (row for row in rows if (row.address.kind, row.address.name) not in except_jobs)
        return tuple(islice(wanted if except_jobs else rows, limit))

    def queued(self, job: Job, lanes: Sequence[str], limit: int) -> tuple[QueuedLane, ...]:
        """Return the first queued instances in each lane."""
        share = -(-limit // max(1, len(lanes)))
        found = ((name, tuple(islice(self.lanes.of(job, name), share + 1))) for name in lanes)
        return tuple(
            QueuedLane(
                lane=name,
                instances=tuple(self._rows[incarnation] for _, incarnation in entries[:share]),
                rest="none" if len(entries) <= share else "some",
            )
            for name, entries in found
        )

    def next_alarm(self, after_ms: int) -> int | None:
        """Return the earliest due instant after this one."""
        return next((due_ms for due_ms, _ in self._due.from_((after_ms + 1,))), None)

    def alarms(self, limit: int) -> Iterator[tuple[Job, int]]:
        """Yield the earliest alarms of instances without a claim, with the job of each."""
        unclaimed = ((due_ms, one) for due_ms, one in self._due if one not in self._claimed)
        for due_ms, incarnation in islice(unclaimed, limit):
            address = self._rows[incarnation].address
            yield (address.kind, address.name), due_ms

    def claimed(self, after_incarnation: int, limit: int) -> tuple[Instance, ...]:
        """Return instances with a claim, by incarnation."""
        later = (incarnation for incarnation in self._claimed if incarnation > after_incarnation)
        # The set has no order: the smallest ones of a page, without sorting all.
        return tuple(self._rows[incarnation] for incarnation in heapq.nsmallest(limit, later))

    def counts(self) -> tuple[StatusCount, ...]:
        """Count the instances by job and status."""
        numbers: Counter[tuple[str, str, Status]] = Counter(
            (one.address.kind, one.address.name, one.status) for one in self._rows.values()
        )
        return tuple(sorted(StatusCount(*place, number) for place, number in numbers.items()))

    def left_to(self, codes: Mapping[Job, str], limit: int) -> tuple[Instance, ...]:
        """Return the instances that other code left, by incarnation."""
        # Sorted, because a page has the first ones.
        rows = (self._rows[incarnation] for incarnation in sorted(self._left))
        wanted = (row for row in rows if row.left is not None and _is_left_to(row.address, row.left.codes, codes))
        return tuple(islice(wanted, limit))

    def all(self) -> Iterable[Instance]:
        """Return all instances, in no particular order."""
        return self._rows.values()

    def find(self, query: Query, matches: Callable[[Instance, Query], bool] = _matches) -> tuple[Instance, ...]:
        """Return a page of instances, ordered by addresses.

        Args:
            query: the conditions.
            matches: returns whether an instance has the attributes that they want.
        """
        found = (each for each in self._rows.values() if is_asked_for(each, query))
        if query.where:
            found = (each for each in found if matches(each, query))
        return tuple(heapq.nsmallest(query.limit, found, key=attrgetter("address")))

    def _create(self, after: Instance) -> Fence:
        address = after.address
        self._last_incarnation = incarnation = self._last_incarnation + 1
        after = attrs.evolve(after, incarnation=incarnation, version=1)
        self._incarnations[address.kind, address.name, address.id] = incarnation
        self._rows[incarnation] = after
        self._reindex(incarnation, None, after)
        return Fence(incarnation, 1)

    def _reindex(self, incarnation: int, before: Instance | None, after: Instance) -> None:
        was_due_ms, due_ms = None if before is None else before.due_ms, after.due_ms
        if was_due_ms != due_ms:
            if was_due_ms is not None:
                self._due.remove((was_due_ms, incarnation))
            if due_ms is not None:
                self._due.add((due_ms, incarnation))
        if after.lane is not None or (before is not None and before.lane is not None):
            self.lanes.change(incarnation, before, after)
        if after.owner is None:
            self._claimed.discard(incarnation)
        else:
            self._claimed.add(incarnation)
        if after.left is None:
            self._left.discard(incarnation)
        else:
            self._left.add(incarnation)


def _is_left_to(address: Address, left: tuple[str, ...], codes: Mapping[Job, str]) -> bool:
    code = codes.get((address.kind, address.name))
    return code is not None and code not in left


def is_asked_for(instance: Instance, query: Query) -> bool:
    """Return whether an instance meets the conditions of a query that its row answers."""
    address, due_ms = instance.address, instance.due_ms
    return (
        (query.kind is None or address.kind == query.kind)
        and (query.name is None or address.name == query.name)
        and (query.jobs is None or (address.kind, address.name) in query.jobs)
        and (address.kind, address.name) not in query.except_jobs
        and address.id.startswith(query.id_prefix)
        and (query.status is None or instance.status == query.status)
        and (query.due_before_ms is None or (due_ms is not None and due_ms < query.due_before_ms))
        and (query.after is None or address > query.after)
    )

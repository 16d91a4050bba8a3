"""The next queued instances of a job, in memory: lanes take turns, and in a lane the least rank comes first.

Start-time fair queueing with runs of equal cost: each run of a lane moves the lane one turn back, and a lane that gets
its first instance starts at the present turn. So a lane waits for one run of each other lane at most, however many
instances those have.
"""

from __future__ import annotations

import heapq
import math
from bisect import insort
from collections.abc import Callable, Iterable
from typing import Final, Literal, TypeAlias

import attrs

from perdure.runtime.record import DEFAULT_SIZES, Sizes
from perdure.values.address import Address

Rest: TypeAlias = Literal["none", "some"]
"""Whether the store has queued instances of a lane that are not in memory."""

FRESH_MS: Final = 200
"""How old the memory of another engine's lane may be when an instance of it begins. An older one is read again."""

Entry: TypeAlias = tuple[int, int, Address]
"""The rank of an instance, and its incarnation, which orders equal ranks as the store does."""

NEWER = 2**62
"""More than any incarnation: those of new instances are not known before they are read."""


@attrs.define(eq=False)
class _Lane:
    name: str
    entries: list[Entry]
    rest: Rest
    turn: int
    stamp: int = 0
    read_ms: float = -math.inf


@attrs.define
class FairQueue:
    """A bounded part of the queued instances: of each lane in memory the first ones.

    Attributes:
        room: maximum number of instances in memory, and so of lanes.
        is_blocked: whether no run of a lane may begin now.
        admits: whether the next run of a lane may begin, which is asked in its turn: if not, perhaps those of others,
            or none. None: each may.
        unread: whether the store may have lanes that are not in memory.
        missed: whether a lane was left out since the pass over all lanes began.
        delay_ms: how much later a lane's instances come, because another engine begins them unless it is slower; 0: the
            lane is in this engine's share. None: each is.
    """

    room: int
    is_blocked: Callable[[str], bool]
    unread: bool = True
    missed: bool = False
    admits: Callable[[str], Literal["admitted", "others", "none"]] | None = None
    delay_ms: Callable[[str], int] | None = None
    now_ms: Callable[[], float] = lambda: 0
    sizes: Sizes = DEFAULT_SIZES
    _lanes: dict[str, _Lane] = attrs.Factory(dict[str, _Lane])
    _ranks: dict[Address, tuple[Entry, str]] = attrs.Factory(dict[Address, tuple[Entry, str]])
    _noticed: int = 0
    _next: list[tuple[int, int, int, str]] = attrs.Factory(list[tuple[int, int, int, str]])  # turn, rank, stamp, lane
    _blocked: set[str] = attrs.Factory(set[str])
    _low: set[str] = attrs.Factory(set[str])
    _long: dict[str, None] = attrs.Factory(dict[str, None])  # the lanes with several instances, in turn
    _turn: int = 0
    _stamp: int = 0

    @property
    def size(self) -> int:
        """Number of instances in memory."""
        return len(self._ranks)

    @property
    def lanes(self) -> int:
        """Number of lanes in memory."""
        return len(self._lanes)

    @property
    def has_blocked(self) -> bool:
        """Whether the turn of a lane passed because it was blocked."""
        return bool(self._blocked)

    def share(self, lanes: int) -> int:
        """Return how many instances in each lane to read, so that all in memory leave half of the room.

        Args:
            lanes: number of lanes that are read at once.
        """
        # Three bounds: of one lane, of one read, and half of the room, so that lanes that come later find a place.
        share, read = self.sizes.lane_share, self.sizes.lanes_read // max(1, lanes)
        return max(1, min(share, read, self.room // (2 * max(1, len(self._lanes)))))

    def empty(self) -> tuple[str, ...]:
        """Return the lanes that miss their turn unless they are read."""
        return tuple(name for name in self._low if not self._lanes[name].entries and not self.is_blocked(name))

    def low(self) -> tuple[str, ...]:
        """Return the lanes that would soon be empty."""
        share = self.share(len(self._low))
        return tuple(
            name for name in self._low if 2 * len(self._lanes[name].entries) < share and not self.is_blocked(name)
        )

    def waiting(self, lane: str) -> int:
        """Return how many instances of a lane are in memory."""
        return len(self._lanes[lane].entries) if lane in self._lanes else 0

    def knows(self, lane: str) -> bool:
        """Whether a lane is in memory, at least in part."""
        return lane in self._lanes

    # ------------------------------------------------------------ changes
    def notice(self, address: Address, lane: str, rank_ms: int, incarnation: int = 0) -> None:
        """Note that an instance was queued, and the commit is durable.

        Args:
            address: the instance.
            lane: its lane.
            rank_ms: its rank.
            incarnation: its incarnation; 0 for one that this commit created: those are noticed in their order.
        """
        self._noticed += 1
        # In the order of the notices, behind all that were read: incarnations grow with the commits.
        entry = (rank_ms, incarnation or NEWER + self._noticed, address)
        # A retry queues an instance again, under another rank.
        if address in self._ranks:
            self.forget(address)
        known = self._lanes.get(lane)
        if known is None:
            self._notice_lane(lane, entry)
            return
        if incarnation and any(rank == rank_ms and other >= NEWER for rank, other, _ in known.entries):
            self.reread(lane)  # only the store knows whether it is older than those of the same rank
            return
        if known.rest == "some" and not (known.entries and entry < known.entries[-1]):
            return  # it comes after those in memory
        if self.size >= self.room:
            if not known.entries or entry > known.entries[-1]:
                known.rest = "some"
                self._mark(known)
                return
            self._drop_last(known)
        self._insert(known, entry)

    def _notice_lane(self, lane: str, entry: Entry) -> None:
        # Only lanes with several instances give some up: each lane keeps its first, or it would miss its turn.
        if self.size >= self.room and not self._make_room(1):
            self._miss()
            return
        rest: Rest = "some" if self.unread else "none"
        known = self._lanes[lane] = _Lane(lane, [], rest, self._turn, read_ms=self.now_ms())
        if known.rest == "some":
            self._settle(known)  # the store may have older ones: it is read before any of them is taken
        else:
            self._insert(known, entry)

    def read(self, lane: str, entries: Iterable[Entry], rest: Rest) -> None:
        """Replace a lane by its first instances, as the store returned them: in order."""
        known = self._lanes.get(lane) or _Lane(lane, [], rest, self._turn)
        for _, _, address in known.entries:
            del self._ranks[address]
        fresh = list(entries)
        self._lanes[lane], known.entries, known.rest = known, [], rest
        fits = max(0, self.room - self.size)
        if len(fresh) > fits and self._make_room(len(fresh) - fits, keep=lane):
            fits = max(0, self.room - self.size)
        if len(fresh) > fits:
            known.rest = "some"
        known.entries, known.read_ms = fresh[:fits], self.now_ms()
        self._ranks.update((entry[2], (entry, lane)) for entry in known.entries)
        self._settle(known)

    def forget(self, address: Address) -> None:
        """Note that an instance is not queued any more."""
        found = self._ranks.pop(address, None)
        if found is None:
            return
        known = self._lanes[found[1]]
        known.entries.remove(found[0])
        self._settle(known)

    def unblock(self, lane: str) -> None:
        """Note that a run of a lane may begin again."""
        self._blocked.discard(lane)
        known = self._lanes.get(lane)
        if known is not None:
            self._settle(known)

    def unblock_all(self) -> None:
        """Look at the blocked lanes again."""
        for lane in tuple(self._blocked):
            self.unblock(lane)

    def doubt(self) -> None:
        """Note that the store may hold instances that were not noticed."""
        self._miss()
        for known in self._lanes.values():
            known.rest = "some"
            self._mark(known)

    def reread(self, lane: str) -> None:
        """Note that the first instance in a lane may not be in memory: none is taken before the lane is read."""
        known = self._lanes.setdefault(lane, _Lane(lane, [], "some", self._turn))
        for _, _, address in known.entries:
            del self._ranks[address]
        known.entries, known.rest = [], "some"
        self._settle(known)

    def reorder(self) -> None:
        """Note that this engine's share is another one."""
        for known in self._lanes.values():
            if known.entries and known.name not in self._blocked:
                self._settle(known)

    def begin_pass(self) -> None:
        """Note that all lanes are read from here on, from the first to the last."""
        self.missed = False

    def end_pass(self, skipped: Literal["none", "some"]) -> None:
        """Note that the last lane was read. Some may have been skipped, or missed since the first one was read."""
        self.unread = self.missed or skipped == "some"

    # ------------------------------------------------------------ turns
    def take(self) -> tuple[Address, str] | None:
        """Remove the instance whose turn it is, and return it with its lane. None if none may begin before a read."""
        while self._next:
            turn, _, stamp, lane = self._next[0]
            known = self._lanes.get(lane)
            # The lane has changed since, and has a newer entry.
            if known is None or known.stamp != stamp or not known.entries:
                heapq.heappop(self._next)
                continue
            if self._is_stale(known):
                self._reread_stale()
                return None
            admission: Literal["admitted", "others", "none"] = "others" if self.is_blocked(lane) else "admitted"
            # After the other test: asking for permits notes a wish, which a blocked lane must not leave.
            if admission == "admitted" and self.admits is not None:
                admission = self.admits(lane)
            if admission == "none":
                # No lane gets permits now: this one keeps its turn.
                return None
            if admission == "others":
                heapq.heappop(self._next)
                # Its turn passes until `unblock`: it must not stop the other lanes.
                self._blocked.add(lane)
                continue
            heapq.heappop(self._next)
            # The present turn: a lane that comes new begins here, and not behind all that have waited longer.
            self._turn = turn
            return self._first_of(known, turn)
        return None

    def _is_stale(self, known: _Lane) -> bool:
        """Whether the engine of a lane may have begun its instances since this one read them."""
        if self.delay_ms is None or known.read_ms + FRESH_MS > self.now_ms():
            return False
        return self.delay_ms(known.name) > 0

    def _reread_stale(self) -> None:
        """Have the next lanes read again together, as long as they are other engines' and are not blocked."""
        stale = list[_Lane]()
        while self._next and len(stale) < self.sizes.lanes_reread:
            _, _, stamp, lane = self._next[0]
            known = self._lanes.get(lane)
            if known is not None and known.stamp == stamp and known.entries:
                if not self._is_stale(known):
                    break
                stale.append(known)
            heapq.heappop(self._next)
        for known in stale:
            self.reread(known.name)

    def take_of(self, lane: str) -> tuple[Address, str] | None:
        """Remove the first instance of a lane that may begin, whatever its turn. None if there is none."""
        known = self._lanes.get(lane)
        if known is None or not known.entries or self.is_blocked(lane):
            return None
        if self.admits is not None and self.admits(lane) != "admitted":
            return None
        return self._first_of(known, known.turn)

    def _first_of(self, known: _Lane, turn: int) -> tuple[Address, str]:
        _, _, address = known.entries.pop(0)
        del self._ranks[address]
        known.turn = turn + 1
        self._settle(known)
        return address, known.name

    # ------------------------------------------------------------ inside
    def _insert(self, known: _Lane, entry: Entry) -> None:
        insort(known.entries, entry)
        self._ranks[entry[2]] = (entry, known.name)
        if known.entries[0] is entry:
            self._settle(known)
        else:
            self._mark(known)

    def _settle(self, known: _Lane) -> None:
        """Bring the order of turns up to date with a lane that changed."""
        self._mark(known)
        if not known.entries:
            # A lane without an instance in memory takes room, too.
            if known.rest == "none" or len(self._lanes) > self.room:
                self._leave(known)
            return
        # A lane that had no instance saves no turns.
        known.turn = max(known.turn, self._turn)
        self._stamp += 1
        known.stamp = self._stamp
        rank_ms = known.entries[0][0]
        if self.delay_ms is not None:
            rank_ms += self.delay_ms(known.name)
        heapq.heappush(self._next, (known.turn, rank_ms, known.stamp, known.name))
        if len(self._next) > 2 * self.room + self.sizes.lane_low:  # mostly entries that were replaced
            self._next = [one for one in self._next if one[3] in self._lanes and self._lanes[one[3]].stamp == one[2]]
            heapq.heapify(self._next)

    def _mark(self, known: _Lane) -> None:
        if len(known.entries) > 1:
            self._long.setdefault(known.name)
        else:
            self._long.pop(known.name, None)
        if known.rest == "some" and len(known.entries) < self.sizes.lane_low:
            self._low.add(known.name)
        else:
            self._low.discard(known.name)

    def _leave(self, known: _Lane) -> None:
        del self._lanes[known.name]
        self._blocked.discard(known.name)
        self._low.discard(known.name)
        self._long.pop(known.name, None)
        if known.rest == "some":
            self._miss()

    def _miss(self) -> None:
        # Both: the pass in progress may have gone past the lane.
        self.unread = self.missed = True

    def _make_room(self, wanted: int, keep: str = "") -> bool:
        """Drop the last instances of lanes that have several, one of each in turn. Return whether there is room."""
        skipped = keep in self._long
        while wanted > 0 and len(self._long) > skipped:
            # Each in turn: one long lane would otherwise lose everything, and be read again at once.
            name = next(iter(self._long))
            del self._long[name]
            if name == keep:
                self._long[name] = None
                continue
            self._drop_last(self._lanes[name])
            wanted -= 1
        return wanted <= 0

    def _drop_last(self, known: _Lane) -> None:
        _, _, address = known.entries.pop()
        del self._ranks[address]
        known.rest = "some"
        self._mark(known)

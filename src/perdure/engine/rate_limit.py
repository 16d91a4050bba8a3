"""Rate limits: at most so many runs begin in any window of a length."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterable, Sequence

import attrs

from perdure.jobs.lanes import Rate

MAX_REMEMBERED = 200_000
"""Maximum number of begun runs that the limits of all lanes of a job remember; beyond it, no further run begins."""


@attrs.define
class RateLimit:
    """Remembers when the last runs began, on the monotonic clock. No window holds more than the rate allows.

    A run takes a place in the rate first. It keeps the place, however long it waits, until it begins or gives up.

    Attributes:
        rate: the limit.
        waiting: number of runs that have a place and have not begun.
    """

    rate: Rate
    waiting: int = 0
    _begun: deque[float] = attrs.Factory(deque[float])

    @property
    def begun(self) -> tuple[float, ...]:
        """When the last runs began, in order."""
        return tuple(self._begun)

    def restore(self, begun: Iterable[float]) -> None:
        """Take over the runs that began before this engine opened."""
        self._begun = deque(sorted((*begun, *self._begun))[-self.rate.runs :])

    def free_ms(self, now_ms: float) -> float:
        """Return when the next run may take a place: now, or later; infinite if runs that wait have all of them."""
        free = self.rate.runs - self.waiting
        if free <= 0:
            return math.inf
        if len(self._begun) < free:
            return now_ms
        return max(now_ms, self._begun[-free] + self.rate.window_ms)

    def take_place(self) -> None:
        """Take the place of a run that begins as soon as it can."""
        self.waiting += 1

    def free_place(self) -> None:
        """Return the place of a run that does not begin."""
        self.waiting -= 1

    def begin(self, now_ms: float) -> None:
        """Note that a run which has a place begins."""
        self.waiting -= 1
        if len(self._begun) == self.rate.runs:
            self._begun.popleft()
        self._begun.append(now_ms)

    def forget(self, now_ms: float) -> int:
        """Forget the runs that left the window, and return how many are remembered, or have a place."""
        while self._begun and self._begun[0] + self.rate.window_ms <= now_ms:
            self._begun.popleft()
        return len(self._begun) + self.waiting


@attrs.define
class LaneRates:
    """The same limit for each lane. A lane is remembered while a run of it is in the window, or has a place.

    Attributes:
        rate: the limit of each lane; None: no limit.
        most: maximum number of runs that are remembered, over all lanes.
        opened_ms: when the engine opened: until a window later the store may have runs of a lane from before;
            negative infinity if it has none.
        unread: the lanes that were met, and whose stored runs were not read.
        waiting: number of runs that have a place and have not begun, over all lanes.
    """

    rate: Rate | None
    most: int = MAX_REMEMBERED
    opened_ms: float = -math.inf
    unread: dict[str, None] = attrs.Factory(dict[str, None])
    waiting: int = 0
    _read: set[str] = attrs.Factory(set[str])
    _lanes: dict[str, RateLimit] = attrs.Factory(dict[str, RateLimit])
    _order: list[tuple[float, str]] = attrs.Factory(list[tuple[float, str]])  # a heap: when each run leaves the window

    @property
    def remembered(self) -> int:
        """Number of begun runs that are remembered."""
        return len(self._order)

    def free_ms(self, lane: str, now_ms: float) -> float:
        """Return when the next run of a lane may take a place: now, or later; infinite if that is not known yet.

        That is: before its stored runs are read, and while runs that wait have all places.
        """
        if self.rate is None:
            return now_ms
        if not self._is_read(lane, now_ms, self.rate.window_ms):
            self.unread[lane] = None
            return math.inf
        self._forget(now_ms)
        if len(self._order) + self.waiting >= self.most:
            return self.next_ms()
        limit = self._lanes.get(lane)
        return now_ms if limit is None else limit.free_ms(now_ms)

    def take_place(self, lane: str) -> None:
        """Take the place of a run of a lane that begins as soon as it can."""
        if self.rate is not None:
            self.waiting += 1
            self._lanes.setdefault(lane, RateLimit(self.rate)).take_place()

    def free_place(self, lane: str, now_ms: float) -> None:
        """Return the place of a run of a lane that does not begin."""
        if self.rate is not None:
            self.waiting -= 1
            self._lanes[lane].free_place()
            self._forget_lane(lane, now_ms)

    def begin(self, lane: str, now_ms: float) -> None:
        """Note that a run of a lane which has a place begins."""
        if self.rate is not None:
            self.waiting -= 1
            self._lanes[lane].begin(now_ms)
            heapq.heappush(self._order, (now_ms + self.rate.window_ms, lane))

    def of(self, lane: str) -> RateLimit | None:
        """Return the limit of a lane; None if no run of it is remembered."""
        return self._lanes.get(lane)

    def restore(self, lane: str, begun: Sequence[float]) -> None:
        """Take over the runs of a lane that began before this engine opened."""
        self.unread.pop(lane, None)
        self._read.add(lane)
        if self.rate is not None and begun:
            self._lanes.setdefault(lane, RateLimit(self.rate)).restore(begun)
            for at in begun:
                heapq.heappush(self._order, (at + self.rate.window_ms, lane))

    def _is_read(self, lane: str, now_ms: float, window_ms: int) -> bool:
        if lane in self._read:
            return True
        if now_ms < self.opened_ms + window_ms:
            return False
        self._read.clear()  # the store has no run in the window that this engine has not begun
        self.unread.clear()
        return True

    def next_ms(self) -> float:
        """Return when the next lane may be free again; infinite if none is limited."""
        return self._order[0][0] if self._order else math.inf

    def _forget(self, now_ms: float) -> None:
        while self._order and self._order[0][0] <= now_ms:
            _, lane = heapq.heappop(self._order)
            self._forget_lane(lane, now_ms)

    def _forget_lane(self, lane: str, now_ms: float) -> None:
        if lane in self._lanes and self._lanes[lane].forget(now_ms) == 0:
            del self._lanes[lane]

"""Rate limits: at most so many runs begin in any window of a length."""

from __future__ import annotations

import math
from collections import deque

import attrs

from perdure.jobs.lanes import Rate

MAX_REMEMBERED = 200_000
"""Maximum number of begun runs that the limits of all lanes of a job remember; beyond it, no further run begins."""


@attrs.define
class RateLimit:
    """Remembers when the last runs began, on the monotonic clock. No window holds more than the rate allows.

    A new limit counts as if runs had begun at equal distances: a restart lets no second burst through.

    Attributes:
        rate: the limit.
        from_ms: when the limit began to count; None for a lane that was not limited before.
    """

    rate: Rate
    from_ms: float | None = None
    _begun: deque[float] = attrs.Factory(deque[float])

    def __attrs_post_init__(self) -> None:
        if self.from_ms is not None:
            runs, window_ms = self.rate.runs, self.rate.window_ms
            self._begun.extend(self.from_ms - window_ms + window_ms * (number + 1) / runs for number in range(runs))

    def free_ms(self, now_ms: float) -> float:
        """Return when the next run may begin: now, or later."""
        if len(self._begun) < self.rate.runs:
            return now_ms
        return max(now_ms, self._begun[0] + self.rate.window_ms)

    def begin(self, now_ms: float) -> None:
        """Note that a run begins."""
        if len(self._begun) == self.rate.runs:
            self._begun.popleft()
        self._begun.append(now_ms)

    def forget(self, now_ms: float) -> int:
        """Forget the runs that left the window, and return how many are remembered."""
        while self._begun and self._begun[0] + self.rate.window_ms <= now_ms:
            self._begun.popleft()
        return len(self._begun)


@attrs.define
class LaneRates:
    """The same limit for each lane. A lane is remembered while a run of it is in the window.

    Attributes:
        rate: the limit of each lane; None: no limit.
        most: maximum number of begun runs that are remembered, over all lanes.
    """

    rate: Rate | None
    most: int = MAX_REMEMBERED
    _lanes: dict[str, RateLimit] = attrs.Factory(dict[str, RateLimit])
    _order: deque[tuple[float, str]] = attrs.Factory(deque[tuple[float, str]])  # when each run leaves the window

    @property
    def remembered(self) -> int:
        """Number of begun runs that are remembered."""
        return len(self._order)

    def free_ms(self, lane: str, now_ms: float) -> float:
        """Return when the next run of a lane may begin: now, or later."""
        if self.rate is None:
            return now_ms
        self._forget(now_ms)
        if len(self._order) >= self.most:
            return self._order[0][0]
        limit = self._lanes.get(lane)
        return now_ms if limit is None else limit.free_ms(now_ms)

    def begin(self, lane: str, now_ms: float) -> None:
        """Note that a run of a lane begins."""
        if self.rate is not None:
            self._lanes.setdefault(lane, RateLimit(self.rate)).begin(now_ms)
            self._order.append((now_ms + self.rate.window_ms, lane))

    def next_ms(self) -> float:
        """Return when the next lane may be free again; infinite if none is limited."""
        return self._order[0][0] if self._order else math.inf

    def _forget(self, now_ms: float) -> None:
        while self._order and self._order[0][0] <= now_ms:
            _, lane = self._order.popleft()
            if lane in self._lanes and self._lanes[lane].forget(now_ms) == 0:
                del self._lanes[lane]

"""Rate limits: at most so many runs begin in any window of a length, also over restarts.

The store remembers when the runs of the last window began.
"""

from __future__ import annotations

import heapq
import json
import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

import attrs
from returns.result import Failure, Result, Success

from perdure.jobs.plan import Rate
from perdure.programs.future import answer_of
from perdure.runtime.record import DEFAULT_SIZES, Future, Runtime, SpawnedTask
from perdure.stores.contract import Store, commit_one, load_one
from perdure.values.address import Address, Job
from perdure.values.errors import OutcomeUnknown, StoreError
from perdure.values.transition import Loaded, Remembered, Transition


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
    most: int = DEFAULT_SIZES.remembered_runs
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


KEY: Final = "begun"
"""The idempotency key of an entry. It expires with the window, so the store deletes it as any other key."""


@attrs.define(eq=False)
class StoredRates:
    """Counts the runs that begin, in memory and in the store, before each begins.

    A run takes its place in the rates, waits for its slots, and begins. The store counts a run that waits as one that
    begins now: so a run that does not wait is stored once.

    Attributes:
        store: remembers the runs.
        runtime: the clocks.
        job: the job.
        rate: the limit of the job.
        lanes: the limit of each lane.
    """

    store: Store
    runtime: Runtime
    job: Job
    rate: RateLimit | None
    lanes: LaneRates
    _job_read: bool = attrs.field(init=False)
    _state: Literal["idle", "storing"] = "idle"
    _waiting: list[Future[None]] = attrs.Factory(list[Any])

    def __attrs_post_init__(self) -> None:
        self._job_read = self.rate is None

    @property
    def is_unread(self) -> bool:
        """Whether runs of the job, or of a lane that was met, may be stored and were not read."""
        return not self._job_read or bool(self.lanes.unread)

    def free_ms(self, lane: str, now_ms: float) -> float:
        """Return when the next run of a lane may take a place; infinite if that is not known yet."""
        return max(self.lanes.free_ms(lane, now_ms), self.job_free_ms(now_ms))

    def job_free_ms(self, now_ms: float) -> float:
        """Return when the rate of the job has a place for another run; infinite if that is not known yet."""
        if not self._job_read:
            return math.inf
        return now_ms if self.rate is None else self.rate.free_ms(now_ms)

    def take_place(self, lane: str) -> None:
        """Take the place of a run that begins as soon as it can."""
        if self.rate is not None:
            self.rate.take_place()
        self.lanes.take_place(lane)

    def free_place(self, lane: str) -> None:
        """Return the place of a run that does not begin."""
        if self.rate is not None:
            self.rate.free_place()
        self.lanes.free_place(lane, self.runtime.monotonic_ms())

    def begin(self, lane: str) -> None:
        """Count a run in memory that has a place and begins; `record` stores it."""
        now_ms = self.runtime.monotonic_ms()
        if self.rate is not None:
            self.rate.begin(now_ms)
        self.lanes.begin(lane, now_ms)

    async def read(self) -> StoreError | OutcomeUnknown | None:
        """Read the runs that began before this engine opened; return an error of the store."""
        if self.rate is not None and not self._job_read:
            found = await self._load(self._of_job, self.rate.rate)
            if not isinstance(found, Success):
                return found.failure()
            self.rate.restore(found.unwrap())
            self._job_read = True
        for lane in tuple(self.lanes.unread):
            if self.lanes.rate is not None:
                found = await self._load(self._of_lane(lane), self.lanes.rate)
                if not isinstance(found, Success):
                    return found.failure()
                self.lanes.restore(lane, found.unwrap())
        return None

    async def record(self, lanes: Iterable[str]) -> StoreError | OutcomeUnknown | None:
        """Store the runs of the last window, of the job and of some lanes; return an error of the store."""
        # One after the other: a store may answer two writes of one entry in any order, and the older one must not stay.
        while self._state == "storing":
            self._waiting.append(over := self.runtime.future())
            await over
        self._state = "storing"
        try:
            return await self._record(lanes)
        finally:
            self._state = "idle"
            waiting, self._waiting = self._waiting, []
            for over in waiting:
                if not over.done():
                    over.set_result(None)

    async def _record(self, lanes: Iterable[str]) -> StoreError | OutcomeUnknown | None:
        writes = [] if self.rate is None else [self._write(self._of_job, self.rate)]
        limits = {lane: self.lanes.of(lane) for lane in lanes}
        writes += [self._write(self._of_lane(lane), limit) for lane, limit in limits.items() if limit is not None]
        tasks: list[SpawnedTask[Any]] = [self.runtime.spawn(self._commit(write), name="rate") for write in writes]
        answers: list[Any] = [await task for task in tasks]
        return next((_error(answer) for answer in answers if not isinstance(answer, Success)), None)

    # ------------------------------------------------------------ the entries
    async def _commit(self, write: Transition) -> Any:
        return await answer_of(commit_one(self.store, write))

    @property
    def _of_job(self) -> Address:
        return Address("rate", self.job[1], self.job[0])

    def _of_lane(self, lane: str) -> Address:
        return Address("rate", self.job[1], f"{self.job[0]}:{lane}")

    def _write(self, address: Address, limit: RateLimit) -> Transition:
        now_ms, wall_ms, rate = self.runtime.monotonic_ms(), self.runtime.now_ms(), limit.rate
        begun = [math.ceil(wall_ms - (now_ms - at)) for at in limit.begun]
        runs = packed([*begun, *[wall_ms] * limit.waiting], rate.window_ms, self.runtime.sizes.rate_parts)
        entry = Remembered(
            key=KEY, action=KEY, fingerprint="", answer=json.dumps(runs), expires_ms=wall_ms + rate.window_ms
        )
        return Transition(address=address, remember=(entry,))

    async def _load(self, address: Address, rate: Rate) -> Result[list[float], StoreError]:
        """Return the instants of the stored runs on the monotonic clock, at most those that the rate allows."""
        now_ms, wall_ms = self.runtime.monotonic_ms(), self.runtime.now_ms()
        found = await answer_of(load_one(self.store, address, KEY, wall_ms))
        if not isinstance(found, Success):
            return Failure(found.failure())
        loaded: Loaded = found.unwrap()
        stored: list[tuple[int, int]] = [] if loaded.remembered is None else json.loads(loaded.remembered.answer)
        begun = [now_ms - max(0, wall_ms - at) for at, number in stored for _ in range(number)]
        return Success(sorted(begun)[-rate.runs :])


def _error(refused: Any) -> StoreError | OutcomeUnknown:
    error: StoreError | OutcomeUnknown = refused.failure()
    return error


def packed(begun: Sequence[int], window_ms: int, most: int) -> list[tuple[int, int]]:
    """Return instants in order as a few pairs of an instant and a number of runs, none of them earlier than it was."""
    parts: list[tuple[int, int]] = []
    first = -math.inf
    for at in begun:
        if parts and at - first < window_ms / most:
            parts[-1] = (at, parts[-1][1] + 1)
        else:
            parts.append((at, 1))
            first = at
    return parts

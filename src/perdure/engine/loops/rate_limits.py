"""Rate limits: at most so many runs begin in any window of a length, over restarts and over engines.

The store remembers when the runs of the last window began, those of each engine apart. On a shared store an engine
writes its part only over the entry that it has read: so it has counted the runs of the others.
"""

from __future__ import annotations

import heapq
import json
import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import attrs
from returns.result import Result, Success

from perdure.engine.runs.permits import packed
from perdure.programs.future import answer_of
from perdure.runtime.record import DEFAULT_SIZES, Future, Runtime, SpawnedTask
from perdure.stores.contract import NotCommitted, Store, commit_one, load_one
from perdure.values.address import Address, Job
from perdure.values.errors import Conflict, OutcomeUnknown, StoreError
from perdure.values.limits import Rate
from perdure.values.transition import Loaded, NewKeys, Remembered, Transition

Part: TypeAlias = tuple[int, int, int]
"""An instant of the wall clock, how many runs began then, and the engine that began them."""


@attrs.define
class RateLimit:
    """Remembers when the last runs began, on the monotonic clock. No window holds more than the rate allows.

    A run takes a place in the rate first. It keeps the place, however long it waits, until it begins or gives up.

    Attributes:
        waiting: how many runs have a place and have not begun.
        others: other engines' runs, as they are stored.
        elsewhere: when those began, in order.
        seen_ms: when the stored entry expires that has these runs; 0: none was read.
    """

    rate: Rate
    waiting: int = 0
    others: tuple[Part, ...] = ()
    elsewhere: tuple[float, ...] = ()
    seen_ms: int = 0
    _begun: deque[float] = attrs.Factory(deque[float])

    @property
    def begun(self) -> tuple[float, ...]:
        """When the last runs began, in order."""
        return tuple(self._begun)

    def restore(self, begun: Iterable[float]) -> None:
        """Take over the runs that began before this engine opened."""
        # The newest ones: an older run leaves the window before all of these.
        self._begun = deque(sorted((*begun, *self._begun))[-self.rate.runs :])

    def free_ms(self, now_ms: float) -> float:
        """Return when the next run may take a place: now, or later; infinite if runs that wait have all of them."""
        # A run that has a place counts as begun: it may begin at any moment.
        free = self.rate.runs - self.waiting
        if free <= 0:
            return math.inf
        # Without other engines, they are in order already.
        begun = sorted((*self._begun, *self.elsewhere)) if self.elsewhere else self._begun
        if len(begun) < free:
            return now_ms
        return max(now_ms, begun[-free] + self.rate.window_ms)

    def is_kept(self, now_ms: float) -> bool:
        """Return whether the window that ends now holds no more runs than the rate, with those that have a place."""
        after_ms = now_ms - self.rate.window_ms
        return self.waiting + sum(at > after_ms for at in (*self._begun, *self.elsewhere)) <= self.rate.runs

    def take_place(self) -> None:
        """Take a place for a run that begins as soon as it can."""
        self.waiting += 1

    def free_place(self) -> None:
        """Return the place that a run does not use."""
        self.waiting -= 1

    def begin(self, now_ms: float) -> None:
        """Note that a run which has a place begins."""
        self.waiting -= 1
        # Older ones decide nothing: the rate allows no more runs than these.
        if len(self._begun) == self.rate.runs:
            self._begun.popleft()
        self._begun.append(now_ms)

    def forget(self, now_ms: float) -> int:
        """Forget the runs that left the window, and return how many are remembered, or have a place."""
        while self._begun and self._begun[0] + self.rate.window_ms <= now_ms:
            self._begun.popleft()
        if self.elsewhere:
            self.elsewhere = tuple(at for at in self.elsewhere if at + self.rate.window_ms > now_ms)
        return len(self._begun) + len(self.elsewhere) + self.waiting


@attrs.define
class LaneRates:
    """The same limit for each lane. A lane is remembered while a run of it is in the window, or has a place.

    Attributes:
        rate: each lane's limit; None: no limit.
        most: how many runs are remembered at most, over all lanes.
        opened_ms: when the engine opened: until a window later the store may have runs of a lane from before;
            negative infinity if it has none.
        unread: the lanes that were met, and whose stored runs were not read.
        waiting: how many runs have a place and have not begun, over all lanes.
    """

    rate: Rate | None
    most: int = DEFAULT_SIZES.remembered_runs
    opened_ms: float = -math.inf
    unread: dict[str, None] = attrs.Factory(dict[str, None])
    waiting: int = 0
    _read: set[str] = attrs.Factory(set[str])
    _lanes: dict[str, RateLimit] = attrs.Factory(dict[str, RateLimit])
    _order: list[tuple[float, str]] = attrs.Factory(list[tuple[float, str]])  # a heap: when each run leaves the window
    _elsewhere: list[tuple[float, str]] = attrs.Factory(
        list[tuple[float, str]]
    )  # the same, of other engines' first runs
    _watched: set[str] = attrs.Factory(set[str])  # the lanes in it

    @property
    def remembered(self) -> int:
        """How many begun runs are remembered."""
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
        # Without room for another run the lane waits: a forgotten run would be counted in no window.
        if len(self._order) + self.waiting >= self.most:
            return self.next_ms()
        limit = self._lanes.get(lane)
        return now_ms if limit is None else limit.free_ms(now_ms)

    def take_place(self, lane: str) -> None:
        """Take a place for a lane's run that begins as soon as it can."""
        if self.rate is not None:
            self.waiting += 1
            self._lanes.setdefault(lane, RateLimit(self.rate)).take_place()

    def free_place(self, lane: str, now_ms: float) -> None:
        """Return the place that a lane's run does not use."""
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
        """Return a lane's limit; None if no run of it is remembered."""
        return self._lanes.get(lane)

    def restore(self, lane: str, begun: Sequence[float]) -> None:
        """Take over a lane's runs that began before this engine opened."""
        self.unread.pop(lane, None)
        self._read.add(lane)
        if self.rate is not None and begun:
            self._lanes.setdefault(lane, RateLimit(self.rate)).restore(begun)
            for at in begun:
                heapq.heappush(self._order, (at + self.rate.window_ms, lane))

    def know(self, lane: str, others: tuple[Part, ...], elsewhere: tuple[float, ...], seen_ms: int) -> None:
        """Take over a lane's runs that other engines have begun."""
        # A lane of which no run is known costs nothing.
        if self.rate is not None and (elsewhere or lane in self._lanes):
            limit = self._lanes.setdefault(lane, RateLimit(self.rate))
            limit.others, limit.elsewhere, limit.seen_ms = others, elsewhere, seen_ms
            self._watch(lane, limit)

    def _watch(self, lane: str, limit: RateLimit) -> None:
        if limit.elsewhere and lane not in self._watched:
            self._watched.add(lane)
            heapq.heappush(self._elsewhere, (limit.elsewhere[0] + limit.rate.window_ms, lane))

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
        return min((heap[0][0] for heap in (self._order, self._elsewhere) if heap), default=math.inf)

    def _forget(self, now_ms: float) -> None:
        while self._order and self._order[0][0] <= now_ms:
            _, lane = heapq.heappop(self._order)
            self._forget_lane(lane, now_ms)
        while self._elsewhere and self._elsewhere[0][0] <= now_ms:
            _, lane = heapq.heappop(self._elsewhere)
            self._watched.remove(lane)
            self._forget_lane(lane, now_ms)
            if lane in self._lanes:
                self._watch(lane, self._lanes[lane])

    def _forget_lane(self, lane: str, now_ms: float) -> None:
        if lane in self._lanes and self._lanes[lane].forget(now_ms) == 0:
            del self._lanes[lane]


LOOK_MS: Final = 1_000
"""How often an engine looks whether others have returned a job's rate places."""

MAX_TRIES: Final = 20
"""How often the runs of a moment are written over entries that other engines change meanwhile, before they wait."""

KEY: Final = "begun"
"""An entry's idempotency key. It expires with the window, so the store deletes it as any other key."""


@attrs.define(eq=False)
class StoredRates:
    """Counts the runs that begin, in memory and in the store, before each begins.

    A run takes its place in the rates, waits for its slots, and begins. The store counts a run that waits as one that
    begins now: so a run that does not wait is stored once.

    Attributes:
        lanes: each lane's limit.
    """

    store: Store
    runtime: Runtime
    job: Job
    rate: RateLimit | None
    lanes: LaneRates
    _job_read: bool = attrs.field(init=False)
    _looked_ms: float = -math.inf  # when the runs of the job were read
    _state: Literal["idle", "storing"] = "idle"
    _waiting: list[Future[None]] = attrs.Factory(list[Any])

    def __attrs_post_init__(self) -> None:
        self._job_read = self.rate is None

    @property
    def is_unread(self) -> bool:
        """Whether runs of the job, or of a lane that was met, may be stored and were not read."""
        return not self._job_read or bool(self.lanes.unread)

    def look_ms(self, now_ms: float) -> float:
        """Return when to read the job's runs again, because those of other engines have its places.

        An engine whose runs did not begin returns their places. The entries of lanes are not read for that: an engine
        writes those when the job has a place, so they rarely have such runs.
        """
        rate = self.rate
        if rate is None or not rate.elsewhere or not self._job_read or rate.free_ms(now_ms) <= now_ms:
            return math.inf
        return self._looked_ms + LOOK_MS

    def free_ms(self, lane: str, now_ms: float) -> float:
        """Return when the next run of a lane may take a place; infinite if that is not known yet."""
        return max(self.lanes.free_ms(lane, now_ms), self.job_free_ms(now_ms))

    def job_free_ms(self, now_ms: float) -> float:
        """Return when the job's rate has a place for another run; infinite if that is not known yet."""
        if not self._job_read:
            return math.inf
        return now_ms if self.rate is None else self.rate.free_ms(now_ms)

    def take_place(self, lane: str) -> None:
        """Take a place for a run that begins as soon as it can."""
        if self.rate is not None:
            self.rate.take_place()
        self.lanes.take_place(lane)

    def free_place(self, lane: str) -> None:
        """Return the place that a run does not use."""
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
        """Read the runs that began before this engine opened; return a store error."""
        now_ms = self.runtime.monotonic_ms()
        if self.rate is not None and (not self._job_read or self.look_ms(now_ms) <= now_ms):
            failure = await self._read_entry(None, self.rate.rate, "restart")
            if failure is not None:
                return failure
            self._job_read = True
        for lane in tuple(self.lanes.unread):
            if self.lanes.rate is not None:
                failure = await self._read_entry(lane, self.lanes.rate, "restart")
                if failure is not None:
                    return failure
        return None

    async def record(self, lanes: Iterable[str]) -> Mapping[str, NotCommitted]:
        """Store the runs of the last window, of the job and of some lanes.

        Returns:
            The lanes whose runs may not begin, with a store error, or ``Conflict`` if other engines' runs
            have taken the places meanwhile.
        """
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

    async def _record(self, lanes: Iterable[str]) -> Mapping[str, NotCommitted]:
        failure = None if self.rate is None else await self._store(None, self.rate)
        if failure is not None:
            return dict.fromkeys(lanes, failure)
        # After the job: a place that is counted for nothing is missing in all engines, and only that of the job is
        # looked for.
        limits = {lane: self.lanes.of(lane) for lane in lanes}
        tasks: dict[str, SpawnedTask[NotCommitted | None]] = {
            lane: self.runtime.spawn(self._store(lane, limit), name="rate")
            for lane, limit in limits.items()
            if limit is not None
        }
        # All are sent before the first is awaited: their writes share a group of the store.
        answers = {lane: await task for lane, task in tasks.items()}
        return {lane: answer for lane, answer in answers.items() if answer is not None}

    async def _store(self, lane: str | None, limit: RateLimit) -> NotCommitted | None:
        """Store a limit's runs: on a shared store over the entry that was read, and only while all have places."""
        for _ in range(MAX_TRIES):
            write = self._write(lane, limit)
            failure = _failure(await answer_of(commit_one(self.store, write)))
            if failure is None:
                limit.seen_ms = write.remember[0].expires_ms
                return None
            if not isinstance(failure, Conflict):
                return failure
            unread = await self._read_entry(lane, limit.rate, "beside")
            if unread is not None:
                return unread
            # Other engines have taken the places: the runs may not begin.
            if not limit.is_kept(self.runtime.monotonic_ms()):
                break
        return Conflict(str(self._entry(lane)))

    # ------------------------------------------------------------ the entries
    def _entry(self, lane: str | None) -> Address:
        kind, name = self.job
        return Address("rate", name, kind if lane is None else f"{kind}:{lane}")

    def _write(self, lane: str | None, limit: RateLimit) -> Transition:
        now_ms, wall_ms, rate = self.runtime.monotonic_ms(), self.runtime.now_ms(), limit.rate
        # Rounded up: a run must not count as earlier than it began.
        begun = [(math.ceil(wall_ms - (now_ms - at)), 1) for at in limit.begun]
        own = packed([*begun, *[(wall_ms, 1)] * limit.waiting], rate.window_ms, self.runtime.sizes.rate_parts)
        # The entry is written as a whole, so it repeats the runs of the others.
        others = [part for part in limit.others if part[0] + rate.window_ms > wall_ms]
        runs: list[Part] = [*((at, number, self.store.epoch) for at, number in own), *others]
        # Later than that of the entry below it: by its end, the store knows which one was read.
        expires_ms = max(wall_ms + rate.window_ms, limit.seen_ms + 1)
        answer = json.dumps(runs)
        entry = Remembered(key=KEY, action=KEY, fingerprint="", answer=answer, expires_ms=expires_ms)
        # A store with one owner needs no condition: no other engine writes.
        unread = NewKeys((KEY,), max(wall_ms, limit.seen_ms)) if self.store.sharing is not None else None
        return Transition(address=self._entry(lane), remember=(entry,), new_keys=unread)

    async def _read_entry(
        self, lane: str | None, rate: Rate, why: Literal["restart", "beside"]
    ) -> StoreError | OutcomeUnknown | None:
        """Read the stored runs, at most those that a rate allows.

        Args:
            lane: the lane; None: the job.
            rate: its rate.
            why: ``restart``: the runs that began before this engine opened. ``beside``: those of other engines.
        """
        wall_ms = self.runtime.now_ms()
        found: Result[Loaded, StoreError] = await answer_of(load_one(self.store, self._entry(lane), KEY, wall_ms))
        if not isinstance(found, Success):
            return found.failure()
        entry, now_ms, wall_ms = found.unwrap().remembered, self.runtime.monotonic_ms(), self.runtime.now_ms()
        stored: list[Part] = [] if entry is None else [(at, number, by) for at, number, by in json.loads(entry.answer)]
        others = tuple(part for part in stored if part[2] != self.store.epoch)
        # The clock of another engine may be ahead: a run counts as of now at the latest.
        begun = sorted(now_ms - max(0, wall_ms - at) for at, number, _ in others for _ in range(number))[-rate.runs :]
        self._take_over(lane, others, begun, 0 if entry is None else entry.expires_ms, why)
        return None

    def _take_over(
        self,
        lane: str | None,
        others: tuple[Part, ...],
        begun: Sequence[float],
        seen_ms: int,
        why: Literal["restart", "beside"],
    ) -> None:
        if self.store.sharing is None:
            # No other engine writes them: they count as those of this one, which stores them again.
            if lane is not None:
                self.lanes.restore(lane, begun)
            elif self.rate is not None:
                self.rate.restore(begun)
            return
        if lane is not None:
            if why == "restart":
                self.lanes.restore(lane, ())
            self.lanes.know(lane, others, tuple(begun), seen_ms)
        elif self.rate is not None:
            self._looked_ms = self.runtime.monotonic_ms()
            self.rate.others, self.rate.elsewhere, self.rate.seen_ms = others, tuple(begun), seen_ms


def _failure(answer: Any) -> NotCommitted | None:
    failure: NotCommitted | None = None if isinstance(answer, Success) else answer.failure()
    return failure

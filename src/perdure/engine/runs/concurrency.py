"""Which runs may begin: the engine's slots, of each job and of each lane, runs that must be alone, and held jobs."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol

import attrs
from returns.result import Failure, Result, Success

from perdure.engine.runs.named_limits import NamedLimits
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.step import Execute, Mark
from perdure.programs.future import answer_of
from perdure.runtime.record import Future, LogRecord, Runtime
from perdure.stores.contract import Store
from perdure.values.address import Address, Job
from perdure.values.errors import InvalidInput, StoreError
from perdure.values.excerpt import fields_in_line
from perdure.values.instance import Instance
from perdure.values.limits import Limits
from perdure.values.listings import HoldResult
from perdure.values.status import Hold
from perdure.values.transition import Put


class Rated(Protocol):
    """A job's rates. A run takes a place in them, and keeps it until it begins or gives up."""

    def is_limited(self, lane: str, /) -> bool:
        """Whether the rates have no place for a lane run."""
        ...

    async def wait_for_rate(self, lane: str, /) -> None:
        """Wait until the rates have a place. Another run may take it before the caller continues."""
        ...

    def take_place(self, lane: str, /) -> None:
        """Take a place for a lane's run that begins as soon as it can."""
        ...

    def free_place(self, lane: str, /) -> None:
        """Return the place that a run does not use."""
        ...

    def begin(self, lane: str, /) -> None:
        """Count a run that has a place and begins now."""
        ...

    async def record(self, lane: str, /) -> None:
        """Store that runs of a lane begin, before they do."""
        ...


@attrs.define(eq=False)
class _Outside:
    """A run that waits for a slot.

    Attributes:
        entered: done when the run has the slot.
    """

    address: Address
    lane: str
    entered: Future[None]


@attrs.define
class LaneClock:
    """The clock that ranks a job's queued instances: the wall clock, but it never goes back.

    After a jump back it runs on from the instant before, and so do the ranks: a new instance comes after those that
    were queued before the jump, and a head start counts from the same clock.

    Attributes:
        runtime: the only interface to time.
    """

    runtime: Runtime
    _from_ms: int = 0
    _since_ms: float = 0.0

    def start(self, last_rank_ms: int | None) -> None:
        """Run on from the greatest rank that an earlier engine stored."""
        self._from_ms, self._since_ms = last_rank_ms or 0, self.runtime.monotonic_ms()

    def ahead_ms(self, now_ms: int) -> int:
        """Return how far this clock is ahead of the wall clock."""
        monotonic_ms = self.runtime.monotonic_ms()
        ahead_ms = self._from_ms + int(monotonic_ms - self._since_ms) - now_ms
        if ahead_ms > 0:
            return ahead_ms
        self._from_ms, self._since_ms = now_ms, monotonic_ms
        return 0


@attrs.define
class LaneLimit:
    """Counts a job's runs by lane. The lane feeder takes a slot before it fires. Other runs wait for one.

    The other runs are those that no lane began: abandoned claims that are recovered. They come first. A run keeps its
    lane's slot until its claim has left the store: otherwise a crash would let a later instance overtake it.

    Attributes:
        runtime: creates the futures that runs wait for.
        lane_slots: at most this many concurrent runs of a lane. None for no limit of its own.
        freed: called with a lane when a slot of it is returned. Set once, right after construction.
        rated: the rates. Set with it. Each slot is taken with a place in them, and returned without one.
        ended: how many slots were returned so far.
        doubted: the instances whose claims may not be in the store any more.
    """

    runtime: Runtime
    slots: int
    lane_slots: int | None = None
    freed: Callable[[str], None] = attrs.field(init=False)
    rated: Rated = attrs.field(init=False)
    ended: int = 0
    _inside: int = 0
    _running: dict[str, int] = attrs.Factory(dict[str, int])
    _inside_at: dict[Address, tuple[str, ...]] = attrs.Factory(dict[Address, tuple[str, ...]])
    _reserved: dict[Address, str] = attrs.Factory(dict[Address, str])
    _claims: dict[Address, str] = attrs.Factory(dict[Address, str])  # those in the store, by their lanes
    _idle: dict[str, int] = attrs.Factory(dict[str, int])  # claims by lane whose instance has no slot
    doubted: set[Address] = attrs.Factory(set[Address])
    clock: LaneClock = attrs.field(init=False)
    _outside: list[_Outside] = attrs.Factory(list[_Outside])

    def __attrs_post_init__(self) -> None:
        self.clock = LaneClock(self.runtime)

    @property
    def held(self) -> int:
        """How many slots are in use."""
        return self._inside

    @property
    def waiting(self) -> int:
        """How many runs wait for a slot."""
        return len(self._outside)

    @property
    def has_slot(self) -> bool:
        """Whether the lane feeder may take a slot. A slot that is returned goes to the first run that may enter."""
        return self._inside < self.slots

    @property
    def has_doubt(self) -> bool:
        """Whether the store's claims must be read again."""
        return bool(self.doubted)

    def running(self, lane: str) -> int:
        """Return the slot count in use of a lane."""
        return self._running.get(lane, 0)

    def is_full(self, lane: str) -> bool:
        """Whether a lane has no free slot for an instance that waits in it."""
        # Claims without a slot count: their runs are delivered again, and a later instance must not overtake them.
        return self.lane_slots is not None and self.running(lane) + self._idle.get(lane, 0) >= self.lane_slots

    def _may_enter(self, lane: str) -> bool:
        """Whether a lane has a free slot for a run that has a claim."""
        return self.lane_slots is None or self.running(lane) < self.lane_slots

    def take(self, address: Address, lane: str) -> None:
        """Take a slot for an alarm that is about to be fired."""
        self._reserved[address] = lane
        self._count(address, lane)
        self.rated.take_place(lane)

    def give_back(self, address: Address) -> None:
        """Return the slot that an alarm took, and whose turn began no run."""
        lane = self._reserved.pop(address, None)
        # Without a lane, a run has begun with the slot, and returns it at its end.
        if lane is not None:
            self.rated.free_place(lane)
            self.leave_lane(address)

    def is_reserved(self, address: Address) -> bool:
        """Whether a slot was taken for an instance, which no run uses yet."""
        return address in self._reserved

    def use(self, address: Address) -> Literal[True]:
        """Begin a run with the slot that was taken for an instance. The store has counted it."""
        self.rated.begin(self._reserved.pop(address))
        return True

    # ------------------------------------------------------------ claims
    def hold_claim(self, address: Address, lane: str, state: Literal["known", "doubted"]) -> None:
        """Note that an instance's claim is in the store.

        Args:
            address: the instance.
            lane: its lane.
            state: whether a commit of this engine wrote the claim, or it was read.
        """
        if state == "doubted":
            self.doubted.add(address)
        else:
            self.doubted.discard(address)
        # Once: a claim is known from its commit, and from the read of the store.
        if address not in self._claims:
            self._claims[address] = lane
            if address not in self._inside_at:
                self._change_idle(lane, 1)

    def drop_claim(self, address: Address) -> None:
        """Note that an instance's claim is not in the store any more."""
        self.doubted.discard(address)
        lane = self._claims.pop(address, None)
        # While the run has a slot, its end frees the lane.
        if lane is not None and address not in self._inside_at:
            self._change_idle(lane, -1)
            self.freed(lane)

    def doubt_claim(self, address: Address) -> None:
        """Note that no run holds an instance's claim, unless a commit has removed it already."""
        if address in self._claims:
            self.doubted.add(address)

    def _change_idle(self, lane: str, by: int) -> None:
        number = self._idle.get(lane, 0) + by
        if number:
            self._idle[lane] = number
        else:
            del self._idle[lane]

    # ------------------------------------------------------------ runs
    async def enter_lane(self, address: Address, lane: str) -> str:
        """Return the lane of the slot that was taken for an instance, or wait for one. A cancelled wait takes none.

        The run has a place in the rates of that lane, too. It begins with `begin_recorded`, or returns both with
        `give_up`.
        """
        reserved = self._reserved.pop(address, None)
        if reserved is not None:
            return reserved
        # Both may change while the other is waited for, so look at the rate again once the slot is taken.
        while True:
            while self.rated.is_limited(lane):
                await self.rated.wait_for_rate(lane)
            await self._take_slot(address, lane)
            if not self.rated.is_limited(lane):
                break
            self._return_slot(address)  # a run that waits for its rate keeps no slot from the others
        self.rated.take_place(lane)
        return lane

    async def begin_recorded(self, address: Address, lane: str) -> None:
        """Begin a run that has entered its lane, once the store has counted it. If that fails, it has no slot."""
        self.rated.begin(lane)
        try:
            await self.rated.record(lane)
        # A cancellation, too: the caller has no slot to return yet, and a slot that is lost lowers the limit until a
        # restart.
        except BaseException:
            self._return_slot(address)
            raise

    def give_up(self, address: Address, lane: str) -> None:
        """Return the slot of a run that has entered its lane and does not begin."""
        self.rated.free_place(lane)
        self.leave_lane(address)

    async def _take_slot(self, address: Address, lane: str) -> None:
        """Take a slot, or wait until one is handed over."""
        if self._inside < self.slots and self._may_enter(lane):
            self._count(address, lane)
            return
        run = _Outside(address, lane, self.runtime.future())
        self._outside.append(run)
        try:
            await run.entered
        # As in `begin_recorded`. A slot that was handed over in the same step belongs to this run already: pass it on.
        except BaseException:
            if run in self._outside:
                self._outside.remove(run)
            else:
                self._return_slot(address)  # the slot was handed over in the same moment
            raise

    def leave_lane(self, address: Address) -> None:
        """Return an instance's slot, and let the next run in.

        It may have two: that of its run, and that of an alarm which was fired meanwhile. The one that is returned first
        leaves the other one as it is.
        """
        self.ended += 1
        self._return_slot(address)

    def _return_slot(self, address: Address) -> None:
        lane, *others = self._inside_at.pop(address)
        if others:
            self._inside_at[address] = tuple(others)
        elif address in self._claims:
            self._change_idle(self._claims[address], 1)
        self._inside -= 1
        self._running[lane] -= 1
        if not self._running[lane]:
            del self._running[lane]
        # Before the feeder is called: recovered runs come first.
        self._hand_over()
        self.freed(lane)

    def _hand_over(self) -> None:
        """Give the returned slot to the first run that may enter. No newcomer takes it before that run continues."""
        for run in self._outside:
            if not run.entered.done() and self._may_enter(run.lane):  # done: it gives up in this step
                self._outside.remove(run)
                self._count(run.address, run.lane)
                run.entered.set_result(None)
                return

    def _count(self, address: Address, lane: str) -> None:
        # With a slot, the claim is not counted apart, or it would fill its lane twice.
        if address in self._claims and address not in self._inside_at:
            self._change_idle(self._claims[address], -1)
        self._inside_at[address] = (*self._inside_at.get(address, ()), lane)
        self._inside += 1
        self._running[lane] = self._running.get(lane, 0) + 1


def takes_lane_slot(row: Instance) -> bool:
    """Return whether a stored instance has a claim that takes a slot of its lane: that of a run that is delivered."""
    return row.claim is not None and row.lane is not None and row.suspension in (None, "paused")


def lane_of(job: AnyDefinition, step: Execute | Mark) -> str:
    """Return a run's lane. That of data which this code cannot decode is the nameless one."""
    instance = step.instance if isinstance(step, Execute) else None
    if isinstance(step, Mark) and isinstance(step.transition.write, Put):
        instance = step.transition.write.instance
    if instance is None:
        return ""
    try:
        return job.lane(instance)
    except InvalidInput:
        return ""


Company = Literal["alone", "beside_others"]


class _Waiting(NamedTuple):
    """A run that waits for a slot: in the order of arrival."""

    number: int
    place: Future[Any]
    company: Company
    job: str


@attrs.define
class ConcurrencyLimit:
    """Counts slots, and shares them between jobs. A run that must be alone waits for all slots and holds them all.

    A job without a run takes any free slot. Another one leaves a slot for each job without a run, up to the reserve. A
    slot that is returned goes to the waiting job with the fewest slots. One job's runs come in their order.

    Attributes:
        runtime: creates the futures that runs wait for.
        jobs: how many jobs share the slots.
        reserve: at most this many slots are kept for jobs without a run.
    """

    runtime: Runtime
    slots: int
    jobs: int = 1
    reserve: int = 0
    _inside: int = 0
    _used: defaultdict[str, int] = attrs.Factory(partial(defaultdict[str, int], int))
    _idle: int = attrs.field(init=False)  # jobs without a run
    _kept: int = attrs.field(init=False)  # slots that are kept for them
    _alone: Literal["none", "running"] = "none"
    _waiting: dict[str, deque[_Waiting]] = attrs.Factory(dict[str, Any])  # by job
    _lone: deque[_Waiting] = attrs.Factory(deque[Any])
    _arrived: int = 0

    def __attrs_post_init__(self) -> None:
        self._idle = self.jobs
        self._kept = min(self._idle, self.reserve)

    @property
    def held(self) -> int:
        """How many slots are in use."""
        return self._inside

    @property
    def waiting(self) -> int:
        """How many runs wait for a slot."""
        return sum(not run.place.done() for line in (self._lone, *self._waiting.values()) for run in line)

    def try_enter(self, company: Company, job: str = "") -> bool:
        """Take a slot if no run has to wait for one. Return whether it is taken."""
        if company == "alone":
            if self._inside or self._waiting or self._lone:
                return False
            self._alone = "running"
        # All wait behind a run that must be alone: otherwise it would never begin.
        elif self._lone or self._alone == "running" or (self._waiting and job in self._waiting):
            return False
        # Spelled out, as in `leave`: each run with an effect takes a slot.
        used = self._used[job]
        if self.slots - self._inside <= (self._kept if used else 0):
            return False
        self._inside += 1
        self._used[job] = used + 1
        if self.reserve and not used:
            self._idle -= 1
            self._kept = min(self._idle, self.reserve)
        return True

    async def enter(self, company: Company, job: str = "") -> None:
        """Take a slot, waiting in line for it. A cancelled wait takes none."""
        if self.try_enter(company, job):
            return
        place = self.runtime.future()
        line = self._lone if company == "alone" else self._waiting.setdefault(job, deque())
        self._arrived += 1
        line.append(_Waiting(self._arrived, place, company, job))
        try:
            await place
        except self.runtime.cancelled:
            if place.done() and not place.cancelled():
                self.leave(company, job)  # it was admitted at the same moment
            else:
                # Cancelled, so that `_forget_cancelled` removes the run from its line.
                place.cancel()
                self._admit_waiting()  # those behind a run that had to be alone
            raise

    def leave(self, company: Company, job: str = "") -> None:
        """Return the slot, and admit the next runs."""
        self._inside -= 1
        self._used[job] = used = self._used[job] - 1
        if self.reserve and not used:
            self._idle += 1
            self._kept = min(self._idle, self.reserve)
        if company == "alone":
            self._alone = "none"
        if self._waiting or self._lone:
            self._admit_waiting()

    def _admit_waiting(self) -> None:
        while (run := self._next()) is not None:
            if run.company == "alone":
                self._alone = "running"
            self._inside += 1
            self._used[run.job] += 1
            if self.reserve and self._used[run.job] == 1:
                self._idle -= 1
                self._kept = min(self._idle, self.reserve)
            run.place.set_result(None)

    def _next(self) -> _Waiting | None:
        """Remove the run whose turn it is, and return it: of the jobs that may have a slot, the one with the fewest."""
        self._forget_cancelled()
        if self._alone == "running":
            return None
        lone = self._lone[0].number if self._lone else math.inf
        # Those that came after a run that must be alone stay behind it.
        first = [line[0] for line in self._waiting.values() if line[0].number < lone]
        ready = [(self._used[run.job], run.number, run.job) for run in first if self._has_room(run.job)]
        if ready:
            _, _, job = min(ready)
            return self._waiting[job].popleft()
        return self._lone.popleft() if self._lone and not self._inside else None

    def _forget_cancelled(self) -> None:
        for line in (self._lone, *self._waiting.values()):
            while line and line[0].place.done():
                line.popleft()
        self._waiting = {job: line for job, line in self._waiting.items() if line}

    def _has_room(self, job: str) -> bool:
        """Whether a job may have another slot."""
        return self.slots - self._inside > (self._kept if self._used[job] else 0)


# ---------------------------------------------------------------- slots that are kept for other jobs
SPARE = 8
"""One slot in so many is not taken by one pool's workers, if the engine serves other jobs."""

MOST_KEPT = 4
"""At most one slot in so many is kept for jobs that have no run."""


def spare_slots(slots: int) -> int:
    """Return how many of an engine's slots one pool's workers leave to other jobs."""
    return max(1, slots // SPARE)


def reserve_of(slots: int, jobs: int) -> int:
    """Return how many of an engine's slots are kept for jobs that have no run: one for each, up to a quarter."""
    # An engine with a single slot keeps none: its jobs would never run.
    return min(jobs - 1, max(1, slots // MOST_KEPT), slots - 1)


@attrs.frozen
class TooManyRuns:
    """A job that may have more runs than the engine ever has slots for it.

    Attributes:
        job: the job, printed ``kind:name``.
        wanted: its ``workers`` or ``runs``.
    """

    __repr__ = fields_in_line

    job: str
    wanted: int
    slots: int
    concurrency: int

    def __str__(self) -> str:
        kept = self.concurrency - self.slots
        reason = f"an engine has {self.concurrency:,} slots (`Limits.concurrency`)"
        reason += f" and keeps {kept:,} for other jobs" if kept else ""
        return f"{self.job} may have {self.wanted:,} runs at the same time, but {reason}"


def too_many_runs(limits: Limits, jobs: Mapping[Job, AnyDefinition]) -> tuple[TooManyRuns, ...]:
    """Return the jobs whose own limit an engine can never reach."""
    slots = {job: slots_of(limits.concurrency, len(jobs), definition) for job, definition in jobs.items()}
    wanted = {job: definition.plan.runs or 0 for job, definition in jobs.items()}
    return tuple(
        TooManyRuns(":".join(job), wanted[job], slots[job], limits.concurrency)
        for job in jobs
        if wanted[job] > slots[job]
    )


def slots_of(concurrency: int, jobs: int, job: AnyDefinition) -> int:
    """Return how many of an engine's slots a job can have while the other jobs have no run."""
    if jobs == 1:
        return concurrency
    kept = reserve_of(concurrency, jobs)
    # A pool's backlog is the usual one: its workers leave room for several runs of another job.
    return max(1, concurrency - (kept if job.lanes is None else max(kept, spare_slots(concurrency))))


@attrs.define
class ConcurrencyLimits:
    """The engine's limit, and one for each job, printed ``kind:name``, that has its own or has lanes."""

    runtime: Runtime
    engine: ConcurrencyLimit
    named: NamedLimits
    jobs: dict[str, ConcurrencyLimit] = attrs.Factory(dict[str, ConcurrencyLimit])
    lanes: dict[str, LaneLimit] = attrs.Factory(dict[str, LaneLimit])

    @property
    def held(self) -> int:
        """How many slots are in use, over all limits."""
        own, lanes = self.jobs.values(), self.lanes.values()
        return self.engine.held + sum(gate.held for gate in own) + sum(gate.held for gate in lanes)

    @property
    def waiting(self) -> int:
        """How many runs wait for a slot, over all limits."""
        own, lanes = self.jobs.values(), self.lanes.values()
        return self.engine.waiting + sum(gate.waiting for gate in own) + sum(gate.waiting for gate in lanes)

    def ahead_ms(self, job: str, now_ms: int) -> int:
        """Return how far the clock of a job's lanes is ahead of the wall clock; 0 for a job without lanes."""
        lanes = self.lanes.get(job)
        return 0 if lanes is None else lanes.clock.ahead_ms(now_ms)

    def try_enter(self, job: str, company: Company, address: Address) -> bool:
        """Take both slots if no run has to wait for them. Return whether they are taken.

        Args:
            job: the job, printed ``kind:name``.
            company: whether the run must be alone.
            address: the instance. That of a job with lanes waits unless a slot was taken for it.
        """
        if job in self.named.jobs:
            return self._try_enter_named(job, company, address)
        lanes = self.lanes.get(job)
        if lanes is not None:
            return lanes.is_reserved(address) and self.engine.try_enter(company, job) and lanes.use(address)
        gate = self.jobs.get(job)
        if gate is None:
            return self.engine.try_enter(company, job)
        if not gate.try_enter("beside_others"):
            return False
        if self.engine.try_enter(company, job):
            return True
        # Both or none: a slot that is not returned lowers the limit of the job.
        gate.leave("beside_others")
        return False

    async def enter(self, job: str, company: Company, address: Address, lane: str) -> None:
        """Take a slot of the job first, so that a queue before one job delays no other job.

        A rate counts a run behind all waits: when it begins.

        Args:
            job: the job, printed ``kind:name``.
            company: whether the run must be alone.
            address: the instance.
            lane: its lane, if the job has lanes.
        """
        if job in self.lanes:
            await self._enter_by_lane(job, company, address, lane)
            return
        if job in self.jobs:
            await self.jobs[job].enter("beside_others")
        try:
            if job in self.named.jobs:
                await self._enter_named(job, company, address, address.id)
            else:
                await self.engine.enter(company, job)
        # A cancelled wait for the engine's slot must return the job's, or that job loses one for good.
        except BaseException:
            self._leave_job(job, address)
            raise

    async def _enter_by_lane(self, job: str, company: Company, address: Address, lane: str) -> None:
        limit = self.lanes[job]
        entered = await limit.enter_lane(address, lane)
        try:
            if job in self.named.jobs:
                await self._enter_named(job, company, address, entered)
            else:
                await self.engine.enter(company, job)
        except BaseException:  # as in `enter`: the lane's slot, and the place in its rate
            limit.give_up(address, entered)
            raise
        try:
            await limit.begin_recorded(address, entered)
        except BaseException:  # the limit has returned its own slot by then
            self._leave_engine(job, company, address)
            raise

    async def _enter_named(self, job: str, company: Company, address: Address, subject: str) -> None:
        """Take permits of the named limits, then a slot of the engine: a run that waits for permits has no slot."""
        named = self.named
        # A run that a feeder has fired has its permits already.
        if not named.is_placed(address):
            await named.enter(job, address, subject)
        while True:
            try:
                await self.engine.enter(company, job)
            except BaseException:
                named.give_back(address)
                raise
            try:
                if await named.begin(address):
                    return
            except BaseException:  # the permits are returned by then
                self.engine.leave(company, job)
                raise
            self.engine.leave(company, job)  # it waited long for its slot, and other runs were counted meanwhile
            await named.enter(job, address, subject)

    def _try_enter_named(self, job: str, company: Company, address: Address) -> bool:
        named, lanes = self.named, self.lanes.get(job)
        if lanes is not None:
            # The slot comes last: the other two only look.
            ready = lanes.is_reserved(address) and named.may_begin(address) and self.engine.try_enter(company, job)
            return ready and named.begin_placed(address) and lanes.use(address)
        gate = self.jobs.get(job)
        if gate is not None and not gate.try_enter("beside_others"):
            return False
        if named.try_take(job, address):
            if self.engine.try_enter(company, job):
                return named.begin_placed(address)
            named.give_back(address)
        if gate is not None:
            gate.leave("beside_others")
        return False

    def _leave_engine(self, job: str, company: Company, address: Address) -> None:
        self.engine.leave(company, job)
        if job in self.named.jobs:
            self.named.leave(address)

    def doubt_claim(self, job: str, address: Address) -> None:
        """Note that the store may have a claim of an instance that no run holds."""
        if job in self.lanes:
            self.lanes[job].doubt_claim(address)

    def leave(self, job: str, company: Company, address: Address) -> None:
        """Return both slots."""
        self.engine.leave(company, job)
        if job in self.named.jobs:
            self.named.leave(address)
        if self.jobs or self.lanes:
            self._leave_job(job, address)

    def _leave_job(self, job: str, address: Address) -> None:
        if job in self.lanes:
            self.lanes[job].leave_lane(address)
        elif job in self.jobs:
            self.jobs[job].leave("beside_others")


@attrs.define
class Holds:
    """The held jobs.

    Attributes:
        released: called when a job was released: its alarms may be due. Set once, right after construction.
        jobs: the held jobs, in their order.
    """

    store: Store
    runtime: Runtime
    released: Callable[[], None] = attrs.field(init=False)
    jobs: tuple[Job, ...] = ()
    _answers: int = 0

    async def read(self) -> None:
        """Read the held jobs: at the engine's start, and when another engine may have changed them.

        Raises:
            StoreError: the store failed.
        """
        found = await self._read()
        if not isinstance(found, Success):
            raise found.failure()

    async def _read(self) -> Result[None, Any]:
        while True:
            before = self._answers
            found = await answer_of(self.store.holds())
            if not isinstance(found, Success):
                return Failure(found.failure())
            # Another answer has arrived meanwhile, of a change or a read: this one may be older.
            if before == self._answers:
                break
        self._answers += 1
        jobs = found.unwrap()
        gone, self.jobs = set(self.jobs).difference(jobs), jobs
        if gone:
            self.released()
        return Success(None)

    def of(self, kind: str, name: str) -> Hold:
        """Return whether a job is held."""
        return "held" if self.jobs and (kind, name) in self.jobs else "released"

    async def set(self, job: Job, hold: Hold) -> Result[HoldResult, StoreError]:
        """Hold or release a job. The change is durable when this returns.

        Args:
            job: its kind and name.
            hold: whether its runs may begin.
        """
        before = self._answers
        changed: Result[str, Any] = await answer_of(self.store.set_hold(job, hold))
        if not isinstance(changed, Success):
            return Failure(changed.failure())
        # After the answer: a hold that is not durable must not keep runs back.
        is_newest = before == self._answers
        self._answers += 1
        others = tuple(other for other in self.jobs if other != job)
        self.jobs = tuple(sorted((*others, job))) if hold == "held" else others
        if changed.unwrap() == "changed":
            self.runtime.log(LogRecord("info", f"job {hold}", {"job": ":".join(job)}))
        if hold == "released":
            self.released()
        # The store may have made two changes in another order than its answers arrived.
        found: Result[None, Any] = Success(None) if is_newest else await self._read()
        return found.map(lambda _: HoldResult(changed=changed.unwrap() == "changed", hold=hold))

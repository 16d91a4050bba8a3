"""Limits how many runs of user code are in progress at the same time, and which run is alone."""

from __future__ import annotations

from collections import deque
from typing import Any, Literal

import attrs

from perdure.engine.lane_limit import LaneLimit
from perdure.runtime.record import Future, Runtime
from perdure.values.address import Address

Company = Literal["alone", "beside_others"]


SPARE = 8
"""One slot in so many is not taken by the workers of one pool, if the engine serves other jobs."""


def spare_slots(slots: int) -> int:
    """Return how many of an engine's slots the workers of one pool leave to other jobs."""
    return max(1, slots // SPARE)


@attrs.define
class ConcurrencyLimit:
    """Counts slots, with a fair queue. A run that must be alone waits for all slots and holds them all.

    Attributes:
        runtime: creates the futures that runs wait for.
        slots: number of slots.
    """

    runtime: Runtime
    slots: int
    _inside: int = 0
    _alone: Literal["none", "running"] = "none"
    _waiting: deque[tuple[Company, Future[Any]]] = attrs.Factory(deque[tuple[Company, Future[Any]]])

    @property
    def held(self) -> int:
        """Number of slots in use."""
        return self._inside

    @property
    def waiting(self) -> int:
        """Number of runs that wait for a slot."""
        return sum(not place.done() for _, place in self._waiting)

    def try_enter(self, company: Company) -> bool:
        """Take a slot if no run has to wait for one; return whether it is taken."""
        if company == "beside_others" and not self._waiting and self._alone == "none" and self._inside < self.slots:
            self._inside += 1
            return True
        if self._waiting or not self._has_room(company):
            return False
        self._admit(company)
        return True

    async def enter(self, company: Company) -> None:
        """Take a slot, waiting in line for it. A cancelled wait takes none."""
        if self.try_enter(company):
            return
        place = self.runtime.future()
        self._waiting.append((company, place))
        try:
            await place
        except self.runtime.cancelled:
            if place.done() and not place.cancelled():
                self.leave(company)  # it was admitted at the same moment
            else:
                place.cancel()
                self._admit_waiting()  # those behind a run that had to be alone
            raise

    def leave(self, company: Company) -> None:
        """Return the slot, and admit the next runs."""
        self._inside -= 1
        if company == "alone":
            self._alone = "none"
        if self._waiting:
            self._admit_waiting()

    def _admit_waiting(self) -> None:
        while self._waiting:
            following, place = self._waiting[0]
            if place.done():  # its wait was cancelled
                self._waiting.popleft()
                continue
            if not self._has_room(following):
                return
            self._waiting.popleft()
            self._admit(following)
            place.set_result(None)

    def _has_room(self, company: Company) -> bool:
        if company == "alone":
            return self._inside == 0
        return self._alone == "none" and self._inside < self.slots

    def _admit(self, company: Company) -> None:
        self._inside += 1
        if company == "alone":
            self._alone = "running"


@attrs.define
class ConcurrencyLimits:
    """The engine's limit, and one for each job, printed ``kind:name``, that has its own or has lanes."""

    runtime: Runtime
    engine: ConcurrencyLimit
    jobs: dict[str, ConcurrencyLimit] = attrs.Factory(dict[str, ConcurrencyLimit])
    lanes: dict[str, LaneLimit] = attrs.Factory(dict[str, LaneLimit])

    @property
    def held(self) -> int:
        """Number of slots in use, over all limits."""
        own, lanes = self.jobs.values(), self.lanes.values()
        return self.engine.held + sum(gate.held for gate in own) + sum(gate.held for gate in lanes)

    @property
    def waiting(self) -> int:
        """Number of runs that wait for a slot, over all limits."""
        own, lanes = self.jobs.values(), self.lanes.values()
        return self.engine.waiting + sum(gate.waiting for gate in own) + sum(gate.waiting for gate in lanes)

    def try_enter(self, job: str, company: Company, address: Address) -> bool:
        """Take both slots if no run has to wait for them; return whether they are taken.

        Args:
            job: the job, printed ``kind:name``.
            company: whether the run must be alone.
            address: the instance; that of a job with lanes waits unless a slot was taken for it.
        """
        lanes = self.lanes.get(job)
        if lanes is not None:
            return lanes.is_reserved(address) and self.engine.try_enter(company) and lanes.use(address)
        gate = self.jobs.get(job)
        if gate is None:
            return self.engine.try_enter(company)
        if not gate.try_enter("beside_others"):
            return False
        if self.engine.try_enter(company):
            return True
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
            await self._enter_by_lane(self.lanes[job], company, address, lane)
            return
        if job in self.jobs:
            await self.jobs[job].enter("beside_others")
        try:
            await self.engine.enter(company)
        except BaseException:
            self._leave_job(job, address)
            raise

    async def _enter_by_lane(self, limit: LaneLimit, company: Company, address: Address, lane: str) -> None:
        entered = await limit.enter_lane(address, lane)
        try:
            await self.engine.enter(company)
        except BaseException:
            limit.give_up(address, entered)
            raise
        try:
            await limit.begin_recorded(address, entered)
        except BaseException:
            self.engine.leave(company)
            raise

    def doubt_claim(self, job: str, address: Address) -> None:
        """Note that the store may have a claim of an instance that no run holds."""
        if job in self.lanes:
            self.lanes[job].doubt_claim(address)

    def leave(self, job: str, company: Company, address: Address) -> None:
        """Return both slots."""
        self.engine.leave(company)
        if self.jobs or self.lanes:
            self._leave_job(job, address)

    def _leave_job(self, job: str, address: Address) -> None:
        if job in self.lanes:
            self.lanes[job].leave_lane(address)
        elif job in self.jobs:
            self.jobs[job].leave("beside_others")

"""An engine among the engines on a shared store: its lease, its share of the work, when it looks again, and takeovers.

It reads its share's alarms, messages and abandoned claims, recovers the claims that ended engines left, and stops its
own runs that another engine has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, NoReturn

import attrs
from returns.future import FutureResult
from returns.result import Result, Success

from perdure.engine.commits import Reads
from perdure.engine.loops.upkeep import Recovery
from perdure.engine.loops.waker import Waker
from perdure.engine.mailbox.instance_cache import InstanceCache
from perdure.engine.mailbox.instance_cell import EngineRun, InstanceCell
from perdure.engine.runs.concurrency import Holds
from perdure.engine.runs.effects import Perform, RunLost, perform_directly
from perdure.jobs.code_fingerprint import code_of
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.step import Execute
from perdure.programs.drivers import default_handler
from perdure.programs.future import answer_of, settled
from perdure.runtime.record import Future, LogRecord, Runtime, SpawnedTask, Timer
from perdure.stores.contract import Sharing, Store, overlay
from perdure.stores.shares import (
    NOTHING,
    Members,
    Served,
    ServedCode,
    Share,
    StoreMember,
    everything_of,
    lane_delay_ms,
    share_of,
)
from perdure.stores.values import DuePosition
from perdure.values.address import Address, Job
from perdure.values.errors import OutcomeUnknown, OwnershipLost, StoreError, StoreUnavailable
from perdure.values.instance import Instance
from perdure.values.message import StoredMessage
from perdure.values.transition import Loaded
from perdure.values.turn_inputs import NO_OTHERS, OtherEngines

HEARTBEATS: Final = 4
"""Heartbeats during one lease."""

AFTER_LEASE_MS: Final = 20
"""How long after another engine's lease ended this engine looks: then it declares the other dead."""

RETRY_MS: Final = 50
"""How soon a heartbeat that failed is sent again. Each further failure doubles it, up to the usual pause."""

SURE: Final = 0.9
"""The part of a lease during which the engine acts: two machines' clocks do not run at the same speed."""


CLOCK_WARNING_MS: Final = 1_000
"""How far this machine's clock may be from the store's before the engine reports it."""


@attrs.define
class Membership:
    """Renews this engine's lease, and knows the others from the last heartbeat.

    Attributes:
        epoch: this engine.
        runtime: the only interface to time.
        jobs: the jobs that the engine serves, each with its code.
        changed: called when the share has changed, or the others have, also those that joined and ended since. Set
            once, right after construction.
        expired: called with each other engine whose lease has ended before it closed the store. Set together with
            ``changed``.
        lost: called with the reason when the lease has ended, or another engine declared this one dead. Set together
            with ``changed``.
        others: the other engines that may be alive.
        writers: those of them that serve each job of this engine, and so deliver the messages that they write.
        share: which alarms, messages and abandoned claims this engine handles.
        members: the members at the last heartbeat. None before the first.
    """

    sharing: Sharing
    epoch: int
    runtime: Runtime
    jobs: Served
    changed: Callable[[], None] = attrs.field(init=False)
    expired: Callable[[StoreMember], None] = attrs.field(init=False)
    lost: Callable[[str], None] = attrs.field(init=False)
    others: OtherEngines = NO_OTHERS
    writers: OtherEngines = NO_OTHERS
    share: Share = NOTHING
    members: Members | None = None
    _served: Served = attrs.Factory(dict[Job, ServedCode])
    _stated: Served | None = None
    _failures: int = 0
    _known_at_ms: float = 0.0
    _asleep: Future[Any] | None = None
    _sure_until_ms: float = 0.0
    _task: SpawnedTask[Any] | None = None
    _expiry: Timer | None = None
    _clock: tuple[int, float] | None = None
    _clock_is_off: bool = False

    def may_act(self) -> bool:
        """Return whether the lease is good, by this process's clock, counted from before the heartbeat."""
        return self.runtime.monotonic_ms() < self._sure_until_ms

    def now_ms(self) -> int:
        """Return the store's wall clock, from the last heartbeat. Before the first one, return this machine's.

        It counts from when the answer arrived, and so is late by at most the time that the answer took: an engine that
        is late fires no alarm early.
        """
        if self._clock is None:
            return self.runtime.now_ms()
        store_ms, since_ms = self._clock
        return store_ms + int(self.runtime.monotonic_ms() - since_ms)

    @property
    def everything(self) -> Share:
        """All that this engine could handle if the other engines did not."""
        return NOTHING if self.members is None else everything_of(self.epoch, self.members)

    async def join(self) -> None:
        """Send the first heartbeat, and start to send the others. The engine has no share yet.

        Raises:
            StoreError: the store failed.
        """
        await self._beat()
        self._task = self.runtime.spawn(self._run(), name="heartbeats")
        self._task.add_done_callback(self._ended)

    async def serve(self) -> None:
        """Take a share: the engine is about to handle it.

        Raises:
            StoreError: the store failed.
        """
        self._served = self.jobs
        await self._beat()

    def retire(self) -> None:
        """Release the share immediately, because the engine stops. Heartbeats keep the claims of its last runs."""
        self._served = {}
        self._wake()

    def end(self) -> None:
        """Send no more heartbeats."""
        if self._task is not None:
            self._task.cancel()
        if self._expiry is not None:
            self._expiry.cancel()

    async def _run(self) -> None:
        while True:
            await self._pause()
            try:
                await self._beat()
            except OwnershipLost as error:
                self.lost(error.reason)
            # An outage of the store is no loss: only the lease decides, and other engines may be cut off too.
            except StoreError as error:
                self._failures += 1
                self.runtime.log(LogRecord("warning", "lease not renewed", {"error": str(error)}))

    def _ended(self, task: SpawnedTask[Any]) -> None:
        if not task.cancelled():
            self.lost(f"its heartbeats failed: {task.exception()!r}")

    async def _pause(self) -> None:
        """Wait until the next heartbeat is due, or the share is given up."""
        asleep = self._asleep = self.runtime.future()
        timer = self.runtime.call_later(self._pause_ms(), self._wake)
        try:
            await asleep
        finally:
            timer.cancel()

    def _wake(self) -> None:
        if self._asleep is not None and not self._asleep.done():
            self._asleep.set_result(None)

    def _pause_ms(self) -> float:
        """Return the time until the next heartbeat: sooner if another engine's lease ends before."""
        usual_ms = self.sharing.lease_ms / HEARTBEATS
        if self._failures:
            return min(usual_ms, RETRY_MS * 2.0 ** min(self._failures - 1, 16))
        if self._stated is not self._served:
            return 0
        members = () if self.members is None else self.members.members
        lefts_ms = [max(0, member.lease_left_ms) for member in members if member.epoch != self.epoch]
        return min(usual_ms, min(lefts_ms, default=usual_ms) + AFTER_LEASE_MS)

    async def _beat(self) -> None:
        # Counted from before the request: the store may have renewed the lease long before its answer arrives.
        began_ms, served = self.runtime.monotonic_ms(), self._served
        found = await answer_of(self.sharing.heartbeat(served))
        if not isinstance(found, Success):
            raise _repeatable(found.failure())
        self._failures, self._stated = 0, served
        self._renew(began_ms)
        self._set_clock(found.unwrap().now_ms)
        self._know(found.unwrap(), began_ms)

    def _set_clock(self, store_ms: int) -> None:
        """Take the time from the store. Report once that this machine's clock differs much."""
        self._clock = store_ms, self.runtime.monotonic_ms()
        ahead_ms = self.runtime.now_ms() - store_ms
        was_off, self._clock_is_off = self._clock_is_off, abs(ahead_ms) > CLOCK_WARNING_MS
        if self._clock_is_off and not was_off:
            fields = {"ahead_ms": ahead_ms}
            self.runtime.log(LogRecord("warning", "clock of this machine differs from that of the store", fields))

    def _renew(self, began_ms: float) -> None:
        # `SURE` is less than the lease: this engine stops before another one takes over its work, even with a slow
        # clock.
        self._sure_until_ms = max(self._sure_until_ms, began_ms + self.sharing.lease_ms * SURE)
        if self._expiry is not None:
            self._expiry.cancel()
        left_ms = max(0.0, self._sure_until_ms - self.runtime.monotonic_ms())
        self._expiry = self.runtime.call_later(left_ms, self._expired)

    def _expired(self) -> None:
        if not self.may_act():
            self.lost("its lease has ended, and the store did not renew it")

    def _know(self, members: Members, since_ms: float) -> None:
        before, known = (self.others, self.share), self.members
        for member in () if known is None else known.members:
            silent_ms = self.runtime.monotonic_ms() - self._known_at_ms
            if member.epoch not in members.epochs and silent_ms >= member.lease_left_ms:  # a closed one leaves before
                self.expired(member)
        self.members, self._known_at_ms = members, since_ms
        others = [member for member in members.members if member.epoch != self.epoch]
        codes = frozenset((*job, served.code) for member in others for job, served in member.served.items())
        self.others = OtherEngines(frozenset(m.epoch for m in others), members.last_epoch, self.epoch, codes)
        self.writers = attrs.evolve(self.others, living=self._who_serve_all(others))
        self.share = share_of(self.epoch, members)
        if before != (self.others, self.share):
            self.changed()

    def lane_delay_ms(self, job: Job, lane: str) -> int:
        """Return how much later a lane's instances come in this engine, in ms: 0 for a lane of its share."""
        return 0 if self.share.has_lane(job, lane) else lane_delay_ms(self.epoch, lane)

    def _who_serve_all(self, others: list[StoreMember]) -> frozenset[int]:
        return frozenset(other.epoch for other in others if other.served.keys() >= self.jobs.keys())


def _repeatable(error: StoreError | OutcomeUnknown) -> StoreError:
    """Return a heartbeat's error. A lost answer counts as not sent: sending a heartbeat twice does no harm."""
    return StoreUnavailable("renew the lease", error.reason) if isinstance(error, OutcomeUnknown) else error


ALARM_POLL_MS: Final = 500
"""How often alarms are read again, because other engines set alarms too."""

MESSAGE_POLL_MS: Final = 200
"""How often messages are read again, because other engines and your transactions send messages too."""

NOTIFIED_POLL_MS: Final = 1_000
"""The same where the store notifies the engine when your transactions send messages."""

WRITER_FIRST_MS: Final = 1_000
"""How long a message is left to the engine that wrote it."""

SOON_MS: Final = 1_000
"""An alarm that is due this soon is fired by the engine that set it, whatever its share."""


def membership_of(
    store: Store, runtime: Runtime, jobs: Mapping[Job, AnyDefinition]
) -> tuple[Membership | None, Runtime]:
    """Return an engine's membership, None if it owns its store, and its runtime: with a shared store's clock.

    Args:
        store: an open store.
        runtime: the only interface to time.
        jobs: the definitions that the engine serves.
    """
    if store.sharing is None:
        return None, runtime
    served = {
        job: ServedCode(definition.plan.state_version, code_of(definition, store.reads))
        for job, definition in jobs.items()
    }
    membership = Membership(store.sharing, store.epoch, runtime, served)
    # One clock decides for all engines when an alarm is due.
    return membership, attrs.evolve(runtime, now_ms=membership.now_ms)


def work_of(store: Store, membership: Membership | None) -> Store:
    """Return the store as one engine's loops read it: with due alarms and messages only from its share.

    The loops never ask when there will be more: other engines write too, so they look again periodically.

    Args:
        store: the store.
        membership: knows the share. None for an owned store, which the loops read completely.
    """
    if store.sharing is None or membership is None:
        return store
    return overlay(store, _Work(store.sharing, membership))


def left_work_of(store: Store, membership: Membership) -> Store:
    """Return the store as an engine reads it that recovers all abandoned claims, whatever its share.

    Args:
        store: the store.
        membership: knows the other engines.
    """
    sharing = membership.sharing

    def abandoned(after_incarnation: int, limit: int, /) -> FutureResult[tuple[Instance, ...], StoreError]:
        return sharing.abandoned(after_incarnation, limit, membership.everything, membership.others)

    return overlay(store, claimed=abandoned)


@attrs.frozen
class _Work:
    sharing: Sharing
    membership: Membership

    def due(
        self, now_ms: int, limit: int, after: DuePosition | None = None, except_jobs: tuple[Job, ...] = (), /
    ) -> FutureResult[tuple[Instance, ...], StoreError]:
        share = self.membership.share
        return self.sharing.due(now_ms, limit, share.without(except_jobs) if except_jobs else share, after)

    def messages(
        self, now_ms: int, limit: int, except_jobs: tuple[Job, ...] = (), /
    ) -> FutureResult[tuple[StoredMessage, ...], StoreError]:
        # The engine that wrote a message delivers it. If others read it at the same time, most of their turns conflict.
        # A writer that does not serve the target cannot.
        membership = self.membership
        old_ms = now_ms - WRITER_FIRST_MS
        return self.sharing.messages(now_ms, limit, membership.share, membership.writers, old_ms, except_jobs)

    def claimed(self, after_incarnation: int, limit: int, /) -> FutureResult[tuple[Instance, ...], StoreError]:
        membership = self.membership
        return self.sharing.abandoned(after_incarnation, limit, membership.share, membership.others)

    # Another engine may write an earlier one a moment later, so an answer would let the loops sleep too long.
    def next_alarm(self, _: int, /) -> FutureResult[int | None, StoreError]:
        return settled(Success(None))

    def next_message(self, _: int, /) -> FutureResult[int | None, StoreError]:
        return settled(Success(None))


def handles_alarm(membership: Membership, address: Address, due_ms: int | None, now_ms: int) -> bool:
    """Return whether this engine fires an alarm that it has just set.

    The engine whose share it is in may read an alarm that is due soon too late. If both fire it, the fence lets only
    one through.
    """
    return due_ms is None or due_ms <= now_ms + SOON_MS or address in membership.share


def while_leased(perform: Perform, membership: Membership | None) -> Perform:
    """Return a function that performs effects only while the lease is good: another engine may perform them already."""
    if membership is None:
        return perform

    def guarded(instruction: object, services: Any, execute: Execute) -> object:
        # Checked at each effect, not at the claim: a process that was frozen during its run continues behind its lease.
        if not membership.may_act():
            raise RunLost(OutcomeUnknown("the lease of this engine has ended: another engine takes the run over"))
        if perform is perform_directly:
            return default_handler(instruction, services)
        return perform(instruction, services, execute)

    return guarded


SWEEP_MS: Final = 5_000
"""How often abandoned claims are looked for, besides each time that an engine ends."""

LEFT_MS: Final = 500
"""How long after an engine ended every other one recovers the claims that are still left.

The engine whose share they are in may have ended too, be stalled or cut off, still be opening, or have no free slot.
The fence lets one engine through for each claim. A run that is delivered alone is left to the share: it would stop all
engines.
"""


@attrs.define(eq=False)
class ClaimSweeper:
    """Looks for abandoned claims.

    Attributes:
        runtime: the only interface to time.
        membership: this engine among the others.
        holds: the held jobs, which other engines change too.
        share: recovers the claims in this engine's share.
        left: recovers all claims that are left, whatever the share.
    """

    runtime: Runtime
    membership: Membership
    holds: Holds
    share: Recovery
    left: Recovery
    _changed: Waker = attrs.field(init=False)
    _ended: Waker = attrs.field(init=False)
    _living: frozenset[int] = frozenset()

    def __attrs_post_init__(self) -> None:
        self._changed, self._ended = Waker(self.runtime), Waker(self.runtime)
        self._ended.notify()  # an engine may have ended before this one joined

    def others_changed(self) -> None:
        """Look immediately, because the share has changed. Look soon at all that is left, if an engine has ended."""
        living, self._living = self._living, self.membership.others.living
        if not living <= self._living:
            self._ended.notify()
        self._changed.notify()

    async def run(self) -> NoReturn:
        """Recover the share: when it changes, and periodically."""
        while True:
            await self._changed.wait_until(self.runtime.now_ms() + SWEEP_MS)
            await self._repeated(self.share)

    async def run_left(self) -> NoReturn:
        """Recover the claims that are still left, soon after an engine has ended."""
        while True:
            await self._ended.wait_until(None)
            # The engine of the share comes first: without a pause, all engines would claim the same runs.
            await self.runtime.sleep(LEFT_MS)
            await self._repeated(self.left)

    async def _repeated(self, recovery: Recovery) -> None:
        """Look until the store has answered."""
        delay_ms = RETRY_MS
        while not await self._is_done(recovery):
            await self.runtime.sleep(delay_ms)
            delay_ms = min(2 * delay_ms, SWEEP_MS)

    async def _is_done(self, recovery: Recovery) -> bool:
        try:
            await recovery.claims()
            if recovery is self.share:
                await self.holds.read()
        except (StoreError, OutcomeUnknown) as error:
            self.runtime.log(LogRecord("warning", "abandoned claims not read", {"error": str(error)}))
            return False
        return True


@attrs.frozen
class RevokedRuns:
    """Reads the rows behind runs in progress, and stops each run whose claim is gone, or that a request interrupts.

    Such a run would commit nothing: without a look, its program would continue to its end, and perform its effects.

    Attributes:
        reads: reads rows, those for one look together.
        cache: keeps this process's instances.
        active: returns the addresses with work in progress.
    """

    reads: Reads
    cache: InstanceCache
    active: Callable[[], Iterable[Address]]

    def look(self) -> None:
        """Read the rows for all runs whose claims were stored before."""
        for address in self.active():
            cell = self.cache.get(address)
            if cell is None:
                continue
            for run in cell.runs:
                # A run without a stored claim is in no row: compared, it would be stopped before it began.
                if run.stop is None and (execute := run.claimed()) is not None:
                    compare = partial(_compare, cell, run, execute)
                    answer = self.reads.load(address, None, 0, compare)
                    if answer is not None:
                        compare(answer)


def _compare(cell: InstanceCell, run: EngineRun, execute: Execute, loaded: Result[Loaded, Any]) -> None:
    """Stop a run that is still in progress, if its claim is not in the row that was read, or a request stops it."""
    # The run may have ended while its row was read, and the cell may run another one by now.
    if not isinstance(loaded, Success) or run not in cell.runs:
        return
    row = loaded.unwrap().instance
    if row is None or not _has_claim(row, execute.claim.run_id):
        cell.stop(run, "interrupted")
    elif cell.job.interrupting:
        cell.interrupt(run, execute, row)


def _has_claim(row: Instance, run_id: str) -> bool:
    return any(claim is not None and claim.run_id == run_id for claim in (row.claim, row.event_claim))

"""One engine's work on a shared store: its share, when it looks again, and takeovers.

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

from perdure.engine.commits.batcher import Reads
from perdure.engine.loops.upkeep import Recovery
from perdure.engine.loops.waker import Waker
from perdure.engine.mailbox.instance_cache import InstanceCache
from perdure.engine.mailbox.instance_cell import InstanceCell, RunInProgress
from perdure.engine.runs.concurrency import Holds
from perdure.engine.runs.effects import Perform, RunLost
from perdure.engine.sharing.membership import Membership
from perdure.jobs.code_fingerprint import code_of
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.step import Execute
from perdure.programs.future import settled
from perdure.runtime.record import LogRecord, Runtime
from perdure.stores.contract import Sharing, Store, overlay
from perdure.stores.shares import ServedCode
from perdure.stores.values import DuePosition
from perdure.values.address import Address, Job
from perdure.values.errors import OutcomeUnknown, StoreError
from perdure.values.instance import Instance
from perdure.values.message import StoredMessage
from perdure.values.transition import Loaded

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

    def messages(self, now_ms: int, limit: int, /) -> FutureResult[tuple[StoredMessage, ...], StoreError]:
        # The engine that wrote a message delivers it. If others read it at the same time, most of their turns conflict.
        # A writer that does not serve the target cannot.
        membership = self.membership
        return self.sharing.messages(now_ms, limit, membership.share, membership.writers, now_ms - WRITER_FIRST_MS)

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

RETRY_MS: Final = 50
"""How soon a look that failed is repeated. Each further failure doubles it, up to `SWEEP_MS`."""


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


def _compare(cell: InstanceCell, run: RunInProgress, execute: Execute, loaded: Result[Loaded, Any]) -> None:
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

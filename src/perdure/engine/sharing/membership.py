"""An engine among the engines on a shared store: its lease, the others, and its share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs
from returns.result import Success

from perdure.programs.future import answer_of
from perdure.runtime.record import Future, LogRecord, Runtime, SpawnedTask, Timer
from perdure.stores.contract import Sharing
from perdure.stores.shares import NOTHING, Members, Served, ServedCode, Share, StoreMember, everything_of, share_of
from perdure.values.address import Job
from perdure.values.errors import OutcomeUnknown, OwnershipLost, StoreError, StoreUnavailable
from perdure.values.turn_inputs import NO_OTHERS, OtherEngines

HEARTBEATS: Final = 4
"""Heartbeats during one lease."""

SOON_MS: Final = 20
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
        sharing: the store's operations.
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
        return min(usual_ms, min(lefts_ms, default=usual_ms) + SOON_MS)

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

    def _who_serve_all(self, others: list[StoreMember]) -> frozenset[int]:
        return frozenset(other.epoch for other in others if other.served.keys() >= self.jobs.keys())


def _repeatable(error: StoreError | OutcomeUnknown) -> StoreError:
    """Return a heartbeat's error. A lost answer counts as not sent: sending a heartbeat twice does no harm."""
    return StoreUnavailable("renew the lease", error.reason) if isinstance(error, OutcomeUnknown) else error

"""An engine among the engines of a shared store: its lease, the others, and its share of the work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs
from returns.result import Success

from perdure.programs.future import answer_of
from perdure.runtime.record import LogRecord, Runtime, SpawnedTask, Timer
from perdure.stores.sharing.contract import Sharing
from perdure.stores.sharing.member import Members, Served
from perdure.stores.sharing.share import NOTHING, Share, share_of
from perdure.values.errors import OwnershipLost, StoreError
from perdure.values.other_engines import NO_OTHERS, OtherEngines

HEARTBEATS: Final = 4
"""Heartbeats during one lease."""

SOON_MS: Final = 20
"""How long after the end of another engine's lease this one looks: then it declares that engine dead."""

SURE: Final = 0.9
"""The part of a lease during which the engine acts: the clocks of two machines do not run at the same speed."""


@attrs.define
class Membership:
    """Renews the lease of this engine, and knows the others as of the last heartbeat.

    Attributes:
        sharing: the operations of the store.
        epoch: this engine.
        runtime: the only interface to time.
        served: the jobs that the engine serves, with the versions of their states.
        changed: called when the others, also those that joined and ended since, or the share have changed; set once,
            right after construction.
        lost: called with the reason when the lease has ended, or another engine declared this one dead; set with it.
        others: the other engines that may be alive.
        share: the part of alarms, messages and abandoned claims that this engine handles.
        members: the members, as of the last heartbeat; None before the first.
    """

    sharing: Sharing
    epoch: int
    runtime: Runtime
    served: Served
    changed: Callable[[], None] = attrs.field(init=False)
    lost: Callable[[str], None] = attrs.field(init=False)
    others: OtherEngines = NO_OTHERS
    share: Share = NOTHING
    members: Members | None = None
    _sure_until_ms: float = 0.0
    _task: SpawnedTask[Any] | None = None
    _expiry: Timer | None = None

    def may_act(self) -> bool:
        """Return whether the lease is good, by the clock of this process, counted from before the heartbeat."""
        return self.runtime.monotonic_ms() < self._sure_until_ms

    async def join(self) -> None:
        """Send the first heartbeat, and start to send the others.

        Raises:
            StoreError: the store failed.
        """
        await self._beat()
        self._task = self.runtime.spawn(self._run(), name="heartbeats")

    def retire(self) -> None:
        """Give the share up, because the engine stops; heartbeats keep the claims of its last runs."""
        self.served = {}

    def end(self) -> None:
        """Send no more heartbeats."""
        if self._task is not None:
            self._task.cancel()
        if self._expiry is not None:
            self._expiry.cancel()

    async def _run(self) -> None:
        while True:
            await self.runtime.sleep(self._pause_ms())
            try:
                await self._beat()
            except OwnershipLost as error:
                self.lost(error.reason)
            except StoreError as error:
                self.runtime.log(LogRecord("warning", "lease not renewed", {"error": str(error)}))

    def _pause_ms(self) -> float:
        """Return the time until the next heartbeat: sooner if the lease of another engine ends before."""
        usual_ms = self.sharing.lease_ms / HEARTBEATS
        members = () if self.members is None else self.members.members
        lefts_ms = [max(0, member.lease_left_ms) for member in members if member.epoch != self.epoch]
        return min(usual_ms, min(lefts_ms, default=usual_ms) + SOON_MS)

    async def _beat(self) -> None:
        began_ms = self.runtime.monotonic_ms()
        found = await answer_of(self.sharing.heartbeat(self.served))
        if not isinstance(found, Success):
            raise found.failure()
        self._renew(began_ms)
        self._know(found.unwrap())

    def _renew(self, began_ms: float) -> None:
        self._sure_until_ms = began_ms + self.sharing.lease_ms * SURE
        if self._expiry is not None:
            self._expiry.cancel()
        left_ms = max(0.0, self._sure_until_ms - self.runtime.monotonic_ms())
        self._expiry = self.runtime.call_later(left_ms, self._expired)

    def _expired(self) -> None:
        if not self.may_act():
            self.lost("its lease has ended, and the store did not renew it")

    def _know(self, members: Members) -> None:
        before = (self.others, self.share)
        self.members = members
        self.others = OtherEngines(members.epochs - {self.epoch}, members.last_epoch, self.epoch)
        self.share = share_of(self.epoch, members)
        if before != (self.others, self.share):
            self.changed()

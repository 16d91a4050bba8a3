"""An owner whose connection has ended: it connects again, unless its opening has ended by then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

from perdure.runtime.record import Future, LogRecord, Runtime, SpawnedTask
from perdure.stores.ownership import OwnershipListener
from perdure.stores.postgres.failures import DRIVER_ERRORS, reason_of
from perdure.stores.postgres.keeper import EndedOpening, Keeper

FIRST_WAIT_MS: Final = 50
LONGEST_WAIT_MS: Final = 2_000
"""Waits between two attempts: they double, and each is varied by half."""


class Regaining:
    """Takes the lock of an owner again after its connection has ended, such as with a restart of the server.

    No write depends on the lock: every statement that writes checks that no other opening has ended this one.

    Args:
        runtime: how it waits.
        keeper: holds the lock.
        store: the store's name in the log.
        epoch: the number of this opening.
        lose: called with the reason when this opening has ended.
    """

    def __init__(self, runtime: Runtime, keeper: Keeper, store: str, epoch: int, lose: Callable[[str], None]) -> None:
        self._runtime = runtime
        self._keeper = keeper
        self._store = store
        self._epoch = epoch
        self._lose = lose
        self._listener: OwnershipListener | None = None
        self._task: SpawnedTask[None] | None = None
        self._phase: Literal["open", "closed"] = "open"
        self._state: Literal["sure", "in_doubt"] = "sure"
        self._waiting: list[Future[None]] = []
        keeper.when_ended(self._ended)

    def watch(self, listener: OwnershipListener, /) -> None:
        """Call a listener when the lock is lost, and when it is held again."""
        self._listener = listener
        if self._state == "in_doubt":
            listener("in_doubt")

    async def connection(self) -> Any:
        """Return the connection that holds the lock, as soon as one holds it."""
        while self._state == "in_doubt":
            self._waiting.append(held := self._runtime.future())
            await held
        return await self._keeper.connection()

    def end(self) -> None:
        """Stop: the store is closing."""
        self._phase = "closed"
        if self._task is not None:
            self._task.cancel()

    def _ended(self) -> None:
        if self._phase == "open":
            self._tell("in_doubt")
            self._task = self._runtime.spawn(self._regain(), name=f"perdure:owner {self._store}")

    async def _regain(self) -> None:
        fields = {"store": self._store}
        self._runtime.log(LogRecord("warning", "connection of the store lock ended", fields))
        wait_ms, said = FIRST_WAIT_MS, ""
        while True:
            found: Literal["held", "busy", "unreachable"] | EndedOpening
            try:
                found = await self._keeper.regain(self._epoch)
            except DRIVER_ERRORS as error:
                found, reason = "unreachable", reason_of(error)
                if reason != said:
                    said = reason
                    self._runtime.log(LogRecord("warning", "store lock not regained", {**fields, "error": reason}))
            if isinstance(found, EndedOpening):
                self._lose(found.reason)
                return
            if found == "held":
                break
            await self._runtime.sleep(wait_ms * (0.5 + self._runtime.random()))
            wait_ms = min(2 * wait_ms, LONGEST_WAIT_MS)
        self._keeper.when_ended(self._ended)
        self._runtime.log(LogRecord("info", "regained store lock", fields))
        self._tell("sure")

    def _tell(self, state: Literal["sure", "in_doubt"]) -> None:
        self._state = state
        waiting, self._waiting = self._waiting, []
        for held in waiting:
            if not held.done():
                held.set_result(None)
        if self._listener is not None:
            self._listener(state)

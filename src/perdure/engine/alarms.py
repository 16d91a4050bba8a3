"""Alarms: wakes every instance that is due. Asks the store when the next one is, and sleeps until then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from returns.result import Failure, Result, Success

from perdure.engine.dispatcher import Dispatcher
from perdure.engine.wake import Wake
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import ALARM
from perdure.program.container import result_inside
from perdure.runtime.record import Future, LogRecord, Runtime
from perdure.stores.store import Store
from perdure.values.address import Address
from perdure.values.instance import Instance
from perdure.values.limits import Limits

STORE_RETRY_MS = 1_000
"""How long the loop waits after the store did not answer, and before an alarm whose turn failed is fired again."""


@attrs.define
class Alarms:
    """The loop that fires alarms.

    Attributes:
        store: knows what is due.
        runtime: the only door to time and waiting.
        dispatcher: takes the turns.
        jobs: the definitions that are served; instances of others are not touched.
        limits: how many due instances are read at once.
        wake: rung when an alarm was set that is earlier than the one slept for.
    """

    store: Store
    runtime: Runtime
    dispatcher: Dispatcher
    jobs: Mapping[tuple[str, str], AnyDefinition]
    limits: Limits
    wake: Wake
    _sleeping_until_ms: int | None = None
    _fired: set[Address] = attrs.Factory(set[Address])
    _passed_over: set[Address] = attrs.Factory(set[Address])
    _unserved: int = 0

    def notice(self, due_ms: int | None) -> None:
        """An instance was written that is due at this instant: look again, unless the loop sleeps and wakes in time."""
        if due_ms is None:
            return
        if self._sleeping_until_ms is None or due_ms < self._sleeping_until_ms:
            self.wake.ring()

    async def run(self) -> None:
        """Fire alarms for ever."""
        while True:
            now_ms = self.runtime.now_ms()
            limit = self.limits.due_batch + len(self._fired) + self._unserved
            match result_inside(await self.store.due(now_ms, limit)):
                case Success(rows):
                    self._fire(rows)
                    if len(rows) == limit:
                        await self.runtime.sleep(0)
                        continue
                    await self._sleep(now_ms)
                case Failure(error):
                    self.runtime.log(LogRecord("error", "due alarms could not be read", {"error": str(error)}))
                    await self.runtime.sleep(STORE_RETRY_MS)
                case unexpected:
                    raise TypeError(f"a store answers Success or Failure, not {unexpected!r}")

    def _fire(self, rows: tuple[Instance, ...]) -> None:
        """Put an alarm into the mailbox of every due instance that has none there yet."""
        self._unserved = 0
        self._passed_over.clear()
        for row in rows:
            job = self.jobs.get((row.address.kind, row.address.name))
            if job is None:
                self._unserved += 1
            elif row.address in self._fired:
                self._passed_over.add(row.address)
            else:
                self._post(job, row.address)

    def _post(self, job: AnyDefinition, address: Address) -> None:
        self._fired.add(address)
        answer = self.dispatcher.post(job, address, ALARM)
        answer.add_done_callback(lambda answered: self._answered(address, answered))

    def _answered(self, address: Address, answer: Future[Result[Any, Any]]) -> None:
        """The turn is over. One that failed left the instance due: it is fired again, but not at once."""
        if isinstance(answer.result(), Failure):
            self._passed_over.add(address)
            self.runtime.call_later(STORE_RETRY_MS, lambda: self._done(address))
        else:
            self._done(address)

    def _done(self, address: Address) -> None:
        """The alarm may be fired again. If the instance came up as due meanwhile, it must be looked at again."""
        self._fired.discard(address)
        if address in self._passed_over:
            self.wake.ring()

    async def _sleep(self, now_ms: int) -> None:
        match result_inside(await self.store.next_alarm(now_ms)):
            case Success(at_ms):
                self._sleeping_until_ms = at_ms
            case _:
                self._sleeping_until_ms = now_ms + STORE_RETRY_MS
        await self.wake.wait_until(self._sleeping_until_ms)
        self._sleeping_until_ms = None  # awake: what is set from here on may be missing from the next look at the store

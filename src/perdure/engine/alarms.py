"""Alarms: wakes every instance that is due. Reads the next moments from the store, and sleeps until there is work."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

import attrs
from returns.result import Failure, Success

from perdure.engine.alarm_window import PATIENCE_MS, AlarmWindow
from perdure.engine.dispatcher import Dispatcher
from perdure.engine.mailbox import Item
from perdure.engine.timer_queue import NEVER_MS, TimerQueue
from perdure.engine.turn_outcome import TurnAnswer
from perdure.engine.wake import Wake
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import ALARM
from perdure.programs.container import result_inside
from perdure.runtime.record import LogRecord, Runtime, Timer
from perdure.stores.store import Store
from perdure.values.address import Address
from perdure.values.instance import Instance
from perdure.values.limits import Limits

STORE_RETRY_MS = 1_000
"""How long the loop waits after the store did not answer, and before an alarm whose turn failed is fired again."""

AHEAD_MS = 1_000
"""How far ahead alarms are read, so that a stream of them costs a read now and then instead of one each."""

COMPANY_MS = 100
"""How long after a request the next ones are expected, so that alarms leave room for them."""


@attrs.define(eq=False)
class _Fired:
    """Takes the answer of an alarm's turn, right when it is there: a future would tell of it a step later, at a price.

    Attributes:
        address: whose alarm.
        tell: told of the answer.
    """

    address: Address
    tell: Callable[[Address, TurnAnswer], None]
    _state: Literal["waits", "answered"] = "waits"

    def done(self) -> bool:
        """Whether the turn was answered."""
        return self._state == "answered"

    def set_result(self, result: TurnAnswer, /) -> None:
        """Answer the turn."""
        self._state = "answered"
        self.tell(self.address, result)


@attrs.define
class Alarms:
    """The loop that fires alarms.

    Attributes:
        store: knows what is due.
        runtime: the only door to time and waiting.
        dispatcher: takes the turns.
        jobs: the definitions that are served; instances of others are not touched.
        limits: how many due instances are read at once.
        wake: rung when there is something to do earlier than the loop sleeps for.
    """

    store: Store
    runtime: Runtime
    dispatcher: Dispatcher
    jobs: Mapping[tuple[str, str], AnyDefinition]
    limits: Limits
    wake: Wake
    _agenda: TimerQueue = attrs.Factory(TimerQueue)
    _portion: AlarmWindow = attrs.Factory(AlarmWindow)
    _fired: set[Address] = attrs.Factory(set[Address])
    _then_due: dict[Address, int | None] = attrs.Factory(dict[Address, int | None])
    _failed: dict[Address, Timer] = attrs.Factory(dict[Address, "Timer"])
    _phase: Literal["open", "closed"] = "open"
    _sleeping_until_ms: int | None = None
    _waits_for: Literal["time", "room"] = "time"
    _unserved: int = 0
    _asked: int = 0
    _alone_from_ms: float = -math.inf

    def notice(self, address: Address, due_ms: int | None) -> None:
        """An instance was written that is due at this instant, or never."""
        if self._fired and address in self._fired:  # perhaps by this very turn: it goes on the agenda when that is over
            self._then_due[address] = due_ms
        elif due_ms is not None:
            self._agenda.add(address, due_ms)
            if self._sleeping_until_ms is not None and due_ms < self._sleeping_until_ms:
                self.wake.ring()

    def doubt(self) -> None:
        """A commit may have been written whose outcome is not known: look into the store again."""
        self._agenda.doubt(self.runtime.now_ms())
        self.wake.ring()

    async def run(self) -> None:
        """Fire alarms for ever."""
        while True:
            now_ms = self.runtime.now_ms()
            if self._agenda.must_be_read(now_ms):
                await self._read(now_ms)
            self._fire(now_ms)
            if self._agenda.has_due(now_ms):
                await self._wait_for_room()
            elif not self._agenda.must_be_read(now_ms):
                await self._sleep()

    # ------------------------------------------------------------ reading
    async def _read(self, now_ms: int) -> None:
        """Put the next moments on the agenda."""
        until_ms, limit = now_ms + AHEAD_MS, self.limits.alarm_batch + len(self._fired) + self._unserved
        self._agenda.begin_reading()
        match result_inside(await self.store.due(until_ms, limit)):
            case Success(rows) if len(rows) == limit:
                last_ms = rows[-1].due_ms or until_ms
                self._take(rows, last_ms - 1)  # of those that are due at the last instant, some may be missing
                self._agenda.end_reading(last_ms)
                await self.runtime.sleep(0)
            case Success(rows):
                self._take(rows, until_ms)
                self._fire(now_ms)  # what is due does not wait for the next question
                self._agenda.end_reading(await self._next_alarm_ms(until_ms))
            case Failure(error):
                self.runtime.log(LogRecord("error", "due alarms not read", {"error": str(error)}))
                self._agenda.end_reading(now_ms + STORE_RETRY_MS)
            case unexpected:
                raise TypeError(f"a store answers Success or Failure, not {unexpected!r}")

    def _take(self, rows: tuple[Instance, ...], until_ms: int) -> None:
        """Put the instances that were read on the agenda, but for those whose turn goes on: their end tells more."""
        served = [row for row in rows if (row.address.kind, row.address.name) in self.jobs]
        self._unserved = len(rows) - len(served)
        entries = [(row.address, row.due_ms or 0) for row in served if row.address not in self._fired]
        self._agenda.read(entries, until_ms)

    async def _next_alarm_ms(self, after_ms: int) -> int:
        """Ask when there is something to read again."""
        match result_inside(await self.store.next_alarm(after_ms)):
            case Success(at_ms):
                return NEVER_MS if at_ms is None else at_ms
            case _:
                return self.runtime.now_ms() + STORE_RETRY_MS

    # ------------------------------------------------------------ firing
    @property
    def under_way(self) -> int:
        """How many alarms are fired and not settled: at most as many as requests may be pending."""
        return len(self._fired)

    def _fire(self, now_ms: int) -> None:
        """Put an alarm into the mailbox of every instance that is due, as far as there is room."""
        self._look_for_company()
        while self._portion.has_room and self.under_way < self.limits.max_pending:
            address = self._agenda.pop(now_ms)
            if address is None:
                self._portion.reset()
                return
            if address not in self._fired:
                self._post(self.jobs[address.kind, address.name], address)

    def _look_for_company(self) -> None:
        """Leave room for requests, while there are any."""
        now_ms = self.runtime.monotonic_ms()
        if self._asked != self.dispatcher.asked:
            self._asked, self._alone_from_ms = self.dispatcher.asked, now_ms + COMPANY_MS
        self._portion.company = "requests" if now_ms < self._alone_from_ms else "nobody"

    def _post(self, job: AnyDefinition, address: Address) -> None:
        self._fired.add(address)
        self._portion.add(address)
        self.dispatcher.put(job, address, Item(ALARM, _Fired(address, self._answered)))

    def _answered(self, address: Address, answer: TurnAnswer) -> None:
        """The turn is over. One that failed left the instance due: it is fired again, but not at once."""
        self._portion.settle(address)
        if isinstance(answer, Failure) and self._phase == "open":
            self._failed[address] = self.runtime.call_later(STORE_RETRY_MS, lambda: self._fire_again(address))
        else:
            self._done(address)
        if self._waits_for == "room" and self._portion.is_half_done:
            self.wake.ring()

    def close(self) -> None:
        """Fire nothing again. The next engine finds in the store what is due."""
        self._phase = "closed"
        for address, timer in tuple(self._failed.items()):
            timer.cancel()
            self._done(address)
        self._failed.clear()

    def _fire_again(self, address: Address) -> None:
        del self._failed[address]
        self._then_due.setdefault(address, self.runtime.now_ms())
        self._done(address)

    def _done(self, address: Address) -> None:
        """The alarm may be fired again."""
        self._fired.discard(address)
        self.notice(address, self._then_due.pop(address, None))

    # ------------------------------------------------------------ waiting
    async def _wait_for_room(self) -> None:
        """Wait until much of what was fired is settled, or until it is time to look what it does."""
        began_ms = self.runtime.monotonic_ms()
        self._waits_for = "room"
        await self.wake.wait_until(self.runtime.now_ms() + PATIENCE_MS)
        self._waits_for = "time"
        late_ms = self.runtime.monotonic_ms() - began_ms - PATIENCE_MS
        if self._portion.is_half_done:
            self._portion.refill()
        elif late_ms > -1:
            self._portion.look(late_ms, self.dispatcher.waits_outside)

    async def _sleep(self) -> None:
        began_ms = self.runtime.monotonic_ms()
        self._sleeping_until_ms = self._agenda.wake_ms
        await self.wake.wait_until(None if self._sleeping_until_ms == NEVER_MS else self._sleeping_until_ms)
        self._sleeping_until_ms = None  # awake: what is added from here on is seen before the next sleep
        if self.runtime.monotonic_ms() - began_ms >= PATIENCE_MS:
            self._portion.forget()

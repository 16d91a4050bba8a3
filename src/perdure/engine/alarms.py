"""Fires due alarms: reads the next ones from the store, and sleeps until there is work."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import attrs
from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure.engine.alarm_window import ALONE, PATIENCE_MS, AlarmWindow
from perdure.engine.dispatcher import Dispatcher
from perdure.engine.holds import Holds
from perdure.engine.item import Item
from perdure.engine.residents import Residents, version_of
from perdure.engine.timer_queue import NEVER_MS, Entry, TimerQueue, end_of
from perdure.engine.turn_outcome import TurnAnswer
from perdure.engine.wake import Wake
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import ALARM
from perdure.programs.container import result_inside
from perdure.runtime.record import LogRecord, Runtime, Timer
from perdure.stores.contract import Store
from perdure.stores.values import DuePosition
from perdure.values.address import Address
from perdure.values.instance import Instance
from perdure.values.limits import Limits

STORE_RETRY_MS = 1_000
"""How long the loop waits after a store error, and before it fires an alarm again whose turn failed."""

AHEAD_MS = 1_000
"""How far ahead alarms are read, so that a stream of them costs an occasional read instead of one each."""

FEW_REFILLS = 3
"""So many refills of the window, by half each, within its patience show that a slow disk delays it."""

COMPANY_MS = 100
"""How long after a request more of them are expected, so that alarms leave room."""


@attrs.define(eq=False)
class _Fired:
    """An alarm in progress. It receives its turn's result at once; a future would call back one step later.

    Attributes:
        address: the instance.
        due_ms: when the alarm was due.
        tell: called with the result.
        leave: called when the end of its run is about to be committed.
        then_due: when the instance is due afterwards, as its last commit said.
        read: the row that the store returned meanwhile.
        written: whether a commit wrote the instance meanwhile.
    """

    address: Address
    due_ms: int
    tell: Callable[[_Fired, TurnAnswer], None]
    leave: Callable[[_Fired], None]
    then_due: int | None = None
    read: Instance | None = None
    written: Literal["no", "yes"] = "no"
    _state: Literal["waits", "answered"] = "waits"

    def done(self) -> bool:
        """Whether the turn is over."""
        return self._state == "answered"

    def ending(self) -> None:
        """Make room for the next alarm, whose claim joins the commit of this one's end."""
        self.leave(self)

    def set_result(self, result: TurnAnswer, /) -> None:
        """Take the result of the turn."""
        self._state = "answered"
        self.tell(self, result)


@attrs.define(eq=False)
class Alarms:
    """The loop that fires alarms.

    Attributes:
        store: returns the due instances.
        runtime: the only interface to time and waiting.
        dispatcher: executes the turns.
        jobs: the served definitions; instances of other jobs are ignored.
        holds: the held jobs: their alarms wait.
        limits: how many due instances are read at once.
        residents: keeps the rows for the turns.
        wake: wakes the loop when there is something to do earlier.
    """

    store: Store
    runtime: Runtime
    dispatcher: Dispatcher
    jobs: Mapping[tuple[str, str], AnyDefinition]
    holds: Holds
    limits: Limits
    residents: Residents
    wake: Wake
    _timers: TimerQueue = attrs.Factory(TimerQueue)
    _window: AlarmWindow[_Fired] = attrs.Factory(AlarmWindow[_Fired])
    _fired: dict[Address, _Fired] = attrs.Factory(dict[Address, _Fired])
    _failed: dict[_Fired, Timer] = attrs.Factory(dict[_Fired, "Timer"])
    _phase: Literal["open", "closed"] = "open"
    _sleeping_until_ms: int | None = None
    _waits_for: Literal["time", "room"] = "time"
    _asked: int = 0
    _refills: int = 0
    _alone_from_ms: float = -math.inf

    def notice(self, address: Address, due_ms: int | None) -> None:
        """Note that an instance was written, and when its alarm is due; None: it has none."""
        fired = self._fired.get(address) if self._fired else None
        if fired is not None:  # perhaps by its own turn: queued when that is over
            fired.then_due, fired.written = due_ms, "yes"
        elif due_ms is not None:
            self._add(address, due_ms)

    def _add(self, address: Address, due_ms: int) -> None:
        self._timers.add(address, due_ms)
        if self._sleeping_until_ms is not None and due_ms < self._sleeping_until_ms:
            self.wake.ring()

    def doubt(self) -> None:
        """Read the store from its start again, because a commit with an unknown outcome may have set an alarm."""
        self._timers.doubt(self.runtime.now_ms())
        self.wake.ring()

    async def run(self) -> None:
        """Fire alarms until the task is cancelled."""
        self.dispatcher.runs.alarms = self
        while True:
            now_ms = self.runtime.now_ms()
            if self._timers.must_be_read(now_ms):
                await self._read(now_ms)
            self._fire(now_ms)
            if self._timers.has_due(now_ms):
                await self._wait_for_room()
            elif not self._timers.must_be_read(now_ms):
                await self._sleep()

    # ------------------------------------------------------------ reading
    async def _read(self, now_ms: int) -> None:
        """Read the next alarms from the store into the queue."""
        until_ms, limit = now_ms + AHEAD_MS, self.limits.alarm_batch
        if self._window.company == "none":
            limit += ALONE  # no request waits for this read
        after = self._timers.begin_reading()
        match await self._read_due(until_ms, limit, after):
            case Success(rows) if len(rows) == limit:
                last_ms = rows[-1].due_ms or 0
                self._take(rows, (last_ms, rows[-1].incarnation))
                self._timers.end_reading(last_ms)
                await self.runtime.sleep(0)
            case Success(rows):
                self._take(rows, end_of(until_ms))
                self._fire(now_ms)  # due alarms do not wait for the next query
                self._timers.end_reading(await self._next_alarm_ms(until_ms))
            case Failure(error):
                self.runtime.log(LogRecord("error", "due alarms not read", {"error": str(error)}))
                self._timers.end_reading(now_ms + STORE_RETRY_MS)
            case unexpected:
                raise TypeError(f"a store returns Success or Failure, not {unexpected!r}")

    async def _read_due(
        self, until_ms: int, limit: int, after: DuePosition | None
    ) -> Result[tuple[Instance, ...], Any]:
        """Read the due instances, and keep their rows for the turns that follow."""
        changed = self.residents.begin_read()
        found: tuple[Instance, ...] = ()
        try:
            read = result_inside(await self._due(until_ms, limit, after))
            found = read.value_or(())
        finally:
            self.residents.end_read(changed, self.jobs, found)
        return read

    def _due(self, until_ms: int, limit: int, after: DuePosition | None) -> FutureResult[tuple[Instance, ...], Any]:
        due_except, held = self.store.due_except, self.holds.jobs
        if held and due_except:
            return due_except(until_ms, limit, held, after)
        return self.store.due(until_ms, limit, after)

    def _take(self, rows: tuple[Instance, ...], position: DuePosition) -> None:
        """Queue the instances that were read, except those whose turn is in progress: its end queues them."""
        entries: list[Entry] = []
        for row in rows:
            address, due_ms = row.address, row.due_ms or 0
            fired = self._fired.get(address) if self._fired else None
            if fired is not None:
                fired.read = row
            elif self._may_fire(address) and not self._is_written(row):
                entries.append((address, due_ms))
        self._timers.read(entries, position)

    async def _next_alarm_ms(self, after_ms: int) -> int:
        """Query when the store must be read again."""
        match result_inside(await self.store.next_alarm(after_ms)):
            case Success(at_ms):
                return NEVER_MS if at_ms is None else at_ms
            case _:
                return self.runtime.now_ms() + STORE_RETRY_MS

    # ------------------------------------------------------------ firing
    @property
    def under_way(self) -> int:
        """Number of alarms that are fired and not settled, at most ``Limits.max_pending``."""
        return len(self._fired)

    def _fire(self, now_ms: int) -> None:
        """Put an alarm into the mailbox of every due instance, as far as there is room."""
        self._look_for_company()
        while self._window.has_room and len(self._fired) < self.limits.max_pending:
            entry = self._timers.pop(now_ms)
            if entry is None:
                self._window.reset()
                return
            address, due_ms = entry
            if address not in self._fired and self._may_fire(address):
                self._post(self.jobs[address.kind, address.name], address, due_ms)

    def _may_fire(self, address: Address) -> bool:
        """Whether the job of an instance is served here, and not held. A release reads its alarms again."""
        job = (address.kind, address.name)
        return job in self.jobs and job not in self.holds.jobs

    def _look_for_company(self) -> None:
        """Leave room for requests while they arrive."""
        now_ms = self.runtime.monotonic_ms()
        if self._asked != self.dispatcher.asked:
            self._asked, self._alone_from_ms = self.dispatcher.asked, now_ms + COMPANY_MS
        self._window.company = "requests" if now_ms < self._alone_from_ms else "none"

    def _post(self, job: AnyDefinition, address: Address, due_ms: int) -> None:
        fired = self._fired[address] = _Fired(address, due_ms, self._answered, self._leave_window)
        self._window.add(fired)
        self.dispatcher.fire(job, address, Item(ALARM, fired, ending=fired.ending, counts=0))

    def accept(self, address: Address, due_ms: int) -> Item | None:
        """Count an alarm as fired that is due when it is set, unless others wait for their turn; return its request."""
        timers = self._timers
        if timers.has_due(due_ms) or timers.next_ms <= self.runtime.now_ms() or timers.has_due(self.runtime.now_ms()):
            return None
        if self._phase == "closed" or address in self._fired or not self._may_fire(address):
            return None
        if self.under_way >= self.limits.max_pending:
            return None
        self._look_for_company()
        if not self._window.has_room:
            return None
        fired = self._fired[address] = _Fired(address, due_ms, self._answered, self._leave_window)
        self._window.add(fired)
        return Item(ALARM, fired, ending=fired.ending, counts=0)

    def withdraw(self, item: Item) -> None:
        """Take an accepted alarm back, because its commit was not stored, or may not be."""
        fired = item.answer
        if isinstance(fired, _Fired):
            self._window.settle(fired)
            self._done(fired)

    def _leave_window(self, fired: _Fired) -> None:
        """Fire the next alarms once half of the window is over, in the same step of the event loop as its ends."""
        self._window.settle(fired)
        if self._window.is_half_done and self._phase == "open":
            now_ms = self.runtime.now_ms()
            if self._timers.has_due(now_ms):
                self._window.refill()
                self._refills += 1
                self._fire(now_ms)
            elif self._waits_for == "room":
                self.wake.ring()  # the next ones are read during the commit

    def _answered(self, fired: _Fired, answer: TurnAnswer) -> None:
        """Settle an alarm. One whose turn failed left the instance due: it is fired again after a pause."""
        self._window.settle(fired)
        if type(answer) is Failure and self._phase == "open":
            self._failed[fired] = self.runtime.call_later(STORE_RETRY_MS, lambda: self._fire_again(fired))
        else:
            self._done(fired)
        if self._waits_for == "room" and self._window.is_half_done:
            self.wake.ring()

    def close(self) -> None:
        """Fire no more alarms. The next engine reads them from the store."""
        self._phase = "closed"
        for fired, timer in tuple(self._failed.items()):
            timer.cancel()
            self._done(fired)
        self._failed.clear()

    def _fire_again(self, fired: _Fired) -> None:
        del self._failed[fired]
        if fired.written == "no":
            fired.then_due = fired.due_ms
        self._done(fired)

    def _done(self, fired: _Fired) -> None:
        """Allow the alarm of an instance to be fired again, when the instance is due then."""
        del self._fired[fired.address]
        if fired.then_due is not None:
            self._add(fired.address, fired.then_due)
        if fired.read is not None and not self._is_written(fired.read):
            self._add(fired.address, fired.read.due_ms or 0)
        elif fired.written == "no" and fired.due_ms > self.runtime.now_ms():  # the clock went back
            self._add(fired.address, fired.due_ms)

    def _is_written(self, read: Instance) -> bool:
        """Whether a commit of this engine set another alarm after the row was read: that one is known already.

        A commit that changes a state alone sets none, and is not noticed.
        """
        kept = self.residents.row(read.address)
        return kept is not None and version_of(kept) > version_of(read) and kept.due_ms != read.due_ms

    # ------------------------------------------------------------ waiting
    async def _wait_for_room(self) -> None:
        """Wait until much of the batch is settled, or until it must be checked."""
        began_ms, refills = self.runtime.monotonic_ms(), self._refills
        self._waits_for = "room"
        await self.wake.wait_until(self.runtime.now_ms() + PATIENCE_MS)
        self._waits_for = "time"
        late_ms = self.runtime.monotonic_ms() - began_ms - PATIENCE_MS
        if self._window.is_half_done:
            self._window.refill()
        elif late_ms > -1 and self._refills - refills <= FEW_REFILLS:
            self._window.look(late_ms, lambda fired: self.residents.waits_outside(fired.address))

    async def _sleep(self) -> None:
        began_ms = self.runtime.monotonic_ms()
        self._sleeping_until_ms = self._timers.wake_ms
        await self.wake.wait_until(None if self._sleeping_until_ms == NEVER_MS else self._sleeping_until_ms)
        self._sleeping_until_ms = None  # awake: later additions are seen before the next sleep
        if self.runtime.monotonic_ms() - began_ms >= PATIENCE_MS:
            self._window.forget()

"""Fires due alarms: reads the next ones from the store, and sleeps until there is work.

The timer queue holds the next alarms in memory, and knows when to read more. The alarm window limits how many are in
progress, so that a burst of them leaves room for requests.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import attrs
from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure.engine.dispatcher import Dispatcher
from perdure.engine.loops.waker import Places, Waker
from perdure.engine.mailbox.entry import MailboxEntry, TurnAnswer
from perdure.engine.mailbox.instance_cache import InstanceCache, version_of
from perdure.engine.runs.concurrency import Holds
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import ALARM
from perdure.programs.container import result_inside
from perdure.runtime.record import DEFAULT_SIZES, LogRecord, Runtime, Sizes, Timer
from perdure.stores.contract import Store
from perdure.stores.values import DuePosition
from perdure.values.address import Address, Job
from perdure.values.instance import Instance
from perdure.values.limits import Limits

Entry: TypeAlias = tuple[Address, int]
"""An instance, and when its alarm is due."""

NEVER_MS = 2**63 - 1
"""Later than any alarm."""

_START: DuePosition = (-1, 0)
_LAST = 2**63 - 1


def end_of(instant_ms: int) -> DuePosition:
    """Return the position behind all alarms that are due at an instant."""
    return instant_ms, _LAST


@attrs.define
class TimerQueue:
    """All alarms up to a position in the store's order, and when the first alarm behind it may be due.

    Only this engine sets alarms in its store, and it adds each one here after its commit: so the store is read once,
    from one position to the next, and not at all for alarms that are set for soon. When a commit may have set an alarm
    that was not added, it is read from its start again. An entry may be stale, because its alarm was moved or cancelled
    meanwhile. Its turn finds that out.

    Attributes:
        position: every alarm up to this position is an entry, or was one.
        next_ms: no alarm behind the position is due before this instant. Then the store must be read again.
        room: at most this many added entries. Further alarms are read from the store when they are due.
    """

    position: DuePosition = _START
    next_ms: int = 0
    room: int = DEFAULT_SIZES.timers
    _entries: list[tuple[int, int, Address]] = attrs.Factory(list[tuple[int, int, Address]])
    _pushed: int = 0
    _added_since: list[Entry] = attrs.Factory(list[Entry])
    _reading: Literal["no", "yes", "outdated"] = "no"
    _is_bound: bool = False  # whether the store told `next_ms`, which otherwise is the instant to try again

    def add(self, address: Address, due_ms: int, until_ms: int) -> None:
        """Add an alarm that became durable.

        Args:
            address: the instance.
            due_ms: when it is due.
            until_ms: an alarm that is due later is read when it is due: most of these are moved before.
        """
        # The read in progress may have passed this alarm: no loop would know it until the next restart.
        if self._reading != "no":
            self._added_since.append((address, due_ms))
        # The store has no other alarm before this one, so it need not be read for it.
        elif self._is_bound and self.position[0] < due_ms < self.next_ms and due_ms <= until_ms:
            self.position = end_of(due_ms)
        if due_ms <= self.position[0]:
            self._push(address, due_ms)
            if len(self._entries) > self.room:
                self._drop_latest()
        else:
            self.next_ms = min(self.next_ms, due_ms)

    def pop(self, now_ms: int) -> Entry | None:
        """Remove and return the earliest alarm that is due. None if there is none."""
        if not self._entries or self._entries[0][0] > now_ms:
            return None
        due_ms, _, address = heapq.heappop(self._entries)
        return address, due_ms

    def has_due(self, now_ms: int) -> bool:
        """Whether an entry is due."""
        return bool(self._entries) and self._entries[0][0] <= now_ms

    def doubt(self, now_ms: int) -> None:
        """Read the store from its start again, because it may hold an alarm that was not added."""
        self._entries.clear()
        self._is_bound = False
        self._go_back(_START, now_ms)

    def must_be_read(self, now_ms: int) -> bool:
        """Whether the store may hold a due alarm that is not an entry. Due entries are fired first."""
        return self.next_ms <= now_ms and not self.has_due(now_ms)

    @property
    def wake_ms(self) -> int:
        """When to fire or to read next. ``NEVER_MS`` if there is nothing to do."""
        return min(self._entries[0][0], self.next_ms) if self._entries else self.next_ms

    # ------------------------------------------------------------ reading
    def begin_reading(self) -> DuePosition | None:
        """Record additions from here on: the read that starts now may miss them.

        Returns:
            The position after which the store is read. None for its start.
        """
        self._added_since.clear()
        self._reading = "yes"
        return None if self.position == _START else self.position

    def read(self, entries: Sequence[Entry], position: DuePosition) -> None:
        """Add the entries that the store returned: all alarms behind the previous position, up to this one."""
        # It read behind a position that is no longer valid: taken, the alarms before it would never fire.
        if self._reading == "outdated":
            return
        self.position, self.next_ms = position, position[0] + 1
        for address, due_ms in entries:
            self._push(address, due_ms)
        if self._added_since:
            found = set(entries)
            for entry in self._added_since:
                if entry not in found and entry[1] <= self.position[0]:
                    self._push(*entry)

    def end_reading(self, next_ms: int) -> None:
        """Set the first alarm's due time behind the position, as the store returned it."""
        self._end_reading(next_ms, is_bound=True)

    def give_up_reading(self, again_ms: int) -> None:
        """Read again at an instant, because a read failed."""
        self._end_reading(again_ms, is_bound=False)

    def _end_reading(self, next_ms: int, *, is_bound: bool) -> None:
        if self._reading == "yes":
            added = (due_ms for _, due_ms in self._added_since if due_ms > self.position[0])
            self.next_ms, self._is_bound = min((next_ms, *added)), is_bound
        self._reading = "no"
        self._added_since.clear()

    def _push(self, address: Address, due_ms: int) -> None:
        self._pushed += 1
        # The number keeps the order of arrival between equal instants.
        heapq.heappush(self._entries, (due_ms, self._pushed, address))

    def _drop_latest(self) -> None:
        """Drop the later half of the entries: the store returns them again."""
        self._entries.sort()
        first_ms = self._entries[len(self._entries) // 2][0]
        # All alarms of an instant stay, or none: the position lies between two instants.
        self._entries = [entry for entry in self._entries if entry[0] < first_ms]
        self._go_back(end_of(first_ms - 1), first_ms)

    def _go_back(self, position: DuePosition, next_ms: int) -> None:
        self.position = min(self.position, position)
        self.next_ms = min(self.next_ms, next_ms)
        if self._reading == "yes":
            self._reading = "outdated"  # it began at a later position


A = TypeVar("A")

READ_ALONE = 3
"""How many times ``Limits.alarm_batch`` is read at once while no requests arrive."""

PATIENCE_MS = 10
"""How long a batch may take before the loop checks whether it waits or works."""

BUSY_MS = 5
"""A timer that is this late shows that the process is busy: more alarms would only queue."""


@attrs.define
class AlarmWindow(Generic[A]):
    """The alarms that were fired together and are not settled yet.

    Alarms whose runs wait for external systems cost nothing while they wait: they leave the batch, and the next batch
    is twice as large. Alarms that wait for a slow disk let the batch grow slowly, since a large commit costs little
    more than a small one. Alarms that keep the process busy delay the next ones. Otherwise every request would wait for
    all due alarms.

    Attributes:
        company: whether requests arrive too, for which alarms leave room.
    """

    company: Literal["requests", "none"] = "requests"
    sizes: Sizes = DEFAULT_SIZES
    _size: int = attrs.field(init=False)
    _members: set[A] = attrs.Factory(set[A])
    _looks: int = 0

    def __attrs_post_init__(self) -> None:
        self.reset()

    @property
    def has_room(self) -> bool:
        """Whether one more may be fired."""
        return len(self._members) < self._limit

    @property
    def is_half_done(self) -> bool:
        """Whether it is worth firing more."""
        return len(self._members) <= self._limit // 2

    @property
    def _limit(self) -> int:
        return self._size if self.company == "requests" else max(self._size, self.sizes.alarm_window_alone)

    def add(self, alarm: A) -> None:
        """Count a fired alarm."""
        self._members.add(alarm)

    def settle(self, alarm: A) -> None:
        """Remove an alarm whose turn is over."""
        self._members.discard(alarm)

    def refill(self) -> None:
        """Restart the patience, because much of the batch is settled."""
        self._looks = 0

    def reset(self) -> None:
        """Start again with a small batch, because nothing more is due."""
        self._size = self.sizes.alarm_window

    def look(self, late_ms: float, waits_outside: Callable[[A], bool]) -> None:
        """Adjust the size of a batch that takes long.

        Args:
            late_ms: lateness of the timer that triggered this check, in milliseconds.
            waits_outside: whether an alarm's run waits for external systems.
        """
        self._looks += 1
        if self._looks == self.sizes.alarm_looks:
            self.forget()
        elif late_ms >= BUSY_MS:
            self._size = max(self.sizes.alarm_window, self._size // 2)
        else:
            before = len(self._members)
            self._members = {alarm for alarm in self._members if not waits_outside(alarm)}
            grown = self._size * 2 if len(self._members) < before // 2 else self._size + self.sizes.alarm_window
            self._size = min(self.sizes.max_alarm_window, grown)

    def forget(self) -> None:
        """Forget the alarms in progress: they had their time and wait for something."""
        self._looks = 0
        self._members.clear()


STORE_RETRY_MS = 1_000
"""How long the loop waits after a store error, and before it fires an alarm again whose turn failed."""

AHEAD_MS = 1_000
"""How far ahead alarms are read, so that a stream of them costs an occasional read instead of one each."""

COMPANY_MS = 100
"""How long after a request more of them are expected, so that alarms leave room."""


@attrs.define(eq=False)
class _Fired:
    """An alarm in progress. It receives its turn's result at once. A future would call back one step later.

    Attributes:
        leave: called when its run's end is about to be committed.
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

    def on_finishing(self) -> None:
        """Make room for the next alarm, whose claim joins the commit of this one's end."""
        self.leave(self)

    def set_result(self, result: TurnAnswer, /) -> None:
        """Take the turn's result."""
        self._state = "answered"
        self.tell(self, result)


def _timers_of(alarms: Alarms) -> TimerQueue:
    return TimerQueue(room=alarms.runtime.sizes.timers)


def _places_of(alarms: Alarms) -> Places:
    return Places(alarms.limits.max_pending)


def _window_of(alarms: Alarms) -> AlarmWindow[_Fired]:
    return AlarmWindow(sizes=alarms.runtime.sizes)


@attrs.define(eq=False)
class Alarms:
    """The loop that fires alarms.

    Attributes:
        store: returns the due instances.
        runtime: the only interface to time and waiting.
        jobs: the served definitions. Instances of other jobs are ignored.
        holds: the held jobs: their alarms wait.
        limits: how many due instances are read at once.
        cache: keeps the rows for the turns.
        wake: wakes the loop when there is something to do earlier.
    """

    store: Store
    runtime: Runtime
    dispatcher: Dispatcher
    jobs: Mapping[tuple[str, str], AnyDefinition]
    holds: Holds
    limits: Limits
    cache: InstanceCache
    wake: Waker
    _timers: TimerQueue = attrs.field(default=attrs.Factory(_timers_of, takes_self=True))
    _window: AlarmWindow[_Fired] = attrs.field(default=attrs.Factory(_window_of, takes_self=True))
    _fired: dict[Address, _Fired] = attrs.Factory(dict[Address, _Fired])
    _places: Places = attrs.field(default=attrs.Factory(_places_of, takes_self=True))
    _left_out: dict[Job, int] = attrs.Factory(dict[Job, int])  # jobs without a place, and how many alarms they had
    _failed: dict[_Fired, Timer] = attrs.Factory(dict[_Fired, "Timer"])
    _phase: Literal["open", "closed"] = "open"
    _sleeping_until_ms: int | None = None
    _waits_for: Literal["time", "room"] = "time"
    _asked: int = 0
    _refills: int = 0
    _alone_from_ms: float = -math.inf

    def notice(self, address: Address, due_ms: int | None) -> None:
        """Note that an instance was written, and when its alarm is due. None: it has none."""
        fired = self._fired.get(address) if self._fired else None
        # Queued now, the alarm would fire beside the turn that has just set it.
        if fired is not None:  # perhaps by its own turn: queued when that is over
            fired.then_due, fired.written = due_ms, "yes"
        elif due_ms is not None:
            self._add(address, due_ms)

    def _add(self, address: Address, due_ms: int) -> None:
        self._timers.add(address, due_ms, self.runtime.now_ms() + AHEAD_MS)
        if self._sleeping_until_ms is not None and due_ms < self._sleeping_until_ms:
            self._sleeping_until_ms = due_ms
            self.wake.bring_forward(due_ms)

    def doubt(self) -> None:
        """Read the store from its start again, because a commit with an unknown outcome may have set an alarm."""
        self._timers.doubt(self.runtime.now_ms())
        self.wake.notify()

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
            limit *= READ_ALONE  # no request waits for this read
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
                next_ms = await self._next_alarm_ms(until_ms)
                if next_ms is None:
                    self._timers.give_up_reading(self.runtime.now_ms() + STORE_RETRY_MS)
                else:
                    self._timers.end_reading(next_ms)
            case Failure(error):
                self.runtime.log(LogRecord("error", "due alarms not read", {"error": str(error)}))
                self._timers.give_up_reading(now_ms + STORE_RETRY_MS)
            case unexpected:
                raise TypeError(f"a store returns Success or Failure, not {unexpected!r}")

    async def _read_due(
        self, until_ms: int, limit: int, after: DuePosition | None
    ) -> Result[tuple[Instance, ...], Any]:
        """Read the due instances, and keep their rows for the turns that follow."""
        changed = self.cache.begin_read()
        found: tuple[Instance, ...] = ()
        try:
            read = result_inside(await self._due(until_ms, limit, after))
            found = read.value_or(())
        # Also after an exception, or each later change of an instance would be noted for a read that is over.
        finally:
            self.cache.end_read(changed, self.jobs, found)
        return read

    def _due(self, until_ms: int, limit: int, after: DuePosition | None) -> FutureResult[tuple[Instance, ...], Any]:
        return self.store.due(until_ms, limit, after, (*self.holds.jobs, *self._left_out))

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

    async def _next_alarm_ms(self, after_ms: int) -> int | None:
        """Query when the store must be read again. None if it does not answer."""
        match result_inside(await self.store.next_alarm(after_ms)):
            case Success(at_ms):
                return NEVER_MS if at_ms is None else at_ms
            case _:
                return None

    # ------------------------------------------------------------ firing
    @property
    def under_way(self) -> int:
        """Number of alarms that are fired and not settled."""
        return len(self._fired)

    def _fire(self, now_ms: int) -> None:
        """Put an alarm into every due instance's mailbox, as far as there is room."""
        self._look_for_company()
        while self._window.has_room:
            entry = self._timers.pop(now_ms)
            if entry is None:
                self._window.reset()
                return
            address, due_ms = entry
            # A turn in progress adds its alarm again at its end.
            if address not in self._fired and self._may_fire(address):
                self._post(self.jobs[address.kind, address.name], address, due_ms)

    def _may_fire(self, address: Address) -> bool:
        """Whether an instance's job is served here, is not held, and has a place.

        A job without a place is left out, also by the next reads, until half of its alarms are settled. Then, and when
        a job is released, its alarms are read again.
        """
        # Not an error: another engine, or the next deploy, may serve that job.
        job = (address.kind, address.name)
        if job not in self.jobs or job in self.holds.jobs or job in self._left_out:
            return False
        if self._places.has(job):
            return True
        self._left_out[job] = self._places.number_of(job)
        return False

    def _look_for_company(self) -> None:
        """Leave room for requests while they arrive."""
        now_ms = self.runtime.monotonic_ms()
        if self._asked != self.dispatcher.asked:
            self._asked, self._alone_from_ms = self.dispatcher.asked, now_ms + COMPANY_MS
        self._window.company = "requests" if now_ms < self._alone_from_ms else "none"

    def _post(self, job: AnyDefinition, address: Address, due_ms: int) -> None:
        fired = self._begin(address, due_ms)
        self.dispatcher.fire(
            job, address, MailboxEntry(ALARM, fired, on_finishing=fired.on_finishing, pending_weight=0)
        )

    def _begin(self, address: Address, due_ms: int) -> _Fired:
        fired = self._fired[address] = _Fired(address, due_ms, self._answered, self._leave_window)
        self._window.add(fired)
        self._places.take(address)
        return fired

    def accept(self, address: Address, due_ms: int) -> MailboxEntry | None:
        """Count an alarm as fired that is due when it is set, unless others wait for their turn. Return its request."""
        # A job that is accepted now must not overtake alarms that are due before it.
        timers = self._timers
        if timers.has_due(due_ms) or timers.next_ms <= self.runtime.now_ms() or timers.has_due(self.runtime.now_ms()):
            return None
        if self._phase == "closed" or address in self._fired or not self._may_fire(address):
            return None
        self._look_for_company()
        if not self._window.has_room:
            return None
        fired = self._begin(address, due_ms)
        return MailboxEntry(ALARM, fired, on_finishing=fired.on_finishing, pending_weight=0)

    def withdraw(self, entry: MailboxEntry) -> None:
        """Take an accepted alarm back, because its commit was not stored, or may not be."""
        fired = entry.answer
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
                self.wake.notify()  # the next ones are read during the commit

    def _answered(self, fired: _Fired, answer: TurnAnswer) -> None:
        """Settle an alarm. One whose turn failed left the instance due: it is fired again after a pause."""
        self._window.settle(fired)
        # Without a pause, an instance whose turn always fails would keep the loop and the store busy.
        if type(answer) is Failure and self._phase == "open":
            self._failed[fired] = self.runtime.call_later(STORE_RETRY_MS, lambda: self._fire_again(fired))
        else:
            self._done(fired)
        if self._waits_for == "room" and self._window.is_half_done:
            self.wake.notify()

    def close(self) -> None:
        """Fire no more alarms. The next engine reads them from the store."""
        self._phase = "closed"
        # A timer that remains would keep the engine from coming to rest.
        for fired, timer in tuple(self._failed.items()):
            timer.cancel()
            self._done(fired)
        self._failed.clear()

    def _fire_again(self, fired: _Fired) -> None:
        del self._failed[fired]
        # The turn has written no other alarm: the instance is still due.
        if fired.written == "no":
            fired.then_due = fired.due_ms
        self._done(fired)

    def _done(self, fired: _Fired) -> None:
        """Allow an instance's alarm to be fired again, when the instance is due then."""
        del self._fired[fired.address]
        self._leave_place(fired.address)
        if fired.then_due is not None:
            self._add(fired.address, fired.then_due)
        # A read during the turn found the next alarm, and skipped it because of this turn.
        if fired.read is not None and not self._is_written(fired.read):
            self._add(fired.address, fired.read.due_ms or 0)
        elif fired.written == "no" and fired.due_ms > self.runtime.now_ms():  # the clock went back
            self._add(fired.address, fired.due_ms)

    def _leave_place(self, address: Address) -> None:
        self._places.leave(address)
        job = (address.kind, address.name)
        if self._left_out and self._places.number_of(job) <= self._left_out.get(job, -1) // 2:
            del self._left_out[job]
            self.doubt()

    def _is_written(self, read: Instance) -> bool:
        """Whether a commit of this engine set another alarm after the row was read: that one is known already.

        A commit that changes a state alone sets none, and is not noticed.
        """
        kept = self.cache.row(read.address)
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
        # Only after the whole patience: a wait that was over earlier shows nothing.
        elif late_ms > -1 and self._refills - refills <= self.runtime.sizes.alarm_refills:
            self._window.look(late_ms, lambda fired: self.cache.waits_outside(fired.address))

    async def _sleep(self) -> None:
        began_ms = self.runtime.monotonic_ms()
        self._sleeping_until_ms = self._timers.wake_ms
        await self.wake.wait_until(None if self._sleeping_until_ms == NEVER_MS else self._sleeping_until_ms)
        self._sleeping_until_ms = None  # awake: later additions are seen before the next sleep
        if self.runtime.monotonic_ms() - began_ms >= PATIENCE_MS:
            self._window.forget()

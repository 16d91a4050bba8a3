"""Fires the queued instances of a job, as many as have a free slot: reads them from the store, lane by lane."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Literal

import attrs
from returns.result import Failure, Result, Success

from perdure.engine.dispatcher import Dispatcher
from perdure.engine.loops.fair_queue import FairQueue
from perdure.engine.loops.rate_limits import LaneRates, RateLimit, StoredRates
from perdure.engine.loops.waker import Waker
from perdure.engine.mailbox.entry import MailboxEntry, TurnAnswer
from perdure.engine.mailbox.instance_cache import InstanceCache
from perdure.engine.runs.concurrency import Holds, LaneLimit, takes_lane_slot
from perdure.engine.runs.named_limits import NamedLimits
from perdure.engine.runs.permits import Admission, Items, News
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.plan import Lanes
from perdure.jobs.request import ALARM
from perdure.programs.future import answer_of
from perdure.runtime.record import Future, LogRecord, Runtime, Timer
from perdure.stores.contract import NotCommitted, Store, StoredLanes
from perdure.stores.values import QueuedLane
from perdure.values.address import Address, Job
from perdure.values.errors import Conflict, EngineClosed, OutcomeUnknown, StoreError, StoreUnavailable
from perdure.values.instance import Instance
from perdure.values.times import from_ms

REST_MS = 1_000
"""How long a pass over all lanes that fired nothing is not repeated, and how long after a store error to read again."""


@attrs.define(eq=False)
class FiredTurn:
    """Receives the result of a turn that begins a queued instance."""

    address: Address
    tell: Callable[[Address, TurnAnswer], None]
    _state: Literal["waits", "answered"] = "waits"

    def done(self) -> bool:
        """Whether the turn is over."""
        return self._state == "answered"

    def set_result(self, result: TurnAnswer, /) -> None:
        """Take the result of the turn."""
        self._state = "answered"
        self.tell(self.address, result)


@attrs.define(kw_only=True)
class LaneFeeder:
    """The loop that fires the queued instances of one job.

    Attributes:
        runtime: the only interface to time and waiting.
        cache: keeps the rows for the turns.
        lanes: reads the lanes of the store.
        queue: the part of the queued instances that is in memory.
        rates: the rates of the job and of its lanes; None without any.
        named: the named limits of the job; None without any.
        page: lanes that are read at once.
        claims_page: claims that are read at once.
        resting: lanes that fire nothing for a moment, because the store refused a claim of them.
    """

    runtime: Runtime
    dispatcher: Dispatcher
    job: AnyDefinition
    gate: LaneLimit
    holds: Holds
    cache: InstanceCache
    lanes: StoredLanes
    wake: Waker
    queue: FairQueue
    rates: StoredRates | None
    named: NamedLimits | None
    page: int
    claims_page: int
    resting: set[str]
    _fired: dict[Address, str] = attrs.Factory(dict[Address, str])
    _unclaimed: Counter[str] = attrs.Factory(Counter[str])  # fired instances by lane, until their claim is durable
    _left: set[Address] = attrs.Factory(set[Address])
    _noticed: dict[Address, Instance | None] | None = None  # while a read is in progress
    _requeued: set[Address] = attrs.Factory(set[Address])
    _failed: dict[str, Timer] = attrs.Factory(dict[str, "Timer"])  # lanes that are read again soon
    _claims_at_ms: float = -math.inf  # when the claims of the store are read
    _recovered: list[str] = attrs.Factory(list[str])  # the lanes of recovered runs that wait for a rate
    _begun: list[tuple[Address, str]] = attrs.Factory(list[tuple[Address, str]])  # with a place, and stored next
    _ready: list[tuple[str, Future[None]]] = attrs.Factory(list[Any])  # recovered runs that do not know how long
    _offered: dict[str, None] = attrs.Factory(dict[str, None])  # lanes that the named limits have given permits
    _cursor: str | None = None
    _skipped: Literal["none", "some"] = "none"
    _progress: Literal["none", "some"] = "some"  # whether anything was fired since the pass began
    _rest_until_ms: float = -math.inf
    _phase: Literal["open", "closed"] = "open"

    @property
    def name(self) -> Job:
        """The job, by kind and name."""
        return self.job.kind, self.job.name

    @property
    def gate_name(self) -> str:
        """The job, printed ``kind:name``."""
        return ":".join(self.name)

    def admits(self, lane: str) -> Admission:
        """Whether the named limits let an item of a lane begin. If not, `freed` is called when they do."""
        if self.named is None:
            return "admitted"
        free = self.gate.slots - self.gate.held
        items = Items(min(free, self.queue.size), min(free, self.queue.waiting(lane)))
        return self.named.admits(self.gate_name, lane, items, partial(self.hear, lane))

    @property
    def under_way(self) -> int:
        """Number of instances that are fired and not settled."""
        return len(self._fired)

    # ------------------------------------------------------------ changes
    def notice(self, address: Address, after: Instance | None) -> None:
        """Note that an instance was written, or deleted."""
        # The read in progress may return an older row: what is noticed here overrides it.
        if self._noticed is not None:
            self._noticed[address] = after
        if self.gate.lane_slots is not None:
            self._notice_claim(address, after)
        if address in self._fired:
            self._notice_fired(address, after)
        elif after is not None and after.rank_ms is not None:
            self.queue.notice(address, after.lane or "", after.rank_ms, after.incarnation)
            # Otherwise the return of a slot wakes the loop.
            if self.gate.has_slot:
                self.wake.notify()
        else:
            self.queue.forget(address)

    def _notice_claim(self, address: Address, after: Instance | None) -> None:
        if after is not None and takes_lane_slot(after):
            self.gate.hold_claim(address, after.lane or "", "known")
        else:
            self.gate.drop_claim(address)

    def _notice_fired(self, address: Address, after: Instance | None) -> None:
        if after is not None and after.rank_ms is not None:
            self._requeued.add(address)
        elif address not in self._left:
            self._left.add(address)
            self._unclaimed[self._fired[address]] -= 1

    def doubt(self) -> None:
        """Read the store again, because it may hold queued instances that were not noticed."""
        self.queue.doubt()
        self.wake.notify()

    def freed(self, lane: str) -> None:
        """Note that a slot of a lane was returned."""
        self.queue.unblock(lane)
        self.wake.notify()

    def hear(self, lane: str, news: News) -> None:
        """Note that the named limits have permits for items of a lane, or that another engine may have begun them."""
        if news == "permits":
            self._offered[lane] = None
        else:
            self.queue.reread(lane)
        self.freed(lane)

    def close(self) -> None:
        """Fire nothing more."""
        self._phase = "closed"
        for timer in self._failed.values():
            timer.cancel()
        self._failed.clear()

    # ------------------------------------------------------------ the loop
    async def start(self) -> None:
        """Continue the clock of the lanes where an earlier engine's ended, at the latest before the first turn.

        Raises:
            StoreError: the store failed.
        """
        match await answer_of(self.lanes.last_rank(self.name)):
            case Success(last_rank_ms):
                self.gate.clock.start(last_rank_ms)
            case failure:
                raise failure.failure()

    async def is_needed(self) -> bool:
        """Return whether it must run: always."""
        return True

    async def run(self) -> None:
        """Fire queued instances until the task is cancelled."""
        if self.gate.lane_slots is None:
            self._claims_at_ms = math.inf
        while True:
            # Before anything is fired: a claim that an engine left takes a slot of its lane.
            if self._claims_at_ms <= self.runtime.monotonic_ms():
                await self._read_claims()
                continue
            if self.rates is not None and self._wants_rates(self.rates):
                await self._read_rates(self.rates)
            free_ms = self._fire()
            # Before the next look at the rates: it asks whether lanes are blocked, and may meet one as well.
            wants_reading = self._wants_reading(free_ms)
            if self._begun and self.rates is not None:
                await self._record(self.rates)
            elif self.rates is not None and self._wants_rates(self.rates):
                pass  # it met a lane whose rate is read first
            elif wants_reading:
                await self._read()
            else:
                await self.wake.wait_until(self._wake_ms(free_ms))

    @property
    def _is_held(self) -> bool:
        return self.name in self.holds.jobs or self._phase == "closed"

    def _fire(self) -> float:
        """Fire the next instances, and return when the rate allows another one."""
        now_ms = self.runtime.monotonic_ms()
        # Lanes become free by time alone: no call unblocks them.
        if self.queue.has_blocked and self.rates is not None:
            self.queue.unblock_all()
        if self._ready and self.rates is not None:
            self._call_ready(self.rates, now_ms)
        while self.gate.has_slot and not self._is_held:
            free_ms = now_ms if self.rates is None else self.rates.job_free_ms(now_ms)
            # Before an instance leaves the queue: one that waits for a rate keeps no slot from the runs of other lanes.
            if free_ms > now_ms or self._is_first_recovered(now_ms):
                return free_ms
            taken = self._take_offered() or self.queue.take()
            if taken is None:
                break
            self._post(*taken)
        return now_ms

    def _take_offered(self) -> tuple[Address, str] | None:
        """Take an instance whose lane has permits, whatever its turn.

        The queue stops at a lane that must not ask for permits yet. Those that have them may come after it, and would
        never begin: no other lane uses their permits.
        """
        while self._offered:
            lane = next(iter(self._offered))
            del self._offered[lane]
            if self.named is not None and self.named.is_offered(self.gate_name, lane):
                taken = self.queue.take_of(lane)
                if taken is not None:
                    self._offered[lane] = None  # behind the others, for further permits
                    return taken
        return None

    def _post(self, address: Address, lane: str) -> None:
        self._progress = "some"
        self._fired[address] = lane
        self._unclaimed[lane] += 1
        # The slot before the turn: two instances of one lane may be fired in this loop before either is claimed.
        self.gate.take(address, lane)
        if self.named is not None:
            self.named.take_admitted(self.gate_name, lane, address)
        if self.rates is None:
            self._begin(address)
        else:
            self._begun.append((address, lane))

    def _begin(self, address: Address) -> None:
        self.dispatcher.fire(
            self.job, address, MailboxEntry(ALARM, FiredTurn(address, self._answered), pending_weight=0)
        )

    # ------------------------------------------------------------ rates
    def _wants_rates(self, rates: StoredRates) -> bool:
        now_ms = self.runtime.monotonic_ms()
        return (rates.is_unread or rates.look_ms(now_ms) <= now_ms) and self._rest_until_ms <= now_ms

    async def _read_rates(self, rates: StoredRates) -> None:
        """Read the runs that began before this engine opened."""
        failure = await rates.read()
        if failure is not None:
            self._not_read("begun runs not read", failure)
            return
        self.queue.unblock_all()
        self._rates_changed()

    async def _record(self, rates: StoredRates) -> None:
        """Store that runs begin, then begin them: after a crash none is missing in the window of the next engine."""
        # Taken out first: instances that are fired during the write belong to the next one.
        begun, self._begun = self._begun, []
        lanes = {lane for _, lane in begun}
        failures: Mapping[str, NotCommitted | EngineClosed] = dict.fromkeys(lanes, EngineClosed())
        try:
            failures = await rates.record(lanes)
        # A cancelled write may have been stored: each instance returns its slot, and its lane is read again.
        finally:
            for address, lane in begun:
                if lane not in failures:
                    self._begin(address)
                else:
                    refused: TurnAnswer = Failure(failures[lane])
                    self._answered(address, refused)
        # The rate of the job counts them: other engines wait until it is stored without them.
        if any(isinstance(failure, Conflict) for failure in failures.values()):
            await rates.record(())

    def is_limited(self, lane: str) -> bool:
        """Whether the rates have no place for a run of a lane."""
        if self.rates is None:
            return False
        now_ms = self.runtime.monotonic_ms()
        return self.rates.free_ms(lane, now_ms) > now_ms

    async def wait_for_rate(self, lane: str) -> None:
        """Wait until the rates may have a place for a recovered run of a lane."""
        if self.rates is None:
            return
        now_ms = self.runtime.monotonic_ms()
        free_ms = self.rates.free_ms(lane, now_ms)
        self._recovered.append(lane)
        try:
            if free_ms == math.inf:
                self._ready.append((lane, waiting := self.runtime.future()))
                self.wake.notify()
                await waiting
            else:
                await self.runtime.sleep(max(0, free_ms - now_ms))
        finally:
            self._recovered.remove(lane)
            self.wake.notify()

    def take_place(self, lane: str) -> None:
        """Take the place of a run in the rates."""
        if self.rates is not None:
            self.rates.take_place(lane)

    def free_place(self, lane: str) -> None:
        """Return the place of a run that does not begin."""
        if self.rates is not None:
            self.rates.free_place(lane)
            self._rates_changed()

    def begin(self, lane: str) -> None:
        """Count a run that begins now."""
        if self.rates is not None:
            self.rates.begin(lane)
            self._rates_changed()

    async def record(self, lane: str) -> None:
        """Store that runs of a lane begin."""
        failure = None if self.rates is None else (await self.rates.record((lane,))).get(lane)
        if isinstance(failure, Conflict):
            raise StoreUnavailable("count a run", "other engines took its place in the rate; it is delivered again")
        if failure is not None:
            raise failure

    def _rates_changed(self) -> None:
        """Look again when the next place is free, also those that could not know."""
        self.wake.notify()
        self._call([waiting for _, waiting in self._ready])
        self._ready.clear()

    def _call_ready(self, rates: StoredRates, now_ms: float) -> None:
        """Let recovered runs look again that know now how long they wait, although nothing was read.

        The runs of earlier engines have left the window of a rate that was not read in all of it.
        """
        known = [one for one in self._ready if rates.free_ms(one[0], now_ms) < math.inf]
        self._ready = [one for one in self._ready if one not in known]
        self._call([waiting for _, waiting in known])

    def _call(self, ready: Sequence[Future[None]]) -> None:
        for waiting in ready:
            if not waiting.done():
                waiting.set_result(None)

    def _is_first_recovered(self, now_ms: float) -> bool:
        """Whether a recovered run waits for the rate of the job: those come first."""
        rates = self.rates
        return rates is not None and any(rates.lanes.free_ms(lane, now_ms) <= now_ms for lane in self._recovered)

    def _not_read(self, text: str, failure: object) -> None:
        self.runtime.log(LogRecord("error", text, {"error": str(failure)}))
        self._rest_until_ms = self.runtime.monotonic_ms() + REST_MS

    # ------------------------------------------------------------ the ends of turns

    def _answered(self, address: Address, answer: TurnAnswer) -> None:
        """Settle a fired instance. One that was not claimed, or whose turn failed, may still be queued."""
        lane, left = self._fired.pop(address), address in self._left and address not in self._requeued
        if address in self._left:
            self._left.discard(address)
        else:
            self._unclaimed[lane] -= 1
        if not self._unclaimed[lane]:
            del self._unclaimed[lane]
        self._requeued.discard(address)
        if self._phase == "open" and (isinstance(answer, Failure) or not left):
            self._put_back(address, lane, answer)
        # Before the slot is returned: it says whether a run has begun with the permits.
        if self.named is not None and self.gate.is_reserved(address):
            self.named.give_back(address)
        self.gate.give_back(address)

    def _put_back(self, address: Address, lane: str, answer: TurnAnswer) -> None:
        """Read a lane again: with the release of a held job, otherwise after a pause."""
        error = answer.failure() if isinstance(answer, Failure) else None
        if isinstance(error, OutcomeUnknown) and self.gate.lane_slots is not None:
            self.gate.hold_claim(address, lane, "doubted")
        # No timer for a held job: its release reads the lane.
        if self._is_held:
            self.queue.reread(lane)
            return
        if isinstance(error, Conflict):  # the runs of other engines took its place in the rate, which is known now
            self.queue.reread(lane)
            return
        # Not the instance's fault: the store refused its claim, or the job was held during its turn and is released
        # already. No other one overtakes it.
        if error is None or isinstance(error, StoreUnavailable):
            self.resting.add(lane)
        # One timer for each lane: a store that is down fails many instances of it.
        if lane in self._failed:
            return

        def again() -> None:
            del self._failed[lane]
            self.resting.discard(lane)
            self.queue.reread(lane)
            self.freed(lane)

        self._failed[lane] = self.runtime.call_later(REST_MS, again)

    def _wake_ms(self, free_ms: float) -> int | None:
        """Return when to look again, by the wall clock; None: when there is a change."""
        now_ms = self.runtime.monotonic_ms()
        instants = [free_ms] if free_ms > now_ms else []
        # Soon: until they are read, claims in doubt fill their lanes.
        if self.gate.has_doubt and self._claims_at_ms == math.inf:
            self._claims_at_ms = now_ms + REST_MS
        instants.append(self._claims_at_ms)
        if self.rates is not None and (self.queue.lanes or self.queue.unread):  # also lanes that are only in the store
            instants += [self.rates.lanes.next_ms(), self.rates.look_ms(now_ms)]
        if self._rest_until_ms > now_ms:
            instants.append(self._rest_until_ms)
        later_ms = min((at for at in instants if at > now_ms), default=math.inf)
        return None if later_ms == math.inf else self.runtime.now_ms() + max(1, math.ceil(later_ms - now_ms))

    # ------------------------------------------------------------ reading
    async def _read_claims(self) -> None:
        """Read the claims of the store: at the start those that an engine left, then those whose end is not known.

        Nothing is fired before the first read: a claim that a process left takes a slot of its lane until its run was
        delivered again, and so no later instance overtakes it.
        """
        self._noticed, found, after = {}, dict[Address, str](), 0
        try:
            while True:
                page = await answer_of(self.cache.store.claimed(after, self.claims_page))
                if not isinstance(page, Success):
                    self.runtime.log(LogRecord("error", "claims not read", {"error": str(page.failure())}))
                    self._claims_at_ms = self.runtime.monotonic_ms() + REST_MS
                    return
                rows: tuple[Instance, ...] = page.unwrap()
                found.update((row.address, row.lane or "") for row in rows if takes_lane_slot(row))
                if len(rows) < self.claims_page:
                    break
                after = rows[-1].incarnation
            noticed = self._noticed
        finally:
            self._noticed = None
        # Changes during the read are newer than its pages.
        self._take_claims({address: lane for address, lane in found.items() if address not in noticed})

    def _take_claims(self, found: Mapping[Address, str]) -> None:
        first, self._claims_at_ms = self._claims_at_ms == -math.inf, math.inf
        for address in self.gate.doubted - found.keys():
            self.gate.drop_claim(address)
        # Only at the start: later, the claims of this engine are known from its commits, and a page may be older.
        for address, lane in found.items() if first else ():
            if (address.kind, address.name) == self.name:
                self.gate.hold_claim(address, lane, "doubted")

    def _wants_reading(self, free_ms: float) -> bool:
        now_ms = self.runtime.monotonic_ms()
        if self._is_held or free_ms > now_ms or self._rest_until_ms > now_ms:
            return False
        if self.queue.empty():
            return True
        has_room = self.queue.size < self.queue.room // 2
        if has_room and self.queue.low():
            return True
        return self.queue.unread and (has_room or self.gate.has_slot)

    async def _read(self) -> None:
        """Read the lanes that miss their turn first, then those that would soon, then the next ones."""
        self._noticed = {}
        try:
            names = self.queue.empty() or (self.queue.low() if self.queue.size < self.queue.room // 2 else ())
            failure = await self._read_lanes(names) if names else await self._read_page()
        finally:
            self._noticed = None
        if failure is not None:
            self._not_read("queued instances not read", failure)

    async def _read_page(self) -> Any:
        """Read the next lanes that are not in memory."""
        if self._cursor is None:
            self.queue.begin_pass()
            self._skipped, self._progress = "none", "none"
        found = await answer_of(self.lanes.names(self.name, self._cursor, self.page))
        if not isinstance(found, Success):
            return found.failure()
        page: tuple[str, ...] = found.unwrap()
        unknown = [lane for lane in page if not self.queue.knows(lane)]
        if self.rates is not None and self._meets_unread(self.rates, unknown):
            await self._read_rates(self.rates)
        wanted = [lane for lane in unknown if not self.queue.is_blocked(lane)]
        if self.named is not None:
            wanted = [lane for lane in wanted if not self.named.is_full(self.gate_name, lane)]
        if len(wanted) < len(unknown):
            self._skipped = "some"
        failure = await self._read_lanes(wanted) if wanted else None
        if failure is not None:
            return failure
        if len(page) == self.page:
            self._cursor = page[-1]
            return None
        self._cursor = None
        self.queue.end_pass(self._skipped)
        # All lanes that are left are blocked: another pass would only read them again.
        if self.queue.unread and self._progress == "none":
            self._rest_until_ms = self.runtime.monotonic_ms() + REST_MS
        return None

    def _meets_unread(self, rates: StoredRates, lanes: Sequence[str]) -> bool:
        now_ms = self.runtime.monotonic_ms()
        for lane in lanes:
            # Called for its effect: a lane that is not read yet is noted.
            rates.free_ms(lane, now_ms)
        return rates.is_unread

    async def _read_lanes(self, names: Sequence[str]) -> Any:
        """Read the first instances of lanes, a few lanes at a time."""
        for some in _groups(names, self._unclaimed, self.page, self.runtime.sizes.unclaimed):
            # Fired instances are returned until their claims are durable: they must not use up the share.
            share = self.queue.share(len(some)) + max(self._unclaimed.get(lane, 0) for lane in some)
            found = await self._read_queued(some, share * len(some))
            if not isinstance(found, Success):
                return found.failure()
            for lane in found.unwrap():
                self._take_in(lane)
            # After each group: its lanes need not wait for the others.
            self._fire()
        return None

    async def _read_queued(self, names: Sequence[str], limit: int) -> Result[tuple[QueuedLane, ...], Any]:
        """Read the first instances of lanes, and keep their rows for the turns that follow."""
        changed = self.cache.begin_read()
        rows: tuple[Instance, ...] = ()
        try:
            found = await answer_of(self.lanes.queued(self.name, names, limit))
            if isinstance(found, Success):
                rows = tuple(row for lane in found.unwrap() for row in lane.instances)
        finally:
            self.cache.end_read(changed, {self.name: self.job}, rows)
        return found

    async def oldest(self) -> Result[datetime | None, StoreError]:
        """Return when the longest waiting instance was created, among the first lanes' first ones."""
        names = await answer_of(self.lanes.names(self.name, None, self.runtime.sizes.lanes_compared))
        if not isinstance(names, Success):
            return Failure(names.failure())
        if not names.unwrap():
            return Success(None)
        found = await answer_of(self.lanes.queued(self.name, names.unwrap(), 1))
        if not isinstance(found, Success):
            return Failure(found.failure())
        created = [row.created_ms for lane in found.unwrap() for row in lane.instances]
        return Success(from_ms(min(created)) if created else None)

    def _take_in(self, lane: QueuedLane) -> None:
        """Take the instances of a lane into memory, except those that were fired; then repeat the changes since."""
        rows = [
            (row.rank_ms or 0, row.incarnation, row.address) for row in lane.instances if row.address not in self._fired
        ]
        self.queue.read(lane.lane, rows, lane.rest)
        for address, after in tuple((self._noticed or {}).items()):
            if after is None or after.rank_ms is None:
                self.queue.forget(address)
            elif after.lane == lane.lane and address not in self._fired:
                self.queue.notice(address, lane.lane, after.rank_ms, after.incarnation)


def lane_feeders(
    dispatcher: Dispatcher,
    jobs: Mapping[Job, AnyDefinition],
    cache: InstanceCache,
    holds: Holds,
    delay_ms: Callable[[Job, str], int] | None,
) -> dict[Job, LaneFeeder]:
    """Create the feeders of the jobs that have lanes.

    Args:
        dispatcher: fires the instances.
        jobs: the definitions.
        cache: keeps the instances, and has the store.
        holds: the held jobs.
        delay_ms: how much later a lane's instances come in this engine; None for one that owns its store.

    Raises:
        StoreUnavailable: the store has no lanes.
    """
    found: dict[Job, LaneFeeder] = {}
    store, runtime = cache.store, dispatcher.runtime
    for at, job in jobs.items():
        limits = job.lanes
        if limits is None:
            continue
        if store.lanes is None:
            raise StoreUnavailable("open the app", f"{store.name} has no lanes, which {job!r} needs")
        gate, resting = dispatcher.turns.runner.gates.lanes[":".join(at)], set[str]()
        rates, gates = _rates(store, runtime, at, limits), dispatcher.turns.runner.gates
        named = gates.named if job.plan.limits else None
        found[at] = LaneFeeder(
            runtime=runtime,
            dispatcher=dispatcher,
            job=job,
            gate=gate,
            holds=holds,
            cache=cache,
            lanes=store.lanes,
            wake=Waker(runtime),
            queue=FairQueue(
                dispatcher.limits.queued_items,
                partial(_is_blocked, gate, rates, resting, runtime),
                delay_ms=None if delay_ms is None else partial(delay_ms, at),
                now_ms=runtime.monotonic_ms,
                sizes=runtime.sizes,
            ),
            rates=rates,
            named=named,
            page=dispatcher.limits.lane_page,
            claims_page=dispatcher.limits.recovery_page,
            resting=resting,
        )
        # Set afterwards: the gate and the feeder need each other.
        gate.freed, gate.rated = found[at].freed, found[at]
        if named is not None:
            found[at].queue.admits = found[at].admits
    return found


def _groups(names: Sequence[str], unclaimed: Mapping[str, int], page: int, few: int) -> Iterator[Sequence[str]]:
    """Divide lanes into those that are read at once. Fired instances are read again until their claims are durable.

    A lane that has many of those is read apart, because all lanes of a group get the same share.
    """
    many = [lane for lane in names if unclaimed.get(lane, 0) > few]
    others = [lane for lane in names if unclaimed.get(lane, 0) <= few]
    yield from ([lane] for lane in many)
    yield from (others[start : start + page] for start in range(0, len(others), page))


def _rates(store: Store, runtime: Runtime, job: Job, limits: Lanes) -> StoredRates | None:
    if limits.rate is None and limits.lane_rate is None:
        return None
    rate = None if limits.rate is None else RateLimit(limits.rate)
    lanes = LaneRates(limits.lane_rate, most=runtime.sizes.remembered_runs, opened_ms=runtime.monotonic_ms())
    return StoredRates(store, runtime, job, rate, lanes)


def _is_blocked(gate: LaneLimit, rates: StoredRates | None, resting: set[str], runtime: Runtime, lane: str) -> bool:
    """Whether no run of a lane may begin now."""
    if gate.is_full(lane) or lane in resting:
        return True
    if rates is None:
        return False
    now_ms = runtime.monotonic_ms()
    return rates.lanes.free_ms(lane, now_ms) > now_ms

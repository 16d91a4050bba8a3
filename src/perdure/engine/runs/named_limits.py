"""Limits with a name: how many runs and calls are in progress, and when they began, over all engines on a store.

Runs that wait for permits stand in lines, which take turns. One loop serves them, and asks the store for more permits:
it reads and writes all entries that need it together.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal

import attrs
from returns.result import Result, Success

from perdure.engine.runs.permits import (
    LOOK_MS,
    NO_DEMAND,
    NOTHING_STORED,
    Admission,
    Entry,
    Held,
    Instants,
    Items,
    Line,
    News,
    PermitDemand,
    Permits,
    PermitsName,
    PermitsWanted,
    PlannedEntry,
    StoredPermits,
    Waiter,
    Wakes,
    demand_with,
    no_key,
    numbers_address,
    numbers_of,
    read_numbers,
)
from perdure.runtime.record import Future, LogRecord, Runtime
from perdure.stores.contract import NotCommitted, Store
from perdure.stores.values import LoadRequest
from perdure.values.address import Address
from perdure.values.errors import Conflict, DefinitionError
from perdure.values.instance import Fence
from perdure.values.limits import AnyUse, Limit
from perdure.values.listings import LimitNumbers
from perdure.values.transition import Loaded, NewKeys, Remembered, Transition
from perdure.values.turn_inputs import NO_OTHERS, OtherEngines

WAIT_MS: Final = 250
"""How often an engine that waits for permits of other engines looks."""

TERM_MS: Final = 20, 250
"""Within a tenth of the window after it was counted a run begins, or it is counted again: least and most.

It is longer on a slow store."""

KEPT_MS: Final = 60_000
"""How long an entry is kept behind its window. An engine with permits writes it again before."""

KEY: Final = "permits"
"""The idempotency key of an entry."""

MAX_CONFLICTS: Final = 20
"""How often an entry is written over those of other engines before the engine waits a moment."""

SOON_MS: Final = 500
"""How long permits are kept for a lane after its feeder was called."""


@attrs.define(eq=False, kw_only=True)
class NamedLimits:
    """The named limits of an engine.

    Attributes:
        store: remembers the permits of all engines.
        jobs: the limits that each job names, printed ``kind:name``.
        others: returns the other engines that may be alive.
        start: starts the loop, at the first run that needs permits.
        declared: the limits that are known, as the code declares them.
        limits: their numbers that are in effect.
    """

    store: Store
    runtime: Runtime
    wake: Wakes
    jobs: Mapping[str, tuple[AnyUse, ...]]
    others: Callable[[], OtherEngines] = lambda: NO_OTHERS
    lease_ms: int = 0
    start: Callable[[], object] = attrs.field(init=False)
    declared: dict[str, Limit] = attrs.Factory(dict[str, Limit])
    limits: dict[str, LimitNumbers] = attrs.Factory(dict[str, LimitNumbers])
    _numbers_seen: dict[str, tuple[float, int]] = attrs.Factory(dict[str, Any])  # when they were read, and expire
    _entries: dict[PermitsName, Entry] = attrs.Factory(dict[PermitsName, Entry])
    _lines: dict[object, Line] = attrs.Factory(dict[object, Line])
    _held: dict[Address, list[Held]] = attrs.Factory(dict[Address, list[Held]])
    _due: dict[PermitsName, None] = attrs.Factory(dict[PermitsName, None])
    _timers: list[tuple[float, str, str, PermitsName]] = attrs.Factory(list[Any])  # a heap
    _asked: dict[str, dict[str, None]] = attrs.Factory(dict[str, Any])
    _told: deque[tuple[float, Line]] = attrs.Factory(deque[Any])
    _turn: float = 0
    _term_ms: int = 0
    _phase: Literal["new", "open", "closing"] = "new"

    def __attrs_post_init__(self) -> None:
        for uses in self.jobs.values():
            for use in uses:
                self.know(use.limit)

    @property
    def _ownership(self) -> Literal["alone", "shared"]:
        return "alone" if self.store.sharing is None else "shared"

    @property
    def in_memory(self) -> int:
        """How many limits and keys are in memory: those in use."""
        return len(self._entries) + len(self._lines)

    def know(self, limit: Limit) -> None:
        """Take note of a limit.

        Raises:
            DefinitionError: another limit has its name.
        """
        known = self.declared.setdefault(limit.name, limit)
        if known != limit:
            raise DefinitionError(f"limit {limit.name}", limit, f"one definition of it: another one is {known!r}")
        if limit.name not in self.limits:
            self.limits[limit.name] = LimitNumbers.of(limit)

    def use(self) -> Mapping[PermitsName, tuple[int, int]]:
        """Return the permits in use in this engine, and how many runs, calls and items wait. Any thread may call it."""
        found = {name: (entry.permits.used, 0) for name, entry in tuple(self._entries.items())}
        for line in tuple(self._lines.values()):
            for name, _ in line.demand.needs:
                used, waiting = found.get(name, (0, 0))
                found[name] = used, waiting + line.wanted
        return found

    def note_numbers(self, name: str, stored: Remembered | None) -> None:
        """Have the numbers of a limit that the store has, from now on."""
        known_ms = self._numbers_seen[name][1] if name in self._numbers_seen else 0
        expires_ms = 0 if stored is None else stored.expires_ms
        self._numbers_seen[name] = self.runtime.monotonic_ms(), max(known_ms, expires_ms)
        if expires_ms < known_ms:
            return  # it was read before the last change
        declared = LimitNumbers.of(self.declared[name])
        changed = {} if stored is None else read_numbers(stored.answer)
        # Other code may have declared other numbers when they were changed.
        numbers = attrs.evolve(declared, **{each: changed[each] for each in declared.given if each in changed})
        if numbers == self.limits[name]:
            return
        self.limits[name] = numbers
        self.runtime.log(LogRecord("info", "limit changed", {"limit": name, **numbers.given}))
        for entry in [entry for entry in self._entries.values() if entry.name.limit == name]:
            entry.permits.change(*numbers_of(self.limits, entry.name))
            # Looked at again at once: with the new numbers there may be room.
            entry.again_ms = entry.looked_ms = -math.inf
            self._ask_soon(entry.name)

    def would_begin(self, name: PermitsName, cost: int, stored: StoredPermits) -> bool:
        """Whether a run that needs these permits would begin now, and not wait.

        Args:
            name: the limit and the key.
            cost: how many permits.
            stored: their entry.
        """
        entry, now_ms = self._entries.get(name), self.runtime.monotonic_ms()
        # Others stand in line: the run would come behind them.
        if entry is not None and entry.lines:
            return False
        if entry is None or entry.state == "unread":
            permits = Permits(self.store.epoch, self._ownership, *numbers_of(self.limits, name))
            permits.restore(stored)
        else:
            permits, stored = entry.permits, entry.known if self._ownership == "alone" else stored
        clock = Instants(now_ms, self.runtime.now_ms(), 0)
        return permits.would_have(cost, stored.living(permits.me, self.others()), clock)

    # ------------------------------------------------------------ runs
    def try_take(self, job: str, address: Address) -> bool:
        """Take permits for a run if no other one has to wait for them. Return whether they are taken."""
        demand = self.demand_of(job, address.id)
        if not self._is_free(demand):
            return False
        self._hold(address, Held(demand))
        return True

    async def enter(self, job: str, address: Address, subject: str) -> None:
        """Take permits for a run, waiting in line for them. A cancelled wait takes none."""
        held = Held(self.demand_of(job, subject))
        await self._wait(held, "with_engine")
        self._held.setdefault(address, []).append(held)

    def is_placed(self, address: Address) -> bool:
        """Whether a run has permits and has not begun."""
        return any(held.state == "placed" for held in self._held.get(address, ()))

    def may_begin(self, address: Address) -> bool:
        """Whether a run that has permits may begin, and need not be counted again first."""
        return self._may_begin(self._placed(address))

    def begin_placed(self, address: Address) -> Literal[True]:
        """Begin a run that has permits, and may begin."""
        self._begin(self._placed(address))
        return True

    async def begin(self, address: Address) -> bool:
        """Begin a run that has permits, or return them because other runs were counted first."""
        held = self._placed(address)
        try:
            if await self.count_again(held):
                self._begin(held)
                return True
        # A cancellation too: permits that stay taken would block the other runs.
        except BaseException:
            self.give_back(address)
            raise
        self.give_back(address)
        return False

    def give_back(self, address: Address) -> None:
        """Return the permits of a run that does not begin."""
        held = self._placed(address)
        self._forget(address, held)
        self.release(held)

    def leave(self, address: Address) -> None:
        """Return the permits of a run that has ended."""
        held = next(held for held in self._held[address] if held.state == "begun")
        self._forget(address, held)
        self.release(held)

    def _placed(self, address: Address) -> Held:
        return next(held for held in self._held[address] if held.state == "placed")

    def _forget(self, address: Address, held: Held) -> None:
        self._held[address].remove(held)
        if not self._held[address]:
            del self._held[address]

    def _hold(self, address: Address, held: Held) -> None:
        self._take(held)
        self._held.setdefault(address, []).append(held)

    # ------------------------------------------------------------ lanes of pools
    def is_full(self, job: str, lane: str) -> bool:
        """Whether it is known that no item of a lane gets permits now."""
        now_ms = self.runtime.monotonic_ms()
        for name, cost in self.demand_of(job, lane).needs:
            entry = self._entries.get(name)
            # An entry that is due again may have room by now.
            if entry is None or entry.again_ms <= now_ms:
                continue
            if not entry.permits.has_room(entry.permits.capped(cost), now_ms):
                return True
        return False

    def admits(self, job: str, lane: str, items: Items, tell: Callable[[News], None]) -> Admission:
        """Return whether an item of a lane may take permits. If not, they are asked for.

        Args:
            job: the pool, printed ``kind:name``.
            lane: the lane.
            items: how many items may begin, of all lanes and of this one.
            tell: called when some may, or when the lane must be read again.
        """
        demand = self.demand_of(job, lane)
        whole = PermitDemand(tuple(need for need in demand.needs if need[0].key is None))
        if whole.needs and not self._is_offered(whole, Line(whole, self._turn, job), items.all, tell):
            return "none"
        of_key = tuple(need for need in demand.needs if need[0].key is not None)
        keyed = PermitDemand(of_key, demand.keys, demand.weight)
        if not keyed.needs:
            return "admitted"
        asked = self._asked.setdefault(job, {})
        # Those without a line have their permits, and full ones get none now: neither needs a worker.
        for known in tuple(asked):
            if (job, known) not in self._lines or self.is_full(job, known):
                del asked[known]
        if lane not in asked and len(asked) >= items.all and not self._is_free(keyed):
            return "none"  # permits that no worker is free for would be counted for nothing
        if self._is_offered(keyed, Line(keyed, self._turn, job, lane), items.of_lane, tell):
            return "admitted"
        # Only a lane that may get permits counts as one that needs a worker.
        if not self.is_full(job, lane):
            asked[lane] = None
        return "others"

    def is_offered(self, job: str, lane: str) -> bool:
        """Whether items of a lane may take permits that it was called for."""
        line = self._lines.get((job, lane))
        return line is not None and line.allowed > 0

    def _is_offered(self, demand: PermitDemand, new: Line, items: int, tell: Callable[[News], None]) -> bool:
        """Return whether items may take permits, or let them wait."""
        now_ms = self.runtime.monotonic_ms()
        line = self._lines.get((new.job, new.lane))
        if line is not None and line.allowed > 0:
            # The loop has called it, but others may have taken the permits since.
            if all(self._has_room(name, cost, now_ms) for name, cost in demand.needs):
                return True
        elif line is None and self._is_free(demand):
            return True
        if line is None:
            line = self._lines[new.job, new.lane] = new
        line.items, line.tell, line.allowed = max(1, items), tell, 0
        self._join(line)
        return False

    def take_admitted(self, job: str, lane: str, address: Address) -> None:
        """Take permits for an item that is admitted."""
        for key in {(job, None), (job, lane)}:
            line = self._lines.get(key)
            if line is not None and line.allowed:
                line.allowed -= 1
                self._pass_turn(line)
                if not line.allowed and not line.wanted:
                    del self._lines[key]
        self._hold(address, Held(self.demand_of(job, lane)))

    # ------------------------------------------------------------ permits
    async def wait(self, held: Held) -> None:
        """Begin a call when there are permits for it. A cancelled wait takes none."""
        while True:
            await self._wait(held, "with_run")
            try:
                if await self.count_again(held):
                    self._begin(held)
                    return
            # A cancellation too, as in `begin`.
            except BaseException:
                self.release(held)
                raise
            # Other calls were counted meanwhile: it stands in line again.
            self.release(held)

    async def _wait(self, held: Held, ends: Literal["with_engine", "with_run"]) -> None:
        """Take permits, waiting in line for them. A cancelled wait takes none.

        Args:
            held: the permits.
            ends: ``with_engine``: an engine that stops ends the wait, without permits.
        """
        if self._is_free(held.demand):
            self._take(held)
            return
        # The engine is closing: the run continues without permits, and does not begin.
        if self._phase == "closing" and ends == "with_engine":
            held.demand = NO_DEMAND
            return
        line = self._lines.get(held.demand)
        if line is None:
            line = self._lines[held.demand] = Line(held.demand, self._turn)
        waiter = Waiter(held, self.runtime.future(), ends)
        line.waiting.append(waiter)
        self._join(line)
        try:
            await waiter.answer
        except BaseException:
            if waiter in line.waiting:
                line.waiting.remove(waiter)
                self._leave_if_empty(held.demand, line)
            else:
                self.release(held)  # it had them in the same moment
            raise

    async def count_again(self, held: Held) -> bool:
        """Return whether a run that has permits may begin: it is counted again if it has waited long for its slot."""
        if self._may_begin(held):
            return True
        for name, _ in held.demand.needs:
            entry = self._entries[name]
            if not entry.permits.may_begin(self.runtime.monotonic_ms()):
                entry.renewing.append(counted := self.runtime.future())
                self._ask_soon(name)
                await counted
        return self._may_begin(held)

    def release(self, held: Held) -> None:
        """Return the permits of a run that has ended, or does not begin."""
        for name, cost in held.taken:
            entry = self._entries[name]
            entry.give_back(cost, held.state)
            self._ask_soon(name)
        held.taken = ()

    def _begin(self, held: Held) -> None:
        held.state = "begun"
        for name, cost in held.taken:
            permits = self._entries[name].permits
            permits.begin(cost)
            if permits.wants_ahead:
                self._ask_soon(name)

    def _may_begin(self, held: Held) -> bool:
        now_ms = self.runtime.monotonic_ms()
        return all(self._entries[name].permits.may_begin(now_ms) for name, _ in held.demand.needs)

    def _take(self, held: Held) -> None:
        entries = [(self._entries[name], cost) for name, cost in held.demand.needs]
        # Kept as taken: a number that changes later must not change how many are returned.
        held.taken = tuple((entry.name, entry.permits.capped(cost)) for entry, cost in entries)
        for (entry, _), (_, cost) in zip(entries, held.taken, strict=True):
            entry.permits.take(cost)
            entry.peak = max(entry.peak, entry.permits.used)

    def _has_room(self, name: PermitsName, cost: int, now_ms: float) -> bool:
        entry = self._entry(name)
        return entry.state != "unread" and entry.permits.has_room(entry.permits.capped(cost), now_ms)

    def _is_free(self, demand: PermitDemand) -> bool:
        """Whether no run waits for these permits, and there are some."""
        now_ms, free = self.runtime.monotonic_ms(), True
        # No early return: `_has_room` requests each entry that is not in memory.
        for name, cost in demand.needs:
            if not self._has_room(name, cost, now_ms) or self._entries[name].lines:
                free = False
        return free

    # ------------------------------------------------------------ demands
    def demand_of(self, job: str, subject: str) -> PermitDemand:
        """Return the permits that a run of an instance needs, or an item of a lane."""
        uses = self.jobs[job]
        try:
            return self.demand(uses, (subject,), {})
        except Exception as error:  # noqa: BLE001 - of the job's key function; a run must not be lost by it
            fields = {"job": job, "subject": subject, "error": repr(error)}
            self.runtime.log(LogRecord("error", "key of a limit not computed, counted under the empty key", fields))
            return self.demand(tuple(attrs.evolve(use, key=no_key) for use in uses), (subject,), {})

    def demand(self, uses: Iterable[AnyUse], args: Sequence[Any], kwargs: Mapping[str, Any]) -> PermitDemand:
        """Return the permits that a run or call needs.

        Raises:
            DefinitionError: a key is no text of at most 200 characters, or a cost is no number that fits.
        """
        return demand_with(self.limits, uses, args, kwargs)

    # ------------------------------------------------------------ lines
    def _entry(self, name: PermitsName) -> Entry:
        entry = self._entries.get(name)
        if entry is None:
            permits = Permits(self.store.epoch, self._ownership, *numbers_of(self.limits, name))
            entry = self._entries[name] = Entry(name, permits)
            if self._ownership == "alone" and permits.rate is None and name.limit in self._numbers_seen:
                entry.state = "idle"  # nothing of it is stored
            self._ask_soon(name)
        return entry

    def _ask_soon(self, name: PermitsName) -> None:
        self._due[name] = None
        if self._phase == "new":
            self._phase = "open"
            self.start()
        self.wake.notify()

    def _join(self, line: Line) -> None:
        for name, _ in line.demand.needs:
            self._entry(name).lines[line] = None
            self._ask_soon(name)

    def _leave_if_empty(self, key: object, line: Line) -> None:
        if line.wanted:
            return
        for name, _ in line.demand.needs:
            self._entries[name].lines.pop(line, None)
            self._ask_soon(name)
        if not line.allowed:
            self._lines.pop(key, None)

    def _pass_turn(self, line: Line) -> None:
        # New lines begin at this turn: they do not come before those that have waited longer.
        self._turn = max(self._turn, line.turn)
        line.turn += line.step

    def close(self) -> None:
        """Let no further run begin: those that wait for permits continue without."""
        self._phase = "closing"
        for key, line in tuple(self._lines.items()):
            for waiter in [one for one in line.waiting if one.ends == "with_engine"]:
                line.waiting.remove(waiter)
                waiter.held.demand = NO_DEMAND
                # A cancelled wait has its answer already.
                if not waiter.answer.done():
                    waiter.answer.set_result(None)
            if line.job:
                line.items = line.allowed = 0
            self._leave_if_empty(key, line)

    # ------------------------------------------------------------ the loop
    async def run(self) -> None:
        """Serve those that wait, and ask the store for permits, until the task is cancelled."""
        while True:
            now_ms = self.runtime.monotonic_ms()
            while self._timers and self._timers[0][0] <= now_ms:
                self._due[heapq.heappop(self._timers)[-1]] = None
            self._forget_told(now_ms)
            # A forgotten entry may still have timers in the heap.
            due = [self._entries[name] for name in self._due if name in self._entries]
            # Before they are served: entries that become due meanwhile come in the next turn of the loop.
            self._due.clear()
            wanted = self._serve(due, now_ms)
            asked = {entry: wanted.get(entry, 0) for entry in (*wanted, *due) if self._asks(entry, wanted, now_ms)}
            if asked:
                await self._ask(asked)
            for entry in due:
                self._settle(entry)
            if not self._due:
                await self.wake.wait_until(self._next_ms())

    def _asks(self, entry: Entry, wanted: Mapping[Entry, int], now_ms: float) -> bool:
        if entry.rest_ms > now_ms:
            return False
        return wanted.get(entry, 0) > 0 or entry.must_ask(now_ms) or (entry.state == "unread" and bool(entry.lines))

    def _settle(self, entry: Entry) -> None:
        """Forget an entry that is not in use, or look at it again later."""
        # It is due again, or was forgotten and is read again: the next turn of the loop settles it.
        if entry.name in self._due or self._entries.get(entry.name) is not entry:
            return
        now_ms = self.runtime.monotonic_ms()
        if entry.is_over(now_ms):
            del self._entries[entry.name]
            return
        next_ms = entry.next_ms(now_ms)
        # A timer that comes earlier looks again anyway.
        if next_ms < entry.timer_ms or (entry.timer_ms <= now_ms and next_ms < math.inf):
            entry.timer_ms = next_ms
            heapq.heappush(self._timers, (next_ms, *entry.name.order, entry.name))

    def _next_ms(self) -> int | None:
        next_ms = min((line[0][0] for line in (self._timers, self._told) if line), default=math.inf)
        if next_ms == math.inf:
            return None
        return self.runtime.now_ms() + max(1, math.ceil(next_ms - self.runtime.monotonic_ms()))

    def _serve(self, due: Sequence[Entry], now_ms: float) -> dict[Entry, int]:
        """Give free permits to those that wait, in turn, and return how many more permits they want."""
        # Those that have no permits, and whose entry is not asked for now, can wait.
        ready = (entry for entry in due if entry.again_ms <= now_ms or entry.permits.has_room(1, now_ms))
        lines = {line: None for entry in ready for line in entry.lines}
        queue = [(line.turn, number, line) for number, line in enumerate(lines)]
        heapq.heapify(queue)
        left = dict[PermitsName, int]()  # permits that lanes may take in a moment
        number, told = len(queue), dict[Line, None]()
        while queue:
            _, _, line = heapq.heappop(queue)
            if not self._give(line, left, now_ms):
                continue
            if line.tell is not None:
                told[line] = None
            if line.wanted:
                number += 1
                heapq.heappush(queue, (line.turn + line.allowed * line.step, number, line))
        for line in told:
            # Only for a moment: permits that the feeder does not take must serve the others.
            self._told.append((now_ms + SOON_MS, line))
            if line.tell is not None:
                line.tell("permits")
        return self._wanted(lines, now_ms)

    def _forget_told(self, now_ms: float) -> None:
        """Offer the permits that the feeder of a lane was called for, and has not taken, to the other lines."""
        while self._told and self._told[0][0] <= now_ms:
            _, line = self._told.popleft()
            # Its permits were taken, and another line may stand in its place: without it, that one's permits would be
            # counted for nothing from then on.
            if self._lines.get((line.job, line.lane)) is not line:
                continue
            line.allowed = 0
            if not line.wanted:
                del self._lines[line.job, line.lane]
            for name, _ in line.demand.needs:
                self._due[name] = None
            # Its items began elsewhere, or there was no worker: other lanes may ask for permits now.
            if line.tell is not None:
                line.tell("permits")

    def _give(self, line: Line, left: dict[PermitsName, int], now_ms: float) -> bool:
        """Give permits to the first of a line; return whether there were enough."""
        for name, cost in line.demand.needs:
            entry = self._entry(name)
            needed = entry.permits.capped(cost) + left.get(name, 0)
            if entry.state == "unread" or not entry.permits.has_room(needed, now_ms):
                return False
        if line.job:
            line.items -= 1
            line.allowed += 1
            for name, cost in line.demand.needs:
                left[name] = left.get(name, 0) + self._entries[name].permits.capped(cost)
            if not line.items:
                for name, _ in line.demand.needs:
                    self._entries[name].lines.pop(line, None)
            return True
        waiter = line.waiting.popleft()
        self._take(waiter.held)
        self._pass_turn(line)
        if waiter.answer.done():  # it gives up in this step
            self.release(waiter.held)
        else:
            waiter.answer.set_result(None)
        self._leave_if_empty(line.demand, line)
        return True

    def _wanted(self, lines: Iterable[Line], now_ms: float) -> dict[Entry, int]:
        """Return how many more permits of each entry would let runs begin."""
        wanted, of_jobs = dict[Entry, int](), dict[tuple[Entry, str], int]()
        for line in lines:
            runs = float(line.wanted)
            for name, asked in line.demand.needs:
                entry = self._entries[name]
                cost = entry.permits.capped(asked)
                if entry.state != "unread" and entry.permits.has_room(cost, now_ms):
                    room = entry.permits.room if entry.permits.rate is None else entry.permits.granted
                    runs = min(runs, room // cost)
                    continue
                if entry.again_ms <= now_ms and runs and self._is_open(line, now_ms):
                    permits = int(runs) * cost
                    if line.job:  # the lanes of a pool share its workers
                        known = of_jobs.get((entry, line.job), 0)
                        permits = max(0, min(permits, line.items * cost - known))
                        of_jobs[entry, line.job] = known + permits
                    wanted[entry] = wanted.get(entry, 0) + permits
                # Only the first need that is missing: permits of the next ones would be counted for nothing meanwhile.
                break
        return {entry: permits for entry, permits in wanted.items() if permits}

    def _is_open(self, line: Line, now_ms: float) -> bool:
        """Whether no permits of a line are known to be used up: others would wait for them without use."""
        entries = [(self._entries[name], cost) for name, cost in line.demand.needs]
        return all(
            entry.again_ms <= now_ms or entry.permits.has_room(entry.permits.capped(cost), now_ms)
            for entry, cost in entries
        )

    # ------------------------------------------------------------ the store
    async def _ask(self, asked: Mapping[Entry, int]) -> None:
        """Read entries, decide on the permits of this engine, and write those that change."""
        most = self.runtime.sizes.limit_entries
        entries = list(asked)
        for start in range(0, len(entries), most):
            some = entries[start : start + most]
            if not await self._read(some):
                self._rest(some)
                continue
            writes: list[PlannedEntry] = []
            # Before the write: the permits count from here on, however long the answer takes.
            sent_ms, wall_ms = self.runtime.monotonic_ms(), self.runtime.now_ms()
            for entry in some:
                write = self._planned(entry, asked[entry], Instants(sent_ms, wall_ms, self._term_of(entry)))
                if write is not None:
                    writes.append(write)
            if writes:
                await self._write(writes, sent_ms, wall_ms)

    async def _read(self, entries: Sequence[Entry]) -> bool:
        """Read entries, unless they are known; return False after an error of the store.

        The numbers of their limits are read with them, again after half a second if other engines may change them.
        """
        now_ms, monotonic_ms = self.runtime.now_ms(), self.runtime.monotonic_ms()
        read = [entry for entry in entries if self._must_read(entry)]
        limits = [name for name in {entry.name.limit: None for entry in entries} if self._may_have_changed(name)]
        for entry in entries:
            entry.looked_ms = monotonic_ms
        loads = tuple(LoadRequest(entry.name.address, KEY, now_ms) for entry in read)
        loads += tuple(LoadRequest(numbers_address(name), KEY, now_ms) for name in limits)
        if not loads:
            return True
        load = partial(self.store.load, loads)
        answers: Sequence[Result[Loaded, Any]] = await answers_of(self.runtime, load)
        for answer in answers:
            if not isinstance(answer, Success):
                self.runtime.log(LogRecord("error", "permits not read", {"error": str(answer.failure())}))
                return False
        stored = [answer.unwrap().remembered for answer in answers]
        for name, numbers in zip(limits, stored[len(read) :], strict=True):
            self.note_numbers(name, numbers)
        for entry, remembered in zip(read, stored[: len(read)], strict=True):
            entry.looked_ms = self.runtime.monotonic_ms()
            entry.known = NOTHING_STORED if remembered is None else StoredPermits.read(remembered.answer)
            entry.seen_ms = max(entry.seen_ms, 0 if remembered is None else remembered.expires_ms)
        return True

    def _must_read(self, entry: Entry) -> bool:
        """Whether an entry is read before it is written: an engine that is alone knows its own.

        A key's entry is rarely another engine's too. At first, and when its permits are returned, it is written without
        a read over the one that is known, or over none. The store refuses that if there is another one.
        """
        if self._ownership == "alone":
            return entry.state == "unread"
        is_first_or_last = entry.state == "unread" or entry.is_left
        return entry.name.key is None or entry.contested_ms > self.runtime.monotonic_ms() or not is_first_or_last

    def _may_have_changed(self, limit: str) -> bool:
        if limit not in self._numbers_seen:
            return True
        return self._ownership == "shared" and self._numbers_seen[limit][0] + LOOK_MS / 2 <= self.runtime.monotonic_ms()

    def _rest(self, entries: Iterable[Entry]) -> None:
        """Ask later, because the store does not answer."""
        for entry in entries:
            entry.rest_ms = self.runtime.monotonic_ms() + LOOK_MS
            # Also without an answer: those that wait see that they may not begin, and return their permits.
            self._counted(entry)

    def _planned(self, entry: Entry, wanted: int, clock: Instants) -> PlannedEntry | None:
        """Decide on the permits of this engine; return None if nothing must be written."""
        permits, stored = entry.permits, entry.known
        permits.concurrency, permits.rate = numbers_of(self.limits, entry.name)
        if entry.state == "unread":
            permits.restore(stored)
        # The most since the last write: by the present number, permits would be returned that are needed again soon.
        # Not those of a key without a run: its next one may be on another engine.
        peak, entry.peak = 0 if entry.is_left else entry.peak, permits.used
        planned = permits.plan(
            stored.living(permits.me, self.others()),
            PermitsWanted(wanted, entry.costliest, peak),
            clock,
            self.runtime.sizes.rate_parts,
        )
        lately, lowered = permits.lately, permits.lower(planned)
        write = PlannedEntry(entry, planned, lowered, lately, wanted)
        mine = planned.stored.of(permits.me)
        # Written again long before its end: without the entry, other engines would count none of its permits.
        is_fresh = entry.seen_ms > clock.wall_ms + self._kept_ms // 2 or not mine.held
        if mine == stored.of(permits.me) and not planned.granted and not permits.placed and is_fresh:
            self._accepted(write, clock.now_ms, clock.wall_ms)
            return None
        return write

    def _term_of(self, entry: Entry) -> int:
        rate = entry.permits.rate
        least, most = TERM_MS
        return 0 if rate is None else max(least, min(most, rate.window_ms // 10), self._term_ms)

    @property
    def _kept_ms(self) -> int:
        return max(KEPT_MS, 2 * self.lease_ms)

    async def _write(self, writes: Sequence[PlannedEntry], sent_ms: float, wall_ms: int) -> None:
        """Write entries over those that were read. Their runs may begin then."""
        changes = tuple(self._transition(write, wall_ms) for write in writes)
        answers: Sequence[Result[Fence, NotCommitted]] = await answers_of(
            self.runtime, lambda tell: self.store.commit(changes, tell)
        )
        took_ms = self.runtime.monotonic_ms() - sent_ms
        # It falls slowly: one fast answer does not make a slow store fast.
        self._term_ms = int(max(self._term_ms // 2, 4 * took_ms))
        for write, change, answer in zip(writes, changes, answers, strict=True):
            entry = write.entry
            if isinstance(answer, Success):
                entry.conflicts, entry.seen_ms = 0, change.remember[0].expires_ms
                entry.known = write.planned.stored
                self._accepted(write, sent_ms, wall_ms)
            elif isinstance(answer.failure(), Conflict):
                entry.conflicts += 1
                entry.permits.lately += write.lately  # nothing is planned yet
                self._contested(entry)
                if entry.conflicts >= MAX_CONFLICTS:
                    # At random: engines that have met now should not meet again.
                    entry.again_ms = self.runtime.monotonic_ms() + WAIT_MS * (0.5 + self.runtime.random())
                    entry.conflicts = 0
                self._ask_soon(entry.name)
            else:
                self.runtime.log(LogRecord("error", "permits not stored", {"error": str(answer.failure())}))
                self._rest([entry])

    def _contested(self, entry: Entry) -> None:
        """Read an entry before it is written again, and first the lanes that wait for its permits."""
        entry.looked_ms = -math.inf  # at once, also if permits are only returned
        if entry.name.key is None:
            return
        entry.contested_ms = self.runtime.monotonic_ms() + LOOK_MS
        if entry.state != "unread":
            return
        for line in [line for line in entry.lines if line.lane is not None]:
            # The other engine may have begun the lane's items, and permits for them would be of no use.
            line.items = line.allowed = 0
            self._leave_if_empty((line.job, line.lane), line)
            if line.tell is not None:
                line.tell("other engine")

    def _transition(self, write: PlannedEntry, wall_ms: int) -> Transition:
        entry = write.entry
        window_ms = 0 if entry.permits.rate is None else entry.permits.rate.window_ms
        # Later than that of the entry below it: by its end, the store knows which one was read.
        expires_ms = max(wall_ms + window_ms + self._kept_ms, entry.seen_ms + 1)
        text = write.planned.stored.write()
        remembered = Remembered(key=KEY, action=KEY, fingerprint="", answer=text, expires_ms=expires_ms)
        unread = NewKeys((KEY,), max(wall_ms, entry.seen_ms)) if self._ownership == "shared" else None
        return Transition(address=entry.name.address, remember=(remembered,), new_keys=unread)

    def _accepted(self, write: PlannedEntry, sent_ms: float, wall_ms: int) -> None:
        entry, planned, now_ms = write.entry, write.planned, self.runtime.monotonic_ms()
        permits = entry.permits
        permits.apply(planned, write.lowered, sent_ms, wall_ms)
        mine = planned.stored.of(permits.me)
        entry.state = "in_use" if mine.held or mine.wants else "idle"
        entry.again_ms = -math.inf
        if mine.wants or write.wanted > min(permits.room, permits.granted if permits.rate is not None else math.inf):
            free_ms = now_ms + planned.free_ms - wall_ms
            if self._ownership == "shared":
                # Other engines may return permits before that, and nothing tells this one.
                free_ms = min(free_ms, now_ms + WAIT_MS * (0.5 + self.runtime.random()))
            entry.again_ms, entry.lacks = free_ms, "permits to run" if planned.free_ms == math.inf else "begins"
            for line in tuple(entry.lines):
                if line.job and line.lane is not None and line.tell is not None:
                    line.tell("permits")  # its pool may look at other lanes
        self._counted(entry)
        self._ask_soon(entry.name)

    def _counted(self, entry: Entry) -> None:
        renewing, entry.renewing = entry.renewing, []
        for waiting in renewing:
            if not waiting.done():
                waiting.set_result(None)


def answers_of(runtime: Runtime, send: Callable[[Callable[[Any], None]], None]) -> Future[Any]:
    """Send a batch to the store, and return its answers."""
    answers = runtime.future()

    def tell(found: Any) -> None:
        if not answers.done():
            answers.set_result(found)

    send(tell)
    return answers

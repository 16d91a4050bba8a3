"""Permits of a limit with a name: how many an engine may have, beside the others on its store. Pure.

An engine takes permits of a limit, or of one of its keys, and begins runs with them without calling the store. All
permits of a limit are an entry of the store, which each engine writes over the version that it has read (decision 69).
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias

import attrs

from perdure.runtime.record import Future
from perdure.values.address import Address, is_text
from perdure.values.errors import DefinitionError
from perdure.values.limits import AnyUse, Rate
from perdure.values.listings import LimitNumbers
from perdure.values.turn_inputs import OtherEngines

MAX_KEY_CHARACTERS: Final = 200
"""A limit's longest key."""

BUSY: Final = 8
"""Runs since the last plan from which on an engine asks for permits of a rate before it has used all."""

LOOK_MS: Final = 1_000
"""How often an engine with permits looks whether other engines want them, and how long it uses them while they do."""


class PermitsName(NamedTuple):
    """A limit, and one of its keys; None: the limit as a whole."""

    limit: str
    key: str | None

    @property
    def address(self) -> Address:
        """Where its entry is."""
        return Address("limit", *self.order)

    @property
    def order(self) -> tuple[str, str]:
        """The limit, and text that differs for each key: two names are never compared, because a key may be None."""
        return self.limit, "all" if self.key is None else f"key:{self.key}"


@attrs.frozen
class Wish:
    """Permits that an engine waits for.

    Attributes:
        since_ms: since when, by the wall clock: engines that wait longer come first.
        cost: what its costliest run needs: fewer permits are of no use to it.
    """

    permits: int
    since_ms: int
    cost: int = 1


@attrs.frozen(kw_only=True)
class StoredPermits:
    """What all engines have stored about one limit, or one key.

    Attributes:
        held: each engine's permits, by epoch.
        wants: the permits that engines wait for.
        begun: when runs of the last window began: an instant, how many, and the engine.
    """

    held: Mapping[int, int] = attrs.Factory(dict[int, int])
    wants: Mapping[int, Wish] = attrs.Factory(dict[int, Wish])
    begun: Sequence[tuple[int, int, int]] = ()

    def write(self) -> str:
        """Return its JSON."""
        wants = {epoch: [wish.permits, wish.since_ms, wish.cost] for epoch, wish in self.wants.items()}
        return json.dumps({"held": self.held, "wants": wants, "begun": self.begun}, separators=(",", ":"))

    @classmethod
    def read(cls, text: str) -> StoredPermits:
        """Return what `write` has written."""
        found = json.loads(text)
        return cls(
            held={int(epoch): number for epoch, number in found["held"].items()},
            wants={int(epoch): Wish(*wish) for epoch, wish in found["wants"].items()},
            begun=tuple((at, number, by) for at, number, by in found["begun"]),
        )

    def of(self, me: int) -> StoredPermits:
        """Return one engine's part."""
        return StoredPermits(
            held={epoch: number for epoch, number in self.held.items() if epoch == me},
            wants={epoch: wish for epoch, wish in self.wants.items() if epoch == me},
            begun=tuple(part for part in self.begun if part[2] == me),
        )

    def living(self, me: int, others: OtherEngines) -> StoredPermits:
        """Return what engines other than this one hold and want that may be alive, and all that has begun."""
        return StoredPermits(
            # A dead engine's block is free: its permits died with its epoch. Its runs that began still count for the
            # rate.
            held={epoch: number for epoch, number in self.held.items() if epoch != me and epoch in others},
            wants={epoch: wish for epoch, wish in self.wants.items() if epoch != me and epoch in others},
            begun=tuple(part for part in self.begun if part[2] != me),
        )


NOTHING_STORED: Final = StoredPermits()


@attrs.frozen(kw_only=True)
class Planned:
    """The permits that an engine has once its entry is stored.

    Attributes:
        block: permits to run at the same time.
        granted: permits to begin.
        is_kept: whether the runs that have a place in the rate keep it.
        free_ms: when more may be had, by the wall clock; infinite: when another engine has returned some.
        counted_ms: the instant at which the store counts the runs that begin with these permits.
        most: at most this many permits may be used, because other engines want some.
        takes_turns: whether there are too few for each engine to have one.
    """

    stored: StoredPermits
    block: int
    granted: int
    is_kept: bool
    free_ms: float
    counted_ms: int
    most: float
    takes_turns: bool


class PermitsWanted(NamedTuple):
    """The permits that an engine wants: for all runs, for the costliest, and those that it keeps if it is alone."""

    permits: int
    cost: int = 1
    kept: int = 0


class Instants(NamedTuple):
    """A plan's time: by the monotonic clock, by the store's clock, and how long runs may begin afterwards."""

    now_ms: float
    wall_ms: int
    term_ms: int


@attrs.define(eq=False)
class Permits:
    """The permits that this engine has of one limit, or of one key of it. It knows no store and no clock.

    Attributes:
        me: this engine's epoch.
        ownership: whether no other engine takes permits: then all are this engine's.
        concurrency: how many runs at the same time, over all engines.
        rate: how many may begin in a window.
        block: how many runs at the same time the other engines leave to this one.
        most: at most this many of them may be used, because other engines want some.
        used: the cost that runs in progress have.
        placed: the cost of the runs that have a place in the rate, and have not begun.
        granted: permits to begin that no run has.
        valid_until_ms: until when runs may begin with permits of the rate, by the monotonic clock.
        use_until_ms: until when further runs may begin, because other engines wait for a turn.
        counted_ms: the instant at which the store counts them.
        since_ms: since when this engine waits for permits; None: it does not.
        lately: the permits that runs have begun with since the last plan: the next ones will want as many.
        begun: when runs of the window began, and how many.
    """

    me: int
    ownership: Literal["alone", "shared"]
    concurrency: int | None
    rate: Rate | None
    block: int = 0
    most: float = math.inf
    used: int = 0
    placed: int = 0
    granted: int = 0
    valid_until_ms: float = -math.inf
    use_until_ms: float = math.inf
    counted_ms: int = 0
    since_ms: int | None = None
    lately: int = 0
    begun: list[tuple[int, int]] = attrs.Factory(list[tuple[int, int]])

    @property
    def room(self) -> float:
        """How many more permits its runs may have at the same time."""
        if self.concurrency is None:
            return math.inf
        # All three: the number may be smaller now, the store may have granted fewer, and engines may take turns.
        block = self.concurrency if self.ownership == "alone" else min(self.concurrency, self.block, self.most)
        return block - self.used

    def capped(self, cost: int) -> int:
        """Return the permits that a run takes: all of a number that was made smaller than its cost."""
        most = cost if self.concurrency is None else min(cost, self.concurrency)
        return most if self.rate is None else min(most, self.rate.runs)

    def has_room(self, cost: int, now_ms: float) -> bool:
        """Whether a run may begin now."""
        if cost > self.room or self.use_until_ms <= now_ms:
            return False
        return self.rate is None or (cost <= self.granted and now_ms < self.valid_until_ms)

    def take(self, cost: int) -> None:
        """Take permits for a run that begins as soon as it can."""
        self.used += cost
        if self.rate is not None:
            self.granted -= cost
            self.placed += cost

    def give_back(self, cost: int) -> None:
        """Return the permits that a run took which does not begin."""
        self.used -= cost
        if self.rate is not None:
            self.placed -= cost
            self.granted += cost

    def may_begin(self, now_ms: float) -> bool:
        """Whether a run that has permits may begin now, or must be counted again first."""
        return self.rate is None or now_ms < self.valid_until_ms

    def begin(self, cost: int) -> None:
        """Note that a run which has permits begins."""
        if self.rate is not None:
            self.placed -= cost
            self.lately += cost
            # At the instant of the entry, and not now: the store counts it there, and both windows must end together.
            self.begun.append((self.counted_ms, cost))

    def end(self, cost: int) -> None:
        """Return the permits that a run took which has ended."""
        self.used -= cost

    def change(self, concurrency: int | None, rate: Rate | None) -> None:
        """Have other numbers from now on. No further run begins before the store has a new entry."""
        self.concurrency, self.rate = concurrency, rate
        # Less than the entry says: another engine may begin runs with the rest as soon as the store has it.
        self.block, self.valid_until_ms = min(self.block, self.used), -math.inf

    # ------------------------------------------------------------ over engines
    @property
    def wants_ahead(self) -> bool:
        """Whether a busy engine has used half of its permits of a rate: its runs should not wait for the next ones."""
        is_busy = self.ownership == "shared" and self.rate is not None and self.lately >= BUSY
        return is_busy and self.granted <= self.lately

    def restore(self, stored: StoredPermits) -> None:
        """Take over the runs that this engine began before it forgot these permits."""
        self.begun = [(at, number) for at, number, by in stored.begun if by == self.me]

    def plan(self, others: StoredPermits, wanted: PermitsWanted, clock: Instants, parts: int) -> Planned:
        """Decide how many permits this engine may have. Pure.

        Args:
            others: other engines' parts: permits of those that may be alive, and all runs that began.
            wanted: the permits that this engine wants.
            clock: the time.
            parts: at most this many parts of a window are stored.
        """
        wall_ms = clock.wall_ms
        if self.use_until_ms <= clock.now_ms:
            self.since_ms = wall_ms  # its turn is over: it comes after all engines that wait
        older = self._older(others, wanted.permits, wall_ms)
        engines = len(others.held.keys() | others.wants.keys()) + 1
        block, most, takes_turns = self._block(others, wanted, older, engines)
        granted, is_kept, free_ms = self._granted(
            others, min(wanted.permits, block - self.used), wanted.cost, older, clock
        )
        counted_ms = wall_ms + clock.term_ms
        window_ms = 0 if self.rate is None else self.rate.window_ms
        # A run that began exactly one window ago counts no more.
        own = sorted((at, number) for at, number in self.begun if at + window_ms > wall_ms)
        if self.rate is not None and self.placed + granted:
            # Counted as of the latest moment at which they may begin: with an
            # earlier one the window would end too soon.
            own.append((counted_ms, self.placed + granted))
        begun = [(at, number, self.me) for at, number in packed(own, window_ms, parts)]
        missing = wanted.permits - int(min(block - self.used, granted if self.rate is not None else wanted.permits))
        held = {self.me: int(block)} if self.ownership == "shared" and self.concurrency is not None and block else {}
        since_ms = wall_ms if self.since_ms is None else self.since_ms
        wants = {self.me: Wish(missing, since_ms, wanted.cost)} if self.ownership == "shared" and missing > 0 else {}
        return Planned(
            stored=StoredPermits(
                held={**others.held, **held},
                wants={**others.wants, **wants},
                begun=(*begun, *(part for part in others.begun if part[0] + window_ms > wall_ms)),
            ),
            block=self.used if self.concurrency is None else int(block),
            granted=granted,
            is_kept=is_kept,
            free_ms=free_ms,
            counted_ms=counted_ms,
            most=most,
            takes_turns=takes_turns,
        )

    def would_have(self, cost: int, others: StoredPermits, clock: Instants) -> bool:
        """Whether a run would have permits, if this engine asked the store for them."""
        cost = self.capped(cost)
        if self.has_room(cost, clock.now_ms):
            return True
        # On a copy: a plan changes `since_ms`, and this one is not carried out.
        planned = attrs.evolve(self).plan(others, PermitsWanted(cost, cost), clock, len(self.begun) + 1)
        has_block = self.concurrency is None or planned.block - self.used >= cost
        return has_block and (self.rate is None or planned.granted >= cost)

    def _older(self, others: StoredPermits, wanted: int, wall_ms: int) -> Mapping[int, Wish]:
        """Return the wishes of the engines that have waited longer than this one."""
        # The epoch decides between equal instants: two engines must not both be the older one.
        mine = (wall_ms if self.since_ms is None else self.since_ms, self.me)
        wishes = others.wants.items() if wanted else ()
        return {epoch: wish for epoch, wish in wishes if (wish.since_ms, epoch) < mine}

    def _block(
        self, others: StoredPermits, wanted: PermitsWanted, older: Mapping[int, Wish], engines: int
    ) -> tuple[float, float, bool]:
        """Return how many permits to run this engine may have, and use, and whether engines take turns."""
        if self.concurrency is None:
            return math.inf, math.inf, False
        if self.ownership == "alone":
            return self.concurrency, math.inf, False
        # Other engines may hold more than a number that was made smaller.
        free = max(0, self.concurrency - sum(others.held.values()))
        if not others.wants:
            # Never below the permits in use: their runs continue.
            return max(self.used, min(max(self.used + wanted.permits, wanted.kept), free)), math.inf, False
        equal = self.concurrency // engines
        left = (
            min(wish.permits, max(0, max(equal, wish.cost) - others.held.get(epoch, 0)))
            for epoch, wish in older.items()
        )
        # At least the cost of one run: with less, none could ever begin.
        share = max(equal, wanted.cost)
        block = min(self.used + wanted.permits, free - sum(left), share)
        costliest = max(wanted.cost, *(wish.cost for wish in others.wants.values()))
        return max(self.used, block), share, equal < costliest

    def _granted(
        self, others: StoredPermits, wanted: float, cost: int, older: Mapping[int, Wish], clock: Instants
    ) -> tuple[int, bool, float]:
        """Return how many further runs may begin, whether the placed ones may, and when more may."""
        rate, wall_ms = self.rate, clock.wall_ms
        if rate is None:
            return 0, True, math.inf
        window_ms = rate.window_ms
        begun = sorted(
            [(at, number) for at, number, _ in others.begun if at + window_ms > wall_ms]
            + [(at, number) for at, number in self.begun if at + window_ms > wall_ms]
        )
        # A run that has its place counts, though it has not begun: it may begin at any moment.
        free = rate.runs - sum(number for _, number in begun) - self.placed
        equal = rate.runs // (len(others.wants) + 1)
        kept_for_older = sum(min(wish.permits, max(equal, wish.cost)) for wish in older.values())
        share: float = max(equal, cost)
        if wanted or self.wants_ahead:
            # As many as have begun: fewer requests. Twice as many where engines meet at the entry: an engine that is
            # alone would only write once more to return them. Never permits that other engines may want soon.
            wishes, engines = sum(wish.permits for wish in others.wants.values()), len(others.wants) + 1
            more, spare = self.lately, (free - wishes) // (2 * engines)
            if self.ownership == "shared":
                more = 2 * self.lately
            kept = self.granted if self.wants_ahead else 0
            wanted = max(wanted, kept, min(more, spare))
        granted = int(max(0, min(wanted, free - kept_for_older, share)))
        free_ms, enough = math.inf, free
        for at, number in (*begun, (clock.wall_ms + clock.term_ms, self.placed + granted)):
            if enough - granted >= 1:
                break
            free_ms, enough = at + window_ms, enough + number
        return granted, free >= 0, max(free_ms, wall_ms) if free_ms < math.inf else math.inf

    def lower(self, planned: Planned) -> int:
        """Use no more permits than planned, from before the store has the entry, and return how many may begin.

        Only the engine itself makes its own part smaller: another engine may take permits that the entry says are free.
        """
        self.block, self.granted, self.lately = min(self.block, planned.block), min(self.granted, planned.granted), 0
        return self.granted

    def apply(self, planned: Planned, lowered: int, sent_ms: float, wall_ms: int) -> None:
        """Have the permits that the store has accepted.

        Args:
            planned: the permits.
            lowered: what `lower` returned: runs may have taken some of them since.
            sent_ms: when the entry was sent, by the monotonic clock.
            wall_ms: the same by the store's clock.
        """
        before, got = self.block, planned.block > self.block or planned.granted > lowered
        self.block, self.granted = planned.block, planned.granted - lowered + self.granted
        if planned.is_kept:
            # From the moment at which the request was sent: the answer may have taken long.
            self.valid_until_ms = sent_ms + planned.counted_ms - wall_ms
            self.counted_ms = planned.counted_ms
        self.most = planned.most
        if not planned.takes_turns or not planned.block:
            self.use_until_ms = math.inf
        elif not before or self.use_until_ms == math.inf:
            self.use_until_ms = sent_ms + LOOK_MS
        waits = planned.stored.wants.get(self.me)
        self.since_ms = None if waits is None else (wall_ms if got else waits.since_ms)
        if self.rate is not None:
            self.begun = [(at, n) for at, n in self.begun if at + self.rate.window_ms > wall_ms]


def packed(begun: Iterable[tuple[int, int]], window_ms: int, most: int) -> list[tuple[int, int]]:
    """Return begun runs, in order, in a few parts: an instant and a number. None is earlier than it was."""
    numbers = dict[int, int]()
    for at, number in begun:
        numbers[at] = numbers.get(at, 0) + number
    if len(numbers) <= most:
        return list(numbers.items())
    parts: list[tuple[int, int]] = []
    first = -math.inf
    for at, number in numbers.items():
        if parts and at - first < window_ms / most:
            # The later instant: a run must not count as earlier than it began.
            parts[-1] = (at, parts[-1][1] + number)
        else:
            parts.append((at, number))
            first = at
    return parts


# ---------------------------------------------------------------- those that take permits, and wait for them
News: TypeAlias = Literal["permits", "other engine"]
"""Permits are free for items of a lane, or another engine may have begun them."""


@attrs.frozen
class PermitDemand:
    """The permits that one run or call needs.

    Attributes:
        needs: of each limit and key how many, in the order in which they are taken.
        keys: the keys: those that wait take turns by them.
        weight: how many turns it gets for one of another key.
    """

    needs: tuple[tuple[PermitsName, int], ...]
    keys: tuple[str, ...] = ()
    weight: int = 1


NO_DEMAND: Final = PermitDemand(())


@attrs.define(eq=False)
class Held:
    """A run's or call's permits, until it ends.

    Attributes:
        state: whether the run has begun.
        taken: those that it has: a cost is at most the number that was in effect then.
    """

    demand: PermitDemand
    state: Literal["placed", "begun"] = "placed"
    taken: tuple[tuple[PermitsName, int], ...] = ()


class Waiter(NamedTuple):
    """A run or call that waits for permits, and whether an engine that stops ends the wait."""

    held: Held
    answer: Future[None]
    ends: Literal["with_engine", "with_run"]


@attrs.define(eq=False)
class Line:
    """Runs and calls that wait for the same permits; or a lane of a pool, whose items wait in the pool.

    Attributes:
        turn: its turn among the lines.
        job: the pool; empty for runs.
        lane: its lane; None: all lanes of the pool.
        items: how many items of the lane may wait.
        tell: called when permits are free for some of them, or when the lane must be read again.
        allowed: how many items may take permits that were free when it was called.
    """

    demand: PermitDemand
    turn: float
    job: str = ""
    lane: str | None = None
    items: int = 0
    tell: Callable[[News], None] | None = None
    allowed: int = 0
    waiting: deque[Waiter] = attrs.Factory(deque[Waiter])

    @property
    def step(self) -> float:
        """How far a run moves the line back."""
        return max((cost for _, cost in self.demand.needs), default=1) / self.demand.weight

    @property
    def wanted(self) -> int:
        """How many runs wait."""
        return self.items or len(self.waiting)


@attrs.define(eq=False)
class Entry:
    """Permits, and their entry as it is known.

    Attributes:
        name: the limit and the key.
        lines: those that wait for them.
        known: the stored permits, as they were read or written last.
        seen_ms: when the entry expires that was read or written last.
        again_ms: until when asking for more permits is of no use.
        looked_ms: when the entry was read.
        peak: the most permits that were in use at the same time since then.
        state: ``unread``; ``idle``: the store has nothing that must be taken back; ``in_use``.
        renewing: called when the runs that have a place were counted again, or not.
        conflicts: how often in a row another engine wrote the entry first.
        contested_ms: until when a key's entry is read before it is written, because another engine wrote it.
        rest_ms: until when it is not asked for, because the store does not answer.
        timer_ms: when it is looked at again.
        lacks: the permits that were missing when the store was last asked.
    """

    name: PermitsName
    permits: Permits
    lines: dict[Line, None] = attrs.Factory(dict[Line, None])
    known: StoredPermits = NOTHING_STORED
    seen_ms: int = 0
    again_ms: float = -math.inf
    looked_ms: float = -math.inf
    peak: int = 0
    state: Literal["unread", "idle", "in_use"] = "unread"
    renewing: list[Future[None]] = attrs.Factory(list[Any])
    conflicts: int = 0
    contested_ms: float = -math.inf
    rest_ms: float = -math.inf
    timer_ms: float = math.inf
    lacks: Literal["permits to run", "begins"] = "begins"

    def give_back(self, cost: int, state: Literal["placed", "begun"]) -> None:
        """Return the permits that a run took which has ended, or does not begin."""
        if state == "begun":
            self.permits.end(cost)
        else:
            self.permits.give_back(cost)
        if self.lacks == "permits to run" and self.permits.rate is not None:
            self.again_ms = -math.inf  # the permits to begin were not asked for while there were none to run

    def must_ask(self, now_ms: float) -> bool:
        """Whether the entry must be written although no run waits."""
        permits = self.permits
        if self.renewing or permits.wants_ahead or (permits.granted > 0 and permits.valid_until_ms <= now_ms):
            return True
        return self.state == "in_use" and self.looked_ms + LOOK_MS <= now_ms

    @property
    def costliest(self) -> int:
        """The costliest waiting run's cost."""
        costs = (cost for line in self.lines for name, cost in line.demand.needs if name == self.name)
        return self.permits.capped(max(costs, default=1))

    def next_ms(self, now_ms: float) -> float:
        """Return when to look at it again."""
        permits = self.permits
        instants = [self.rest_ms, self.contested_ms]
        if permits.granted > 0:
            instants.append(permits.valid_until_ms)
        if self.lines:
            instants += [self.again_ms, permits.use_until_ms]
        if self.state == "in_use":
            instants.append(self.looked_ms + LOOK_MS)
        return min((at for at in instants if at > now_ms), default=math.inf)

    @property
    def is_left(self) -> bool:
        """Whether it is of a key that no run uses or waits for, in this engine."""
        permits = self.permits
        return self.name.key is not None and not (permits.used or permits.placed or self.lines or self.renewing)

    def is_over(self, now_ms: float) -> bool:
        """Whether it may be forgotten: the store remembers the runs that have begun."""
        permits = self.permits
        is_used = permits.used or permits.placed or permits.granted or self.lines or self.renewing
        return not is_used and self.state != "in_use" and self.contested_ms <= now_ms


@attrs.frozen(eq=False)
class PlannedEntry:
    """Permits of an entry that are about to be stored.

    Attributes:
        lowered: what `Permits.lower` returned.
        lately: the permits that runs had begun with since the last plan.
        wanted: how many more permits those that wait want.
    """

    entry: Entry
    planned: Planned
    lowered: int
    lately: int
    wanted: int


class Items(NamedTuple):
    """How many items of a pool may begin: of all lanes, and of one."""

    all: int
    of_lane: int


Admission: TypeAlias = Literal["admitted", "others", "none"]
"""Whether an item may begin: if not, perhaps those of ``others``, or ``none``."""


class Wakes(Protocol):
    """Wakes a loop, as `Waker` does."""

    def notify(self) -> None:
        """Notify the loop, or keep it from its next sleep."""
        ...

    async def wait_until(self, at_ms: int | None) -> None:
        """Sleep until an instant of the wall clock, or until notified."""
        ...


def totals_of(use: Mapping[PermitsName, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """Return the permits in use of each limit, and how many wait, from those of the limit and of its keys."""
    whole, of_keys = dict[str, tuple[int, int]](), dict[str, tuple[int, int]]()
    for (limit, key), (used, waiting) in use.items():
        part = whole if key is None else of_keys
        before = part.get(limit, (0, 0))
        part[limit] = before[0] + used, before[1] + waiting
    names = whole.keys() | of_keys.keys()
    both = {name: (whole.get(name, (0, 0)), of_keys.get(name, (0, 0))) for name in names}
    # A run counts for the limit and for its key: the greater number is that of the runs.
    return {name: (max(all_[0], keys[0]), max(all_[1], keys[1])) for name, (all_, keys) in both.items()}


FOREVER_MS: Final = 253_402_300_799_000
"""When changed numbers expire: at the end of the year 9999."""


def numbers_address(limit: str) -> Address:
    """Return where the changed numbers of a limit are."""
    return Address("limit", limit, "numbers")


def write_numbers(changed: Mapping[str, int | Rate]) -> str:
    """Return changed numbers as JSON."""
    parts = {
        name: [number.runs, number.window_ms] if isinstance(number, Rate) else number
        for name, number in changed.items()
    }
    return json.dumps(parts, separators=(",", ":"))


def read_numbers(text: str) -> dict[str, Any]:
    """Return the changed numbers that `write_numbers` has written."""
    parts: dict[str, Any] = json.loads(text) if text else {}
    return {name: number if isinstance(number, int) else Rate(*number) for name, number in parts.items()}


def no_key(*_: object, **__: object) -> str:
    """Return the empty key, whatever the arguments."""
    return ""


def key_of(use: AnyUse, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Return a run's or call's key.

    Raises:
        DefinitionError: it is no text of at most 200 characters.
    """
    key: object = None if use.key is None else use.key(*args, **kwargs)
    if key == "" or is_text(key, MAX_KEY_CHARACTERS):
        return str(key)
    raise DefinitionError(f"key of limit {use.limit.name}", key, f"text of at most {MAX_KEY_CHARACTERS} characters")


def cost_of(use: AnyUse, args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    """Return a run's or call's cost.

    Raises:
        DefinitionError: it is no number that fits the limit.
    """
    cost: object = use.cost(*args, **kwargs) if callable(use.cost) else use.cost
    if type(cost) is int and 1 <= cost <= use.limit.least:
        return cost
    raise DefinitionError(f"cost of limit {use.limit.name}", cost, f"a whole number from 1 to {use.limit.least:,}")


def numbers_of(limits: Mapping[str, LimitNumbers], name: PermitsName) -> tuple[int | None, Rate | None]:
    """Return the concurrency and the rate of a limit, or of each of its keys."""
    limit = limits[name.limit]
    return (limit.concurrency, limit.rate) if name.key is None else (limit.concurrency_per_key, limit.rate_per_key)


def demand_with(
    limits: Mapping[str, LimitNumbers], uses: Iterable[AnyUse], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> PermitDemand:
    """Return the permits that a run or call needs, with the numbers of limits that are in effect.

    Raises:
        DefinitionError: a key is no text of at most 200 characters, or a cost is no number that fits.
    """
    needs: dict[PermitsName, int] = {}
    keys, weight = list[str](), 1
    for use in uses:
        limit, name = limits[use.limit.name], use.limit.name
        cost = cost_of(use, args, kwargs)
        if limit.concurrency is not None or limit.rate is not None:
            needs[PermitsName(name, None)] = cost
        if use.key is not None or limit.has_keys:
            keys.append(key := args[0] if use.key is None else key_of(use, args, kwargs))
            if limit.has_keys:
                needs[PermitsName(name, key)] = cost
        weight = max(weight, use.weight)

    def order(need: tuple[PermitsName, int]) -> tuple[bool, str, str]:
        # Permits to run come first: those to begin are counted for nothing while a run waits for others.
        return numbers_of(limits, need[0])[1] is not None, need[0].key or "", need[0].limit

    return PermitDemand(tuple(sorted(needs.items(), key=order)), tuple(keys), weight)

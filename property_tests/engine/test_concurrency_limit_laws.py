"""The gate: never more runs inside than places, one alone at most, first come first served, and no place is lost."""

from __future__ import annotations

from collections import Counter
from math import inf
from typing import Any, cast

import attrs
from hypothesis import example, given
from hypothesis import strategies as st

from perdure.engine.loops.rate_limits import RateLimit
from perdure.engine.loops.waker import Waker
from perdure.engine.pending_work import AdmissionQueue
from perdure.engine.runs.concurrency import Company, ConcurrencyLimit, ConcurrencyLimits, LaneLimit, reserve_of
from perdure.engine.runs.named_limits import SOON_MS, NamedLimits
from perdure.engine.runs.permits import Items
from perdure.jobs.plan import Rate
from perdure.runtime.record import Future, Runtime, SpawnedTask
from perdure.runtime.simulated import Simulation
from perdure.stores.memory import memory_store
from perdure.values.address import Address
from perdure.values.limits import Limit

AT = Address("task", "limited", "a")

JOBS = ("task:limited", "task:free")


def no_limits(runtime: Any) -> NamedLimits:
    return NamedLimits(store=cast("Any", None), runtime=runtime, wake=cast("Any", None), jobs={})


@attrs.define(eq=False)
class Guest:
    """A run that wants a place.

    Attributes:
        number: in the order of arrival.
        job: whose gate it passes first.
        company: whether it goes alone.
        stays_ms: how long it stays inside.
        gives_up_ms: when it is cancelled, after its arrival; None: it is not.
    """

    number: int
    job: str
    company: Company
    stays_ms: int
    gives_up_ms: int | None
    came_in_ms: float | None = None
    task: SpawnedTask[Any] | None = None


def guests() -> st.SearchStrategy[list[tuple[str, Company, int, int | None, int]]]:
    company: st.SearchStrategy[Company] = st.sampled_from(["beside_others", "beside_others", "alone"])
    guest = st.tuples(
        st.sampled_from(JOBS), company, st.integers(1, 9), st.none() | st.integers(0, 12), st.integers(0, 3)
    )
    return st.lists(guest, max_size=14)


def waits_to_be_alone() -> list[Any]:
    """One is inside, one waits to be alone, and a third one comes although there is a place."""
    return [(JOBS[1], company, 5, None, 0) for company in ("beside_others", "alone", "beside_others")]


@given(guests(), st.integers(1, 3), st.integers(1, 2), st.integers(0, 999))
@example(waits_to_be_alone(), 2, 1, 0)
def test_places_are_bounded_fair_and_never_lost(given_: list[Any], places: int, limited: int, seed: int) -> None:
    simulation = Simulation(seed=seed)
    runtime = simulation.runtime
    gates = ConcurrencyLimits(
        runtime, ConcurrencyLimit(runtime, places), no_limits(runtime), {JOBS[0]: ConcurrencyLimit(runtime, limited)}
    )
    inside: list[Guest] = []

    async def visit(guest: Guest) -> None:
        if not gates.try_enter(guest.job, guest.company, AT):
            await gates.enter(guest.job, guest.company, AT, "")
        guest.came_in_ms = runtime.monotonic_ms()
        inside.append(guest)
        alone = [one for one in inside if one.company == "alone"]
        assert len(inside) <= places
        assert not alone or len(inside) == 1, "a run that goes alone has company"
        assert sum(one.job == JOBS[0] for one in inside) <= limited
        try:
            await runtime.sleep(guest.stays_ms)
        finally:
            inside.remove(guest)
            gates.leave(guest.job, guest.company, AT)

    everyone: list[Guest] = []
    for number, (job, company, stays_ms, gives_up_ms, pause_ms) in enumerate(given_):
        guest = Guest(number, job, company, stays_ms, gives_up_ms)
        guest.task = runtime.spawn(visit(guest), name=f"guest {number}")
        if gives_up_ms is not None:
            runtime.call_later(gives_up_ms, guest.task.cancel)
        everyone.append(guest)
        simulation.settle()
        simulation.advance(pause_ms)
    simulation.advance(10_000)
    assert simulation.unhandled == ()
    assert all(guest.came_in_ms is not None or guest.gives_up_ms is not None for guest in everyone), (
        "a run waits for ever"
    )
    assert (gates.held, gates.waiting) == (0, 0)
    free = [guest.came_in_ms for guest in everyone if guest.job == JOBS[1] and guest.came_in_ms is not None]
    assert free == sorted(free), "a newcomer overtook a run that waited"


SHARING = ("a", "b", "c", "d")


@attrs.define(eq=False)
class SharedSlots:
    """Slots that four jobs share, and the runs that have one or wait for one.

    Attributes:
        runtime: runs the tasks.
        gate: the slots.
        inside: number of runs of each job that have a slot.
        waiting: the tasks of each job, also those that have a slot by now.
    """

    runtime: Runtime
    gate: ConcurrencyLimit
    inside: Counter[str] = attrs.Factory(Counter[str])
    waiting: dict[str, list[SpawnedTask[None]]] = attrs.Factory(lambda: {job: [] for job in SHARING})

    def room(self, job: str) -> bool:
        """Whether a job may have another slot: without a run any, otherwise none that is kept for the others."""
        kept = min(sum(self.inside[other] == 0 for other in SHARING), self.gate.reserve)
        return self.gate.slots - self.inside.total() > (kept if self.inside[job] else 0)

    def waits(self, job: str) -> list[SpawnedTask[None]]:
        return [task for task in self.waiting[job] if not task.done()]

    async def enter(self, job: str) -> None:
        await self.gate.enter("beside_others", job)
        assert self.room(job), "a run took a slot that is kept for another job"
        others = [other for other in SHARING if other != job and self.waits(other) and self.room(other)]
        assert all(self.inside[job] <= self.inside[other] for other in others), "a job with more slots came first"
        self.inside[job] += 1

    def come(self, job: str) -> None:
        self.waiting[job].append(self.runtime.spawn(self.enter(job), name=job))

    def leave(self, job: str) -> None:
        if self.inside[job]:
            self.inside[job] -= 1
            self.gate.leave("beside_others", job)

    def give_up(self, job: str) -> None:
        for task in self.waits(job)[:1]:
            task.cancel()

    def cross(self, job: str) -> None:
        """A run leaves, and the first of each job gives up in the same step: one of them has got the slot."""
        self.leave(job)
        for other in SHARING:
            self.give_up(other)


@given(
    st.lists(st.tuples(st.sampled_from(["come", "leave", "give_up", "cross"]), st.sampled_from(SHARING)), max_size=40),
    st.integers(1, 9),
    st.integers(0, 99),
)
@example([("come", "a")] * 4 + [("come", "b"), ("come", "b"), ("leave", "a")], 4, 0)
@example([*[("come", job) for job in "aaaaaaab"], ("come", "c"), ("come", "c"), ("come", "a"), ("leave", "a")], 8, 0)
@example([*[("come", job) for job in "aaab"], ("give_up", "a"), ("leave", "b"), ("come", "a")], 3, 0)
@example([*[("come", job) for job in "aaabab"], ("leave", "a")], 5, 0)
@example([*[("come", job) for job in "aaaab"], ("cross", "a"), *[("come", job) for job in "cdabcd"]], 4, 0)
def test_jobs_without_a_run_have_slots_and_the_others_go_to_the_job_with_the_fewest(
    steps: list[tuple[str, str]], slots: int, seed: int
) -> None:
    simulation = Simulation(seed=seed)
    gate = ConcurrencyLimit(simulation.runtime, slots, jobs=len(SHARING), reserve=reserve_of(slots, len(SHARING)))
    shared = SharedSlots(simulation.runtime, gate)
    for step, job in steps:
        getattr(shared, step)(job)
        simulation.settle()
        assert simulation.unhandled == ()
        assert gate.held == shared.inside.total() <= slots
        assert not any(shared.waits(other) and shared.room(other) for other in SHARING), "a run waits for nothing"


@attrs.define(eq=False)
class Rates:
    """One rate for all lanes of a job.

    Attributes:
        runtime: the clock.
        limit: the rate.
        waiting: those that do not know how long they wait.
    """

    runtime: Runtime
    limit: RateLimit
    waiting: list[Future[None]] = attrs.Factory(list["Future[None]"])

    def is_limited(self, lane: str) -> bool:
        return self.limit.free_ms(self.runtime.monotonic_ms()) > self.runtime.monotonic_ms()

    async def wait_for_rate(self, lane: str) -> None:
        free_ms = self.limit.free_ms(self.runtime.monotonic_ms())
        if free_ms == inf:
            self.waiting.append(place := self.runtime.future())
            await place
        else:
            await self.runtime.sleep(free_ms - self.runtime.monotonic_ms())

    def take_place(self, lane: str) -> None:
        self.limit.take_place()

    def free_place(self, lane: str) -> None:
        self.limit.free_place()
        self.look_again()

    def begin(self, lane: str) -> None:
        self.limit.begin(self.runtime.monotonic_ms())
        self.look_again()

    def look_again(self) -> None:
        waiting, self.waiting = self.waiting, []
        for place in waiting:
            if not place.done():
                place.set_result(None)

    async def record(self, lane: str) -> None:
        await self.runtime.sleep(0)


@given(
    guests(), st.integers(1, 3), st.integers(1, 3), st.integers(1, 2), st.sampled_from([1, 7, 40]), st.integers(0, 999)
)
@example([(JOBS[1], "alone", 9, None, 0), *[(JOBS[0], "beside_others", 1, None, 3)] * 3], 2, 1, 1, 7, 0)
def test_a_rate_counts_runs_when_they_begin_behind_all_waits(
    given_: list[Any], places: int, slots: int, runs: int, window_ms: int, seed: int
) -> None:
    """Runs of a job with a rate wait beside runs of another job, some of them with a slot that the feeder took."""
    simulation = Simulation(seed=seed)
    runtime = simulation.runtime
    limit, rates = LaneLimit(runtime, slots), Rates(runtime, RateLimit(Rate(runs, window_ms)))
    limit.freed, limit.rated = lambda _: None, rates
    gates = ConcurrencyLimits(runtime, ConcurrencyLimit(runtime, places), no_limits(runtime), lanes={JOBS[0]: limit})
    begun: list[float] = []

    async def visit(guest: Guest, address: Address) -> None:
        try:
            if not gates.try_enter(guest.job, guest.company, address):
                await gates.enter(guest.job, guest.company, address, "lane")
        finally:
            limit.give_back(address)
        guest.came_in_ms = runtime.monotonic_ms()
        if guest.job == JOBS[0]:
            begun.append(guest.came_in_ms)
        try:
            await runtime.sleep(guest.stays_ms)
        finally:
            gates.leave(guest.job, guest.company, address)

    everyone: list[Guest] = []
    for number, (job, company, stays_ms, gives_up_ms, pause_ms) in enumerate(given_):
        guest, address = Guest(number, job, company, stays_ms, gives_up_ms), Address("task", "limited", str(number))
        if job == JOBS[0] and number % 2 and limit.has_slot and not rates.is_limited("lane"):
            limit.take(address, "lane")
        guest.task = runtime.spawn(visit(guest, address), name=f"guest {number}")
        if gives_up_ms is not None:
            runtime.call_later(gives_up_ms + 1, guest.task.cancel)
        everyone.append(guest)
        simulation.advance(pause_ms)
    simulation.advance(10_000)
    assert simulation.unhandled == ()
    assert all(guest.came_in_ms is not None or guest.gives_up_ms is not None for guest in everyone), (
        "a run waits for ever"
    )
    assert all(sum(start <= at < start + window_ms for at in begun) <= runs for start in begun)
    assert (gates.held, gates.waiting, rates.limit.waiting) == (0, 0, 0)


@given(st.lists(st.tuples(st.sampled_from(["alone", "beside_others"]), st.booleans()), max_size=6), st.integers(1, 3))
@example([("beside_others", True)], 1)
@example([("alone", True), ("beside_others", False)], 2)
def test_a_run_that_gives_up_as_it_is_let_in_keeps_no_place(waiting: list[tuple[Any, bool]], places: int) -> None:
    simulation = Simulation()
    runtime = simulation.runtime
    gate = ConcurrencyLimit(runtime, places)
    first = [runtime.spawn(gate.enter("beside_others"), name="inside") for _ in range(places)]
    simulation.settle()
    assert (all(task.done() for task in first), gate.held) == (True, places)
    tasks = [runtime.spawn(gate.enter(company), name="waits") for company, _ in waiting]
    simulation.settle()
    for _ in first:
        gate.leave("beside_others")
    for task, (_, gives_up) in zip(tasks, waiting, strict=True):
        if gives_up:  # some of them were let in a moment ago, and do not know it yet
            task.cancel()
    simulation.settle()
    inside = [
        company for task, (company, _) in zip(tasks, waiting, strict=True) if task.done() and not task.cancelled()
    ]
    assert gate.held == len(inside)


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.booleans()), max_size=10),
    st.lists(st.sampled_from(["a", "b", None]), max_size=12),
    st.integers(0, 999),
)
def test_a_finished_call_admits_the_first_caller_that_still_waits(
    waiting: list[tuple[str | None, bool]], calls: list[str | None], seed: int
) -> None:
    simulation = Simulation(seed=seed)
    runtime = simulation.runtime
    admission = AdmissionQueue(runtime)
    let_in: list[int] = []

    def queue(name: str | None) -> Address | None:
        return None if name is None else Address("task", "job", name)

    async def wait(number: int, name: str | None) -> None:
        await admission.wait(queue(name))
        let_in.append(number)

    tasks = []
    for number, (name, _) in enumerate(waiting):
        tasks.append(runtime.spawn(wait(number, name), name=f"caller {number}"))
        simulation.settle()
    expected = []
    left = dict(enumerate(waiting))
    for name in calls:
        admission.call(queue(name))
        first = next((number for number, (queued, _) in left.items() if queued == name), None)
        if first is None:
            continue
        if left.pop(first)[1]:  # it gives up in the moment in which it is called: the next one comes in
            tasks[first].cancel()
            simulation.settle()
            first = next((number for number, (queued, _) in left.items() if queued == name), None)
            if first is None:
                continue
            left.pop(first)
        expected.append(first)
        simulation.settle()
    assert sorted(let_in) == sorted(expected)
    assert admission.waiting == len(left)
    admission.call_all()
    simulation.settle()
    assert not admission.queues
    assert all(task.done() for task in tasks)


def test_those_behind_a_run_that_gives_up_going_alone_come_in_at_once() -> None:
    simulation = Simulation()
    runtime = simulation.runtime
    gate = ConcurrencyLimit(runtime, 2)
    runtime.spawn(gate.enter("beside_others"), name="inside")
    simulation.settle()
    alone = runtime.spawn(gate.enter("alone"), name="waits for all to leave")
    simulation.settle()
    behind = runtime.spawn(gate.enter("beside_others"), name="waits behind it")
    simulation.settle()
    assert not behind.done()
    alone.cancel()
    simulation.settle()
    assert (behind.done(), gate.held, gate.waiting) == (True, 2, 0)


@given(st.booleans())
def test_the_slots_of_a_run_and_of_an_alarm_beside_it_are_returned_in_either_order(run_first: bool) -> None:  # noqa: FBT001 - drawn
    runtime, freed = Simulation().runtime, list[str]()
    limit = LaneLimit(runtime, slots=2)
    limit.freed, limit.rated = freed.append, Rates(runtime, RateLimit(Rate(2, 1)))
    limit.take(AT, "lane")
    limit.use(AT)  # the run
    limit.take(AT, "lane")  # the alarm, whose turn finds the run
    for end in ("run", "alarm") if run_first else ("alarm", "run"):
        (limit.leave_lane if end == "run" else limit.give_back)(AT)
    assert freed == ["lane", "lane"]
    assert limit.held == limit.running("lane") == 0
    assert not limit.is_reserved(AT)


@attrs.define(eq=False)
class SharedKey:
    """Pools with a lane of the same key, of which one item runs at a time. A pool notes each call of the limit."""

    simulation: Simulation = attrs.Factory(Simulation)
    called: set[str] = attrs.Factory(set[str])
    named: NamedLimits = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        runtime, use = self.simulation.runtime, Limit("one", concurrency_per_key=1).by(str)
        jobs = {f"pool:{name}": (use,) for name in "abc"}
        self.named = NamedLimits(store=memory_store(), runtime=runtime, wake=Waker(runtime), jobs=jobs)
        self.named.start = lambda: runtime.spawn(self.named.run(), name="limits")
        while not self.begins("a"):
            self.simulation.advance(1)

    def begins(self, pool: str) -> bool:
        """Begin an item of a pool if it gets a permit. Else the pool waits."""
        job, at = f"pool:{pool}", Address("pool", pool, "item")
        is_admitted = self.named.admits(job, "key", Items(1, 1), lambda _: self.called.add(pool)) == "admitted"
        if is_admitted:
            self.named.take_admitted(job, "key", at)
            self.named.begin_placed(at)
        self.simulation.settle()
        return is_admitted

    def leave(self, pool: str) -> None:
        self.named.leave(Address("pool", pool, "item"))
        self.simulation.settle()

    def after(self, elapsed_ms: int) -> tuple[set[str], list[str]]:
        """Return the pools that were called in this time, and those that have an offer then."""
        self.called.clear()
        self.simulation.advance(elapsed_ms)
        return self.called, [pool for pool in "abc" if self.named.is_offered(f"pool:{pool}", "key")]


def test_permits_that_a_pool_does_not_take_are_offered_to_the_next_one_and_it_is_called() -> None:
    """Its items began elsewhere, or no worker is free: if nothing calls it, it never requests permits again."""
    shared = SharedKey()
    assert not shared.begins("b")
    assert not shared.begins("c")
    shared.leave("a")
    assert "b" in shared.called
    assert shared.after(SOON_MS - 1) == (set(), ["b"])
    assert shared.after(2) == ({"b", "c"}, ["c"])
    assert shared.begins("c")
    assert not shared.begins("b")
    shared.leave("c")
    assert shared.begins("b")


def test_an_offer_that_was_taken_ends_no_later_offer_to_the_same_lane() -> None:
    shared = SharedKey()
    assert not shared.begins("b")
    shared.leave("a")
    assert shared.begins("b")  # the first offer
    shared.simulation.advance(SOON_MS // 2)
    assert not shared.begins("b")
    shared.leave("b")
    assert shared.after(SOON_MS // 2 + 1) == (set(), ["b"]), "the second offer ended with the first one"
    assert shared.after(SOON_MS // 2) == ({"b"}, [])
    assert shared.begins("b")

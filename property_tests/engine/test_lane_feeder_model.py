"""The feeder of lanes against a plain model of the store, the turns and the runs: all reads and commits take time.

Pages, rooms and slots are so small that each history crosses them, and the engine's turns are played by the model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Literal, TypeAlias, cast

import attrs
from hypothesis import example, given, settings
from hypothesis import strategies as st
from returns.future import FutureResult
from returns.result import Failure, Success

from perdure import Do, ItemContext, WorkerPool, program
from perdure.engine.loops.fair_queue import FRESH_MS
from perdure.engine.loops.lane_feeder import REST_MS, LaneFeeder, _groups, lane_feeders
from perdure.engine.mailbox.entry import MailboxEntry
from perdure.engine.mailbox.instance_cache import InstanceCache
from perdure.engine.runs.concurrency import ConcurrencyLimit, ConcurrencyLimits, Holds, LaneLimit
from perdure.engine.runs.named_limits import NamedLimits
from perdure.programs.future import answer_of, asked
from perdure.runtime.simulated import Simulation
from perdure.stores.contract import commit_one, overlay
from perdure.stores.memory import MemoryBackend
from perdure.stores.shares import OTHERS_MS
from perdure.values.address import Address, Job
from perdure.values.errors import OutcomeUnknown, StoreUnavailable
from perdure.values.instance import Claim, Instance
from perdure.values.limits import Limits
from perdure.values.transition import Purge, Put, Transition

LANES = ("x", "y", "z")
NAME = "pool:p"
RATE_MS = 400

LONG = 36
"""The greatest numbers of a wait are long ones; the others are about as long as a read, so that steps meet reads."""

Step: TypeAlias = tuple[str, int]


def no_limits(runtime: Any) -> NamedLimits:
    return NamedLimits(store=cast("Any", None), runtime=runtime, wake=cast("Any", None), jobs={})


@program
def work(ctx: ItemContext[int]) -> Do[None, Any, Any]:
    yield from ctx.item


@attrs.frozen
class Turns:
    """The part of an engine's turns that the feeders read."""

    gates: ConcurrencyLimits

    @property
    def runner(self) -> Turns:
        return self


@attrs.define
class Gate(LaneLimit):
    """The slots of the job.

    Attributes:
        chosen: called with an item for which the feeder takes a slot.
    """

    chosen: Callable[[Address], None] = attrs.field(kw_only=True)

    def take(self, address: Address, lane: str) -> None:
        self.chosen(address)
        LaneLimit.take(self, address, lane)


@attrs.define(kw_only=True)
class Engine:
    """Plays the dispatcher and the store. A commit is noticed when it lands, as in an engine.

    Attributes:
        simulation: moves the clock.
        limits: the room and the pages.
        options: the options of the pool.
        read_ms: how long a read takes after its rows are found.
        commit_ms: how long a commit takes before it lands.
        work_ms: how long a run takes.
        owned: the lanes in the engine's share; None: all, as on a store of its own.
        fates: the fates of the next claims; a claim succeeds when they are over.
        broken: the reads of the store that fail next.
    """

    simulation: Simulation
    limits: Limits
    options: dict[str, Any]
    read_ms: int
    commit_ms: int
    work_ms: int
    owned: frozenset[str] | None = None
    fates: list[str] = attrs.Factory(list[str])
    broken: list[str] = attrs.Factory(list[str])
    rows: dict[Address, Instance] = attrs.Factory(dict[Address, Instance])
    fired: set[Address] = attrs.Factory(set[Address])
    running: set[Address] = attrs.Factory(set[Address])
    begun: list[tuple[float, str, int]] = attrs.Factory(list[tuple[float, str, int]])
    number: int = 0
    unheard: set[Address] = attrs.Factory(set[Address])
    known_ms: dict[str, float] = attrs.Factory(dict[str, float])
    faults: int = 0
    backend: MemoryBackend = attrs.Factory(MemoryBackend)
    life: int = 0
    tasks: list[Any] = attrs.Factory(list[Any])
    holds: Holds = attrs.field(init=False)
    gate: LaneLimit = attrs.field(init=False)
    feeder: LaneFeeder = attrs.field(init=False)
    inner: Any = attrs.field(init=False)
    store: Any = attrs.field(init=False)
    turns: Turns = attrs.field(init=False)

    @property
    def runtime(self) -> Any:
        return self.simulation.runtime

    @property
    def slots(self) -> int:
        return self.options["workers"]

    @property
    def lane_slots(self) -> int | None:
        return self.options["workers_per_key"]

    def open(self) -> None:
        """Open the store that an earlier engine may have left, and start the feeder."""
        self.life += 1
        self.fired.clear()
        self.running.clear()
        self.inner = inner = self.backend.open()
        self.store = overlay(
            inner,
            lanes=overlay(
                inner.lanes,
                names=self.slow("names", inner.lanes.names),
                queued=self.noted(self.slow("queued", inner.lanes.queued)),
            ),
            claimed=self.slow("claimed", inner.claimed),
            load=self.slow_batch("load", inner.load),
            commit=self.slow_batch("commit", inner.commit),
            runtime=self.runtime,
        )
        job = WorkerPool("p", item=int, work=work, key=lambda _: "", **self.options)
        self.gate = Gate(self.runtime, self.slots, self.lane_slots, chosen=self.chosen)
        self.turns = Turns(
            ConcurrencyLimits(
                self.runtime, ConcurrencyLimit(self.runtime, 99), no_limits(self.runtime), lanes={NAME: self.gate}
            )
        )
        self.holds = Holds(self.store, self.runtime)
        dispatcher: Any = self
        delay_ms = None if self.owned is None else self.delay_ms
        cache = InstanceCache(self.store)
        (self.feeder,) = lane_feeders(dispatcher, {("pool", "p"): job}, cache, self.holds, delay_ms).values()
        self.spawn(self.feeder.run())
        for address, row in sorted(self.rows.items(), key=lambda pair: pair[1].incarnation):
            if row.claim is not None:
                self.spawn(self.recover(address))

    def spawn(self, work: Any) -> None:
        self.tasks.append(self.runtime.spawn_eagerly(work, name="model"))

    def crash(self) -> None:
        for task in self.tasks:
            task.cancel()
        self.simulation.settle()
        self.tasks.clear()

    def slow(self, name: str, read: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> FutureResult[Any, Any]:
            async def late() -> Any:
                found = await answer_of(read(*arguments))
                await self.runtime.sleep(self.read_ms)
                if name in self.broken:
                    self.broken.remove(name)
                    return Failure(StoreUnavailable(name, "no disk"))
                return found

            return asked(late())

        return call

    def noted(self, read: Callable[..., Any]) -> Callable[..., Any]:
        """Note when the engine has an answer about a lane."""

        def call(*arguments: Any) -> FutureResult[Any, Any]:
            async def answered() -> Any:
                found = await answer_of(read(*arguments))
                self.known_ms.update(dict.fromkeys(arguments[1], self.runtime.monotonic_ms()))
                return found

            return asked(answered())

        return call

    def delay_ms(self, _job: Job, lane: str) -> int:
        return 0 if self.owned is None or lane in self.owned else OTHERS_MS

    def slow_batch(self, name: str, call: Callable[..., None]) -> Callable[..., None]:
        """Answer a batch of the rates late, or refuse it."""

        def batch(requests: Any, answered: Callable[[Any], None]) -> None:
            async def later(answers: Any) -> None:
                await self.runtime.sleep(self.read_ms)
                if name in self.broken:
                    self.broken.remove(name)
                    answers = [Failure(StoreUnavailable(name, "no disk")) for _ in answers]
                answered(answers)

            call(requests, lambda answers: self.spawn(later(answers)))

        return batch

    # ------------------------------------------------------------ commits
    async def commit(self, address: Address, after: Instance | None, *, is_noticed: bool = True) -> None:
        """Write a row. The feeder hears of it in the step in which the commit is durable."""
        before = self.rows.get(address)
        expected = None if before is None else before.fence
        if after is None:
            await answer_of(commit_one(self.inner, Transition(address=address, expected=expected, write=Purge())))
            del self.rows[address]
        else:
            written = after.changed(version=1 if before is None else before.version + 1)
            put = Transition(address=address, expected=expected, write=Put(written))
            fence = (await answer_of(commit_one(self.inner, put))).unwrap()
            self.rows[address] = written.changed(incarnation=fence.incarnation, version=fence.version)
            after = written
        if is_noticed:
            if after is not None and not self.feeder.queue.knows(after.lane or ""):
                self.known_ms[after.lane or ""] = self.runtime.monotonic_ms()
            self.feeder.notice(address, after)

    async def put(self, lane: str, rank_ms: int) -> None:
        self.number += 1
        address = Address("pool", "p", f"{self.number:03}")
        await self.commit(
            address, Instance(address=address, created_ms=1, updated_ms=1, alarm_ms=rank_ms, lane=lane, state="")
        )

    async def change(self, kind: str, number: int) -> None:
        """Cancel, pause, resume, or move a queued item."""
        wanted = "paused" if kind == "resume" else None
        here = [
            address
            for address, row in sorted(self.rows.items())
            if row.claim is None and row.suspension == wanted and address not in self.fired
        ]
        if not here:
            return
        address = here[number % len(here)]
        row = self.rows[address]
        match kind:
            case "cancel":
                await self.commit(address, None)
            case "pause":
                await self.commit(address, row.changed(suspension="paused"))
            case "resume":
                await self.commit(address, row.changed(suspension=None))
            case _:
                await self.commit(address, row.changed(alarm_ms=number))

    # ------------------------------------------------------------ turns
    def queued(self, lane: str) -> list[Address]:
        """Return the queued items of a lane, in order."""
        rows = [row for row in self.rows.values() if row.lane == lane and row.rank_ms is not None]
        return [row.address for row in sorted(rows, key=lambda row: (row.rank_ms or 0, row.incarnation))]

    def chosen(self, address: Address) -> None:
        """Check the order in which a feeder takes items; the store may count a run before the item is fired.

        It takes one that is not queued only if a read returned it whose rows were found before its claim was stored,
        and the outcome of that was unknown, so the feeder has not heard of it. The item's turn finds the claim.
        """
        row = self.rows.get(address)
        is_queued = row is not None and row.rank_ms is not None
        assert is_queued or address in self.unheard, "an item is taken that is not queued"
        if row is not None and row.rank_ms is not None and (self.lane_slots == 1 or not self.faults):
            before = self.queued(row.lane or "")
            begun = self.fired | {one for one in before if self.gate.is_reserved(one)}
            overtaken = [one for one in before[: before.index(address)] if one not in begun]
            assert not overtaken, "an item overtakes an older one of its lane"
        if row is not None and self.delay_ms(self.feeder.name, row.lane or ""):
            known_ms = self.known_ms.get(row.lane or "", 0)
            assert known_ms + FRESH_MS > self.runtime.monotonic_ms(), "an old memory of another engine's lane is used"
        if row is not None and self.lane_slots == 1:
            claimed = {one for one, other in self.rows.items() if other.lane == row.lane and other.claim is not None}
            assert claimed <= self.unheard | {address}, "an item overtakes one whose run was interrupted"

    def fire(self, _job: Any, address: Address, item: MailboxEntry) -> None:
        """Take an alarm from the feeder, as a dispatcher does."""
        assert address not in self.fired, "an item is fired twice"
        assert not self.holds.jobs or self.feeder.rates is not None, "a held job fires"
        assert item.pending_weight == 0, "a fired item counts as a request that waits"
        self.fired.add(address)
        self.spawn(self.turn(address, item))

    async def turn(self, address: Address, item: MailboxEntry) -> None:
        row, answer = self.rows.get(address), item.answer
        if row is None or row.rank_ms is None or self.holds.jobs:
            await self.runtime.sleep(self.commit_ms)
            self.reply(address, answer, Success(None))
            return
        self.begun.append((self.runtime.monotonic_ms(), row.lane or "", self.life))
        self.gate.use(address)
        await self.runtime.sleep(self.commit_ms)
        fate = self.fates.pop() if self.fates else "claims"
        if fate in {"claims", "fails"}:
            await self.claim(address, row, is_noticed=True)
            await self.work(address, then="over" if fate == "claims" else "queued again")
            self.reply(address, answer, Success(None))
            return
        self.faults += 1
        if fate == "unknown, written":
            self.unheard.add(address)
            await self.claim(address, row, is_noticed=False)
        self.gate.leave_lane(address)
        refused = StoreUnavailable("commit", "no disk") if fate == "refused" else OutcomeUnknown("no answer")
        self.reply(address, answer, Failure(refused))
        if fate != "refused":
            self.feeder.doubt()
            await self.recover(address)

    def reply(self, address: Address, answer: Any, result: Any) -> None:
        self.fired.discard(address)
        answer.set_result(result)

    async def claim(self, address: Address, row: Instance, *, is_noticed: bool) -> None:
        claim = Claim(owner=self.life, cause="alarm", run_id="run", claimed_ms=1)
        await self.commit(address, row.changed(claim=claim, alarm_ms=None), is_noticed=is_noticed)

    async def recover(self, address: Address) -> None:
        """Deliver the run of a claim that no run holds again."""
        await self.runtime.sleep(self.read_ms)
        row = self.rows.get(address)
        if row is None or row.claim is None or address in self.running:
            return
        lane = await self.gate.enter_lane(address, row.lane or "")
        counted_ms = self.runtime.monotonic_ms()
        try:
            await self.gate.begin_recorded(address, lane)
        except StoreUnavailable:  # a recovery is tried again after a pause
            await self.runtime.sleep(REST_MS)
            await self.recover(address)
            return
        self.begun.append((counted_ms, row.lane or "", self.life))
        await self.commit(address, row.changed(claim=attrs.evolve(row.claim, deliveries=2)))
        await self.work(address)

    async def work(self, address: Address, then: Literal["over", "queued again"] = "over") -> None:
        """Run the item, and commit its end."""
        lane = self.rows[address].lane or ""
        assert address not in self.running
        self.running.add(address)
        lanes = Counter(self.rows[one].lane for one in self.running)
        assert len(self.running) <= self.slots
        assert self.lane_slots is None or lanes[lane] <= self.lane_slots
        assert self.feeder.queue.size <= self.limits.queued_items
        await self.runtime.sleep(self.work_ms)
        row = self.rows[address]
        await self.commit(address, None if then == "over" else row.changed(claim=None, alarm_ms=200))
        self.running.remove(address)
        self.gate.leave_lane(address)

    # ------------------------------------------------------------ stories
    def hold(self, *, held: bool) -> None:
        self.holds.jobs = (("pool", "p"),) if held else ()
        if not held:
            self.feeder.wake.notify()

    async def play(self, story: list[Step]) -> None:
        for step, number in story:
            match step:
                case "put":
                    await self.put(LANES[number % 3], 100 + number % 4)
                case "cancel" | "pause" | "resume" | "move":
                    await self.change(step, number)
                case "hold" | "release":
                    self.hold(held=step == "hold")
                case "doubt":
                    self.feeder.doubt()
                case "fail":
                    self.broken.append(("names", "queued", "claimed", "load", "commit")[number % 5])
                    self.faults += 1
                case _:
                    await self.runtime.sleep(number % 4 if number < LONG else 10 * number)

    def ends(self) -> None:
        """Release the holds and pauses: all is done in time."""
        self.fates.clear()
        if self.holds.jobs:  # any release wakes the feeder, and would hide that nothing else did
            self.hold(held=False)
        one_ms = self.work_ms + 3 * self.commit_ms + 6 * self.read_ms + (RATE_MS if self.feeder.rates else 0)
        self.simulation.advance(one_ms)  # an item that was paused after it was fired is resumed after that turn
        for _ in range(len(self.rows)):
            self.spawn(self.change("resume", 0))
        runs = 2 * self.number
        self.simulation.advance(runs * one_ms + (self.faults + 2) * (REST_MS + 10 * self.read_ms + 10))
        assert self.simulation.unhandled == ()
        assert self.rows == {}, "an item waits for ever"
        assert (self.gate.held, self.gate.waiting, self.feeder.under_way) == (0, 0, 0)

    def check_rates(self) -> None:
        """No window has more runs. The store counts a run before it begins: a restart may see it as early as that."""
        for kind, lanes in (("rate", [None]), ("rate_per_key", [*LANES])):
            rate = self.options[kind]
            for lane in lanes if rate is not None else ():
                begun = [(at_ms, life) for at_ms, of, life in sorted(self.begun) if lane in (None, of)]
                for (first_ms, before), (last_ms, life) in zip(begun, begun[rate[0] :], strict=False):
                    assert last_ms - first_ms >= RATE_MS - (before < life) * 2 * self.read_ms, (kind, lane)


STEPS = ("put",) * 4 + ("wait",) * 5 + ("cancel", "pause", "resume", "move", "hold", "release", "doubt", "fail")
stories = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 40)), min_size=12, max_size=40)
fates = st.lists(
    st.sampled_from(["claims", "claims", "fails", "refused", "unknown, written", "unknown, not written"]), max_size=8
)
options = st.fixed_dictionaries(
    {
        "workers": st.integers(1, 3),
        "workers_per_key": st.sampled_from([None, 1, 2]),
        "rate": st.sampled_from([None, None, (2, f"{RATE_MS} ms")]),
        "rate_per_key": st.sampled_from([None, None, (1, f"{RATE_MS} ms")]),
    }
)
limits = st.builds(Limits, queued_items=st.integers(2, 5), lane_page=st.integers(2, 3), recovery_page=st.integers(2, 3))


@settings(max_examples=200)
@example(  # a pool that is held and released while its items wait for the store, which counts their runs
    lives=[([("put", 0)] * 3 + [("hold", 0), ("wait", 2), ("release", 0), ("wait", 2)] * 12, [])],
    options={"workers": 2, "workers_per_key": 1, "rate": (2, f"{RATE_MS} ms"), "rate_per_key": None},
    limits=Limits(queued_items=5, lane_page=3, recovery_page=3),
    times=(3, 2, 5),
    seed=0,
    owned=None,
)
@example(  # a recovered run waits for the rate of its lane, which is not read before its window is over
    lives=[([("put", 25)], []), ([("wait", 30), ("put", 33), ("wait", 1)], []), ([("doubt", 23)], [])],
    options={"workers": 3, "workers_per_key": None, "rate": None, "rate_per_key": (1, f"{RATE_MS} ms")},
    limits=Limits(queued_items=3, lane_page=3, recovery_page=2),
    times=(0, 1, 7),
    seed=41,
    owned=None,
)
@example(  # an item of a page is taken after the read, when its claim of unknown outcome was stored meanwhile
    lives=[
        (
            [("put", 0), ("put", 0), ("put", 1)]
            + [("wait", ms) for ms in (0, 0, 0, 1, 1, 2, 2)]
            + [("hold", 0), ("wait", 0)],
            ["unknown, written"],
        )
    ],
    options={"workers": 2, "workers_per_key": None, "rate": None, "rate_per_key": None},
    limits=Limits(queued_items=2, lane_page=2, recovery_page=2),
    times=(2, 1, 0),
    seed=0,
    owned=None,
)
@example(  # a claim that is not stored, with an unknown outcome, while its lane waits for a rate
    lives=[
        (
            [("put", 0), ("wait", 1), ("put", 38), ("wait", 0), ("fail", 4), ("fail", 7)]
            + [("put", 0)] * 2
            + [("wait", 0)] * 2
            + [("cancel", 1), ("move", 0)],
            [],
        ),
        (
            [("put", 0), ("put", 2), ("wait", 36), ("wait", 36)] + [("put", 0)] * 8,
            ["unknown, not written", "claims"],
        ),
    ],
    options={"workers": 1, "workers_per_key": 1, "rate": (2, f"{RATE_MS} ms"), "rate_per_key": None},
    limits=Limits(queued_items=2, lane_page=2, recovery_page=2),
    times=(0, 0, 0),
    seed=0,
    owned=None,
)
@example(  # an item that a life leaves has its slot in the next one
    lives=[
        ([("wait", 17), ("put", 32), ("wait", 22), ("wait", 6), ("wait", 31)], []),
        ([("fail", 39), ("put", 14)], []),
    ],
    options={"workers": 1, "workers_per_key": 1, "rate": None, "rate_per_key": (1, f"{RATE_MS} ms")},
    limits=Limits(queued_items=5, lane_page=2, recovery_page=3),
    times=(1, 3, 3),
    seed=3,
    owned=None,
)
@example(  # a recovered item waits for the rate of its lane, which a pass skips, and nothing else happens
    lives=[([("put", 5)], []), ([("wait", 37)], ["fails"]), ([("release", 0)], [])],
    options={"workers": 1, "workers_per_key": None, "rate": None, "rate_per_key": (1, f"{RATE_MS} ms")},
    limits=Limits(queued_items=5, lane_page=2, recovery_page=2),
    times=(3, 1, 9),
    seed=76,
    owned=None,
)
@example(  # a lane that is read again before its rate was ever read
    lives=[([("wait", 3), ("put", 0), ("pause", 0), ("put", 0)], [])],
    options={"workers": 2, "workers_per_key": 2, "rate": None, "rate_per_key": (1, f"{RATE_MS} ms")},
    limits=Limits(queued_items=5, lane_page=3, recovery_page=3),
    times=(1, 0, 1),
    seed=0,
    owned=None,
)
@example(  # an item whose run ends with the item queued again, alone
    lives=[([("put", 0), ("wait", 2)], ["fails"])],
    options={"workers": 1, "workers_per_key": None, "rate": None, "rate_per_key": None},
    limits=Limits(queued_items=2, lane_page=2, recovery_page=2),
    times=(0, 0, 0),
    seed=0,
    owned=None,
)
@given(
    lives=st.lists(st.tuples(stories, fates), min_size=1, max_size=3),
    options=options,
    limits=limits,
    times=st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 9)),
    seed=st.integers(0, 99),
    owned=st.none() | st.frozensets(st.sampled_from(LANES)),
)
def test_each_item_has_its_turn_in_order_and_in_time(
    lives: list[tuple[list[Step], list[str]]],
    options: dict[str, Any],
    limits: Limits,
    times: tuple[int, int, int],
    seed: int,
    owned: frozenset[str] | None,
) -> None:
    """Whatever is put, moved, held and refused while the feeder reads, and in any state that an earlier engine left."""
    read_ms, commit_ms, work_ms = times
    engine = Engine(
        simulation=Simulation(seed=seed),
        limits=limits,
        options=options,
        read_ms=read_ms,
        commit_ms=commit_ms,
        work_ms=work_ms,
        owned=owned,
    )
    for number, (story, fated) in enumerate(lives):
        if number:
            engine.crash()
        engine.fates[:] = fated
        engine.open()
        engine.simulation.run(engine.play(story))
    engine.ends()
    engine.check_rates()
    engine.crash()


def test_an_item_that_is_not_queued_any_more_takes_no_room() -> None:
    options = {"workers": 1, "workers_per_key": None, "rate": None, "rate_per_key": None}
    engine = Engine(simulation=Simulation(), limits=Limits(), options=options, read_ms=1, commit_ms=1, work_ms=LONG)
    engine.open()
    engine.simulation.run(engine.play([("put", 0)] * 4 + [("wait", 3)] * 3))
    assert (len(engine.running), engine.feeder.queue.size) == (1, 3)
    engine.simulation.run(engine.play([("cancel", 0), ("pause", 0)]))
    assert engine.feeder.queue.size == 1
    engine.ends()
    engine.crash()


def interrupted(options: dict[str, Any], *, after_ms: int) -> Engine:
    """An engine that opens after another one died during the run of the first item in the store, the next behind it."""
    usual: dict[str, Any] = {"workers": 2, "workers_per_key": 1, "rate": None, "rate_per_key": None}
    engine = Engine(
        simulation=Simulation(), limits=Limits(), options=usual | options, read_ms=1, commit_ms=1, work_ms=LONG
    )
    engine.open()
    engine.simulation.advance(after_ms)
    engine.simulation.run(engine.play([("put", 0)] * 2 + [("wait", 3)] * 3))
    assert [row.claim is not None for row in engine.rows.values()] == [True, False]
    engine.crash()
    engine.open()
    return engine


def test_the_next_item_of_a_lane_waits_for_an_interrupted_one_that_cannot_begin_yet() -> None:
    engine = interrupted({"rate": (2, f"{RATE_MS} ms")}, after_ms=0)
    engine.broken.append("commit")  # so the store does not count the run that is delivered again
    engine.ends()
    engine.crash()


def test_a_recovered_run_waits_for_its_rate_and_no_longer() -> None:
    engine = interrupted({"rate_per_key": (1, f"{RATE_MS} ms")}, after_ms=100 * RATE_MS)
    engine.ends()
    engine.crash()


@given(
    unclaimed=st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 6)),
    page=st.integers(1, 4),
    few=st.integers(1, 5),
)
def test_each_lane_is_read_once_and_one_with_many_unclaimed_items_alone(
    unclaimed: dict[str, int], page: int, few: int
) -> None:
    groups = list(_groups("abcdef", unclaimed, page, few))
    assert sorted(lane for group in groups for lane in group) == list("abcdef")
    assert all(len(group) <= page for group in groups)
    assert all(len(group) == 1 or unclaimed.get(lane, 0) <= few for group in groups for lane in group)

"""The slots of lanes against a plain model: races inside one step of the event loop lose no slot and no wake-up."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal, TypeAlias

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from perdure.engine.runs.concurrency import LaneLimit
from perdure.runtime.record import Future, Runtime, SpawnedTask
from perdure.runtime.simulated import Simulation
from perdure.values.address import Address
from perdure.values.errors import StoreUnavailable

LANES = ("x", "y")
ADDRESSES = tuple(Address("pool", "p", f"{lane}{number}") for lane in LANES for number in range(3))[:5]
SOME = st.sampled_from(ADDRESSES)
Then: TypeAlias = Literal["the step ends", "more in this step"]
THEN: st.SearchStrategy[Then] = st.sampled_from(["the step ends", "the step ends", "more in this step"])


def lane_of(address: Address) -> str:
    return address.id[0]


@attrs.define
class Rates:
    """The rates of the job, as switches.

    Attributes:
        runtime: makes the futures of those that wait.
        limited: the lanes whose rate lets no run begin.
        store: whether the store counts a run that begins, refuses it, or does not answer yet.
        places: how many runs of each lane have a place and have not begun.
        waiting: runs that wait for a place.
        counting: runs that the store counts.
    """

    runtime: Runtime
    limited: set[str] = attrs.Factory(set[str])
    store: Literal["counts", "refuses", "hangs"] = "counts"
    places: Counter[str] = attrs.Factory(Counter[str])
    waiting: list[tuple[str, Future[None]]] = attrs.Factory(list[tuple[str, "Future[None]"]])
    counting: list[tuple[str, Future[None]]] = attrs.Factory(list[tuple[str, "Future[None]"]])

    def is_limited(self, lane: str) -> bool:
        return lane in self.limited

    async def wait_for_rate(self, lane: str) -> None:
        self.waiting.append((lane, waits := self.runtime.future()))
        try:
            await waits
        finally:
            self.waiting.remove((lane, waits))

    def take_place(self, lane: str) -> None:
        self.places[lane] += 1

    def free_place(self, lane: str) -> None:
        self.places[lane] -= 1

    def begin(self, lane: str) -> None:
        self.places[lane] -= 1

    async def record(self, lane: str) -> None:
        if self.store == "hangs":
            self.counting.append((lane, answer := self.runtime.future()))
            try:
                await answer
            finally:
                self.counting.remove((lane, answer))
        if self.store == "refuses":
            raise StoreUnavailable("commit", "no disk")

    def answer(self) -> None:
        for _, answer in self.counting:
            if not answer.done():
                answer.set_result(None)

    def allow(self, lane: str) -> None:
        self.limited.discard(lane)
        for of, waits in self.waiting:
            if of == lane and not waits.done():
                waits.set_result(None)


@attrs.define(eq=False)
class Visitor:
    """A run that no lane began.

    Attributes:
        address: the instance.
        number: in the order of arrival.
        task: waits for the slot.
        state: whether its lane was limited since it arrived, or it gives up.
    """

    address: Address
    number: int
    task: SpawnedTask[Any] = attrs.field(init=False)
    state: Literal["waits", "was_limited", "gives_up"] = "waits"

    @property
    def lane(self) -> str:
        return lane_of(self.address)


class LaneLimitMachine(RuleBasedStateMachine):
    """Runs come, wait, give up and leave, several in one step; the model knows who is inside."""

    def __init__(self) -> None:
        super().__init__()
        self.simulation = Simulation()
        self.rates = Rates(self.simulation.runtime)
        self.limit = LaneLimit(self.simulation.runtime, slots=1)
        self.runs: set[Address] = set()
        self.fired: set[Address] = set()  # with a slot that no run uses yet
        self.visitors: dict[Address, Visitor] = {}
        self.claims: set[Address] = set()
        self.doubted: set[Address] = set()
        self.blocked: set[str] = set()  # lanes that the feeder skips until it hears of them
        self.stuck: bool = False  # the feeder has met no free slot
        self.ended = self.arrived = 0
        self.has_hung = False

    @initialize(slots=st.integers(1, 3), lane_slots=st.sampled_from([None, 1, 2, 2]), seed=st.integers(0, 99))
    def begin(self, slots: int, lane_slots: int | None, seed: int) -> None:
        self.simulation = Simulation(seed=seed)
        self.rates = Rates(self.simulation.runtime)
        self.limit = LaneLimit(self.simulation.runtime, slots, lane_slots)
        self.limit.freed, self.limit.rated = self.hear_of, self.rates

    def hear_of(self, lane: str) -> None:
        self.blocked.discard(lane)
        self.stuck = False

    # ------------------------------------------------------------ the model
    def inside(self) -> list[str]:
        """Return the lanes of the slots in use. A run that the store is counting has one."""
        return [*map(lane_of, (*self.runs, *self.fired)), *(lane for lane, _ in self.rates.counting)]

    def outside(self, lane: str) -> int:
        """Return how many runs of a lane wait for a slot."""
        here = sum(visitor.lane == lane for visitor in self.visitors.values())
        return here - sum(of == lane for of, _ in (*self.rates.counting, *self.rates.waiting))

    def is_full(self, lane: str) -> bool:
        """Whether the runs of a lane, and the claims whose runs have no slot, take all its slots."""
        at_rest = self.claims - self.runs - self.fired
        taken = self.inside().count(lane) + sum(lane_of(one) == lane for one in at_rest)
        return self.limit.lane_slots is not None and taken >= self.limit.lane_slots

    # ------------------------------------------------------------ the feeder
    @rule(address=SOME, then=THEN)
    def fire(self, address: Address, then: Then) -> None:
        lane = lane_of(address)
        if address not in self.fired and self.limit.has_slot and not self.limit.is_full(lane):
            self.limit.take(address, lane)
            self.fired.add(address)
        self.end(then)

    @rule(data=st.data())
    @precondition(lambda self: self.runs)
    def fire_beside_a_run(self, data: st.DataObject) -> None:
        self.fire(data.draw(st.sampled_from(sorted(self.runs))), "more in this step")

    @rule(data=st.data(), found=st.sampled_from(["work", "nothing"]), then=THEN)
    @precondition(lambda self: self.fired)
    def take_turn(self, data: st.DataObject, found: Literal["work", "nothing"], then: Then) -> None:
        address = data.draw(st.sampled_from(sorted(self.fired)))
        self.fired.remove(address)
        if found == "work" and address not in self.runs | self.visitors.keys():
            self.limit.use(address)
            self.runs.add(address)
        else:
            self.ended += 1
        self.limit.give_back(address)
        self.end(then)

    # ------------------------------------------------------------ runs that no lane began
    @rule(address=SOME, then=THEN)
    def arrive(self, address: Address, then: Then) -> None:
        if address in self.runs | self.fired | self.visitors.keys():
            return
        self.arrived += 1
        visitor = self.visitors[address] = Visitor(address, self.arrived)
        if visitor.lane in self.rates.limited:
            visitor.state = "was_limited"
        visitor.task = self.simulation.runtime.spawn_eagerly(self.visit(visitor), name=str(address))
        self.end(then)

    async def visit(self, visitor: Visitor) -> None:
        try:
            lane = await self.limit.enter_lane(visitor.address, visitor.lane)
            assert lane not in self.rates.limited, "a run begins beyond its rate"
            await self.limit.begin_recorded(visitor.address, lane)
            self.runs.add(visitor.address)
            if not self.has_hung and visitor.state == "waits":
                waits = [one for one in self.visitors.values() if one.lane == visitor.lane and one.state == "waits"]
                assert visitor.number == min(one.number for one in waits), "a run overtakes another one of its lane"
        except StoreUnavailable:
            pass
        finally:
            del self.visitors[visitor.address]

    @rule(data=st.data(), then=THEN)
    @precondition(lambda self: self.visitors)
    def give_up(self, data: st.DataObject, then: Then) -> None:
        visitor = self.visitors[data.draw(st.sampled_from(sorted(self.visitors)))]
        visitor.state = "gives_up"
        visitor.task.cancel()
        self.end(then)

    @rule(data=st.data(), then=THEN)
    @precondition(lambda self: self.runs)
    def leave(self, data: st.DataObject, then: Then) -> None:
        address = data.draw(st.sampled_from(sorted(self.runs)))
        self.runs.remove(address)
        self.ended += 1
        self.limit.leave_lane(address)
        self.end(then)

    @rule(data=st.data(), order=st.permutations(["leave", "give up"]))
    @precondition(lambda self: self.runs and self.visitors)
    def leave_while_another_one_gives_up(self, data: st.DataObject, order: list[str]) -> None:
        for part in order:
            (self.leave if part == "leave" else self.give_up)(data, "more in this step")
        self.settle()

    # ------------------------------------------------------------ rates
    @rule(lane=st.sampled_from(LANES), rate=st.sampled_from(["used up", "free", "free", "free"]), then=THEN)
    def change_rate(self, lane: str, rate: Literal["used up", "free"], then: Then) -> None:
        if rate == "free":
            self.rates.allow(lane)
        else:
            self.rates.limited.add(lane)
            for visitor in self.visitors.values():
                if visitor.lane == lane and visitor.state == "waits":
                    visitor.state = "was_limited"
        self.end(then)

    @rule(store=st.sampled_from(["counts", "counts", "counts", "refuses", "hangs"]), then=THEN)
    def change_store(self, store: Literal["counts", "refuses", "hangs"], then: Then) -> None:
        self.rates.store = store
        self.has_hung |= store == "hangs"
        self.rates.answer()
        self.end(then)

    # ------------------------------------------------------------ claims
    @rule(address=SOME, claim=st.sampled_from(["known", "doubted", "not held", "dropped"]))
    def change_claim(self, address: Address, claim: Literal["known", "doubted", "not held", "dropped"]) -> None:
        match claim:
            case "known" | "doubted":
                self.limit.hold_claim(address, lane_of(address), claim)
                self.claims.add(address)
            case "not held":
                self.limit.doubt_claim(address)
            case "dropped":
                self.limit.drop_claim(address)
                self.claims.discard(address)
        if claim in {"known", "dropped"}:
            self.doubted.discard(address)
        elif address in self.claims:
            self.doubted.add(address)

    # ------------------------------------------------------------ laws
    def end(self, then: Then) -> None:
        """End the step of the event loop, unless more happens in it: those whose turn it is continue."""
        if then == "the step ends":
            self.settle()

    def settle(self) -> None:
        self.simulation.settle()
        assert self.simulation.unhandled == ()
        inside = self.inside()
        assert self.limit.held == len(inside)
        assert self.limit.ended == self.ended
        assert self.limit.waiting == sum(map(self.outside, LANES)), "a run that waits for its rate waits for a slot too"
        for lane in LANES:
            assert self.limit.running(lane) == inside.count(lane)
            assert self.rates.places[lane] == [*map(lane_of, self.fired)].count(lane)
            if not self.rates.counting:
                assert self.limit.is_full(lane) == self.is_full(lane)
            has_slot = self.limit.lane_slots is None or inside.count(lane) < self.limit.lane_slots
            if self.outside(lane):
                assert len(inside) == self.limit.slots or not has_slot, "a run waits although it may begin"

    @invariant()
    def the_bounds_hold(self) -> None:
        assert self.limit.held <= self.limit.slots
        if self.limit.lane_slots is not None:
            assert all(self.limit.running(lane) <= self.limit.lane_slots for lane in LANES)

    @invariant()
    def claims_take_a_slot_of_their_lane(self) -> None:
        assert self.limit.doubted == self.doubted
        assert self.limit.has_doubt == bool(self.doubted)
        for address in ADDRESSES:
            assert self.limit.is_reserved(address) == (address in self.fired)

    @invariant()
    def the_feeder_hears_of_each_slot(self) -> None:
        assert all(self.limit.is_full(lane) for lane in self.blocked), "a lane is free again, and the feeder skips it"
        assert not (self.stuck and self.limit.has_slot), "a slot is free again, and the feeder sleeps"
        self.blocked |= {lane for lane in LANES if self.limit.is_full(lane)}
        self.stuck = not self.limit.has_slot

    def teardown(self) -> None:
        for visitor in tuple(self.visitors.values()):
            visitor.task.cancel()
        self.settle()
        assert (self.limit.waiting, self.visitors) == (0, {})


TestLaneLimit = LaneLimitMachine.TestCase
TestLaneLimit.settings = settings(max_examples=200, stateful_step_count=30)


@given(st.integers(2, 5), st.sampled_from([None, 1]), st.integers(0, 99))
def test_runs_of_a_lane_enter_in_the_order_of_their_arrival(number: int, lane_slots: int | None, seed: int) -> None:
    simulation, entered = Simulation(seed=seed), list[Address]()
    limit = LaneLimit(simulation.runtime, slots=1, lane_slots=lane_slots)
    limit.freed, limit.rated = lambda _: None, Rates(simulation.runtime)
    runs = [Address("pool", "p", f"x{of}") for of in range(number)]

    async def run(address: Address) -> None:
        await limit.begin_recorded(address, await limit.enter_lane(address, "x"))
        entered.append(address)
        await simulation.runtime.sleep(1)
        limit.leave_lane(address)

    for address in runs:
        simulation.runtime.spawn_eagerly(run(address), name=str(address))
    simulation.advance(10)
    assert entered == runs


@given(st.booleans())
def test_an_alarm_beside_a_run_leaves_the_slot_of_its_claim(claim_first: bool) -> None:  # noqa: FBT001 - drawn
    """The run has the slot of its claim. The alarm that is fired meanwhile takes another one, and returns it."""
    limit, at = LaneLimit(Simulation().runtime, slots=3, lane_slots=2), ADDRESSES[0]
    limit.freed, limit.rated = lambda _: None, Rates(Simulation().runtime)
    if claim_first:
        limit.hold_claim(at, "x", "known")
    limit.take(at, "x")
    limit.use(at)
    limit.hold_claim(at, "x", "known")
    limit.take(at, "x")
    assert limit.is_full("x")
    limit.give_back(at)
    assert not limit.is_full("x")
    limit.leave_lane(at)
    limit.take(ADDRESSES[1], "x")
    assert limit.is_full("x"), "the claim whose run is over has no slot"


def test_a_returned_slot_waits_for_a_run_whose_lane_has_room() -> None:
    simulation = Simulation()
    limit = LaneLimit(simulation.runtime, slots=2, lane_slots=1)
    limit.freed, limit.rated = lambda _: None, Rates(simulation.runtime)
    first, second, behind, other = (Address("pool", "p", id_) for id_ in ("x0", "y0", "x1", "y1"))
    entered: list[Address] = []

    async def enter(address: Address) -> None:
        await limit.enter_lane(address, lane_of(address))
        entered.append(address)

    async def main() -> None:
        await enter(first)
        await enter(second)
        waits = simulation.runtime.spawn_eagerly(enter(behind), name="a run of a full lane")
        limit.give_up(second, "y")
        await simulation.runtime.sleep(1)
        assert entered == [first, second]
        await enter(other)
        limit.give_up(first, "x")
        await simulation.runtime.sleep(1)
        assert waits.done()

    simulation.run(main())
    assert entered == [first, second, other, behind]

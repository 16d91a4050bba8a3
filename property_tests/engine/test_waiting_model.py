"""Those who wait inside an engine: no signal is lost, none is early, and each counts again at the second time.

Each helper stands beside a model of a few lines, in a simulation that chooses the order and moves the clock.
"""

from __future__ import annotations

from typing import Any, cast

import attrs
from hypothesis import example, given
from hypothesis import strategies as st
from one_by_one import each_load
from returns.future import FutureResult
from returns.result import Failure, Success

from perdure import Task, TaskContext, program
from perdure.engine.caller_reads import DirectReads, StatusWaiters
from perdure.engine.loops.waker import MAX_SLEEP_MS, Waker
from perdure.engine.mailbox.instance_cache import InstanceCache
from perdure.engine.mailbox.instance_cell import EngineRun, InstanceCell
from perdure.engine.pending_work import CLAIM_LEFT_RETRY_MS, AdmissionQueue, BusyInstances, ClaimsLeft
from perdure.programs.future import answer_of, asked
from perdure.runtime.simulated import Simulation
from perdure.stores.contract import Store, commit_one, load_one, overlay
from perdure.stores.memory import MemoryBackend
from perdure.values.address import Address
from perdure.values.errors import EngineClosed, Overloaded
from perdure.values.instance import Fence, Instance
from perdure.values.status_wait import NotReached, Reached, WaitCondition
from perdure.values.transition import Loaded, Purge, Put, Transition

SEEDS = st.integers(0, 99)


@program
def ignore(ctx: TaskContext[str], event: int):
    yield from ctx.set_state("")


orders = Task("orders", state=str, event=int, initial="", on_event=ignore)
A = orders.address("a")


# ---------------------------------------------------------------- the loops
@given(
    st.lists(st.tuples(st.sampled_from(["notify", "notify", "wait", "shift"]), st.integers(0, 90_000)), max_size=20),
    st.integers(1, 3),
    SEEDS,
)
def test_a_loop_runs_after_each_ring_and_not_later_than_its_time(
    story: list[tuple[str, int]], work_ms: int, seed: int
) -> None:
    """Also after one that comes while it works; after a jump of the wall clock it looks within a minute."""
    simulation = Simulation(seed=seed)
    runtime, begun, rings = simulation.runtime, list[float](), list[float]()
    wake = Waker(runtime)

    async def loop() -> None:
        while True:
            await wake.wait_until(runtime.now_ms() + 30_000)
            begun.append(runtime.monotonic_ms())
            await runtime.sleep(work_ms)

    async def main() -> None:
        runtime.spawn(loop(), name="loop")
        await runtime.sleep(1)
        for action, ms in story:
            if action == "notify":
                rings.append(runtime.monotonic_ms())
                wake.notify()
            elif action == "shift":
                simulation.shift_wall_clock(ms - 45_000)
            await runtime.sleep(ms if action == "wait" else ms % 3)
        await runtime.sleep(200_000)

    simulation.run(main())
    for ring_ms in rings:
        assert any(ring_ms <= at_ms <= ring_ms + work_ms for at_ms in begun), "a notify is lost"
    ends = [0.0, *(at_ms + work_ms for at_ms in begun)]
    shifts = sum(1 for action, _ in story if action == "shift")
    for end_ms, at_ms in zip(ends, begun, strict=False):
        assert at_ms - end_ms <= 30_000 + shifts * MAX_SLEEP_MS


def test_a_sleep_that_is_brought_forward_ends_then_and_the_next_one_does_not() -> None:
    simulation = Simulation()
    runtime, ends = simulation.runtime, list[float]()
    wake = Waker(runtime)

    async def loop() -> None:
        for until_ms in (None, 30_000, 30_000):
            await wake.wait_until(None if until_ms is None else runtime.now_ms() + until_ms)
            ends.append(runtime.monotonic_ms())

    async def main() -> None:
        runtime.spawn(loop(), name="loop")
        for in_ms in (500, 200):
            await runtime.sleep(100)
            wake.bring_forward(runtime.now_ms() + in_ms)
        await runtime.sleep(1_000)
        wake.bring_forward(runtime.now_ms())
        await runtime.sleep(100_000)

    simulation.run(main())
    assert ends == [400, 1_200, 31_200]


# ---------------------------------------------------------------- admission
@given(
    st.lists(st.tuples(st.sampled_from(["wait", "wait", "call", "cancel", "step"]), st.integers(0, 5)), max_size=30),
    SEEDS,
)
def test_room_goes_to_a_caller_that_waits_also_if_the_one_called_leaves(
    story: list[tuple[str, int]], seed: int
) -> None:
    """A caller that is cancelled after its admission, and before it takes the room, passes it on."""
    simulation = Simulation(seed=seed)
    runtime, callers, admitted = simulation.runtime, list[Any](), list[int]()
    queue = AdmissionQueue(runtime)
    room = 0

    async def call(number: int) -> None:
        await queue.wait(None)
        admitted.append(number)

    async def main() -> None:
        nonlocal room
        for action, number in story:
            match action:
                case "wait":
                    callers.append(runtime.spawn_eagerly(call(len(callers)), name="caller"))
                case "call":
                    room += queue.waiting > 0
                    queue.call(None)
                case "cancel" if callers:
                    callers[number % len(callers)].cancel()
                case _:
                    await runtime.sleep(0)
        await runtime.sleep(10)

    simulation.run(main())
    left = sum(not caller.done() for caller in callers)
    assert len(admitted) == room or not left, "room is lost while a caller waits"
    assert len(admitted) <= room
    assert queue.waiting == left


# ---------------------------------------------------------------- the instances with work
@example(story=[("work", 0), ("stop", 0), ("stop", 0), ("end", 0)], seed=0)
@example(story=[("work", 0), ("stop", 0), ("stop", 0), ("leave", 0)], seed=0)
@given(
    story=st.lists(st.tuples(st.sampled_from(["work", "end", "stop", "leave"]), st.integers(0, 3)), max_size=25),
    seed=SEEDS,
)
def test_every_stop_hears_when_no_instance_has_work(story: list[tuple[str, int]], seed: int) -> None:
    simulation = Simulation(seed=seed)
    runtime, stops = simulation.runtime, list[tuple[Any, bool]]()
    busy = BusyInstances(runtime)
    cells = [InstanceCell(orders.address(str(number)), orders) for number in range(4)]

    async def main() -> None:
        for action, number in story:
            match action:
                case "work":
                    busy.cells[cells[number]] = None
                case "end":
                    busy.forget(cells[number])
                case "stop":
                    stops.append((runtime.spawn_eagerly(busy.emptied(), name="stop"), not busy.cells))
                    assert stops[-1][0].done() == (not busy.cells)
                case _:
                    expected = {one.address for one in busy.cells}
                    assert set(busy.leave()) == expected
            await runtime.sleep(1)
            if not busy.cells:
                assert all(stop.done() for stop, _ in stops)
                stops.clear()
            else:
                assert not any(stop.done() for stop, was_done in stops if not was_done)

    simulation.run(main())


STOPS = st.lists(st.sampled_from(["timed_out", "interrupted", "released"]), min_size=1, max_size=4)


@given(STOPS)
def test_the_first_reason_of_a_stop_counts_and_a_shutdown_cancels_again(reasons: list[Any]) -> None:
    """Code may swallow the first cancellation: the shutdown must reach it. Its caller hears the first reason."""
    simulation = Simulation()
    cancelled = list[int]()

    async def work() -> None:
        while True:
            try:
                await simulation.runtime.sleep(1_000)
            except simulation.runtime.cancelled:
                cancelled.append(1)

    cell, nothing = InstanceCell(A, orders), cast("Any", None)
    run = EngineRun(cell, nothing, nothing, "beside_others", "held", task=simulation.runtime.spawn(work(), name="work"))
    cell.runs = (run,)
    simulation.settle()
    expected = 0
    for number, reason in enumerate(reasons):
        cell.stop_runs(reason)
        simulation.settle()
        expected += number == 0 or reason == "released"
        assert run.stop == reasons[0]
        assert len(cancelled) == expected
    simulation.close()


@given(st.lists(st.tuples(st.sampled_from(["begin", "end"]), st.sampled_from("xyz")), max_size=20))
def test_the_end_of_one_run_ends_no_other(story: list[tuple[str, str]]) -> None:
    cell, model = InstanceCell(A, orders), list[str]()
    for action, run_id in story:
        if action == "begin" and run_id not in model:
            cell.running = (*cell.running, run_id)
            model.append(run_id)
        elif action == "end":
            cell.forget(run_id)
            model = [one for one in model if one != run_id]
        assert list(cell.running) == model


@given(
    st.lists(
        st.tuples(st.sampled_from(["lose", "lose", "wait", "close"]), st.sampled_from("ab"), st.integers(0, 3_000))
    )
)
def test_a_claim_that_is_lost_again_is_recovered_again(story: list[tuple[str, str, int]]) -> None:
    """A second after each loss; one recovery for losses within that second; none after a close."""
    simulation, recovered = Simulation(), list[tuple[str, float]]()
    runtime = simulation.runtime
    left = ClaimsLeft(runtime, lambda _, address: recovered.append((address.id, runtime.monotonic_ms())))
    expected, due = list[tuple[str, float]](), dict[str, float]()
    for action, id_, ms in story:
        now_ms = runtime.monotonic_ms()
        match action:
            case "lose":
                left.add(InstanceCell(orders.address(id_), orders))
                due.setdefault(id_, now_ms + CLAIM_LEFT_RETRY_MS)
            case "close":
                left.close()
                due.clear()
            case _:
                simulation.advance(ms)
                ended = sorted((at_ms, one) for one, at_ms in due.items() if at_ms <= now_ms + ms)
                expected += [(one, at_ms) for at_ms, one in ended]
                due = {one: at_ms for one, at_ms in due.items() if at_ms > now_ms + ms}
        assert left.count == len(due)
    assert sorted(recovered) == sorted(expected)


# ---------------------------------------------------------------- callers that wait for a status
STATUSES = ("idle", "scheduled", "paused", "not_found")


@attrs.define
class Waiting:
    """An instance that changes, and callers that wait for its status; the store answers reads after a while.

    Attributes:
        changes: the statuses and when each was committed.
        calls: each task, its wanted status, when it began, and its time limit.
    """

    simulation: Simulation
    read_ms: int
    limit: int
    changes: list[tuple[float, str]] = attrs.Factory(lambda: [(-1.0, "not_found")])
    calls: list[tuple[Any, tuple[str, ...], float, int]] = attrs.Factory(list)
    store: Store = attrs.field(init=False)
    waits: StatusWaiters = attrs.field(init=False)
    version: int = 0
    incarnation: int = 0
    closed_ms: float | None = None
    doubts: int = 0

    def __attrs_post_init__(self) -> None:
        inner = MemoryBackend().open()

        def load(address: Address, key: str | None = None, now_ms: int = 0, /) -> FutureResult[Loaded, Any]:
            async def late() -> Any:
                answer = await answer_of(load_one(inner, address, key, now_ms))
                await self.simulation.runtime.sleep(self.read_ms)
                return answer

            return asked(late())

        shared = attrs.evolve(inner.capabilities, ownership="shared")
        self.store = overlay(
            inner, load=each_load(load, self.simulation.runtime), runtime=self.simulation.runtime, capabilities=shared
        )
        reads = DirectReads(InstanceCache(self.store), self.simulation.runtime)
        self.waits = StatusWaiters(self.store, reads, self.simulation.runtime, self.limit)

    @property
    def now_ms(self) -> float:
        return self.simulation.runtime.monotonic_ms()

    @property
    def status(self) -> str:
        return self.changes[-1][1]

    async def change(self, status: str, *, in_doubt: bool) -> None:
        """Commit a status; the engine hears of the commit, or that its outcome is not known."""
        expected = Fence(self.incarnation, self.version) if self.version else None
        if status == "not_found":
            if expected is None:
                return
            transition = Transition(address=A, expected=expected, write=Purge())
        else:
            row = Instance(address=A, created_ms=1, updated_ms=1, state='""', version=self.version + 1)
            row = row.changed(
                incarnation=self.incarnation,
                alarm_ms=10**13 if status == "scheduled" else None,
                suspension="paused" if status == "paused" else None,
            )
            transition = Transition(address=A, expected=expected, write=Put(row))
        fence = (await answer_of(commit_one(self.store, transition))).unwrap()
        self.version = 0 if status == "not_found" else fence.version
        self.incarnation = fence.incarnation
        self.changes.append((self.now_ms, status))
        if in_doubt:
            self.doubts += 1
            self.waits.doubt()
        else:
            self.waits.committed(transition)

    def call(self, wanted: tuple[str, ...], timeout_ms: int) -> None:
        condition = WaitCondition(statuses=wanted)
        call = self.waits.until(orders, A, condition, timeout_ms)
        self.calls.append((self.simulation.runtime.spawn_eagerly(call, name="call"), wanted, self.now_ms, timeout_ms))

    def held(self, begin_ms: float, end_ms: float) -> set[str]:
        """Return the statuses that the instance had in a span of time, its ends included."""
        spans = zip(self.changes, [*(at_ms for at_ms, _ in self.changes[1:]), float("inf")], strict=True)
        return {status for (at_ms, status), until_ms in spans if at_ms <= end_ms and until_ms >= begin_ms}


WAIT_STORY = st.lists(
    st.tuples(
        st.sampled_from(["call", "call", "commit", "commit", "doubt", "wait", "close"]), st.sampled_from(STATUSES)
    )
    | st.tuples(st.just("wait"), st.just("")),
    max_size=25,
)


@example(
    story=[("call", "paused"), ("wait", ""), ("commit", "paused"), ("commit", "idle"), ("wait", "")], read_ms=3, seed=0
)
@example(
    story=[("wait", ""), ("call", "paused"), ("wait", ""), ("commit", "paused"), ("commit", "scheduled")],
    read_ms=0,
    seed=0,
)
@given(story=WAIT_STORY, read_ms=st.integers(0, 4), seed=SEEDS)
def test_a_caller_that_waits_misses_no_status_and_no_end(story: list[tuple[str, str]], read_ms: int, seed: int) -> None:
    """Reads take a while, statuses change meanwhile, several times in one moment, and the time may be up."""
    simulation = Simulation(seed=seed)
    world = Waiting(simulation, read_ms, limit=3)

    async def main() -> None:
        for number, (action, status) in enumerate(story):
            match action:
                case "call":
                    wanted = (status, STATUSES[number % len(STATUSES)])[: 1 + number % 2]
                    world.call(wanted, (3, 7, 1_000)[number % 3])
                case "commit":
                    await world.change(status, in_doubt=False)
                case "doubt":
                    await world.change(status, in_doubt=True)
                case "close" if number > 12:
                    world.waits.close()
                    world.closed_ms = world.now_ms if world.closed_ms is None else world.closed_ms
                case _:
                    await simulation.runtime.sleep(number % 4)
        await simulation.runtime.sleep(5_000)

    simulation.run(main())
    assert world.waits.count == 0
    for call, wanted, begin_ms, timeout_ms in world.calls:
        check_answer(world, call.result(), wanted, begin_ms, timeout_ms)


def check_answer(world: Waiting, answer: Any, wanted: tuple[str, ...], begin_ms: float, timeout_ms: int) -> None:
    end_ms, late_ms = begin_ms + timeout_ms, begin_ms + timeout_ms + 2 * world.read_ms
    before = [status for at_ms, status in world.changes if at_ms < begin_ms][-1]
    during = [status for at_ms, status in world.changes if begin_ms < at_ms < end_ms]
    at_the_edges = any(at_ms in (begin_ms, end_ms) for at_ms, _ in world.changes)
    first = next((status for status in (before, *during) if status in wanted), None)
    is_certain = not (at_the_edges or world.doubts or world.closed_ms is not None)
    match answer:
        case Success(Reached(status)):
            assert status.status in wanted
            assert status.status in world.held(begin_ms, late_ms)
            assert first in (None, status.status) or not is_certain, "a later status is answered than the first"
        case Success(NotReached(status)):
            assert status.status in world.held(end_ms, late_ms)
            assert first is None or not is_certain, "a status that was committed meanwhile is missed"
        case Success(_):
            assert "not_found" not in wanted  # it has never been stored
        case Failure(EngineClosed()):
            assert world.closed_ms is not None
        case Failure(Overloaded(limit=limit)):
            assert limit == 3
            assert len([call for call in world.calls if call[2] <= begin_ms]) > limit
        case _:
            raise AssertionError(answer)


@given(st.integers(0, 4), SEEDS)
def test_as_many_callers_wait_as_the_limit_says(extra: int, seed: int) -> None:
    simulation = Simulation(seed=seed)
    world = Waiting(simulation, read_ms=0, limit=3)

    async def main() -> None:
        for _time in (1, 2):
            world.calls.clear()
            for _ in range(3 + extra):
                world.call(("idle",), 10)
            await simulation.runtime.sleep(20)
            refused = [call for call, *_ in world.calls if isinstance(call.result(), Failure)]
            assert len(refused) == extra

    simulation.run(main())

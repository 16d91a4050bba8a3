"""Groups of requests to the store: each request leaves once, in order, and gets its own answer.

Time moves between the actions, in a simulation that chooses the order of the steps that are ready.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import attrs
from hypothesis import example, given
from hypothesis import strategies as st
from returns.result import Result, Success

from perdure.engine.caller_reads import DirectReads
from perdure.engine.commits import Reads, StoreBatcher
from perdure.engine.mailbox.instance_cache import InstanceCache
from perdure.runtime.simulated import Simulation
from perdure.stores.contract import Store, overlay
from perdure.stores.memory import MemoryBackend
from perdure.stores.values import LoadRequest
from perdure.values.address import Address
from perdure.values.errors import EngineClosed, StoreUnavailable
from perdure.values.transition import Loaded

Behaviour = Literal["at_once", "later", "raises", "too_few"]


@attrs.define(eq=False)
class Asked:
    """One request, and its answers.

    Attributes:
        again: whether its caller requests once more, inside the answer.
        breaks: whether the engine fails at its answer.
    """

    number: int
    at_ms: float
    book: Book
    again: bool = False
    breaks: bool = False
    answers: list[Result[Any, Any]] = attrs.Factory(list)
    left_ms: float | None = None

    def leave(self) -> int:
        assert self.left_ms is None, "a request left twice"
        self.left_ms = self.book.now_ms
        return self.number

    def tell(self, one: Asked, answer: Result[Any, Any]) -> None:
        assert one is self
        self.answers.append(answer)
        self.book.told(self)
        if self.again:
            self.book.add(again=False)
        if self.breaks:
            raise ArithmeticError("of the engine")


@attrs.define(eq=False)
class Book:
    """The requests of one story, and the store that they go to, which takes one group at a time."""

    simulation: Simulation
    behaviours: list[tuple[Behaviour, int]]
    largest: int
    synchronous: bool = False
    requests: list[Asked] = attrs.Factory(list)
    groups: list[list[int]] = attrs.Factory(list)
    under_way: list[Asked] = attrs.Factory(list)
    free_since_ms: float = 0.0
    made: StoreBatcher[int] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.made = StoreBatcher(
            runtime=self.simulation.runtime,
            send_all=self.send_all,
            lost=partial(StoreUnavailable, "commit"),
            synchronous=self.synchronous,
            largest=self.largest,
        )

    @property
    def now_ms(self) -> float:
        return self.simulation.runtime.monotonic_ms()

    def add(self, *, again: bool = False, breaks: bool = False) -> None:
        one = Asked(len(self.requests), self.now_ms, self, again, breaks)
        self.requests.append(one)
        self.made.add(one)

    def told(self, one: Asked) -> None:
        if not self.synchronous:
            first = min(other.at_ms for other in self.requests if other.number in self.groups[-1])
            assert self.made.took_ms == self.now_ms - first, "a group takes the time from its own first request"
            self.under_way.remove(one)
        self.free_since_ms = self.now_ms

    def send_all(self, group: Sequence[int], answered: Callable[[Sequence[Any]], None]) -> None:
        assert self.synchronous or not self.under_way, "two groups are on their way"
        assert 0 < len(group) <= self.largest
        self.groups.append(list(group))
        self.under_way = [self.requests[number] for number in group]
        call_later = self.simulation.runtime.call_later
        behaviour, after_ms = self.behaviours[(len(self.groups) - 1) % len(self.behaviours)]
        answers = [Success(number) for number in group]
        if behaviour == "raises":
            raise OSError("the store is gone")
        if behaviour == "too_few":
            answers.pop()
        if behaviour == "at_once" or self.synchronous:
            answered(answers)
        else:
            call_later(after_ms, partial(answered, answers))

    def behaviour_of(self, number: int) -> Behaviour:
        at = next(at for at, group in enumerate(self.groups) if number in group)
        return self.behaviours[at % len(self.behaviours)][0]


BEHAVIOURS = st.lists(
    st.tuples(st.sampled_from(["at_once", "later", "later", "raises", "too_few"]), st.integers(1, 5)),
    min_size=1,
    max_size=4,
)
ADDS = st.lists(st.sampled_from(["plain", "plain", "again", "breaks"]), max_size=4)
STORY = st.lists(
    st.tuples(st.just("add"), ADDS)
    | st.tuples(st.just("gather"), ADDS)
    | st.tuples(st.just("wait"), st.integers(0, 6)),
    max_size=20,
)
LATER: list[tuple[Behaviour, int]] = [("later", 3)]


@example(story=[("gather", []), ("add", ["plain"])], behaviours=LATER, largest=3, synchronous=False, seed=0)
@example(
    story=[("add", ["again", "again"]), ("wait", 0), ("add", ["plain"])],
    behaviours=LATER,
    largest=3,
    synchronous=False,
    seed=0,
)
@given(STORY, BEHAVIOURS, st.integers(1, 3), st.sampled_from([False, False, True]), st.integers(0, 99))
def test_each_request_leaves_once_and_gets_its_answer(
    story: list[tuple[str, Any]],
    behaviours: list[tuple[Behaviour, int]],
    largest: int,
    synchronous: bool,  # noqa: FBT001 - drawn by name
    seed: int,
) -> None:
    simulation = Simulation(seed=seed)
    book = Book(simulation, behaviours, largest, synchronous)

    async def main() -> None:
        for action, detail in story:
            if action == "wait":
                await simulation.runtime.sleep(detail)
                continue
            if action == "gather":
                book.made.hold_back()
            for how in detail:
                book.add(again=how == "again", breaks=how == "breaks")
            if action == "gather":
                book.made.flush()

    simulation.run(main())
    simulation.advance(1_000)
    assert simulation.unhandled == ()
    assert [number for group in book.groups for number in group] == list(range(len(book.requests))), "in their order"
    for one in book.requests:
        (answer,) = one.answers
        if book.behaviour_of(one.number) in ("raises", "too_few"):
            assert isinstance(answer.failure(), StoreUnavailable)
        else:
            assert answer == Success(one.number)
    defects = [one for one in book.requests if one.breaks]
    assert len([record for record in simulation.logs if record.level == "error"]) == len(defects)


@given(STORY, st.integers(1, 5), st.integers(0, 99))
def test_no_request_waits_while_the_store_is_free(story: list[tuple[str, Any]], took_ms: int, seed: int) -> None:
    """It leaves in the moment in which it arrives, or in which the group before it was answered."""
    simulation = Simulation(seed=seed)
    book = Book(simulation, [("later", took_ms)], largest=100)

    async def main() -> None:
        for action, detail in story:
            if action == "wait":
                await simulation.runtime.sleep(detail)
            for _ in detail if action != "wait" else ():
                book.add()

    simulation.run(main())
    simulation.advance(1_000)
    ends = [0.0]
    for group in book.groups:
        members = [book.requests[number] for number in group]
        (left_ms,) = {one.left_ms for one in members}
        assert left_ms == max(ends[-1], min(one.at_ms for one in members))
        ends.append((left_ms or 0.0) + took_ms)


# ---------------------------------------------------------------- the reads of turns
def read_store(simulation: Simulation, *, at_once: bool) -> Store:
    """Return a store that reads each address as an absent one, at once or a millisecond later."""

    def load(requests: Sequence[LoadRequest], answered: Callable[[Sequence[Any]], None]) -> None:
        answers = [Success(Loaded(keys_held=int(request.address.id))) for request in requests]
        if at_once:
            answered(answers)
        else:
            simulation.runtime.call_later(1, partial(answered, answers))

    return overlay(MemoryBackend().open(), load=load, synchronous=at_once)


@given(steps=st.lists(st.lists(st.booleans(), max_size=4), max_size=6), at_once=st.booleans(), seed=st.integers(0, 99))
def test_a_defect_in_one_turn_keeps_no_other_from_its_row(*, steps: list[list[bool]], at_once: bool, seed: int) -> None:
    """Of the reads that are answered together; and so at the second time."""
    simulation = Simulation(seed=seed)
    reads = Reads(read_store(simulation, at_once=at_once), simulation.runtime)
    told: list[int] = []
    expected: list[int] = []

    def tell(number: int, turn: str, loaded: Result[Loaded, Any]) -> None:
        assert loaded.unwrap().keys_held == number
        told.append(number)
        if turn == "breaks":
            raise ArithmeticError(number)

    def patiently(work: Callable[[], object]) -> None:
        while True:  # a defect ends the step in which it happens, as in an event loop
            try:
                work()
            except ArithmeticError:
                continue
            return

    for breaks in steps:
        for each in breaks:
            number = len(expected)
            expected.append(number)
            answer = reads.load(
                Address("task", "t", str(number)), None, 0, partial(tell, number, "breaks" if each else "ends")
            )
            if answer is not None:
                assert at_once
                told.append(answer.unwrap().keys_held)
        patiently(lambda: simulation.advance(2))
    assert told == expected


# ---------------------------------------------------------------- the reads of callers
READS = st.lists(
    st.tuples(st.sampled_from(["read", "read", "unawaited", "cancel", "answered", "wait", "leave"]), st.integers(0, 4)),
    max_size=25,
)


@attrs.frozen
class Reader:
    """A caller that reads.

    Attributes:
        task: its task.
        end_ms: when the store answers.
        kind: whether a stop waits for it.
        is_late: whether it began after the end of the engine.
        span_ms: when it began, and when it ended.
    """

    task: Any
    end_ms: float
    kind: str
    is_late: bool
    span_ms: list[float] = attrs.Factory(list)


@attrs.define
class Readers:
    """The callers that read, and those that wait for the last read."""

    simulation: Simulation
    reads: DirectReads
    readers: list[Reader] = attrs.Factory(list)
    stops: list[tuple[Any, float]] = attrs.Factory(list)
    left_ms: float = math.inf

    @property
    def now_ms(self) -> float:
        return self.simulation.runtime.monotonic_ms()

    async def read(self, after_ms: int) -> Result[int, Any]:
        if after_ms:
            await self.simulation.runtime.sleep(after_ms)
        return Success(after_ms)

    async def note(self, wait: Any) -> float:
        await wait
        return self.now_ms

    async def act(self, action: str, number: int) -> None:
        runtime = self.simulation.runtime
        match action:
            case "read" | "unawaited":
                call = self.reads.answer(partial(self.read, number), is_awaited=action == "read")
                task = runtime.spawn_eagerly(call, name="reader")
                one = Reader(task, self.now_ms + number, action, self.left_ms < math.inf, [self.now_ms])
                task.add_done_callback(lambda _: one.span_ms.append(self.now_ms))
                self.readers.append(one)
            case "cancel" if self.readers:
                self.readers[number % len(self.readers)].task.cancel()
                await self._step()
            case "answered":
                self.stops.append((runtime.spawn(self.note(self.reads.answered()), name="stop"), self.now_ms))
                await self._step()
            case "leave":
                self.left_ms = min(self.left_ms, self.now_ms)
                self.reads.leave()
                await self._step()
            case _:
                await runtime.sleep(number)

    async def _step(self) -> None:
        for _ in range(20):
            await self.simulation.runtime.sleep(0)

    def check(self) -> None:
        for one in self.readers:
            answer = None if one.task.cancelled() else one.task.result()
            if one.is_late or self.left_ms < one.end_ms:
                assert answer in (None, Success(0)) or isinstance(answer.failure(), EngineClosed)
            else:
                assert answer is None or isinstance(answer, Success)
        spans = [tuple(one.span_ms) for one in self.readers if one.kind == "read"]
        for stop, begin_ms in self.stops:
            assert stop.done(), "no one tells it"
            assert not any(begin < stop.result() < end for begin, end in spans), "a read is in progress"
            free_ms = begin_ms
            while ends := [end for begin, end in spans if begin <= free_ms < end]:
                free_ms = max(ends)
            assert stop.result() <= free_ms, "it is told late"


@example(story=[("read", 3), ("read", 1), ("answered", 0), ("wait", 2)], seed=0)
@example(story=[("read", 4), ("answered", 0), ("cancel", 0), ("wait", 1)], seed=0)
@example(story=[("leave", 0), ("read", 0), ("read", 2)], seed=0)
@given(story=READS, seed=st.integers(0, 99))
def test_each_reader_is_answered_and_a_stop_waits_for_those_it_must(story: list[tuple[str, int]], seed: int) -> None:
    """A read is answered by the store, or as closed; who waits for all reads is told in the moment of the last one."""
    simulation = Simulation(seed=seed)
    readers = Readers(simulation, DirectReads(InstanceCache(MemoryBackend().open()), simulation.runtime))

    async def main() -> None:
        for action, number in story:
            await readers.act(action, number)
        await simulation.runtime.sleep(100)
        assert all(one.task.done() for one in readers.readers), "a reader waits forever"

    simulation.run(main())
    readers.check()
    assert simulation.unhandled == ()


@given(st.lists(st.integers(1, 9), min_size=2, max_size=5), st.integers(0, 99))
def test_a_stop_waits_for_the_last_of_several_reads(after_ms: list[int], seed: int) -> None:
    simulation = Simulation(seed=seed)
    runtime = simulation.runtime
    reads = DirectReads(InstanceCache(MemoryBackend().open()), runtime)

    async def read(ms: int) -> Result[int, Any]:
        await runtime.sleep(ms)
        return Success(ms)

    async def main() -> None:
        tasks = [runtime.spawn_eagerly(reads.answer(partial(read, ms)), name="reader") for ms in after_ms]
        await reads.answered()
        assert runtime.monotonic_ms() == max(after_ms)
        for task in tasks:
            await task

    simulation.run(main())

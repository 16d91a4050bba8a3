"""The queues of the stores: each request is sent once, in its order, and gets its own answer.

The server and the file are models that answer after a while, in a simulation that chooses the order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import attrs
from hypothesis import example, given
from hypothesis import strategies as st
from returns.result import Failure, Result, Success

from perdure.runtime.record import Sizes
from perdure.runtime.simulated import Simulation
from perdure.stores.postgres.operations import GatheredAnswers, PendingStatement, Queue, groups_of
from perdure.stores.sqlite.database import Batcher, Read
from perdure.values.errors import OutcomeUnknown, OwnershipLost, StoreUnavailable

SEEDS = st.integers(0, 99)


# ---------------------------------------------------------------- PostgreSQL
@attrs.define
class Server:
    """Executes groups of statements.

    Attributes:
        groups: the groups, in the order in which they were sent.
        busy: how many groups are under way.
    """

    simulation: Simulation
    answers: list[str]
    lanes: int
    groups: list[list[int]] = attrs.Factory(list)
    busy: int = 0
    refuses: bool = False

    async def send(self, requests: Sequence[int]) -> Sequence[Result[int, Any]]:
        self.busy += 1
        assert self.busy <= self.lanes
        number = len(self.groups)
        self.groups.append(list(requests))
        try:
            await self.simulation.runtime.sleep(1 + number % 3)
            if self.answers[number % len(self.answers)] == "raises":
                raise OSError("the server is gone")
            return [Success(request) for request in requests]
        finally:
            self.busy -= 1

    def refusal(self, operation: str) -> Any:
        return StoreUnavailable(operation, "closed") if self.refuses else None

    def order_of(self, number: int) -> int:
        return next(at for at, group in enumerate(self.groups) if number in group)


ADDS = st.tuples(st.sampled_from(["await", "await", "group", "wait", "cancel"]), st.integers(0, 3))


@attrs.define
class Client:
    """Sends requests in both ways, and keeps the answers."""

    queue: Queue[int]
    server: Server
    answers: dict[int, list[Any]] = attrs.Factory(lambda: defaultdict(list))
    tasks: dict[int, Any] = attrs.Factory(dict)
    number: int = 0

    def next(self) -> int:
        self.number += 1
        return self.number

    async def awaited(self, pending: PendingStatement[int], number: int) -> None:
        self.answers[number].append(await pending)
        assert await pending == self.answers[number][0]  # it can be awaited again

    def act(self, action: str, count: int) -> None:
        runtime = self.server.simulation.runtime
        match action:
            case "await":
                number = self.next()
                pending = self.queue.operation("write", number)
                self.tasks[number] = runtime.spawn_eagerly(self.awaited(pending, number), name="caller")
            case "group" if count:
                numbers = [self.next() for _ in range(count)]

                def answered(answers: Sequence[Any]) -> None:
                    for number, answer in zip(numbers, answers, strict=True):
                        self.answers[number].append(answer)

                self.queue.send("write", numbers, answered)
            case "cancel" if self.tasks:
                self.tasks[sorted(self.tasks)[count % len(self.tasks)]].cancel()
            case _:
                pass


@example(story=[("group", 2), ("await", 0), ("group", 1)], answers=["ok"], lanes=1, seed=0)
@given(
    story=st.lists(ADDS, max_size=25),
    answers=st.lists(st.sampled_from(["ok", "ok", "raises"]), min_size=1, max_size=3),
    lanes=st.integers(1, 2),
    seed=SEEDS,
)
def test_each_group_is_sent_once_in_its_order(
    story: list[tuple[str, int]], answers: list[str], lanes: int, seed: int
) -> None:
    simulation = Simulation(seed=seed)
    server = Server(simulation, answers, lanes)
    queue: Queue[int] = Queue(simulation.runtime, "q", server.send, server.refusal, OutcomeUnknown, lanes=lanes)
    client = Client(queue, server)

    async def main() -> None:
        for action, count in story:
            client.act(action, count)
            await simulation.runtime.sleep(count if action == "wait" else 0)
        await queue.emptied()
        assert not server.busy
        await simulation.runtime.sleep(0)
        server.refuses = True
        assert "closed" in str((await queue.operation("late", 0)).failure())

    simulation.run(main())
    simulation.settle()
    sent = [number for group in server.groups for number in group]
    assert sent == sorted(set(sent)), "a statement is sent twice, or overtakes another"
    for number in range(1, client.number + 1):
        task = client.tasks.get(number)
        if task is not None and task.cancelled():
            continue
        (answer,) = client.answers[number]
        is_lost = answers[server.order_of(number) % len(answers)] == "raises"
        assert isinstance(answer.failure(), OutcomeUnknown) if is_lost else answer == Success(number)


TOUCHES = st.lists(st.sampled_from("xyz"), max_size=2, unique=True).map(tuple)


@example(touches=[("x",), ("x", "y"), ("y",)], largest=9)
@example(touches=[(), (), ()], largest=2)
@given(touches=st.lists(TOUCHES, max_size=25), largest=st.integers(1, 4))
def test_changes_that_touch_the_same_are_in_different_groups_in_their_order(
    touches: list[tuple[str, ...]], largest: int
) -> None:
    groups = groups_of(touches, largest)
    assert sorted(place for group in groups for place in group) == list(range(len(touches)))
    assert all(0 < len(group) <= largest for group in groups)
    for group in groups:
        touched = [one for place in group for one in touches[place]]
        assert len(touched) == len(set(touched)), "two of one group touch the same"
    for resource in "xyz":
        sent = [place for group in groups for place in group if resource in touches[place]]
        assert sent == sorted(sent), f"one that touches {resource} overtakes another"


@given(st.permutations(range(4)))
def test_gathered_answers_are_in_the_order_of_the_requests(order: Sequence[int]) -> None:
    told: list[Sequence[Any]] = []
    gathered = GatheredAnswers(4, told.append)
    for at in order:
        assert not told
        gathered.part((at,))((Success(at),))
    assert told == [[Success(0), Success(1), Success(2), Success(3)]]
    GatheredAnswers(0, told.append)
    assert told[1:] == [[]]


# ---------------------------------------------------------------- SQLite
@attrs.frozen
class Named:
    store: str = "sqlite:///model"
    path: str = "/no file"


@attrs.define
class File:
    """A database and its lock: reads and writes take a while, and may find that the file is lost, or cannot be opened.

    Attributes:
        fates: of each batch, in turn.
        batches: the batches, each with the requests in it.
    """

    simulation: Simulation
    fates: list[str]
    batches: list[tuple[str, list[Any]]] = attrs.Factory(list)
    lost: OwnershipLost | None = None
    file: Named = attrs.Factory(Named)
    state: str = "open"
    released: int = 0
    busy: bool = False

    async def read(self, reads: Sequence[Read]) -> list[Result[Any, Any]]:
        return await self._batch("read", [read.operation for read in reads])

    async def write(self, group: Sequence[Any]) -> list[Result[Any, Any]]:
        return await self._batch("write", list(group))

    async def _batch(self, kind: str, requests: list[Any]) -> list[Result[Any, Any]]:
        assert not self.busy, "two batches are with the database"
        assert self.state == "open"
        self.busy = True
        fate = self.fates[len(self.batches) % len(self.fates)]
        self.batches.append((kind, requests))
        await self.simulation.runtime.sleep(1)
        self.busy = False
        if fate == "unopened":
            raise StoreUnavailable("open", "the disk is full")
        if fate == "lost" and kind == "write":
            self.lost = OwnershipLost(self.file.store, "another engine has opened it")
            return [Failure(self.lost)] * len(requests)
        return [Success(request) for request in requests]

    async def close(self) -> None:
        assert not self.busy
        self.state = "closed"

    def abandon(self) -> None:
        raise AssertionError("the database is abandoned")

    def release(self) -> None:
        self.released += 1


FILE_STORY = st.lists(
    st.tuples(st.sampled_from(["read", "write", "write", "all", "wait", "close", "cancel"]), st.integers(0, 3)),
    max_size=25,
)


@attrs.define
class Owner:
    """Asks the batcher, and keeps the answers."""

    batcher: Batcher
    file: File
    answers: dict[str, list[Any]] = attrs.Factory(lambda: defaultdict(list))
    tasks: dict[str, Any] = attrs.Factory(dict)
    closes: list[Any] = attrs.Factory(list)
    number: int = 0

    async def awaited(self, pending: Any, name: str) -> None:
        self.answers[name].append(await pending)

    def act(self, action: str, count: int) -> None:
        spawn, name = self.file.simulation.runtime.spawn_eagerly, f"{self.number}"
        self.number += 1
        match action:
            case "read" | "write":
                made: Any = self.batcher.write("write", name) if action == "write" else self.batcher.read(reading(name))  # type: ignore[arg-type]
                self.tasks[name] = spawn(self.awaited(made, name), name=name)
            case "all" if count:
                names = [f"{name}.{at}" for at in range(count)]

                def answered(answers: Sequence[Any]) -> None:
                    for each, answer in zip(names, answers, strict=True):
                        self.answers[each].append(answer)

                self.batcher.read_all([reading(each) for each in names], answered)
            case "close":
                self.closes.append(spawn(self.batcher.close(), name="close"))
            case "cancel" if self.tasks:
                self.tasks[sorted(self.tasks)[count % len(self.tasks)]].cancel()
            case _:
                pass


def reading(name: str) -> Read:
    return Read(name, lambda _: name)


@example(story=[("write", 0), ("close", 0), ("close", 0)], fates=["ok"], largest=2, seed=0)
@example(story=[("write", 0)] * 5, fates=["unopened", "ok"], largest=2, seed=0)
@given(
    story=FILE_STORY,
    fates=st.lists(st.sampled_from(["ok", "ok", "ok", "unopened", "lost"]), min_size=1, max_size=4),
    largest=st.integers(1, 3),
    seed=SEEDS,
)
def test_each_request_to_a_file_is_answered_once_and_every_close_returns(
    story: list[tuple[str, int]], fates: list[str], largest: int, seed: int
) -> None:
    simulation = Simulation(seed=seed)
    file = File(simulation, fates)
    runtime = attrs.evolve(simulation.runtime, sizes=Sizes(group=largest))
    batcher = Batcher(runtime, file, file)  # type: ignore[arg-type]
    owner = Owner(batcher, file)

    async def main() -> None:
        for action, count in story:
            owner.act(action, count)
            await simulation.runtime.sleep(count if action == "wait" else 0)
        await simulation.runtime.sleep(100)
        for _time in (1, 2):
            await batcher.close()

    simulation.run(main())
    assert simulation.unhandled == ()
    assert (file.state, file.released) == ("closed", 1)
    assert all(close.done() for close in owner.closes), "a close never returns"
    assert batcher.lost.done() == (file.lost is not None)
    requests = [request for _, batch in file.batches for request in batch]
    assert len(requests) == len(set(requests))
    assert all(0 < len(batch) <= largest for _, batch in file.batches)
    writes = [int(request) for kind, batch in file.batches for request in batch if kind == "write"]
    assert writes == sorted(writes), "writes are in their order"
    for name, task in owner.tasks.items():
        assert task.cancelled() or len(owner.answers[name]) == 1
    for name, answers in owner.answers.items():
        for answer in answers:
            assert answer == Success(name) or isinstance(answer.failure(), StoreUnavailable | OwnershipLost)


def test_reads_and_writes_of_a_file_take_turns() -> None:
    simulation = Simulation()
    file = File(simulation, ["ok"])
    runtime = attrs.evolve(simulation.runtime, sizes=Sizes(group=1))
    batcher = Batcher(runtime, file, file)  # type: ignore[arg-type]
    owner = Owner(batcher, file)
    for action in ("read", "read", "read", "write", "write"):
        owner.act(action, 0)
    simulation.advance(50)
    assert [kind for kind, _ in file.batches] == ["read", "write", "read", "write", "read"]

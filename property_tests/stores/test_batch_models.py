"""The queues of the stores: each request is sent once, in its order, in bounded groups, and gets its own answer.

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

from perdure.runtime.simulated import Simulation
from perdure.stores.postgres.operations import PendingStatement, QueryGroup, Queue
from perdure.stores.sqlite.database import Batcher, Read
from perdure.values.errors import OutcomeUnknown, OwnershipLost, StoreUnavailable

SEEDS = st.integers(0, 99)
TOUCHES = st.lists(st.sampled_from("xyz"), max_size=2, unique=True).map(tuple)


# ---------------------------------------------------------------- PostgreSQL
@attrs.define
class Server:
    """Executes groups of statements.

    Attributes:
        touching: the resources of each request.
        sent: the requests, in the order of their groups.
        busy: how many groups are under way.
    """

    simulation: Simulation
    answers: list[str]
    group: int
    lanes: int
    touching: dict[int, tuple[str, ...]] = attrs.Factory(dict)
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


ADDS = st.tuples(st.sampled_from(["await", "await", "send", "group", "wait", "cancel"]), TOUCHES, st.integers(0, 3))


@attrs.define
class Client:
    """Sends requests in each of the three ways, and keeps the answers."""

    queue: Queue[int]
    server: Server
    answers: dict[int, list[Any]] = attrs.Factory(lambda: defaultdict(list))
    tasks: dict[int, Any] = attrs.Factory(dict)
    number: int = 0

    def next(self, touches: tuple[str, ...]) -> int:
        self.number += 1
        self.server.touching[self.number] = touches
        return self.number

    async def awaited(self, pending: PendingStatement[int], number: int) -> None:
        self.answers[number].append(await pending)
        assert await pending == self.answers[number][0]  # it can be awaited again

    def act(self, action: str, touches: tuple[str, ...], count: int) -> None:
        runtime = self.server.simulation.runtime
        match action:
            case "await":
                number = self.next(touches)
                pending = self.queue.operation("write", number, touches=touches)
                self.tasks[number] = runtime.spawn_eagerly(self.awaited(pending, number), name="caller")
            case "send":
                number = self.next(touches)
                self.queue.operation("write", number, touches=touches).send(self.answers[number].append)
            case "group" if count:
                numbers = [self.next(()) for _ in range(count)]

                def answered(answers: Sequence[Any]) -> None:
                    for number, answer in zip(numbers, answers, strict=True):
                        self.answers[number].append(answer)

                self.queue.send_all("write", numbers, answered)
            case "cancel" if self.tasks:
                self.tasks[sorted(self.tasks)[count % len(self.tasks)]].cancel()
            case _:
                pass


@example(
    story=[("await", ("x",), 0), ("await", ("x", "y"), 0), ("await", ("y",), 0)],
    answers=["ok"],
    group=9,
    lanes=1,
    seed=0,
)
@given(
    story=st.lists(ADDS, max_size=25),
    answers=st.lists(st.sampled_from(["ok", "ok", "raises"]), min_size=1, max_size=3),
    group=st.integers(1, 4),
    lanes=st.integers(1, 2),
    seed=SEEDS,
)
def test_each_statement_is_sent_once_behind_those_that_touch_the_same(
    story: list[tuple[str, tuple[str, ...], int]], answers: list[str], group: int, lanes: int, seed: int
) -> None:
    simulation = Simulation(seed=seed)
    server = Server(simulation, answers, group, lanes)
    queue: Queue[int] = Queue(
        simulation.runtime, "q", server.send, server.refusal, OutcomeUnknown, lanes=lanes, group=group
    )
    client = Client(queue, server)

    async def main() -> None:
        for action, touches, count in story:
            client.act(action, touches, min(count, group))
            await simulation.runtime.sleep(count if action == "wait" else 0)
        await queue.emptied()
        assert not server.busy
        await simulation.runtime.sleep(0)
        server.refuses = True
        assert "closed" in str((await queue.operation("late", 0)).failure())

    simulation.run(main())
    simulation.settle()
    sent = [number for group_ in server.groups for number in group_]
    assert len(sent) == len(set(sent)), "a statement is sent twice"
    assert all(0 < len(group_) <= group for group_ in server.groups)
    for number in range(1, client.number + 1):
        task = client.tasks.get(number)
        if task is not None and task.cancelled():
            continue
        (answer,) = client.answers[number]
        is_lost = answers[server.order_of(number) % len(answers)] == "raises"
        assert isinstance(answer.failure(), OutcomeUnknown) if is_lost else answer == Success(number)
    if lanes == 1:
        check_order(server)


def check_order(server: Server) -> None:
    for group in server.groups:
        touched = [one for number in group for one in server.touching[number]]
        assert len(touched) == len(set(touched)), "two of one group touch the same"
    for resource in "xyz":
        sent = [number for group in server.groups for number in group if resource in server.touching[number]]
        assert sent == sorted(sent), f"one that touches {resource} overtakes another"


def test_groups_of_commits_and_single_ones_take_turns() -> None:
    """A stream of groups keeps no single statement waiting for more than one of them, nor the other way round."""
    simulation = Simulation()
    server = Server(simulation, ["ok"], 3, 1)
    queue: Queue[int] = Queue(simulation.runtime, "q", server.send, server.refusal, OutcomeUnknown, group=3)
    client = Client(queue, server)
    for _ in range(4):
        client.act("group", (), 2)
    client.act("send", ("x",), 0)
    client.act("send", ("x",), 0)
    simulation.advance(100)
    assert server.groups == [[1, 2], [9], [3, 4], [10], [5, 6], [7, 8]]


@given(st.permutations(range(4)))
def test_gathered_answers_are_in_the_order_of_the_requests(order: Sequence[int]) -> None:
    told: list[Sequence[Any]] = []
    gathered = QueryGroup(4, told.append)
    for at in order:
        assert not told
        gathered.listener(at)(Success(at))
    assert told == [[Success(0), Success(1), Success(2), Success(3)]]
    QueryGroup(0, told.append)
    assert told[1:] == [[]]


# ---------------------------------------------------------------- SQLite
@attrs.frozen
class Named:
    store: str = "sqlite:///model"


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
    batcher = Batcher(simulation.runtime, file, file, largest=largest)  # type: ignore[arg-type]
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
    batcher = Batcher(simulation.runtime, file, file, largest=1)  # type: ignore[arg-type]
    owner = Owner(batcher, file)
    for action in ("read", "read", "read", "write", "write"):
        owner.act(action, 0)
    simulation.advance(50)
    assert [kind for kind, _ in file.batches] == ["read", "write", "read", "write", "read"]

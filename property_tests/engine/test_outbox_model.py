"""Messages against a model: each is offered once, in the order of its pair, and never again after it was consumed.

The store is that of the memory; its reads take a while, so that a message may be consumed, postponed or resumed while a
read that still shows it is on its way.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from returns.future import FutureResult
from returns.result import Failure, Success

from perdure import Task, TaskContext, program
from perdure.engine.loops.outbox import HeldMessages, Outbox, with_unserved
from perdure.engine.loops.waker import Waker
from perdure.engine.reporting import Reporting
from perdure.engine.sinks import OpenSinks
from perdure.jobs.messages import HELD_MS
from perdure.programs.future import answer_of, asked
from perdure.runtime.record import Future
from perdure.runtime.simulated import Simulation
from perdure.stores.contract import commit_one, overlay
from perdure.stores.memory import MemoryBackend
from perdure.stores.values import Health
from perdure.values.address import Address, Job
from perdure.values.errors import (
    HookRaised,
    InstanceParked,
    OutcomeUnknown,
    Overloaded,
    PerdureError,
    RunTimeout,
    StoreUnavailable,
    Undecodable,
)
from perdure.values.limits import Limits
from perdure.values.message import Consumed, Message, StoredMessage
from perdure.values.transition import Transition


@program
def ignore(ctx: TaskContext[str], event: int):
    yield from ctx.set_state("")


orders = Task("orders", state=str, event=int, initial="", on_event=ignore)
SENDERS, TARGETS = ("p", "q", "r"), ("x", "y")


@attrs.define
class Receivers:
    """Takes the place of the dispatcher: consumes each message after a while, or refuses it while its target is parked.

    Attributes:
        offered: the messages in the order in which they were offered.
        under_way: their pairs.
        unknown: whether the next answer is that the outcome is not known, although the message was consumed.
    """

    simulation: Simulation
    backend: MemoryBackend
    read_ms: int
    offered: list[int] = attrs.Factory(list)
    consumed: list[tuple[str, str, int]] = attrs.Factory(list)
    under_way: set[tuple[Address, Address]] = attrs.Factory(set)
    parked: set[str] = attrs.Factory(set)
    settled: set[int] = attrs.Factory(set)
    postponed: dict[int, int] = attrs.Factory(dict)
    unknown: int = 0
    work_ms: int = 1
    batch: int = 256
    outbox: Outbox = attrs.field(init=False)
    store: Any = attrs.field(init=False)
    sent: int = 0

    def __attrs_post_init__(self) -> None:
        runtime = self.simulation.runtime
        inner = self.backend.open()

        def messages(
            now_ms: int, limit: int, except_jobs: tuple[Job, ...] = (), /
        ) -> FutureResult[tuple[StoredMessage, ...], Any]:
            async def late() -> Any:
                answer = await answer_of(inner.messages(now_ms, limit, except_jobs))
                await runtime.sleep(self.read_ms)
                return answer

            return asked(late())

        self.store = overlay(inner, messages=messages)
        dispatcher: Any = self
        reporting = Reporting(runtime, OpenSinks(runtime))
        jobs: Any = {("task", "orders"): orders}
        limits = Limits(message_batch=self.batch)
        self.outbox = Outbox(self.store, runtime, dispatcher, jobs, limits, Waker(runtime), reporting)
        self.outbox.process_ends = lambda _: None

    def post(self, job: Any, address: Address, request: Any) -> Future[Any]:
        pair = (request.inbound.sender, address)
        assert pair not in self.under_way, "two messages of a pair are offered at once"
        message_id, now_ms = request.inbound.message_id, self.simulation.runtime.now_ms()
        assert message_id not in self.settled, "a message is offered after it was consumed"
        assert now_ms >= self.postponed.pop(message_id, 0), "a message is offered again before its time"
        self.under_way.add(pair)
        assert len(self.under_way) <= self.batch, "more messages of a job are in progress than its limit"
        self.offered.append(request.inbound.message_id)
        answer = self.simulation.runtime.future()
        self.simulation.runtime.spawn(self.turn(pair, request.inbound.message_id, answer), name="turn")
        return answer

    async def turn(self, pair: tuple[Address, Address], message_id: int, answer: Future[Any]) -> None:
        is_parked = pair[1].id in self.parked
        await self.simulation.runtime.sleep(self.work_ms)
        if is_parked:
            self.under_way.discard(pair)
            if pair[1].id in self.parked:
                self.postponed[message_id] = self.simulation.runtime.now_ms() + HELD_MS
            answer.set_result(Failure(InstanceParked(str(pair[1]), "retries_exhausted")))
            return
        await answer_of(commit_one(self.store, Transition(address=pair[1], inbound=Consumed(message_id))))
        self.settled.add(message_id)
        self.consumed.append((pair[0].id, pair[1].id, message_id))
        self.under_way.discard(pair)
        self.outbox.consumed(message_id)
        if not answer.done():
            answer.set_result(Failure(OutcomeUnknown("lost")) if self.unknown else Success(None))
        self.unknown = max(0, self.unknown - 1)

    def resume(self, target: str) -> None:
        self.parked.discard(target)
        self.postponed.clear()
        self.outbox.release(orders.address(target))

    async def send(self, sender: str, target: str) -> None:
        self.sent += 1
        message = Message(
            sender=orders.address(sender), target=orders.address(target), action="send", payload="1", sent_ms=0
        )
        await answer_of(commit_one(self.store, Transition(address=message.sender, messages=(message,))))
        self.outbox.wake.notify()


STORY = st.lists(
    st.tuples(
        st.sampled_from(["send", "send", "send", "park", "resume", "unknown", "wait"]),
        st.sampled_from(SENDERS),
        st.sampled_from(TARGETS),
        st.integers(0, 4),
    ),
    max_size=30,
)
PARKED_TWICE = [
    (action, sender, "x", ms)
    for _ in range(2)
    for action, sender, ms in (
        ("park", "p", 0),
        ("send", "p", 0),
        ("send", "q", 4),
        ("wait", "p", 4),
        ("resume", "p", 0),
    )
]

RESUMED_DURING_ITS_TURN = [
    ("park", "p", "x", 0),
    ("send", "p", "x", 0),
    ("wait", "p", "x", 1),
    ("resume", "p", "x", 0),
    ("wait", "p", "x", 4),
    ("wait", "p", "x", 4),
]


@example(story=[*RESUMED_DURING_ITS_TURN, *PARKED_TWICE], read_ms=0, work_ms=3, batch=256, seed=0)
@example(story=PARKED_TWICE, read_ms=0, work_ms=1, batch=256, seed=0)
@example(
    story=[("park", "p", "x", 0), ("send", "p", "x", 1), ("resume", "p", "x", 0)],
    read_ms=0,
    work_ms=1,
    batch=256,
    seed=0,
)
@given(
    story=STORY,
    read_ms=st.integers(0, 4),
    work_ms=st.integers(0, 3),
    batch=st.sampled_from([1, 2, 256]),
    seed=st.integers(0, 99),
)
def test_each_message_is_consumed_once_in_order_and_soon_after_a_resumption(
    story: list[tuple[str, str, str, int]], read_ms: int, work_ms: int, batch: int, seed: int
) -> None:
    simulation = Simulation(seed=seed)
    receivers = Receivers(simulation, MemoryBackend(), read_ms, work_ms=work_ms, batch=batch)

    async def main() -> None:
        loop = simulation.runtime.spawn(receivers.outbox.run(), name="outbox")
        for action, sender, target, ms in story:
            match action:
                case "send":
                    await receivers.send(sender, target)
                case "park":
                    receivers.parked.add(target)
                case "resume" if target in receivers.parked:
                    receivers.resume(target)
                case "unknown":
                    receivers.unknown += 1
                case _:
                    await simulation.runtime.sleep(ms)
        for target in tuple(receivers.parked):
            receivers.resume(target)
        await simulation.runtime.sleep(HELD_MS / 2)
        assert len(receivers.consumed) == receivers.sent, "a message of a resumed target still waits"
        loop.cancel()

    simulation.run(main())
    assert receivers.outbox.under_way == 0
    in_order: dict[tuple[str, str], list[int]] = defaultdict(list)
    for sender, target, message_id in receivers.consumed:
        in_order[sender, target].append(message_id)
    assert all(ids == sorted(ids) for ids in in_order.values())


def test_a_message_that_was_consumed_is_not_postponed_by_a_later_resumption() -> None:
    """Its target was resumed elsewhere, so this engine offers it again after a minute; and then is resumed here."""
    simulation = Simulation()
    receivers = Receivers(simulation, MemoryBackend(), read_ms=0)

    async def main() -> None:
        loop = simulation.runtime.spawn(receivers.outbox.run(), name="outbox")
        receivers.parked.add("x")
        await receivers.send("p", "x")
        await simulation.runtime.sleep(HELD_MS / 2)
        receivers.parked.discard("x")
        await simulation.runtime.sleep(HELD_MS)
        assert len(receivers.consumed) == 1
        receivers.resume("x")
        await simulation.runtime.sleep(HELD_MS)
        loop.cancel()

    simulation.run(main())
    assert [record.message for record in simulation.logs] == []


AT = "task:orders:x"
PARKED, FULL = InstanceParked(AT, "retries_exhausted"), Overloaded(f"mailbox of {AT}", 1)
FATES = [  # the answer, whose the target is, the deliveries afterwards, and when it is delivered again
    (PARKED, "own", 0, HELD_MS),
    (PARKED, "another's", 0, 0),
    (FULL, "own", 1, 1_000),
    (FULL, "another's", 0, 0),
    (Undecodable(AT, ("$: no",)), "own", 0, HELD_MS),
    (Undecodable(AT, ("$: no",)), "another's", 0, HELD_MS),
    (HookRaised("ValueError", "no", ""), "own", 1, 1_000),
    (HookRaised("ValueError", "no", ""), "another's", 1, 1_000),
    (RunTimeout(1_000), "own", 1, 1_000),
    (OutcomeUnknown("lost"), "own", 0, 0),
    (StoreUnavailable("commit", "down"), "own", 0, 0),
]


@pytest.mark.parametrize(("error", "whose", "deliveries", "again_ms"), FATES)
def test_an_answer_decides_whether_a_delivery_counts(error: Any, whose: str, deliveries: int, again_ms: int) -> None:
    simulation = Simulation()
    receivers = Receivers(simulation, MemoryBackend(), read_ms=0)
    receivers.outbox.is_own = lambda _: whose == "own"
    receivers.outbox.dispatcher = Refusing(simulation, error)  # type: ignore[assignment] # only `post` is called

    async def main() -> None:
        loop = simulation.runtime.spawn(receivers.outbox.run(), name="outbox")
        await receivers.send("p", "x")
        began_ms = simulation.runtime.now_ms()
        await simulation.runtime.sleep(500)
        (stored,) = (await answer_of(receivers.store.messages(1 << 60, 9))).unwrap()
        assert stored.deliveries == deliveries
        assert stored.not_before_ms == (began_ms + again_ms if again_ms else 0)
        assert receivers.outbox.under_way == (again_ms == 0)  # not offered again before the store is known
        loop.cancel()

    simulation.run(main())


@attrs.frozen
class Refusing:
    """Answers each message with an error."""

    simulation: Simulation
    error: PerdureError

    def post(self, job: Any, address: Address, request: Any) -> Future[Any]:
        answer = self.simulation.runtime.future()
        answer.set_result(Failure(self.error))
        return answer


@given(
    st.sampled_from(["ok", "degraded", "failed"]),
    st.dictionaries(st.sampled_from(["task:a", "task:b"]), st.sampled_from([0, 1, 1_000])),
    st.sets(st.sampled_from(["task:c", "task:d"])),
)
def test_unserved_work_degrades_a_store_that_is_ok_and_hides_no_failure(
    state: Any, counts: dict[str, int], nowhere: set[str]
) -> None:
    found = with_unserved(Health(state=state, detail="disk full"), counts, tuple(nowhere))
    is_unserved = bool(nowhere) or any(counts.values())
    assert found.state == ("degraded" if state == "ok" and is_unserved else state)
    assert found.unserved_messages == sum(counts.values())
    assert found.detail.startswith("disk full")
    assert all(job in found.detail for job in nowhere)


PAIRS = st.tuples(st.sampled_from(SENDERS), st.sampled_from(TARGETS))


@given(st.lists(st.tuples(st.sampled_from(["add", "add", "discard", "pop"]), PAIRS), max_size=40), st.integers(1, 4))
def test_the_messages_that_are_kept_are_bounded(story: list[tuple[str, tuple[str, str]]], limit: int) -> None:
    held, model = HeldMessages(limit), dict[tuple[Address, Address], StoredMessage]()
    for number, (action, (sender, target)) in enumerate(story):
        pair = (orders.address(sender), orders.address(target))
        match action:
            case "add":
                message = Message(sender=pair[0], target=pair[1], action="send", payload="1", sent_ms=0)
                stored = StoredMessage(message_id=number, message=message, deliveries=0)
                held.add(pair, stored)
                if pair in model or len(model) < limit:
                    model[pair] = stored
            case "discard":
                held.discard(pair)
                model.pop(pair, None)
            case _:
                expected = [model.pop(one) for one in list(model) if one[1] == pair[1]]
                assert sorted(held.pop(pair[1]), key=lambda one: one.message_id) == sorted(
                    expected, key=lambda one: one.message_id
                )
        assert len(held) == len(model) <= limit

"""Turns that share a transition or a group do not share the misfortune of one of them."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
from machine import Add, OnAlarm, app, at, machine, steps
from returns.result import Failure, Result, Success
from world import World, on_each_store

from perdure import App, Limits, Task, TaskContext, attempt, program, tell
from perdure.engine.commits import StoreBatcher
from perdure.programs import Do
from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.runtime.record import DEFAULT_SIZES
from perdure.stores.contract import Store, overlay
from perdure.stores.memory import MemoryBackend
from perdure.stores.sqlite import open_sqlite
from perdure.values.errors import Conflict, EngineClosed, HookRaised, OutcomeUnknown
from perdure.values.transition import Transition

UNDECODABLE = b"\xff.txt".decode(errors="surrogateescape")


@program
def add(ctx: TaskContext[int], amount: int) -> Do[None]:
    yield from ctx.update_state(lambda total: total + amount)


@program
def add_or_raise(ctx: TaskContext[int], amount: int) -> Do[None]:
    yield from ctx.update_state(lambda total: total + amount)
    if amount < 0:
        raise ValueError(f"no amount in {UNDECODABLE}")


@program
def forward(ctx: TaskContext[int], amount: int) -> Do[None]:
    yield from tell(totals, "a").send(amount)


@program
def ignore(ctx: TaskContext[int]) -> Do[None]:
    yield from ctx.update_state(lambda total: total)


totals: Any = Task("totals", state=int, event=int, initial=0, on_event=add, execute=ignore)
senders: Any = Task("senders", state=int, event=int, initial=0, on_event=forward, execute=ignore)


def without_messages() -> Store:
    """Return a store in which the message of every transition is gone, as one that its sender has withdrawn."""
    store = MemoryBackend().open()

    def commit(transitions: Sequence[Transition], answered: Callable[[Sequence[Any]], None]) -> None:
        asyncio.get_running_loop().call_soon(write, transitions, answered)

    def write(transitions: Sequence[Transition], answered: Callable[[Sequence[Any]], None]) -> None:
        answers: list[Any] = [Failure(Conflict(str(each.address))) for each in transitions]
        living = [place for place, each in enumerate(transitions) if each.inbound is None]

        def take(stored: Sequence[Any]) -> None:
            for place, answer in zip(living, stored, strict=True):
                answers[place] = answer

        store.commit([transitions[place] for place in living], take)
        answered(answers)

    return overlay(store, commit=commit, synchronous=False)


def test_a_message_that_is_gone_costs_no_neighbour_its_turn() -> None:
    async def main() -> None:
        async with App(None).with_jobs(totals, senders).open(without_messages()) as jobs:
            calls = jobs.handle(totals)
            await calls.send("a", 1)

            async def callers() -> list[Result[Any, Any]]:
                return [await attempt(calls.send("a", 1)) for _ in range(20)]

            others = [asyncio.ensure_future(callers()) for _ in range(5)]
            await jobs.handle(senders).send("s", 1)
            answers = [answer for each in others for answer in await each]
            assert [each for each in answers if not isinstance(each, Success)] == []

    asyncio.run(main())


@on_each_store
async def test_turns_whose_commit_may_be_stored_are_not_decided_again(world: World) -> None:
    calls = (await world.open(App(world.outside).with_jobs(totals))).handle(totals)
    await world.run(calls.send("a", 1))
    world.fail("commit", OutcomeUnknown("the answer was lost"), applied=True)
    answers = await world.all(*(calls.send("a", 1) for _ in range(3)))
    unknown = [answer for answer in answers if not isinstance(answer, Success)]
    assert {type(answer.failure()) for answer in unknown} == {OutcomeUnknown}
    # A store that answers within the call commits some of them alone, before the answer of the others is lost.
    assert len(unknown) == 3 or world.kind == "memory"
    assert await world.run(calls.get_state("a")) == 4


@on_each_store
async def test_an_alarm_that_is_set_beside_a_change_of_the_state_alone_is_stored(world: World) -> None:
    calls = (await world.open(app(world.outside))).handle(machine)
    await world.run(calls.send("a", steps()))
    before = len(world.commits)
    calls_at_once = (calls.send("a", OnAlarm(60_000)), *(calls.send("a", steps(Add())) for _ in range(3)))
    assert all(isinstance(answer, Success) for answer in await world.all(*calls_at_once))
    assert len(world.commits) - before < 4, "some of them share a commit"
    row = await world.row(at("a"))
    assert row is not None
    assert row.alarm_ms == world.now_ms + 60_000


@on_each_store
async def test_callers_are_answered_when_the_store_does_not_answer_before_the_engine_stops(world: World) -> None:
    limits = Limits(shutdown_timeout="1000 ms")
    calls = (await world.open(App(world.outside, limits=limits).with_jobs(totals))).handle(totals)
    await world.run(calls.send("a", 1))
    world.slow("commit", ms=3_600_000)
    waiting = [world.start(calls.send("a", 1)) for _ in range(3)]
    await world.settle()
    await world.close()
    assert all(each.done() for each in waiting)
    errors: list[Any] = [type(each.result().failure()) for each in waiting]
    assert errors.count(OutcomeUnknown) >= 1  # those whose turns share the commit that is not answered
    assert errors.count(OutcomeUnknown) + errors.count(EngineClosed) == 3


def test_a_group_leaves_although_every_task_is_cancelled(tmp_path: Path) -> None:
    """A program that ends cancels its tasks; the reads and the turns that were about to leave block no later ones."""

    async def main() -> None:
        async with App(None).with_jobs(totals).open(await open_sqlite(tmp_path / "jobs.db")) as jobs:
            calls = jobs.handle(totals)
            await calls.send("in memory", 1)
            kept = asyncio.all_tasks()
            sending = [asyncio.ensure_future(attempt(calls.send(id_, 1))) for id_ in ("in memory", "not read")]
            await asyncio.sleep(0)  # one waits for the end of the step, the other one for a group of reads
            for task in asyncio.all_tasks() - kept:
                task.cancel()
            for id_ in ("in memory", "not read"):  # the turn of the second one had begun, so that it ends
                assert await attempt(calls.send(id_, 1)) == await attempt(calls.send(id_, 1))
                assert await attempt(calls.get_state(id_)) == Success(3)
            assert all(call.cancelled() for call in sending)

    asyncio.run(asyncio.wait_for(main(), 60))


async def raised_among_others(file: Path) -> None:
    checked: Any = Task("checked", state=int, event=int, initial=0, on_event=add_or_raise, execute=ignore)
    async with App(None).with_jobs(checked).open(await open_sqlite(file)) as jobs:
        calls = jobs.handle(checked)
        await calls.send("a", 1)
        answers = await asyncio.gather(*(attempt(calls.send("a", amount)) for amount in (1, -1, 1)))
        assert [type(each) for each in answers] == [Success, Failure, Success]
        raised = answers[1].failure()
        assert isinstance(raised, HookRaised)
        assert raised.message == "no amount in \\udcff.txt"
        assert await attempt(calls.get_state("a")) == Success(3)


def test_an_exception_with_a_text_that_is_no_unicode_is_recorded(tmp_path: Path) -> None:
    """Its name of a file was not UTF-8. The turns that are committed with it are."""
    asyncio.run(asyncio.wait_for(raised_among_others(tmp_path / "jobs.db"), 60))


@attrs.define
class Member:
    """A request whose answer the engine may fail to take."""

    takes: Callable[[Any], object]

    def leave(self) -> int:
        return 1

    def tell(self, _: Any, answer: Result[Any, Any]) -> None:
        self.takes(answer)


def test_a_defect_in_one_answer_keeps_no_other_from_its_own() -> None:
    taken = list[Any]()

    def fail(_: object) -> None:
        raise RuntimeError("a defect of the engine")

    async def main() -> None:
        def send(requests: Sequence[int], answered: Callable[[Sequence[Result[Any, Any]]], None]) -> None:
            answered([Success(number) for number in requests])

        group = StoreBatcher(
            runtime=asyncio_runtime(),
            send_all=send,
            lost=OutcomeUnknown,
        )
        for takes in (taken.append, fail, taken.append):
            group.add(Member(takes))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(main())
    assert taken == [Success(1), Success(1)]


@attrs.define
class SlowStore:
    """Answers a group when it is told to, on a clock of its own."""

    now_ms: float = 0.0
    sent: list[tuple[int, Callable[[Sequence[Result[Any, Any]]], None]]] = attrs.Factory(list[Any])

    def send(self, requests: Sequence[int], answered: Callable[[Sequence[Result[Any, Any]]], None]) -> None:
        self.sent.append((len(requests), answered))

    def answer(self) -> None:
        number, answered = self.sent[-1]
        answered([Success(1)] * number)

    async def pass_to(self, now_ms: float) -> None:
        for _ in range(4):
            await asyncio.sleep(0)
        self.now_ms = now_ms


def test_each_group_takes_the_time_from_its_own_first_request() -> None:
    """Also one that waited behind a full group."""
    store, took = SlowStore(), list[tuple[int, float]]()

    async def main() -> None:
        for begun_ms, number in ((0, 1), (10, DEFAULT_SIZES.batch + 1), (500, DEFAULT_SIZES.batch)):
            await store.pass_to(begun_ms)
            for _ in range(number):
                group.add(Member(lambda _: took.append((len(store.sent), group.took_ms))))
        for answered_ms in (1_000, 2_000, 3_000, 4_000):
            await store.pass_to(answered_ms)
            store.answer()

    group = StoreBatcher(
        runtime=attrs.evolve(asyncio_runtime(), monotonic_ms=lambda: store.now_ms),
        send_all=store.send,
        lost=OutcomeUnknown,
    )
    asyncio.run(main())
    assert [number for number, _ in store.sent] == [1, DEFAULT_SIZES.batch, DEFAULT_SIZES.batch, 1]
    assert sorted(set(took)) == [(1, 1_000), (2, 1_990), (3, 2_990), (4, 3_500)]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_turns_that_were_folded_leave_the_row_that_is_stored(kind: str, tmp_path: Path) -> None:
    begun = list[int]()

    @program
    def note(ctx: TaskContext[int], amount: int) -> Do[None]:
        begun.append(amount)
        yield from ctx.update_state(lambda total: total + amount)

    noted: Any = Task("noted", state=int, event=int, initial=0, on_event=note)

    async def main() -> int:
        store = MemoryBackend().open() if kind == "memory" else await open_sqlite(tmp_path / "jobs.db")
        async with App(None).with_jobs(noted).open(store, debug=False) as jobs:
            calls = jobs.handle(noted)
            for _ in range(4):
                await asyncio.gather(*(calls.send("a", 1) for _ in range(5)))
            return await calls.get_state("a")

    assert asyncio.run(main()) == 20
    assert len(begun) == 20  # none met a conflict and was decided again

"""Cancellation: every effect that happened is undone, whatever the moment of the request."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
from flows import Flow
from returns.future import FutureResult
from returns.result import Result

from perdure import (
    App,
    Backoff,
    Defect,
    Do,
    Retry,
    Undo,
    Workflow,
    WorkflowContext,
    effect,
    program,
    saga,
    step,
    succeed,
)
from perdure.programs import bracket, gather, race, sleep
from perdure.stores.memory import memory_store
from perdure.testing import Crash, Delay, WorkerDied, World
from perdure.values.answer import Done, WasCancelled
from perdure.values.errors import DefinitionError, InvalidArgument
from perdure.values.outcome import Failed


@attrs.define
class Desk:
    """Books and unbooks, and remembers it."""

    done: list[str] = attrs.Factory(list[str])
    broken: frozenset[str] = frozenset()


@effect
def book(desk: Desk, room: str) -> FutureResult[str, str]:
    if room in desk.broken:
        return FutureResult.from_failure(f"no {room}")
    desk.done.append(f"book {room}")
    return FutureResult.from_value(room)


@effect
def unbook(desk: Desk, room: str) -> FutureResult[None, str]:
    desk.done.append(f"unbook {room}")
    return FutureResult.from_value(None)


@program
def trip(undo: Undo[Desk], count: int) -> Do[str, str, Desk]:
    for number in range(count):
        yield from undo.after(book(f"{number}"), unbook)
    return "booked"


@program
def travel(ctx: WorkflowContext[int]) -> Do[str, str, Desk]:
    count = yield from ctx.state
    return (yield from saga(trip, count))


def next_worker(world: World) -> None:
    """Open the next worker, and let a second pass."""
    if not world.is_open:
        world.open()
    world.advance("1 second")


def flow_of(run: Any = travel, **options: Any) -> Flow:
    return Workflow("travel", state=int, run=run, keep=None, **options)


def undone(done: list[str]) -> set[str]:
    """Return the bookings that remain: those that nothing undoes after their last booking."""
    left: set[str] = set()
    for line in done:
        verb, _, room = line.partition(" ")
        if verb == "book":
            left.add(room)
        else:
            left.discard(room)
    return left


# ---------------------------------------------------------------- a crash during a step
def test_a_step_whose_effect_no_commit_holds_is_undone_when_it_was_cancelled_before_a_crash() -> None:
    desk, job = Desk(), flow_of()
    with World(App(desk).with_jobs(job)) as world:
        world.inject(Delay("book", "10 seconds", when="after", call=2))
        world.run(world.handle(job).start("t", 3))
        world.advance("1 second")
        world.run(world.handle(job).cancel("t", "enough"))
        assert desk.done == ["book 0", "book 1"]
        world.crash()
        world.open()
        world.advance("1 minute")
        assert world.run(world.handle(job).outcome("t")) == WasCancelled(reason="enough")
        assert not undone(desk.done), desk.done


def test_a_cancellation_of_a_workflow_whose_step_killed_three_processes_undoes_that_step() -> None:
    desk, job = Desk(), flow_of()
    with World(App(desk).with_jobs(job)) as world:
        world.inject(*(Crash("book", when="after", call=call) for call in (2, 3, 4)))
        world.start(world.handle(job).start("t", 3))
        for _ in range(3):
            with pytest.raises(WorkerDied):
                next_worker(world)
        world.open()
        assert world.run(world.handle(job).status("t")).parked == "recovery_exhausted"
        world.run(world.handle(job).cancel("t", "enough"))
        world.advance("1 minute")
        assert world.run(world.handle(job).outcome("t")) == WasCancelled(reason="enough")
        assert not undone(desk.done), desk.done


@pytest.mark.parametrize("first", ["no cancellation", "cancelled"])
@pytest.mark.parametrize("how", ["let it end", "interrupt"])
def test_a_cancellation_during_compensations_does_not_stop_them(first: str, how: str) -> None:
    """Nor when it interrupts, whether the workflow failed or was cancelled before."""
    cancelled = first == "cancelled"
    desk, job = Desk(broken=frozenset() if cancelled else frozenset({"2"})), flow_of()
    with World(App(desk).with_jobs(job)) as world:
        world.inject(Delay("unbook", "10 seconds"), *([Delay("book", "3 seconds", call=3)] if cancelled else []))
        world.run(world.handle(job).start("t", 4))
        world.advance("1 second")
        if cancelled:
            world.run(world.handle(job).cancel("t", "first"))
            world.advance("4 seconds")
        world.run(world.handle(job).cancel("t", "enough", interrupt=how == "interrupt"))
        world.advance("1 minute")
        assert not undone(desk.done), desk.done
        assert sorted(line for line in desk.done if line.startswith("un")) == [
            f"unbook {number}" for number in range(3 if cancelled else 2)
        ]
        assert "interrupted" not in {step.status for step in world.run(world.handle(job).steps("t"))}


# ---------------------------------------------------------------- steps that lose a race
@program
def pair(undo: Undo[Desk]) -> Do[str, str, Desk]:
    yield from gather(undo.after(book("slow"), unbook), undo.after(book("none"), unbook))
    return "both"


@program
def raced(undo: Undo[Desk]) -> Do[str, str, Desk]:
    yield from race(undo.after(book("slow"), unbook), sleep("1 second"))
    return (yield from book("none"))


@program
def limited(undo: Undo[Desk]) -> Do[str, str, Desk]:
    yield from undo.after(book("slow"), unbook).timeout("1 second").attempt()
    return (yield from book("none"))


@program
def stopped(undo: Undo[Desk]) -> Do[str, str, Desk]:
    yield from race(undo.after(book("slow"), unbook, unknown=lambda: unbook("slow")), sleep("1 second"))
    return (yield from book("none"))


@pytest.mark.parametrize("body", [pair, raced, limited, stopped])
def test_a_step_that_loses_is_undone_because_its_effect_may_have_happened(body: Any) -> None:
    @program
    def run(ctx: WorkflowContext[int]) -> Do[str, str, Desk]:
        return (yield from saga(body))

    desk, job = Desk(broken=frozenset({"none"})), flow_of(run)
    with World(App(desk).with_jobs(job)) as world:
        world.inject(Delay("book", "10 seconds", when="after"))
        world.run(world.handle(job).start("t", 0))
        world.advance("5 seconds")
        assert (world.run(world.handle(job).outcome("t")) is None) == (body is not stopped)
        world.advance("1 minute")
        assert world.run(world.handle(job).outcome("t")) == Failed("no none")
        assert desk.done == ["book slow", "unbook slow"]


@program
def waits(undo: Undo[Desk]) -> Do[str, str, Desk]:
    for room in "ab":
        yield from undo.after(book(room), unbook)
    yield from sleep("1 day")
    return "won"


@pytest.mark.parametrize("last", ["waits", "in progress"])
@pytest.mark.parametrize("crash", ["none", "before it loses", "after it lost"])
@pytest.mark.parametrize("limit", ["race", "timeout"])
def test_a_saga_in_a_branch_that_loses_is_undone_whatever_the_moment(last: str, crash: str, limit: str) -> None:
    @program
    def run(ctx: WorkflowContext[int]) -> Do[str, str, Desk]:
        if limit == "race":
            return (yield from race(saga(waits), sleep("10 seconds").map(lambda _: "late")))
        return (yield from saga(waits).timeout("10 seconds").lash(lambda _: succeed("late")))

    desk, job = Desk(), flow_of(run)
    with World(App(desk).with_jobs(job)) as world:
        if last == "in progress":
            world.inject(Delay("book", "20 seconds", call=2, when="after"))
        world.run(world.handle(job).start("t", 0))
        for moment, seconds in (("before it loses", "5 seconds"), ("after it lost", "7 seconds")):
            world.advance(seconds)
            if crash == moment:
                world.crash()
                world.open()
        world.advance("1 hour")
        assert world.run(world.handle(job).outcome("t")) == Done("late")
        assert list(dict.fromkeys(desk.done)) == ["book a", "book b", "unbook b", "unbook a"]


@program
def recovers(undo: Undo[Desk]) -> Do[object, str, Desk]:
    both = gather(undo.after(book("slow"), unbook), undo.after(book("none"), unbook))
    return (yield from both.lash(lambda _: book("after")))


@pytest.mark.parametrize("crash", ["none", "after it lost"])
def test_a_branch_that_loses_while_its_fork_ends_performs_nothing_more(crash: str) -> None:
    """Its fork has failed, and waits for the step beside: the failure arrives when the branch has lost."""

    @program
    def run(ctx: WorkflowContext[int]) -> Do[object, str, Desk]:
        return (yield from race(saga(recovers), sleep("5 seconds").map(lambda _: "late")))

    desk, job = Desk(broken=frozenset({"none"})), flow_of(run)
    with World(App(desk).with_jobs(job)) as world:
        world.inject(Delay("book", "10 seconds", when="after"))
        world.run(world.handle(job).start("t", 0))
        world.advance("7 seconds")
        if crash != "none":
            world.crash()
            world.open()
        world.advance("1 hour")
        assert world.run(world.handle(job).outcome("t")) == Done("late")
        assert list(dict.fromkeys(desk.done)) == ["book slow", "unbook slow"]


def test_a_cancellation_during_parallel_steps_halts_the_program_after_them() -> None:
    @program
    def run(ctx: WorkflowContext[int]) -> Do[str, str, Desk]:
        yield from gather(book("a"), book("b"))
        yield from sleep("1 day")
        return (yield from book("c"))

    desk, job = Desk(), flow_of(run)
    with World(App(desk).with_jobs(job)) as world:
        world.inject(Delay("book", "10 seconds"), Delay("book", "20 seconds", call=2))
        world.run(world.handle(job).start("t", 0))
        world.advance("5 seconds")
        world.run(world.handle(job).cancel("t", "enough"))
        world.advance("1 minute")
        assert world.run(world.handle(job).outcome("t")) == WasCancelled(reason="enough")


def test_a_pause_lets_no_further_parallel_step_begin() -> None:
    @program
    def twice(name: str) -> Do[str, str, Desk]:
        yield from book(f"{name}1")
        return (yield from book(f"{name}2"))

    @program
    def run(ctx: WorkflowContext[int]) -> Do[str, str, Desk]:
        return "".join((yield from gather(twice("a"), twice("b"))))

    desk, job = Desk(), flow_of(run)
    with World(App(desk).with_jobs(job)) as world:
        world.inject(Delay("book", "10 seconds"), Delay("book", "20 seconds", call=2))
        world.run(world.handle(job).start("t", 0))
        world.advance("5 seconds")
        world.run(world.handle(job).pause("t"))
        world.advance("1 minute")
        assert sorted(desk.done) == ["book a1", "book b1"]
        world.run(world.handle(job).resume("t"))
        world.advance("1 minute")
        assert world.run(world.handle(job).outcome("t")) == Done(value="a2b2")


def test_a_workflow_that_is_cancelled_while_it_is_paused_is_undone_after_the_pause() -> None:
    @program
    def run(ctx: WorkflowContext[int]) -> Do[str, str, Desk]:
        return (yield from saga(waits))

    desk, job = Desk(), flow_of(run)
    with World(App(desk).with_jobs(job)) as world:
        flow = world.handle(job)
        world.run(flow.start("t", 0))
        world.run(flow.pause("t"))
        assert world.run(flow.cancel("t", "enough")).status == "paused"
        world.advance("2 days")
        assert world.run(flow.status("t")).status == "paused"
        assert desk.done == ["book a", "book b"]
        world.run(flow.resume("t"))
        world.advance("1 second")
        assert world.run(flow.outcome("t")) == WasCancelled(reason="enough")
        assert desk.done[2:] == ["unbook b", "unbook a"]


@step
@program
def tidied(name: str) -> Do[str, str, Desk]:
    return (yield from bracket(book(name), lambda _: sleep("1 hour").map(lambda _: name), lambda _: tidied_up(name)))


@program
def tidied_up(name: str) -> Do[None, str, Desk]:
    yield from sleep("10 seconds")
    yield from unbook(name)


def test_the_cleanup_of_a_step_that_lost_is_not_cancelled_by_the_steps_that_end_beside_it() -> None:
    @program
    def lost() -> Do[str, str, Desk]:
        return (yield from race(tidied("a"), sleep("1 second").map(lambda _: "late")))

    @program
    def beside() -> Do[str, str, Desk]:
        for room in "xyz":
            yield from sleep("2 seconds")
            yield from book(room)
        return "beside"

    @program
    def run(ctx: WorkflowContext[int]) -> Do[str, str, Desk]:
        return " ".join((yield from gather(lost(), beside())))

    desk, job = Desk(), flow_of(run)
    with World(App(desk).with_jobs(job)) as world:
        world.run(world.handle(job).start("t", 0))
        world.advance("1 minute")
        assert world.run(world.handle(job).outcome("t")) == Done("late beside")
        assert desk.done == ["book a", "book x", "book y", "book z", "unbook a"]


# ---------------------------------------------------------------- starting over
@pytest.mark.parametrize("beside", ["nothing", "a sleep"])
def test_a_workflow_that_starts_over_keeps_a_request_to_cancel_it(beside: str) -> None:
    @program
    def again(ctx: WorkflowContext[int]) -> Do[str, str, Desk]:
        count = yield from ctx.state
        name = book(f"{count}")
        _ = yield from (name if beside == "nothing" else race(name, sleep("1 hour").map(str)))
        return (yield from ctx.start_over(count + 1))

    desk, job = Desk(), flow_of(again)
    with World(App(desk).with_jobs(job)) as world:
        world.inject(Delay("book", "10 seconds", times=9))
        world.run(world.handle(job).start("t", 0))
        world.advance("5 seconds")
        world.run(world.handle(job).cancel("t", "enough"))
        world.advance("1 minute")
        assert world.run(world.handle(job).outcome("t")) == WasCancelled(reason="enough")


# ---------------------------------------------------------------- parked by its own code
@program
def raising(ctx: WorkflowContext[int]) -> Do[str, str, Desk]:
    return (yield from saga(bad_trip, 2))


@program
def bad_trip(undo: Undo[Desk], count: int) -> Do[str, str, Desk]:
    yield from trip(undo, count)
    raise RuntimeError("a defect of the code")


@pytest.mark.parametrize("retry", [None, Retry(max_attempts=2, delay=Backoff.constant("1 second"))])
def test_a_workflow_that_its_own_code_parked_is_compensated_when_it_is_cancelled(retry: Any) -> None:
    desk, job = Desk(), flow_of(raising, retry_defects=retry)
    with World(App(desk).with_jobs(job)) as world:
        world.run(world.handle(job).start("t", 0))
        world.advance("1 minute")
        assert world.run(world.handle(job).status("t")).parked == "retries_exhausted"
        world.run(world.handle(job).cancel("t", "enough"))
        world.advance("1 minute")
        assert world.run(world.handle(job).outcome("t")) == WasCancelled(reason="enough")
        assert not undone(desk.done), desk.done


def test_a_workflow_with_a_full_journal_is_compensated_when_it_is_cancelled() -> None:
    desk, job = Desk(), flow_of(max_steps=3)
    with World(App(desk).with_jobs(job)) as world:
        world.run(world.handle(job).start("t", 10))
        world.advance("1 minute")
        assert world.run(world.handle(job).status("t")).parked == "not_retryable"
        world.run(world.handle(job).cancel("t", "enough"))
        world.advance("1 minute")
        assert world.run(world.handle(job).outcome("t")) == WasCancelled(reason="enough")
        assert not undone(desk.done), desk.done


# ---------------------------------------------------------------- a time limit that passes after the request
@pytest.mark.parametrize("at", [0.5, 2.0], ids=["before the limit", "after the limit"])
@pytest.mark.parametrize("then", ["waits", "raises"])
def test_a_cancellation_is_not_lost_when_a_time_limit_passes_before_it_takes_effect(then: str, at: float) -> None:
    @program
    def body(undo: Undo[Desk]) -> Do[str, str, Desk]:
        yield from undo.after(book("slow"), unbook).timeout("1 second").attempt()
        if then == "raises":
            raise RuntimeError("a defect of the code")
        yield from sleep("1 day")
        return "all"

    @program
    def run(ctx: WorkflowContext[int]) -> Do[str, str, Desk]:
        return (yield from saga(body))

    desk, job = Desk(), flow_of(run)
    with World(App(desk).with_jobs(job), debug=False) as world:
        world.inject(Delay("book", "10 seconds", when="after"))
        world.run(world.handle(job).start("t", 0))
        world.advance(timedelta(seconds=at))
        world.run(world.handle(job).cancel("t", "enough"))
        world.advance("1 minute")
        assert world.run(world.handle(job).outcome("t")) == WasCancelled(reason="enough")
        assert desk.done == ["book slow", "unbook slow"]


# ---------------------------------------------------------------- children that succeed although they are cancelled
@program
def books_last(ctx: WorkflowContext[str]) -> Do[str, str, Desk]:
    """Book in the last step: a cancellation that arrives during it finds no later instruction."""
    room = yield from ctx.state
    return (yield from book(room))


@program
def books_first(ctx: WorkflowContext[str]) -> Do[str, str, Desk]:
    room = yield from ctx.state

    @program
    def stay(undo: Undo[Desk]) -> Do[str, str, Desk]:
        yield from undo.after(book(room), unbook)
        yield from sleep("1 day")
        return room

    return (yield from saga(stay))


def child_of(run: Any) -> Flow:
    return Workflow("child", state=str, run=run, keep=None)


@pytest.mark.parametrize("child", [child_of(books_last), child_of(books_first)], ids=["succeeds", "is halted"])
@pytest.mark.parametrize("how", ["cancelled", "raced", "limited"])
@pytest.mark.parametrize("crash", ["", "crash"])
def test_a_child_that_is_no_longer_awaited_is_undone_by_its_caller_if_it_succeeds(
    child: Flow, how: str, crash: str
) -> None:
    @program
    def body(undo: Undo[Desk]) -> Do[str, str | Defect, Desk]:
        called = undo.after(child.call("c", "slow"), unbook)
        match how:
            case "raced":
                yield from race(called, sleep("1 second"))
            case "limited":
                yield from called.timeout("1 second").attempt()
            case _:
                yield from called
        return (yield from book("none"))

    @program
    def run(ctx: WorkflowContext[int]) -> Do[str, str | Defect, Desk]:
        return (yield from saga(body))

    desk, job = Desk(broken=frozenset({"none"})), flow_of(run)
    with World(App(desk).with_jobs(job, child)) as world:
        world.inject(Delay("book", "10 seconds", when="after", call=1))
        world.run(world.handle(job).start("t", 0))
        world.advance("2 seconds")
        if how == "cancelled":
            world.run(world.handle(job).cancel("t", "enough"))
        world.advance("1 second")
        if crash:
            world.crash()
            world.open()
        world.advance("1 minute")
        expected = WasCancelled(reason="enough") if how == "cancelled" else Failed("no none")
        assert world.run(world.handle(job).outcome("t")) == expected
        assert not undone(desk.done), desk.done


# ---------------------------------------------------------------- cancellations that interrupt
@effect
def ask(desk: Desk, question: str) -> FutureResult[str, str]:
    return FutureResult.from_value(question)


@program
def then_slow(undo: Undo[Desk]) -> Do[str, str, Desk]:
    yield from undo.after(book("first"), unbook)
    return (yield from book("slow"))


@program
def beside(undo: Undo[Desk]) -> Do[str, str, Desk]:
    yield from undo.after(book("first"), unbook)
    return "".join((yield from gather(book("slow"), book("slow too"))))


@program
def beside_a_wait(undo: Undo[Desk]) -> Do[str, str, Desk]:
    yield from undo.after(book("first"), unbook)
    return "".join((yield from gather(book("slow"), sleep("1 day").map(str))))


@program
def known_how(undo: Undo[Desk]) -> Do[str, str, Desk]:
    yield from undo.after(book("first"), unbook)
    return (yield from undo.after(book("slow"), unbook, unknown=lambda: unbook("slow")))


@program
def protected(undo: Undo[Desk]) -> Do[str, str, Desk]:
    yield from undo.after(book("first"), unbook)
    return "".join((yield from gather(undo.after(book("slow"), unbook), ask("for nothing"))))


def saga_of(body: Any) -> Flow:
    @program
    def run(ctx: WorkflowContext[int]) -> Do[str, str, Desk]:
        return (yield from saga(body))

    return flow_of(run)


@pytest.mark.parametrize(
    ("body", "waits"),
    [
        *((body, "no") for body in (then_slow, beside, beside_a_wait, known_how)),
        (then_slow, "first"),
        (beside, "first"),
    ],
)
def test_a_cancellation_that_interrupts_stops_the_steps_and_undoes_the_earlier_ones(body: Any, waits: str) -> None:
    desk, job = Desk(), saga_of(body)
    with World(App(desk).with_jobs(job)) as world:
        world.inject(*(Delay("book", "10 minutes", when="after", call=call) for call in (2, 3)))
        world.run(world.handle(job).start("t", 0))
        world.advance("1 second")
        if waits == "first":
            world.run(world.handle(job).cancel("t", "enough"))
            world.advance("1 minute")
            assert world.run(world.handle(job).outcome("t")) is None
        world.run(world.handle(job).cancel("t", "enough", interrupt=True))
        world.advance("1 second")
        assert world.run(world.handle(job).outcome("t")) == WasCancelled(reason="enough")
        assert "first" not in undone(desk.done)
        statuses = [step.status for step in world.run(world.handle(job).steps("t"))]
        assert statuses.count("interrupted") == (2 if body is beside else 1)
        if body is known_how:
            assert not undone(desk.done)


def test_a_cancellation_that_interrupts_lets_a_step_end_that_must_be_undone() -> None:
    desk, job = Desk(), saga_of(protected)
    with World(App(desk).with_jobs(job)) as world:
        world.inject(Delay("book", "1 minute", when="after", call=2), Delay("ask", "10 minutes"))
        world.run(world.handle(job).start("t", 0))
        world.advance("1 second")
        world.run(world.handle(job).cancel("t", "enough", interrupt=True))
        world.advance("30 seconds")
        assert world.run(world.handle(job).outcome("t")) is None
        world.advance("31 seconds")
        assert world.run(world.handle(job).outcome("t")) == WasCancelled(reason="enough")
        assert not undone(desk.done), desk.done


def test_a_cancellation_that_interrupts_undoes_a_step_that_a_crash_stopped() -> None:
    desk, job = Desk(), saga_of(known_how)
    with World(App(desk).with_jobs(job)) as world:
        world.inject(Delay("book", "10 minutes", when="after", call=2, times=9))
        world.run(world.handle(job).start("t", 0))
        world.advance("1 second")
        world.crash()
        world.open()
        world.run(world.handle(job).cancel("t", "enough", interrupt=True))
        world.advance("1 second")
        assert world.run(world.handle(job).outcome("t")) == WasCancelled(reason="enough")
        assert not undone(desk.done), desk.done


@pytest.mark.parametrize("crash", range(12))
def test_a_crash_around_an_interruption_changes_nothing(crash: int) -> None:
    desk, job = Desk(), saga_of(known_how)
    with World(App(desk).with_jobs(job)) as world:
        world.inject(Delay("book", "10 minutes", when="after", call=2, times=9))
        world.run(world.handle(job).start("t", 0))
        world.advance("1 second")
        world.crash_after(crash)
        with suppress(WorkerDied):
            world.run(world.handle(job).cancel("t", "enough", interrupt=True, idempotency_key="cancel"))
            world.advance("1 second")
        if not world.is_open:
            world.open()
        world.cancel_crash()
        world.run(world.handle(job).cancel("t", "enough", interrupt=True, idempotency_key="cancel"))
        world.advance("1 second")
        assert world.run(world.handle(job).outcome("t")) == WasCancelled(reason="enough")
        assert not undone(desk.done), desk.done


def test_the_children_of_a_cancelled_workflow_are_interrupted_too() -> None:
    child = saga_of(then_slow)

    @program
    def parent_run(ctx: WorkflowContext[int]) -> Do[str, Any, Desk]:
        return (yield from child.call("c", 0))

    desk, parent = Desk(), Workflow("parent", state=int, run=parent_run, keep=None)
    with World(App(desk).with_jobs(child, parent)) as world:
        world.inject(Delay("book", "10 minutes", when="after", call=2))
        world.run(world.handle(parent).start("t", 0))
        world.advance("1 second")
        world.run(world.handle(parent).cancel("t", "enough", interrupt=True))
        world.advance("1 second")
        assert world.run(world.handle(child).outcome("c")) == WasCancelled(reason="enough")


@effect
def hang(desk: Desk) -> FutureResult[str, str]:
    async def never() -> Result[str, str]:
        desk.done.append("hang")
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]  # it never completes

    return FutureResult(never())


@program
def hanging(undo: Undo[Desk]) -> Do[str, str, Desk]:
    yield from undo.after(book("first"), unbook)
    return (yield from hang())


@pytest.mark.parametrize("kept", ["in memory", "in a file"])
def test_a_step_that_hangs_is_interrupted(kept: str, tmp_path: Path) -> None:
    async def main() -> list[str]:
        desk, job = Desk(), saga_of(hanging)
        store = memory_store() if kept == "in memory" else f"sqlite:///{tmp_path}/jobs.db"
        async with App(desk).with_jobs(job).open(store) as jobs:
            await jobs.handle(job).start("t", 0)
            while "hang" not in desk.done:  # noqa: ASYNC110 - it waits for a note of the service
                await asyncio.sleep(0)
            named = jobs.handle_by_name("workflow", "travel")
            await named.call("cancel", "t", '{"reason":"now","interrupt":true}')
            await jobs.until(job, "t", phases=("cancelled",))
        return desk.done

    assert asyncio.run(main()) == ["book first", "hang", "unbook first"]


def test_an_interrupt_that_is_no_bool_is_refused() -> None:
    desk, job = Desk(), flow_of()
    with World(App(desk).with_jobs(job)) as world, pytest.raises(InvalidArgument, match="interrupt of cancel"):
        world.run(world.handle(job).cancel("t", interrupt="yes"))  # type: ignore[arg-type]


# ---------------------------------------------------------------- steps that any cancellation stops
@step(when_cancelled="interrupt")
@program
def watched(room: str) -> Do[str, str, Desk]:
    return (yield from book(room))


@program
def watching(undo: Undo[Desk], beside: int) -> Do[str, str, Desk]:
    yield from undo.after(book("first"), unbook)
    if beside:
        yield from gather(watched("slow"), book("beside"))
    return (yield from watched("slow"))


@program
def watch(ctx: WorkflowContext[int]) -> Do[str, str, Desk]:
    return (yield from saga(watching, (yield from ctx.state)))


@pytest.mark.parametrize("store", ["memory://", "jobs.db"])
@pytest.mark.parametrize("by", ["cancel", "deadline"])
def test_a_cancellation_stops_a_step_that_says_so_and_undoes_the_others(by: str, store: str, tmp_path: Path) -> None:
    desk, job = Desk(), flow_of(watch)
    place: Any = store if "://" in store else tmp_path / store
    with World(App(desk).with_jobs(job), store=place) as world:
        world.inject(Delay("book", "10 minutes", call=2))
        flow = world.handle(job)
        world.run(flow.start("t", 0, within=None if by == "cancel" else "30 seconds"))
        world.advance("30 seconds")
        if by == "cancel":
            world.run(flow.cancel("t", "enough"))
        world.advance("1 second")
        reason = "enough" if by == "cancel" else "its deadline passed"
        ended = world.run(flow.outcome("t"))
        assert isinstance(ended, WasCancelled)
        assert ended.reason == reason
        assert desk.done == ["book first", "unbook first"]
        steps = {each.name: each.status for each in world.run(flow.steps("t"))}
        assert steps["watched"] == "interrupted"


def test_a_cancellation_waits_for_a_step_beside_one_that_it_stops() -> None:
    desk, job = Desk(), flow_of(watch)
    with World(App(desk).with_jobs(job)) as world:
        world.inject(Delay("book", "10 minutes", call=2), Delay("book", "2 minutes", call=3))
        flow = world.handle(job)
        world.run(flow.start("t", 1))
        world.advance("30 seconds")
        world.run(flow.cancel("t", "enough"))
        world.advance("1 minute")
        assert world.run(flow.outcome("t")) is None
        world.advance("1 minute")
        assert world.run(flow.outcome("t")) == WasCancelled("enough")
        assert desk.done[-1] == "unbook first"


def test_a_step_is_stopped_or_ends() -> None:
    with pytest.raises(DefinitionError, match="when_cancelled of step again"):

        @step(when_cancelled="stop")  # type: ignore[call-overload]
        @program
        def again(room: str) -> Do[str, str, Desk]:
            return (yield from book(room))


@step
@program
def slowly(room: str) -> Do[str, str, Desk]:
    yield from sleep("1 second")
    return (yield from book(room))


@program
def three_rooms(_: WorkflowContext[int]) -> Do[str, str, Desk]:
    yield from slowly("a")
    yield from slowly("b")
    return (yield from slowly("c"))


@pytest.mark.parametrize("interrupt", [False, True])
def test_a_fork_from_the_step_that_was_in_progress_is_not_cancelled(*, interrupt: bool) -> None:
    """The step has ended, or was stopped, behind the cancellation."""
    job = flow_of(three_rooms)
    with World(App(Desk()).with_jobs(job)) as world:
        flow = world.handle(job)
        world.run(flow.start("one", 0))
        world.advance("1500 ms")
        world.run(flow.cancel("one", interrupt=interrupt))
        world.advance("10 seconds")
        assert world.run(flow.outcome("one")) == WasCancelled(reason="cancelled")
        world.run(flow.fork("two", "one", step="1"))
        world.advance("10 seconds")
        assert world.run(flow.outcome("two")) == Done("c")

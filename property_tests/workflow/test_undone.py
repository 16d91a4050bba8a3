"""Sagas that crash, are cancelled, paused and retried at drawn moments leave no effect that they do not account for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import attrs
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from returns.future import FutureResult

from perdure import (
    App,
    Backoff,
    Do,
    Program,
    Retry,
    Signal,
    Undo,
    Workflow,
    WorkflowContext,
    effect,
    program,
    saga,
    step,
)
from perdure.programs import fail, gather, race, sleep
from perdure.testing import WorkerDied, World
from perdure.values.answer import Done, WasCancelled
from perdure.values.outcome import Failed

Flow = Workflow[Any, Any, Any, Any]
go = Signal("go", int)


@attrs.define
class Desk:
    """The outside journal: bookings that are in effect. A repeated booking of one name is the same booking."""

    booked: set[str] = attrs.Factory(set[str])
    done: list[str] = attrs.Factory(list[str])
    raises: dict[str, int] = attrs.Factory(dict[str, int])


@effect
def book(desk: Desk, room: str) -> FutureResult[str, str]:
    if desk.raises.get(room, 0) > 0:
        desk.raises[room] -= 1
        raise ConnectionError(room)
    desk.booked.add(room)
    desk.done.append(room)
    if desk.raises.get(f"late {room}", 0) > 0:
        desk.raises[f"late {room}"] -= 1
        raise ConnectionError(room)
    return FutureResult.from_value(room)


@effect
def unbook(desk: Desk, room: str) -> FutureResult[None, str]:
    if desk.raises.get(f"not {room}", 0) > 0:
        desk.raises[f"not {room}"] -= 1
        raise ConnectionError(room)
    desk.booked.discard(room)
    desk.done.append(f"not {room}")
    return FutureResult.from_value(None)


@step
@program
def slowly(room: str) -> Do[str, str, Desk]:
    """Book at the beginning of a step that takes three seconds."""
    yield from book(room)
    yield from sleep("3 seconds")
    return room


@step
@program
def slowly_undone(room: str) -> Do[str, str, Desk]:
    yield from sleep("2 seconds")
    yield from unbook(room)
    return room


@attrs.frozen
class Plan:
    """A drawn saga: the kinds of its steps, how it ends, and the names whose effects raise at first."""

    steps: tuple[str, ...]
    end: str
    raises: tuple[tuple[str, int], ...] = ()
    retried: str = "yes"


PLANS = st.builds(
    Plan,
    steps=st.lists(
        st.sampled_from(
            ["book", "slow", "pair", "sleep", "race", "limited", "unknown", "unknown race", "child", "child race"]
        ),
        min_size=1,
        max_size=4,
    ).map(tuple),
    end=st.sampled_from(["done", "fails", "defect", "waits"]),
    raises=st.lists(
        st.tuples(st.sampled_from(["0", "1", "not 0", "1b", "late 0k", "late 1k"]), st.integers(1, 3)), max_size=2
    ).map(tuple),
    retried=st.sampled_from(["yes", "no"]),
)
ACTIONS = st.lists(
    st.sampled_from(["1 second", "4 seconds", "cancel", "interrupt", "pause", "resume", "crash"]), max_size=8
)


@program
def once(undo: Undo[Desk], name: str) -> Do[str, str, Desk]:
    return (yield from undo.after(slowly(name), slowly_undone))


@program
def booking(ctx: WorkflowContext[str]) -> Do[str, str, Desk]:
    name = yield from ctx.state
    return (yield from saga(once, name))


child: Flow = Workflow("booking", state=str, run=booking, keep=None)


def one_step(undo: Undo[Desk], kind: str, name: str) -> Program[Any, Any, Any]:
    slow = undo.after(slowly(name), slowly_undone)
    unknown = undo.after(slowly(f"{name}k"), slowly_undone, unknown=lambda: slowly_undone(f"{name}k"))
    short = sleep("1 second")
    called = undo.after(child.call(name, f"{name}c"), slowly_undone)
    programs: dict[str, Program[Any, Any, Any]] = {
        "book": undo.after(book(name), unbook),
        "slow": slow,
        "pair": gather(slow, undo.after(book(f"{name}b"), unbook)),
        "sleep": short,
        "race": race(slow, short),
        "limited": slow.timeout("1 second").attempt(),
        "unknown": unknown,
        "unknown race": race(unknown, short),
        "child": called,
        "child race": race(called, short),
    }
    return programs[kind]


def flow_of(plan: Plan) -> Flow:
    @program
    def body(undo: Undo[Desk]) -> Do[str, str, Desk]:
        for number, kind in enumerate(plan.steps):
            yield from one_step(undo, kind, f"{number}")
        match plan.end:
            case "fails":
                yield from fail("declined")
            case "defect":
                raise RuntimeError("a defect of the code")
            case "waits":
                yield from go.receive()
        return "all"

    @program
    def trip(ctx: WorkflowContext[int]) -> Do[str, str, Desk]:
        return (yield from saga(body))

    retry = Retry[Any](2, Backoff.constant("1 second")) if plan.retried == "yes" else None
    return Workflow("trip", state=int, run=trip, signals=(go,), retry_defects=retry, keep=None)


def names_of(plan: Plan) -> set[str]:
    """Return the bookings of a plan that succeeds, beside those whose step a race or a time limit may have stopped."""
    ends = {"book": ("",), "slow": ("",), "pair": ("", "b"), "unknown": ("k",), "child": ("c",)}
    return {f"{number}{end}" for number, kind in enumerate(plan.steps) for end in ends.get(kind, ())}


def made(world: World, call: Callable[[], object]) -> None:
    """Make a call, again after each death of the worker."""
    while True:
        with suppress(WorkerDied):
            if not world.is_open:
                world.open()
            call()
            return


def lived(world: World, job: Flow, actions: list[str]) -> object:
    """Live through the actions; in the end an operator cancels the workflow, and resumes it until it has ended."""

    def acted(action: str) -> None:
        flow = world.handle(job)
        match action:
            case "cancel":
                world.run(flow.cancel("t", "enough"))
            case "interrupt":
                world.run(flow.cancel("t", "enough", interrupt=True))
            case "pause":
                world.run(flow.pause("t"))
            case "resume":
                world.run(flow.resume("t"))
                for number in range(4):
                    world.run(world.handle(child).resume(f"{number}"))
            case "crash":
                world.crash()
                world.open()
            case _:
                world.advance(action)

    made(world, lambda: world.run(world.handle(job).start("t", 0, idempotency_key="start")))
    for action in actions:
        made(world, lambda action=action: acted(action))  # type: ignore[misc]
    world.cancel_crash()
    for action in ("resume", "20 seconds", "cancel", *["20 seconds", "resume"] * 4, "20 seconds"):
        made(world, lambda action=action: acted(action))  # type: ignore[misc]
    return world.run(world.handle(job).outcome("t"))


@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=120)
@given(plan=PLANS, actions=ACTIONS, crash=st.none() | st.integers(0, 60))
@example(Plan(("book", "slow"), "done"), ["1 second", "cancel", "crash"], None)
@example(Plan(("race",), "fails"), ["1 second", "cancel", "pause", "crash"], None)
@example(Plan(("race",), "done"), ["cancel", "1 second", "1 second", "pause", "1 second"], None)
@example(Plan(("unknown",), "done", (("late 0k", 1),)), ["cancel"], None)
@example(Plan(("slow",), "fails"), ["4 seconds", "cancel"], None)
@example(Plan(("child",), "waits"), ["1 second", "cancel"], None)
@example(Plan(("limited",), "defect"), ["cancel"], None)
@example(Plan(("limited", "book"), "waits"), ["cancel"], None)
@example(Plan(("child race",), "fails"), ["1 second"], None)
@example(Plan(("book", "unknown"), "done"), ["1 second", "interrupt"], None)
@example(Plan(("book", "unknown"), "done"), ["1 second", "cancel", "crash", "interrupt"], None)
@example(Plan(("book", "slow"), "done"), ["1 second", "interrupt", "crash"], None)
@example(Plan(("unknown race",), "done"), ["1 second", "interrupt", "crash"], None)
@example(Plan(("book", "pair"), "defect"), ["4 seconds", "crash", "cancel"], None)
def test_an_ended_saga_has_all_of_its_effects_or_none(plan: Plan, actions: list[str], crash: int | None) -> None:
    desk, job = Desk(raises=dict(plan.raises)), flow_of(plan)
    with World(App(desk).with_jobs(job, child), debug=False) as world:
        if crash is not None:
            world.crash_after(crash)
        outcome = lived(world, job, actions)
        match outcome:
            case Done():
                assert plan.end == "done"
                assert names_of(plan) <= desk.booked, desk.done
            case Failed("declined") | WasCancelled(reason="enough"):
                assert not desk.booked, desk.done
            case _:
                raise AssertionError((outcome, world.run(world.handle(job).status("t"))))

"""Pairs of features of a workflow, each of which works alone: for each pair a small model states the fate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import attrs
import orjson
import pytest
from returns.future import FutureResult
from returns.result import Success

from perdure import (
    App,
    Backoff,
    Defect,
    Do,
    Program,
    Retry,
    Signal,
    Task,
    TaskContext,
    Undo,
    Workflow,
    WorkflowContext,
    effect,
    patched,
    program,
    saga,
    step,
    tell,
)
from perdure.programs import fail, gather, race, sleep
from perdure.testing import World
from perdure.values.answer import Done, WasCancelled
from perdure.values.event import JobNoted
from perdure.values.outcome import Failed

Flow = Workflow[Any, Any, Any, Any]
before, during, after, own = (Signal(f"{name} the wait", int) for name in ("before", "during", "after", "own"))
SIGNALS = (before, during, after, own)
FIRST, SECOND = 2, 3
"""The seconds at which an operator acts: the middle step is in progress from 0 to 4, and the workflow ends at 10."""


@attrs.define
class Desk:
    """The outside journal: the calls, the bookings in effect, and the bookings that raise at first."""

    calls: list[str] = attrs.Factory(list[str])
    booked: set[str] = attrs.Factory(set[str])
    raises: Counter[str] = attrs.Factory(Counter[str])


@effect
def book(desk: Desk, room: str) -> FutureResult[str, str]:
    if desk.raises[room] > 0:
        desk.raises[room] -= 1
        raise ConnectionError(room)
    desk.calls.append(room)
    desk.booked.add(room)
    return FutureResult.from_value(room)


@effect
def unbook(desk: Desk, room: str) -> FutureResult[None, str]:
    desk.calls.append(f"not {room}")
    desk.booked.discard(room)
    return FutureResult.from_value(None)


@step
@program
def slow(room: str, seconds: int) -> Do[str, str, Desk]:
    """Book at the beginning of a step that takes its time."""
    yield from book(room)
    yield from sleep(f"{seconds} seconds")
    return room


@attrs.frozen
class Plan:
    """The features of a workflow, and how often it has started over."""

    features: tuple[str, ...]
    generation: int = 0

    @property
    def is_last(self) -> bool:
        return "start over" not in self.features or self.generation == 1


def undone(undo: Undo[Desk], room: str, seconds: int) -> Program[Any, Any, Desk]:
    return undo.after(slow(room, seconds), unbook, unknown=lambda: unbook(room))


# ---------------------------------------------------------------- the program
@program
def count(ctx: TaskContext[int], event: int) -> Do[None]:
    yield from ctx.update_state(lambda total: total + event)


counter = Task("counter", state=int, event=int, initial=0, on_event=count)


@program
def alone(undo: Undo[Desk], room: str) -> Do[str, str, Desk]:
    return (yield from undone(undo, room, 4))


@program
def in_child(ctx: WorkflowContext[str]) -> Do[str, str, Desk]:
    room = yield from ctx.state
    return (yield from saga(alone, room))


RETRY: Retry[Any] = Retry(2, Backoff.constant("1 second"), jitter=False)
child: Flow = Workflow("child", state=str, run=in_child, retry_defects=RETRY, keep=None)


def middle(undo: Undo[Desk], plan: Plan) -> Program[Any, Any, Desk]:
    """Return the step in the middle, with the features around it: the innermost first."""
    features, number = plan.features, plan.generation
    inner = undone(undo, f"m{number}", 4)
    if "child" in features:
        inner = undo.after(child.call(f"t{number}", f"m{number}"), unbook)
    if "race" in features:
        inner = race(inner, undone(undo, f"r{number}", 6))
    if "gather" in features:
        inner = gather(inner, undone(undo, f"b{number}", 3))
    if "timeout" in features:
        inner = inner.timeout("1 second").attempt()
    return inner.timeout("2500 ms").attempt() if "later timeout" in features else inner


@program
def waited(features: tuple[str, ...], itself: Any) -> Do[dict[str, int | None], Any, Desk]:
    """Wait for the signals of the features, in the order of the program."""
    received = dict[str, int | None]()
    if "own message" in features:
        yield from itself.signal(own, 4)
        received["own"] = yield from own.receive()
    if "signal before" in features:
        received["before"] = yield from before.receive()
    if "signal after" in features:
        late = yield from after.receive().timeout("1 second").attempt()
        received["after"] = late.value_or(None)
    if "signal during" in features:
        received["during"] = yield from during.receive()
    return received


def flow_of(version: str) -> Flow:
    @program
    def body(undo: Undo[Desk], ctx: WorkflowContext[Plan], plan: Plan) -> Do[dict[str, int | None], Any, Desk]:
        features, number, received = plan.features, plan.generation, dict[str, int | None]()
        if version == "new" and (yield from patched("earlier")):
            yield from undo.after(book(f"p{number}"), unbook)
        yield from undo.after(book(f"a{number}"), unbook)
        yield from middle(undo, plan)
        if "tell" in features:
            yield from tell(counter, "c").send(1)
        if plan.is_last:
            received = yield from waited(features, tell(ctx_job, ctx.id))
        yield from sleep("6 seconds")
        if version == "new" and (yield from patched("later")):
            yield from undo.after(book(f"q{number}"), unbook)
        yield from undo.after(book(f"z{number}"), unbook)
        if plan.is_last and "compensation" in features:
            yield from fail("declined")
        return received

    @program
    def run(ctx: WorkflowContext[Plan]) -> Do[dict[str, int | None], str | Defect, Desk]:
        plan = yield from ctx.state
        received = yield from saga(body, ctx, plan)
        if not plan.is_last:
            yield from ctx.start_over(attrs.evolve(plan, generation=1))
        return received

    ctx_job: Flow = Workflow("flow", state=Plan, run=run, signals=SIGNALS, retry_defects=RETRY, keep=None)
    return ctx_job


flow = flow_of("old")


# ---------------------------------------------------------------- the operator
@attrs.define
class Life:
    """One workflow ``t``, and the acts of the operator.

    Attributes:
        world: the world.
        desk: the outside journal.
        features: the pair, in the order in which the operator acts.
        crashes: how often the worker died.
        sent: the signals that were accepted.
    """

    world: World
    desk: Desk
    features: tuple[str, ...]
    crashes: int = 0
    sent: int = 0
    job: Flow = flow

    @property
    def handle(self) -> Any:
        return self.world.handle(self.job)

    def signal(self, signal: Signal[int], value: int) -> None:
        answer = self.world.attempt(self.handle.signal("t", signal, value))
        is_there = self.world.run(self.handle.status("t")).status not in ("not_found", "done")
        assert isinstance(answer, Success) == is_there, answer
        self.sent += is_there


def cancel(life: Life) -> None:
    is_there = life.world.run(life.handle.status("t")).status != "not_found"
    assert life.world.run(life.handle.cancel("t", "enough")).accepted == is_there


def pause(life: Life) -> None:
    life.world.run(life.handle.pause("t"))


def terminate(life: Life) -> None:
    assert life.world.run(life.handle.terminate("t", interrupt=True)).terminated
    assert life.world.run(life.handle.status("t")).status == "not_found"


def crash(life: Life) -> None:
    life.world.crash()
    life.crashes += 1
    life.world.open()


def deploy(life: Life) -> None:
    life.world.crash()
    life.crashes += 1
    life.job = flow_of("new")
    life.world.open(App(life.desk).with_jobs(life.job, child, counter))


OPERATOR: dict[str, Callable[[Life], None]] = {
    "cancel": cancel,
    "pause": pause,
    "terminate": terminate,
    "crash": crash,
    "patched": deploy,
}
PROGRAM = (
    *("start over", "signal before", "signal during", "signal after", "retries exhausted", "timeout", "later timeout"),
    *("gather", "race", "child", "compensation", "own message", "tell"),
)
FEATURES = (*PROGRAM, *OPERATOR)
PAIRS = [*combinations(FEATURES, 2), *((second, first) for first, second in combinations(OPERATOR, 2))]


def lived(life: Life) -> None:
    """Start the workflow, act at the seconds of the script, and check its waits at each of them."""
    features, world = life.features, life.world
    if "retries exhausted" in features:
        life.desk.raises["m0"] = 2
    world.run(life.handle.start("t", Plan(features)))
    if "signal before" in features:
        life.signal(before, 1)
    acts = dict(zip((FIRST, SECOND), (OPERATOR[name] for name in features if name in OPERATOR), strict=False))
    for second in range(1, 61):
        world.advance("1 second")
        if second in acts:
            acts[second](life)
        if second in (6, 12, 20):
            follow_up(life, second)
        check_not_stuck(life)
    world.advance("10 minutes")


def follow_up(life: Life, second: int) -> None:
    """Send the signals at second 6, end a pause at second 12, and resume a parked workflow at second 20."""
    features, world = life.features, life.world
    for name, signal, value in (("signal during", during, 2), ("signal after", after, 3)):
        if second == 6 and name in features:
            life.signal(signal, value)
    if second == 12 and "pause" in features:
        world.run(life.handle.resume("t"))
    if second == 20 and "retries exhausted" in features:
        for handle, id_ in ((life.handle, "t"), (world.handle(child), "t0")):
            world.run(handle.resume(id_))


def check_not_stuck(life: Life) -> None:
    """Whatever does not run has a timer, or waits for something that the pair says, or is parked for its reason."""
    for handle, id_ in ((life.handle, "t"), (life.world.handle(child), "t0"), (life.world.handle(child), "t1")):
        status = life.world.run(handle.status(id_))
        match status.status:
            case "idle":
                is_child_parked = life.world.run(life.world.handle(child).status("t0")).parked is not None
                open_ = "parked" if is_child_parked else "waiting"
                waits = {each.name for each in life.world.run(handle.steps(id_)) if each.status == open_}
                assert waits, f"{id_} is idle, and waits for nothing"
                assert {"signal during", "child"} & {*life.features}, waits
            case "parked":
                assert status.parked == "retries_exhausted"
                assert "retries exhausted" in life.features
            case "paused":
                assert "pause" in life.features
            case "scheduled" | "retrying":
                assert status.next_run_at is not None
            case other:
                assert other in {"running", "queued", "done", "not_found"}


# ---------------------------------------------------------------- the model
@attrs.frozen
class Fate:
    """The expected end.

    Attributes:
        outcome: its form; ``absent`` after a termination.
        booked: the bookings that are in effect.
        told: the total of the counter.
    """

    outcome: str
    booked: set[str]
    told: int


def fate_of(pair: tuple[str, ...]) -> Fate:
    """Return the expected end of a pair.

    The middle step books at second 0 and ends at second 4. Its time limits pass at second 1, and at 2.5. If it raises,
    it is parked from second 1 to second 20. So the operator, at second 2, finds that the first time limit has passed,
    the step in progress, or the workflow parked.
    """
    has = {*pair}.__contains__
    begun = {"a0"} | ({"b0"} if has("gather") else set()) | ({"r0"} if has("race") else set())
    begun |= set() if has("retries exhausted") else {"m0"}
    passed = has("timeout") and not has("retries exhausted")
    told = int(has("tell") and passed)
    if has("terminate"):
        return Fate("absent", begun, told)
    if has("cancel"):  # a message right behind the step in progress is sent with the commit of its outcome
        return Fate("cancelled", set(), int(has("tell")))
    rooms = {"a", "m", "z"} | ({"b"} if has("gather") else set()) | ({"r"} if has("race") else set())
    first = {f"{room}0" for room in rooms}
    if has("race") and has("retries exhausted"):  # the other branch ends while this one waits for its second attempt
        first -= {"m0"}
    first |= {"q0"} if has("patched") else set()
    last = {f"{room}1" for room in (rooms | {"p", "q"} if has("patched") else rooms)}
    generations = 2 if has("start over") else 1
    told = generations if has("tell") else 0
    if has("compensation"):  # it undoes the steps since the last start
        return Fate("failed", first if has("start over") else set(), told)
    return Fate("done", first | last if has("start over") else first, told)


def check_signals(life: Life, outcome: Any) -> None:
    """Each accepted signal is received once, or reported as unreceived."""
    received = [each for each in life.world.run(life.handle.steps("t")) if each.name.startswith("signal")]
    history = [event for event in life.world.history(life.job, "t") if isinstance(event, JobNoted)]
    noted = [event for event in history if event.name == "signals.unreceived"]
    data = [orjson.loads(event.data or "{}") for event in noted]
    unreceived = sum(each["count"] for each in data)
    names = [each.name for each in received] + [name for each in data for name in each["names"]]
    arrived = life.sent + any(name.endswith("own the wait") for name in names)
    assert len([each for each in received if each.status == "done"]) + unreceived == arrived, (received, noted)
    if not isinstance(outcome, Done):
        return
    expected: dict[str, int | None] = {"own": 4} if "own message" in life.features else {}
    expected |= {"before": 1} if "signal before" in life.features else {}
    expected |= {"during": 2} if "signal during" in life.features else {}
    got = dict(outcome.value)
    if "signal after" in life.features:  # it is received only if the wait began or ended later than it does alone
        late = got.pop("after")
        is_delayed = {"start over", "retries exhausted", "pause", "crash", "patched"} & {*life.features}
        assert late is None or (is_delayed and late == 3)
    assert got == expected


@pytest.mark.parametrize("store", ["memory", "sqlite"])
@pytest.mark.parametrize("pair", PAIRS, ids=" x ".join)
def test_a_pair_of_features_leads_a_workflow_to_the_fate_of_both(
    pair: tuple[str, str], store: str, tmp_path: Path
) -> None:
    desk, fate = Desk(), fate_of(pair)
    jobs = App(desk).with_jobs(flow, child, counter)
    with World(jobs, store="memory://" if store == "memory" else tmp_path / "jobs.db", debug=False) as world:
        life = Life(world, desk, pair)
        lived(life)
        outcome = world.run(life.handle.outcome("t"))
        match fate.outcome:
            case "done":
                assert isinstance(outcome, Done)
            case "failed":
                assert outcome == Failed("declined")
            case "cancelled":
                assert outcome == WasCancelled(reason="enough")
            case _:
                assert outcome is None
                assert world.run(life.handle.status("t")).status == "not_found"
        assert desk.booked == fate.booked, desk.calls
        assert (world.run(world.handle(counter).get_state("c")) or 0) == fate.told
        assert all(calls <= 1 + life.crashes for calls in Counter(desk.calls).values()), desk.calls
        if outcome is not None:
            check_signals(life, outcome)
        else:  # nothing of it remains: the id is as new
            world.run(life.handle.start("t", Plan((), generation=5)))
            world.advance("1 minute")
            assert world.run(life.handle.outcome("t")) == Done(value={})
            assert desk.booked == fate.booked | ({"a5", "m5", "z5"} | ({"p5", "q5"} if "patched" in pair else set()))
        assert world.messages() == ()
        assert world.run(world.jobs.dead_letters()) == ()

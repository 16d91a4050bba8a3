"""Whatever the kind of an instance and the reason why it waits for an operator: the operator can repair it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, TypeAlias

import attrs
from hypothesis import example, given, settings
from hypothesis import strategies as st
from returns.result import Failure, Result, Success

from perdure import (
    App,
    Backoff,
    Continuous,
    Debounce,
    Do,
    Retry,
    Signal,
    Task,
    WorkerPool,
    Workflow,
    effect,
    every,
    program,
)
from perdure.programs import sleep
from perdure.testing import Crash, WorkerDied, World
from perdure.values.errors import InstanceParked, RequestError, Undecodable
from perdure.values.status import Status

NIGHTLY = settings.get_current_profile_name() == "nightly"


@attrs.define
class Desk:
    """An external system, which works, raises or refuses."""

    mode: str = "works"
    done: int = 0


@attrs.frozen
class Refused:
    """The desk refused."""

    final: bool


@effect
def work(desk: Desk) -> Result[None, Refused]:
    """Do the work."""
    if desk.mode == "raises":
        raise RuntimeError(desk.mode)
    if desk.mode != "works":
        return Failure(Refused(final=True))
    desk.done += 1
    return Success(None)


go = Signal("go", int)
PARKS: Any = Retry(2, Backoff.constant("1 second"), on_exhausted="park")
SOON = Backoff.constant("1 second")
RETRY: Any = Retry(2, SOON, retry_if=lambda error: not error.final)


@program
def execute(ctx: Any) -> Do[Any, Refused, Desk]:
    """Do the work once."""
    yield from work()


@program
def item_work(_: Any) -> Do[None, Refused, Desk]:
    """Do the work of an item."""
    yield from work()


@program
def once(ctx: Any) -> Do[Any, Refused, Desk]:
    """Do the work once, and end."""
    yield from work()
    yield from ctx.terminate()


@program
def schedule(ctx: Any, _: int) -> Do[Any]:
    """Set the alarm."""
    yield from ctx.schedule(after="1 second")


@program
def flow(ctx: Any) -> Do[int, Refused, Desk]:
    """Work, and receive a signal."""
    yield from sleep("1 second")
    yield from work()
    return (yield from go.receive())


@program
def other_flow(ctx: Any) -> Do[int, Refused, Desk]:
    """Another program, which does not follow the journal of the first."""
    number = yield from go.receive()
    yield from work()
    return number


@attrs.frozen
class Other:
    """A state that no other version reads."""

    text: str


def jobs(state: Any, run: Any = flow) -> dict[str, Any]:
    """Define one job of each kind with a type of its states."""
    initial = 0 if state is int else Other("x")
    return {
        "task": Task("j", state=state, event=int, initial=initial, on_event=schedule, execute=once, retry=RETRY),
        "continuous": Continuous("j", state=state, schedule=every("1 second"), execute=execute, retry=PARKS),
        "debounce": Debounce("j", event=state, flush_after="1 second", execute=execute, retry=RETRY),
        "pool": WorkerPool("j", item=state, work=item_work, retry=RETRY, keep="0 ms"),
        "workflow": Workflow("j", state=state, run=run, signals=(go,), keep=None, retry_defects=Retry(2, SOON)),
    }


NOW, BROKEN, DIVERGED = jobs(int), jobs(Other), jobs(int, other_flow)
KINDS = tuple(NOW)
REASONS = ("paused", "retries_exhausted", "not_retryable", "recovery_exhausted", "left", "diverged")
ONLY = {"diverged": ("workflow",), "not_retryable": ("task", "debounce", "pool")}
CASES = [(kind, reason) for kind in KINDS for reason in REASONS if kind in ONLY.get(reason, KINDS)]
Case: TypeAlias = tuple[str, str]
ACTIONS = ("event", "pause", "resume", "cancel", "restart", "wait")


def begin(world: World, kind: str) -> None:
    """Create the instance."""
    handle = world.handle(NOW[kind])
    match kind:
        case "task":
            world.run(handle.send("i", 1))
        case "continuous":
            world.run(handle.start("i", 1))
        case "debounce":
            world.run(handle.add("i", 1))
        case "pool":
            world.run(handle.put("i", 1, after="1 second"))
        case _:
            world.run(handle.start("i", 1, wait_for="start"))


def hold(world: World, desk: Desk, case: Case) -> dict[str, Any]:
    """Bring an instance to the status, and return the definitions that are deployed then."""
    kind, reason = case
    if reason == "recovery_exhausted":
        world.inject(*(Crash("work", when="after", call=call) for call in (1, 2, 3)))
    desk.mode = {"retries_exhausted": "raises", "not_retryable": "refuses"}.get(reason, "works")
    with suppress(WorkerDied):
        begin(world, kind)
    if reason == "paused":
        world.run(world.handle(NOW[kind]).pause("i"))
        return NOW
    if reason in ("left", "diverged"):
        deployed = BROKEN if reason == "left" else DIVERGED
        world.restart(App(desk).with_jobs(*deployed.values()))
        world.advance("10 seconds")
        return deployed
    for _ in range(4):
        with suppress(WorkerDied):
            advance_open(world)
    return NOW


def advance_open(world: World) -> None:
    if not world.is_open:
        world.open()
    world.advance("2 minutes")


def act(world: World, desk: Desk, deployed: dict[str, Any], case: Case, action: str) -> None:
    """Make a request of an operator or a caller: it succeeds, or fails with a typed error."""
    kind, reason = case
    handle = world.handle(deployed[kind])
    answer: Any = None
    match action:
        case "event" if kind == "workflow":
            assert world.run(handle.signal("i", go, 5)).accepted, "a workflow stores signals"
        case "event":
            value: Any = Other("y") if deployed is BROKEN else 2
            calls = {"task": "send", "debounce": "add"}
            answer = (
                world.attempt(getattr(handle, calls[kind])("i", 1 if kind == "task" else value))
                if kind in calls
                else None
            )
        case "cancel" if kind == "workflow" and reason in ("left", "diverged"):
            assert world.run(handle.cancel("i", "enough")).accepted
        case "pause":
            world.run(handle.pause("i"))
        case "resume" if reason in ("left", "diverged"):
            answer = world.attempt(handle.resume("i"))
        case "restart":
            world.restart(App(desk).with_jobs(*deployed.values()))
        case _:
            world.advance("1 minute")
    if isinstance(answer, Failure):
        assert isinstance(answer.failure(), Undecodable | InstanceParked | RequestError)


def check(world: World, deployed: dict[str, Any], case: Case) -> None:
    """The instance is listed, with the reason, since when, and what heals it."""
    kind, reason = case
    status: Status = "left" if reason in ("left", "diverged") else "paused" if reason == "paused" else "parked"
    (found,) = world.run(world.jobs.list(status=status))
    report = world.run(world.handle(deployed[kind]).status("i"))
    for each in (found.report, report):
        assert each.status == status
        assert each.parked == (reason if status == "parked" else None)
        assert (each.left is not None) == (status == "left")
        assert each.since is not None
        assert each.since.timestamp() * 1_000 <= world.now_ms
        assert each.heals.endswith(".")
        assert each.left is None or each.left.message


@settings(max_examples=400 if NIGHTLY else 40)
@given(st.sampled_from(CASES), st.lists(st.sampled_from(ACTIONS), max_size=4), st.sampled_from(("heal", "terminate")))
@example(("workflow", "left"), ["event", "event", "restart"], "heal")
@example(("workflow", "diverged"), ["event", "cancel"], "heal")
@example(("workflow", "recovery_exhausted"), ["event", "restart"], "heal")
@example(("pool", "left"), ["pause", "resume", "restart"], "heal")
@example(("task", "left"), ["event", "pause"], "terminate")
def test_each_instance_can_be_repaired(case: Case, actions: list[str], end: str) -> None:
    kind, reason = case
    desk = Desk()
    with World(App(desk).with_jobs(*NOW.values())) as world:
        deployed = hold(world, desk, case)
        check(world, deployed, case)
        since = world.run(world.handle(deployed[kind]).status("i")).since
        for action in actions:
            act(world, desk, deployed, case, action)
            check(world, deployed, case)
        if reason not in ("paused", "left", "diverged") or "pause" not in actions:
            assert world.run(world.handle(deployed[kind]).status("i")).since == since, "no request changes that"
        if end == "terminate":
            assert world.run(world.handle(deployed[kind]).terminate("i")).terminated
            assert not tuple(world.run(world.jobs.list()))
            return
        desk.mode, done = "works", desk.done
        if deployed is not NOW:
            world.restart(App(desk).with_jobs(*NOW.values()))
        world.run(world.handle(NOW[kind]).resume("i"))
        world.advance("5 seconds")
        report = world.run(world.handle(NOW[kind]).status("i"))
        assert (report.parked, report.left, report.since) == (None, None, None)
        if "cancel" in actions and kind == "workflow" and reason in ("left", "diverged"):
            assert report.status in ("done", "not_found")
            return
        assert desk.done > done, "it works again"

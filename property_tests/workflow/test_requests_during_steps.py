"""A signal or a cancellation that arrives while steps are in progress takes effect when it arrives."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
from flows import bodies
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from perdure import App, Do, Program, Signal, Workflow, WorkflowContext, program, step
from perdure.programs import gather, race, sleep
from perdure.testing import WorkerDied, World
from perdure.values.answer import Done, WasCancelled

signals = tuple(Signal(f"go {number}", int) for number in range(4))


@attrs.frozen
class Waiting:
    """One branch of a race: the kind of its wait, and when that ends, in seconds."""

    kind: str
    seconds: int


def branches(least: int) -> st.SearchStrategy[list[Waiting]]:
    """Return drawn branches that end at different times."""
    kinds = st.sampled_from(["step", "signal", "sleep", "step then signal"])
    times = st.lists(st.integers(1, 20), min_size=least, max_size=4, unique=True)
    return times.flatmap(lambda drawn: st.tuples(*(st.builds(Waiting, kinds, st.just(at)) for at in drawn)).map(list))


@step
@program
def slow(seconds: int) -> Do[str]:
    yield from sleep(f"{seconds} seconds" if seconds else "1 ms")
    return f"step {seconds}"


@program
def received(number: int) -> Do[str]:
    seconds = yield from signals[number].receive()
    return f"signal {seconds}"


@program
def slept(seconds: int) -> Do[str]:
    yield from sleep(f"{seconds} seconds")
    return f"sleep {seconds}"


@program
def both(number: int) -> Do[str]:
    """A step that ends before the signal arrives, and then the signal."""
    yield from slow(0)
    return (yield from received(number))


def one(number: int, waiting: Waiting) -> Program[Any, Any, Any]:
    match waiting.kind:
        case "step":
            return slow(waiting.seconds)
        case "sleep":
            return slept(waiting.seconds)
        case "signal":
            return received(number)
        case _:
            return both(number)


def flow_of(drawn: list[Waiting], how: str) -> Workflow[Any, Any, Any, Any]:
    @program
    def raced(ctx: WorkflowContext[int]) -> Do[str]:
        joined: Any = race if how == "race" else gather
        return str((yield from joined(*(one(number, waiting) for number, waiting in enumerate(drawn)))))

    return Workflow("raced", state=int, run=raced, signals=signals, keep=None)


def lived(job: Workflow[Any, Any, Any, Any], drawn: list[Waiting], seconds: int, crash: int | None) -> World:
    """Start the workflow, and send each signal at its second, however often the worker dies."""
    world = World(App(None).with_jobs(job), debug=False)
    if crash is not None:
        world.crash_after(crash)
    calls: list[tuple[int, Callable[[], object]]] = [
        (0, lambda: world.run(world.handle(job).start("r", 0, idempotency_key="start")))
    ]
    for number, waiting in enumerate(drawn):
        if "signal" in waiting.kind:
            calls.append((waiting.seconds, partial(send, world, job, number, waiting.seconds)))
    for second in range(seconds + 1):
        for _, call in (one for one in calls if one[0] == second):
            repeated_after_deaths(world, call)
        repeated_after_deaths(world, lambda: world.advance("1 second"))
    return world


def send(world: World, job: Workflow[Any, Any, Any, Any], number: int, second: int) -> object:
    return world.attempt(world.handle(job).signal("r", signals[number], second, idempotency_key=f"{number}"))


def repeated_after_deaths(world: World, call: Callable[[], object]) -> None:
    while True:
        try:
            if not world.is_open:
                world.open()
            call()
        except WorkerDied:
            continue
        return


def check_followed(world: World, job: Workflow[Any, Any, Any, Any]) -> None:
    instance = world.instance(job, "r")
    assert instance is not None
    assert instance.suspension is None
    rows = bodies(world, job, "r")
    for length in range(len(rows) + 1):
        job.replay(instance, rows[:length])


@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=25)
@given(drawn=branches(1))
@example([Waiting("step", 20), Waiting("signal", 1)])
@example([Waiting("step", 20), Waiting("step then signal", 1)])
def test_the_branch_that_ends_first_wins_at_that_instant(drawn: list[Waiting]) -> None:
    """A race with a step in progress reacts to a signal as it reacts to a timer: at once, and the step is cancelled."""
    job, first = flow_of(drawn, "race"), min(drawn, key=lambda waiting: waiting.seconds)
    kind = "signal" if "signal" in first.kind else first.kind
    with lived(job, drawn, first.seconds, None) as world:
        assert world.run(world.handle(job).outcome("r")) == Done(value=f"{kind} {first.seconds}")
        check_followed(world, job)


@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=12)
@given(drawn=branches(2), crash=st.integers(0, 30))
def test_a_gather_receives_all_of_them_however_often_the_worker_dies(drawn: list[Waiting], crash: int) -> None:
    job = flow_of(drawn, "gather")
    with lived(job, drawn, 60, crash) as world:
        world.cancel_crash()
        expected = tuple(
            f"{'signal' if 'signal' in waiting.kind else waiting.kind} {waiting.seconds}" for waiting in drawn
        )
        assert world.run(world.handle(job).outcome("r")) == Done(value=str(expected))
        check_followed(world, job)


@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=10)
@given(drawn=branches(1).filter(lambda drawn: any(waiting.kind != "step" for waiting in drawn)), at=st.integers(0, 5))
def test_a_cancellation_halts_waiting_branches_and_lets_steps_end(drawn: list[Waiting], at: int) -> None:
    waits = [Waiting(waiting.kind, waiting.seconds + 10) for waiting in drawn]
    job = flow_of(waits, "gather")
    with World(App(None).with_jobs(job), debug=False) as world:
        world.run(world.handle(job).start("r", 0))
        world.advance(f"{at} seconds")
        world.run(world.handle(job).cancel("r", "enough"))
        last = max((waiting.seconds for waiting in waits if waiting.kind == "step"), default=at + 1)
        world.advance("1 second")
        if last == at + 1:
            assert world.run(world.handle(job).outcome("r")) == WasCancelled(reason="enough")
        world.advance(f"{last - at} seconds")
        assert world.run(world.handle(job).outcome("r")) == WasCancelled(reason="enough")
        check_followed(world, job)

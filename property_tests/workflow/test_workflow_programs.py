"""Drawn programs end alike, whether the worker dies somewhere or not, and however often they are replayed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import attrs
from flows import bodies
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from returns.future import FutureResult
from returns.result import Failure, Success

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
    fail,
    program,
    saga,
    succeed,
)
from perdure.programs import Halted, Raised, as_completed, bracket, gather, race, sleep
from perdure.runtime.record import Sizes
from perdure.testing import WorkerDied, World
from perdure.testing.world.world import with_sizes
from perdure.values.answer import Done, WasCancelled
from perdure.values.outcome import Failed

go = Signal("go", int)
P: TypeAlias = Program[Any, Any, Any]

IN_MEMORY = Sizes(replayed_rows=1)
"""A program stays in memory from its second run on."""

REPLAYED = Sizes(kept_rows=1)
"""No program stays in memory: it would stand for more than one row."""


@attrs.define
class Outside:
    """Performs each effect; some fail with a typed error."""

    done: list[str] = attrs.Factory(list[str])


@effect
def act(services: Outside, name: str) -> FutureResult[str, str]:
    services.done.append(name)
    return FutureResult.from_failure(name) if name.startswith("bad") else FutureResult.from_value(name)


def steps_of(children: st.SearchStrategy[Callable[[], P]]) -> st.SearchStrategy[Callable[[], P]]:
    several = st.lists(children, min_size=1, max_size=3)
    return st.one_of(
        several.map(lambda made: lambda: in_turn(made)),
        st.tuples(several, st.integers(1, 3)).map(
            lambda drawn: lambda: gather(*(make() for make in drawn[0]), limit=drawn[1])
        ),
        st.tuples(several, st.integers(1, 3), st.booleans()).map(
            lambda drawn: (
                lambda: as_completed(
                    *(make() for make in drawn[0]), then=handled if drawn[2] else succeed, limit=drawn[1]
                ).map(lambda values: sorted(map(str, values)))
            )
        ),
        st.tuples(children, st.sampled_from(["1 second", "1 minute"])).map(
            lambda drawn: lambda: drawn[0]().timeout(drawn[1])
        ),
        children.map(lambda make: lambda: make().attempt().map(str)),
        st.tuples(children, children).map(
            lambda two: lambda: bracket(act("in"), lambda _: two[0](), lambda _: act("out"))
        ),
        children.map(lambda make: lambda: saga(undone, make)),
    )


def racing_steps_of(children: st.SearchStrategy[Callable[[], P]]) -> st.SearchStrategy[Callable[[], P]]:
    races = st.lists(children, min_size=1, max_size=3).map(lambda made: lambda: race(*(make() for make in made)))
    return st.one_of(steps_of(children), races)


@program
def in_turn(made: list[Callable[[], P]]) -> Do[Any, Any, Any]:
    values = []
    for make in made:
        values.append((yield from make()))  # noqa: PERF401 - Python allows no `yield from` in a comprehension
    return values


def handled(value: object) -> P:
    return act("handled").map(lambda _: value)


@program
def undone(undo: Undo[Any], make: Callable[[], P]) -> Do[Any, Any, Any]:
    yield from undo.after(act("do"), lambda _: act("undo"))
    return (yield from make())


TIMED: st.SearchStrategy[Callable[[], P]] = st.one_of(
    st.sampled_from(["a", "b", "bad"]).map(lambda name: lambda: act(name)),
    st.sampled_from(["1 second", "2 seconds", "1 hour"]).map(lambda wait: lambda: sleep(wait)),
    st.just(lambda: succeed(1)),
    st.just(lambda: fail("no")),
)
SIGNALLED = st.one_of(TIMED, st.just(go.receive))


def flow_of(make: Callable[[], P]) -> Workflow[Any, Any, Any, Any]:
    @program
    def body(ctx: WorkflowContext[int]) -> Do[str, str, Outside]:
        exit_ = yield from make().attempt()
        yield from act("end")
        return str(exit_)

    return Workflow(
        "drawn", state=int, run=body, signals=(go,), retry_defects=Retry(5, Backoff.constant("1 second")), keep=None
    )


def through(world: World, *phases: Callable[[], object]) -> None:
    """Make calls, each again after a crash."""
    for phase in phases:
        while True:
            try:
                if not world.is_open:
                    world.open()
                phase()
                break
            except WorkerDied:
                continue


def lived(make: Callable[[], P], crash: int | None) -> tuple[Any, list[str], int]:
    outside, job = Outside(), flow_of(make)
    # The program stays in memory between its runs, as that of a long journal does, until the crash.
    with with_sizes(World(App(outside).with_jobs(job), debug=False), IN_MEMORY) as world:
        if crash is not None:
            world.crash_after(crash)
        through(
            world,
            lambda: world.run(world.handle(job).start("d", 0, idempotency_key="start")),
            *[lambda: world.advance("1 hour")] * 10,
        )
        points = len(world.crash_points)
        world.cancel_crash()
        if not world.is_open:
            world.open()
        world.advance("10 hours")
        return world.run(world.handle(job).outcome("d")), outside.done, points


@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=80)
@given(make=st.recursive(TIMED, steps_of, max_leaves=8), data=st.data())
def test_a_crash_changes_neither_the_outcome_nor_the_effects(make: Callable[[], P], data: st.DataObject) -> None:
    """Without races: which of two steps wins one depends on the services."""
    outcome, done, points = lived(make, None)
    assert outcome is not None
    again, repeated, _ = lived(make, data.draw(st.integers(0, points), label="crash point"))
    assert again == outcome
    assert set(repeated) == set(done)


@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=80)
@given(
    make=st.recursive(SIGNALLED, racing_steps_of, max_leaves=8),
    crash=st.integers(0, 60),
    cancel_first=st.sampled_from(["no", "before signals", "after signals"]),
    sizes=st.sampled_from([IN_MEMORY, REPLAYED]),
)
def test_every_prefix_of_a_journal_can_be_followed_and_all_of_it_leads_to_the_same_end(
    make: Callable[[], P], crash: int, cancel_first: str, sizes: Sizes
) -> None:
    job = flow_of(make)
    with with_sizes(World(App(Outside()).with_jobs(job), debug=False), sizes) as world:
        world.crash_after(crash)
        cancel: Callable[[], object] = lambda: world.run(  # noqa: E731
            world.handle(job).cancel("d", "enough", idempotency_key="cancel")
        )
        signals = [
            partial(lambda n: world.attempt(world.handle(job).signal("d", go, n, idempotency_key=f"go {n}")), number)
            for number in range(2)
        ]
        through(
            world,
            lambda: world.run(world.handle(job).start("d", 0, idempotency_key="start")),
            lambda: world.advance("1 second"),
            *([cancel] if cancel_first == "before signals" else []),
            *signals,
            lambda: world.advance("1 minute"),
            *([cancel] if cancel_first == "after signals" else []),
            lambda: world.advance("9 hours"),
        )
        world.cancel_crash()
        if not world.is_open:
            world.open()
        world.advance("9 hours")
        instance = world.instance(job, "d")
        assert instance is not None
        assert instance.suspension is None, instance.last_error
        rows = bodies(world, job, "d")
        for length in range(len(rows) + 1):
            replay = job.replay(instance, rows[:length])
            replay.tree.close()
        outcome = world.run(world.handle(job).outcome("d"))
        match replay.tree.exit:
            case Success(value):
                assert outcome == Done(value=value)
            case Failure(error):
                assert outcome == Failed(error)
            case Halted():
                assert outcome == WasCancelled(reason="enough")
            case None:
                assert outcome is None
            case Raised():
                raise AssertionError(replay.tree.exit)


def journal_of(make: Callable[[], P], seconds: list[int], sizes: Sizes) -> tuple[Any, list[str], list[str]]:
    """Return how a program ends that receives a signal after each of these waits, its journal and its effects."""
    outside, job = Outside(), flow_of(make)
    with with_sizes(World(App(outside).with_jobs(job), debug=False), sizes) as world:
        world.run(world.handle(job).start("d", 0))
        for number, wait in enumerate(seconds):
            world.advance(f"{wait} seconds")
            world.attempt(world.handle(job).signal("d", go, number))
        world.advance("9 hours")
        return world.run(world.handle(job).outcome("d")), bodies(world, job, "d"), outside.done


WAITING: Callable[[], P] = lambda: in_turn(  # noqa: E731
    [go.receive, lambda: act("a"), lambda: gather(sleep("2 seconds"), go.receive(), limit=1), lambda: act("b")]
)


@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=80)
@given(make=st.recursive(SIGNALLED, racing_steps_of, max_leaves=8), seconds=st.lists(st.integers(1, 5), max_size=4))
@example(make=WAITING, seconds=[1, 1, 3])
def test_a_program_in_memory_writes_the_journal_of_one_that_is_replayed(
    make: Callable[[], P], seconds: list[int]
) -> None:
    assert journal_of(make, seconds, IN_MEMORY) == journal_of(make, seconds, REPLAYED)

"""Commits that wait together are written as a group: in any case each of its turns happens once or not at all.

Callers send at the same moments, so that turns share rows and rows share groups. The process dies around a group and
within it, or the store refuses, loses or delays single commits of it. Each event adds another power of four, so that
the total of an instance says which were applied, and how often.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from hypothesis import example, given, settings
from hypothesis import strategies as st
from machine import Add, Mark, OnAlarm, Tell, app, machine, steps
from returns.result import Failure, Success
from small_limits import TWOS, sizes
from world import ProcessDied, StoreKind, World, play

from perdure.client.local_gateway import engine_of
from perdure.runtime.record import DEFAULT_SIZES, Sizes
from perdure.stores.values import Query
from perdure.testing import Crash, Delay, Fail
from perdure.values.errors import Conflict, EngineClosed, OutcomeUnknown, Overloaded, Rejected, StoreUnavailable

NIGHTLY = settings.get_current_profile_name() == "nightly"
UNCHANGED = (Conflict, EngineClosed, Overloaded, Rejected, StoreUnavailable)
"""The errors after which nothing of a request was applied."""


@frozen
class Call:
    """One request of a moment.

    Attributes:
        to: the instance.
        deed: its effect besides adding.
        key: whether it has an idempotency key.
    """

    to: str
    deed: str = "add"
    key: bool = False


def event_of(call: Call, number: int) -> Any:
    """Return the event of the request with this number."""
    amount = 4**number
    match call.deed:
        case "add":
            return steps(Add(amount))
        case "effect":
            return steps(Add(amount), Mark(f"effect {number}"))
        case "tell":
            return steps(Add(amount), Tell("told", (Add(amount),)))
        case "now":
            return OnAlarm(0, (Add(amount), Mark(f"now {number}")))
        case unknown:
            raise ValueError(unknown)


def target_of(call: Call, number: int) -> str:
    """Return the instance: a job that is accepted for now has one of its own, because an instance has one alarm."""
    return f"job {number}" if call.deed == "now" else call.to


calls = st.builds(
    Call, st.sampled_from("aaabc"), st.sampled_from(("add", "add", "add", "effect", "tell", "now")), st.booleans()
)
moments = st.lists(st.lists(calls, min_size=1, max_size=6), min_size=1, max_size=4)
ERRORS = (
    (OutcomeUnknown("the answer was lost"), "before"),
    (OutcomeUnknown("the answer was lost"), "after"),
    (StoreUnavailable("commit", "the disk is full"), "before"),
    (Conflict("another"), "before"),
)


def _fault(kind: int, place: int) -> Any:
    if kind < len(ERRORS):
        error, when = ERRORS[kind]
        return Fail("store.commit", error, when=when, call=place)
    return Delay("store.commit", "5 ms", call=place) if kind == len(ERRORS) else Crash("store.commit", call=place)


faults = st.lists(st.builds(_fault, st.integers(0, len(ERRORS) + 1), st.integers(1, 12)), max_size=3)


async def scenario(world: World, history: list[list[Call]], planned: list[Any], dies_at: int | None) -> None:
    """Play a history, then let a sound process finish it, and check the result."""
    answers: dict[int, Any] = {}
    numbered: dict[int, Call] = {}
    await world.open(app(world.outside))
    await world.run(world.jobs.handle(machine).send("a", steps()))
    world.world.inject(*planned)
    if dies_at is not None:
        world.world.crash_after(dies_at)
    with suppress(ProcessDied):
        for moment in history:
            began = {len(numbered) + place: call for place, call in enumerate(moment)}
            numbered |= began
            tasks = {number: world.start(sent(world, call, number)) for number, call in began.items()}
            try:
                await world.advance(ms=100)
            finally:
                answers |= {number: task.result() for number, task in tasks.items() if task.done()}
            assert len(answers) == len(numbered), "a caller has no answer"
    await finished(world)
    for number, call in numbered.items():
        if call.key:  # its caller repeats it, and is answered as if nothing had happened
            answers[number] = await world.attempt(sent(world, call, number))
            assert isinstance(answers[number], Success), answers[number]
    await world.advance(minutes=5)
    await check(world, numbered, answers)


def sent(world: World, call: Call, number: int) -> Any:
    """Make a call."""
    key = f"key {number}" if call.key else None
    return world.jobs.handle(machine).send(target_of(call, number), event_of(call, number), idempotency_key=key)


async def finished(world: World) -> None:
    """Continue without faults, in a new process if the last one has died or its engine has stopped."""
    world.world.clear_faults()
    world.world.cancel_crash()
    if not world.world.is_open or engine_of(world.jobs).stopped.done():  # a conflict after an effect stops it
        await world.crash()
        await world.open(app(world.outside))
    await world.advance(minutes=5)


async def check(world: World, numbered: dict[int, Call], answers: dict[int, Any]) -> None:
    """Every event was applied once or not at all, as its caller was told; nothing is left to do."""
    rows = await world.inspect(lambda store: store.find(Query()))
    assert [row.address for row in rows if row.claim or row.event_claim or row.due_ms is not None] == []
    assert await world.messages() == ()
    assert engine_of(world.jobs).in_flight().is_empty
    handle = world.jobs.handle(machine)
    for number, call in numbered.items():
        state = await world.run(handle.get_state(target_of(call, number)))
        applied = 0 if state is None else state.total // 4**number % 4
        answer = answers.get(number, Failure(OutcomeUnknown("it has no answer")))
        assert applied in allowed(answer), f"{call} with the number {number} was answered {answer}"
        if call.deed == "tell":
            told = await world.run(handle.get_state("told"))
            assert (0 if told is None else told.total // 4**number % 4) == applied
    assert max(Counter(world.outside.heard).values(), default=1) == 1, "user code ran twice and could not see it"


def allowed(answer: Any) -> tuple[int, ...]:
    """Return how often an event may have been applied whose caller received this."""
    if isinstance(answer, Success):
        return (1,)
    return (0,) if isinstance(answer.failure(), UNCHANGED) else (0, 1)


TOGETHER = [[Call("a"), Call("b"), Call("a"), Call("c"), Call("d", "now"), Call("a", "tell")]]


WITH_GROUPS = 1
"""A seed with which the engine commits several turns of `TOGETHER` as one group."""


@given(
    moments,
    faults,
    st.none() | st.integers(0, 40),
    st.sampled_from(("memory", "memory", "sqlite")),
    st.integers(0, 99),
    sizes,
)
@example(
    TOGETHER, [Fail("store.commit", StoreUnavailable("commit", "the disk is full"), call=2)], None, "memory", 0, TWOS
)
@example(TOGETHER, [Crash("store.commit", call=3)], None, "sqlite", 0, DEFAULT_SIZES)
@example(TOGETHER, [Crash("store.commit", call=3)], None, "sqlite", 0, TWOS)
@settings(max_examples=2_000 if NIGHTLY else 60)
def test_each_turn_of_a_group_happens_once_or_not_at_all(  # noqa: PLR0917 - all are drawn
    tmp_path_factory: Any,
    history: Any,
    planned: list[Any],
    dies_at: int | None,
    kind: StoreKind,
    seed: int,
    sizes: Sizes,
) -> None:
    folder: Path = tmp_path_factory.mktemp("world")
    play(kind, folder, lambda world: scenario(world, history, planned, dies_at), seed=seed, sizes=sizes)


def crash_points_of(folder: Path, sizes: Sizes) -> list[str]:
    """Play one moment without a crash, and return the crash points."""
    points: list[str] = []

    async def undisturbed(world: World) -> None:
        await scenario(world, TOGETHER, [], None)
        points.extend(world.process.boundary.crash_points)

    play("memory", folder, undisturbed, seed=WITH_GROUPS, sizes=sizes)
    return points


@pytest.mark.parametrize("sizes", [DEFAULT_SIZES, TWOS], ids=["default", "two"])
def test_a_crash_anywhere_around_a_group_and_within_it(tmp_path: Path, sizes: Sizes) -> None:
    points = crash_points_of(tmp_path, sizes)
    assert "within commit" in points
    for place in range(len(points)):
        play(
            "memory",
            tmp_path,
            lambda world, place=place: scenario(world, TOGETHER, [], place),
            seed=WITH_GROUPS,
            sizes=sizes,
        )

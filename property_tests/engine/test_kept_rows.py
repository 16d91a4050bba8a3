"""Random histories of calls, faults and restarts: the engine keeps the rows in memory that the store holds.

A `World` compares the rows and the decoded states in memory with the store whenever it has settled (`kept_rows`). Here
the answers of the client are compared, too.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st
from machine import Add, AlarmIn, Break, End, NoAlarm, OnAlarm, Refuse, Say, Tell, Total, Wait, app, machine_with, steps
from world import World, play

from perdure import Backoff, Retry
from perdure.jobs.display import NOT_FOUND
from perdure.values.errors import Conflict, OutcomeUnknown, StoreUnavailable

ID_NAMES = "ab"
job = machine_with(retry=Retry(2, Backoff.constant("1 second"), jitter=False))


@frozen
class Calls:
    """Make calls at the same moment: the method of a handle, the instance, and the event of a ``send``."""

    calls: tuple[tuple[str, str, Any], ...]


@frozen
class Fails:
    """Let a later request to the store fail, perhaps after it was carried out."""

    operation: str
    error: Exception
    applied: bool
    after: int


@frozen
class Slow:
    """Let a later request to the store take its time."""

    operation: str
    after: int


@frozen
class Pass:
    """Let time pass."""

    ms: int


@frozen
class Restart:
    """Let the engine stop or die, and open the next one."""

    how: str


ids = st.sampled_from(ID_NAMES)
plain = st.sampled_from((Add(), Say("hello"), Refuse(), Break(), Wait(300), AlarmIn(700), NoAlarm(), End()))
few = st.lists(plain, min_size=1, max_size=2).map(tuple)
sequences = st.lists(plain | st.builds(Tell, ids, few), max_size=3).map(tuple)
events = st.builds(lambda given: steps(*given), sequences) | st.builds(OnAlarm, st.sampled_from((0, 500)), sequences)
verbs = st.sampled_from(("pause", "resume", "trigger", "terminate"))
calls = st.tuples(st.just("send"), ids, events) | st.tuples(verbs, ids, st.none())
without_effects = st.sampled_from((steps(Add()), steps(Add(2)), steps(Add(), AlarmIn(700)), steps(Refuse())))
bursts = st.builds(
    lambda id_, given: Calls(tuple(("send", id_, event) for event in given)),
    ids,
    st.lists(without_effects, min_size=2, max_size=4),
)
errors = st.sampled_from(
    (
        ("commit", Conflict("task:machine:a"), False),
        ("commit", StoreUnavailable("commit", "the disk is full"), False),
        ("commit", OutcomeUnknown("the connection ended"), False),
        ("commit", OutcomeUnknown("the connection ended"), True),
        ("load", StoreUnavailable("load", "the disk is away"), False),
    )
)
histories = st.lists(
    st.builds(Calls, st.lists(calls, min_size=1, max_size=4).map(tuple))
    | bursts
    | st.builds(lambda error, after: Fails(*error, after), errors, st.integers(0, 2))
    | st.builds(Slow, st.sampled_from(("load", "commit", "due")), st.integers(0, 2))
    | st.builds(Pass, st.sampled_from((1, 400, 2_000)))
    | st.builds(Restart, st.sampled_from(("stop", "crash"))),
    min_size=2,
    max_size=20,
)


async def follow(world: World, history: list[Any]) -> None:
    given = app(world.outside, job, shutdown_timeout="1 s")
    await world.open(given)
    for part in history:
        handle = world.jobs.handle(job)
        match part:
            case Calls(some):
                for verb, id_, event in some:
                    world.start(handle.send(id_, event) if event is not None else getattr(handle, verb)(id_))
                await world.settle()
            case Fails(operation, error, applied, after):
                world.fail(operation, error, applied=applied, after=after)
            case Slow(operation, after):
                world.slow(operation, ms=250, after=after)
            case Pass(ms):
                await world.advance(ms=ms)
            case Restart(how):
                await (world.crash() if how == "crash" else world.close())
                await world.open(given)
                await world.settle()
    world.world.clear_faults()
    await world.advance(minutes=10)
    await compare_answers(world)


async def compare_answers(world: World) -> None:
    handle = world.jobs.handle(job)
    for id_ in ID_NAMES:
        row = await world.row(job.address(id_))
        state: Total | None = await world.run(handle.get_state(id_))
        assert state == (None if row is None else job.visible_state(row))
        status = await world.run(handle.status(id_))
        assert status == (NOT_FOUND if row is None else job.report(row))


@given(histories)
def test_an_engine_keeps_the_rows_of_its_file(history: list[Any]) -> None:
    with TemporaryDirectory() as folder:
        play("sqlite", Path(folder), lambda world: follow(world, history))


@given(histories)
def test_an_engine_keeps_the_rows_of_its_memory(history: list[Any]) -> None:
    play("memory", Path(), lambda world: follow(world, history))

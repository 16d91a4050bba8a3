"""Outcomes of steps that are larger than one row of a journal: stored in parts, before the row that names them."""

from __future__ import annotations

from typing import Any

import attrs
import orjson
import pytest
from flows import Flow, bodies, journal, names
from hypothesis import example, given, settings
from hypothesis import strategies as st
from returns.future import FutureResult
from returns.result import Failure

from perdure import App, Do, Limits, Signal, Workflow, WorkflowContext, effect, program
from perdure.jobs.code_fingerprint import code_of
from perdure.jobs.parts import EMPTIED, names_in
from perdure.kinds.workflow.header import header_of
from perdure.kinds.workflow.journal import PARTS_IN_COMMIT, Row, row_of
from perdure.programs import gather, race, sleep
from perdure.testing import Crash, Delay, WorkerDied, World
from perdure.values.answer import Done
from perdure.values.errors import InvalidInput
from perdure.values.excerpt import REFERENCE

ROW = 100
"""The size of a row in the worlds here, in bytes."""

LIMITS = Limits(payload_bytes=ROW, outcome_bytes=4_000)
LETTERS = "abcdefghijklmnopqrstuvwxyzäöüß水\U0001f600"


class Desk:
    """A service whose answers are large."""

    def __init__(self) -> None:
        self.calls: list[str] = []


def text_of(size: int, seed: str = "") -> str:
    """Return a text whose parts differ."""
    return (seed + "".join(f"{number}," for number in range(size)))[:size]


@effect
def fetch(desk: Desk, size: int, seed: str = "") -> FutureResult[str, str]:
    desk.calls.append(f"fetch {size} {seed}")
    return FutureResult.from_value(text_of(size, seed))


@effect
def decline(desk: Desk, size: int) -> FutureResult[int, str]:
    desk.calls.append(f"decline {size}")
    return FutureResult.from_failure(text_of(size))


@effect
def repeat(desk: Desk, text: str) -> FutureResult[str, str]:
    desk.calls.append("repeat")
    return FutureResult.from_value(text)


@effect
def small(desk: Desk) -> FutureResult[int, str]:
    desk.calls.append("small")
    return FutureResult.from_value(1)


@program
def fetching(ctx: WorkflowContext[int]) -> Do[int, str, Desk]:
    text = yield from fetch((yield from ctx.state))
    yield from sleep("1 hour")
    assert text == text_of(len(text))
    yield from small()
    return len(text)


def opened(run: Any, desk: Desk, limits: Limits = LIMITS) -> tuple[World, Flow]:
    job = Workflow("flow", state=int, run=run, keep=None)
    return World(App(desk, limits=limits).with_jobs(job)), job


def parts_in(world: World, job: Flow, id_: str) -> list[Row]:
    return [row for row in map(row_of, bodies(world, job, id_)) if row.form == "part" and row.name]


def unnamed(world: World, job: Flow, id_: str) -> set[str]:
    """The names of parts that neither a row nor the state or the value of the workflow names."""
    instance = world.instance(job, id_)
    assert instance is not None
    header = header_of(instance)
    texts = [row.value for row in map(row_of, bodies(world, job, id_)) if row.form != "part"]
    ends = [] if header.ended is None else [header.ended.value]
    named = {name for text in (*texts, *ends, header.first or instance.state) for name in names_in(text)}
    return {row.name for row in parts_in(world, job, id_)} - named


def next_worker(world: World, job: Flow) -> None:
    """Open a worker, let it start the workflow if it does not exist, and wait."""
    if world.is_open:
        world.run(world.handle(job).start("f", 1_000))
    else:
        world.open()
    world.advance("1 minute")


def dangling(world: World, job: Flow, id_: str) -> list[str]:
    """The names of parts that no row before theirs holds."""
    held: set[str] = set()
    missing: list[str] = []
    for row in map(row_of, bodies(world, job, id_)):
        if row.form == "part":
            held.add(row.name)
        elif row.value.startswith(REFERENCE):
            missing += [name for name in orjson.loads(row.value[1:])[1:] if name not in held]
    return missing


def test_an_outcome_larger_than_a_row_is_performed_once_and_replayed_whole() -> None:
    desk = Desk()
    world, job = opened(fetching, desk)
    with world:
        world.run(world.handle(job).start("f", 3_000))
        world.restart()
        world.advance("1 hour")
        assert world.run(world.handle(job).outcome("f")) == Done(value=3_000)
        assert desk.calls == ["fetch 3000 ", "small"]
        parts = parts_in(world, job, "f")
        assert len(parts) == 31
        assert max(len(part.value) for part in parts) == ROW
        assert names(journal(world, job, "f"))[-3:] == ["fetch", "sleep", "small"]


def test_an_outcome_of_one_row_is_stored_as_before() -> None:
    world, job = opened(fetching, Desk())
    with world:
        world.run(world.handle(job).start("f", ROW - 2))  # in quotes
        assert parts_in(world, job, "f") == []
        world.run(world.handle(job).start("g", ROW - 1))
        assert len(parts_in(world, job, "g")) == 2


@pytest.mark.parametrize("size", [3_998, 3_999])
def test_an_outcome_has_at_most_outcome_bytes_and_nothing_repeats_a_larger_one(size: int) -> None:
    desk = Desk()
    world, job = opened(fetching, desk)
    with world:
        world.run(world.handle(job).start("f", size))
        world.advance("2 hours")
        status = world.run(world.handle(job).status("f"))
        if size == 3_998:
            assert status.parked is None
            return
        assert status.parked == "not_retryable"
        assert status.last_error is not None
        for words in ("fetch", "4001 bytes", "outcome_bytes (4000)", "The step was performed: only a resumption"):
            assert words in status.last_error.message
        world.restart()
        world.advance("1 day")
        assert desk.calls == ["fetch 3999 "]
        parked = [each for each in world.run(world.handle(job).steps("f")) if each.status == "parked"]
        assert [each.name for each in parked] == ["fetch"]
        assert parts_in(world, job, "f") == []


def test_a_typed_error_larger_than_a_row_is_recorded() -> None:
    @program
    def declined(ctx: WorkflowContext[int]) -> Do[int, str, Desk]:
        found = yield from decline((yield from ctx.state)).attempt()
        yield from sleep("1 hour")
        assert isinstance(found, Failure)
        return len(found.failure())

    desk = Desk()
    world, job = opened(declined, desk)
    with world:
        world.run(world.handle(job).start("f", 1_000))
        world.restart()
        world.advance("1 hour")
        assert world.run(world.handle(job).outcome("f")) == Done(value=1_000)
        assert desk.calls == ["decline 1000"]


@given(text=st.text(alphabet=LETTERS, max_size=700), room=st.integers(4, 300))
@example(text="水" * 300, room=4)
@example(text="a" * 298, room=300)
@settings(max_examples=30)
def test_any_text_comes_back_as_it_was(text: str, room: int) -> None:
    @program
    def repeating(ctx: WorkflowContext[int]) -> Do[bool, str, Desk]:
        got = yield from repeat(text)
        yield from sleep("1 hour")
        return got == text

    desk = Desk()
    world, job = opened(repeating, desk, Limits(payload_bytes=room, journal_page=3))
    with world:
        world.run(world.handle(job).start("f", 1))
        world.restart()
        world.advance("1 hour")
        assert world.run(world.handle(job).outcome("f")) == Done(value=True)
        assert desk.calls == ["repeat"]
        assert all(len(part.value.encode()) <= room for part in parts_in(world, job, "f"))


def test_the_same_content_is_stored_once() -> None:
    @program
    def twice(ctx: WorkflowContext[int]) -> Do[int, str, Desk]:
        one = yield from fetch((yield from ctx.state))
        yield from sleep("1 hour")
        other = yield from fetch((yield from ctx.state))
        yield from sleep("1 hour")
        return len(one) + len(other)

    desk = Desk()
    world, job = opened(twice, desk)
    with world:
        world.run(world.handle(job).start("f", 1_000))
        stored = len(parts_in(world, job, "f"))
        world.restart()
        world.advance("1 hour")
        assert len(desk.calls) == 2
        assert len(parts_in(world, job, "f")) == stored == 11
        world.restart()
        world.advance("1 hour")
        assert world.run(world.handle(job).outcome("f")) == Done(value=2_000)
        assert dangling(world, job, "f") == []


@pytest.mark.parametrize("number", range(1, 6))
def test_a_death_at_any_commit_repeats_the_step_and_names_only_stored_parts(number: int) -> None:
    desk = Desk()
    world, job = opened(fetching, desk)
    with world:
        world.inject(Crash("store.commit", call=number, when="after"))
        with pytest.raises(WorkerDied):
            next_worker(world, job)
        world.open()
        world.advance("1 minute")
        # The content is the same, and so are its parts: those that the dead process stored are used.
        assert len(parts_in(world, job, "f")) == 11
        assert dangling(world, job, "f") == []
        world.advance("1 hour")
        assert world.run(world.handle(job).outcome("f")) == Done(value=1_000)
        assert desk.calls.count("fetch 1000 ") <= 2


@effect
def change(desk: Desk, size: int) -> FutureResult[str, str]:
    desk.calls.append("change")
    return FutureResult.from_value(text_of(size, "x" * len(desk.calls)))


@program
def changing(ctx: WorkflowContext[int]) -> Do[int, str, Desk]:
    return len((yield from change((yield from ctx.state))))


@pytest.mark.parametrize("number", range(1, 6))
@pytest.mark.parametrize("payload_bytes", [ROW, 20 * ROW])
def test_a_repeated_step_with_another_outcome_empties_the_parts_of_the_first(number: int, payload_bytes: int) -> None:
    """Also if the second outcome fits a row."""
    desk = Desk()
    world, job = opened(changing, desk)
    with world:
        world.inject(Crash("store.commit", call=number, when="after"))
        with pytest.raises(WorkerDied):
            next_worker(world, job)
        held = len(parts_in(world, job, "f"))
        world.open(App(desk, limits=Limits(payload_bytes=payload_bytes)).with_jobs(job))
        world.advance("1 minute")
        assert world.run(world.handle(job).outcome("f")) == Done(value=1_000)
        assert unnamed(world, job, "f") == set()
        assert dangling(world, job, "f") == []
        if len(desk.calls) == 2:
            assert bodies(world, job, "f").count(EMPTIED) == held


@program
def racing(ctx: WorkflowContext[int]) -> Do[int, str, Desk]:
    size = yield from ctx.state
    yield from race(fetch(size, "a"), small())
    yield from sleep("1 hour")
    return size


@pytest.mark.parametrize("end", ["race", "cancel", "run_timeout"])
def test_a_step_that_ends_while_its_outcome_is_stored_leaves_no_part(end: str) -> None:
    desk = Desk()
    run: Any = racing if end == "race" else fetching
    job = Workflow("flow", state=int, run=run, keep=None, run_timeout="1 minute")
    world = World(App(desk, limits=LIMITS).with_jobs(job))
    with world:
        world.inject(Delay("store.commit", call=3, time="2 minutes"))
        flow = world.start(world.handle(job).start("f", 1_000))
        if end == "cancel":
            world.start(world.handle(job).cancel("f", interrupt=True))
        world.advance("10 minutes")
        assert flow.answer().created
        assert unnamed(world, job, "f") == set()
        assert dangling(world, job, "f") == []


def test_a_workflow_that_starts_over_with_signals_that_wait_holds_no_old_part() -> None:
    word = Signal("word", int)

    @program
    def again(ctx: WorkflowContext[str]) -> Do[int, str, Desk]:
        text = yield from ctx.state
        if len(text) > 1:
            yield from fetch(1_000)
            yield from ctx.start_over("1")
        found = 0
        for _ in range(30):
            found += yield from word.receive()
        return found

    desk = Desk()
    job = Workflow("flow", state=str, run=again, signals=(word,), keep=None)
    world = World(App(desk, limits=attrs.evolve(LIMITS, input_bytes=2_000)).with_jobs(job))
    with world:
        flow = world.handle(job)
        world.inject(Delay("fetch", time="1 minute"))
        world.run(flow.start("f", text_of(1_500)))
        for _ in range(40):
            world.run(flow.signal("f", word, 2))
        world.advance("2 minutes")
        assert EMPTIED in bodies(world, job, "f")
        assert world.run(flow.outcome("f")) == Done(value=60)
        assert parts_in(world, job, "f") == []


def test_a_fork_takes_only_the_parts_that_its_rows_name() -> None:
    @program
    def two(ctx: WorkflowContext[int]) -> Do[int, str, Desk]:
        one = yield from fetch((yield from ctx.state), "a")
        other = yield from change((yield from ctx.state))
        yield from sleep("1 hour")
        return len(one) + len(other)

    desk = Desk()
    world, job = opened(two, desk)
    with world:
        flow = world.handle(job)
        world.run(flow.start("f", 1_000))
        world.run(flow.fork("g", "f", step="1"))
        world.settle()
        assert unnamed(world, job, "g") == set()
        assert EMPTIED not in bodies(world, job, "g")
        world.advance("1 hour")
        assert world.run(flow.outcome("g")) == Done(value=2_000)
        assert desk.calls == ["fetch 1000 a", "change", "change"]


def test_parts_are_no_progress_that_forgets_deaths() -> None:
    """A process that dies of one large outcome would otherwise perform its step for ever."""

    desk = Desk()
    world, job = opened(changing, desk)
    with world:
        world.inject(Crash("store.commit", call=2, when="after"))
        with pytest.raises(WorkerDied):
            next_worker(world, job)
        for _ in range(2):
            # Those of the delivery before are empty.
            assert len(parts_in(world, job, "f")) == PARTS_IN_COMMIT
            world.inject(Crash("store.commit", call=2, when="after"))
            with pytest.raises(WorkerDied):
                next_worker(world, job)
        world.open()
        world.advance("1 day")
        assert world.run(world.handle(job).status("f")).parked == "recovery_exhausted"
        assert len(desk.calls) == 3


def test_large_outcomes_of_parallel_steps_are_delivered_in_one_order() -> None:
    @program
    def wide(ctx: WorkflowContext[int]) -> Do[int, str, Desk]:
        size = yield from ctx.state
        texts = yield from gather(*(fetch(size + number, str(number)) for number in range(5)))
        first = yield from race(fetch(size, "a"), fetch(size, "b"))
        yield from sleep("1 hour")
        assert texts == tuple(text_of(size + number, str(number)) for number in range(5))
        return sum(map(len, texts)) + len(first)

    desk = Desk()
    world, job = opened(wide, desk)
    with world:
        world.run(world.handle(job).start("f", 900))
        world.restart()
        world.advance("1 hour")
        assert world.run(world.handle(job).outcome("f")) == Done(value=5 * 900 + 10 + 900)
        assert len(desk.calls) == len(set(desk.calls))
        assert dangling(world, job, "f") == []


def test_a_fork_keeps_the_parts_that_its_rows_name() -> None:
    desk = Desk()
    world, job = opened(fetching, desk)
    with world:
        flow = world.handle(job)
        world.run(flow.start("f", 1_000))
        world.run(flow.fork("g", "f", step="sleep"))
        world.advance("2 hours")
        assert world.run(flow.outcome("g")) == Done(value=1_000)
        assert desk.calls == ["fetch 1000 ", "small", "small"]
        assert dangling(world, job, "g") == []


def test_tools_show_the_size_of_a_large_outcome() -> None:
    world, job = opened(fetching, Desk())
    with world:
        world.run(world.handle(job).start("f", 1_000))
        world.advance("1 hour")
        steps = world.run(world.handle(job).steps("f"))
        assert (steps[0].name, steps[0].status) == ("fetch", "done")
        assert steps[0].value == '"<1,002 characters of JSON in 11 parts>"'
        assert len(steps) == 3


def test_a_journal_without_a_part_is_refused_and_no_step_is_performed_again() -> None:
    """As for an engine that does not know parts: it leaves the workflow to others."""
    desk = Desk()
    world, job = opened(fetching, desk)
    with world:
        world.run(world.handle(job).start("f", 1_000))
        instance, rows = world.instance(job, "f"), bodies(world, job, "f")
        assert instance is not None
        job.check_journal(instance, rows)
        for missing in (0, PARTS_IN_COMMIT, 10):
            held = [body for place, body in enumerate(rows) if place != missing]
            with pytest.raises(InvalidInput, match="1 of the 11 parts"):
                job.check_journal(instance, held)
        unknown = [body.replace('"part"', '"fragment"') for body in rows]
        with pytest.raises(InvalidInput, match="does not perform it"):
            job.check_journal(instance, unknown)
        reference = row_of(rows[11])
        assert reference.form == "done"
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(reference.value)


def test_a_workflow_that_code_without_parts_left_is_taken_up() -> None:
    class Earlier(Workflow[int, int, str, Desk]):
        journal_format = 1

    # An engine takes up the instances that other code left, and none that code with its own fingerprint left.
    earlier = Earlier("flow", state=int, run=fetching, keep=None)
    assert code_of(earlier) != code_of(Workflow("flow", state=int, run=fetching, keep=None))


# ---------------------------------------------------------------- the value of a workflow
@program
def returning(ctx: WorkflowContext[int]) -> Do[str, str, Desk]:
    size = yield from ctx.state
    yield from small()
    return text_of(size)


def test_the_value_of_a_workflow_is_stored_in_parts_and_read_whole() -> None:
    desk = Desk()
    world, job = opened(returning, desk)
    with world:
        flow = world.handle(job)
        assert world.run(flow.start_and_wait("f", 3_000)) == Done(value=text_of(3_000))
        world.restart()
        assert world.run(world.handle(job).outcome("f")) == Done(value=text_of(3_000))
        instance = world.instance(job, "f")
        assert instance is not None
        assert len(instance.data) < 2_500  # the names of 31 parts
        shown = world.run(world.jobs.handle_by_name("workflow", "flow").shown_outcome("f"))
        assert shown is not None
        assert shown.value == '"<3,002 characters of JSON in 31 parts>"'
        world.run(world.handle(job).terminate("f"))
        assert world.run(world.handle(job).outcome("f")) is None
        assert desk.calls == ["small"]


@pytest.mark.parametrize("number", range(1, 6))
def test_a_death_while_the_value_is_stored_repeats_no_step(number: int) -> None:
    desk = Desk()
    world, job = opened(returning, desk)
    with world:
        world.inject(Crash("store.commit", call=number, when="after"))
        with pytest.raises(WorkerDied):
            next_worker(world, job)
        world.open()
        world.advance("1 minute")
        assert world.run(world.handle(job).outcome("f")) == Done(value=text_of(1_000))
        assert len(desk.calls) <= 2
        assert len(parts_in(world, job, "f")) == 11

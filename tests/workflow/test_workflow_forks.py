"""Forks: a new workflow with the steps of another one up to a step, and exactly the steps from there on again."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import orjson
import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st
from postgres_harness import PostgresHarness, SharedPostgresHarness
from returns.future import FutureResult
from returns.result import Failure, Success

from perdure import (
    App,
    Decision,
    Do,
    Published,
    Signal,
    Task,
    Undo,
    Update,
    Workflow,
    WorkflowContext,
    effect,
    program,
    saga,
    step_key,
    tell,
)
from perdure.kinds.workflow.commands import ForkInput
from perdure.kinds.workflow.header import ForkedFrom, ForkedPart, Header, header_of
from perdure.kinds.workflow.journal import MAX_FORKED_PARTS, JournalPrefix, Row, body_of, prefix_of
from perdure.programs import gather, perform, sleep
from perdure.programs.instructions import Jitter
from perdure.remote import connect
from perdure.server.serving import serving
from perdure.testing import WorkerDied, World
from perdure.values.answer import Done, WasCancelled
from perdure.values.errors import ForkRefused, InvalidArgument, UnknownAction
from perdure.values.event import JobNoted
from perdure.values.listings import MAX_PROBLEMS, ForkedMany
from perdure.wire.operations import MAX_SUFFIX_CHARACTERS


@attrs.define
class Outside:
    """Attributes:
    said: each word, with the id of the workflow that said it.
    keys: the keys of the steps that said them.
    """

    said: list[tuple[str, str]] = attrs.Factory(list[tuple[str, str]])
    keys: list[str] = attrs.Factory(list[str])
    refuses: set[str] = attrs.Factory(set[str])

    def of(self, id_: str) -> list[str]:
        return [word for by, word in self.said if by == id_]


@frozen
class Refused:
    word: str


@effect
def say(outside: Outside, by: str, word: str, key: str) -> FutureResult[str, Refused]:
    outside.said.append((by, word))
    outside.keys.append(key)
    return FutureResult.from_failure(Refused(word)) if word in outside.refuses else FutureResult.from_value(word)


@program
def saying(ctx: WorkflowContext[Any], word: str) -> Do[str, Refused, Outside]:
    key = yield from step_key()
    return (yield from say(ctx.id, word, key))


go = Signal("go", str)
ask = Update("ask", int, int)


@program
def five_steps(ctx: WorkflowContext[int]) -> Do[str, Refused, Outside]:
    words: list[str] = []
    for word in "abcde":
        words.append((yield from saying(ctx, word)))
        yield from ctx.update_state(lambda count: count + 1)
    return "".join(words)


steps = Workflow("steps", state=int, run=five_steps, keep="99 days")


def opened(*jobs: Any, place: Any = "memory://", outside: Outside | None = None) -> World:
    return World(App(outside or Outside()).with_jobs(*jobs), store=place)


def notes(world: World, job: Any, id_: str) -> list[tuple[str, dict[str, Any]]]:
    """The notes in a history, the oldest first."""
    logged = world.run(world.jobs.history(job, id_))
    events = [one.event for one in reversed(logged) if isinstance(one.event, JobNoted)]
    return [(event.name, orjson.loads(event.data)) for event in events]


PLACES = ("memory://", "file")


@pytest.mark.parametrize("place", PLACES)
def test_exactly_the_steps_from_the_given_one_on_are_performed_again(place: str, tmp_path: Path) -> None:
    outside = Outside()
    with opened(steps, place=tmp_path / "store.db" if place == "file" else place, outside=outside) as world:
        flow = world.jobs.handle(steps)
        assert world.run(flow.start_and_wait("one", 10)) == Done(value="abcde")
        forked = world.run(flow.fork("two", "one", step="2"))
        assert (forked.created, forked.kept, forked.step) == (True, 2, "2")
        assert world.run(flow.start_and_wait("two", 0)) == Done(value="abcde")
        assert world.run(flow.get_state("two")) == 15
        assert outside.of("two") == ["c", "d", "e"]
        assert outside.of("one") == list("abcde")
        # The keys of the repeated steps are new: an external system performs them again.
        assert len(set(outside.keys)) == 8
        assert [each.name for each in world.run(flow.steps("two"))] == ["say"] * 5
        assert world.run(flow.outcome("one")) == Done(value="abcde")


def test_both_histories_say_who_was_forked_from_whom() -> None:
    with opened(steps) as world:
        flow = world.jobs.handle(steps)
        world.run(flow.start_and_wait("one", 0))
        world.run(flow.fork("two", "one", step="3"))
        world.run(flow.start_and_wait("two", 0))
        world.settle()
        name, data = notes(world, steps, "two")[0]
        assert (name, data) == ("workflow.forked_from", {"source": "workflow:steps:one", "step": "3", "kept": 3})
        name, data = notes(world, steps, "one")[0]
        assert name == "workflow.forked_into"
        assert (data["fork"], data["step"]) == ("workflow:steps:two", "3")
        assert world.run(flow.outcome("one")) == Done(value="abcde")


def test_a_repeat_and_an_id_that_exists_change_nothing() -> None:
    outside = Outside()
    with opened(steps, outside=outside) as world:
        flow = world.jobs.handle(steps)
        world.run(flow.start_and_wait("one", 0))
        first = world.run(flow.fork("two", "one", step="3", idempotency_key="k"))
        world.settle()
        assert not world.run(flow.fork("two", "one", step="1")).created
        world.run(flow.terminate("one"))
        # The key decides, although there is nothing left to copy.
        assert world.run(flow.fork("two", "one", step="3", idempotency_key="k")) == first
        world.settle()
        assert outside.of("two") == ["d", "e"]


@pytest.mark.parametrize(
    ("source", "step", "reason"), [("none", "1", "absent"), ("one", "9", "no_step"), ("one", None, "no_step")]
)
def test_a_fork_of_nothing_is_refused(source: str, step: str | None, reason: str) -> None:
    with opened(steps) as world:
        flow = world.jobs.handle(steps)
        world.run(flow.start_and_wait("one", 0))
        refused = world.attempt(flow.fork("two", source, step=step))
        assert isinstance(refused, Failure)
        assert isinstance(refused.failure(), ForkRefused)
        assert getattr(refused.failure(), "reason", None) == reason
        assert world.run(flow.status("two")).status == "not_found"


# ---------------------------------------------------------------- compensations
@program
def booked(undo: Undo[Outside], ctx: WorkflowContext[int]) -> Do[str, Refused, Outside]:
    yield from undo.after(saying(ctx, "book"), lambda _: saying(ctx, "unbook"))
    yield from saying(ctx, "pay")
    word = yield from go.receive()
    return (yield from saying(ctx, word))


@program
def booking(ctx: WorkflowContext[int]) -> Do[str, Refused, Outside]:
    return (yield from saga(booked, ctx))


trips = Workflow("trips", state=int, run=booking, signals=(go,), keep="99 days")


def test_a_fork_that_would_keep_an_undone_step_is_refused_and_can_be_accepted() -> None:
    outside = Outside(refuses={"pay"})
    with opened(trips, outside=outside) as world:
        flow = world.jobs.handle(trips)
        world.run(flow.start_and_wait("one", 0))
        assert outside.of("one") == ["book", "pay", "unbook"]
        outside.refuses.clear()
        refused = world.attempt(flow.fork("two", "one", step="1")).failure()
        assert isinstance(refused, ForkRefused)
        assert (refused.reason, refused.names) == ("undone", ("say",))
        assert "accept_undone" in str(refused)
        # From the step that was undone on, nothing undone is kept.
        world.run(flow.fork("three", "one", step="0"))
        world.run(flow.fork("two", "one", step="1", accept_undone=True))
        world.settle()
        assert (outside.of("two"), outside.of("three")) == (["pay"], ["book", "pay"])
        # The undo stack of a fork has the kept steps, with their values.
        world.run(flow.cancel("two"))
        world.settle()
        assert outside.of("two") == ["pay", "unbook"]


def test_a_compensation_is_performed_again_from_itself() -> None:
    outside = Outside(refuses={"pay"})
    with opened(trips, outside=outside) as world:
        flow = world.jobs.handle(trips)
        world.run(flow.start_and_wait("one", 0))
        world.run(flow.fork("two", "one", step="2"))
        world.settle()
        assert outside.of("two") == ["unbook"]


def test_a_cancelled_workflow_continues_as_a_fork() -> None:
    outside = Outside()
    with opened(waits, outside=outside) as world:
        flow = world.jobs.handle(waits)
        world.run(flow.start("one", 0))
        world.run(flow.cancel("one"))
        assert world.run(flow.start_and_wait("one", 0)) == WasCancelled(reason="cancelled")
        forked = world.run(flow.fork("two", "one"))
        assert forked.kept == 1
        world.run(flow.signal("two", go, "x"))
        assert world.run(flow.start_and_wait("two", 0)) == Done(value="x")
        assert outside.of("two") == ["x"]


# ---------------------------------------------------------------- signals
@program
def waiting(ctx: WorkflowContext[int]) -> Do[str, Refused, Outside]:
    yield from saying(ctx, "first")
    word = yield from go.receive()
    return (yield from saying(ctx, word))


waits = Workflow("waits", state=int, run=waiting, signals=(go,), keep="99 days")


@pytest.mark.parametrize("step", ["0", "1", "signal go", "2"])
def test_signals_that_arrived_later_wait_in_the_inbox_of_the_fork(step: str) -> None:
    outside = Outside()
    with opened(waits, outside=outside) as world:
        flow = world.jobs.handle(waits)
        world.run(flow.start("one", 0))
        world.run(flow.signal("one", go, "x"))
        world.run(flow.start_and_wait("one", 0))
        world.run(flow.fork("kept", "one", step=step))
        assert world.run(flow.start_and_wait("kept", 0)) == Done(value="x")
        world.run(flow.fork("dropped", "one", step=step, signals="drop"))
        world.settle()
        if step == "2":  # it was received before
            assert world.run(flow.outcome("dropped")) == Done(value="x")
        else:
            world.run(flow.signal("dropped", go, "y"))
            assert world.run(flow.start_and_wait("dropped", 0)) == Done(value="y")


@program
def answering(ctx: WorkflowContext[int]) -> Do[int, Refused, Outside]:
    yield from saying(ctx, "first")
    one = yield from ask.answer(lambda number: saying(ctx, "asked").map(lambda _: number + 1).or_raise())
    other = yield from ask.answer(lambda number: saying(ctx, "asked").map(lambda _: number + 1).or_raise())
    return one.unwrap() + other.unwrap()


answers = Workflow("answers", state=int, run=answering, updates=(ask,), keep="99 days")


def test_updates_are_handled_again_and_a_fork_answers_its_own() -> None:
    with opened(answers) as world:
        flow = world.jobs.handle(answers)
        world.run(flow.start("one", 0))
        assert world.run(flow.update("one", ask, 1, idempotency_key="1")) == 2
        assert world.run(flow.update("one", ask, 2, idempotency_key="2")) == 3
        world.run(flow.fork("two", "one", step="4"))
        assert world.run(flow.start_and_wait("two", 0)) == Done(value=5)
        world.run(flow.fork("three", "one", step="4", signals="drop"))
        assert world.run(flow.update("three", ask, 7, idempotency_key="1")) == 8
        assert world.run(flow.start_and_wait("three", 0)) == Done(value=10)


number = Published("number", int)
later = Published("later", int)


@program
def publishing(ctx: WorkflowContext[int]) -> Do[str, Any, Outside]:
    yield from number.publish(1)
    word = yield from saying(ctx, "x")
    yield from later.publish(2)
    return word + (yield from go.receive())


publishers = Workflow("publishers", state=int, run=publishing, signals=(go,), publishes=(number, later), keep="9 days")


def test_a_fork_keeps_the_values_that_its_kept_steps_published() -> None:
    with opened(publishers) as world:
        flow = world.jobs.handle(publishers)
        world.run(flow.start("one", 0))
        assert world.run(flow.published("one", later)) == 2
        world.run(flow.hold())
        world.run(flow.fork("two", "one", step="say"))
        assert world.run(flow.published("two", number)) == 1
        assert isinstance(world.attempt(flow.published("two", later, timeout="1 s")), Failure)
        world.run(flow.release())
        assert world.run(flow.published("two", later)) == 2


# ---------------------------------------------------------------- time
@program
def slow_steps(ctx: WorkflowContext[int]) -> Do[str, Refused, Outside]:
    yield from saying(ctx, "a")
    yield from sleep("1 hour")
    yield from saying(ctx, "b")
    yield from sleep("1 hour")
    return (yield from saying(ctx, "c"))


@program
def limiting(ctx: WorkflowContext[int]) -> Do[str, Refused, Outside]:
    done = yield from slow_steps(ctx).timeout("150 minutes").attempt()
    return "ended" if isinstance(done, Success) else "over"


limited = Workflow("limited", state=int, run=limiting, keep="99 days")


@pytest.mark.parametrize("step", ["0.0.1", "0.0.3", "0.0.4"])
def test_waits_begin_again_and_no_time_limit_counts_the_time_before_the_fork(step: str) -> None:
    outside = Outside()
    with opened(limited, outside=outside) as world:
        flow = world.jobs.handle(limited)
        world.run(flow.start("one", 0))
        world.advance("3 hours")
        assert world.run(flow.outcome("one")) == Done(value="ended")
        world.advance("2 days")
        world.run(flow.fork("two", "one", step=step))
        world.settle()
        waits_left = {"0.0.1": 2, "0.0.3": 1, "0.0.4": 0}[step]
        for _ in range(waits_left):
            assert world.run(flow.outcome("two")) is None
            world.advance("59 minutes")
            assert world.run(flow.outcome("two")) is None
            world.advance("1 minute")
        assert world.run(flow.outcome("two")) == Done(value="ended")


# ---------------------------------------------------------------- parallel steps and children
@program
def in_parallel(ctx: WorkflowContext[int]) -> Do[str, Refused, Outside]:
    yield from saying(ctx, "first")
    got = yield from gather(
        saying(ctx, "x"),
        sleep("1 hour").bind(lambda _: saying(ctx, "y")),
        sleep("2 hours").bind(lambda _: saying(ctx, "z")),
    )
    return "".join(got)


parallel = Workflow("parallel", state=int, run=in_parallel, keep="99 days")


@pytest.mark.parametrize(
    ("step", "again"), [("1", ["x", "y", "z"]), ("1.0.0", ["x", "y", "z"]), ("1.1.1", ["y", "z"]), ("1.2.1", ["z"])]
)
def test_each_step_that_had_not_ended_before_is_performed_again(step: str, again: list[str]) -> None:
    outside = Outside()
    with opened(parallel, outside=outside) as world:
        flow = world.jobs.handle(parallel)
        world.run(flow.start("one", 0))
        world.advance("3 hours")
        world.run(flow.fork("two", "one", step=step))
        world.advance("3 hours")
        assert world.run(flow.outcome("two")) == Done(value="xyz")
        assert outside.of("two") == again


@program
def child_body(ctx: WorkflowContext[str]) -> Do[str, Refused, Outside]:
    word = yield from ctx.state
    yield from sleep("1 hour")
    return (yield from saying(ctx, word))


child = Workflow("child", state=str, run=child_body, keep="99 days")


@program
def parent_body(ctx: WorkflowContext[int]) -> Do[str, Any, Outside]:
    one = yield from child.call(f"{ctx.id}-one", "m")
    yield from saying(ctx, "between")
    yield from tell(child, f"{ctx.run_id}-told").cancel()
    other = yield from gather(child.call(f"{ctx.id}-two", "n"), saying(ctx, "beside"))
    return one + "".join(other)


parent = Workflow("parent", state=int, run=parent_body, keep="99 days")


@pytest.mark.parametrize(
    ("step", "own", "children"),
    [
        ("0", ["between", "beside"], ["two-one", "two-two"]),
        ("1", ["between", "beside"], ["two-two"]),
        ("3.1.0", ["beside"], ["two-two"]),
        ("3.0.0", [], ["two-two"]),
    ],
    ids=["0", "1", "3.1.0", "3.0.0"],
)
def test_children_that_had_ended_are_kept_and_others_are_started_again(
    step: str, own: list[str], children: list[str]
) -> None:
    outside = Outside()
    with opened(parent, child, outside=outside) as world:
        flow = world.jobs.handle(parent)
        world.run(flow.start("one", 0))
        world.advance("3 hours")
        assert world.run(flow.outcome("one")) == Done(value="mnbeside")
        world.run(flow.fork("two", "one", step=step))
        world.advance("3 hours")
        assert world.run(flow.outcome("two")) == Done(value="mnbeside")
        assert outside.of("two") == own
        found = [each for each in ("two-one", "two-two") if world.instance(child, each) is not None]
        assert found == children


# ---------------------------------------------------------------- determinism
@program
def random_turns(ctx: WorkflowContext[int]) -> Do[str, Refused, Outside]:
    words: list[str] = []
    for _ in range(6):
        chance = yield from perform(Jitter())
        words.append((yield from saying(ctx, "low"))) if chance < 0.5 else words.append((yield from other(ctx)))
    return " ".join(words)


@program
def other(ctx: WorkflowContext[int]) -> Do[str, Refused, Outside]:
    yield from sleep("1 second")
    return "high"


chances = Workflow("chances", state=int, run=random_turns, keep="99 days")


def test_random_numbers_of_the_kept_steps_are_the_same_in_each_generation() -> None:
    with opened(chances) as world:
        flow = world.jobs.handle(chances)
        for seed in range(4):
            first = f"{seed}"
            world.run(flow.start(first, 0))
            world.advance("1 minute")
            ended = world.run(flow.outcome(first))
            for generation in range(3):
                world.run(flow.fork(f"{seed} {generation}", first, step="5"))
                first = f"{seed} {generation}"
                world.advance("1 minute")
                assert world.run(flow.outcome(first)) == ended


@program
def starting_over(ctx: WorkflowContext[int]) -> Do[str, Refused, Outside]:
    count = yield from ctx.state
    word = yield from saying(ctx, f"{count}")
    if count == 0:
        yield from ctx.start_over(1)
    got = yield from go.receive()
    return word + (yield from saying(ctx, got))


overs = Workflow("overs", state=int, run=starting_over, signals=(go,), keep="99 days")


def test_rows_before_a_workflow_started_over_are_not_taken_over() -> None:
    outside = Outside()
    with opened(overs, outside=outside) as world:
        flow = world.jobs.handle(overs)
        world.run(flow.hold())
        for number in range(5):
            world.run(flow.signal_with_start("one", go, f"s{number}", 0))
        world.run(flow.release())
        world.settle()
        assert world.run(flow.start_and_wait("one", 0)) == Done(value="1s0")
        world.run(flow.fork("two", "one", step="2"))
        assert world.run(flow.start_and_wait("two", 0)) == Done(value="1s0")
        assert outside.of("two") == ["s0"]


# ---------------------------------------------------------------- every cut, over crashes and generations
@given(
    job=st.sampled_from((steps, parallel, chances)),
    kind=st.sampled_from(PLACES),
    cuts=st.lists(st.integers(0, 9), min_size=1, max_size=3),
    crossings=st.integers(1, 25),
    seed=st.integers(0, 99),
)
def test_a_fork_ends_as_its_source_and_repeats_no_step_that_had_ended(
    job: Any, kind: str, cuts: list[int], crossings: int, seed: int
) -> None:
    outside = Outside()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "store.db" if kind == "file" else kind
        with World(App(outside).with_jobs(job), store=place, seed=seed) as world:

            def flow() -> Any:
                return world.jobs.handle(job)

            world.run(flow().start("source", 0))
            world.advance("9 hours")
            ended = world.run(flow().outcome("source"))
            source = "source"
            for number, cut in enumerate(cuts):
                recorded = world.run(flow().steps(source))
                at = recorded[cut % len(recorded)]
                fork = f"fork {number}"
                world.run(flow().fork(fork, source, step=at.path))
                world.crash_after(crossings)
                with suppress(WorkerDied):
                    world.advance("9 hours")
                world.cancel_crash()
                world.restart() if world.is_open else world.open()
                world.advance("9 hours")
                assert world.run(flow().outcome(fork)) == ended
                before = [each for each in recorded[: recorded.index(at)] if each.name == "say"]
                words = [str(orjson.loads(each.value or "")) for each in recorded if each.name == "say"]
                again = words[len(before) :]
                assert set(outside.of(fork)) >= set(again)
                assert not set(outside.of(fork)) & (set(words) - set(again))
                source = fork


KILLED = """
import asyncio, os, signal, sys
sys.path[:0] = {folders!r}
import test_workflow_forks as forks
from perdure import App

class Deadly(list):
    def append(self, said):
        super().append(said)
        with open({log!r}, "a") as log:
            log.write(" ".join(said) + chr(10))
        if said == ("two", "d"):
            os.kill(os.getpid(), signal.SIGKILL)

async def main():
    async with App(forks.Outside(Deadly())).with_jobs(forks.steps).open({place!r}) as jobs:
        flow = jobs.handle(forks.steps)
        await flow.start_and_wait("one", 0)
        await flow.fork("two", "one", step="2")
        await asyncio.sleep(60)

asyncio.run(main())
"""


def test_a_fork_continues_after_its_process_was_killed(tmp_path: Path) -> None:
    place, log = f"sqlite:///{tmp_path / 'store.db'}", tmp_path / "log"
    code = KILLED.format(folders=sys.path, log=str(log), place=place)
    killed = subprocess.run(  # noqa: S603 - the code above
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert log.read_text().split("\n")[-3:] == ["two c", "two d", ""]
    outside = Outside()

    async def scenario() -> object:
        async with App(outside).with_jobs(steps).open(place) as jobs:
            return await jobs.handle(steps).start_and_wait("two", 0)

    assert asyncio.run(scenario()) == Done(value="abcde")
    # The step that the kill interrupted is performed again, with its key. No kept step is.
    assert outside.of("two") == ["d", "e"]


def test_one_engine_forks_the_workflow_of_another_one(postgres_url: str) -> None:
    harness = SharedPostgresHarness(postgres_url)
    outside = Outside()
    app = App(outside).with_jobs(steps)

    async def scenario() -> None:
        async with app.open(harness.url) as here, app.open(harness.url) as there:
            await here.handle(steps).start_and_wait("one", 0)
            assert (await there.handle(steps).fork("two", "one", step="3")).kept == 3
            assert await here.handle(steps).start_and_wait("two", 0) == Done(value="abcde")

    asyncio.run(scenario())
    assert outside.of("two") == ["d", "e"]


# ---------------------------------------------------------------- surfaces, limits
def test_a_caller_in_another_process_forks_by_name_and_with_types(tmp_path: Path) -> None:
    socket = tmp_path / "engine.sock"

    async def scenario() -> None:
        app = App(Outside()).with_jobs(steps)
        async with (
            app.open("memory://") as jobs,
            serving(jobs, [f"unix:{socket}"]),
            connect(f"http+unix://{socket}", steps) as remote,
        ):
            flow = remote.handle(steps)
            await flow.start_and_wait("one", 0)
            assert (await flow.fork("two", "one", step="4")).kept == 4
            by_name = remote.handle_by_name("workflow", "steps")
            given = orjson.dumps({"source": "one", "step": "say"}).decode()
            assert (await by_name.call("fork", "three", given))["kept"] == 0
            explained = await by_name.explain("fork", "four", given)
            assert explained["write"] == "put"
            assert (await flow.start_and_wait("three", 0)) == Done(value="abcde")

    asyncio.run(scenario())


def rows_of(count: int) -> list[str]:
    return [body_of(Row(path=f"{n}", name="say", form="done", at_ms=n, began_ms=n, value='"x"')) for n in range(count)]


def test_the_limits_of_a_fork_at_their_edges() -> None:
    header, bodies = Header(run_id="r", started_ms=0), rows_of(4)
    wanted = ForkInput(source="one", step="3")
    size = sum(map(len, bodies[:3]))
    assert isinstance(prefix_of("s", header, bodies, wanted, size, state="1"), JournalPrefix)
    refused = prefix_of("s", header, bodies, wanted, size - 1, state="1")
    assert isinstance(refused, ForkRefused)
    assert refused.reason == "large"

    def generations(number: int) -> Any:
        parts = tuple(ForkedPart(rows=1, run_id=f"{n}", gap_ms=0) for n in range(number))
        forked = attrs.evolve(header, forked=ForkedFrom(address="s", step="1", parts=parts))
        return prefix_of("s", forked, bodies, wanted, state="1")

    assert isinstance(generations(MAX_FORKED_PARTS - 1), JournalPrefix)
    assert generations(MAX_FORKED_PARTS).reason == "large"


def test_a_caller_cannot_note_a_fork() -> None:
    with opened(steps) as world:
        by_name = world.jobs.handle_by_name("workflow", "steps")
        found = world.attempt(by_name.call("forked_into", "x", '{"run_id":"r","step":""}'))
        assert isinstance(found.failure(), UnknownAction)


def test_the_page_of_a_fork_names_its_source() -> None:
    with opened(steps) as world:
        flow = world.jobs.handle(steps)
        world.run(flow.start_and_wait("one", 0))
        world.run(flow.fork("two", "one", step="2"))
        world.settle()
        row = world.instance(steps, "two")
        assert row is not None
        assert header_of(row).forked is not None
        shown = {field.label: field.value for field in steps.display_fields_of(row)}
        assert shown["forked from"] == "workflow:steps:one, step 2"


# ---------------------------------------------------------------- many forks
@program
def short(ctx: WorkflowContext[int]) -> Do[str, Refused, Outside]:
    return (yield from saying(ctx, "a"))


shorts = Workflow("shorts", state=int, run=short, keep="99 days")
tasks = Task("tasks", state=int, event=int, initial=0, decide=lambda old, new: Success(Decision(old + new)))


@pytest.mark.parametrize("place", PLACES)
def test_many_are_forked_in_pages_and_a_repeat_forks_no_fork(place: str, tmp_path: Path) -> None:
    outside = Outside()
    with opened(shorts, place=tmp_path / "store.db" if place == "file" else place, outside=outside) as world:
        flow = world.jobs.handle(shorts)
        for n in range(7):
            world.run(flow.start_and_wait(f"a{n}", n))
        world.run(flow.start_and_wait("b", 0))
        many = world.jobs.handle_by_name("workflow", "shorts")
        assert world.run(flow.fork_many(id_prefix="a", dry_run=True)) == ForkedMany(matched=7)
        first = world.run(many.fork_many(id_prefix="a", step="0", limit=3))
        assert (first.matched, first.created, first.after) == (3, 3, shorts.address("a2"))
        world.settle()
        second = world.run(many.fork_many(id_prefix="a", step="0", limit=3, after=first.after))
        assert second.created == 2, "a fork of the first page is in the second one, and is no source"
        world.settle()
        assert world.run(flow.fork_many(id_prefix="a", step="0", status="done")) == ForkedMany(
            matched=7, created=2, existed=5
        )
        world.settle()
        assert world.run(flow.fork_many(id_prefix="a", step="0")) == ForkedMany(matched=7, existed=7)
        ids = [each.address.id for each in world.run(world.jobs.list(shorts))]
        assert ids == sorted([f"a{n}" for n in range(7)] + [f"a{n}-fork" for n in range(7)] + ["b"])
        assert outside.of("a0-fork") == ["a"]


def test_workflows_that_cannot_be_forked_are_counted_and_do_not_stop_the_others() -> None:
    with opened(shorts) as world:
        flow = world.jobs.handle(shorts)
        for n in range(3):
            world.run(flow.start_and_wait("x" * 500 + str(n), n))
        world.run(flow.start_and_wait("y", 0))
        found = world.run(flow.fork_many(step="0", suffix="-longer-than-ids-may-be"))
        assert (found.matched, found.created, found.refused) == (4, 1, 3)
        assert [one.id[-1] for one in found.problems] == ["0", "1", "2"]
        assert "512" in found.problems[0].message
        none = world.run(flow.fork_many(step="9", id_prefix="y"))
        assert (none.matched, none.refused) == (2, 2)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"suffix": ""}, "suffix"),
        ({"suffix": "x" * 101}, "suffix"),
        ({"signals": "all"}, "signals"),
        ({"dry_run": 1}, "dry_run"),
        ({"accept_undone": "yes"}, "accept_undone"),
        ({"limit": 0}, "limit"),
        ({"limit": 1_001}, "limit"),
        ({"status": "ended"}, "status"),
        ({"where": ["a>1"]}, "a>1"),
    ],
)
def test_wrong_arguments_of_many_forks_are_named(given: dict[str, Any], name: str) -> None:
    with opened(shorts) as world, pytest.raises(InvalidArgument, match=name):
        world.run(world.jobs.handle_by_name("workflow", "shorts").fork_many(**given))


def test_a_suffix_has_at_most_100_characters_and_a_result_names_at_most_100_problems() -> None:
    with opened(shorts) as world:
        flow = world.jobs.handle(shorts)
        for n in range(102):
            world.run(flow.start(f"w{n}", n))
        world.settle()
        found = world.run(flow.fork_many(step="9", suffix="x" * MAX_SUFFIX_CHARACTERS))
        assert (found.matched, found.refused, len(found.problems)) == (102, 102, MAX_PROBLEMS)


@pytest.mark.parametrize("place", ["memory://", "postgres"])
def test_a_client_elsewhere_forks_many(place: str, request: pytest.FixtureRequest) -> None:
    harness = PostgresHarness(request.getfixturevalue("postgres_url")) if place == "postgres" else None

    async def main() -> None:
        app = App(Outside()).with_jobs(shorts, tasks)
        async with (
            app.open(place if harness is None else harness.url) as jobs,
            serving(jobs, ["127.0.0.1:0"]) as (server,),
            connect(server.urls[0], shorts, tasks) as remote,
        ):
            flow = remote.handle(shorts)
            for n in range(3):
                await flow.start_and_wait(f"a{n}", n)
            assert await flow.fork_many(step="0") == ForkedMany(matched=3, created=3)
            assert await flow.fork_many(step="0") == ForkedMany(matched=3, existed=3)
            with pytest.raises(UnknownAction):
                await remote.handle_by_name("task", "tasks").fork_many()

    try:
        asyncio.run(main())
    finally:
        if harness is not None:
            asyncio.run(harness.discard())


@pytest.mark.parametrize("crossings", range(1, 20))
def test_forks_of_many_are_whole_after_a_kill(crossings: int) -> None:
    with opened(shorts) as world:
        flow = world.jobs.handle(shorts)
        for n in range(3):
            world.run(flow.start_and_wait(f"a{n}", n))
        world.crash_after(crossings)
        with suppress(WorkerDied):
            world.run(flow.fork_many(step="0"))
        world.cancel_crash()
        if not world.is_open:
            world.open()
        flow = world.jobs.handle(shorts)
        found = world.run(flow.fork_many(step="0"))
        assert (found.matched, found.created + found.existed) == (3, 3)
        world.settle()
        assert [world.run(flow.outcome(f"a{n}-fork")) for n in range(3)] == [Done(value="a")] * 3

"""Heartbeats: how far an effect came, for its next attempt, and the time limit that begins again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Never

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from returns.result import Failure, Result, Success

from perdure import (
    App,
    Backoff,
    Continuous,
    Debounce,
    Do,
    Heartbeat,
    ItemContext,
    Limits,
    Program,
    Retry,
    Task,
    TaskContext,
    WorkerPool,
    Workflow,
    WorkflowContext,
    effect,
    every,
    program,
    step,
)
from perdure.client.local_gateway import engine_of
from perdure.jobs.streams import NotBeating
from perdure.kinds.workflow.commands import ForkInput
from perdure.kinds.workflow.header import Ended, Header
from perdure.kinds.workflow.journal import MAX_CONTINUED, JournalPrefix, Row, body_of, prefix_of
from perdure.programs import gather
from perdure.programs.future import awaited
from perdure.testing import Crash, Fail, World, simulate
from perdure.testing.world import WorkerDied
from perdure.values.errors import DefinitionError, InvalidInput, StoreUnavailable
from perdure.values.stream import items_of

AGAIN: Retry[Never] = Retry(max_attempts=5, delay=Backoff.constant("1 second"))
rows = Heartbeat("rows", int, every="10 ms")
slow = Heartbeat("slow", int, every="1 hour")


class Table:
    """A service that stores rows, and that a test stops at one of them."""

    def __init__(self, pause: Callable[[], Awaitable[None]]) -> None:
        self.stored: dict[str, list[int]] = {}
        self.began_at: dict[str, list[int | None]] = {}
        self.fail_at: dict[tuple[str, int], Exception] = {}
        self.pause = pause

    async def load(self, heartbeat: Heartbeat[int], name: str, count: int) -> None:
        previous = heartbeat.previous()
        self.began_at.setdefault(name, []).append(previous)
        for row in range(previous or 0, count):
            await self.pause()
            error = self.fail_at.pop((name, row), None)
            if error is not None:
                raise error
            self.stored.setdefault(name, []).append(row)
            heartbeat.beat(row + 1)


@effect
async def load(table: Table, name: str, count: int) -> Result[int, str]:
    await table.load(rows, name, count)
    return Success(count)


@program
def loading(ctx: WorkflowContext[int]) -> Do[str, str, Table]:
    count = yield from ctx.state
    yield from load("a", count)
    yield from load("b", count)
    return "done"


loader = Workflow("loader", state=int, run=loading, heartbeats=[rows], retry_defects=AGAIN)


def a_world(job: Any, *, store: Any = "memory://") -> tuple[World, Table]:
    box: list[World] = []
    table = Table(lambda: engine_of(box[0].jobs).runtime.sleep(20))
    world = World(App(table).with_jobs(job), store=store)
    box.append(world)
    return world, table


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_an_attempt_after_a_crash_begins_where_the_last_one_was(store: str, tmp_path: Path) -> None:
    world, table = a_world(loader, store="memory://" if store == "memory" else tmp_path / "jobs.db")
    with world:
        world.run(world.jobs.handle(loader).start("x", 10))
        world.advance("110 ms")
        world.crash()
        world.open()
        world.advance("1 minute")
        assert table.began_at["a"][0] is None
        began = table.began_at["a"][1]
        assert began is not None
        assert began > 2
        assert table.began_at["b"] == [None]  # a step of its own, though the heartbeat is the same
        assert sorted(set(table.stored["a"])) == list(range(10))
        assert len(table.stored["a"]) <= 11


@effect
async def load_untold(table: Table, name: str, count: int) -> Result[int, str]:
    await table.load(slow, name, count)
    return Success(count)


@program
def loading_untold(ctx: WorkflowContext[int]) -> Do[str, str, Table]:
    count = yield from ctx.state
    yield from load_untold("a", count)
    yield from load_untold("b", count)
    return "done"


def test_an_attempt_after_a_failure_receives_the_very_newest_value() -> None:
    job = Workflow("untold", state=int, run=loading_untold, heartbeats=[slow], retry_defects=AGAIN)
    world, table = a_world(job)
    table.fail_at = {("a", 3): RuntimeError("lost"), ("a", 7): RuntimeError("lost"), ("b", 0): RuntimeError("lost")}
    with world:
        world.run(world.jobs.handle(job).start("x", 10))
        world.advance("1 minute")
        assert table.began_at == {"a": [None, 3, 7], "b": [None, None]}
        assert table.stored == {"a": list(range(10)), "b": list(range(10))}


def test_an_operator_who_resumes_a_parked_workflow_continues_the_effect() -> None:
    job = Workflow("parking", state=int, run=loading, heartbeats=[rows])
    world, table = a_world(job)
    table.fail_at = {("a", 3): RuntimeError("lost")}
    with world:
        handle = world.jobs.handle(job)
        world.run(handle.start("x", 5, idempotency_key="1"))
        world.advance("1 minute")
        assert world.run(handle.status("x")).status == "parked"
        world.run(handle.resume("x"))
        world.advance("1 minute")
        assert table.began_at == {"a": [None, 3], "b": [None]}


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_a_fork_continues_a_cancelled_workflow_at_its_heartbeat(store: str, tmp_path: Path) -> None:
    """The fork of the fork as well, which had no time for a beat. A fork from a step begins at the beginning."""
    world, table = a_world(loader, store="memory://" if store == "memory" else tmp_path / "jobs.db")
    with world:
        handle = world.jobs.handle(loader)
        world.run(handle.start("x", 10))
        world.advance("110 ms")
        world.run(handle.cancel("x", interrupt=True))
        assert len(table.stored["a"]) == 5
        world.run(handle.fork("y", "x", idempotency_key="1"))
        world.run(handle.cancel("y", interrupt=True))
        world.run(handle.fork("z", "y"))
        world.advance("1 minute")
        assert table.began_at == {"a": [None, 5, 5], "b": [None]}
        assert table.stored == {"a": list(range(10)), "b": list(range(10))}
        world.run(handle.fork("w", "x", step="load"))
        world.advance("1 minute")
        assert table.began_at == {"a": [None, 5, 5, None], "b": [None, None]}


@program
def loading_undone(ctx: WorkflowContext[int]) -> Do[str, str, Table]:
    count = yield from ctx.state
    yield from load("a", count).on_exit(load("undo", count).timeout("30 ms").attempt())
    return "done"


def test_a_fork_begins_compensations_at_the_beginning() -> None:
    """The source has stopped the same compensation, under the same path."""
    job = Workflow("undone", state=int, run=loading_undone, heartbeats=[rows])
    world, table = a_world(job)
    with world:
        handle = world.jobs.handle(job)
        world.run(handle.start("x", 3))
        for source, fork in (("x", "y"), ("y", "z")):
            world.advance("30 ms")
            world.run(handle.cancel(source, interrupt=True))
            world.advance("1 second")
            world.run(handle.fork(fork, source, accept_undone=True))
        assert table.began_at["undo"] == [None, None]
        assert table.began_at["a"] == [None, 1, 2]


def test_a_fork_continues_at_most_100_stopped_steps_that_began_before_the_cancellation() -> None:
    header = Header(run_id="r", started_ms=0, ended=Ended(form="cancelled", value='"no"', at_ms=9))

    def stopped(number: int, **other: Any) -> tuple[str, ...]:
        rows = [Row(path="", name="cancel", form="cancelled", at_ms=5, began_ms=5, value='["no"]')]
        for path in range(number):
            row = Row(path=f"0.{path}.0", name="load", form="interrupted", at_ms=6, began_ms=4)
            rows.append(attrs.evolve(row, **other))
        prefix = prefix_of("s", header, [body_of(row) for row in rows], ForkInput(source="one"), state="1")
        assert isinstance(prefix, JournalPrefix)
        return prefix.stopped

    assert len(stopped(MAX_CONTINUED)) == len(stopped(MAX_CONTINUED + 1)) == MAX_CONTINUED == 100
    assert stopped(1) == ("0.0.0",)
    assert stopped(1, began_ms=5) == stopped(1, form="dropped") == stopped(1, finalizer=True) == ()


@given(st.integers(0, 80))
@example(12)
@example(25)
@example(40)
def test_wherever_the_process_dies_no_row_is_skipped(points: int) -> None:
    world, table = a_world(loader)
    with world:
        world.run(world.jobs.handle(loader).start("x", 4))
        world.crash_after(points)
        with suppress(WorkerDied):
            world.advance("2 seconds")
        if world.is_open:
            world.cancel_crash()
        else:
            world.open()
        world.advance("1 minute")
        for name in "ab":
            assert sorted(set(table.stored[name])) == list(range(4))
            began = table.began_at[name]
            assert began[0] is None
            assert [each or 0 for each in began] == sorted(each or 0 for each in began)


@program
def side_by_side(ctx: WorkflowContext[int]) -> Do[str, str, Table]:
    count = yield from ctx.state
    yield from gather(load("a", count), load("b", count))
    return "done"


def test_steps_beside_each_other_have_values_of_their_own() -> None:
    job = Workflow("beside", state=int, run=side_by_side, heartbeats=[rows], retry_defects=AGAIN)
    world, table = a_world(job)
    table.fail_at = {("a", 2): RuntimeError("lost"), ("b", 5): RuntimeError("lost")}
    with world:
        world.run(world.jobs.handle(job).start("x", 8))
        world.advance("1 minute")
        assert table.began_at == {"a": [None, 2], "b": [None, 5]}


@step
@program
def both(count: int) -> Do[int, str, Table]:
    yield from load("c", count)
    yield from load("c2", count)
    return (yield from load("d", count))


@program
def one_step(ctx: WorkflowContext[int]) -> Do[int, str, Table]:
    return (yield from both((yield from ctx.state)))


def test_effects_inside_one_step_have_values_of_their_own() -> None:
    job = Workflow("inside", state=int, run=one_step, heartbeats=[rows], retry_defects=AGAIN)
    world, table = a_world(job)
    table.fail_at = {("c2", 2): RuntimeError("lost"), ("d", 1): RuntimeError("lost")}
    with world:
        world.run(world.jobs.handle(job).start("x", 4))
        world.advance("1 minute")
        # The whole step is performed again, and each of its effects continues where it was.
        assert table.began_at["c2"] == [None, 2, 4]
        assert table.began_at["d"] == [None, 1]
        assert table.stored["d"] == [0, 1, 2, 3]


@program
def parts_beside(ctx: WorkflowContext[int]) -> Do[str, str, Table]:
    count = yield from ctx.state
    yield from gather(both(count), both(count))
    return "done"


def test_where_nothing_tells_the_step_nothing_is_stored() -> None:
    job = Workflow("parts", state=int, run=parts_beside, heartbeats=[rows], retry_defects=AGAIN)
    world, table = a_world(job)
    table.fail_at = {("c", 2): RuntimeError("lost")}
    with world:
        world.run(world.jobs.handle(job).start("x", 4))
        world.advance("1 minute")
        assert set(table.began_at["c"]) == {None}
        assert stored_in(world, job, "rows:load load 1") == []


@program
def over_and_over(ctx: WorkflowContext[int]) -> Do[str, str, Table]:
    count = yield from ctx.state
    yield from load(f"round {count}", 5)
    if count:
        yield from ctx.start_over(count - 1)
    return "done"


def test_a_workflow_that_starts_over_begins_at_the_beginning() -> None:
    job = Workflow("rounds", state=int, run=over_and_over, heartbeats=[rows], retry_defects=AGAIN)
    world, table = a_world(job)
    table.fail_at = {("round 1", 3): RuntimeError("lost"), ("round 0", 0): RuntimeError("lost")}
    with world:
        world.run(world.jobs.handle(job).start("x", 1))
        world.advance("1 minute")
        assert table.began_at == {"round 1": [None, 3], "round 0": [None, None]}


# ---------------------------------------------------------------- other kinds
def on_event(ctx: TaskContext[int], event: int) -> Program[None, str, Table]:
    return ctx.set_state(event).bind(lambda _: ctx.schedule(after="1 second"))


def execute(ctx: TaskContext[int]) -> Program[None, str, Table]:
    return ctx.state.bind(lambda event: load(f"event {event}", 6)).bind(lambda _: load("second", 4)).map(lambda _: None)


task = Task(
    "loading", state=int, event=int, initial=0, on_event=on_event, execute=execute, heartbeats=[rows], retry=AGAIN
)


def test_each_run_of_a_task_has_values_of_its_own() -> None:
    world, table = a_world(task)
    table.fail_at = {
        ("event 1", 4): RuntimeError("lost"),
        ("second", 2): RuntimeError("lost"),
        ("event 2", 0): RuntimeError("lost"),
    }
    with world:
        handle = world.jobs.handle(task)
        for event in (1, 2):
            world.run(handle.send("x", event))
            world.advance("1 minute")
        # The second effect of the second attempt begins where the first attempt's second one was: it never began.
        assert table.began_at == {"event 1": [None, 4, 6], "second": [None, 2, None], "event 2": [None, None]}


def work(ctx: ItemContext[int]) -> Program[int, str, Table]:
    return ctx.item.bind(lambda count: load("item", count))


pool = WorkerPool("items", item=int, work=work, heartbeats=[rows], retry=AGAIN)


def load_ten(ctx: object) -> Program[None, str, Table]:
    return load("item", 10).map(lambda _: None)


feed = Continuous("feed", state=int, schedule=every("1 hour"), execute=load_ten, heartbeats=[rows])
batch = Debounce("batch", event=int, flush_after="1 s", inactivity="1 ms", execute=load_ten, heartbeats=[rows])


def put_item(world: World) -> Any:
    return world.handle(pool).put("x", 10)


def start_feed(world: World) -> Any:
    return world.handle(feed).start("x", 0)


def add_event(world: World) -> Any:
    return world.handle(batch).add("x", 0)


@pytest.mark.parametrize(("job", "request_of"), [(pool, put_item), (feed, start_feed), (batch, add_event)])
def test_a_run_of_each_other_kind_continues_where_it_was(job: Any, request_of: Any) -> None:
    world, table = a_world(job)
    with world:
        sent = world.start(request_of(world))
        world.advance("111 ms")
        world.crash()
        sent.give_up()
        world.open()
        world.advance("1 minute")
        began = table.began_at["item"]
        assert began[0] is None
        assert len(began) == 2
        assert began[1] is not None
        assert began[1] > 2


# ---------------------------------------------------------------- the time limit
@effect
async def drag(table: Table, count: int) -> Result[int, str]:
    for number in range(count):
        await table.pause()
        slow.beat(number)
    return Success(count)


@effect
async def hang(table: Table, count: int) -> Result[int, str]:
    for _ in range(count):
        await table.pause()
    return Success(count)


@program
def dragging(ctx: WorkflowContext[int]) -> Do[int, str, Table]:
    return (yield from drag((yield from ctx.state)))


@program
def hanging(ctx: WorkflowContext[int]) -> Do[int, str, Table]:
    return (yield from hang((yield from ctx.state)))


@pytest.mark.parametrize(("run", "status"), [(dragging, "done"), (hanging, "parked")])
def test_a_beat_lets_the_time_limit_begin_again(run: Any, status: str) -> None:
    job = Workflow("limited", state=int, run=run, heartbeats=[slow], run_timeout="100 ms", result=int, errors=str)
    world, _ = a_world(job)
    with world:
        handle = world.jobs.handle(job)
        world.run(handle.start("x", 20))
        world.advance("1 minute")
        assert (world.run(handle.status("x")).phase or "parked") == status


# ---------------------------------------------------------------- stored values
def test_the_newest_value_is_stored_once_in_every_and_not_again_after_a_success() -> None:
    job = Workflow("limited", state=int, run=dragging, heartbeats=[slow])
    world, _ = a_world(job)
    with world:
        world.run(world.jobs.handle(job).start("x", 20))
        world.advance("1 minute")
        assert stored_in(world, job, "slow:0 drag") == ["0"]


def stored_in(world: World, job: Workflow[int, Any, Any, Any], name: str) -> list[str]:
    """The values that are kept of the instance x."""
    streams = engine_of(world.jobs).store.streams
    assert streams is not None
    groups = world.run(awaited(streams.read(job.address("x"), 1, name, -1, 10, 0))).unwrap()
    return [item.value for item in items_of(groups, -1, what="it")]


APPEND = "store.streams.append"
DOWN = StoreUnavailable("append to a stream", "the disk is full")


@pytest.mark.parametrize("fault", [Fail(APPEND, DOWN), Crash(APPEND), Crash(APPEND, when="after")])
def test_a_value_that_could_not_be_stored_ends_the_run_which_begins_again(fault: Any) -> None:
    world, table = a_world(loader)
    with world:
        world.run(world.jobs.handle(loader).start("x", 4))
        world.inject(fault)
        with suppress(WorkerDied):
            world.advance("3 seconds")
        if not world.is_open:
            world.open()
        world.advance("1 hour")
        assert {name: sorted(set(stored)) for name, stored in table.stored.items()} == {
            "a": [0, 1, 2, 3],
            "b": [0, 1, 2, 3],
        }


# ---------------------------------------------------------------- mistakes
def test_a_beat_outside_of_an_effect_says_so() -> None:
    with pytest.raises(NotBeating, match="expected the code of an effect of a job that declares heartbeats"):
        rows.beat(1)
    with pytest.raises(NotBeating, match="a process cannot beat"):
        rows.previous()


undeclared = Heartbeat("undeclared", int)
words = Heartbeat("words", str)


@effect
async def mistaken(_: object, form: str) -> Result[str, str]:
    try:
        match form:
            case "undeclared":
                undeclared.beat(1)
            case "read":
                undeclared.previous()
            case _:
                words.beat(1)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    except (NotBeating, InvalidInput) as error:
        return Failure(f"{type(error).__name__}: {error}")
    return Success("no error")


@program
def mistaking(ctx: WorkflowContext[str]) -> Do[str, str, object]:
    return (yield from mistaken((yield from ctx.state)))


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ("undeclared", "NotBeating: heartbeat undeclared: its job does not declare this heartbeat"),
        ("read", "NotBeating: heartbeat undeclared: its job does not declare this heartbeat"),
        ("type", "InvalidInput"),
    ],
)
def test_a_mistaken_beat_names_the_type(form: str, error: str) -> None:
    job = Workflow("mistaken", state=str, run=mistaking, heartbeats=[words])
    with World(App(object()).with_jobs(job)) as world:
        handle = world.jobs.handle(job)
        world.run(handle.start("x", form))
        world.advance("1 second")
        assert error in str(world.run(handle.outcome("x")))


def test_a_value_that_no_row_can_hold_is_dropped_for_the_next_attempt() -> None:
    seen: list[int | None] = []

    @effect
    async def growing(_: object) -> Result[int, str]:
        before = words.previous()
        seen.append(None if before is None else len(before))
        if before is not None:
            return Success(len(before))
        for size in (998, 999):
            words.beat("x" * size)
        raise RuntimeError("the connection was lost")

    @program
    def run(ctx: WorkflowContext[str]) -> Do[int, str, object]:
        yield from ctx.state
        return (yield from growing())

    job = Workflow("growing", state=str, run=run, heartbeats=[words], retry_defects=AGAIN)
    with World(App(object(), limits=Limits(input_bytes=1_000)).with_jobs(job)) as world:
        world.run(world.jobs.handle(job).start("x", ""))
        world.advance("1 minute")
        assert seen == [None, 998]
        assert [each.fields["bytes"] for each in world.logs if each.message == "stream value dropped"] == [1_001]


def test_heartbeats_that_cannot_be_declared() -> None:
    with pytest.raises(DefinitionError, match="name of a heartbeat"):
        Heartbeat("a:b", int)
    with pytest.raises(DefinitionError, match="every of the heartbeat x"):
        Heartbeat("x", int, every="9 ms")
    with pytest.raises(DefinitionError, match="at most 1 hour"):
        Heartbeat("x", int, every="61 minutes")
    mistakes: list[Any] = [[rows, rows], [1], [Heartbeat(str(number), int) for number in range(17)]]
    for given_ in mistakes:
        with pytest.raises(DefinitionError, match="a sequence of at most 16 heartbeats with different names"):
            Workflow("x", state=int, run=loading, heartbeats=given_)
    Workflow("x", state=int, run=loading, heartbeats=[Heartbeat(str(number), int) for number in range(16)])


def test_a_simulation_takes_beats_and_has_no_earlier_attempt() -> None:
    table = Table(_no_time)
    simulate(load("a", 3), table)
    assert table.stored == {"a": [0, 1, 2]}
    assert table.began_at == {"a": [None]}


async def _no_time() -> None:
    return None

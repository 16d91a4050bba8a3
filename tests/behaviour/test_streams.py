"""Streams: chunks that programs and effects emit, and what readers see of them over crashes, retries and bounds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Never

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from postgres_harness import PostgresHarness
from returns.result import Result, Success

from perdure import (
    App,
    Backoff,
    Continuous,
    Debounce,
    Do,
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
    succeed,
)
from perdure.cli.commands import run_command
from perdure.client.client import gateway_of
from perdure.client.local_gateway import engine_of
from perdure.jobs.streams import BeganAgain, Chunk, ChunksDropped, NotEmitting, Stream, Streamed
from perdure.kinds.workflow import step
from perdure.programs import asks, gather
from perdure.stores.encryption import Encryption, Key
from perdure.stores.url import open_store
from perdure.testing import Crash, Delay, EmitStep, Fail, FakeServices, World, fake_services, simulate
from perdure.testing.world import WorkerDied
from perdure.values.answer import Done
from perdure.values.errors import (
    DefinitionError,
    EngineClosed,
    InvalidArgument,
    Overloaded,
    StoreUnavailable,
)
from perdure.values.limits import Limits
from perdure.values.stream import TOO_LARGE, encoded_group

KEY = Encryption(primary=Key("k1", bytes(range(64))))
tokens = Stream("tokens", str)
AGAIN: Retry[Never] = Retry(max_attempts=5, delay=Backoff.constant("1 second"))
few = Stream("few", int, max_chunks=3)
other = Stream("tokens", str)


class Model:
    """A service that emits words, and that a test stops in the middle."""

    def __init__(self, pause: Callable[[], Awaitable[None]]) -> None:
        self.begun = 0
        self.fail_at: dict[int, Exception] = {}
        self.pause = pause

    async def say(self, name: str, words: int) -> None:
        self.begun += 1
        begun = self.begun
        for word in range(words):
            if word == 2 and begun in self.fail_at:
                await self.pause()
                raise self.fail_at[begun]
            tokens.emit_now(f"{name}{word}")
            await self.pause()


@effect
async def say(model: Model, name: str, words: int) -> Result[int, str]:
    await model.say(name, words)
    return Success(words)


@program
def talk(ctx: WorkflowContext[int]) -> Do[str, str, Model]:
    words = yield from ctx.state
    yield from tokens.emit("begin")
    yield from say("a", words)
    yield from say("b", words)
    yield from tokens.emit("end")
    return "done"


talker = Workflow(
    "talker",
    state=int,
    run=talk,
    streams=[tokens],
    retry_defects=AGAIN,
)


def a_world(app_of: Any, *, store: Any = "memory://") -> tuple[World, Model]:
    box: list[World] = []
    model = Model(lambda: engine_of(box[0].jobs).runtime.sleep(20))
    world = World(app_of(model), store=store)
    box.append(world)
    return world, model


async def all_of(items: AsyncIterator[Streamed[Any]]) -> list[Streamed[Any]]:
    return [item async for item in items]


def words(items: list[Streamed[Any]]) -> list[str]:
    """The chunks in short, with `^step` for a mark and `-n` for dropped ones."""
    shown = {
        Chunk: lambda one: str(one.value),
        BeganAgain: lambda one: f"^{one.step}",
        ChunksDropped: lambda one: f"-{one.count}",
    }
    return [shown[type(one)](one) for one in items]


def kept(items: list[Streamed[Any]]) -> list[str]:
    """The chunks of a reader who discards those that a mark names."""
    found: list[tuple[str, str]] = []
    for item in items:
        if isinstance(item, BeganAgain):
            found = [(name, value) for name, value in found if item.step not in {"", name}]
        elif isinstance(item, Chunk):
            found.append((item.step, item.value))
    return [value for _, value in found]


def test_a_reader_sees_the_chunks_of_programs_and_effects_in_order_until_the_end(tmp_path: Path) -> None:
    for store in ("memory://", tmp_path / "jobs.db"):
        world, _ = a_world(lambda model: App(model).with_jobs(talker), store=store)
        with world:
            jobs = world.jobs
            handle = jobs.handle(talker)
            reading = engine_of(world.jobs).runtime.spawn(all_of(handle.stream("x", tokens)), name="reader")
            world.run(handle.start("x", 3))
            world.advance("10 seconds")
            items = reading.result()
            assert words(items) == ["begin", "a0", "a1", "a2", "b0", "b1", "b2", "end"]
            assert [item.offset for item in items] == list(range(8))
            assert [item.step for item in items if isinstance(item, Chunk)][::3] == ["0 emit tokens", "1 say", "2 say"]
            for after in range(-1, 9):
                late = world.run(all_of(handle.stream("x", tokens, after=after)))
                assert late == items[after + 1 :]


def test_chunks_are_there_while_the_effect_still_works() -> None:
    world, _ = a_world(lambda model: App(model).with_jobs(talker))
    with world:
        jobs = world.jobs
        world.run(jobs.handle(talker).start("x", 100))
        world.advance("200 ms")
        page = world.run(gateway_of(jobs).stream_page(talker.address("x"), "tokens", -1, 0))
        assert page.state == "runs"
        assert 5 < len(page.items) < 15
        empty = world.run(gateway_of(jobs).stream_page(talker.address("x"), "tokens", page.after, 0))
        assert (empty.items, empty.after) == ((), page.after)
        more = world.run(gateway_of(jobs).stream_page(talker.address("x"), "tokens", page.after, 1_000))
        assert more.items[0].offset == page.after + 1


def test_a_crash_inside_an_effect_is_a_mark_before_its_step_and_no_other() -> None:
    world, _ = a_world(lambda model: App(model).with_jobs(talker))
    with world:
        handle = world.jobs.handle(talker)
        world.run(handle.start("x", 4))
        world.advance("150 ms")
        world.crash()
        jobs = world.open()
        world.advance("10 seconds")
        items = world.run(all_of(jobs.handle(talker).stream("x", tokens)))
        shown = words(items)
        assert [one for one in shown if one.startswith("^")] == ["^2 say"]
        assert kept(items) == ["begin", "a0", "a1", "a2", "a3", "b0", "b1", "b2", "b3", "end"]
        assert [item.offset for item in items] == list(range(len(items)))


def test_a_step_that_raised_begins_again_behind_a_mark() -> None:
    world, model = a_world(lambda model: App(model).with_jobs(talker))
    model.fail_at[1] = RuntimeError("the connection was lost")
    with world:
        handle = world.jobs.handle(talker)
        world.run(handle.start("x", 3))
        world.advance("1 minute")
        items = world.run(all_of(handle.stream("x", tokens)))
        assert words(items) == ["begin", "a0", "a1", "^1 say", "a0", "a1", "a2", "b0", "b1", "b2", "end"]


@given(st.integers(0, 60))
@example(12)
@example(20)
@example(33)
def test_wherever_the_process_dies_a_reader_misses_nothing_and_sees_no_unmarked_repeat(points: int) -> None:
    world, _ = a_world(lambda model: App(model).with_jobs(talker))
    with world:
        world.run(world.jobs.handle(talker).start("x", 4))
        world.crash_after(points)
        with suppress(WorkerDied):
            world.advance("2 seconds")
        if world.is_open:
            world.cancel_crash()
        handle = (world.jobs if world.is_open else world.open()).handle(talker)
        world.advance("1 minute")
        items = world.run(all_of(handle.stream("x", tokens)))
        assert kept(items) == ["begin", *(f"{name}{word}" for name in "ab" for word in range(4)), "end"]
        assert [item.offset for item in items] == list(range(len(items)))
        seen: set[tuple[str, str]] = set()
        for item in items:
            if isinstance(item, BeganAgain):
                seen = {each for each in seen if each[0] != item.step}
            elif isinstance(item, Chunk):
                assert (item.step, item.value) not in seen
                seen.add((item.step, item.value))


APPEND = "store.streams.append"
DOWN = StoreUnavailable("append to a stream", "the disk is full")


@pytest.mark.parametrize("fault", [Fail(APPEND, DOWN), Crash(APPEND), Crash(APPEND, when="after")])
def test_a_chunk_that_could_not_be_stored_ends_the_run_which_begins_again(fault: Any) -> None:
    world, _ = a_world(lambda model: App(model).with_jobs(talker))
    with world:
        world.run(world.jobs.handle(talker).start("x", 4))
        world.inject(fault)
        with suppress(WorkerDied):
            world.advance("3 seconds")
        handle = (world.jobs if world.is_open else world.open()).handle(talker)
        world.advance("1 hour")
        items = world.run(all_of(handle.stream("x", tokens)))
        assert kept(items) == ["begin", *(f"{name}{word}" for name in "ab" for word in range(4)), "end"]


@program
def counting(ctx: WorkflowContext[int]) -> Do[int, str, object]:
    last = yield from ctx.state
    for number in range(last):
        yield from few.emit(number)
    return last


counter = Workflow("counter", state=int, run=counting, streams=[few])


def test_a_stream_keeps_its_newest_chunks_and_says_how_many_it_dropped() -> None:
    with World(App(object()).with_jobs(counter)) as world:
        handle = world.jobs.handle(counter)
        world.run(handle.start("x", 7))
        world.advance("1 second")
        items = world.run(all_of(handle.stream("x", few)))
        assert items[0] == ChunksDropped(offset=3, count=4)
        assert words(items) == ["-4", "4", "5", "6"]
        assert words(world.run(all_of(handle.stream("x", few, after=1)))) == ["-2", "4", "5", "6"]
        assert words(world.run(all_of(handle.stream("x", few, after=4)))) == ["5", "6"]


@effect
async def flood(_: object, count: int) -> Result[int, str]:
    for number in range(count):
        few.emit_now(number)
    return Success(count)


@program
def flooding(ctx: WorkflowContext[int]) -> Do[int, str, object]:
    return (yield from flood((yield from ctx.state)))


flooder = Workflow("flooder", state=int, run=flooding, streams=[few])


def test_chunks_that_a_stream_would_drop_are_not_even_stored_and_count_all_the_same() -> None:
    """The queue of an effect is bounded by its stream: a slow store cannot let it grow."""
    with World(App(object()).with_jobs(flooder)) as world:
        handle = world.jobs.handle(flooder)
        world.run(handle.start("x", 1_000))
        world.advance("1 second")
        assert words(world.run(all_of(handle.stream("x", few)))) == ["-997", "997", "998", "999"]
        # One group has all three: a reader that comes when it is no longer in memory continues inside it.
        world.close()
        late = world.open().handle(flooder)
        assert words(world.run(all_of(late.stream("x", few, after=997)))) == ["998", "999"]


@step
@program
def both(words_: int) -> Do[int, str, Model]:
    yield from say("c", words_)
    return (yield from say("d", words_))


@program
def parallel(ctx: WorkflowContext[int]) -> Do[str, str, Model]:
    words_ = yield from ctx.state
    yield from gather(say("a", words_), say("b", words_))
    yield from both(words_)
    return "done"


beside = Workflow(
    "beside",
    state=int,
    run=parallel,
    streams=[tokens],
    retry_defects=AGAIN,
)


def test_parallel_effects_and_effects_inside_a_step_are_told_apart_by_their_step() -> None:
    world, model = a_world(lambda model: App(model).with_jobs(beside))
    model.fail_at[4] = RuntimeError("d is lost")
    with world:
        handle = world.jobs.handle(beside)
        world.run(handle.start("x", 3))
        world.advance("1 minute")
        items = world.run(all_of(handle.stream("x", tokens)))
        by_step: dict[str, list[str]] = {}
        for item in items:
            if isinstance(item, BeganAgain):
                by_step[item.step] = []
            elif isinstance(item, Chunk):
                by_step.setdefault(item.step, []).append(item.value)
        assert sorted(by_step.values()) == [
            ["a0", "a1", "a2"],
            ["b0", "b1", "b2"],
            ["c0", "c1", "c2", "d0", "d1", "d2"],
        ]
        assert sum(isinstance(item, BeganAgain) for item in items) == 1


@effect
async def report(model: Model, words_: int) -> Result[int, str]:
    await model.say("t", words_)
    return Success(words_)


def on_event(ctx: TaskContext[int], event: int) -> Program[None, str, Model]:
    return ctx.set_state(event).bind(lambda _: report(event)).map(lambda _: None)


task = Task("reporter", state=int, event=int, initial=0, on_event=on_event, streams=[tokens])


def test_a_run_without_steps_begins_again_as_a_whole() -> None:
    world, _ = a_world(lambda model: App(model).with_jobs(task))
    with world:
        sent = world.start(world.jobs.handle(task).send("x", 4))
        world.advance("50 ms")
        world.crash()
        sent.give_up()
        handle = world.open().handle(task)
        world.advance("1 minute")
        items = world.run(all_of(handle.stream("x", tokens)))
        assert words(items)[-5:] == ["^", "t0", "t1", "t2", "t3"]
        assert kept(items) == ["t0", "t1", "t2", "t3"]
        world.run(handle.send("x", 1))
        assert words(world.run(all_of(handle.stream("x", tokens, after=items[-1].offset)))) == ["t0"]


def say_four(ctx: Any) -> Program[None, str, Model]:
    return say("t", 4).map(lambda _: None)


feed = Continuous("feed", state=int, schedule=every("1 hour"), execute=say_four, streams=[tokens])
batch = Debounce("batch", event=int, flush_after="1 s", inactivity="1 ms", execute=say_four, streams=[tokens])
items_of = WorkerPool("items", item=int, work=say_four, streams=[tokens])


def of_feed(world: World) -> Any:
    return world.handle(feed).start("x", 0)


def of_batch(world: World) -> Any:
    return world.handle(batch).add("x", 0)


def of_item(world: World) -> Any:
    return world.handle(items_of).put("x", 0)


@pytest.mark.parametrize("crashes", [False, True])
@pytest.mark.parametrize(("job", "request_of"), [(feed, of_feed), (batch, of_batch), (items_of, of_item)])
def test_each_kind_of_job_streams_and_marks_a_repeated_run(job: Any, request_of: Any, *, crashes: bool) -> None:
    world, _ = a_world(lambda model: App(model).with_jobs(job))
    with world:
        reading = engine_of(world.jobs).runtime.spawn(all_of(world.handle(job).stream("x", tokens)), name="reader")
        sent = world.start(request_of(world))
        world.advance("60 ms")
        if crashes:
            world.crash()
            sent.give_up()
            world.open()
            reading = engine_of(world.jobs).runtime.spawn(all_of(world.handle(job).stream("x", tokens)), name="reader")
        world.advance("1 minute")
        world.run(world.handle(job).terminate("x"))
        world.settle()
        items = reading.result()
        assert kept(items) == ["t0", "t1", "t2", "t3"]
        assert words(items).count("^") == crashes


def test_a_terminated_instance_ends_its_readers_and_a_next_one_begins_at_0() -> None:
    world, _ = a_world(lambda model: App(model).with_jobs(talker))
    with world:
        handle = world.jobs.handle(talker)
        world.run(handle.start("x", 100))
        reading = engine_of(world.jobs).runtime.spawn(all_of(handle.stream("x", tokens)), name="reader")
        world.advance("300 ms")
        world.run(handle.terminate("x", interrupt=True))
        world.advance("1 second")
        assert words(reading.result())[:3] == ["begin", "a0", "a1"]
        world.run(handle.start("x", 1))
        world.advance("10 seconds")
        assert words(world.run(all_of(handle.stream("x", tokens)))) == ["begin", "a0", "b0", "end"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", [1, 2, 3])
@pytest.mark.parametrize("comes", ["early", "with the start", "during the run"])
def test_a_slow_read_of_the_instance_ends_no_reader_early_and_lets_none_wait(comes: str, call: int, when: Any) -> None:
    """Its answer may be old: that there is no instance, or that it runs."""
    world, _ = a_world(lambda model: App(model).with_jobs(talker))
    slow = Delay("store.load", "500 ms" if comes == "during the run" else "50 ms", when=when, call=call)
    with world:
        handle, spawn = world.jobs.handle(talker), engine_of(world.jobs).runtime.spawn
        if comes == "during the run":
            world.run(handle.start("x", 4))
            world.advance("50 ms")
        if comes != "early":
            world.inject(slow)
        reading = spawn(all_of(handle.stream("x", tokens)), name="reader")
        if comes == "early":
            world.settle()
            world.inject(slow)
        if comes != "during the run":
            world.start(handle.start("x", 4))
        world.advance("1 second")
        late = spawn(all_of(handle.stream("x", tokens)), name="late reader")
        world.advance("1 second")
        for found in (reading, late):
            assert words(found.result())[-1] == "end"
            assert [item.offset for item in found.result()] == list(range(10))


def test_readers_are_bounded_and_an_engine_that_stops_answers_them() -> None:
    world, _ = a_world(lambda model: App(model, limits=Limits(waits=1)).with_jobs(talker))
    with world:
        jobs = world.jobs
        reading = world.start(gateway_of(jobs).stream_page(talker.address("x"), "tokens", -1, 60_000))
        world.settle()
        refused = world.attempt(gateway_of(jobs).stream_page(talker.address("y"), "tokens", -1, 60_000))
        assert isinstance(refused.failure(), Overloaded)
        world.close()
        assert isinstance(reading.result().failure(), EngineClosed)


def test_a_wrong_stream_is_refused() -> None:
    with World(App(object()).with_jobs(counter)) as world:
        jobs = world.jobs
        wrong = world.attempt(gateway_of(jobs).stream_page(counter.address("x"), "tokens", -1, 0))
        assert isinstance(wrong.failure(), InvalidArgument)
        assert "a stream that workflow:counter declares: few" in str(wrong.failure())


@program
def undeclared(ctx: WorkflowContext[int]) -> Do[None, str, object]:
    yield from tokens.emit("no")


def test_an_effect_cannot_emit_to_a_stream_that_its_job_does_not_declare() -> None:
    for streams, reason in (((few,), "undeclared"), ((other,), "undeclared"), ((), "outside")):
        job = Workflow("undeclared", state=int, run=undeclared, streams=streams)
        with World(App(object()).with_jobs(job)) as world:
            world.run(world.jobs.handle(job).start("x", 1))
            world.advance("1 second")
            row = world.instance(job, "x")
            assert row is not None
            assert row.last_error is not None
            assert row.last_error.error_type.endswith("NotEmitting")
            assert str(NotEmitting("tokens", reason)) in row.last_error.message  # type: ignore[arg-type]


@program
def tries_to_emit() -> Do[str]:
    yield from succeed(None)
    try:
        tokens.emit_now("of no effect")
    except NotEmitting as refused:
        return refused.reason
    return "taken"


@program
def emits_beside(ctx: WorkflowContext[int]) -> Do[tuple[int, str, str], str, Model]:
    count, beside_it = yield from gather(say("a", 2), tries_to_emit())
    return count, beside_it, (yield from tries_to_emit())


def test_code_between_effects_emits_nothing_also_while_one_is_under_way() -> None:
    job = Workflow("beside", state=int, run=emits_beside, streams=(tokens,))
    world, _ = a_world(lambda model: App(model).with_jobs(job))
    with world:
        flow = world.jobs.handle(job)
        assert world.run(flow.start_and_wait("1", 0)) == Done(value=(2, "outside", "outside"))
        assert words(world.run(all_of(flow.stream("1", tokens)))) == ["a0", "a1"]


def test_outside_of_runs_nothing_takes_a_chunk() -> None:
    with pytest.raises(NotEmitting, match="expected the code of an effect"):
        tokens.emit_now("no")


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: Stream("a:b", str), "name of a stream"),
        (lambda: Stream("a", str, max_chunks=0), "a whole number from 1 to 10000000"),
        (lambda: Stream("a", str, max_bytes=65_535), "a whole number from 65536 to 1073741824"),
        (lambda: Workflow("w", state=int, run=counting, streams=[few, few]), "different names"),
        (lambda: Workflow("w", state=int, run=counting, streams="few"), "a sequence of at most 16 streams"),  # type: ignore[arg-type]
        (lambda: Workflow("w", state=int, run=counting, streams=["few"]), "a sequence of at most 16 streams"),  # type: ignore[list-item]
        (
            lambda: Workflow("w", state=int, run=counting, streams=[Stream(str(n), int) for n in range(17)]),
            "at most 16 streams",
        ),
    ],
)
def test_a_wrong_declaration_is_refused(make: Any, expected: str) -> None:
    with pytest.raises(DefinitionError, match=expected):
        make()


# ---------------------------------------------------------------- large chunks
class Painter:
    """A service whose calls are paid."""

    def __init__(self) -> None:
        self.paid: list[int] = []


@effect
async def paint(painter: Painter, sizes: tuple[int, ...]) -> Result[int, str]:
    painter.paid.append(sum(sizes))
    for size in sizes:
        pictures.emit_now("x" * (size - 2))
    return Success(sum(sizes))


@effect(on="thread")
def paint_in_a_thread(painter: Painter, sizes: tuple[int, ...]) -> Result[int, str]:
    painter.paid.append(sum(sizes))
    for size in sizes:
        pictures.emit_now("x" * (size - 2))
    return Success(sum(sizes))


@program
def painting(ctx: WorkflowContext[tuple[int, ...]]) -> Do[int, str, Painter]:
    sizes = yield from ctx.state
    yield from pictures.emit("begin")
    if sizes[0] == 13:
        yield from paint_in_a_thread(sizes)
    return (yield from paint(sizes))


pictures = Stream("pictures", str, max_bytes=10_000_000)
painted = Workflow("painted", state=tuple[int, ...], run=painting, streams=[pictures], keep=None)


def sizes_of(items: list[Streamed[Any]]) -> list[int]:
    """The sizes of chunks as JSON, and of dropped ones as a negative number."""
    return [len(item.value) + 2 if isinstance(item, Chunk) else -item.count for item in items]  # type: ignore[union-attr]


@pytest.mark.parametrize("encryption", [None, KEY])
@pytest.mark.parametrize("store", ["memory", "sqlite", "postgresql"])
def test_a_chunk_of_megabytes_is_one_chunk_in_every_store(
    store: str, encryption: Encryption | None, tmp_path: Path, postgres_url: str
) -> None:
    harness = PostgresHarness(postgres_url, "full") if store == "postgresql" else None
    url = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path / 'jobs.db'}"}.get(store) or harness.url  # type: ignore[union-attr]
    sizes = (70_000, 5, 3_000_000, 9, 300_000)
    app = App(Painter(), encryption=encryption).with_jobs(painted)

    async def main() -> list[Any]:
        async with app.open(await open_store(url)) as client:
            handle = client.handle(painted)
            reading = asyncio.ensure_future(all_of(handle.stream("x", pictures)))
            assert await handle.start_and_wait("x", sizes) == Done(value=sum(sizes))
            found = [await reading, await all_of(handle.stream("x", pictures))]
        if store != "memory":
            async with app.open(await open_store(url)) as client:
                handle = client.handle(painted)
                found += [await all_of(handle.stream("x", pictures))]
                assert await all_of(handle.stream("x", pictures, after=2)) == found[0][3:]
                if encryption is None:
                    assert (await handle.terminate("x")).terminated
        if store != "memory" and encryption is None:
            copied = f"sqlite:///{tmp_path / 'copied.db'}"
            for command in (["verify", "--store", url], ["copy", url, copied], ["verify", "--store", copied]):
                assert await asyncio.to_thread(run_command, command) == 0
        if harness is not None:
            await harness.discard()
        return found

    found = asyncio.run(main())
    for items in found:
        assert sizes_of(items) == [7, *sizes]
        assert [item.offset for item in items] == list(range(6))


@pytest.mark.parametrize("first", [12, 13])
def test_a_chunk_that_no_row_can_hold_is_dropped_and_no_paid_call_is_lost(first: int) -> None:
    """Its place is kept: readers are told, and the log says how large it was."""
    painter = Painter()
    with World(App(painter, limits=Limits(input_bytes=1_000)).with_jobs(painted)) as world:
        handle = world.jobs.handle(painted)
        assert world.run(handle.start_and_wait("x", (first, 1_000, 1_001, 20, 1_002))) == Done(value=first + 3_023)
        calls = 1 if first == 12 else 2
        assert painter.paid == [first + 3_023] * calls
        items = world.run(all_of(handle.stream("x", pictures)))
        assert sizes_of(items) == [7, *((first, 1_000, -1, 20, -1) * calls)]
        assert [item.offset for item in items] == list(range(len(items)))
        assert items[3] == ChunksDropped(offset=3, count=1)
        assert world.run(all_of(handle.stream("x", pictures, after=3))) == items[4:]
        warned = [each.fields for each in world.logs if each.message == "stream value dropped"]
        # Once for each effect, which emits two of them.
        assert [(each["stream"], each["bytes"], each["input_bytes"]) for each in warned] == [
            ("pictures", 1_001, 1_000)
        ] * calls
        # An engine that reads the stream from its store sees the same.
        world.restart()
        assert world.run(all_of(world.jobs.handle(painted).stream("x", pictures))) == items


def test_an_earlier_engine_refuses_a_group_with_a_dropped_chunk_and_no_other() -> None:
    """It reads null in the place of the chunk, which has another type."""
    group = encoded_group("s", [b'"a"', TOO_LARGE], again=False)
    assert json.loads(group) == {"step": "s", "again": False, "values": ["a", None], "dropped": [1]}
    assert json.loads(encoded_group("s", [b"null"], again=True)) == {"step": "s", "again": True, "values": [None]}


def test_a_chunk_larger_than_its_stream_is_kept_until_the_next_one() -> None:
    small = Stream("pictures", str, max_bytes=65_536)

    @effect
    async def paints(_: object, sizes: tuple[int, ...]) -> Result[int, str]:
        for size in sizes:
            small.emit_now("x" * (size - 2))
        return Success(len(sizes))

    @program
    def run(ctx: WorkflowContext[tuple[int, ...]]) -> Do[int, str, object]:
        return (yield from paints((yield from ctx.state)))

    job = Workflow("painted", state=tuple[int, ...], run=run, streams=[small], keep=None)
    with World(App(None).with_jobs(job)) as world:
        handle = world.jobs.handle(job)
        world.run(handle.start_and_wait("x", (5, 400_000)))
        assert sizes_of(world.run(all_of(handle.stream("x", small)))) == [-1, 400_000]
        world.run(handle.start_and_wait("y", (400_000, 500_000, 600_000, 5)))
        # Never more in memory than the stream keeps, though the effect has not waited once.
        assert sizes_of(world.run(all_of(handle.stream("y", small)))) == [-3, 5]


@pytest.mark.parametrize("sharing", [False, True])
def test_readers_hold_few_large_chunks_in_memory(sharing: bool) -> None:  # noqa: FBT001 - of a parameter
    painter = Painter()
    with World(App(painter).with_jobs(painted)) as world:
        hub = engine_of(world.jobs).streams
        assert hub is not None
        hub.sharing = sharing
        handle = world.jobs.handle(painted)
        reading = engine_of(world.jobs).runtime.spawn(all_of(handle.stream("x", pictures)), name="reader")
        world.run(handle.start("x", (1_500_000,) * 6))
        world.advance("1 second")
        assert [item.offset for item in reading.result()] == list(range(7))
        pages = [world.run(gateway_of(world.jobs).stream_page(painted.address("x"), "pictures", -1, 0))]
        while pages[-1].state != "end":
            page = gateway_of(world.jobs).stream_page(painted.address("x"), "pictures", pages[-1].after, 1_000)
            pages.append(world.run(page))
        held = [channel.held for channel in hub._channels.values()]
        assert held == [3_000_000 + 2 * len('{"step":"1 paint","again":false,"values":[]}')]
        assert [item.offset for page in pages for item in page.items] == list(range(7))
        # A page has a size, too.
        assert max(sum(len(item.value) for item in page.items) for page in pages) < 6_000_000


# ---------------------------------------------------------------- without an engine
class Quick:
    """A model without pauses."""

    async def say(self, name: str, words: int) -> None:
        for word in range(words):
            tokens.emit_now(f"{name}{word}")


@effect
def note(_: object, number: int) -> Result[None, str]:
    few.emit_now(number)
    return Success(None)


@program
def noting(number: int) -> Do[int, str, Any]:
    yield from tokens.emit("begin")
    yield from gather(say("a", number), say("b", number), note(number))
    return number


def test_a_simulated_program_emits_and_its_trace_has_the_chunks() -> None:
    run = simulate(noting(2), Quick())
    assert run.value() == 2
    assert run.emitted(few) == (2,)
    assert sorted(run.emitted(tokens)) == ["a0", "a1", "b0", "b1", "begin"]
    steps = [step for step in run.trace if isinstance(step, EmitStep)]
    assert [step.branch for step in steps if step.value in {"begin", "a1", 2}] == ["", "gather[0]", "gather[2]"]
    assert "chunk of tokens: 'a0'" in repr(run)


def test_chunks_of_a_call_whose_outcome_was_lost_are_in_the_trace_and_a_call_that_never_began_has_none() -> None:
    assert simulate(noting(1), Quick(), faults=[Crash("note", when="after")]).emitted(few) == (1,)
    assert simulate(noting(1), Quick(), faults=[Crash("note", when="before")]).emitted(few) == ()
    # Outside of an effect a program cannot emit, as in an engine.
    assert "NotEmitting" in repr(simulate(asks(lambda _: tokens.emit_now("no")), None))


@given(fake_services())
@settings(max_examples=5)
def test_fake_services_emit_the_chunks_of_the_program(services: FakeServices) -> None:
    assert simulate(noting(1), services).emitted(tokens) == ("begin",)

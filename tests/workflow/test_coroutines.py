"""Coroutines of asyncio as workflows: their operations are steps, and nothing else leaves them."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
import pytest
from postgres_harness import PostgresHarness
from returns.result import Failure, Result, Success

from perdure import App, Backoff, Limits, Retry, Signal, Stream, Workflow, WorkflowContext, effect, patched
from perdure.coroutines import (
    CoroutineError,
    StepFailed,
    as_step,
    coroutine,
    current_step_key,
    in_coroutine,
    perform,
)
from perdure.durable_loop import MOST_CALLBACKS, CoroutineStuck, NotInCoroutine
from perdure.testing import Delay, WorkerDied, World
from perdure.values.answer import Done, WasCancelled
from perdure.values.errors import DefinitionError
from perdure.values.outcome import Failed

STORES = ["memory://", "sqlite"]
approval = Signal("approval", str)
tokens = Stream("tokens", str)
Main = Callable[[WorkflowContext[int]], Any]


class Calls:
    """The calls of functions that are steps."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.keys: list[str | None] = []
        self.now = self.most = 0

    def note(self, name: str) -> None:
        self.names.append(name)
        self.keys.append(current_step_key())


calls = Calls()


@pytest.fixture(autouse=True)
def no_calls() -> None:
    calls.__init__()  # type: ignore[misc]


@as_step
async def act(name: str) -> str:
    assert not in_coroutine()
    calls.note(name)
    await asyncio.sleep(0.01)
    if name.startswith("bad"):
        raise KeyError(name)
    return name.upper()


@as_step(name="in a thread")
def blocking(number: int) -> int:
    calls.note("thread")
    return number + 1


@attrs.frozen
class Declined:
    why: str


@attrs.frozen
class TooMuch(Exception):
    cents: int


@effect
async def charge(_: object, cents: int) -> Result[str, Declined]:
    return Failure(Declined("poor")) if cents > 99 else Success(f"paid {cents}")


def job_of(main: Main, **options: Any) -> Any:
    given: Any = {name: options.pop(name) for name in ("errors", "fails") if name in options}
    run = coroutine(main, **given)
    return Workflow("co", state=int, run=run, signals=[approval], streams=[tokens], **options)


def world_of(job: Any, store: str, folder: Path) -> World:
    return World(App(None).with_jobs(job), store=store if store == "memory://" else folder / "jobs.db")


async def several(ctx: WorkflowContext[int]) -> list[str]:
    assert in_coroutine()
    number = await perform(ctx.state)
    said = list(await asyncio.gather(*(act(f"g{each}") for each in range(number))))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(act(f"t{each}")) for each in range(2)]
    said += [each.result() for each in tasks]
    await asyncio.sleep(86_400)
    said.append(await perform(approval.receive()))
    said.append(await perform(charge(5)))
    said.append(str(await blocking(1)))
    return said


SAID = ["G0", "G1", "G2", "T0", "T1", "ann", "paid 5", "2"]


@pytest.mark.parametrize("store", STORES)
def test_operations_are_steps_over_waits_and_restarts(store: str, tmp_path: Path) -> None:
    job = job_of(several)
    with world_of(job, store, tmp_path) as world:
        flow = world.handle(job)
        world.run(flow.start("1", 3))
        world.advance("1 hour")
        world.restart()
        world.run(flow.signal("1", approval, "ann"))
        world.advance("12 hours")
        world.restart()
        assert world.run(flow.outcome("1")) is None
        world.advance("1 day")
        assert world.run(flow.outcome("1")) == Done(value=SAID)
        assert [step.name for step in world.run(flow.steps("1"))[-4:]] == [
            *("sleep until", "signal approval", "charge", "in a thread")
        ]
    assert sorted(calls.names) == ["g0", "g1", "g2", "t0", "t1", "thread"]
    assert len({*calls.keys, None}) == 7


async def beside_each_other(ctx: WorkflowContext[int]) -> int:
    @as_step
    async def meet(number: int) -> int:
        calls.now += 1
        calls.most = max(calls.most, calls.now)
        await asyncio.sleep(0.01)
        calls.now -= 1
        return number

    return sum(await asyncio.gather(*map(meet, range(3))))


async def ends(job: Any, url: str) -> object:
    quick = Limits(shutdown_timeout="1 second")  # for the mutants whose run never ends
    async with App(None, limits=quick).with_jobs(job).open(url) as jobs:
        return await jobs.handle(job).start_and_wait("1", 3, timeout="20 seconds")


def test_parallel_steps_overlap_in_memory_and_in_a_file(tmp_path: Path) -> None:
    for url in ("memory://", f"sqlite:///{tmp_path / 'jobs.db'}"):
        calls.__init__()  # type: ignore[misc]
        assert asyncio.run(ends(job_of(beside_each_other), url)) == Done(value=3)
        assert calls.most == 3


def test_parallel_steps_overlap_on_postgres(postgres_url: str) -> None:
    harness = PostgresHarness(postgres_url)
    try:
        assert asyncio.run(ends(job_of(beside_each_other), harness.url)) == Done(value=3)
    finally:
        asyncio.run(harness.discard())


# ---------------------------------------------------------------- errors
async def fails_and_catches(ctx: WorkflowContext[int]) -> list[str]:
    said: list[str] = []
    for operation in (lambda: act("bad"), lambda: perform(charge(100))):
        try:
            await operation()
        except StepFailed as failed:
            said.append(str(failed))
    await asyncio.sleep(60)  # a replay raises the same
    return said


def test_a_failed_step_raises_the_same_in_a_replay() -> None:
    job = job_of(fails_and_catches)
    with World(App(None).with_jobs(job)) as world:
        world.run(world.handle(job).start("1", 0))
        world.restart()
        world.advance("1 hour")
        said = ["KeyError: 'bad'", "Declined(why='poor')"]
        assert world.run(world.handle(job).outcome("1")) == Done(value=said)
    assert calls.names == ["bad"]


def outcome_of(main: Main, **options: Any) -> Any:
    job = job_of(main, **options)
    with World(App(None).with_jobs(job)) as world:
        world.run(world.handle(job).start("1", 0))
        world.advance("1 hour")
        return world.run(world.handle(job).outcome("1"))


async def declines(ctx: WorkflowContext[int]) -> str:
    return await perform(charge(100))


async def costs_too_much(ctx: WorkflowContext[int]) -> str:
    raise TooMuch(7)


async def returns_a_failure(ctx: WorkflowContext[int]) -> Result[str, Declined]:
    return Failure(Declined("no"))


async def returns_a_success(ctx: WorkflowContext[int]) -> Result[str, Declined]:
    return Success("yes")


async def performs_a_bad_step(ctx: WorkflowContext[int]) -> str:
    return await act("bad")


async def cancels_itself(ctx: WorkflowContext[int]) -> str:
    raise asyncio.CancelledError


def test_the_final_exception_is_a_typed_failure() -> None:
    assert outcome_of(declines, errors=Declined) == Failed(error=Declined("poor"))
    assert outcome_of(costs_too_much, errors=(Declined, TooMuch)).error.cents == 7
    assert outcome_of(returns_a_failure) == Failed(error=Declined("no"))
    assert outcome_of(returns_a_success) == Done(value="yes")
    assert outcome_of(performs_a_bad_step) == Failed(error=CoroutineError("KeyError", "'bad'"))
    assert outcome_of(cancels_itself).error.exception == "CancelledError"


def parked_by(main: Main, **options: Any) -> str:
    job = job_of(main, **options)
    with World(App(None).with_jobs(job)) as world:
        world.run(world.handle(job).start("1", 0))
        world.advance("1 hour")
        row = world.instance(job, "1")
        assert row is not None
        assert row.status == "parked"
        assert row.last_error is not None
        return f"{row.last_error.error_type} {row.last_error.message}"


def test_other_exceptions_park_and_changed_code_continues() -> None:
    job = job_of(costs_too_much, fails=())
    with World(App(None).with_jobs(job)) as world:
        world.run(world.handle(job).start("1", 0))
        world.advance("1 hour")
        row = world.instance(job, "1")
        assert row is not None
        assert row.status == "parked"
        fixed = job_of(returns_a_success)
        world.restart(App(None).with_jobs(fixed))
        world.run(world.handle(fixed).resume("1"))
        world.advance("1 second")
        assert world.run(world.handle(fixed).outcome("1")) == Done(value="yes")


async def retried(ctx: WorkflowContext[int]) -> str:
    return await as_step(act_once, retry=Retry(max_attempts=3, delay=Backoff.constant("1 minute")))()


async def act_once() -> str:
    calls.note("once")
    if len(calls.names) < 3:
        raise OSError("down")
    return "up"


def test_a_retry_is_durable() -> None:
    job = job_of(retried)
    with World(App(None).with_jobs(job)) as world:
        world.run(world.handle(job).start("1", 0))
        world.advance("30 seconds")
        assert len(calls.names) == 1
        world.restart()
        world.advance("2 minutes")
        assert world.run(world.handle(job).outcome("1")) == Done(value="up")
    assert len(calls.names) == 3


# ---------------------------------------------------------------- time and cancellation
async def in_time(ctx: WorkflowContext[int]) -> list[str]:
    said: list[str] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(3_600):
            said.append(await perform(approval.receive()))
    started = asyncio.get_running_loop().time()
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.sleep(9_000), 7_200)
    said.append(str(asyncio.get_running_loop().time() - started))
    async with asyncio.timeout(3_600):
        said.append(await perform(approval.receive()))
    return said


def test_time_limits_of_asyncio_are_durable() -> None:
    job = job_of(in_time)
    with World(App(None).with_jobs(job)) as world:
        world.run(world.handle(job).start("1", 0))
        for _ in range(4):
            world.advance("50 minutes")
            world.restart()
        world.run(world.handle(job).signal("1", approval, "ann"))
        world.advance("1 second")
        outcome = world.run(world.handle(job).outcome("1"))
        assert isinstance(outcome, Done)
        assert outcome.value[1] == "ann"
        assert float(outcome.value[0]) >= 7_200


async def cleans_up(ctx: WorkflowContext[int]) -> str:
    try:
        await act("a")
        await perform(approval.receive())
    except asyncio.CancelledError:
        await act("undo 1")
        await asyncio.sleep(3_600)
        await act("undo 2")
        raise
    return "end"


def test_a_cancelled_coroutine_cleans_up_durably() -> None:
    job = job_of(cleans_up)
    with World(App(None).with_jobs(job)) as world:
        flow = world.handle(job)
        world.run(flow.start("1", 0))
        world.run(flow.cancel("1", "enough"))
        world.advance("1 minute")
        world.restart()
        assert calls.names == ["a", "undo 1"]
        world.advance("2 hours")
        assert world.run(flow.outcome("1")) == WasCancelled(reason="enough")
    assert calls.names == ["a", "undo 1", "undo 2"]


def test_a_second_cancellation_interrupts_no_step_of_the_clean_up() -> None:
    """The cancellation is delivered once: the steps behind it are the compensation."""
    job = job_of(cleans_up)
    with World(App(None).with_jobs(job)) as world:
        flow = world.handle(job)
        world.inject(Delay("act", "10 seconds", call=2))
        world.run(flow.start("1", 0))
        world.run(flow.cancel("1", "enough"))
        world.advance("1 second")
        world.run(flow.cancel("1", "again", interrupt=True))
        world.advance("2 hours")
        assert world.run(flow.outcome("1")) == WasCancelled(reason="enough")
        assert [step.status for step in world.run(flow.steps("1")) if step.name == "act"] == ["done"] * 3
    assert calls.names == ["a", "undo 1", "undo 2"]


async def first_of_two(ctx: WorkflowContext[int]) -> str:
    @as_step
    async def wait() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            calls.note("stopped")
        return ""

    slow, fast = asyncio.create_task(wait()), asyncio.create_task(act("fast"))
    done, _ = await asyncio.wait({slow, fast}, return_when=asyncio.FIRST_COMPLETED)
    slow.cancel()
    return done.pop().result()


def test_a_step_that_loses_is_stopped() -> None:
    assert asyncio.run(ends(job_of(first_of_two), "memory://")) == Done(value="FAST")
    assert calls.names == ["fast", "stopped"]


async def leaves_a_task(ctx: WorkflowContext[int]) -> str:
    async def after() -> None:
        try:
            await asyncio.sleep(1e9)
        finally:
            await act("left")

    task = asyncio.create_task(after())
    await asyncio.sleep(0)
    return f"{task.done()}"


def test_tasks_that_are_left_are_cancelled_and_clean_up() -> None:
    assert outcome_of(leaves_a_task) == Done(value="False")
    assert calls.names == ["left"]


# ---------------------------------------------------------------- the same state, streams, context
async def sets_its_state(ctx: WorkflowContext[int]) -> list[int]:
    await perform(ctx.set_state(7))
    await perform(ctx.update_state(lambda number: number + 1))
    await asyncio.sleep(60)
    await perform(ctx.update_state(lambda number: number + 1))
    return [await perform(ctx.state)]


def test_it_has_the_state_of_the_workflow() -> None:
    assert outcome_of(sets_its_state) == Done(value=[9])


language = contextvars.ContextVar("language", default="none")


async def speaks(ctx: WorkflowContext[int]) -> str:
    @as_step
    async def say() -> str:
        tokens.emit_now(language.get())
        return language.get()

    language.set("en")
    return await say()


def test_a_step_has_the_context_of_the_code_that_awaits_it_and_may_emit() -> None:
    async def scenario() -> list[Any]:
        language.set("outside")
        job = job_of(speaks)
        async with App(None).with_jobs(job).open("memory://") as jobs:
            assert await jobs.handle(job).start_and_wait("1", 0) == Done(value="en")
            return [item.value async for item in jobs.handle(job).stream("1", tokens)]

    assert asyncio.run(scenario()) == ["en"]


# ---------------------------------------------------------------- divergence
async def other_name(ctx: WorkflowContext[int]) -> str:
    await perform(charge(1))
    return await perform(approval.receive())


async def asks_less(ctx: WorkflowContext[int]) -> str:
    return "short"


@pytest.mark.parametrize("changed", [other_name, asks_less])
def test_a_coroutine_that_diverges_is_left_and_the_line_is_named(changed: Main) -> None:
    job = job_of(cleans_up)
    with World(App(None).with_jobs(job)) as world:
        world.run(world.handle(job).start("1", 0))
        world.crash()
        diverging = job_of(changed)
        world.open(App(None).with_jobs(diverging))
        world.run(world.handle(diverging).signal("1", approval, "ann"))
        world.advance("1 minute")
        row = world.instance(diverging, "1")
        assert row is not None
        assert row.status == "left"
        said = str([record.fields for record in world.logs])
        assert "the journal holds 'act'" in said
        if changed is other_name:
            assert f"test_coroutines.py:{other_name.__code__.co_firstlineno + 1} in other_name" in said
        world.restart(App(None).with_jobs(job))
        world.advance("1 minute")
        assert world.run(world.handle(job).outcome("1")) == Done(value="end")


# ---------------------------------------------------------------- refusals
async def waits_for_nothing(ctx: WorkflowContext[int]) -> str:
    await asyncio.Event().wait()
    return ""


async def connects(ctx: WorkflowContext[int]) -> str:
    await asyncio.open_connection("localhost", 1)
    return ""


async def threads(ctx: WorkflowContext[int]) -> str:
    return await asyncio.to_thread(str)


async def patches(ctx: WorkflowContext[int]) -> str:
    return str(await perform(patched("new")))


def test_operations_that_a_replay_cannot_repeat_are_refused() -> None:
    assert "waits_for_nothing)" in parked_by(waits_for_nothing)
    for main, operation in ((connects, "create_connection"), (threads, "run_in_executor"), (patches, "patched")):
        assert parked_by(main).startswith(f"NotInCoroutine {operation}: ")


async def spins(times: int, ctx: WorkflowContext[int]) -> str:
    for _ in range(times):
        await asyncio.sleep(0)
    return "end"


def test_the_callbacks_between_operations_are_limited() -> None:
    async def enough(ctx: WorkflowContext[int]) -> str:
        return await spins(MOST_CALLBACKS - 2, ctx)

    async def too_many(ctx: WorkflowContext[int]) -> str:
        return await spins(MOST_CALLBACKS - 1, ctx)

    assert outcome_of(enough) == Done(value="end")
    assert parked_by(too_many).startswith("CoroutineStuck the coroutine ran 100000 callbacks")


def test_outside_of_a_coroutine_functions_are_called_as_they_are() -> None:
    async def scenario() -> None:
        assert await act("a") == "A"
        assert await blocking(1) == 2
        assert current_step_key() is None
        with pytest.raises(NotInCoroutine, match="expected to be awaited in the async def"):
            await perform(charge(1))

    asyncio.run(scenario())


def test_definitions_are_checked() -> None:
    async def unknown(ctx: WorkflowContext[int]):  # type: ignore[no-untyped-def]
        return 1

    for wrong in (lambda ctx: 1, unknown):
        with pytest.raises(DefinitionError, match="coroutine"):
            coroutine(wrong)  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match="name of a step"):
        as_step(act, name="a:b")
    assert str(CoroutineStuck("waits")) == "the coroutine waits"


# ---------------------------------------------------------------- generators, crashes
async def generates(ctx: WorkflowContext[int]) -> list[str]:
    @asynccontextmanager
    async def opened() -> Any:
        yield await act("open")
        await act("close")

    async def numbers() -> Any:
        for each in range(3):
            yield await act(f"n{each}")

    async with opened() as first:
        return [first, *[each async for each in numbers()]]


def test_generators_and_contexts_run_in_it() -> None:
    assert outcome_of(generates) == Done(value=["OPEN", "N0", "N1", "N2"])
    assert calls.names[-1] == "close"


@pytest.mark.parametrize("point", range(12))
def test_a_crash_repeats_at_most_the_steps_in_progress(point: int, tmp_path: Path) -> None:
    job = job_of(several)
    with world_of(job, "sqlite", tmp_path) as world:
        world.crash_after(point)
        with suppress(WorkerDied):
            world.run(world.handle(job).start("1", 3))
            world.advance("1 second")
        world.cancel_crash()
        if not world.is_open:
            world.open()
        flow = world.handle(job)
        world.run(flow.start("1", 3))
        world.run(flow.signal("1", approval, "ann"))
        world.advance("2 days")
        assert world.run(flow.outcome("1")) == Done(value=SAID)
    # The same key: a service can tell the repeat.
    assert len(set(calls.keys)) == 6
    assert len(calls.keys) <= 6 + 3

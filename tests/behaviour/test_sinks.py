"""Sinks: notified of every event after its commit, in order. One that raises harms neither the engine nor another."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, cast

import attrs
import pytest
from collected import Collected
from world import World, on_each_store

from perdure import App, Do, Limits, Task, TaskContext, program
from perdure.client.local_gateway import engine_of
from perdure.engine.sinks import EngineView, OpenSink, OpenSinks, SinkLag
from perdure.telemetry import on_event
from perdure.values.errors import DefinitionError
from perdure.values.event import JobExecuted, JobStarted, TaskScheduled
from perdure.values.listings import InFlight
from perdure.values.live_event import AlarmFired, EngineStarted, RequestEnded, StoreCommitted


@program
def handle(ctx: TaskContext[int], event: int) -> Do[None]:
    yield from ctx.set_state(event)
    yield from ctx.schedule(after="1 minute")


@program
def execute(ctx: TaskContext[int]) -> Do[None]:
    yield from ctx.update_state(lambda state: state + 1)


job = Task("job", state=int, event=int, initial=0, on_event=handle, execute=execute)
app: App[None] = App(None, limits=Limits()).with_jobs(job)


STORED = (JobStarted, JobExecuted, TaskScheduled)


def raising(_: object) -> None:
    raise ZeroDivisionError("bug of a sink")


@on_each_store
async def test_a_sink_receives_each_stored_event_in_order(world: World) -> None:
    sink = Collected()
    jobs = await world.open(app.with_sinks(sink))
    await world.run(jobs.handle(job).send("a", 1))
    await world.advance(minutes=2)
    history = await world.run(jobs.history(job, "a"))
    assert sink.of(*STORED) == [logged.event for logged in reversed(history)]
    await world.close()
    assert sink.life == ["open on epoch 1", "closed"]


@on_each_store
async def test_a_sink_receives_events_that_no_history_keeps(world: World) -> None:
    sink = Collected()
    without_history: App[None] = App(None, limits=Limits(history_events=0)).with_jobs(job).with_sinks(sink)
    jobs = await world.open(without_history)
    await world.run(jobs.handle(job).send("a", 1))
    assert sink.types(*STORED) == [JobStarted, TaskScheduled]
    assert await world.run(jobs.history(job, "a")) == ()


@on_each_store
async def test_a_sink_that_raises_is_logged_once_and_harms_no_other(world: World) -> None:
    broken, sound = Collected("broken", raising), Collected("sound")
    jobs = await world.open(app.with_sinks(broken, sound))
    for id_ in "abc":
        await world.run(jobs.handle(job).send(id_, 1))
    assert len(sound.of(TaskScheduled)) == 3
    records = [record for record in world.world.logs if record.message == "sink raised an exception"]
    assert [record.fields["sink"] for record in records] == ["broken"]


@pytest.mark.parametrize("where", [AlarmFired, RequestEnded, StoreCommitted, JobStarted, EngineStarted])
@on_each_store
async def test_a_sink_that_raises_a_cancellation_of_its_own_harms_nothing(world: World, where: type) -> None:
    """A result of a cancelled future raises one; the engine itself is not cancelled."""

    def cancelled(event: object) -> None:
        if isinstance(event, where):
            raise world.process.boundary.runtime.cancelled

    broken, sound = Collected("broken", cancelled), Collected("sound")
    jobs = await world.open(app.with_sinks(broken, sound))
    for _ in range(2):
        await world.run(jobs.handle(job).send("a", 1))
        await world.advance(minutes=2)
    assert len(sound.of(JobExecuted)) == 2
    assert len(sound.of(RequestEnded)) == 2
    assert engine_of(jobs).in_flight() == InFlight()


def test_a_sink_that_opens_as_something_else_is_refused_and_the_store_is_released(tmp_path: Path) -> None:
    @attrs.frozen
    class Wrong:
        name: str = "wrong"

        @asynccontextmanager
        async def open(self, _: EngineView) -> AsyncGenerator[Any]:
            yield None

    async def opened(with_sink: App[None]) -> None:
        async with with_sink.open(f"sqlite:///{tmp_path}/jobs.db"):
            pass

    with pytest.raises(DefinitionError, match=r"sink wrong.*OpenSink"):
        asyncio.run(opened(app.with_sinks(cast("Any", Wrong()))))
    asyncio.run(opened(app))


@attrs.frozen
class Ending:
    """Raises, or hides the exception of the block, when it is closed."""

    ends: Literal["raises", "hides"]
    name: str = "ending"

    @asynccontextmanager
    async def open(self, _: EngineView) -> AsyncGenerator[OpenSink]:
        try:
            yield OpenSink()
        except LookupError:
            if self.ends != "hides":
                raise
        finally:
            if self.ends == "raises":
                raise ZeroDivisionError("bug of a sink")


@pytest.mark.parametrize("ends", ["raises", "hides"])
def test_the_end_of_a_sink_neither_fails_the_app_nor_hides_its_exception(
    tmp_path: Path, ends: Literal["raises", "hides"], caplog: pytest.LogCaptureFixture
) -> None:
    async def opened(error: Exception | None) -> None:
        async with app.with_sinks(cast("Any", Ending(ends))).open(f"sqlite:///{tmp_path}/jobs.db"):
            if error is not None:
                raise error

    asyncio.run(opened(None))
    with pytest.raises(LookupError):
        asyncio.run(opened(LookupError("of the block")))
    logged = caplog.text.count("sink raised an exception when it was closed")
    assert logged == (2 if ends == "raises" else 0)  # also beside the exception of the block


@on_each_store
async def test_a_lag_that_cannot_be_read_is_the_problem_of_its_sink(world: World) -> None:
    def lag() -> SinkLag:
        raise ZeroDivisionError("bug of a sink")

    sinks = OpenSinks(engine_of(await world.open(app)).runtime)
    sinks.add("broken", OpenSink(lag=lag))
    sinks.add("sound", OpenSink(lag=lambda: SinkLag(events=3)))
    lags = sinks.lags()
    assert (lags["sound"].events, "ZeroDivisionError" in lags["broken"].problem) == (3, True)


def test_sinks_have_unique_names() -> None:
    with pytest.raises(DefinitionError, match="collected twice"):
        app.with_sinks(Collected(), Collected())


def test_a_value_that_is_not_a_sink_is_refused() -> None:
    with pytest.raises(DefinitionError, match="an EventSink"):
        app.with_sinks(cast("Any", print))


async def _awaited(_: object) -> None:
    pass


@pytest.mark.parametrize("function", [_awaited, 5])
def test_a_function_that_the_engine_cannot_call_is_refused(function: Any) -> None:
    with pytest.raises(DefinitionError, match="not async"):
        on_event(function)

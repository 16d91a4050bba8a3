"""The end of an engine: it comes, whatever runs do, and however often the wait for it is cancelled."""

from collections.abc import Callable
from typing import Any

import pytest
from collected import Collected
from returns.future import FutureResult
from returns.result import Failure, Result, Success
from world import Outside, World, on_each_store

from perdure import App, Debounce, Limits, Task
from perdure.client.local_gateway import engine_of
from perdure.programs import Program, effect, succeed
from perdure.values.errors import OutcomeUnknown
from perdure.values.live_event import RequestEnded


@effect
def endure(outside: Outside) -> FutureResult[None, str]:
    """Ignore every cancellation."""
    return FutureResult(_endure(outside))


async def _endure(outside: Outside) -> Result[None, str]:
    assert outside.boundary is not None
    runtime = outside.boundary.runtime
    outside.heard.append("began")
    while True:
        try:
            await runtime.future()
        except runtime.cancelled:
            outside.heard.append("ignored")


def never_ends(*_: Any) -> Program[Any, Any, Any]:
    return endure()


def fine(*_: Any) -> Program[Any]:
    return succeed(None)


task = Task("task", state=int, event=str, initial=0, on_event=never_ends)
debounce = Debounce("batch", event=int, flush_after="1 hour", execute=never_ends)
JOBS: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "task": (task, lambda calls: calls.send("a", "x")),
    "debounce": (debounce, lambda calls: calls.flush("a")),
}


def app(world: World, job: Any) -> App[Any]:
    return App(world.outside, limits=Limits(shutdown_timeout="1000 ms")).with_jobs(job)


@pytest.mark.parametrize("kind", JOBS)
@on_each_store
async def test_a_run_that_ignores_its_cancellation_is_left_behind(world: World, kind: str) -> None:
    """The engine stops all the same and names the run; its caller is answered; the next start recovers the claim."""
    job, call = JOBS[kind]
    jobs = await world.open(app(world, job))
    if kind == "debounce":
        await world.run(jobs.handle(job).add("a", 1))
    waiting = world.start(call(jobs.handle(job)))
    await world.settle()
    engine, logs = engine_of(jobs), world.world.logs
    await world.close()
    assert engine.left_behind == (job.address("a"),)
    assert isinstance(waiting.result(), Failure)
    assert isinstance(waiting.result().failure(), OutcomeUnknown)
    (record,) = [record for record in logs if record.message == "engine stopped and left runs behind"]
    assert (record.level, record.fields["runs"]) == ("error", [str(job.address("a"))])
    assert world.outside.heard == ["began", "ignored"]
    await world.open(app(world, job))
    await world.settle()
    assert "job.recovered" in await world.happened(job.address("a"))
    assert world.outside.heard == ["began", "ignored", "began"]
    await world.crash()  # its run does not end either


@on_each_store
async def test_a_stop_that_is_cancelled_cancels_the_runs_and_waits_for_them(world: World) -> None:
    """It raises its cancellation when every run has ended, and not before: services are closed afterwards."""

    async def suspension(outside: Outside) -> Result[None, str]:
        assert outside.boundary is not None
        runtime = outside.boundary.runtime
        try:
            await runtime.future()
        finally:
            await runtime.sleep(100)
            outside.heard.append("cleaned up")
        return Success(None)

    work = effect(lambda services: FutureResult(suspension(services)))
    slow: Any = Task("task", state=int, event=str, initial=0, on_event=lambda *_: work())
    jobs = await world.open(app(world, slow))
    world.start(jobs.handle(slow).send("a", "x"))
    await world.settle()
    engine = engine_of(jobs)
    runtime = engine.runtime
    stopping = runtime.spawn(engine.stop(), name="stop")
    await world.settle()
    stopping.cancel()
    await world.settle()
    assert not stopping.done()
    await world.advance(ms=100)
    assert world.outside.heard == ["cleaned up"]
    assert stopping.cancelled()
    row = await world.row(slow.address("a"))
    assert row is not None
    assert row.owner == 0, "its claim was given back"


@on_each_store
async def test_a_request_that_waits_for_a_run_that_is_left_behind_is_answered(world: World) -> None:
    """Its turn began before the engine stopped, and found the run in progress afterwards."""
    sink = Collected()
    jobs = (await world.open(app(world, debounce).with_sinks(sink))).handle(debounce)
    await world.run(jobs.add("a", 1))
    flush = world.start(jobs.flush("a"))
    await world.settle()
    world.slow("load", ms=500)
    terminate = world.start(jobs.terminate("a", "end", idempotency_key="once"))
    await world.settle()
    await world.close()
    assert [isinstance(each.result(), Failure) for each in (flush, terminate)] == [True, True]
    assert [told.action for told in sink.of(RequestEnded)] == ["add", "flush", "terminate"]

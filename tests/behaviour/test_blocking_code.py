"""Effects that threads and processes perform."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from contextvars import ContextVar
from datetime import timedelta
from typing import Any
from unittest.mock import ANY

import attrs
import pytest
from process_effects import compute, die, exits, loops, raises, raises_oddly, returns_a_function
from returns.io import IO
from returns.result import Failure, Result, Success

from perdure import App, Do, Limits, Task, TaskContext, attempt, effect, program
from perdure.programs import (
    EffectProcessDied,
    EffectTimeout,
    NotSendable,
    gather,
    is_cancelled,
    run_async,
    run_sync,
)
from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.runtime.tasks import RunContext, run_context
from perdure.values.errors import DefinitionError, HookRaised

TENANT: ContextVar[str] = ContextVar("tenant", default="none")


@attrs.define
class Outside:
    """Services that the effects of threads wait for, and their traces."""

    together: threading.Barrier = attrs.Factory(lambda: threading.Barrier(2))
    begun: threading.Event = attrs.Factory(threading.Event)
    noticed: threading.Event = attrs.Factory(threading.Event)
    may_end: threading.Event = attrs.Factory(threading.Event)
    ended: list[object] = attrs.Factory(list)
    at_once: int = 0
    most: int = 0
    lock: Any = attrs.Factory(threading.Lock)


# ---------------------------------------------------------------- threads
@effect(on="thread")
def meet(services: Outside, _number: int) -> Result[str, str]:
    services.together.wait(60)
    return Success(TENANT.get())


@effect(on="thread")
def alone(services: Outside, number: int) -> IO[int]:
    with services.lock:
        services.at_once += 1
        services.most = max(services.most, services.at_once)
    time.sleep(0)  # another thread may run
    with services.lock:
        services.at_once -= 1
    return IO(number)


@effect(on="thread")
def until_cancelled(services: Outside) -> Result[None, str]:
    services.begun.set()
    while not is_cancelled():
        time.sleep(0.001)
    services.noticed.set()
    services.may_end.wait(60)
    services.ended.append("cancelled")
    return Success(None)


@effect(on="thread")
def broken(_services: object) -> Result[int, str]:
    raise ZeroDivisionError


@effect(on="thread")
def forgets(_services: object) -> Result[int, str]:  # type: ignore[empty-body]  # the mistake
    pass


@effect(on="thread")
def refuses(_services: object) -> Result[int, str]:
    return Failure("no")


def test_threads_run_at_the_same_time_with_the_context_of_the_caller() -> None:
    async def main() -> object:
        TENANT.set("acme")
        return await run_async(gather(meet(1), meet(2)), Outside())

    assert asyncio.run(main()) == Success(("acme", "acme"))


@pytest.mark.parametrize("threads", [1, 2])
def test_so_many_threads_work_at_a_time_and_no_more(threads: int) -> None:
    outside = Outside()

    async def main() -> object:
        runtime = asyncio_runtime(threads=threads)
        return await run_async(gather(*map(alone, range(20))), outside, runtime=runtime)

    assert asyncio.run(main()) == Success(tuple(range(20)))
    assert outside.most <= threads


def test_two_threads_that_wait_for_each_other_need_both() -> None:
    """The limit is the number of threads, and not the number of threads less one."""

    async def main() -> object:
        return await run_async(gather(meet(1), meet(2)), Outside(), runtime=asyncio_runtime(threads=2))

    assert asyncio.run(main()) == Success(("none", "none"))


async def few_steps() -> None:
    """Let each task take some steps."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_a_timeout_waits_for_the_thread_which_learns_of_it() -> None:
    outside = Outside()

    async def main() -> None:
        task = asyncio.create_task(run_async(until_cancelled().timeout("1 ms"), outside))
        await asyncio.to_thread(outside.noticed.wait)
        await few_steps()
        assert not task.done()
        outside.may_end.set()
        assert await task == Failure(EffectTimeout(timedelta(milliseconds=1)))
        assert outside.ended == ["cancelled"]

    asyncio.run(main())


def test_a_cancelled_task_waits_for_its_thread_however_often_it_is_cancelled() -> None:
    outside = Outside()

    async def main() -> None:
        task = asyncio.create_task(run_async(until_cancelled(), outside))
        await asyncio.to_thread(outside.begun.wait)
        for _ in range(3):
            task.cancel()
            await few_steps()
        assert not task.done()
        outside.may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert outside.ended == ["cancelled"]

    asyncio.run(main())


def test_a_call_that_still_waits_for_a_thread_is_cancelled_and_never_made() -> None:
    outside = Outside()
    outside.may_end.set()

    async def main() -> None:
        runtime = asyncio_runtime(threads=1)
        first = asyncio.create_task(run_async(until_cancelled(), outside, runtime=runtime))
        await asyncio.to_thread(outside.begun.wait)
        second = asyncio.create_task(run_async(until_cancelled(), outside, runtime=runtime))
        await few_steps()
        second.cancel()
        await few_steps()
        first.cancel()
        assert await asyncio.gather(first, second, return_exceptions=True) == [ANY, ANY]
        assert outside.ended == ["cancelled"]

    asyncio.run(main())


@pytest.mark.parametrize("run", [lambda made: asyncio.run(run_async(made, None)), lambda made: run_sync(made, None)])
def test_failures_and_defects_are_those_of_any_effect(run: Any) -> None:
    assert run(refuses()) == Failure("no")
    assert isinstance(run(broken()).cause, ZeroDivisionError)
    assert "returned None" in str(run(forgets()).cause)


def test_nothing_is_cancelled_outside_of_a_thread() -> None:
    assert not is_cancelled()


# ---------------------------------------------------------------- processes
def of_processes(made: Any, services: object = None) -> Any:
    return asyncio.run(run_async(made, services))


def test_a_process_computes() -> None:
    ((number, process), *_) = of_processes(gather(compute(7), compute(8))).unwrap()
    assert number == 7
    assert process != os.getpid()


@pytest.mark.parametrize("processes", [1, 2])
def test_so_many_processes_work_at_a_time_and_no_more(processes: int) -> None:
    async def main() -> Any:
        return await run_async(gather(*map(compute, range(6))), None, runtime=asyncio_runtime(processes=processes))

    used = {process for _, process in asyncio.run(main()).unwrap()}
    assert 1 <= len(used) <= processes


def test_the_death_of_a_process_is_a_defect_of_its_effect_and_of_no_other() -> None:
    async def main() -> tuple[Any, Any]:
        return await asyncio.gather(run_async(die(), None), run_async(compute(7), None))

    died, computed = asyncio.run(main())
    assert isinstance(died.cause, EffectProcessDied)
    assert died.cause.function == "die"
    assert computed.unwrap()[0] == 7


def test_a_process_that_exits_does_not_end_this_one() -> None:
    cause = of_processes(exits()).cause
    assert isinstance(cause, RuntimeError)
    assert "SystemExit(3)" in str(cause)


def test_an_exception_brings_the_traceback_of_its_process() -> None:
    cause = of_processes(raises(0)).cause
    assert isinstance(cause, ZeroDivisionError)
    assert "1 // number" in "".join(cause.__notes__)


def test_an_exception_that_cannot_be_pickled_keeps_its_text() -> None:
    assert "NeverPickled" in str(of_processes(raises_oddly()).cause)


@pytest.mark.parametrize(
    ("made", "services", "unsent"),
    [
        (compute(1), threading.Lock(), "the services or the arguments"),
        (returns_a_function(), None, "the result"),
    ],
)
def test_values_that_cannot_be_sent_are_named(made: Any, services: object, unsent: str) -> None:
    cause = of_processes(made, services).cause
    assert isinstance(cause, NotSendable)
    assert cause.what == unsent


def test_a_timeout_kills_the_process() -> None:
    assert of_processes(loops().timeout("300 ms")) == Failure(EffectTimeout(timedelta(milliseconds=300)))


# ---------------------------------------------------------------- definitions, simulations, engines
async def asynchronous(_services: object) -> Result[int, str]:
    return Success(1)


def inside() -> Any:
    def hidden(_services: object) -> Result[int, str]:
        return Success(1)

    return hidden


@pytest.mark.parametrize(
    ("place", "function", "wanted"),
    [
        ("thread", asynchronous, "async def"),
        ("process", asynchronous, "async def"),
        ("process", inside(), "a function of a module"),
        ("gpu", asynchronous, "'thread' or 'process'"),
    ],
)
def test_a_function_that_cannot_be_performed_there_is_refused(place: Any, function: Any, wanted: str) -> None:
    with pytest.raises(DefinitionError, match=wanted):
        effect(on=place)(function)


def test_a_simulation_performs_them_at_once_in_its_own_thread() -> None:
    assert run_sync(compute(7), None) == Success((7, os.getpid()))
    assert run_sync(meet(1), Outside(together=threading.Barrier(1))) == Success("none")


@effect(on="thread")
def read_run(services: Outside, _event: int) -> Result[None, str]:
    services.ended.append(run_context.get())
    return Success(None)


@program
def on_event(ctx: TaskContext[int], event: int) -> Do[None, Any]:
    match event:
        case 0:
            yield from read_run(event)
        case 1:
            yield from die().provide(None)
        case _:
            yield from alone(event)
    yield from ctx.update_state(lambda state: state + 1)


counter: Any = Task("counter", state=int, event=int, initial=0, on_event=on_event)


def sent(outside: Outside, *events: int, threads: int = 32) -> list[Any]:
    """Send events together, each to an instance of its own, through the default engine."""

    async def main() -> list[Any]:
        async with App(outside, limits=Limits(threads=threads)).with_jobs(counter).open("memory://") as jobs:
            calls = [jobs.handle(counter).send(f"{place}", event) for place, event in enumerate(events)]
            return list(await asyncio.gather(*map(attempt, calls)))

    return asyncio.run(main())


def test_a_thread_knows_the_run_of_its_effect() -> None:
    outside = Outside()
    sent(outside, 0)
    (run,) = outside.ended
    assert isinstance(run, RunContext)
    assert (run.job, run.id, run.hook) == ("task:counter", "0", "on_event")


def test_an_engine_outlives_the_processes_of_its_effects() -> None:
    died, counted = sent(Outside(), 1, 2)
    assert isinstance(died.failure(), HookRaised)
    assert "EffectProcessDied" in died.failure().error_type
    assert isinstance(counted, Success)


def test_an_engine_has_the_threads_of_its_limits() -> None:
    outside = Outside()
    assert all(isinstance(each, Success) for each in sent(outside, *range(2, 12), threads=1))
    assert outside.most == 1


def test_a_world_performs_them_in_its_own_thread(perdure_world: Any) -> None:
    with perdure_world(App(Outside()).with_jobs(counter)) as world:
        handle = world.handle(counter)
        world.run(handle.send("a", 2))
        assert world.run(handle.get_state("a")) == 1

"""The contract of a `Runtime`: every scenario runs over asyncio and over the simulation, with the same result."""

import asyncio
import gc
import sys
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.runtime.record import LogRecord, Runtime, SpawnedTask
from perdure.runtime.simulated import SimulatedProcess, Simulation
from perdure.runtime.tasks import Branches

Scenario = Callable[[Runtime], Coroutine[Any, Any, Any]]


def over_asyncio(scenario: Scenario) -> Any:
    return asyncio.run(scenario(asyncio_runtime()))


def over_simulation(scenario: Scenario) -> Any:
    simulation = Simulation(order="fifo")
    return simulation.run(scenario(simulation.runtime))


def over_hosted_simulation(scenario: Scenario) -> Any:
    simulation = Simulation(order="fifo")
    return asyncio.run(simulation.run_hosted(scenario(simulation.runtime)))


def over_a_simulated_process(scenario: Scenario) -> Any:
    simulation = Simulation(order="fifo")
    process = SimulatedProcess(simulation, "process")

    async def in_the_process() -> Any:
        return await process.runtime.spawn(scenario(process.runtime), name="scenario")

    return simulation.run(in_the_process())


@pytest.fixture(params=[over_asyncio, over_simulation, over_hosted_simulation, over_a_simulated_process])
def run(request: pytest.FixtureRequest) -> Callable[[Scenario], Any]:
    return request.param


async def never(runtime: Runtime) -> None:
    await runtime.future()


def test_a_task_returns_the_result_of_its_coroutine(run):
    async def scenario(runtime: Runtime) -> Any:
        async def five() -> int:
            return 5

        task = runtime.spawn(five(), name="five")
        before = task.done()
        return before, await task, task.done(), task.cancelled(), task.result(), task.exception()

    assert run(scenario) == (False, 5, True, False, 5, None)


@pytest.mark.parametrize("run", [over_simulation, over_a_simulated_process])
def test_a_sleep_of_no_time_moves_no_clock(run):
    async def scenario(runtime: Runtime) -> Any:
        before = runtime.monotonic_ms(), runtime.now_ms()
        for delay_ms in (0, -1):
            await runtime.sleep(delay_ms)
        return before == (runtime.monotonic_ms(), runtime.now_ms())

    assert run(scenario)


@pytest.mark.parametrize("begins", ["later", "at once"])
def test_a_task_that_waits_is_kept_without_a_reference(begins):
    async def scenario(runtime: Runtime) -> Any:
        spawn = runtime.spawn if begins == "later" else runtime.spawn_eagerly
        waits = weakref.ref(spawn(never(runtime), name="waits"))
        await runtime.sleep(0)
        gc.collect()
        return waits() is not None

    assert over_asyncio(scenario)  # the simulation keeps its tasks in its order


@pytest.mark.parametrize("begins", ["later", "at once"])
def test_a_task_that_has_ended_is_not_kept(begins):
    async def scenario(runtime: Runtime) -> Any:
        task = (runtime.spawn if begins == "later" else runtime.spawn_eagerly)(runtime.sleep(1), name="ends")
        await task
        ended = weakref.ref(task)
        del task
        await runtime.sleep(0)
        gc.collect()
        return ended() is None

    assert over_asyncio(scenario)


@pytest.mark.parametrize("factory", ["none", "of a tracer"])
def test_an_eager_task_begins_at_once_unless_a_factory_makes_the_tasks(factory):
    async def scenario(runtime: Runtime) -> Any:
        ran: list[str] = []
        loop = asyncio.get_running_loop()

        def make(loop: Any, coroutine: Any, **options: Any) -> Any:
            ran.append("made")
            return asyncio.Task(coroutine, loop=loop, **options)

        async def work() -> None:
            ran.append(asyncio.current_task().get_name())

        if factory != "none":
            loop.set_task_factory(make)
        eager = runtime.spawn_eagerly(work(), name="eager")
        ran.append("next")
        await eager
        await runtime.spawn(work(), name="later")
        return tuple(ran)  # the end of the loop makes further tasks

    eager = ("eager", "next") if sys.version_info >= (3, 12) else ("next", "eager")
    expected = (*eager, "later") if factory == "none" else ("made", "next", "eager", "made", "later")
    assert over_asyncio(scenario) == expected


def test_a_coroutine_that_is_carried_out_begins_at_once_and_continues_when_its_future_is_done(run):
    async def scenario(runtime: Runtime) -> Any:
        seen, first, second = list[object](), runtime.future(), runtime.future()

        async def work() -> None:
            seen.append("begun")
            seen.append(await first)
            try:
                await second
            except KeyError as error:
                seen.append(error.args)

        runtime.carry_out(work(), name="work")
        seen.append("next")
        first.set_result("first")
        second.set_exception(KeyError("second"))
        for _ in range(4):
            await runtime.sleep(0)
        return seen

    assert run(scenario) == ["begun", "next", "first", ("second",)]


def test_a_coroutine_that_is_carried_out_needs_no_task_and_no_reference():
    async def scenario(runtime: Runtime) -> Any:
        ended, awaited = list[str](), runtime.future()

        async def work() -> None:
            await awaited
            ended.append("ended")

        runtime.carry_out(work(), name="work")
        tasks = len(asyncio.all_tasks())
        gc.collect()
        awaited.set_result(None)
        await runtime.sleep(0)
        return tasks, ended

    assert over_asyncio(scenario) == (1, ["ended"])


def test_the_end_of_the_loop_cancels_coroutines_that_are_carried_out_and_lets_them_wait(caplog):
    seen = list[str]()

    async def first(awaited: Any, runtime: Runtime) -> None:
        try:
            await awaited
            seen.append("answered")
        finally:
            cleaned = runtime.future()
            runtime.call_soon(lambda: cleaned.set_result(None))
            await cleaned
            seen.append("first")

    async def second(awaited: Any, runtime: Runtime) -> None:
        try:
            await runtime.future()
        finally:
            awaited.set_result(None)  # the first one's callback is due when its cancellation comes
            seen.append("second")

    async def begin() -> None:
        runtime = asyncio_runtime()
        awaited = runtime.future()
        runtime.carry_out(first(awaited, runtime), name="first")
        runtime.carry_out(second(awaited, runtime), name="second")

    with asyncio.Runner() as runner:
        runner.run(begin())
        assert seen == []
    assert seen == ["second", "first"]
    assert caplog.records == []


def test_the_current_task_is_the_one_that_runs_also_after_an_eager_one(run):
    async def scenario(runtime: Runtime) -> Any:
        async def inner() -> Any:
            before = runtime.current_task()
            await runtime.sleep(0)
            return before, runtime.current_task()

        async def outer() -> Any:
            before = runtime.current_task()
            eager = runtime.spawn_eagerly(inner(), name="inner")
            after = runtime.current_task()
            return before is after, [each is eager for each in await eager]

        return await runtime.spawn(outer(), name="outer")

    assert run(scenario) == (True, [True, True])


def test_a_task_raises_the_error_of_its_coroutine_at_each_await(run):
    async def scenario(runtime: Runtime) -> Any:
        async def fail() -> None:
            raise KeyError("k")

        task = runtime.spawn(fail(), name="fail")
        for _ in range(2):
            with pytest.raises(KeyError):
                await task
        return type(task.exception()), task.cancelled()

    assert run(scenario) == (KeyError, False)


def test_a_cancellation_is_raised_at_the_await(run):
    async def scenario(runtime: Runtime) -> Any:
        seen: list[str] = []

        async def work() -> None:
            try:
                await never(runtime)
            finally:
                seen.append("finally")

        task = runtime.spawn(work(), name="work")
        await runtime.sleep(0)
        asked = task.cancel()
        with pytest.raises(runtime.cancelled):
            await task
        return seen, asked, task.cancel(), task.cancelled(), task.cancelling()

    assert run(scenario) == (["finally"], True, False, True, 1)


def test_a_task_cancelled_before_its_first_step_never_runs(run):
    async def scenario(runtime: Runtime) -> Any:
        seen: list[str] = []

        async def work() -> None:
            seen.append("ran")

        task = runtime.spawn(work(), name="work")
        task.cancel()
        with pytest.raises(runtime.cancelled):
            await task
        return seen

    assert run(scenario) == []


def test_a_cancellation_may_be_swallowed_and_taken_back(run):
    async def scenario(runtime: Runtime) -> Any:
        async def stubborn() -> int:
            try:
                await never(runtime)
            except runtime.cancelled:
                runtime.current_task().uncancel()
            return 1

        task = runtime.spawn(stubborn(), name="stubborn")
        await runtime.sleep(0)
        task.cancel()
        return await task, task.cancelled(), task.cancelling()

    assert run(scenario) == (1, False, 0)


def test_a_finalizer_may_wait_while_it_is_being_cancelled(run):
    async def scenario(runtime: Runtime) -> Any:
        seen: list[str] = []

        async def work() -> None:
            try:
                await never(runtime)
            finally:
                await runtime.sleep(1)
                seen.append("released")

        task = runtime.spawn(work(), name="work")
        await runtime.sleep(0)
        task.cancel()
        with pytest.raises(runtime.cancelled):
            await task
        return seen, task.cancelled()

    assert run(scenario) == (["released"], True)


def test_cancelling_a_waiter_cancels_the_task_it_waits_for(run):
    async def scenario(runtime: Runtime) -> Any:
        inner = runtime.spawn(never(runtime), name="inner")

        async def wait() -> None:
            await inner

        outer = runtime.spawn(wait(), name="outer")
        await runtime.sleep(0)
        await runtime.sleep(0)
        outer.cancel()
        with pytest.raises(runtime.cancelled):
            await outer
        return inner.cancelled(), outer.cancelled()

    assert run(scenario) == (True, True)


def test_a_cancellation_that_comes_with_the_answer_wins(run):
    async def scenario(runtime: Runtime) -> Any:
        future = runtime.future()

        async def wait() -> int:
            return await future

        task = runtime.spawn(wait(), name="wait")
        await runtime.sleep(0)
        future.set_result(1)
        task.cancel()
        with pytest.raises(runtime.cancelled):
            await task
        return task.cancelled()

    assert run(scenario) is True


def test_a_task_that_cancels_itself_in_its_last_step_is_cancelled(run):
    async def scenario(runtime: Runtime) -> Any:
        async def work() -> int:
            runtime.current_task().cancel()
            return 1

        task = runtime.spawn(work(), name="work")
        with pytest.raises(runtime.cancelled):
            await task
        return task.cancelled()

    assert run(scenario) is True


def test_a_task_that_cancels_itself_is_cancelled_at_its_next_await(run):
    async def scenario(runtime: Runtime) -> Any:
        seen: list[str] = []

        async def work() -> None:
            runtime.current_task().cancel()
            seen.append("before")
            await never(runtime)
            seen.append("after")

        task = runtime.spawn(work(), name="work")
        with pytest.raises(runtime.cancelled):
            await task
        return seen

    assert run(scenario) == ["before"]


def test_a_future_is_answered_once(run):
    async def scenario(runtime: Runtime) -> Any:
        future = runtime.future()
        runtime.call_soon(lambda: future.set_result("answer"))
        first = await future
        with pytest.raises(Exception, match=r".*"):
            future.set_result("another")
        return first, await future, future.cancel(), future.cancelled()

    assert run(scenario) == ("answer", "answer", False, False)


def test_a_step_ends_after_the_steps_that_are_ready_also_if_all_tasks_are_cancelled(run):
    async def scenario(runtime: Runtime) -> list[str]:
        seen = list[str]()

        async def step(name: str) -> None:
            seen.append(name)
            runtime.at_step_end(lambda: seen.append(f"end of {name}"))
            runtime.current_task().cancel()
            await runtime.sleep(0)

        for name in ("a", "b"):
            runtime.spawn(step(name), name=name)
        for _ in range(4):
            await runtime.sleep(0)
        return seen

    assert run(scenario) == ["a", "b", "end of a", "end of b"]


def test_a_future_that_is_failed_raises_in_every_waiter(run):
    async def scenario(runtime: Runtime) -> Any:
        future = runtime.future()

        async def wait() -> str:
            try:
                await future
            except KeyError:
                return "raised"
            return "answered"

        tasks = [runtime.spawn(wait(), name=f"wait {n}") for n in range(2)]
        await runtime.sleep(0)
        future.set_exception(KeyError("k"))
        return [await task for task in tasks]

    assert run(scenario) == ["raised", "raised"]


def test_done_callbacks_are_called_soon_and_can_be_removed(run):
    async def scenario(runtime: Runtime) -> Any:
        seen: list[str] = []

        async def work() -> None:
            return None

        def remove_me(_: object) -> None:
            seen.append("removed one")

        task = runtime.spawn(work(), name="work")
        task.add_done_callback(lambda done: seen.append(f"first {done is task}"))
        task.add_done_callback(remove_me)
        removed = task.remove_done_callback(remove_me)
        await task
        await runtime.sleep(0)
        task.add_done_callback(lambda _: seen.append("late"))
        at_once = list(seen)
        await runtime.sleep(0)
        return removed, at_once, seen

    assert run(scenario) == (1, ["first True"], ["first True", "late"])


def test_timers_come_in_order_and_a_cancelled_one_never(run):
    async def scenario(runtime: Runtime) -> Any:
        seen: list[str] = []
        runtime.call_later(30, lambda: seen.append("later"))
        runtime.call_later(1, lambda: seen.append("sooner"))
        runtime.call_later(2, lambda: seen.append("never")).cancel()
        await runtime.sleep(60)
        return seen

    assert run(scenario) == ["sooner", "later"]


def test_sleep_takes_time_and_the_clocks_agree(run):
    async def scenario(runtime: Runtime) -> Any:
        wall, monotonic = runtime.now_ms(), runtime.monotonic_ms()
        await runtime.sleep(20)
        return runtime.monotonic_ms() - monotonic >= 19, runtime.now_ms() - wall >= 15, type(wall)

    assert run(scenario) == (True, True, int)


def test_random_is_a_fraction_and_ids_are_uuid7_in_order(run):
    async def scenario(runtime: Runtime) -> Any:
        drawn = [runtime.random() for _ in range(20)]
        ids = [runtime.new_id() for _ in range(200)]
        assert all(0 <= number < 1 for number in drawn)
        assert len(set(drawn)) > 1
        assert all(one >> 76 & 0xF == 7 and one >> 62 & 0b11 == 0b10 for one in ids)
        assert abs((ids[0] >> 80) - runtime.now_ms()) < 5_000
        assert ids == sorted(set(ids))

    run(scenario)


def test_log_does_not_raise(run):
    async def scenario(runtime: Runtime) -> None:
        runtime.log(LogRecord("debug", "a sentence", {"key": 1}))

    run(scenario)


def test_branches_end_in_order_and_none_outlives_the_block(run):
    async def scenario(runtime: Runtime) -> Any:
        seen: list[str] = []

        async def quick() -> str:
            return "quick"

        async def slow() -> str:
            try:
                await never(runtime)
            finally:
                await runtime.sleep(1)
                seen.append("slow is released")
            return "slow"

        rest: list[SpawnedTask[str]] = []
        async with Branches[str](runtime, rest.append) as branches:
            branches.start(slow(), name="slow")
            branches.start(quick(), name="quick")
            first = await branches.next_ended()
        return first.result(), [task.cancelled() for task in rest], seen

    assert run(scenario) == ("quick", [True], ["slow is released"])


def test_a_waiter_cancelled_while_it_leaves_its_branches_waits_for_them_all_the_same(run):
    async def scenario(runtime: Runtime) -> Any:
        seen: list[str] = []

        async def slow() -> None:
            try:
                await never(runtime)
            finally:
                await runtime.sleep(5)
                seen.append("released")

        async def waiter() -> None:
            async with Branches[None](runtime) as branches:
                branches.start(slow(), name="slow")
                await runtime.sleep(0)

        task = runtime.spawn(waiter(), name="waiter")
        await runtime.sleep(2)
        task.cancel()
        with pytest.raises(runtime.cancelled):
            await task
        return seen

    assert run(scenario) == ["released"]


def test_keyboard_interrupt_leaves_the_run(run):
    async def scenario(runtime: Runtime) -> None:
        async def interrupted() -> None:
            raise KeyboardInterrupt

        await runtime.spawn(interrupted(), name="interrupted")

    with pytest.raises(KeyboardInterrupt):
        run(scenario)

"""An engine rests when it has had no work for a while, and has none for as long."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from returns.future import FutureResult

from perdure import Alarm, App, Client, Decision, Do, Task, TaskContext, program
from perdure.client.local_gateway import engine_of
from perdure.engine.loops.upkeep import Resting, RestWhenIdle
from perdure.programs import sleep
from perdure.runtime.simulated import Simulation
from perdure.stores.contract import Store, overlay
from perdure.stores.memory import memory_store
from perdure.stores.values import JobWork, StoredWork

IDLE_MS, AT_MOST_MS = 60_000, 600_000
REST = RestWhenIdle(IDLE_MS, AT_MOST_MS)


@program
def work(ctx: TaskContext[int]) -> Do[None, object, object]:
    yield from sleep("10 seconds")
    yield from ctx.terminate()


def decide(_: int, event: int) -> Decision[int]:
    """Set an alarm after a number of milliseconds."""
    return Decision(event, alarm=Alarm.after(f"{event} ms"))


timers = Task("timers", state=int, event=int, initial=0, decide=decide, execute=work)
app = App(None).with_jobs(timers)


def found(
    before: Callable[[Client], Awaitable[object]],
    requests_ms: Callable[[float], list[float]] = lambda _: [],
    given: Callable[[Store], Store] = lambda store: store,
) -> tuple[Resting, int]:
    """Return the rest that an engine finds after some requests, and how long it took to find it."""
    simulation = Simulation()
    runtime = simulation.runtime

    async def main() -> tuple[Resting, int]:
        async with app.open(given(memory_store()), runtime=runtime) as jobs:
            await before(jobs)
            began_ms = runtime.monotonic_ms()
            rest = await engine_of(jobs).until_idle(REST, lambda: requests_ms(runtime.monotonic_ms() - began_ms))
            return rest, round(runtime.monotonic_ms() - began_ms)

    try:
        return simulation.run(main())
    finally:
        simulation.close()


async def nothing(_: Client) -> None:
    pass


def alarm_in(delay_ms: int) -> Callable[[Client], Awaitable[object]]:
    return lambda jobs: jobs.handle(timers).send("a", delay_ms)


def test_an_engine_without_work_rests_after_the_idle_time() -> None:
    rest, after_ms = found(nothing)
    assert (rest.for_ms, after_ms) == (AT_MOST_MS, IDLE_MS)
    assert rest.reason == "no work for 1m"


def test_a_rest_ends_with_the_next_alarm() -> None:
    rest, after_ms = found(alarm_in(3 * IDLE_MS))
    assert (rest.for_ms, after_ms) == (2 * IDLE_MS, IDLE_MS)


def test_an_alarm_that_is_due_within_the_idle_time_prevents_a_rest() -> None:
    assert found(alarm_in(2 * IDLE_MS))[0].for_ms == IDLE_MS
    # One that is due a millisecond earlier fires first. Its run lasts 10 seconds, and then the idle time begins.
    rest, after_ms = found(alarm_in(2 * IDLE_MS - 1))
    assert rest.for_ms == AT_MOST_MS
    assert after_ms >= 2 * IDLE_MS - 1 + 10_000 + IDLE_MS


def test_work_of_a_held_job_wakes_no_engine() -> None:
    async def held(jobs: Client) -> None:
        await jobs.handle(timers).send("a", 5_000)
        await jobs.handle(timers).hold()

    assert found(held)[0].for_ms == AT_MOST_MS


@pytest.mark.parametrize("length_ms", [1, 5 * IDLE_MS])
def test_the_idle_time_begins_with_the_end_of_the_last_request(length_ms: int) -> None:
    rest, after_ms = found(nothing, lambda now_ms: [min(now_ms, length_ms), 0.0])
    assert after_ms == length_ms + IDLE_MS
    assert rest.for_ms == AT_MOST_MS


@pytest.mark.parametrize("kind_of_work", ["queued", "due", "messages", "running"])
def test_work_in_the_store_prevents_a_rest_whichever_engine_has_it(kind_of_work: str) -> None:
    def once(store: Store) -> Store:
        looks: list[int] = []

        def work(_: object, until_ms: int, __: int, /) -> FutureResult[StoredWork, Any]:
            looks.append(until_ms)
            one = JobWork(kind="task", name="timers", **{kind_of_work: int(len(looks) == 1)})
            return FutureResult.from_value(StoredWork(jobs=(one,)))

        return overlay(store, counts=overlay(store.counts, work=work))

    rest, after_ms = found(nothing, given=once)
    assert (rest.for_ms, after_ms) == (AT_MOST_MS, 2 * IDLE_MS)

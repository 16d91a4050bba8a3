"""The additions of the simulation to the contract: virtual clocks, chosen interleavings, reports instead of hangs."""

import asyncio
import itertools
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.runtime.record import AlreadyDone, Deadlock, Livelock, LogRecord, WouldBlock
from perdure.runtime.simulated import Simulation

START = datetime(2026, 3, 1, tzinfo=UTC)
START_MS = int(START.timestamp() * 1000)


def interleaving(simulation: Simulation, tasks: int = 4, steps: int = 3) -> list[int]:
    """Say in which order the steps of some tasks were taken."""
    order: list[int] = []

    async def work(number: int) -> None:
        for _ in range(steps):
            order.append(number)
            await simulation.runtime.sleep(0)

    async def main() -> None:
        running = [simulation.runtime.spawn(work(number), name=f"work {number}") for number in range(tasks)]
        for task in running:
            await task

    simulation.run(main())
    return order


def world(seed: int) -> tuple[Any, ...]:
    """Gather everything that is drawn."""
    simulation = Simulation(seed=seed)
    order = interleaving(simulation)
    runtime = simulation.runtime
    return order, [runtime.random() for _ in range(3)], [runtime.new_id() for _ in range(3)], simulation.now_ms


@given(st.integers(min_value=0, max_value=10_000))
def test_one_seed_is_one_history(seed):
    assert world(seed) == world(seed)


def test_seeds_differ_in_their_interleavings():
    assert len({tuple(interleaving(Simulation(seed=seed))) for seed in range(20)}) > 10


def test_fifo_is_round_robin():
    assert interleaving(Simulation(order="fifo"), tasks=3, steps=2) == [0, 1, 2, 0, 1, 2]


def test_run_jumps_over_a_year_of_waiting():
    simulation = Simulation(start=START)
    year_ms = 365 * 86_400_000

    async def wait() -> int:
        await simulation.runtime.sleep(year_ms)
        return simulation.runtime.now_ms()

    assert simulation.run(wait()) == START_MS + year_ms


def test_settle_moves_nothing_and_advance_fires_due_alarms():
    simulation = Simulation(start=START)
    seen: list[int] = []

    async def tick() -> None:
        while True:
            await simulation.runtime.sleep(10)
            seen.append(simulation.now_ms - START_MS)

    simulation.runtime.spawn(tick(), name="tick")
    simulation.settle()
    assert seen == []
    simulation.advance(35)
    assert seen == [10, 20, 30]
    assert simulation.now_ms == START_MS + 35
    simulation.advance_to(START_MS + 40)
    assert seen == [10, 20, 30, 40]
    simulation.close()


def test_a_wall_clock_that_jumps_back_does_not_delay_timers():
    simulation = Simulation(start=START)

    async def wait() -> tuple[int, float]:
        await simulation.runtime.sleep(1_000)
        return simulation.now_ms - START_MS, simulation.runtime.monotonic_ms()

    simulation.shift_wall_clock(-5_000)
    assert simulation.run(wait()) == (-4_000, 1_000)


def test_ids_stay_in_order_when_the_clock_jumps_back():
    simulation = Simulation(start=START)
    first = simulation.runtime.new_id()
    simulation.shift_wall_clock(-60_000)
    assert simulation.runtime.new_id() > first


def test_a_deadlock_names_the_waiting_tasks():
    simulation = Simulation()

    async def wait() -> None:
        await simulation.runtime.future()

    async def main() -> None:
        await simulation.runtime.spawn(wait(), name="the waiter")

    with pytest.raises(Deadlock, match="the waiter waits for <future, pending>"):
        simulation.run(main())
    simulation.close()


def test_a_loop_that_never_lets_time_pass_is_stopped():
    simulation = Simulation(max_steps=100)

    async def spin() -> None:
        while True:
            await simulation.runtime.sleep(0)

    with pytest.raises(Livelock, match="main"):
        simulation.run(spin())
    simulation.close()


def test_a_foreign_awaitable_would_block_at_its_await():
    simulation = Simulation()
    loop = asyncio.new_event_loop()
    foreign = loop.create_future()

    async def wait() -> str:
        try:
            await foreign
        except WouldBlock as refused:
            return str(refused)
        return "answered"

    assert simulation.run(wait()).startswith("task 'main' waits for <Future pending")
    loop.close()


def test_an_exception_without_a_reader_is_reported():
    simulation = Simulation()

    async def fail(name: str) -> None:
        raise KeyError(name)

    async def main() -> None:
        simulation.runtime.spawn(fail("lost"), name="lost")
        seen = simulation.runtime.spawn(fail("seen"), name="seen")
        with pytest.raises(KeyError):
            await seen
        await simulation.runtime.sleep(1)

    simulation.run(main())
    assert [(lost.task, str(lost.exception)) for lost in simulation.unhandled] == [("lost", "'lost'")]


def test_logs_are_kept():
    simulation = Simulation()
    record = LogRecord("info", "a sentence", {"key": 1})
    simulation.runtime.log(record)
    assert simulation.logs == [record]


def test_a_future_read_too_early_raises():
    future = Simulation().runtime.future()
    with pytest.raises(AlreadyDone, match="before it is done"):
        future.result()


def test_a_naive_start_is_refused():
    with pytest.raises(ValueError, match="aware datetime"):
        Simulation(start=datetime(2026, 1, 1))  # noqa: DTZ001


def test_run_inside_a_task_is_refused():
    simulation = Simulation()

    async def inner() -> None:
        return None

    async def outer() -> None:
        coroutine = inner()
        try:
            simulation.run(coroutine)
        finally:
            coroutine.close()

    with pytest.raises(RuntimeError, match="inside"):
        simulation.run(outer())


def hosted(seed: int) -> list[str]:
    """Let three tasks of a simulation wait for real things, in a real event loop."""
    simulation = Simulation(seed=seed)
    seen: list[str] = []

    async def work(name: str) -> None:
        for step in range(3):
            assert await asyncio.to_thread(str.upper, name) == name.upper()
            seen.append(f"{name}{step}")
            await simulation.runtime.sleep(1_000)

    async def main() -> None:
        for task in [simulation.runtime.spawn(work(name), name=name) for name in "abc"]:
            await task

    asyncio.run(simulation.run_hosted(main()))
    return seen


def test_hosted_waits_for_real_things_in_an_order_of_the_seed():
    histories = {seed: hosted(seed) for seed in range(6)}
    assert all(
        sorted(seen) == sorted(f"{name}{step}" for name in "abc" for step in range(3)) for seen in histories.values()
    )
    assert len({tuple(seen) for seen in histories.values()}) > 1
    assert hosted(3) == histories[3]


def test_hosted_raises_the_error_of_the_real_awaitable_where_it_is_awaited():
    async def main() -> str:
        try:
            await asyncio.to_thread(int, "no number")
        except ValueError:
            return "raised"
        return "answered"

    assert asyncio.run(Simulation().run_hosted(main())) == "raised"


def test_cancelling_the_host_cancels_the_awaited_future_and_is_raised():
    released: list[str] = []

    async def main() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            released.append("released")

    async def host() -> None:
        task = asyncio.ensure_future(Simulation().run_hosted(main()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(host())
    assert released == ["released"]


def test_cancelling_a_task_that_waits_for_the_host_reaches_it():
    simulation = Simulation(order="fifo")
    foreign: list[asyncio.Future[None]] = []

    async def wait() -> None:
        foreign.append(asyncio.get_running_loop().create_future())
        await foreign[0]

    async def main() -> bool:
        task = simulation.runtime.spawn(wait(), name="wait")
        await simulation.runtime.sleep(0)
        task.cancel()
        with pytest.raises(simulation.runtime.cancelled):
            await task
        return task.cancelled() and foreign[0].cancelled()

    assert asyncio.run(simulation.run_hosted(main()))


def test_ids_leave_room_to_count_up_from() -> None:
    simulation = Simulation(seed=1)
    ids = [simulation.runtime.new_id() for _ in range(1_000)]
    assert all(later - earlier >= 1_000 for earlier, later in itertools.pairwise(ids))


def test_run_until_stops_as_soon_as_it_is_so_and_says_when_it_cannot_be():
    simulation = Simulation(start=START)
    rung: list[int] = []
    for seconds in (1, 2, 3):
        simulation.runtime.call_later(seconds * 1_000, lambda: rung.append(simulation.now_ms - START_MS))
    assert simulation.run_until(lambda: len(rung) == 2, within_ms=5_000)
    assert (rung, simulation.now_ms - START_MS) == ([1_000, 2_000], 2_000)
    assert not simulation.run_until(lambda: len(rung) == 3, within_ms=999)
    assert not simulation.run_until(lambda: len(rung) == 4, within_ms=60_000)
    assert rung == [1_000, 2_000, 3_000]


def test_run_until_lets_the_hosting_loop_answer():
    simulation = Simulation()

    async def waits_for_the_host() -> str:
        await asyncio.sleep(0)
        await simulation.runtime.sleep(10)
        return "answered"

    async def main() -> str:
        task = simulation.runtime.spawn(waits_for_the_host(), name="waits")
        assert not await simulation.run_until_hosted(task.done, within_ms=9)
        assert await simulation.run_until_hosted(task.done, within_ms=1)
        return task.result()

    assert asyncio.run(main()) == "answered"


def test_alarms_due_while_the_process_was_stalled_fire_at_once():
    simulation = Simulation(start=START)
    rung: list[int] = []
    simulation.runtime.call_later(1_000, lambda: rung.append(simulation.now_ms - START_MS))
    simulation.stand_still(60_000)
    assert rung == []
    simulation.settle()
    assert rung == [60_000]


def test_outgoing_messages_that_wait_are_dropped_as_well():
    simulation = Simulation()
    left: list[str] = []

    async def work() -> None:
        try:
            await simulation.runtime.future()
        finally:
            left.append("first")
            try:
                await simulation.runtime.sleep(1)
            finally:
                left.append("second")

    simulation.runtime.spawn(work(), name="work")
    simulation.settle()
    simulation.close()
    assert left == ["first", "second"]

"""What wakes an engine that has nothing to do: its housekeeping, every ten minutes, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from recording import Recorder, open_recorded

from costs import Change, batches, clock, order_job
from perdure import App
from perdure.runtime.record import Runtime
from perdure.runtime.simulated import Simulation

MINUTE_MS = 60_000


def watched(runtime: Runtime, woken: list[int]) -> Runtime:
    """Note when a timer goes off."""

    async def sleep(delay_ms: float) -> None:
        await runtime.sleep(delay_ms)
        if delay_ms > 0:
            woken.append(runtime.now_ms())

    def call_later(delay_ms: float, function: Callable[[], object]) -> Any:
        def call() -> None:
            woken.append(runtime.now_ms())
            function()

        return runtime.call_later(delay_ms, call)

    return attrs.evolve(runtime, sleep=sleep, call_later=call_later)


def wake_ups(folder: Path, *besides: str) -> tuple[int, int]:
    """Let an engine be idle after an event; return how often it woke in nine minutes, and in an hour."""
    simulation, recorder, woken = Simulation(order="fifo"), Recorder(f"idle-{folder}"), list[int]()

    async def idle() -> tuple[int, int]:
        runtime = watched(simulation.runtime, woken)
        store = await open_recorded(folder / "jobs.db", recorder, runtime=runtime)
        async with App(object()).with_jobs(order_job, clock, batches).open(store, runtime=runtime) as jobs:
            await jobs.handle(order_job).send("a", Change(besides=besides))
            await simulation.runtime.sleep(1)
            woken.clear()
            await simulation.runtime.sleep(9 * MINUTE_MS)
            soon = len(woken)
            await simulation.runtime.sleep(51 * MINUTE_MS)
            return soon, len(woken)

    try:
        return simulation.run(idle())
    finally:
        simulation.close()
        recorder.unregister()


def test_an_engine_without_alarms_does_not_wake_but_for_its_housekeeping(tmp_path: Path) -> None:
    assert wake_ups(tmp_path) == (0, 6)


def test_an_alarm_far_away_costs_a_look_at_the_clock_a_minute(tmp_path: Path) -> None:
    assert wake_ups(tmp_path, "distant alarm") == (9, 60 + 6)

"""A process inside a simulation: tasks that are frozen, resumed or killed together, with clocks of their own."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Literal, TypeVar

import attrs

from perdure.runtime.record import LogRecord, Runtime, Timer
from perdure.runtime.simulated import Simulation
from perdure.runtime.simulated_task import SimulatedCall, SimulatedFuture, SimulatedTask

T = TypeVar("T")

ProcessState = Literal["runs", "frozen", "killed"]


@attrs.define(eq=False)
class _ProcessTimer:
    """A timer that can be cancelled also when it has expired during a freeze."""

    function: Callable[[], None] | None
    timer: Timer | None = None

    def fire(self) -> None:
        if self.function is not None:
            self.function()

    def cancel(self) -> None:
        self.function = None
        if self.timer is not None:
            self.timer.cancel()


class SimulatedProcess:
    """A group of tasks of one simulation, such as the engine of one machine among several.

    It can be frozen between any two of its steps: then neither its tasks nor its timers run, as in a stopped process,
    while the rest of the simulation continues. Once it is killed, none of them ever runs again.

    Args:
        simulation: schedules the steps of all processes.
        name: the prefix of the names of its tasks.
        skew_ms: how much its wall clock is ahead.
        drift: how much faster its monotonic clock runs: 0.01 means by one percent.

    Attributes:
        runtime: the `Runtime` for the code of this process.
        state: whether its tasks run.
        logs: its log records, in order.
    """

    def __init__(self, simulation: Simulation, name: str, *, skew_ms: int = 0, drift: float = 0.0) -> None:
        self.name = name
        self.state: ProcessState = "runs"
        self.logs: list[LogRecord] = []
        self._simulation = simulation
        self._skew_ms = skew_ms
        self._speed = 1.0 + drift
        self._tasks: dict[SimulatedTask[Any], None] = {}
        self._held: list[Callable[[], object]] = []
        self._late: list[Callable[[], None]] = []
        self.runtime: Runtime = attrs.evolve(
            simulation.runtime,
            now_ms=self._now_ms,
            monotonic_ms=self._monotonic_ms,
            sleep=self._sleep,
            call_later=self._call_later,
            call_soon=self.call_soon,
            at_step_end=self._at_step_end,
            future=self._future,
            spawn=self._start,
            log=self.logs.append,
        )

    @property
    def alive(self) -> tuple[SimulatedTask[Any], ...]:
        """The tasks that have not ended."""
        return tuple(task for task in self._tasks if not task.done())

    # ---- the interface for tests

    def freeze(self) -> None:
        """Stop all tasks and timers at their current step."""
        if self.state == "runs":
            self.state = "frozen"
            ready = self._simulation.ready
            self._held += [partial(ready, task) for task in self._simulation.withdraw(self._tasks)]

    def thaw(self) -> None:
        """Continue after a freeze. Timers that expired meanwhile fire soon, perhaps after the next steps of tasks."""
        if self.state == "frozen":
            self.state = "runs"
            held, self._held = self._held, []
            late, self._late = self._late, []
            for function in late:
                self._call_later(self._simulation.runtime.random(), function)
            for continue_ in held:
                self._run(continue_)

    def freeze_for(self, duration_ms: float) -> None:
        """Freeze, and thaw after this many milliseconds of the simulation."""
        self.freeze()
        self._simulation.runtime.call_later(duration_ms, self.thaw)

    def kill(self) -> None:
        """End the process at its current step: nothing of it ever runs again, not even a ``finally`` block."""
        self.freeze()
        self.state = "killed"
        self._held.clear()
        self._late.clear()

    def close(self) -> None:
        """Drop its tasks. Their `finally` blocks run until their first await."""
        self.kill()
        tasks, self._tasks = self._tasks, {}
        for task in tasks:
            self._simulation.drop(task)

    # ---- the scheduler's interface for its tasks

    def ready(self, task: SimulatedTask[Any]) -> None:
        """Add the task to those that can take their next step."""
        self._run(lambda: self._simulation.ready(task))

    def call_soon(self, function: Callable[[], object]) -> object:
        """Call `function` before any further step."""
        return self._simulation.call_soon(lambda: self._run(function))

    def task_failed(self, task: SimulatedTask[Any]) -> None:
        """Record that the task raised."""
        self._simulation.task_failed(task)

    # ---- the record

    def _run(self, function: Callable[[], object]) -> None:
        if self.state == "runs":
            function()
        elif self.state == "frozen":
            self._held.append(function)

    def _now_ms(self) -> int:
        return self._simulation.now_ms + self._skew_ms

    def _monotonic_ms(self) -> float:
        return self._simulation.runtime.monotonic_ms() * self._speed

    def _call_later(self, delay_ms: float, function: Callable[[], None]) -> Timer:
        timer = _ProcessTimer(function)
        timer.timer = self._simulation.runtime.call_later(delay_ms / self._speed, lambda: self._fire(timer))
        return timer

    def _fire(self, timer: _ProcessTimer) -> None:
        if self.state == "frozen":
            self._late.append(timer.fire)
        elif self.state == "runs":
            timer.fire()

    def _future(self) -> SimulatedFuture[Any]:
        return SimulatedFuture(self)

    def _start(self, coroutine: Coroutine[Any, Any, T], name: str) -> SimulatedTask[T]:
        task = SimulatedTask(self, coroutine, f"{self.name}: {name}")
        self._add(task)
        return task

    def _at_step_end(self, function: Callable[[], None]) -> None:
        self._add(SimulatedCall(self, function, f"{self.name}: end of a step"))

    def _add(self, task: SimulatedTask[Any]) -> None:
        if len(self._tasks) > 2 * len(self.alive) + 64:
            self._tasks = dict.fromkeys(self.alive)
        self._tasks[task] = None
        self._simulation.adopt(task)
        self.ready(task)

    async def _sleep(self, delay_ms: float) -> None:
        if delay_ms <= 0:
            await self._simulation.runtime.sleep(0)
            return
        waking: SimulatedFuture[None] = SimulatedFuture(self)
        timer = self._call_later(delay_ms, lambda: None if waking.done() else waking.set_result(None))
        try:
            await waking
        finally:
            timer.cancel()

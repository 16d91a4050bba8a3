"""A seeded, deterministic runtime: virtual clocks, chosen interleavings, no event loop.

A `SimulatedProcess` is a process inside a simulation: tasks that are frozen, resumed or killed together, with their own
clocks.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Container, Coroutine, Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from types import coroutine
from typing import Any, Literal, TypeVar

import attrs

from perdure.runtime.record import Deadlock, Livelock, LogRecord, Runtime, SpawnedTask, Timer, perform_here
from perdure.runtime.simulated_task import SimulatedCall, SimulatedCancellation, SimulatedFuture, SimulatedTask

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Schedule = Callable[[Callable[[], object]], object]


@attrs.define(eq=False)
class SimulatedTimer:
    """A call that is scheduled for the time `at_ms` on the monotonic clock."""

    at_ms: float
    function: Callable[[], object] | None

    def cancel(self) -> None:
        """Cancel the call."""
        self.function = None


class SimulatedClock:
    """A wall clock and a monotonic one: they move together, and the wall clock can be made to jump.

    Args:
        ties: draws an order for timers with the same time. None keeps the order in which they were set.
    """

    def __init__(self, start: datetime, ties: random.Random | None) -> None:
        if start.tzinfo is None:
            raise ValueError(f"the start of a simulation must be an aware datetime, got {start!r}; add tzinfo=UTC")
        self.monotonic_ms = 0.0
        self._wall_at_zero_us = (start - _EPOCH) // _MICROSECOND
        self._timers: list[tuple[float, float, int, SimulatedTimer]] = []
        self._sequence = count()
        # In a seeded simulation, timers that are due at the same time fire in a random order.
        self._ties = ties
        self._seen_ms = -1.0

    def wall_us(self) -> int:
        """The wall clock, in microseconds since 1970 UTC."""
        return self._wall_at_zero_us + int(self.monotonic_ms * 1_000)

    def wall_ms(self) -> int:
        """The wall clock, in milliseconds since 1970 UTC."""
        return self.wall_us() // 1_000

    def shift_wall(self, delta_ms: int) -> None:
        """Make the wall clock jump."""
        self._wall_at_zero_us += delta_ms * 1_000

    def advance_to(self, at_ms: float) -> None:
        """Move the monotonic clock, never backwards."""
        self.monotonic_ms = max(self.monotonic_ms, at_ms)

    @property
    def timers(self) -> tuple[str, ...]:
        """Return the function names of all set timers."""
        live = [timer for *_, timer in self._timers if timer.function is not None]
        return tuple(f"a timer of {getattr(timer.function, '__qualname__', timer.function)!s}" for timer in live)

    def has_not_moved(self) -> bool:
        """Return whether the clock has not moved since the previous call."""
        before_ms, self._seen_ms = self._seen_ms, self.monotonic_ms
        return before_ms == self.monotonic_ms

    def call_later(self, delay_ms: float, function: Callable[[], object]) -> SimulatedTimer:
        """Set a timer that expires after `delay_ms` milliseconds."""
        # A negative delay is due now: the clock never goes back.
        timer = SimulatedTimer(self.monotonic_ms + max(0.0, delay_ms), function)
        tie = self._ties.random() if self._ties is not None else 0.0
        # The sequence decides between equal ties: a timer itself cannot be compared.
        heapq.heappush(self._timers, (timer.at_ms, tie, next(self._sequence), timer))
        return timer

    def jump_to_next_timer(self, schedule: Schedule, *, until_ms: float = float("inf")) -> bool:
        """Move to the next timer, if it is not after `until_ms`, and pass the due calls to `schedule`.

        Returns:
            False when there is no such timer. Then the clock did not move.
        """
        self._drop_cancelled()
        if not self._timers or self._timers[0][0] > until_ms:
            return False
        self.advance_to(self._timers[0][0])
        self.fire_due(schedule)
        return True

    def fire_due(self, schedule: Schedule) -> None:
        """Pass the due calls to `schedule`."""
        while self._timers and self._timers[0][0] <= self.monotonic_ms:
            timer = heapq.heappop(self._timers)[-1]
            if timer.function is not None:
                schedule(timer.function)

    def _drop_cancelled(self) -> None:
        while self._timers and self._timers[0][-1].function is None:
            heapq.heappop(self._timers)


T = TypeVar("T")

Order = Literal["seeded", "fifo"]
"""Which of several ready tasks runs next: one drawn from the seed, or the one that waited longest."""

ID_ROOM = 1 << 32
"""How many numbers after an id are reserved, so that its owner may count up from it."""

_START = datetime(2026, 1, 1, tzinfo=UTC)


@attrs.frozen
class Unhandled:
    """A task that raised an exception that no code read."""

    task: str
    exception: BaseException


class Simulation:
    """A deterministic environment in which coroutines run against a `Runtime`.

    Args:
        seed: the seed for every random choice.
        start: the initial wall clock, an aware datetime.
        order: which ready task runs next, if there are several.
        max_steps: how many steps the tasks may take while the clock does not move, before the run raises `Livelock`.

    Attributes:
        runtime: the `Runtime` for the code that runs here.
        logs: the log records, in order.
        before_step: called before each task step, when no call is due: a test asserts an invariant there.
    """

    def __init__(
        self, *, seed: int = 0, start: datetime = _START, order: Order = "seeded", max_steps: int = 10_000_000
    ) -> None:
        # One source for the order of steps, jitter and ids: a seed must reproduce all of a run.
        self._random = random.Random(seed)  # noqa: S311 - reproducible on purpose, not for secrets
        self._order: Order = order
        self._clock = SimulatedClock(start, self._random if order == "seeded" else None)
        self._calls: deque[Callable[[], object]] = deque()
        self._ready: list[SimulatedTask[Any]] = []
        self._alive: dict[SimulatedTask[Any], None] = {}
        self._failed: list[SimulatedTask[Any]] = []
        self._current: SimulatedTask[Any] | None = None
        self._steps = 0
        self._max_steps = max_steps
        self._last_id = 0
        self.logs: list[LogRecord] = []
        self.before_step: Callable[[], None] | None = None
        self.runtime: Runtime = self._make_runtime()

    # ---- the interface for tests

    @property
    def now_ms(self) -> int:
        """The virtual wall clock, in milliseconds since 1970 UTC."""
        return self._clock.wall_ms()

    @property
    def now(self) -> datetime:
        """The virtual wall clock, to the microsecond."""
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=self._clock.wall_us())

    @property
    def unhandled(self) -> tuple[Unhandled, ...]:
        """The tasks' exceptions that no code read."""
        return tuple(
            Unhandled(task.name, exception)
            for task in self._failed
            if not task.retrieved and (exception := task.peek_exception()) is not None
        )

    @property
    def blocked(self) -> tuple[str, ...]:
        """A line for each waiting task."""
        return tuple(f"{task.name} waits for {task.waiting_for!r}" for task in self._alive if task.waiting_for)

    @property
    def alive(self) -> tuple[SimulatedTask[Any], ...]:
        """The tasks that have not ended."""
        return tuple(self._alive)

    @property
    def timers(self) -> tuple[str, ...]:
        """A line for each timer that is set."""
        return self._clock.timers

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run `coroutine` to its end. The clock jumps to the next timer whenever no task can run.

        Other tasks that have not ended by then continue with the next call.

        Raises:
            Deadlock: every task waits and no timer is set.
            Livelock: the tasks run forever while the clock does not move.
            RuntimeError: it is called from inside a simulation task.
            BaseException: raised by `coroutine`.
        """
        if self._current is not None:
            raise RuntimeError("run() was called from inside a task of the simulation; await the coroutine there")
        # In a task like all others, so that its order is drawn too.
        main = self._start(coroutine, name="main")
        while not main.done():
            # Only when no task can run: the clock moves from one timer to the next.
            if not self._advance_one() and not self._clock.jump_to_next_timer(self._calls.append):
                raise Deadlock(self.blocked)
        return main.result()

    async def run_hosted(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run `coroutine` as `run` does, inside a real event loop that resolves awaitables from outside the simulation.

        Tasks may await real I/O (a database on a thread, for example). The simulation waits for one such await at a
        time, in an order drawn from the seed, so that the same seed still causes the same interleaving. Real I/O must
        not depend on another simulation task, and `asyncio.current_task` is the hosting task.

        Raises:
            Deadlock: every task waits, none for real I/O, and no timer is set.
            BaseException: raised by `coroutine`, or the hosting task's cancellation.
        """
        main = self._start(coroutine, name="main")
        while not main.done():
            task = self._next_step()
            if task is not None:
                await self._host(task)
            elif not self._clock.jump_to_next_timer(self._calls.append):
                raise Deadlock(self.blocked)
        return main.result()

    def run_until(self, reached: Callable[[], bool], *, within_ms: float) -> bool:
        """Run until a condition holds. The clock jumps to the next timer whenever no task can run.

        Args:
            reached: the condition, called before each step.
            within_ms: how far the clock may move meanwhile, in milliseconds. With 0 it does not move.

        Returns:
            Whether the condition holds. If not, the clock has moved all the way, and every task waits.
        """
        until_ms = self._clock.monotonic_ms + within_ms
        while not reached():
            if self._advance_one() or reached():
                continue
            if not self._clock.jump_to_next_timer(self._calls.append, until_ms=until_ms):
                # At the limit exactly: the caller reads the clock afterwards.
                self._clock.advance_to(until_ms)
                return False
        return True

    async def run_until_hosted(self, reached: Callable[[], bool], *, within_ms: float) -> bool:
        """Run as `run_until` does, inside a real event loop that resolves awaitables from outside the simulation."""
        until_ms = self._clock.monotonic_ms + within_ms
        while not reached():
            task = self._next_step()
            if task is not None:
                await self._host(task)
            elif not reached() and not self._clock.jump_to_next_timer(self._calls.append, until_ms=until_ms):
                self._clock.advance_to(until_ms)
                return False
        return True

    def stand_still(self, duration_ms: float) -> None:
        """Advance both clocks while no task runs, like a stopped process or a sleeping machine.

        Timers that expire meanwhile are due at once afterwards.
        """
        self._clock.advance_to(self._clock.monotonic_ms + duration_ms)

    def settle(self) -> None:
        """Run until every task waits. The clock does not move."""
        while self._advance_one():
            pass

    def advance(self, duration_ms: float) -> None:
        """Advance both clocks, firing the timers on the way and running tasks at each timer.

        Args:
            duration_ms: milliseconds, not negative.
        """
        until_ms = self._clock.monotonic_ms + duration_ms
        # Before the first timer: tasks that are ready may set one that is due earlier.
        self.settle()
        while self._clock.jump_to_next_timer(self._calls.append, until_ms=until_ms):
            self.settle()
        self._clock.advance_to(until_ms)

    def advance_to(self, instant_ms: int) -> None:
        """Advance until the wall clock shows `instant_ms` (milliseconds since 1970 UTC)."""
        self.advance(instant_ms - self.now_ms)

    @contextmanager
    def aside(self) -> Generator[None]:
        """Keep the code in the block from drawing from the seed, so that an observer does not change the run."""
        # Otherwise, looking at a run would change it, and a failure would not reproduce with its log.
        before = self._random.getstate()
        try:
            yield
        finally:
            self._random.setstate(before)

    def shift_wall_clock(self, delta_ms: int) -> None:
        """Make the wall clock jump, forward or backward. Timers follow the monotonic clock and are not affected."""
        self._clock.shift_wall(delta_ms)

    def close(self) -> None:
        """Drop every task at its current await. Their `finally` blocks run until their first await."""
        # Emptied first: a `finally` block may start a task, which must not be closed twice.
        alive, self._alive = self._alive, {}
        self._ready.clear()
        for task in alive:
            task.close()

    # ---- the scheduler's interface for tasks

    def ready(self, task: SimulatedTask[Any]) -> None:
        """Add the task to those that can take their next step."""
        self._ready.append(task)

    def call_soon(self, function: Callable[[], object]) -> object:
        """Call `function` before any further step. Such calls are first in, first out."""
        self._calls.append(function)
        return None

    def task_failed(self, task: SimulatedTask[Any]) -> None:
        """Record that the task raised, for `unhandled`."""
        self._failed.append(task)

    # ---- the interface for its processes

    def adopt(self, task: SimulatedTask[Any]) -> None:
        """Count a process's task among those that have not ended."""
        self._alive[task] = None

    def begin(self, task: SimulatedTask[Any]) -> None:
        """Take the first step of a process's task immediately, inside the present step."""
        self._step(task)

    def withdraw(self, tasks: Container[SimulatedTask[Any]]) -> list[SimulatedTask[Any]]:
        """Remove a process's tasks from those that can take their next step, and return them."""
        withdrawn = [task for task in self._ready if task in tasks]
        self._ready[:] = [task for task in self._ready if task not in tasks]
        return withdrawn

    def drop(self, task: SimulatedTask[Any]) -> None:
        """Drop a process task at its current await."""
        self._alive.pop(task, None)
        task.close()

    # ---- the trampoline

    def _start(self, coroutine: Coroutine[Any, Any, T], name: str) -> SimulatedTask[T]:
        task = SimulatedTask(self, coroutine, name)
        self._alive[task] = None
        self._ready.append(task)
        return task

    def _at_step_end(self, function: Callable[[], None]) -> None:
        call = SimulatedCall(self, function, "end of a step")
        self._alive[call] = None
        self._ready.append(call)

    def _start_eagerly(self, coroutine: Coroutine[Any, Any, T], name: str) -> SimulatedTask[T]:
        task = SimulatedTask(self, coroutine, name)
        self._alive[task] = None
        self._step(task)
        return task

    def _carry_out(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._start_eagerly(work, name)

    def _advance_one(self) -> bool:
        task = self._next_step()
        if task is None:
            return False
        self._step(task, task.refuse_foreign() if task.foreign is not None else None)
        return True

    def _next_step(self) -> SimulatedTask[Any] | None:
        # Before each step: a step may have moved the clock.
        self._clock.fire_due(self._calls.append)
        # All of them before any step, as `call_soon` promises.
        while self._calls:
            self._calls.popleft()()
        if self.before_step is not None:
            self.before_step()
        if not self._ready:
            return None
        self._guard_against_livelock()
        if self._order == "fifo":
            return self._ready.pop(0)
        index = int(self._random.random() * len(self._ready))
        # Swapped with the last one: removing from the middle costs the length of the list at each step.
        self._ready[index], self._ready[-1] = self._ready[-1], self._ready[index]
        return self._ready.pop()

    def _step(self, task: SimulatedTask[Any], thrown: BaseException | None = None, sent: object = None) -> None:
        # Restored afterwards: a task may take the first step of another one inside its own.
        around, self._current = self._current, task
        try:
            task.step(thrown, sent=sent)
        finally:
            self._current = around
            if task.done():
                self._alive.pop(task, None)

    async def _host(self, task: SimulatedTask[Any]) -> None:
        foreign = task.foreign
        if foreign is None or task.must_cancel:
            self._step(task)
            return
        try:
            answer = await _hand_to_the_host(foreign.awaited)
        except BaseException as exception:  # noqa: BLE001 - any exception belongs to the task that awaits it
            # Stepped below, outside of the handler: otherwise it would be the context of exceptions in the task.
            failure = exception
        else:
            self._step(task, sent=answer)
            return
        self._step(task, failure)

    def _guard_against_livelock(self) -> None:
        # Only while the clock stands: a long run that makes progress has any number of steps.
        self._steps = self._steps + 1 if self._clock.has_not_moved() else 0
        if self._steps > self._max_steps:
            raise Livelock(self._steps, tuple(task.name for task in self._ready))

    # ---- the record

    def _make_runtime(self) -> Runtime:
        return Runtime(
            now_ms=self._clock.wall_ms,
            monotonic_ms=lambda: self._clock.monotonic_ms,
            sleep=self._sleep,
            call_later=self._clock.call_later,
            call_soon=self.call_soon,
            at_step_end=self._at_step_end,
            future=self._future,
            spawn=self._start,
            spawn_eagerly=self._start_eagerly,
            carry_out=self._carry_out,
            current_task=self._current_task,
            random=self._random.random,
            new_id=self._new_id,
            log=self.logs.append,
            watch_loop=_watch_nothing,
            elsewhere=perform_here,
            cancelled=SimulatedCancellation,
        )

    def _future(self) -> SimulatedFuture[Any]:
        return SimulatedFuture(self)

    async def _sleep(self, delay_ms: float) -> None:
        if delay_ms <= 0:
            await _yield_to_others()
            return
        waking: SimulatedFuture[None] = SimulatedFuture(self)

        def wake() -> None:
            if not waking.done():
                waking.set_result(None)

        timer = self._clock.call_later(delay_ms, wake)
        try:
            await waking
        finally:
            timer.cancel()

    def _current_task(self) -> SpawnedTask[Any]:
        if self._current is None:
            raise RuntimeError("current_task was called outside of any task of the simulation")
        return self._current

    def _new_id(self) -> int:
        """Return a UUIDv7 (RFC 9562, 5.7) that sorts after the previous one, even if the clock goes back."""
        version_and_variant = 7 << 76 | 2 << 62
        drawn = self._random.getrandbits(12) << 64 | self._random.getrandbits(62)
        # Rising, also when a test moves the clock back: event logs are ordered by id.
        self._last_id = max(self.now_ms << 80 | version_and_variant | drawn, self._last_id + ID_ROOM)
        return self._last_id


def _watch_nothing(_limit_ms: float, _began: object, _ended: object, /) -> SimulatedTimer:
    return SimulatedTimer(0, None)


@coroutine
def _hand_to_the_host(awaited: object) -> Generator[object, Any, Any]:
    """Yield to the hosting event loop the value that a simulation task yielded: the loop resolves it."""
    return (yield awaited)


@coroutine
def _yield_to_others() -> Generator[None, None, None]:
    """Let the other ready tasks run."""
    yield


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
    """A task group in a simulation, such as one machine's engine among several.

    It can be frozen between any two steps: then neither its tasks nor its timers run, as in a stopped process, while
    the rest of the simulation continues. Once it is killed, its tasks and timers never run again.

    Args:
        simulation: schedules all processes' steps.
        name: the prefix for task names.
        skew_ms: how much its wall clock is ahead.
        drift: how much faster its monotonic clock runs: 0.01 means by one percent.

    Attributes:
        runtime: the `Runtime` for this process's code.
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
        # Its own clocks and tasks: everything else, such as the random source, is the simulation's.
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
            spawn_eagerly=self._start_eagerly,
            carry_out=self._carry_out,
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
        """Continue after a freeze. Timers that expired meanwhile fire soon, perhaps after tasks take a next step."""
        if self.state == "frozen":
            self.state = "runs"
            held, self._held = self._held, []
            late, self._late = self._late, []
            for function in late:
                # Late and in a random order: after a freeze, tasks may see the time before their timers have fired.
                self._call_later(self._simulation.runtime.random(), function)
            for continue_ in held:
                self._run(continue_)

    def freeze_for(self, duration_ms: float) -> None:
        """Freeze, and thaw after this many simulated milliseconds."""
        self.freeze()
        self._simulation.runtime.call_later(duration_ms, self.thaw)

    def kill(self) -> None:
        """End the process at its current step: none of its code ever runs again, not even a ``finally`` block."""
        self.freeze()
        # First: a timer that expires now must find the process killed.
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
        # Only the speed differs: a monotonic clock has no common zero.
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

    def _start_eagerly(self, coroutine: Coroutine[Any, Any, T], name: str) -> SimulatedTask[T]:
        task = SimulatedTask(self, coroutine, f"{self.name}: {name}")
        self._note(task)
        self._simulation.begin(task)
        return task

    def _carry_out(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._start_eagerly(work, name)

    def _add(self, task: SimulatedTask[Any]) -> None:
        self._note(task)
        self.ready(task)

    def _note(self, task: SimulatedTask[Any]) -> None:
        # Ended tasks are removed in bulk, so that a long simulation stays small without a search for each.
        if len(self._tasks) > 2 * len(self.alive) + 64:
            self._tasks = dict.fromkeys(self.alive)
        self._tasks[task] = None
        self._simulation.adopt(task)

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

"""A world for an app: a store that outlives workers, a virtual clock, faults, and one worker after the other."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

import attrs
from returns.future import FutureResult
from returns.result import Failure, Success

from perdure.app import App, with_services
from perdure.client.client import Client
from perdure.client.gateway import attempt
from perdure.jobs.call import Call
from perdure.jobs.definition import AnyDefinition, Definition
from perdure.programs.future import awaited
from perdure.runtime.record import LogRecord, Sizes, SpawnedTask
from perdure.stores.contract import Store, load_one
from perdure.stores.memory.opening import backend_of_blocks
from perdure.stores.values import LoggedEvent, Query
from perdure.testing.fault import Fault
from perdure.testing.world.boundary import (
    InMemory,
    Interleaving,
    Opener,
    PendingFault,
    Requests,
    backend_of,
    crossing_of,
)
from perdure.testing.world.clock import Clock
from perdure.testing.world.errors import NotAtRest, NoWorker, UnansweredCall, UnexpectedSuccess
from perdure.testing.world.recording import (
    RecordedCall,
    Reproduction,
    Timeline,
    Watcher,
    WorldConfig,
    format_timeline,
    recording_death,
)
from perdure.testing.world.trace import EffectCall, TimePassed, TraceEvent, WorkerClosed
from perdure.testing.world.worker import AtEnd, CurrentGateway, Worker, Workers, come_to_rest
from perdure.values.event import Event
from perdure.values.instance import Instance
from perdure.values.message import StoredMessage
from perdure.values.times import Duration, duration_ms, format_duration

A = TypeVar("A")
E = TypeVar("E", bound=Exception)

PATIENCE: Final[Duration] = "2 days"
"""How far the virtual clock may move before a call must have returned."""


@attrs.frozen
class PendingCall(Generic[A, E]):
    """A call that `World.start` made: it continues whenever the world runs.

    Attributes:
        task: the caller's task, which ends with the result. Cancelling it cancels the caller.
    """

    task: SpawnedTask[Success[A] | Failure[E]]
    _worker: Worker
    _line: RecordedCall
    _script: Reproduction

    @property
    def is_answered(self) -> bool:
        """Return whether the call has returned."""
        return self.task.done()

    def result(self, *, patience: Duration = PATIENCE) -> Success[A] | Failure[E]:
        """Wait for the result, as a ``Success`` or a ``Failure``.

        Args:
            patience: how far the virtual clock may move meanwhile.

        Raises:
            WorkerDied: the worker died first.
            UnansweredCall: the call did not return in that time.
        """
        return self.ended(self._script.did_with(self._line, "result"), patience=patience)

    def answer(self, *, patience: Duration = PATIENCE) -> A:
        """Wait for the result and return its value.

        Args:
            patience: how far the virtual clock may move meanwhile.

        Raises:
            E: the call's error.
            WorkerDied: the worker died first.
            UnansweredCall: the call did not return in that time.
        """
        match self.ended(self._script.did_with(self._line, "answer"), patience=patience):
            case Success(answer):
                return answer
            case Failure(error):
                raise error

    def give_up(self) -> None:
        """Cancel the caller: a request that is still queued is withdrawn.

        Raises:
            WorkerDied: the worker died meanwhile.
        """
        line = self._script.did_with(self._line, "give_up")
        self.task.cancel()
        with recording_death(line):
            self._worker.settle()

    def ended(self, line: RecordedCall, *, patience: Duration = PATIENCE) -> Success[A] | Failure[E]:
        """Wait for the result, and record in the reproduction how the call ended. Otherwise it does as `result`."""
        patience_ms = duration_ms(patience, what="patience of a call", minimum_ms=0)
        with recording_death(line):
            answered = self._worker.wait_for(self.task.done, patience_ms)
        if not answered:
            raise UnansweredCall(format_duration(patience_ms), self._worker.simulation.blocked)
        self._worker.settle_quietly()
        result = self.task.result()
        if not isinstance(result, Success):
            line.ended = "failed"
        return result


H = TypeVar("H")
R = TypeVar("R")

_FOREVER_MS: Final = 1 << 52

_OFF: Final = frozenset({"0", "false", "f", "no", "n", "off"})
"""The value of the environment variable that disables the debug mode."""

WORLD_WATCHERS: Final[list[Callable[[World], Watcher]]] = []
"""Returns a watcher for each new world: a test run uses it to observe all worlds."""


class World:
    """The real engine, client and store, with simulated time and randomness.

    Use it as ``with World(app, services) as world:``, which opens the first worker. All methods are synchronous: a test
    needs no event loop. The clock moves only while the test waits.

    Args:
        app: the app that the workers run.
        services: the programs' services in this world: your fakes, which replace the app's own services.
        store: where the data is stored: ``memory://``, a SQLite file's path, another store's URL, or a function that
            opens a store.
        seed: determines interleavings, jitter and ids. The same seed reproduces the same history.
        clock: the clock, if fake services need the time. By default a new one.
        interleaving: where the seed may run other tasks first: between turns, or at every store operation as well.
        requests: how loads and commits reach the store: ``single``, or ``grouped`` as the engine sends them to a real
            store, so that simultaneous requests share rows and groups.
        debug: whether the world raises `HookBug` when a hook builds a program and never runs it, or changes a state or
            an event in place. By default yes, unless the environment variable ``PERDURE_DEBUG`` is 0.
        at_end: the action when the ``with`` block ends: ``check`` calls `finish`, ``leave`` drops the worker unchecked.

    Raises:
        DefinitionError: the services lack one that a job needs, or the store is not valid.
    """

    def __init__(
        self,
        app: App[R],
        services: R | None = None,
        *,
        store: str | os.PathLike[str] | Opener = "memory://",
        seed: int = 0,
        clock: Clock | None = None,
        interleaving: Interleaving = "turns",
        requests: Requests = "single",
        at_end: AtEnd = "check",
        debug: bool | None = None,
    ) -> None:
        self.app: App[Any] = app if services is None else with_services(app, services)
        self.seed = seed
        self.at_end = at_end
        self.clock = clock or Clock()
        self._start_ms = self.clock.now_ms
        # An argument wins over the environment: a test that needs the checks has them everywhere.
        debug = os.environ.get("PERDURE_DEBUG", "1").lower() not in _OFF if debug is None else debug
        self._workers = Workers(
            backend=backend_of(store),
            clock=self.clock,
            timeline=lambda: self.timeline,
            seed=seed,
            interleaving=interleaving,
            requests=requests,
            debug=debug,
        )
        config = WorldConfig(
            app=app,
            services=services,
            seed=seed,
            store=store,
            interleaving=interleaving,
            requests=requests,
            start=self.clock.now,
            debug=debug,
        )
        self.timeline = Timeline(lambda: self.clock.now_ms, Reproduction(config, self._workers.caller))
        for watcher_of in WORLD_WATCHERS:
            self.watch(watcher_of(self))

    def __enter__(self) -> Self:
        if self._workers.latest is None:
            self._workers.open(self.app)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if isinstance(error, Exception):
                error.add_note(self.trace_text())
            # Not after another error: the world may be in any state then, and a second failure would hide the first.
            if error is None:
                self.finish()
        finally:
            self.leave()

    def finish(self) -> None:
        """Clear all faults, run all started work to its end, stop the worker, and check that nothing remains.

        No alarm fires and no message is delivered meanwhile. If no worker is open, or an earlier one is stalled,
        nothing is checked.

        Raises:
            NotAtRest: a caller has no result, or a mailbox, a concurrency slot, a timer or a task remains.
        """
        if self.at_end == "leave" or not self.is_open or self._workers.usurped:
            return
        # A call that a fault holds would never end, and the world could not come to rest.
        self._clear()
        self._workers.survive()
        try:
            come_to_rest(self.worker)
        except NotAtRest as remains:
            remains.add_note(self.trace_text())
            raise
        self.worker.simulation.close()
        # The last steps may have found one: a mistake must not be lost because the test ended.
        self.worker.raise_mistake()
        self._workers.forget()

    def leave(self) -> None:
        """End all workers, however the test ended."""
        self._workers.leave()

    # ------------------------------------------------------------ workers
    def open(self, app: App[Any] | None = None) -> Client:
        """Open the next worker over the stored data.

        Args:
            app: the app, as after a deploy. By default the previous worker's app.

        Returns:
            Its client.

        Raises:
            WorkerRunning: another worker is open.
            WorkerDied: it died meanwhile, as arranged.
        """
        line = self._did("open")
        if app is not None and not self.is_open:
            self.app = app
            line.arguments = (app,)
        with recording_death(line):
            return self._workers.open(self.app)

    def close(self) -> None:
        """Stop the worker gracefully: runs may end within the shutdown timeout, the others release their claims.

        Raises:
            WorkerDied: it died meanwhile.
        """
        worker = self._workers.living("close()")
        with recording_death(self._did("close")):
            worker.close()
        self.timeline.note(WorkerClosed())
        self._workers.forget()

    def crash(self) -> None:
        """Kill the worker at its current step: later operations reach neither the store nor a service."""
        worker = self._workers.known("crash()")
        self._did("crash")
        worker.crash()
        # A killed process closes nothing: the next worker finds a store that was not closed.
        self._workers.left = "died"
        self._workers.forget()

    def take_over_from_stalled(self) -> Client:
        """Open the next worker while this one is stalled, like a process that lost its lock meanwhile.

        This is not possible over a SQLite file: a suspended process keeps its lock.

        Returns:
            The next worker's client.

        Raises:
            StoreError: the store does not permit a second owner.
            WorkerDied: the next worker died while it opened.
        """
        # Kept: its tasks are to continue later, when another worker owns the store.
        self._workers.usurped.append(self._workers.living("take_over_from_stalled()"))
        line = self._did("take_over_from_stalled")
        self._workers.forget()
        with recording_death(line):
            return self._workers.open(self.app)

    def resume_stalled(self) -> None:
        """Continue stalled workers whose store was taken over. Their operations must have no effect.

        Raises:
            WorkerDied: the open worker died meanwhile.
        """
        with recording_death(self._did("resume_stalled")):
            self._workers.wake()
            self._workers.living("resume_stalled()").settle()

    def restart(self, app: App[Any] | None = None) -> Client:
        """Close the worker gracefully, and open the next one.

        Raises:
            WorkerDied: the worker died while it closed, and none is open, or the next one died while it opened.
        """
        self.close()
        return self.open(app)

    def crash_after(self, crash_points: int) -> None:
        """Make the worker die at a crossing: before or after a store operation or an effect.

        The method during which it dies raises `WorkerDied`, unless the call returned before. If no worker is open, the
        next one dies.

        Args:
            crash_points: how many more crossings the worker makes before it dies.
        """
        self._did("crash_after", crash_points)
        self._workers.die_after(crash_points)

    def cancel_crash(self) -> None:
        """Undo a `crash_after` that did not take effect."""
        self._did("cancel_crash")
        self._workers.survive()

    @property
    def jobs(self) -> Client:
        """The open worker's client.

        Raises:
            NoWorker: none is open.
        """
        return self._workers.jobs

    @property
    def worker(self) -> Worker:
        """The worker that is open, or has just died.

        Raises:
            NoWorker: there is none.
        """
        return self._workers.known("worker")

    @property
    def is_open(self) -> bool:
        """Return whether a worker is open and alive."""
        return self._workers.is_open

    @property
    def crash_points(self) -> tuple[str, ...]:
        """The crossings that the worker's store operations and effects have made, such as ``before commit``."""
        return tuple(self.worker.boundary.crash_points)

    # ------------------------------------------------------------ calls
    def handle(self, definition: Definition[H, Any, Any], /) -> H:
        """Return a job's typed handle. It outlives crashes: each call goes to the worker that is open then.

        Raises:
            UnknownJob: the app does not serve that definition.
        """
        # Refused now if the app does not serve it, and not at the first call.
        self.jobs.handle(definition)
        return definition.handle(CurrentGateway(lambda: self.jobs))

    def run(self, call: Coroutine[Any, Any, A], /, *, patience: Duration = PATIENCE) -> A:
        """Make a call, settle, and return its answer, or raise its error, as ``await`` does in a program.

        Args:
            call: a handle's call, such as ``world.handle(orders).send("order-1", event)``, or a test's coroutine, which
                runs among the worker's tasks.
            patience: how far the virtual clock may move before the call returns.

        Raises:
            Exception: the call's error: ``Rejected``, ``InvalidInput``, ``OutcomeUnknown`` and so on.
            WorkerDied: the worker died first.
            UnansweredCall: the call did not return in that time.
        """
        if not isinstance(call, Call):
            return self._finished(call, patience)
        made: Call[A, Exception] = call  # pyright: ignore[reportUnknownVariableType] - of any error
        match self._ended("run", made, patience):
            case Success(answer):
                return answer
            case Failure(error):
                raise error

    def attempt(self, call: Call[A, E], /, *, patience: Duration = PATIENCE) -> Success[A] | Failure[E]:
        """Make a call, settle, and return how it ended, as a value to ``match`` on.

        Raises:
            WorkerDied: the worker died first.
            UnansweredCall: the call did not return in that time.
        """
        return self._ended("attempt", call, patience)

    def error_of(self, call: Call[Any, E], /) -> E:
        """Make a call that must fail, and return its error.

        Raises:
            UnexpectedSuccess: the call succeeded.
        """
        match self._ended("error_of", call):
            case Success(answer):
                raise UnexpectedSuccess(answer)
            case Failure(error):
                return error

    def start(self, call: Call[A, E], /) -> PendingCall[A, E]:
        """Make a call without waiting for its result. It continues whenever the world runs."""
        return self._call(self._did("start"), call)

    def concurrently(self, *calls: Call[A, E]) -> list[Success[A] | Failure[E]]:
        """Make calls at the same moment and return all results. The seed decides their order."""
        line = self._did("concurrently")
        # All begin before the first is waited for: otherwise they would follow each other.
        begun = [self._call(line, call) for call in calls]
        return [call.ended(line) for call in begun]

    def _finished(self, work: Coroutine[Any, Any, A], patience: Duration) -> A:
        patience_ms = duration_ms(patience, what="patience of a call", minimum_ms=0)
        worker = self._workers.living("run()")
        task = worker.begin(work)
        if not worker.wait_for(task.done, patience_ms):
            blocked = worker.simulation.blocked
            task.cancel()
            worker.settle_quietly()
            raise UnansweredCall(format_duration(patience_ms), blocked)
        worker.settle_quietly()
        return task.result()

    # ------------------------------------------------------------ time
    @property
    def now(self) -> datetime:
        """The wall clock, an aware instant in UTC."""
        return self.clock.now

    @property
    def now_ms(self) -> int:
        """The wall clock, in milliseconds since 1970 UTC."""
        return self.clock.now_ms

    def advance(self, duration: Duration) -> None:
        """Move the clock, and execute everything that is due meanwhile. With no worker open, time passes as well.

        Raises:
            WorkerDied: the worker died meanwhile. The clock has moved all the way.
        """
        self._move("advance", duration_ms(duration, what="duration of advance", minimum_ms=0), duration)

    def advance_to_next_alarm(self) -> timedelta | None:
        """Move the clock to the next stored alarm, and fire it.

        Returns:
            How far the clock moved. None when no alarm is set.

        Raises:
            WorkerDied: the worker died meanwhile. The clock has moved all the way.
        """
        before_ms = self.now_ms
        at_ms = self.inspect(lambda store: store.next_alarm(before_ms))
        if at_ms is None:
            return None
        self._move("advance", at_ms - before_ms, f"{at_ms - before_ms} ms")
        return timedelta(milliseconds=at_ms - before_ms)

    def stall(self, duration: Duration) -> None:
        """Suspend the worker, like a stopped process: time passes, and its timers are late afterwards.

        Raises:
            WorkerDied: the worker died after it continued.
        """
        delay_ms = duration_ms(duration, what="duration of stall", minimum_ms=0)
        worker = self._workers.living("stall()")
        line = self._did("stall", duration)
        self.timeline.note(TimePassed(delay_ms, "stall"))
        worker.simulation.stand_still(delay_ms)
        with recording_death(line):
            worker.settle()

    def shift_wall_clock(self, delta: timedelta) -> None:
        """Make the wall clock jump, forward or backward. Timers follow the monotonic clock and are not affected."""
        self._did("shift_wall_clock", delta)
        self.clock.shift(round(delta / timedelta(milliseconds=1)))

    def settle(self) -> None:
        """Run until every task waits for the clock or for a release.

        Raises:
            WorkerDied: the worker died meanwhile, or before.
        """
        worker = self._workers.living("settle()")
        with recording_death(self._did("settle")):
            worker.settle()

    def _move(self, method: str, by_ms: int, source: Duration) -> None:
        line = self._did(method, source)
        self.timeline.note(TimePassed(by_ms))
        if self._workers.latest is None:
            self.clock.shift(by_ms)
        else:
            with recording_death(line):
                self._workers.latest.advance(by_ms)

    # ------------------------------------------------------------ faults
    def inject(self, *faults: Fault) -> None:
        """Add faults that take effect from now on, in this worker and the next ones."""
        for fault in faults:
            self._did("inject", fault)
            self._workers.faults.append(PendingFault.of(fault))

    def clear_faults(self) -> None:
        """Remove all pending faults, and release all held calls."""
        self._did("clear_faults")
        self._clear()

    def _clear(self) -> None:
        self._workers.faults.clear()
        if self._workers.latest is not None:
            self._workers.latest.boundary.release_all()

    def release(self, at: str, /) -> None:
        """Release the calls that a `Hang` holds at a location: an effect by its name, or ``store.commit``.

        Raises:
            WorkerDied: the worker died meanwhile, or before.
        """
        line = self._did("release", at)
        worker = self._workers.living("release()")
        worker.boundary.release(crossing_of(at))
        with recording_death(line):
            worker.settle()

    # ------------------------------------------------------------ inspection
    @property
    def store(self) -> Store:
        """The store, without faults.

        Raises:
            NoWorker: none is open.
        """
        store = self.worker.store
        if store is None:
            raise NoWorker("store")
        return store

    def inspect(self, read: Callable[[Store], FutureResult[A, Any]], /) -> A:
        """Read the store, without faults, after settling. It does not change later events.

        Raises:
            WorkerDied: the worker died before it settled.
        """
        if self.is_open:
            self.settle()
        found: A = self.worker.look(awaited(read(self.store))).unwrap()
        return found

    def instance(self, definition: AnyDefinition, id_: str, /) -> Instance | None:
        """Return the stored instance, or None."""
        return self.inspect(lambda store: load_one(store, definition.address(id_), None, 0)).instance

    def instances(self) -> tuple[Instance, ...]:
        """Return every stored instance, at most 1,000."""
        return self.inspect(lambda store: store.find(Query(limit=1_000)))

    def history(self, definition: AnyDefinition, id_: str, /) -> tuple[Any, ...]:
        """Return an instance's newest 1,000 events, the newest first, as `Client.history` does."""
        logged: tuple[LoggedEvent, ...] = self.inspect(
            lambda store: store.history(definition.address(id_), None, 1_000)
        )
        return tuple(entry.event for entry in logged)

    def messages(self) -> tuple[StoredMessage, ...]:
        """Return the first unconsumed message for each (sender, target) pair."""
        return self.inspect(lambda store: store.messages(_FOREVER_MS, 1_000))

    @property
    def logs(self) -> list[LogRecord]:
        """The worker's log records."""
        return self.worker.simulation.logs

    @property
    def effects(self) -> tuple[EffectCall, ...]:
        """Every performed effect, in order, with its arguments and its outcome."""
        return tuple(self.timeline.effects)

    @property
    def events(self) -> tuple[Event, ...]:
        """Every event that was committed to the log, in order."""
        return tuple(self.timeline.events)

    @property
    def trace(self) -> tuple[TraceEvent, ...]:
        """The world's last 2,000 events, in order."""
        return tuple(self.timeline.kept)

    def trace_text(self) -> str:
        """Return the trace, and a test to paste that repeats it."""
        happened = format_timeline(self.timeline, self._start_ms)
        return f"{happened}\n\nTo reproduce:\n\n{self.timeline.script.as_test()}"

    def watch(self, watcher: Watcher, /) -> None:
        """Call ``watcher`` with every event from now on."""
        self.timeline.watchers.append(watcher)

    # ------------------------------------------------------------ within
    def _did(self, method: str, *arguments: object) -> RecordedCall:
        return self.timeline.script.did(method, *arguments)

    def _call(self, line: RecordedCall, call: Call[A, E]) -> PendingCall[A, E]:
        worker = self._workers.living(f"{line.method}()")
        task = worker.begin(attempt(call))
        self.timeline.script.is_made_by(line, call, task)
        return PendingCall(task, worker, line, self.timeline.script)

    def _ended(self, method: str, call: Call[A, E], patience: Duration = PATIENCE) -> Success[A] | Failure[E]:
        line = self._did(method)
        return self._call(line, call).ended(line, patience=patience)


def with_sizes(world: World, sizes: Sizes) -> World:
    """Set the internal sizes for a new world's engines and memory store, in this library's own tests.

    Args:
        world: a world that no worker was opened in.
        sizes: the sizes.
    """
    workers, script = world._workers, world.timeline.script  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - no public parameter
    workers.sizes = sizes
    # A store in memory takes its block size when it is made, so it is made again.
    if isinstance(workers.backend, InMemory):
        workers.backend = InMemory(backend_of_blocks(sizes.memory_block))
    script.config = attrs.evolve(script.config, sizes=sizes)
    return world

"""Several engines on one shared store, in one seeded simulation: with simulated time, freezes and partitions.

A `Cluster` opens the engines of an app on one shared memory store. Each `ClusterEngine` acts as a process on a separate
machine.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar

import attrs
from returns.future import FutureResult
from returns.result import Result, Success

from perdure.app import App, OpenApp, for_tests, with_services
from perdure.client.client import Client
from perdure.client.local_gateway import engine_of
from perdure.jobs.call import Call, result_of
from perdure.jobs.draft import HookBug
from perdure.programs.future import awaited
from perdure.runtime.record import Runtime, Sizes, SpawnedTask
from perdure.runtime.simulated import SimulatedProcess, Simulation
from perdure.stores.contract import Store
from perdure.stores.memory import SharedMemoryBackend
from perdure.stores.values import Query
from perdure.testing.fault import Fault
from perdure.testing.world.boundary import Boundary, PendingFault, Requests, perform_behind, store_behind
from perdure.testing.world.errors import EngineInIllegalState, LegalState
from perdure.testing.world.trace import (
    EffectCall,
    EffectPerformed,
    TraceDetail,
    TraceEvent,
    WorkerClosed,
    WorkerOpened,
    format_trace,
)
from perdure.testing.world.world import PATIENCE
from perdure.values.errors import EnsureFailed, StoreError
from perdure.values.instance import Instance
from perdure.values.times import Duration, duration_ms

__all__ = ["Cluster", "ClusterEngine"]


A = TypeVar("A")
E = TypeVar("E", bound=Exception)


@attrs.define(kw_only=True, eq=False)
class ClusterEngine:
    """One engine, and the simulated process in which it runs.

    Attributes:
        number: counts a cluster's engines, from 1.
        app: the app that it runs.
        process: keeps time and runs the tasks.
        boundary: the way to the store and the services.
        debug: whether it looks for hook mistakes.
        store: the store, without the boundary. None until it is open.
        client: the client. None until it is open.
        mistakes: the hook mistakes that its engine detected.
    """

    number: int
    app: App[Any]
    process: SimulatedProcess
    boundary: Boundary
    debug: bool = True
    store: Store | None = None
    client: Client | None = None
    mistakes: list[HookBug] = attrs.Factory(list[HookBug])
    _legal: LegalState = attrs.field(init=False, factory=LegalState)
    _opening: SpawnedTask[None] | None = None
    _open_app: OpenApp | None = None
    _phase: Literal["open", "closing", "closed"] = "open"

    def assert_legal(self) -> None:
        """Check the engine's state, if it runs.

        Raises:
            EngineInIllegalState: an instance cell breaks a rule.
        """
        if self.client is not None and self.process.state == "runs":  # a freeze holds calls that are due
            self._legal.check(engine_of(self.client))

    # ------------------------------------------------------------ state
    @property
    def is_up(self) -> bool:
        """Return whether it accepts calls, or would if it were not frozen."""
        if self.client is None or self.process.state == "killed" or self._phase != "open":
            return False
        return not engine_of(self.client).stopped.done()

    @property
    def is_over(self) -> bool:
        """Return whether it was killed, was closed, or has stopped itself."""
        if self.process.state == "killed" or self._phase == "closed":
            return True
        return self.client is not None and engine_of(self.client).stopped.done()

    @property
    def epoch(self) -> int:
        """The engine's store epoch. 0 until the store is open."""
        return 0 if self.store is None else self.store.epoch

    # ------------------------------------------------------------ life
    def open(self, backend: SharedMemoryBackend) -> None:
        """Begin to open the store, to recover its share and to accept calls."""
        self._opening = self.process.runtime.spawn(self._open(backend), name="open")

    async def _open(self, backend: SharedMemoryBackend) -> None:
        self.store = backend.open(label=self.process.name)
        self.boundary.note(WorkerOpened(self.store.name, self.store.epoch))
        self._open_app = for_tests(self.app).open(
            store_behind(self.boundary, self.store),
            runtime=self.process.runtime,
            perform=perform_behind(self.boundary),
            debug=self.debug,
            mistake_found=self.mistakes.append,
        )
        try:
            self.client = await self._open_app.__aenter__()
        except (StoreError, EnsureFailed):  # such as OwnershipLost, after a freeze: its process ends
            self._phase = "closed"

    def close(self) -> SpawnedTask[None]:
        """Begin to stop gracefully, and return the task that ends when the engine has stopped."""
        self._phase = "closing"
        return self.process.runtime.spawn(self._close(), name="close")

    async def _close(self) -> None:
        try:
            if self._open_app is not None:
                await self._open_app.__aexit__(None, None, None)
        finally:
            self._phase = "closed"
        self.boundary.note(WorkerClosed())

    def crash(self) -> None:
        """Kill the process at its current step."""
        self.boundary.die("at its current step")
        self.process.kill()

    def drop(self) -> None:
        """End it without a record, at the cluster's end."""
        self.boundary.shut("at its current step")
        self.process.close()

    # ------------------------------------------------------------ trouble
    def freeze(self, duration: Duration) -> None:
        """Stop the process at its current step, as SIGSTOP does, and continue it after a while.

        Args:
            duration: in virtual time.
        """
        self.process.freeze_for(duration_ms(duration, what="duration of a freeze", minimum_ms=0))

    def cut_off(self, duration: Duration) -> None:
        """Let no call cross to the store or a service for a while, nor an answer back: the process continues."""
        self.boundary.cut(duration_ms(duration, what="duration of a partition", minimum_ms=0))

    # ------------------------------------------------------------ calls
    def call(self, ask: Callable[[Client], Call[A, E]]) -> SpawnedTask[Result[A, E]]:
        """Make a call inside the process, and return its task: it never ends if the process is killed first.

        Args:
            ask: makes the call, such as ``lambda client: client.handle(orders).send("order-1", event)``.
        """
        client = self.client
        if client is None:
            raise RuntimeError(f"engine {self.number} is not open yet; wait until it is_up")

        async def asked() -> Result[A, E]:
            return await result_of(ask(client))

        return self.process.runtime.spawn(asked(), name="caller")


MAX_STEPS: Final = 400_000
"""The maximum number of steps at one instant, to detect a busy loop."""

MAX_KEPT_EVENTS: Final = 2_000
"""The maximum number of kept events of the trace; the oldest are dropped first."""


class Cluster:
    """Several engines on one store: the real engine and client, with simulated time, randomness and machines.

    Use it as ``with Cluster(app, services) as cluster:``. Every choice comes from the seed: one seed reproduces one
    history. All engines reach the same services.

    Args:
        app: the app that the engines run.
        services: the programs' services: your fakes, which replace the app's own services.
        seed: determines interleavings, latencies, jitter and ids.
        lease: how long an engine's lease lasts.
        latency: how much time a call to the store takes at most, each way. An effect too.
        requests: how loads and commits reach the store: ``single``, or ``grouped`` as the engine sends them to a real
            store, so that simultaneous requests share rows and groups.
        debug: whether engines inspect each run for hook mistakes.

    Attributes:
        engines: all engines, also those that have ended.
        effects: every performed effect, with the engine's number. `EffectCall.lease` says whether the engine had a
            lease when it sent the call: a link that was cut, or a freeze, may delay the call.
    """

    def __init__(
        self,
        app: App[Any],
        services: Any = None,
        *,
        seed: int = 0,
        lease: Duration = "4 seconds",
        latency: Duration = "4 ms",
        requests: Requests = "single",
        debug: bool = True,
    ) -> None:
        self.app = app if services is None else with_services(app, services)
        self.engines: list[ClusterEngine] = []
        self.effects: list[tuple[int, EffectCall]] = []
        self._simulation = Simulation(seed=seed, max_steps=MAX_STEPS)
        self._simulation.before_step = self._assert_legal
        self._start_ms = self._simulation.now_ms
        self._latency_ms = duration_ms(latency, what="latency of a cluster", minimum_ms=0)
        self._requests: Requests = requests
        self._debug = debug
        lease_ms = duration_ms(lease, what="lease of a cluster")
        self._backend = SharedMemoryBackend(self.runtime.now_ms, lease_ms=lease_ms)
        self._faults: list[PendingFault] = []
        self._trace: deque[TraceEvent] = deque(maxlen=MAX_KEPT_EVENTS)
        self._dropped = 0
        self._watchers: list[Callable[[TraceEvent], object]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            error.add_note(self.trace_text())
        mistakes = [mistake for engine in self.engines for mistake in engine.mistakes]
        unhandled = self._simulation.unhandled
        for engine in self.engines:
            engine.drop()
        self._simulation.close()
        if error is None and mistakes:
            raise mistakes[0]
        if error is None and unhandled:
            raise unhandled[0].exception

    def _assert_legal(self) -> None:
        for engine in self.engines:
            try:
                engine.assert_legal()
            except EngineInIllegalState:
                self._simulation.before_step = None  # the cluster ends now, and its last steps raise nothing else
                raise

    # ------------------------------------------------------------ engines
    def open(
        self, app: App[Any] | None = None, *, skew: Duration = "0 s", behind: Duration = "0 s", drift: float = 0.0
    ) -> ClusterEngine:
        """Open an engine beside the others, and run until it accepts calls.

        Args:
            app: its app, as in a rolling deploy. By default the cluster's.
            skew: how much its wall clock is ahead.
            behind: how much its wall clock is behind.
            drift: how much faster its monotonic clock runs: 0.01 means by one percent.
        """
        engine = self.begin(app, skew=skew, behind=behind, drift=drift)
        self.run_until(lambda: engine.is_up or engine.is_over)
        return engine

    def begin(
        self, app: App[Any] | None = None, *, skew: Duration = "0 s", behind: Duration = "0 s", drift: float = 0.0
    ) -> ClusterEngine:
        """Begin to open an engine, as `open` does, and return at once: for the simulation's coroutines."""
        number = len(self.engines) + 1
        skew_ms = duration_ms(skew, what="skew of a clock", minimum_ms=0)
        skew_ms -= duration_ms(behind, what="behind of a clock", minimum_ms=0)
        process = SimulatedProcess(self._simulation, f"engine {number}", skew_ms=skew_ms, drift=drift)
        boundary = Boundary(
            runtime=process.runtime,
            note=lambda what: self._note(number, what),
            faults=self._faults,
            interleaving="operations",
            latency_ms=self._latency_ms,
            requests=self._requests,
        )
        engine = ClusterEngine(
            number=number, app=app or self.app, process=process, boundary=boundary, debug=self._debug
        )
        boundary.lease = lambda: "good" if self.has_lease(engine) else "ended"
        self.engines.append(engine)
        engine.open(self._backend)
        return engine

    @property
    def up(self) -> tuple[ClusterEngine, ...]:
        """The engines that accept calls, or would if they were not frozen."""
        return tuple(engine for engine in self.engines if engine.is_up)

    def drawn(self) -> ClusterEngine:
        """Draw an engine from `up`, with the seed.

        Raises:
            LookupError: there is none.
        """
        up = self.up
        if not up:
            raise LookupError("no engine of the cluster accepts calls; open one first")
        return up[int(self.runtime.random() * len(up))]

    def has_lease(self, engine: ClusterEngine) -> bool:
        """Return whether an engine's lease is good by the store's clock."""
        members = self._backend.members().members
        return any(member.epoch == engine.epoch and member.lease_left_ms >= 0 for member in members)

    def inject(self, *faults: Fault) -> None:
        """Add faults that take effect from now on, in any engine."""
        self._faults += [PendingFault.of(fault) for fault in faults]

    # ------------------------------------------------------------ time
    @property
    def runtime(self) -> Runtime:
        """The simulation's runtime for the test's coroutines, which belong to no engine."""
        return self._simulation.runtime

    @property
    def now_ms(self) -> int:
        """The simulation's wall clock, in milliseconds since 1970 UTC."""
        return self._simulation.now_ms

    def advance(self, duration: Duration) -> None:
        """Move the clock, and execute everything that is due meanwhile."""
        self._simulation.run_until(lambda: False, within_ms=duration_ms(duration, what="duration of advance"))

    def run_until(self, reached: Callable[[], bool], *, patience: Duration = PATIENCE) -> bool:
        """Run until a condition holds, and return whether it does. The clock moves at most so far."""
        return self._simulation.run_until(reached, within_ms=duration_ms(patience, what="patience"))

    def run(self, work: Coroutine[Any, Any, A]) -> A:
        """Run a test's coroutine to its end, outside all engines."""
        return self._simulation.run(work)

    # ------------------------------------------------------------ calls and reads
    def run_on(self, engine: ClusterEngine, ask: Callable[[Client], Call[A, E]]) -> A:
        """Make a call to an engine, and return its answer.

        Args:
            engine: one of `up`.
            ask: makes the call, such as ``lambda client: client.handle(orders).send("order-1", event)``.

        Raises:
            E: the call's error.
            TimeoutError: the engine did not answer within two simulated days.
        """
        task = engine.call(ask)
        if not self.run_until(task.done):
            raise TimeoutError(f"engine {engine.number} did not answer")
        match task.result():
            case Success(value):
                answer: A = value
                return answer
            case failure:
                raise failure.failure()

    def inspect(self, read: Callable[[Store], FutureResult[A, Any]], /) -> A:
        """Read the store, past all engines and faults."""
        with self._simulation.aside():
            result: Result[A, Any] = self._simulation.run(awaited(read(self._backend.reader())))
        found: A = result.unwrap()
        return found

    def instances(self) -> tuple[Instance, ...]:
        """Return every stored instance, at most 1,000."""
        return self.inspect(lambda store: store.find(Query(limit=1_000)))

    # ------------------------------------------------------------ trace
    def watch(self, watcher: Callable[[TraceEvent], object], /) -> None:
        """Call ``watcher`` with every event from now on. `TraceEvent.worker` is the engine's number."""
        self._watchers.append(watcher)

    def trace_text(self) -> str:
        """Return the last events, one line each."""
        return format_trace(self._trace, self._dropped, self._start_ms)

    def _note(self, number: int, what: TraceDetail) -> None:
        event = TraceEvent(self.now_ms, number, what)
        self._dropped += len(self._trace) == MAX_KEPT_EVENTS
        self._trace.append(event)
        if isinstance(what, EffectPerformed):
            self.effects.append((number, what.call))
        for watcher in self._watchers:
            watcher(event)


def with_sizes(cluster: Cluster, sizes: Sizes) -> Cluster:
    """Set the internal sizes for a new cluster's engines, in this library's own tests.

    Args:
        cluster: a cluster that no engine was opened in.
        sizes: the sizes.
    """
    simulation = cluster._simulation  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - no public parameter
    simulation.runtime = attrs.evolve(simulation.runtime, sizes=sizes)
    return cluster

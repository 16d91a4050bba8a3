"""A cluster for an app: several engines on one shared memory store, with simulated time, freezes and partitions."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from returns.future import FutureResult
from returns.result import Result, Success

from perdure.app import App, with_services
from perdure.client.client import Client
from perdure.jobs.call import Call
from perdure.programs.future import awaited
from perdure.runtime.record import Runtime
from perdure.runtime.simulated import SimulatedProcess, Simulation
from perdure.stores.contract import Store
from perdure.stores.memory import SharedMemoryBackend
from perdure.stores.values import Query
from perdure.testing.cluster.cluster_engine import ClusterEngine
from perdure.testing.fault import Fault
from perdure.testing.world.boundary import Boundary, Requests
from perdure.testing.world.pending_call import PATIENCE
from perdure.testing.world.pending_fault import PendingFault
from perdure.testing.world.trace_event import EffectCall, EffectPerformed, TraceDetail, TraceEvent
from perdure.testing.world.trace_text import format_trace
from perdure.values.instance import Instance
from perdure.values.times import Duration, duration_ms

A = TypeVar("A")
E = TypeVar("E", bound=Exception)

MAX_STEPS: Final = 400_000
"""The maximum number of steps at one instant, to detect a busy loop."""

KEPT: Final = 2_000
"""The maximum number of kept events of the trace; the oldest are dropped first."""


class Cluster:
    """Several engines on one store: the real engine and client, with simulated time, randomness and machines.

    Use it as ``with Cluster(app, services) as cluster:``. Every choice comes from the seed: one seed reproduces one
    history. All engines reach the same services.

    Args:
        app: the app that the engines run.
        services: the services of its programs: your fakes, which replace the app's own services.
        seed: the seed of interleavings, latencies, jitter and ids.
        lease: how long the lease of an engine lasts.
        latency: how much time a call to the store takes at most, each way; an effect too.
        requests: how loads and commits reach the store: ``single``, or ``grouped`` as the engine sends them to a real
            store, so that requests of one moment share rows and groups.
        debug: whether engines inspect each run for mistakes of hooks.

    Attributes:
        engines: all engines, also those that have ended.
        effects: every performed effect, with the number of the engine. `EffectCall.lease` says whether the engine had a
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
        self._start_ms = self._simulation.now_ms
        self._latency_ms = duration_ms(latency, what="latency of a cluster", minimum_ms=0)
        self._requests: Requests = requests
        self._debug = debug
        lease_ms = duration_ms(lease, what="lease of a cluster")
        self._backend = SharedMemoryBackend(self.runtime.now_ms, lease_ms=lease_ms)
        self._faults: list[PendingFault] = []
        self._trace: deque[TraceEvent] = deque(maxlen=KEPT)
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

    # ------------------------------------------------------------ engines
    def open(
        self, app: App[Any] | None = None, *, skew: Duration = "0 s", behind: Duration = "0 s", drift: float = 0.0
    ) -> ClusterEngine:
        """Open an engine beside the others, and run until it accepts calls.

        Args:
            app: its app, as in a rolling deploy; by default that of the cluster.
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
        """Begin to open an engine, as `open` does, and return at once: for coroutines of the simulation."""
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
        """Return one of `up`, drawn from the seed.

        Raises:
            LookupError: there is none.
        """
        up = self.up
        if not up:
            raise LookupError("no engine of the cluster accepts calls; open one first")
        return up[int(self.runtime.random() * len(up))]

    def has_lease(self, engine: ClusterEngine) -> bool:
        """Return whether the lease of an engine is good by the clock of the store."""
        members = self._backend.members().members
        return any(member.epoch == engine.epoch and member.lease_left_ms >= 0 for member in members)

    def inject(self, *faults: Fault) -> None:
        """Add faults that take effect from now on, in any engine."""
        self._faults += [PendingFault.of(fault) for fault in faults]

    # ------------------------------------------------------------ time
    @property
    def runtime(self) -> Runtime:
        """The runtime of the simulation, outside of all engines: for coroutines of the test."""
        return self._simulation.runtime

    @property
    def now_ms(self) -> int:
        """The wall clock of the simulation, in milliseconds since 1970 UTC."""
        return self._simulation.now_ms

    def advance(self, duration: Duration) -> None:
        """Move the clock, and execute everything that is due meanwhile."""
        self._simulation.run_until(lambda: False, within_ms=duration_ms(duration, what="duration of advance"))

    def run_until(self, reached: Callable[[], bool], *, patience: Duration = PATIENCE) -> bool:
        """Run until a condition holds, and return whether it does; the clock moves at most so far."""
        return self._simulation.run_until(reached, within_ms=duration_ms(patience, what="patience"))

    def run(self, work: Coroutine[Any, Any, A]) -> A:
        """Run a coroutine of the test outside of all engines, to its end."""
        return self._simulation.run(work)

    # ------------------------------------------------------------ calls and reads
    def run_on(self, engine: ClusterEngine, ask: Callable[[Client], Call[A, E]]) -> A:
        """Make a call to an engine, and return its answer.

        Args:
            engine: one of `up`.
            ask: makes the call, such as ``lambda client: client.handle(orders).send("order-1", event)``.

        Raises:
            E: the error of the call.
            TimeoutError: the engine did not answer within two days of simulated time.
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
        """Call ``watcher`` with every event from now on; `TraceEvent.worker` is the number of the engine."""
        self._watchers.append(watcher)

    def trace_text(self) -> str:
        """Return the last events, one line each."""
        return format_trace(self._trace, self._dropped, self._start_ms)

    def _note(self, number: int, what: TraceDetail) -> None:
        event = TraceEvent(self.now_ms, number, what)
        self._dropped += len(self._trace) == KEPT
        self._trace.append(event)
        if isinstance(what, EffectPerformed):
            self.effects.append((number, what.call))
        for watcher in self._watchers:
            watcher(event)

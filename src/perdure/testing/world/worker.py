"""A world's workers: one engine after the other over its store, each with a seed derived from the world's seed.

A `Worker` is a process's equivalent in production. Calls reach the worker that is open through a gateway that
records them. At its end a worker must come to rest: after all work has settled, it holds no resources for it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal, Never, Protocol, TypeAlias, TypeVar

import attrs
from returns.result import Result

from perdure.app import App, OpenApp, for_tests
from perdure.client.client import Client, gateway_of
from perdure.client.local_gateway import LocalGateway, engine_of
from perdure.engine.running import RunningEngine
from perdure.jobs.call import Call, result_of
from perdure.jobs.definition import AnyDefinition, CallError
from perdure.jobs.draft import HookBug
from perdure.jobs.request import Request
from perdure.jobs.step import Execute
from perdure.programs import Exit
from perdure.runtime.record import DEFAULT_SIZES, Sizes, SpawnedTask
from perdure.runtime.simulated import Simulation
from perdure.stores.contract import Store, overlay
from perdure.stores.values import PreviousExit
from perdure.testing.world.boundary import (
    Backend,
    Boundary,
    Interleaving,
    PendingFault,
    Requests,
    perform_behind,
    store_behind,
)
from perdure.testing.world.clock import Clock
from perdure.testing.world.errors import (
    EngineInIllegalState,
    LegalState,
    NotAtRest,
    NoWorker,
    WorkerDied,
    WorkerRunning,
)
from perdure.testing.world.recording import DeferredRequest, Reading, Timeline
from perdure.testing.world.trace import ProgramEnded, WorkerOpened
from perdure.values.address import Address, Job
from perdure.values.attributes import Attribute, Condition
from perdure.values.limits import Limits
from perdure.values.listings import ForkedMany, HoldResult, JobCount, ListFilter, Listing, MatchCount, StepRecord
from perdure.values.status import Hold, InstanceStatus
from perdure.values.status_wait import Awaited, PublishedValue, UpdateReply, WaitCondition
from perdure.values.stream import StreamPage

Read: TypeAlias = Callable[[AnyDefinition, str], Call[Any, Any]]


class CallRecorder(Protocol):
    """Records every request and every answer."""

    def wrote(self, call: object, asking: DeferredRequest, /) -> None:
        """A caller made a call and has not awaited it yet."""
        ...

    def asked(self, address: Address, request: Request, /) -> int:
        """A valid request goes to the engine. Return its number."""
        ...

    def read(self, address: Address, reading: Reading, /) -> None:
        """A caller reads committed data."""
        ...

    def answered(self, number: int, result: Result[Any, Any], /) -> None:
        """A caller got an answer."""
        ...


@attrs.frozen
class WatchedGateway(LocalGateway):
    """Reaches a worker's instances, and reports each call to the recorder."""

    recorder: CallRecorder

    def request(
        self, definition: AnyDefinition, id_: str, build: Callable[[Limits], Request], name: str = "request", /
    ) -> Call[Any, Any]:
        """Send a request, and note it and its answer."""
        call = Call(partial(self._watched, definition, id_, build), name)
        # A function: building a request that is not valid raises, which is the caller's matter and not the recorder's.
        self.recorder.wrote(call, lambda: (definition.address(id_), build(Limits())))
        return call

    async def _watched(self, job: AnyDefinition, id_: str, build: Callable[[Limits], Request]) -> Result[Any, Any]:
        numbers: list[int] = []

        def noted(limits: Limits) -> Request:
            request = build(limits)
            numbers.append(self.recorder.asked(job.address(id_), request))
            return request

        result = await self._begun(job, id_, noted)
        # A request that is not valid never reached the engine, and has no number.
        if numbers:
            self.recorder.answered(numbers[0], result)
        return result

    def status(self, definition: AnyDefinition, id_: str, /) -> Call[InstanceStatus, CallError]:
        """Read the committed status, and note that."""
        return self._noted(definition, id_, "status", super().status)

    def state(self, definition: AnyDefinition, id_: str, /) -> Call[Any, Any]:
        """Read the committed state, and note that."""
        return self._noted(definition, id_, "get_state", super().state)

    def set_hold(self, job: Job, hold: Hold, /) -> Call[HoldResult, CallError]:
        """Hold or release a job, and note that."""
        reading: Reading = "hold" if hold == "held" else "release"
        address = Address(*job, "")
        call = Call(partial(self._set_hold_noted, address, reading, job, hold), "set_hold")
        self.recorder.wrote(call, lambda: (address, reading))
        return call

    async def _set_hold_noted(
        self, address: Address, reading: Reading, job: Job, hold: Hold
    ) -> Result[HoldResult, CallError]:
        self.recorder.read(address, reading)
        return await self._set_hold(job, hold)

    def _noted(self, job: AnyDefinition, id_: str, reading: Reading, read: Read) -> Call[Any, Any]:
        call = Call(partial(self._read_noted, job, id_, reading, read), reading)
        self.recorder.wrote(call, lambda: (job.address(id_), reading))
        return call

    async def _read_noted(self, job: AnyDefinition, id_: str, reading: Reading, read: Read) -> Result[Any, Any]:
        self.recorder.read(job.address(id_), reading)
        return await result_of(read(job, id_))


@attrs.frozen
class CurrentGateway:
    """Brings a handle's calls to the worker that is open when they are made: a handle outlives crashes."""

    jobs: Callable[[], Client]

    def request(
        self, definition: AnyDefinition, id_: str, build: Callable[[Limits], Request], name: str = "request", /
    ) -> Call[Any, Any]:
        """Send a request."""
        return gateway_of(self.jobs()).request(definition, id_, build, name)

    def status(self, definition: AnyDefinition, id_: str, /) -> Call[InstanceStatus, CallError]:
        """Read the committed status."""
        return gateway_of(self.jobs()).status(definition, id_)

    def state(self, definition: AnyDefinition, id_: str, /) -> Call[Any, Any]:
        """Read the committed state, decoded."""
        return gateway_of(self.jobs()).state(definition, id_)

    def steps(self, definition: AnyDefinition, id_: str, /) -> Call[tuple[StepRecord, ...], CallError]:
        """Read an instance's steps."""
        return gateway_of(self.jobs()).steps(definition, id_)

    def set_hold(self, job: Job, hold: Hold, /) -> Call[HoldResult, CallError]:
        """Hold or release a job."""
        return gateway_of(self.jobs()).set_hold(job, hold)

    def count(self, job: Job, /) -> Call[JobCount, CallError]:
        """Count a job's instances by status."""
        return gateway_of(self.jobs()).count(job)

    def count_matching(
        self, job: Job, where: Sequence[Condition | Attribute[Any, bool] | str], /
    ) -> Call[MatchCount, CallError]:
        """Count the instances with such attributes."""
        return gateway_of(self.jobs()).count_matching(job, where)

    def fork_many(self, job: Job, given: Mapping[str, object], /) -> Call[ForkedMany, CallError]:
        """Fork a page with workflows that match a filter."""
        return gateway_of(self.jobs()).fork_many(job, given)

    def find(self, wanted: ListFilter, /) -> Call[Listing, CallError]:
        """Find instances."""
        return gateway_of(self.jobs()).find(wanted)

    def until(self, address: Address, wanted: WaitCondition, timeout_ms: int, /) -> Call[Awaited, CallError]:
        """Wait until an instance has a wanted status."""
        return gateway_of(self.jobs()).until(address, wanted, timeout_ms)

    def reply_to(self, definition: AnyDefinition, id_: str, ticket: str, /) -> Call[UpdateReply, CallError]:
        """Read the reply to an update."""
        return gateway_of(self.jobs()).reply_to(definition, id_, ticket)

    def published_by(self, definition: AnyDefinition, id_: str, name: str, /) -> Call[PublishedValue, CallError]:
        """Read the value that an instance published."""
        return gateway_of(self.jobs()).published_by(definition, id_, name)

    def stream_page(self, address: Address, stream: str, after: int, wait_ms: int, /) -> Call[StreamPage, CallError]:
        """Read the items of a stream after an offset."""
        return gateway_of(self.jobs()).stream_page(address, stream, after, wait_ms)

    def concurrently(self, calls: Sequence[Call[Any, Any]], /) -> Call[tuple[Result[Any, Any], ...], Never]:
        """Make several calls at the same time."""
        return gateway_of(self.jobs()).concurrently(calls)


A = TypeVar("A")


@attrs.define(kw_only=True)
class Worker:
    """One engine, and the simulation in which it runs.

    Attributes:
        number: counts a world's workers, from 1.
        simulation: keeps time and runs the tasks.
        boundary: the boundary to the store and the services.
        store: the store, without the boundary.
        debug: whether its engine detects hook mistakes.
        mistakes: detected mistakes that were not raised yet.
    """

    number: int
    backend: Backend
    simulation: Simulation
    boundary: Boundary
    store: Store | None = None
    open_app: OpenApp | None = None
    debug: bool = True
    mistakes: list[HookBug] = attrs.Factory(list[HookBug])
    _jobs: Client | None = None
    _begun: list[SpawnedTask[Any]] = attrs.Factory(list[SpawnedTask[Any]])

    # ------------------------------------------------------------ lifecycle
    def open(self, app: App[Any], recorder: CallRecorder, left: PreviousExit) -> None:
        """Open the store, recover earlier workers' runs, and accept requests.

        Args:
            app: the app to run.
            recorder: notified of requests and results.
            left: how the previous worker ended.

        Raises:
            WorkerDied: it died meanwhile.
        """
        store = self.complete(self.backend.open(self.simulation.runtime))
        self.store = overlay(store, previous_exit="died") if left == "died" else store
        self.boundary.note(WorkerOpened(self.store.name, self.store.epoch))
        self.open_app = for_tests(app).open(
            store_behind(self.boundary, self.store),
            runtime=self.simulation.runtime,
            perform=perform_behind(self.boundary),
            run_ended=self._note_run,
            debug=self.debug,
            mistake_found=lambda mistake: self.mistakes.append(mistake),  # noqa: PLW0108 - the list is replaced
        )
        engine = engine_of(self.complete(self.open_app.__aenter__()))
        self._jobs = Client(WatchedGateway(engine, recorder))
        self.simulation.before_step = partial(self._assert_legal, LegalState(), engine)
        self.settle()

    def _assert_legal(self, legal: LegalState, engine: RunningEngine) -> None:
        try:
            legal.check(engine)
        except EngineInIllegalState:
            self.simulation.before_step = None  # the world ends now, and its last steps raise nothing else
            raise

    def _note_run(self, execute: Execute, exit_: Exit[Any, Any]) -> None:
        address, run_id = execute.instance.address, execute.claim.run_id
        self.boundary.note(ProgramEnded(address, execute.hook, exit_, execute.request, run_id))

    def close(self) -> None:
        """Stop gracefully."""
        if self.open_app is not None:
            self.complete(self.open_app.__aexit__(None, None, None))
            self.settle_quietly()  # callers whose requests returned meanwhile receive the results
        self.simulation.close()

    def try_to_close(self, within_ms: float) -> bool:
        """Stop gracefully. Return whether the stop ended in time."""
        if self.open_app is None:
            return True
        # In a task, which is left behind if it hangs: the test must fail, and not wait.
        closing = self.begin(self.open_app.__aexit__(None, None, None))
        if not self.wait_for(closing.done, within_ms):
            return False
        closing.result()
        self.settle()
        return True

    def crash(self) -> None:
        """Kill the worker at its current step."""
        self.boundary.die("at its current step")
        self.drop()

    def drop(self) -> None:
        """End the worker without a record: close its store, and never run its tasks again."""
        self.boundary.shut("at its current step")
        self.settle_quietly()  # calls that had not started reach the boundary, so that each coroutine was awaited
        # The process is dead, but its file is open in this one: a real death would have closed it.
        if self.store is not None:
            self._outside_boundary(_closed(self.store))
        self.simulation.close()

    @property
    def jobs(self) -> Client | None:
        """Its client, once it is open."""
        return self._jobs

    @property
    def is_alive(self) -> bool:
        """Return whether it did not die."""
        return self.boundary.died_at is None

    @property
    def unanswered(self) -> tuple[str, ...]:
        """The calls that have not returned, one line each."""
        return tuple("a caller without a result" for task in self._begun if not task.done())

    @property
    def remaining(self) -> tuple[str, ...]:
        """The calls and tasks that have not ended and the timers that are set, one line each."""
        tasks = (task for task in self.simulation.alive if task not in self._begun)
        lines = (f"the task {task.name!r}, which waits for {task.waiting_for!r}" for task in tasks)
        return (*self.unanswered, *lines, *self.simulation.timers)

    # ------------------------------------------------------------ time
    def complete(self, work: Coroutine[Any, Any, A]) -> A:
        """Run a coroutine to its end. The clock moves as far as necessary.

        Raises:
            WorkerDied: it died first.
        """
        task = self.begin(work)
        self.wait_for(task.done, float("inf"))
        return task.result()

    def begin(self, work: Coroutine[Any, Any, A]) -> SpawnedTask[A]:
        """Start a coroutine concurrently with the other tasks."""
        # Ended ones are dropped: a world that makes a million calls must not remember them.
        self._begun = [task for task in self._begun if not task.done()]
        task = self.simulation.runtime.spawn(work, name="caller")
        self._begun.append(task)
        return task

    def wait_for(self, reached: Callable[[], bool], within_ms: float) -> bool:
        """Run until a condition holds. Return False when the clock has moved all the way instead.

        Raises:
            WorkerDied: it died first.
        """
        boundary = self.boundary
        # A dead worker reaches nothing more: without this, the clock would move until the patience ends.
        self.backend.run_until(self.simulation, lambda: boundary.died_at is not None or reached(), within_ms)
        self.raise_mistake()
        if boundary.died_at is not None:
            raise WorkerDied(boundary.died_at)
        return reached()

    def settle(self) -> None:
        """Run until every task waits for the clock or for a release.

        Raises:
            WorkerDied: it died meanwhile.
        """
        self.advance(0)

    def advance(self, duration_ms: int) -> None:
        """Move the clock, and execute everything that is due meanwhile. The clock moves on even if the worker dies.

        Raises:
            WorkerDied: it died meanwhile. After its death, the method raises nothing.
        """
        was_alive = self.is_alive
        self.backend.run_until(self.simulation, _never, duration_ms)
        self.settle_quietly()
        self.raise_mistake()
        if was_alive and self.boundary.died_at is not None:
            raise WorkerDied(self.boundary.died_at)

    def raise_mistake(self) -> None:
        """Raise the first hook mistake that was detected since the last call.

        Raises:
            HookBug: there is one.
        """
        # Cleared first: the next call must not raise the same one.
        found, self.mistakes = self.mistakes, []
        if found:
            raise found[0]

    def settle_quietly(self) -> None:
        """Settle. A death is reported by the next call."""
        self.backend.run_until(self.simulation, _never, 0)

    def wake(self, now_ms: int) -> None:
        """Continue after a stall that ends now. External operations have completed meanwhile."""
        self.boundary.release_all()
        # The clock jumps, and no timer fires on the way: a stopped process sees all of them late at once.
        self.simulation.stand_still(now_ms - self.simulation.now_ms)
        self.settle_quietly()

    def look(self, work: Coroutine[Any, Any, A]) -> A:
        """Run a store read without the boundary. It does not change later random choices."""
        with self.simulation.aside():
            return self._outside_boundary(work)

    def _outside_boundary(self, work: Coroutine[Any, Any, A]) -> A:
        task = self.begin(work)
        self.backend.run_until(self.simulation, task.done, float("inf"))
        return task.result()


async def _closed(store: Store) -> None:
    await store.close()


def _never() -> bool:
    return False


AtEnd: TypeAlias = Literal["check", "leave"]
"""The end of a world's open worker: it must come to rest, or is dropped unchecked."""

PATIENCE_MS: Final = 2 * 86_400_000
"""How far the virtual clock may move until all started work has ended."""


def come_to_rest(worker: Worker) -> None:
    """Run all started work to its end, stop the engine gracefully, and check that nothing remains.

    No alarm fires and no message is delivered meanwhile. A program that has not ended after two days of virtual time is
    cancelled by the stop, as in production.

    Raises:
        NotAtRest: a caller without a result, a mailbox, a concurrency slot, a timer or a task remains.
        WorkerDied: the worker died first.
    """
    jobs = worker.jobs
    if jobs is None:
        return
    engine = engine_of(jobs)
    # First: an alarm that fires now would begin new work, without an end.
    worker.complete(engine.stop_loops())
    reached = worker.wait_for(lambda: engine.in_flight().is_empty and not worker.unanswered, PATIENCE_MS)
    # A program that still runs may wait for ever on purpose. The stop cancels it.
    if not reached and engine.in_flight().programs == 0:
        raise NotAtRest("everything settled", (*engine.in_flight().described(), *worker.remaining))
    if not worker.try_to_close(PATIENCE_MS):
        raise NotAtRest("the engine was stopped", (*engine.in_flight().described(), *worker.remaining))
    remains = (*engine.in_flight().described(), *worker.remaining)
    if remains:
        raise NotAtRest("the engine stopped", remains)


MAX_STEPS: Final = 200_000
"""The maximum number of steps at one instant, to detect a busy loop."""

_SEEDS_OF_A_WORKER: Final = 1 << 32


@attrs.define(kw_only=True, eq=False)
class Workers:
    """Opens a world's workers.

    Attributes:
        backend: the backend, which outlives them.
        clock: the world's clock. It follows the open worker.
        interleaving: where other tasks may run first.
        requests: how loads and commits reach the store.
        debug: whether their engines detect hook mistakes.
        faults: the pending faults, for this worker and the next ones.
        latest: the worker that is open, or has just died.
        usurped: stalled workers whose store another one took over.
        next_dies_after: the crossing at which the next worker dies.
        left: how the worker before the next one ended. If it died, the world itself closes its store.
    """

    backend: Backend
    clock: Clock
    timeline: Callable[[], Timeline]
    seed: int
    interleaving: Interleaving
    requests: Requests = "single"
    debug: bool = True
    faults: list[PendingFault] = attrs.Factory(list[PendingFault])
    latest: Worker | None = None
    usurped: list[Worker] = attrs.Factory(list[Worker])
    next_dies_after: int | None = None
    sizes: Sizes = DEFAULT_SIZES
    left: PreviousExit = "closed"

    # ------------------------------------------------------------ lifecycle
    def open(self, app: App[Any]) -> Client:
        """Open the next worker.

        Raises:
            WorkerRunning: another one is open.
            WorkerDied: it died meanwhile, as arranged.
        """
        if self.is_open and self.latest is not None:
            raise WorkerRunning(self.latest.number)
        self.backend.check()
        if self.latest is not None:
            self.left = "died"
            self.latest.drop()
            self.forget()
        self.latest = worker = self._next()
        left, self.left = self.left, "closed"
        worker.open(app, self.timeline(), left)
        return self.jobs

    def forget(self) -> None:
        """Note that no worker is open. The clock stops."""
        self.clock.stop()
        self.latest = None

    def wake(self) -> None:
        """Continue the stalled workers whose store was taken over."""
        timeline = self.timeline()
        number = timeline.worker
        for worker in self.usurped:
            # Each event names its worker, also those of a stalled one.
            timeline.worker = worker.number
            worker.wake(self.clock.now_ms)
        timeline.worker = number

    def die_after(self, crash_points: int) -> None:
        """Make the open worker die after this many further crossings, or the next one, if none is open."""
        if self.latest is None or not self.latest.is_alive:
            self.next_dies_after = crash_points
        else:
            boundary = self.latest.boundary
            boundary.die_at = len(boundary.crash_points) + crash_points

    def survive(self) -> None:
        """Undo `die_after`."""
        self.next_dies_after = None
        if self.latest is not None:
            self.latest.boundary.die_at = None

    def leave(self) -> None:
        """End all workers."""
        for worker in self.usurped:
            worker.drop()
        self.usurped.clear()
        if self.latest is not None:
            self.latest.drop()
            self.forget()
        self.backend.close()

    def _next(self) -> Worker:
        timeline = self.timeline()
        timeline.worker = number = timeline.worker + 1
        simulation = Simulation(
            # Far apart: worker 2 of seed 0 must not repeat worker 1 of seed 1.
            seed=self.seed + (number - 1) * _SEEDS_OF_A_WORKER,
            start=self.clock.now,
            max_steps=MAX_STEPS,
        )
        simulation.runtime = attrs.evolve(simulation.runtime, sizes=self.sizes)
        self.clock.follow(simulation)
        boundary = Boundary(
            runtime=simulation.runtime,
            note=timeline.note,
            # The same list: a fault that a worker did not meet waits for the next one.
            faults=self.faults,
            interleaving=self.interleaving,
            requests=self.requests,
            die_at=self.next_dies_after,
        )
        self.next_dies_after = None
        return Worker(number=number, backend=self.backend, simulation=simulation, boundary=boundary, debug=self.debug)

    # ------------------------------------------------------------ the open worker
    @property
    def is_open(self) -> bool:
        """Return whether a worker is open and alive."""
        return self.latest is not None and self.latest.is_alive

    @property
    def jobs(self) -> Client:
        """The open worker's client.

        Raises:
            NoWorker: none is open.
        """
        jobs = self.living("jobs").jobs
        if jobs is None:
            raise NoWorker("jobs")
        return jobs

    def known(self, what: str) -> Worker:
        """Return the worker that is open, or has just died.

        Raises:
            NoWorker: there is none.
        """
        if self.latest is None:
            raise NoWorker(what)
        return self.latest

    def living(self, what: str) -> Worker:
        """Return the open worker.

        Args:
            what: the method that needs it, for the error message.

        Raises:
            NoWorker: none is open.
            WorkerDied: it has died.
        """
        worker = self.known(what)
        if worker.boundary.died_at is not None:
            raise WorkerDied(worker.boundary.died_at)
        return worker

    def caller(self) -> SpawnedTask[Any] | None:
        """Return the open worker's task that is running now."""
        return self.known("a call").simulation.runtime.current_task()

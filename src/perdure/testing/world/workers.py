"""The workers of a world: one after the other, each with the next part of the seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs

from perdure.app import App
from perdure.client.client import Client
from perdure.runtime.record import SpawnedTask
from perdure.runtime.simulated import Simulation
from perdure.stores.values import PreviousExit
from perdure.testing.world.backend import Backend
from perdure.testing.world.boundary import Boundary, Interleaving, Requests
from perdure.testing.world.clock import Clock
from perdure.testing.world.errors import NoWorker, WorkerDied, WorkerRunning
from perdure.testing.world.pending_fault import PendingFault
from perdure.testing.world.timeline import Timeline
from perdure.testing.world.worker import Worker

MAX_STEPS: Final = 200_000
"""The maximum number of steps at one instant, to detect a busy loop."""

_SEEDS_OF_A_WORKER: Final = 1 << 32


@attrs.define(kw_only=True, eq=False)
class Workers:
    """Opens the workers of a world.

    Attributes:
        backend: the backend, which outlives them.
        clock: the clock of the world; it follows the open worker.
        timeline: records the events of the workers.
        seed: the seed of the world.
        interleaving: where other tasks may run first.
        requests: how loads and commits reach the store.
        debug: whether their engines detect mistakes of hooks.
        faults: the pending faults, of this worker and the next ones.
        latest: the worker that is open, or has just died.
        usurped: stalled workers whose store another one took over.
        next_dies_after: the crossing at which the next worker dies.
        left: how the worker before the next one ended; the world itself closes the store of one that died.
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
        """Note that no worker is open; the clock stops."""
        self.clock.stop()
        self.latest = None

    def wake(self) -> None:
        """Continue the stalled workers whose store was taken over."""
        timeline = self.timeline()
        number = timeline.worker
        for worker in self.usurped:
            timeline.worker = worker.number
            worker.wake(self.clock.now_ms)
        timeline.worker = number

    def die_after(self, crash_points: int) -> None:
        """Make the open worker die after this many further crossings; or the next one, if none is open."""
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
            seed=self.seed + (number - 1) * _SEEDS_OF_A_WORKER, start=self.clock.now, max_steps=MAX_STEPS
        )
        self.clock.follow(simulation)
        boundary = Boundary(
            runtime=simulation.runtime,
            note=timeline.note,
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
        """The client of the open worker.

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
        """Return the task of the open worker that is running now."""
        return self.known("a call").simulation.runtime.current_task()

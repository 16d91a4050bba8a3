"""The workers of a world: one after the other, each with the next part of the seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs

from perdure.app import App
from perdure.client.client import Client
from perdure.runtime.record import SpawnedTask
from perdure.runtime.simulated import Simulation
from perdure.stores.store import Left
from perdure.testing.world.backend import Backend
from perdure.testing.world.boundary import Boundary, Interleaving
from perdure.testing.world.clock import Clock
from perdure.testing.world.errors import NoWorker, WorkerDied, WorkerRunning
from perdure.testing.world.pending_fault import PendingFault
from perdure.testing.world.timeline import Timeline
from perdure.testing.world.worker import Worker

MAX_STEPS: Final = 200_000
"""Steps at one instant: more is a loop that spins."""

_SEEDS_OF_A_WORKER: Final = 1 << 32


@attrs.define(kw_only=True, eq=False)
class Workers:
    """Opens the workers of a world, and knows which one is open.

    Attributes:
        ground: where the data lies that outlives them.
        clock: of the world; it follows the one that is open.
        timeline: told what happens, and who does it.
        seed: of the world.
        interleaving: where other tasks may go first.
        debug: whether their engines look for mistakes of hooks.
        faults: what is to go wrong, in this one and the next.
        latest: the one that is open, or has just died.
        usurped: those that stand still, and whose store another one took.
        next_dies_after: at which crossing the next one dies.
        left: how the one before the next ended; the store of one that died is closed by the world alone.
    """

    ground: Backend
    clock: Clock
    timeline: Callable[[], Timeline]
    seed: int
    interleaving: Interleaving
    debug: bool = True
    faults: list[PendingFault] = attrs.Factory(list[PendingFault])
    latest: Worker | None = None
    usurped: list[Worker] = attrs.Factory(list[Worker])
    next_dies_after: int | None = None
    left: Left = "closed"

    # ------------------------------------------------------------ their lives
    def open(self, app: App[Any]) -> Client:
        """Open the next one.

        Raises:
            WorkerRunning: another one is open.
            WorkerDied: it died on the way, as arranged.
        """
        if self.is_open and self.latest is not None:
            raise WorkerRunning(self.latest.number)
        self.ground.check()
        if self.latest is not None:
            self.left = "died"
            self.latest.drop()
            self.forget()
        self.latest = worker = self._next()
        left, self.left = self.left, "closed"
        worker.open(app, self.timeline(), left)
        return self.jobs

    def forget(self) -> None:
        """None is open any more; the clock stands."""
        self.clock.stand()
        self.latest = None

    def wake(self) -> None:
        """Let those that were usurped go on where they stood."""
        timeline = self.timeline()
        number = timeline.worker
        for worker in self.usurped:
            timeline.worker = worker.number
            worker.wake(self.clock.now_ms)
        timeline.worker = number

    def die_after(self, crash_points: int) -> None:
        """Let the one that is open die so many crossings later; or the next one, if none is."""
        if self.latest is None or not self.latest.is_alive:
            self.next_dies_after = crash_points
        else:
            border = self.latest.border
            border.die_at = len(border.crash_points) + crash_points

    def survive(self) -> None:
        """Take that back."""
        self.next_dies_after = None
        if self.latest is not None:
            self.latest.border.die_at = None

    def leave(self) -> None:
        """End all of them."""
        for worker in self.usurped:
            worker.drop()
        self.usurped.clear()
        if self.latest is not None:
            self.latest.drop()
            self.forget()
        self.ground.close()

    def _next(self) -> Worker:
        timeline = self.timeline()
        timeline.worker = number = timeline.worker + 1
        simulation = Simulation(
            seed=self.seed + (number - 1) * _SEEDS_OF_A_WORKER, start=self.clock.now, max_steps=MAX_STEPS
        )
        self.clock.follow(simulation)
        border = Boundary(
            runtime=simulation.runtime,
            note=timeline.note,
            faults=self.faults,
            interleaving=self.interleaving,
            die_at=self.next_dies_after,
        )
        self.next_dies_after = None
        return Worker(number=number, ground=self.ground, simulation=simulation, border=border, debug=self.debug)

    # ------------------------------------------------------------ the one that is open
    @property
    def is_open(self) -> bool:
        """Whether one is open and alive."""
        return self.latest is not None and self.latest.is_alive

    @property
    def jobs(self) -> Client:
        """The jobs of the one that is open.

        Raises:
            NoWorker: none is.
        """
        jobs = self.living("jobs").jobs
        if jobs is None:
            raise NoWorker("jobs")
        return jobs

    def known(self, what: str) -> Worker:
        """Give the one that is open, or has just died.

        Raises:
            NoWorker: there is none.
        """
        if self.latest is None:
            raise NoWorker(what)
        return self.latest

    def living(self, what: str) -> Worker:
        """Give the one that is open.

        Args:
            what: needs it.

        Raises:
            NoWorker: none is open.
            WorkerDied: it has died.
        """
        worker = self.known(what)
        if worker.border.died_at is not None:
            raise WorkerDied(worker.border.died_at)
        return worker

    def caller(self) -> SpawnedTask[Any] | None:
        """Give the task of the one that is open which takes its step just now."""
        return self.known("a call").simulation.runtime.current_task()

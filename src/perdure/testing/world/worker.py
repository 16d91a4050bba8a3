"""One engine over the store of a world: the equivalent of a process in production."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import attrs

from perdure.app import App, OpenApp, for_tests
from perdure.client.client import Client
from perdure.client.local_gateway import engine_of
from perdure.jobs.draft import HookBug
from perdure.jobs.step import Execute
from perdure.programs import Exit
from perdure.runtime.record import SpawnedTask
from perdure.runtime.simulated import Simulation
from perdure.stores.contract import Store
from perdure.stores.values import PreviousExit
from perdure.testing.world.backend import Backend
from perdure.testing.world.boundary import Boundary, perform_behind
from perdure.testing.world.errors import WorkerDied
from perdure.testing.world.store_crossing import store_behind
from perdure.testing.world.trace_event import ProgramEnded, WorkerOpened
from perdure.testing.world.watched_gateway import WatchedGateway, Witness

A = TypeVar("A")


@attrs.define(kw_only=True)
class Worker:
    """One engine, and the simulation in which it runs.

    Attributes:
        number: counts the workers of a world, from 1.
        backend: the backend of its store.
        simulation: its time and its tasks.
        boundary: the boundary to the store and the services.
        store: the store, without the boundary.
        open_app: the app that it opened.
        debug: whether its engine detects mistakes of hooks.
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
    def open(self, app: App[Any], witness: Witness, left: PreviousExit) -> None:
        """Open the store, recover the runs of earlier workers, and accept requests.

        Args:
            app: the app to run.
            witness: notified of requests and results.
            left: how the previous worker ended.

        Raises:
            WorkerDied: it died meanwhile.
        """
        store = self.complete(self.backend.open(self.simulation.runtime))
        self.store = attrs.evolve(store, previous_exit="died") if left == "died" else store
        self.boundary.note(WorkerOpened(self.store.name, self.store.epoch))
        self.open_app = for_tests(app).open(
            store_behind(self.boundary, self.store),
            runtime=self.simulation.runtime,
            perform=perform_behind(self.boundary),
            run_ended=self._note_run,
            debug=self.debug,
            mistake_found=lambda mistake: self.mistakes.append(mistake),  # noqa: PLW0108 - the list is replaced
        )
        self._jobs = Client(WatchedGateway(engine_of(self.complete(self.open_app.__aenter__())), witness))
        self.settle()

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
        """Stop gracefully; return whether the stop ended in time."""
        if self.open_app is None:
            return True
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
        """End the worker without a record: close its store, and run none of its tasks again."""
        self.boundary.shut("at its current step")
        self.settle_quietly()  # calls that had not started reach the boundary, so that each coroutine was awaited
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
        """The tasks that have not ended and the timers that are set, one line each."""
        tasks = (f"the task {task.name!r}, which waits for {task.waiting_for!r}" for task in self.simulation.alive)
        return (*tasks, *self.simulation.timers)

    # ------------------------------------------------------------ time
    def complete(self, work: Coroutine[Any, Any, A]) -> A:
        """Run a coroutine to its end; the clock moves as far as necessary.

        Raises:
            WorkerDied: it died first.
        """
        task = self.begin(work)
        self.wait_for(task.done, float("inf"))
        return task.result()

    def begin(self, work: Coroutine[Any, Any, A]) -> SpawnedTask[A]:
        """Start a coroutine concurrently with the other tasks."""
        self._begun = [task for task in self._begun if not task.done()]
        task = self.simulation.runtime.spawn(work, name="caller")
        self._begun.append(task)
        return task

    def wait_for(self, reached: Callable[[], bool], within_ms: float) -> bool:
        """Run until a condition holds; return False when the clock has moved all the way instead.

        Raises:
            WorkerDied: it died first.
        """
        boundary = self.boundary
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
        """Raise the first mistake of a hook that was detected since the last call.

        Raises:
            HookBug: there is one.
        """
        found, self.mistakes = self.mistakes, []
        if found:
            raise found[0]

    def settle_quietly(self) -> None:
        """Settle; a death is reported by the next call."""
        self.backend.run_until(self.simulation, _never, 0)

    def wake(self, now_ms: int) -> None:
        """Continue after a stall that ends now; external operations have completed meanwhile."""
        self.boundary.release_all()
        self.simulation.stand_still(now_ms - self.simulation.now_ms)
        self.settle_quietly()

    def look(self, work: Coroutine[Any, Any, A]) -> A:
        """Run a read of the store without the boundary; it does not change later random choices."""
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

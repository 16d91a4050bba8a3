"""One engine over the store of a world: what a process is in production."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import attrs

from perdure.app import App, OpenApp
from perdure.client.client import Client, gateway_of
from perdure.jobs.inspection import HookMistake
from perdure.jobs.step import Execute
from perdure.programs import Exit
from perdure.runtime.record import SpawnedTask
from perdure.runtime.simulated import Simulation
from perdure.stores.store import Left, Store
from perdure.testing.world.backend import Backend
from perdure.testing.world.boundary import Boundary, perform_behind, store_behind
from perdure.testing.world.errors import WorkerDied
from perdure.testing.world.trace_event import ProgramEnded, WorkerOpened
from perdure.testing.world.watched_gateway import WatchedGateway, Witness

A = TypeVar("A")


@attrs.define(kw_only=True)
class Worker:
    """One engine, and the simulation it lives in.

    Attributes:
        number: counts the workers of a world, from 1.
        ground: where the store lies.
        simulation: its time and its tasks.
        border: what it crosses to reach the store and the services.
        store: the store, past the border.
        open_app: the app that it opened.
        debug: whether its engine looks for mistakes of hooks.
        mistakes: those that were found, and not raised yet.
    """

    number: int
    ground: Backend
    simulation: Simulation
    border: Boundary
    store: Store | None = None
    open_app: OpenApp | None = None
    debug: bool = True
    mistakes: list[HookMistake] = attrs.Factory(list[HookMistake])
    _jobs: Client | None = None
    _begun: list[SpawnedTask[Any]] = attrs.Factory(list[SpawnedTask[Any]])

    # ------------------------------------------------------------ its life
    def open(self, app: App[Any], witness: Witness, left: Left) -> None:
        """Open the store, recover what was left behind, and take requests.

        Args:
            app: what it runs.
            witness: is told what its callers get.
            left: how the worker before ended.

        Raises:
            WorkerDied: it died on the way.
        """
        store = self.complete(self.ground.open(self.simulation.runtime))
        self.store = attrs.evolve(store, left="died") if left == "died" else store
        self.border.note(WorkerOpened(self.store.name, self.store.epoch))
        self.open_app = app.open(
            store_behind(self.border, self.store, answers=self.ground.answers),
            runtime=self.simulation.runtime,
            perform=perform_behind(self.border),
            run_ended=self._note_run,
            debug=self.debug,
            mistake_found=lambda mistake: self.mistakes.append(mistake),  # noqa: PLW0108 - the list is replaced
        )
        self._jobs = Client(WatchedGateway(gateway_of(self.complete(self.open_app.__aenter__())).engine, witness))
        self.settle()

    def _note_run(self, execute: Execute, exit_: Exit[Any, Any]) -> None:
        address, run_id = execute.instance.address, execute.claim.run_id
        self.border.note(ProgramEnded(address, execute.hook, exit_, execute.request, run_id))

    def close(self) -> None:
        """Stop gracefully."""
        if self.open_app is not None:
            self.complete(self.open_app.__aexit__(None, None, None))
            self.settle_quietly()  # callers that were answered on the way hear of it
        self.simulation.close()

    def try_to_close(self, within_ms: float) -> bool:
        """Stop gracefully, as far as that comes to an end in time; False: it did not."""
        if self.open_app is None:
            return True
        closing = self.begin(self.open_app.__aexit__(None, None, None))
        if not self.wait_for(closing.done, within_ms):
            return False
        closing.result()
        self.settle()
        return True

    def crash(self) -> None:
        """Die where it stands."""
        self.border.die("where it stood")
        self.drop()

    def drop(self) -> None:
        """Let it end, unnoted: its store is closed under it, and none of its tasks goes on."""
        self.border.shut("where it stood")
        if self.open_app is not None:
            self.open_app.abandon()
        self.settle_quietly()  # calls that had not begun reach the border: each coroutine was awaited
        if self.store is not None:
            self._past_the_border(_closed(self.store))
        self.simulation.close()

    @property
    def jobs(self) -> Client | None:
        """Its jobs, once it is open."""
        return self._jobs

    @property
    def is_alive(self) -> bool:
        """Whether it did not die."""
        return self.border.died_at is None

    @property
    def unanswered(self) -> tuple[str, ...]:
        """The calls that have no answer, one line each."""
        return tuple("a caller without an answer" for task in self._begun if not task.done())

    @property
    def remaining(self) -> tuple[str, ...]:
        """The tasks that have not ended and the timers that are set, one line each."""
        tasks = (f"the task {task.name!r}, which waits for {task.waiting_for!r}" for task in self.simulation.alive)
        return (*tasks, *self.simulation.timers)

    # ------------------------------------------------------------ its time
    def complete(self, work: Coroutine[Any, Any, A]) -> A:
        """Run a coroutine to its end; the clock moves as far as that needs.

        Raises:
            WorkerDied: it died first.
        """
        task = self.begin(work)
        self.wait_for(task.done, float("inf"))
        return task.result()

    def begin(self, work: Coroutine[Any, Any, A]) -> SpawnedTask[A]:
        """Run a coroutine beside everything else."""
        self._begun = [task for task in self._begun if not task.done()]
        task = self.simulation.runtime.spawn(work, name="caller")
        self._begun.append(task)
        return task

    def wait_for(self, reached: Callable[[], bool], within_ms: float) -> bool:
        """Run until something is so; False when the clock has moved all the way instead.

        Raises:
            WorkerDied: it died first.
        """
        border = self.border
        self.ground.run_until(self.simulation, lambda: border.died_at is not None or reached(), within_ms)
        self.raise_mistake()
        if border.died_at is not None:
            raise WorkerDied(border.died_at)
        return reached()

    def settle(self) -> None:
        """Run until every task waits for the clock or for a release.

        Raises:
            WorkerDied: it died meanwhile.
        """
        self.advance(0)

    def advance(self, duration_ms: int) -> None:
        """Move the clock; what is due on the way happens. The clock moves all the way, also when the worker dies.

        Raises:
            WorkerDied: it died meanwhile. Time that passes after its death raises nothing.
        """
        was_alive = self.is_alive
        self.ground.run_until(self.simulation, _never, duration_ms)
        self.settle_quietly()
        self.raise_mistake()
        if was_alive and self.border.died_at is not None:
            raise WorkerDied(self.border.died_at)

    def raise_mistake(self) -> None:
        """Raise the first mistake of a hook that was found since the last time.

        Raises:
            HookMistake: there is one.
        """
        found, self.mistakes = self.mistakes, []
        if found:
            raise found[0]

    def settle_quietly(self) -> None:
        """Do as `settle`; a death is for the next call to report."""
        self.ground.run_until(self.simulation, _never, 0)

    def wake(self, now_ms: int) -> None:
        """Go on after having stood still until now; what it waited for outside has come meanwhile."""
        self.border.release_all()
        self.simulation.stand_still(now_ms - self.simulation.now_ms)
        self.settle_quietly()

    def look(self, work: Coroutine[Any, Any, A]) -> A:
        """Run something that reaches past the border, such as a look at the store; nobody draws otherwise for it."""
        with self.simulation.aside():
            return self._past_the_border(work)

    def _past_the_border(self, work: Coroutine[Any, Any, A]) -> A:
        task = self.begin(work)
        self.ground.run_until(self.simulation, task.done, float("inf"))
        return task.result()


async def _closed(store: Store) -> None:
    await store.close()


def _never() -> bool:
    return False

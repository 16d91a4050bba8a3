"""One engine of a cluster: the equivalent of a process on a machine of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

import attrs
from returns.result import Result

from perdure.app import App, OpenApp, for_tests
from perdure.client.client import Client
from perdure.client.local_gateway import engine_of
from perdure.jobs.call import Call, result_of
from perdure.jobs.draft import HookBug
from perdure.runtime.record import SpawnedTask
from perdure.runtime.simulated import SimulatedProcess
from perdure.stores.contract import Store
from perdure.stores.memory import SharedMemoryBackend
from perdure.testing.world.boundary import Boundary, perform_behind
from perdure.testing.world.store_crossing import store_behind
from perdure.testing.world.trace_event import WorkerClosed, WorkerOpened
from perdure.values.errors import EnsureFailed, StoreError
from perdure.values.times import Duration, duration_ms

A = TypeVar("A")
E = TypeVar("E", bound=Exception)


@attrs.define(kw_only=True, eq=False)
class ClusterEngine:
    """One engine, and the simulated process in which it runs.

    Attributes:
        number: counts the engines of a cluster, from 1.
        app: its app.
        process: its time and its tasks.
        boundary: its way to the store and the services.
        debug: whether it looks for mistakes of hooks.
        store: its store, without the boundary; None until it is open.
        client: its client; None until it is open.
        mistakes: the mistakes of hooks that its engine detected.
    """

    number: int
    app: App[Any]
    process: SimulatedProcess
    boundary: Boundary
    debug: bool = True
    store: Store | None = None
    client: Client | None = None
    mistakes: list[HookBug] = attrs.Factory(list[HookBug])
    _opening: SpawnedTask[None] | None = None
    _open_app: OpenApp | None = None
    _phase: Literal["open", "closing", "closed"] = "open"

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
        """The number of its opening of the store; 0 until it is open."""
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
        """End it without a record, at the end of the cluster."""
        self.boundary.shut("at its current step")
        self.process.close()

    # ------------------------------------------------------------ trouble
    def freeze(self, duration: Duration) -> None:
        """Stop the process at its current step, as SIGSTOP does, and continue it after a while.

        Args:
            duration: of the clock of the simulation.
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

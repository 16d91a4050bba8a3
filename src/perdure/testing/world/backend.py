"""A world's store backends: they keep the data that outlives workers, and run the simulation."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias

import attrs

from perdure.runtime.record import Runtime
from perdure.runtime.simulated import Simulation
from perdure.stores.contract import Store
from perdure.stores.memory import MemoryBackend
from perdure.stores.sqlite import open_sqlite
from perdure.stores.url import open_store
from perdure.testing.world.errors import EventLoopRunning
from perdure.values.errors import DefinitionError

if TYPE_CHECKING:
    import asyncio

Opener: TypeAlias = Callable[[Runtime], Awaitable[Store]]
"""Opens a store again, over the data of earlier openings."""


class Backend(Protocol):
    """Keeps the data, and runs the simulation that uses it."""

    def check(self) -> None:
        """Check that a worker can be opened now."""
        ...

    async def open(self, runtime: Runtime) -> Store:
        """Open the store, after the previous worker has ended."""
        ...

    def run_until(self, simulation: Simulation, reached: Callable[[], bool], within_ms: float) -> bool:
        """Run as `Simulation.run_until` does."""
        ...

    def close(self) -> None:
        """Release all resources."""
        ...


@attrs.frozen
class InMemory:
    """Data in memory. No store operation waits, so no event loop is needed."""

    backend: MemoryBackend = attrs.Factory(MemoryBackend)

    def check(self) -> None:
        """Return: there is no requirement."""

    async def open(self, runtime: Runtime) -> Store:
        """Open the store. It refuses an earlier worker's later operations."""
        return self.backend.open()

    def run_until(self, simulation: Simulation, reached: Callable[[], bool], within_ms: float) -> bool:
        """Run the simulation."""
        return simulation.run_until(reached, within_ms=within_ms)

    def close(self) -> None:
        """Return: there is nothing to release."""


@attrs.define
class Hosted:
    """Data outside this process. Store operations wait for I/O, one at a time, in the world's own event loop.

    Attributes:
        opener: opens the store.
    """

    opener: Opener
    _loop: asyncio.Runner | None = None

    def check(self) -> None:
        """Check that no event loop is running.

        Raises:
            EventLoopRunning: one is.
        """
        import asyncio  # noqa: PLC0415 - a world in memory needs no event loop

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        raise EventLoopRunning

    async def open(self, runtime: Runtime) -> Store:
        """Open the store."""
        return await self.opener(runtime)

    def run_until(self, simulation: Simulation, reached: Callable[[], bool], within_ms: float) -> bool:
        """Run the simulation inside the event loop."""
        return self._runner().run(simulation.run_until_hosted(reached, within_ms=within_ms))

    def close(self) -> None:
        """End the event loop."""
        if self._loop is not None:
            self._loop.close()
            self._loop = None

    def _runner(self) -> asyncio.Runner:
        if self._loop is None:
            import asyncio  # noqa: PLC0415 - a world in memory needs no event loop

            self._loop = asyncio.Runner()
        return self._loop


def backend_of(store: str | os.PathLike[str] | Opener) -> Backend:
    """Return the backend for a world's ``store`` argument.

    Args:
        store: ``memory://``, another store's URL, a SQLite file's path, or a function that opens a store.

    Raises:
        DefinitionError: it is none of these.
    """
    match store:
        case "memory://":
            return InMemory()
        case str() if "://" in store:
            return Hosted(lambda runtime: open_store(store, runtime=runtime))
        case os.PathLike():
            return Hosted(lambda runtime: open_sqlite(store, durability="relaxed", runtime=runtime))
        case _ if callable(store):
            return Hosted(store)
        case _:
            expected = "'memory://', the URL of a store, the path of a SQLite file, or a function that opens a store"
            raise DefinitionError("store of a World", store, expected)

"""What a store's author hands to the suite: somewhere to open stores over the same data again and again."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Protocol, TypeAlias, runtime_checkable

from perdure.stores.store import Store
from perdure.testing.conformance.requirement import RequirementViolated
from perdure.values.address import Address


class StoreHarness(Protocol):
    """Somewhere for one store's data: a file, a schema, a dictionary. It is empty when a case begins.

    The place keeps the data over ``close`` and ``open``, whatever the durability of the store.
    """

    async def open(self) -> Store:
        """Open a store over the data that is there.

        While another is open, a store of many processes is opened beside it. One that is owned either raises
        ``StoreLocked``, or ends the other.
        """
        ...

    async def discard(self) -> None:
        """Throw the data away. Every store has been closed, or was killed."""
        ...


@runtime_checkable
class KillableHarness(StoreHarness, Protocol):
    """A harness that can kill the open store. `SubprocessHarness` makes one of any harness that can be pickled."""

    async def kill(self) -> None:
        """End the open store as a crash of its process would, in the middle of whatever it does.

        What it had not answered is then answered with a failure; what it had not done is never done.
        """
        ...


@runtime_checkable
class CorruptibleHarness(StoreHarness, Protocol):
    """A place that can damage what is stored, for the promises about rows that cannot be read."""

    async def damage(self, address: Address) -> None:
        """Make the row of an instance unreadable. No store is open."""
        ...


NewHarness: TypeAlias = Callable[[], StoreHarness]
"""Makes an empty place: most often its class."""


@asynccontextmanager
async def opened(place: StoreHarness) -> AsyncGenerator[Store]:
    """Open a store for one case, and leave nothing of it."""
    store = await place.open()
    try:
        yield store
    finally:
        await store.close()
        await place.discard()


@contextmanager
def must_open() -> Generator[None]:
    """Open a store that has no reason to refuse.

    Raises:
        RequirementViolated: it raised.
    """
    try:
        yield
    except Exception as error:
        raised = f"{type(error).__name__}: {error}"
        raise RequirementViolated(f"the store does not open again: it raised {raised}") from error

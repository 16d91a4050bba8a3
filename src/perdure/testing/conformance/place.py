"""What a store's author hands to the suite: somewhere to open stores over the same data again and again."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Protocol

from perdure.stores.store import Store


class Place(Protocol):
    """Somewhere for one store's data: a file, a schema, a dictionary. It is empty when a case begins."""

    async def open(self) -> Store:
        """Open a store over the data that is there. The one before has been closed."""
        ...

    async def discard(self) -> None:
        """Throw the data away. Every store has been closed."""
        ...


@asynccontextmanager
async def opened(place: Place) -> AsyncGenerator[Store]:
    """Open a store for one case, and leave nothing of it."""
    store = await place.open()
    try:
        yield store
    finally:
        await store.close()
        await place.discard()

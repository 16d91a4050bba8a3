"""Harnesses for the stores of this package."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Literal

from perdure.stores.contract import Store
from perdure.stores.copying.contract import CopySource, CopyTarget
from perdure.stores.memory import MemoryBackend, SharedMemoryBackend
from perdure.stores.sqlite import copying, open_sqlite
from perdure.values.address import Address


class MemoryHarness:
    """A memory store."""

    def __init__(self) -> None:
        self._backend = MemoryBackend()

    async def open(self) -> Store:
        """Open it over the same tables."""
        return self._backend.open()

    async def discard(self) -> None:
        """Do nothing: the garbage collector frees the tables."""


class SharedMemoryHarness:
    """A memory store that several openings share, with a clock that only the cases move."""

    def __init__(self) -> None:
        self._now_ms = 0.0
        self._backend = SharedMemoryBackend(lambda: self._now_ms)

    async def open(self) -> Store:
        """Open it beside its other openings."""
        return self._backend.open()

    async def pass_time(self, duration_ms: float) -> None:
        """Move the clock of the store."""
        self._now_ms += duration_ms

    async def discard(self) -> None:
        """Do nothing: the garbage collector frees the tables."""


class SqliteHarness:
    """A SQLite file in a temporary folder.

    Args:
        durability: as for `open_sqlite`. The requirements are the same for both; ``relaxed`` is faster.
    """

    def __init__(self, durability: Literal["full", "relaxed"] = "relaxed") -> None:
        self._durability: Literal["full", "relaxed"] = durability
        self._folder = Path(tempfile.mkdtemp(prefix="perdure-"))

    async def open(self) -> Store:
        """Open the file."""
        return await open_sqlite(self._folder / "jobs.db", durability=self._durability)

    async def copy_source(self) -> CopySource:
        """Lock and read the file."""
        return await copying.open_source(str(self._folder / "jobs.db"))

    async def copy_target(self) -> CopyTarget:
        """Write the file."""
        return await copying.open_target(str(self._folder / "jobs.db"))

    async def discard(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self._folder)

    async def damage(self, address: Address) -> None:
        """Write something that is not JSON into an instance's row."""
        with closing(sqlite3.connect(self._folder / "jobs.db")) as database, database:
            sql = "UPDATE instances SET pending_retry = 'not JSON' WHERE kind = ? AND name = ? AND id = ?"
            database.execute(sql, (address.kind, address.name, address.id))

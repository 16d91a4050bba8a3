"""The store in one SQLite file."""

from __future__ import annotations

import os
from typing import Literal

from perdure.runtime.record import Runtime
from perdure.stores.store import Store
from perdure.values.errors import DefinitionError

__all__ = ["open_sqlite"]


async def open_sqlite(
    path: str | os.PathLike[str],
    *,
    durability: Literal["full", "relaxed"] = "full",
    runtime: Runtime | None = None,
) -> Store:
    """Open a SQLite file as a store, creating it if it is not there. One engine owns the file until it is closed.

    The store must be closed: the driver's thread keeps the process alive.

    Args:
        path: the file; ``<path>.lock``, ``<path>-wal`` and ``<path>-shm`` come to lie beside it. It belongs on a local
            disk.
        durability: ``full``: what was committed survives loss of power. ``relaxed``: it survives a crash of the
            process; loss of power may cost all since the last checkpoint, never consistency.
        runtime: how the store waits and starts its task; by default that of the running event loop.

    Returns:
        The open store.

    Raises:
        DefinitionError: the driver is not installed, or the durability is not one of the two.
        StoreLocked: another engine owns the file.
        StoreTooNew: a newer version of the library wrote it; nothing was changed.
        StoreCorrupt: the file is not a store of this library; nothing was changed.
        StoreUnavailable: the file cannot be opened for writing.
    """
    if durability not in ("full", "relaxed"):
        raise DefinitionError("durability of a SQLite store", durability, "'full' or 'relaxed'")
    try:
        from perdure.stores.sqlite.opening import open_file  # noqa: PLC0415 - the driver is an extra
    except ModuleNotFoundError as error:
        if error.name != "aiosqlite":
            raise
        expected = "the driver aiosqlite to be installed: pip install 'perdure[sqlite]'"
        raise DefinitionError(f"store sqlite:///{os.fspath(path)}", "no module aiosqlite", expected) from error
    if runtime is None:
        from perdure.runtime.on_asyncio import asyncio_runtime  # noqa: PLC0415 - asyncio is imported when needed

        runtime = asyncio_runtime()
    return await open_file(path, durability=durability, runtime=runtime)

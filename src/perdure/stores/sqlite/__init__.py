"""The store in one SQLite file."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Final, Literal

from perdure._lazy import lazy_names
from perdure.runtime.record import Runtime
from perdure.stores.contract import Store
from perdure.stores.values import IfMissing, OnLocked
from perdure.values.errors import DefinitionError

DEFAULT_CACHE_BYTES: Final = 64 * 1024 * 1024
"""The size of SQLite's own page cache."""

if TYPE_CHECKING:
    from perdure.stores.sqlite.shipping import ship_changes

__all__ = ["open_sqlite", "ship_changes"]

__getattr__, __dir__ = lazy_names(__name__, {"perdure.stores.sqlite.shipping": ("ship_changes",)})


async def open_sqlite(
    path: str | os.PathLike[str],
    *,
    durability: Literal["full", "relaxed"] = "full",
    cache_bytes: int = DEFAULT_CACHE_BYTES,
    on_locked: OnLocked = "raise",
    if_missing: IfMissing = "create",
    runtime: Runtime | None = None,
) -> Store:
    """Open a SQLite file as a store, and create it if it does not exist. One engine owns the file until it is closed.

    Close the store: the driver's thread keeps the process alive.

    Args:
        path: the file. ``<path>.lock``, ``<path>-wal`` and ``<path>-shm`` are created next to it. It belongs on a local
            disk.
        durability: ``full``: commits survive a power loss. ``relaxed``: they survive a process crash. A power loss may
            lose all since the last checkpoint, never consistency.
        cache_bytes: the maximum size for the cache, which holds instances that were read or written recently. 0
            disables it. By default 64 MiB.
        on_locked: the reaction if another engine owns the file. ``raise``: raise ``StoreLocked``. ``wait``: stand by,
            and take over within 200 ms after that engine ends. Cancelling the wait takes nothing.
        if_missing: when the file is missing or empty. ``create``: create an empty store, unless an engine left its
            write-ahead log beside it, so that data was lost. ``refuse``: raise ``StoreMissing``.
        runtime: how the store waits and starts its task. By default the running event loop's runtime.

    Returns:
        The open store.

    Raises:
        DefinitionError: the driver is not installed, or an option is invalid.
        StoreLocked: another engine owns the file, and ``on_locked`` is ``raise``.
        StoreMissing: the file is missing or empty, and is not created.
        StoreTooNew: a newer version of the library wrote it. Nothing was changed.
        StoreCorrupt: the file is not a perdure store. Nothing was changed.
        StoreUnavailable: the file cannot be opened for writing.
    """
    if durability not in ("full", "relaxed"):
        raise DefinitionError("durability of a SQLite store", durability, "'full' or 'relaxed'")
    if type(cache_bytes) is not int or cache_bytes < 0:
        raise DefinitionError("cache_bytes of a SQLite store", cache_bytes, "a number of bytes, 0 or more")
    if on_locked not in ("raise", "wait"):
        raise DefinitionError("on_locked of a SQLite store", on_locked, "'raise' or 'wait'")
    if if_missing not in ("create", "refuse"):
        raise DefinitionError("if_missing of a SQLite store", if_missing, "'create' or 'refuse'")
    try:
        import_module("aiosqlite")
    except ModuleNotFoundError as error:
        if error.name != "aiosqlite":
            raise
        expected = "the driver aiosqlite to be installed: pip install 'perdure[sqlite]'"
        raise DefinitionError(f"store sqlite:///{os.fspath(path)}", "no module aiosqlite", expected) from error
    from perdure.stores.sqlite.opening import open_file  # noqa: PLC0415 - imported when a store is opened

    if runtime is None:
        from perdure.runtime.on_asyncio import asyncio_runtime  # noqa: PLC0415 - asyncio is imported when needed

        runtime = asyncio_runtime()
    return await open_file(
        path,
        durability=durability,
        cache_bytes=cache_bytes,
        on_locked=on_locked,
        if_missing=if_missing,
        runtime=runtime,
    )

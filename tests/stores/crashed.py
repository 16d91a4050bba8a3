"""The files after a crash: a database whose newest commit is in its log."""

from __future__ import annotations

import shutil
from pathlib import Path

from perdure.stores.sqlite import open_sqlite
from perdure.testing.conformance.assertions import value
from perdure.testing.conformance.histories import address, created


async def crash(path: Path, left: Path) -> None:
    """Commit an instance named ``in the log``, and copy the files as a crash at that moment would leave them."""
    store = await open_sqlite(path)
    await created(store, address("in the log"))
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", f"{left}{suffix}")
    await value(store.close())

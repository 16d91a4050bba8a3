"""Opens the source and the target of a copy by their URLs."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Final

from perdure.stores.copying.contract import Copying, CopySource, CopyTarget
from perdure.stores.postgres import check_driver
from perdure.stores.postgres.settings import SCHEMES, settings_of
from perdure.stores.redacted_url import redacted_url, split_url
from perdure.stores.sqlite import copying as sqlite
from perdure.stores.url import sqlite_path
from perdure.values.errors import DefinitionError

ENTRY_POINTS: Final = "perdure.copying"
"""The entry point group in which an installed package declares, for a scheme, its `Copying`."""


async def open_copy_source(url: str) -> CopySource:
    """Open the store that is read.

    Args:
        url: its URL, as for `open_store`.

    Raises:
        DefinitionError: the scheme is unknown, or its stores cannot be copied.
        StoreError: the store cannot be opened, or an engine has it open.
    """
    return await copying_of(url).open_source(url)


async def open_copy_target(url: str) -> CopyTarget:
    """Open the store that is written.

    Args:
        url: its URL, as for `open_store`.

    Raises:
        DefinitionError: the scheme is unknown, or its stores cannot be copied.
        StoreError: the store cannot be opened, or an engine has it open.
    """
    return await copying_of(url).open_target(url)


def copying_of(url: str) -> Copying:
    """Return how the stores of a scheme are copied.

    Args:
        url: a store URL.

    Raises:
        DefinitionError: the scheme is unknown, or its stores cannot be copied.
    """
    scheme = split_url(url).scheme
    if scheme == "sqlite":
        path = sqlite_path(url)
        return Copying(open_source=lambda _: sqlite.open_source(path), open_target=lambda _: sqlite.open_target(path))
    if scheme in SCHEMES:
        check_driver(settings_of(url))
        from perdure.stores.postgres import copying  # noqa: PLC0415 - the driver is an extra

        return Copying(open_source=copying.open_source, open_target=copying.open_target)
    for entry in entry_points(group=ENTRY_POINTS, name=scheme):
        found: Copying = entry.load()
        return found
    raise DefinitionError(
        "store of a copy",
        redacted_url(url),
        "'sqlite:///jobs.db', 'postgresql://user@host/database', or a package that declares how",
    )

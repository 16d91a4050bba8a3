"""The store in a PostgreSQL schema."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from perdure.runtime.record import Runtime
from perdure.stores.contract import Store
from perdure.stores.postgres.settings import settings_of
from perdure.stores.values import OnLocked
from perdure.values.errors import DefinitionError

if TYPE_CHECKING:
    from perdure.stores.postgres.settings import PostgresSettings

__all__ = ["migrate_schema", "open_postgres"]


async def open_postgres(url: str, *, on_locked: OnLocked = "raise", runtime: Runtime | None = None) -> Store:
    """Open a PostgreSQL schema as a store, and create its tables if they do not exist.

    Args:
        url: ``postgresql://user:password@host:5432/database``. Query options: ``schema`` (by default ``perdure``),
            ``durability`` (``full`` or ``relaxed``), ``cache`` (the instance cache's bound, by default ``64MiB``),
            ``if_missing`` (``create`` or ``refuse``), ``replica`` (the host that answers lists). Other options are
            PostgreSQL parameters, such as ``sslmode=require``.
        on_locked: the reaction if another engine owns the schema. ``raise``: raise ``StoreLocked``. ``wait``: stand by,
            and take over within 200 ms after that engine ends.
        runtime: how the store waits and starts its tasks. By default the running event loop's runtime.

    Returns:
        The open store.

    Raises:
        DefinitionError: the driver is not installed, or an option is invalid.
        StoreLocked: another engine owns the schema, and ``on_locked`` is ``raise``.
        StoreMissing: the schema does not exist, and is not created.
        StoreTooNew: a newer version of the library migrated it. Nothing was changed.
        StoreUnavailable: the server cannot be reached, or refuses the user or the tables.
    """
    settings = settings_of(url)
    if on_locked not in ("raise", "wait"):
        raise DefinitionError("on_locked of a PostgreSQL store", on_locked, "'raise' or 'wait'")
    check_driver(settings)
    from perdure.stores.postgres.opening import open_schema  # noqa: PLC0415 - the driver is an extra

    if runtime is None:
        from perdure.runtime.on_asyncio import asyncio_runtime  # noqa: PLC0415 - asyncio is imported when needed

        runtime = asyncio_runtime()
    return await open_schema(settings, on_locked=on_locked, runtime=runtime)


async def migrate_schema(url: str) -> int:
    """Create a store's tables, or bring them to this code's version.

    `open_postgres` does it too.

    Args:
        url: as for `open_postgres`.

    Returns:
        The version that the tables had before. 0 if there were none.

    Raises:
        DefinitionError: the driver is not installed, or an option is invalid.
        StoreTooNew: a newer version of the library migrated the tables. Nothing was changed.
        StoreUnavailable: the server cannot be reached, or refuses the user or the tables.
    """
    settings = settings_of(url)
    check_driver(settings)
    from perdure.stores.postgres.opening import connected  # noqa: PLC0415 - the driver is an extra
    from perdure.stores.postgres.schema import migrate  # noqa: PLC0415 - as above

    async with connected(settings) as connection:
        return await migrate(connection, store=settings.name, schema=settings.schema)


def check_driver(settings: PostgresSettings) -> None:
    """Check that the driver is installed.

    Raises:
        DefinitionError: it is not.
    """
    try:
        import_module("perdure.stores.postgres.connections")
    except ModuleNotFoundError as error:
        if error.name != "asyncpg":
            raise
        expected = "the driver asyncpg to be installed: pip install 'perdure[postgres]'"
        raise DefinitionError(f"store {settings.name}", "no module asyncpg", expected) from error

"""Opens a schema of a PostgreSQL database as a store."""

from __future__ import annotations

from typing import Any

from perdure.runtime.record import Runtime
from perdure.stores.postgres.connections import KEEPALIVE, Connections, connect
from perdure.stores.postgres.event_log import EventLog
from perdure.stores.postgres.failures import DRIVER_ERRORS, unavailable
from perdure.stores.postgres.health import Checks
from perdure.stores.postgres.keeper import Keeper
from perdure.stores.postgres.listings import Listings
from perdure.stores.postgres.operations import Operations
from perdure.stores.postgres.schema import migrate, version_of
from perdure.stores.postgres.search import Searches
from perdure.stores.postgres.settings import Settings
from perdure.stores.store import Capabilities, Left, OnLocked, Store
from perdure.values.errors import StoreMissing


async def open_schema(settings: Settings, *, on_locked: OnLocked, runtime: Runtime) -> Store:
    """Open a schema, and create its tables if they do not exist.

    Raises:
        StoreError: it cannot be opened.
    """
    try:
        connection = await connect(settings.dsn, settings=KEEPALIVE)
    except (*DRIVER_ERRORS, ValueError) as error:
        raise unavailable(f"connect to {settings.name}", error) from error
    try:
        return await _opened(connection, settings, on_locked, runtime)
    except DRIVER_ERRORS as error:
        connection.terminate()
        raise unavailable(f"open {settings.name}", error) from error
    except BaseException:
        connection.terminate()
        raise


async def _opened(connection: Any, settings: Settings, on_locked: OnLocked, runtime: Runtime) -> Store:
    if settings.if_missing == "refuse" and not await version_of(connection, settings.schema):
        raise StoreMissing(settings.name, f"there is no schema {settings.schema!r}; create it with 'perdure migrate'")
    await migrate(connection, store=settings.name, schema=settings.schema)
    keeper = Keeper(connection, f'"{settings.schema}"')
    await keeper.acquire(store=settings.name, on_locked=on_locked, runtime=runtime)
    epoch, ended = await keeper.own()
    connections = await Connections.open(settings.dsn, settings.name)
    operations = Operations(runtime, settings, connections, keeper, epoch)
    return _store(settings, operations, "died" if ended else "closed")


def _store(settings: Settings, operations: Operations, left: Left) -> Store:
    listings, log = Listings(operations), EventLog(operations)
    searches = Searches(operations, listings)
    return Store(
        name=settings.name,
        epoch=operations.epoch,
        capabilities=Capabilities(ownership="owned", durability=settings.durability),
        load=operations.load,
        commit=operations.commit,
        due=listings.due,
        next_alarm=listings.next_alarm,
        claimed=listings.claimed,
        messages=listings.messages,
        next_message=listings.next_message,
        dead_letters=listings.dead_letters,
        redrive=log.redrive,
        find=searches.find,
        history=log.history,
        events=log.events,
        prune=log.prune,
        health=Checks(operations).health,
        close=operations.close,
        lost=operations.lost,
        count_messages=listings.count_messages,
        cursor=log.cursor,
        move_cursor=log.move_cursor,
        holds=listings.holds,
        set_hold=listings.set_hold,
        due_except=listings.due_except,
        counts=listings.counts,
        search=searches.search,
        left=left,
    )

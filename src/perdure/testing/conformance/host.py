"""A process that does nothing but hold a store, and can be killed: this is its side."""

from __future__ import annotations

import asyncio
import os
from multiprocessing.connection import Connection
from typing import Any, TypeAlias

import attrs
from returns.result import Result

from perdure.stores.store import Capabilities, Store
from perdure.testing.conformance.fuse import Fuse, Line
from perdure.testing.conformance.place import Place
from perdure.testing.conformance.promise import answer


@attrs.frozen
class Ask:
    """Do an operation of the store."""

    number: int
    operation: str
    arguments: tuple[object, ...]


@attrs.frozen
class Arm:
    """Die at the line after so many."""

    lines: int


@attrs.frozen
class Disarm:
    """Do not die, and say how many lines ran since."""


Order: TypeAlias = Ask | Arm | Disarm


@attrs.frozen
class Opened:
    """The store is open."""

    name: str
    epoch: int
    capabilities: Capabilities


@attrs.frozen
class Refused:
    """The store could not be opened."""

    error: Exception


@attrs.frozen
class Answered:
    """What an operation answered, or what it raised."""

    number: int
    result: Result[Any, Any] | None
    raised: str = ""


@attrs.frozen
class Ran:
    """So many lines ran."""

    lines: int


Report: TypeAlias = Opened | Refused | Answered | Ran | Line


def host(place: Place, connection: Connection[Report, Order]) -> None:
    """Open a place's store and serve it, until the other side is gone."""
    fuse = Fuse(connection.send)
    fuse.install()
    asyncio.run(_serve(place, connection, fuse))


async def _serve(place: Place, connection: Connection[Report, Order], fuse: Fuse) -> None:
    try:
        store = await place.open()
    except Exception as error:  # noqa: BLE001 - whatever it is, the other side raises it
        connection.send(Refused(error))
        return
    fuse.watch(store)
    connection.send(Opened(store.name, store.epoch, store.capabilities))
    tasks: set[asyncio.Task[None]] = set()
    ended = asyncio.Event()

    def take() -> None:
        try:
            order = connection.recv()
        except EOFError:
            ended.set()
            return
        match order:
            case Ask():
                task = asyncio.ensure_future(_answer(store, order, connection))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            case Arm(lines):
                fuse.arm(lines)
            case Disarm():
                connection.send(Ran(fuse.disarm()))

    asyncio.get_running_loop().add_reader(connection.fileno(), take)
    await ended.wait()
    os._exit(0)  # at once: whoever wants the store closed has asked for it


async def _answer(store: Store, ask: Ask, connection: Connection[Report, Order]) -> None:
    try:
        result = await answer(getattr(store, ask.operation)(*ask.arguments))
    except Exception as error:  # noqa: BLE001 - a defect of the store, reported as such
        connection.send(Answered(ask.number, None, f"{type(error).__name__}: {error}"))
        return
    connection.send(Answered(ask.number, result))

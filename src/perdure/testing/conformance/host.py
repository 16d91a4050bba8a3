"""A process that does nothing but hold a store, and can be killed: this is its side."""

from __future__ import annotations

import asyncio
import os
from multiprocessing.connection import Connection
from typing import Any, TypeAlias

import attrs
from returns.result import Result

from perdure.stores.store import Capabilities, Left, Store
from perdure.testing.conformance.crash_injector import CrashInjector, LinesRun, SourceLine
from perdure.testing.conformance.harness import StoreHarness
from perdure.testing.conformance.requirement import answer


@attrs.frozen
class HostCall:
    """Do an operation of the store."""

    number: int
    operation: str
    arguments: tuple[object, ...]


@attrs.frozen
class ArmCrash:
    """Die at the line after so many."""

    lines: int


@attrs.frozen
class DisarmCrash:
    """Do not die, and say how many lines ran since."""


Order: TypeAlias = HostCall | ArmCrash | DisarmCrash


@attrs.frozen
class HostOpened:
    """The store is open."""

    name: str
    epoch: int
    capabilities: Capabilities
    left: Left


@attrs.frozen
class HostRefused:
    """The store could not be opened."""

    error: Exception


@attrs.frozen
class HostAnswered:
    """What an operation answered, or what it raised."""

    number: int
    result: Result[Any, Any] | None
    raised: str = ""


Report: TypeAlias = HostOpened | HostRefused | HostAnswered | LinesRun | SourceLine


def host(place: StoreHarness, connection: Connection[Report, Order]) -> None:
    """Open a place's store and serve it, until the other side is gone."""
    fuse = CrashInjector(connection.send)
    fuse.install()
    asyncio.run(_serve(place, connection, fuse))


async def _serve(place: StoreHarness, connection: Connection[Report, Order], fuse: CrashInjector) -> None:
    try:
        store = await place.open()
    except Exception as error:  # noqa: BLE001 - whatever it is, the other side raises it
        connection.send(HostRefused(error))
        return
    fuse.watch(store)
    connection.send(HostOpened(store.name, store.epoch, store.capabilities, store.left))
    tasks: set[asyncio.Task[None]] = set()
    ended = asyncio.Event()

    def take() -> None:
        try:
            order = connection.recv()
        except EOFError:
            ended.set()
            return
        match order:
            case HostCall():
                task = asyncio.ensure_future(_answer(store, order, connection))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            case ArmCrash(lines):
                fuse.arm(lines)
            case DisarmCrash():
                connection.send(fuse.disarm())

    asyncio.get_running_loop().add_reader(connection.fileno(), take)
    await ended.wait()
    os._exit(0)  # at once: whoever wants the store closed has asked for it


async def _answer(store: Store, ask: HostCall, connection: Connection[Report, Order]) -> None:
    try:
        result = await answer(getattr(store, ask.operation)(*ask.arguments))
    except Exception as error:  # noqa: BLE001 - a defect of the store, reported as such
        connection.send(HostAnswered(ask.number, None, f"{type(error).__name__}: {error}"))
        return
    connection.send(HostAnswered(ask.number, result))

"""The process that holds a store and can be killed: its side of the connection."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Literal, TypeAlias

import attrs
from returns.result import Result

from perdure.stores.contract import Store
from perdure.stores.values import Capabilities, PreviousExit
from perdure.testing.conformance.crash_injector import ArmCrash, CrashInjector, LinesRun, SourceLine
from perdure.testing.conformance.harness import StoreHarness
from perdure.testing.conformance.requirement import answer
from perdure.testing.conformance.write_limit import ArmWriteLimit, WriteLimit


@attrs.frozen
class HostCall:
    """Call an operation of the store."""

    number: int
    operation: str
    arguments: tuple[object, ...]


@attrs.frozen
class DisarmCrash:
    """Do not crash, and report how many lines ran since."""


Order: TypeAlias = HostCall | ArmCrash | ArmWriteLimit | DisarmCrash


@attrs.frozen(kw_only=True)
class HostOpened:
    """The store is open.

    Attributes:
        name: that of the store.
        epoch: that of the store.
        capabilities: those of the store.
        left: that of the store.
        journals: whether the store keeps journals.
        code: where the store's code is.
        ran: which lines of it ran to open the store, if an injector was armed.
        lanes: whether it has lanes.
    """

    name: str
    epoch: int
    capabilities: Capabilities
    left: PreviousExit
    journals: Literal["kept", "none"]
    code: str
    ran: LinesRun
    lanes: bool


@attrs.frozen
class HostRefused:
    """The store could not be opened."""

    error: Exception


@attrs.frozen
class HostAnswered:
    """What an operation returned or raised."""

    number: int
    result: Result[Any, Any] | None
    raised: str = ""


Report: TypeAlias = HostOpened | HostRefused | HostAnswered | LinesRun | SourceLine


@attrs.frozen
class OpeningCrash:
    """Crash while the store is opened.

    Attributes:
        code: where the store's code is.
        crash: at which line.
    """

    code: str
    crash: ArmCrash


def host(harness: StoreHarness, connection: Connection[Report, Order], opening: OpeningCrash | None) -> None:
    """Open a harness's store and execute orders, until the suite closes the connection."""
    lock = threading.Lock()

    def send(report: Report) -> None:
        with lock:  # the injector reports from the thread that runs the line
            connection.send(report)

    injector = CrashInjector(send, "" if opening is None else opening.code)
    limit = WriteLimit()
    limit.install()
    injector.install()
    if opening is not None:
        injector.arm(opening.crash)
    asyncio.run(_Host(connection, send, injector, limit).serve(harness))


class _Host:
    def __init__(
        self,
        connection: Connection[Report, Order],
        send: Callable[[Report], None],
        injector: CrashInjector,
        limit: WriteLimit,
    ) -> None:
        self._connection = connection
        self._send = send
        self._injector = injector
        self._limit = limit
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()

    async def serve(self, harness: StoreHarness) -> None:
        try:
            store = await harness.open()
        except Exception as error:  # noqa: BLE001 - the suite raises it
            self._send(HostRefused(error))
            return
        ran = self._injector.disarm()
        self._injector.watch(store)
        self._send(
            HostOpened(
                name=store.name,
                epoch=store.epoch,
                capabilities=store.capabilities,
                left=store.previous_exit,
                journals="none" if store.journal is None else "kept",
                code=self._injector.code,
                ran=ran,
                lanes=store.lanes is not None,
            )
        )
        asyncio.get_running_loop().add_reader(self._connection.fileno(), self._take, store)
        await self._ended.wait()
        os._exit(0)  # at once: the suite has closed the store if it wanted to

    def _take(self, store: Store) -> None:
        try:
            order = self._connection.recv()
        except EOFError:
            self._ended.set()
            return
        match order:
            case HostCall():
                task = asyncio.ensure_future(self._call(store, order))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            case ArmCrash():
                self._injector.arm(order)
            case ArmWriteLimit():
                self._limit.arm(order)
            case DisarmCrash():
                self._send(self._injector.disarm())

    async def _call(self, store: Store, call: HostCall) -> None:
        if call.operation == "commit":
            self._limit.begin_commit()
        try:
            result = await answer(getattr(store, call.operation)(*call.arguments))
        except Exception as error:  # noqa: BLE001 - a defect of the store, reported as such
            self._send(HostAnswered(call.number, None, f"{type(error).__name__}: {error}"))
            return
        if call.operation == "commit":
            self._limit.end_commit()
        self._send(HostAnswered(call.number, result))

"""A harness whose store lives in a process of its own, which can be killed with SIGKILL; and that process."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import threading
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any, Literal, TypeAlias, assert_never

import attrs
from returns.future import FutureResult
from returns.result import Failure, Result

from perdure.stores.contract import Store
from perdure.stores.values import Capabilities, PreviousExit
from perdure.testing.conformance.assertions import RequirementViolated, answer
from perdure.testing.conformance.case import OPERATIONS
from perdure.testing.conformance.crash_injection import (
    ArmCrash,
    ArmWriteLimit,
    CrashInjector,
    LinesRun,
    SourceLine,
    WriteLimit,
)
from perdure.testing.conformance.harness import StoreHarness
from perdure.testing.conformance.requirements import FAILURES_ARE_VALUES
from perdure.values.errors import OutcomeUnknown, StoreUnavailable


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


_NOTHING = LinesRun(0, ())

_LOADED_ONCE = (
    "__main__",
    "perdure.testing.conformance",
    "perdure.runtime.on_asyncio",
    "perdure.stores.sqlite.opening",
)
"""Modules that are loaded before the processes are forked, not in each of them. One that is missing is left out."""

_IMPORTABLE = (
    "the suite kills the store in a process of its own, so it pickles the harness: it must be an instance of a class "
    "at the top of a module that can be imported, with attributes such as paths and texts"
)

CrashOutcome: TypeAlias = LinesRun | SourceLine | None
"""Which lines ran while a crash was armed, or the line before which the process died, or None if it died elsewhere."""


class SubprocessHarness:
    """A harness whose store is opened in another process.

    Args:
        harness: opens the store; each process gets a pickled copy.

    Raises:
        TypeError: the harness cannot be pickled.
    """

    def __init__(self, harness: StoreHarness) -> None:
        try:
            pickle.dumps(harness)
        except Exception as error:
            raise TypeError(f"{harness!r} cannot be sent to another process ({error}): {_IMPORTABLE}") from error
        self._harness = harness
        self._process: _Process | None = None
        self._code = ""

    async def open(self) -> Store:
        """Open the store in a new process."""
        self._process = process = _Process(self._harness)
        opened = await process.opened
        self._code = opened.code
        journal = ("journal",) if opened.journals == "kept" else ()
        names = (*OPERATIONS, *journal, *(("lanes", "queued") if opened.lanes else ()))
        operations: dict[str, Any] = {name: process.operation(name) for name in names}
        return Store(
            name=opened.name,
            epoch=opened.epoch,
            capabilities=opened.capabilities,
            previous_exit=opened.left,
            **operations,
        )

    async def open_and_kill(self, lines: int) -> CrashOutcome:
        """Open the store in a new process, and kill it after so many lines, at the latest when the store is open.

        The store must have been opened before, so that the path of its code is known.

        Returns:
            Which lines ran, or the line before which the process died.
        """
        self._process = process = _Process(self._harness, OpeningCrash(self._code, ArmCrash(lines=lines)))
        try:
            opened = await process.opened
        except RuntimeError:
            if process.killed_before is None:
                raise
            return process.killed_before
        process.kill()
        return opened.ran

    async def kill(self) -> None:
        """Kill the process, whatever it is doing."""
        if self._process is not None:
            self._process.kill()

    async def discard(self) -> None:
        """End the process and delete the data."""
        await self.kill()
        await self._harness.discard()

    def arm(self, crash: ArmCrash | ArmWriteLimit) -> None:
        """Let the process kill itself later."""
        if self._process is not None:
            self._process.send(crash)

    async def disarm(self) -> CrashOutcome:
        """Let the store's code run on.

        Returns:
            Which lines it ran since `arm`, or the line before which it died.
        """
        return _NOTHING if self._process is None else await self._process.disarm()

    async def reached(self) -> None:
        """Wait until the armed line is reached, or the process is dead."""
        if self._process is not None:
            await self._process.reached.wait()


class _Process:
    """This side of a process that holds a store."""

    def __init__(self, harness: StoreHarness, opening: OpeningCrash | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._calls: dict[int, asyncio.Future[Result[Any, Any]]] = {}
        self._number = 0
        self.opened: asyncio.Future[HostOpened] = self._loop.create_future()
        self.reached = asyncio.Event()
        self.killed_before: SourceLine | None = None
        self._ran: asyncio.Future[CrashOutcome] | None = None
        self._connection, self._process = _started(harness, opening)
        self._loop.add_reader(self._connection.fileno(), self._take)

    def operation(self, name: str) -> Callable[..., FutureResult[Any, Any]]:
        """Return an operation of the store."""

        async def call(*arguments: object) -> Result[Any, Any]:
            if self._connection.closed:
                return Failure(StoreUnavailable(name, "its process was killed"))
            self._number = number = self._number + 1
            self._calls[number] = answered = self._loop.create_future()
            self.send(HostCall(number, name, arguments))
            result: Result[Any, Any] = await answered
            return result

        return lambda *arguments: FutureResult(call(*arguments))

    def send(self, order: Order) -> None:
        """Send an order to the process. A dead process ignores it."""
        try:
            self._connection.send(order)
        except OSError:  # it died; what it wrote before is still read
            return

    def disarm(self) -> Awaitable[CrashOutcome]:
        """Query which lines ran."""
        self._ran = self._loop.create_future()
        if self._connection.closed:
            self._ran.set_result(self.killed_before)
        else:
            self.send(DisarmCrash())
        return self._ran

    def kill(self) -> None:
        """Kill the process, and read the answers that it had sent."""
        if self._connection.closed:
            return
        self._process.kill()
        while not self._connection.closed:
            self._take()

    def _take(self) -> None:
        try:
            report = self._connection.recv()
        except (EOFError, ConnectionResetError):
            self._end()
            return
        match report:
            case HostOpened():
                self.opened.set_result(report)
            case HostRefused(error):
                self.opened.set_exception(error)
            case HostAnswered(number, result, raised):
                self._answer(self._calls.pop(number), result, raised)
            case LinesRun():
                self._set_ran(report)
            case SourceLine():
                self.killed_before = report
                self.reached.set()
            case _:
                assert_never(report)

    def _answer(self, call: asyncio.Future[Result[Any, Any]], result: Result[Any, Any] | None, raised: str) -> None:
        if call.cancelled():
            return
        if result is None:
            call.set_exception(RequirementViolated(f"the store raised {raised}", requirements=(FAILURES_ARE_VALUES,)))
        else:
            call.set_result(result)

    def _set_ran(self, ran: CrashOutcome) -> None:
        if self._ran is not None and not self._ran.done():
            self._ran.set_result(ran)

    def _end(self) -> None:
        self._loop.remove_reader(self._connection.fileno())
        self._connection.close()
        self._process.join()
        self._process.close()
        for call in self._calls.values():
            if not call.done():
                call.set_result(Failure(OutcomeUnknown("the store's process was killed before it answered")))
        self._calls.clear()
        self._set_ran(self.killed_before)
        self.reached.set()
        if not self.opened.done():
            self.opened.set_exception(
                RuntimeError(f"the process died before the store was open (standard error says why): {_IMPORTABLE}")
            )


def _started(
    harness: StoreHarness, opening: OpeningCrash | None
) -> tuple[Connection[Order, Report], ForkServerProcess]:
    context = _context()
    ours, theirs = context.Pipe()
    process = context.Process(target=host, args=(harness, theirs, opening), daemon=True)
    process.start()
    theirs.close()
    return ours, process


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_LOADED_ONCE))
    return context

"""A place whose store lives in a process of its own, which can be killed with SIGKILL."""

from __future__ import annotations

import asyncio
import multiprocessing
import pickle
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any, assert_never

from returns.future import FutureResult
from returns.result import Failure, Result

from perdure.stores.store import Store
from perdure.testing.conformance.crash_injector import LinesRun, SourceLine
from perdure.testing.conformance.harness import StoreHarness
from perdure.testing.conformance.host import (
    ArmCrash,
    DisarmCrash,
    HostAnswered,
    HostCall,
    HostOpened,
    HostRefused,
    Order,
    Report,
    host,
)
from perdure.testing.conformance.operation_log import OPERATIONS
from perdure.testing.conformance.requirement import RequirementViolated
from perdure.testing.conformance.requirements import FAILURES_ARE_VALUES
from perdure.values.errors import OutcomeUnknown, StoreUnavailable

_NOTHING = LinesRun(0, ())

_IMPORTABLE = (
    "the suite kills the store in a process of its own, so the place must be one that pickle can carry there: an "
    "instance of a class at the top of a module that can be imported, with attributes such as paths and texts"
)


class SubprocessHarness:
    """A place whose store is opened in another process.

    Args:
        place: the place; each process gets a copy of it by pickle.

    Raises:
        TypeError: the place cannot be pickled.
    """

    def __init__(self, place: StoreHarness) -> None:
        try:
            pickle.dumps(place)
        except Exception as error:
            raise TypeError(f"{place!r} cannot be sent to another process ({error}): {_IMPORTABLE}") from error
        self._place = place
        self._process: _Process | None = None

    async def open(self) -> Store:
        """Open the store in a new process."""
        self._process = process = _Process(self._place)
        opened = await process.opened
        operations: dict[str, Any] = {name: process.operation(name) for name in OPERATIONS}
        return Store(
            name=opened.name,
            epoch=opened.epoch,
            capabilities=opened.capabilities,
            left=opened.left,
            **operations,
        )

    async def kill(self) -> None:
        """Kill the process, wherever it is."""
        if self._process is not None:
            self._process.end()

    async def discard(self) -> None:
        """End the process and throw the data away."""
        await self.kill()
        await self._place.discard()

    def arm(self, lines: int) -> None:
        """Let the store's code run so many lines from now on; before the next one, the process kills itself."""
        if self._process is not None:
            self._process.send(ArmCrash(lines))

    async def disarm(self) -> LinesRun | SourceLine:
        """Let the store's code run on.

        Returns:
            Which lines it ran since `arm`, or the line before which it died.
        """
        return _NOTHING if self._process is None else await self._process.disarm()

    async def burnt(self) -> SourceLine | None:
        """Give the line before which the process killed itself, if it did."""
        return None if self._process is None else self._process.burnt


class _Process:
    """This side of a process that holds a store."""

    def __init__(self, place: StoreHarness) -> None:
        self._loop = asyncio.get_running_loop()
        self._asked: dict[int, asyncio.Future[Result[Any, Any]]] = {}
        self._number = 0
        self.opened: asyncio.Future[HostOpened] = self._loop.create_future()
        self._ran: asyncio.Future[LinesRun | SourceLine] | None = None
        self.burnt: SourceLine | None = None
        self._connection, self._process = _started(place)
        self._loop.add_reader(self._connection.fileno(), self._take)

    def operation(self, name: str) -> Callable[..., FutureResult[Any, Any]]:
        """Give an operation of the store."""

        async def ask(*arguments: object) -> Result[Any, Any]:
            if self._connection.closed:
                return Failure(StoreUnavailable(name, "its process was killed"))
            self._number = number = self._number + 1
            self._asked[number] = answered = self._loop.create_future()
            self.send(HostCall(number, name, arguments))
            found: Result[Any, Any] = await answered
            return found

        return lambda *arguments: FutureResult(ask(*arguments))

    def send(self, order: Order) -> None:
        """Tell the process something. If it is dead, nobody hears."""
        try:
            self._connection.send(order)
        except OSError:  # it died; what it wrote before is still read
            return

    def disarm(self) -> Awaitable[LinesRun | SourceLine]:
        """Ask which lines ran."""
        self._ran = self._loop.create_future()
        if self._connection.closed:
            self._ran.set_result(self.burnt or _NOTHING)
        else:
            self.send(DisarmCrash())
        return self._ran

    def end(self) -> None:
        """Kill the process, after which what it had answered is still read."""
        if self._connection.closed:
            return
        self._process.kill()
        while not self._connection.closed:
            self._take()

    def _take(self) -> None:
        try:
            report = self._connection.recv()
        except (EOFError, ConnectionResetError):
            self._bury()
            return
        match report:
            case HostOpened():
                self.opened.set_result(report)
            case HostRefused(error):
                self.opened.set_exception(error)
            case HostAnswered(number, result, raised):
                self._answer(self._asked.pop(number), result, raised)
            case LinesRun():
                self._settle_ran(report)
            case SourceLine():
                self.burnt = report
            case _:
                assert_never(report)

    def _answer(self, asked: asyncio.Future[Result[Any, Any]], result: Result[Any, Any] | None, raised: str) -> None:
        if asked.cancelled():
            return
        if result is None:
            asked.set_exception(RequirementViolated(f"the store raised {raised}", promises=(FAILURES_ARE_VALUES,)))
        else:
            asked.set_result(result)

    def _settle_ran(self, ran: LinesRun | SourceLine) -> None:
        if self._ran is not None and not self._ran.done():
            self._ran.set_result(ran)

    def _bury(self) -> None:
        self._loop.remove_reader(self._connection.fileno())
        self._connection.close()
        self._process.join()
        self._process.close()
        for asked in self._asked.values():
            if not asked.done():
                asked.set_result(Failure(OutcomeUnknown("the store's process was killed before it answered")))
        self._asked.clear()
        self._settle_ran(self.burnt or _NOTHING)
        if not self.opened.done():
            self.opened.set_exception(
                RuntimeError(f"the process died before the store was open (standard error says why): {_IMPORTABLE}")
            )


def _started(place: StoreHarness) -> tuple[Connection[Order, Report], ForkServerProcess]:
    context = _context()
    ours, theirs = context.Pipe()
    process = context.Process(target=host, args=(place, theirs), daemon=True)
    process.start()
    theirs.close()
    return ours, process


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", "perdure.testing.conformance"])  # once, and not in each process
    return context

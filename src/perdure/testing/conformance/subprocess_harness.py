"""A harness whose store lives in a separate process, which SIGKILL can kill, and the code that runs in that process.

The kill comes when the test asks for it, at a chosen line in the store's code, or during a write.
"""

from __future__ import annotations

import asyncio
import linecache
import multiprocessing
import os
import pickle
import resource
import signal
import stat
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from operator import attrgetter
from pathlib import Path
from types import FrameType, SimpleNamespace, new_class
from typing import TYPE_CHECKING, Any, Final, TypeAlias, assert_never

import attrs
from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure.stores.contract import Answered, Store
from perdure.stores.values import Capabilities, PreviousExit
from perdure.testing.conformance.assertions import RequirementViolated, answer
from perdure.testing.conformance.harness import BATCHES, OPERATIONS, StoreHarness
from perdure.testing.conformance.requirements import FAILURES_ARE_VALUES
from perdure.values.errors import OutcomeUnknown, StoreUnavailable

if TYPE_CHECKING:
    from _typeshed import TraceFunction


_CHANGES: Final = frozenset({"os.rename", "os.remove", "os.truncate", "os.mkdir", "os.rmdir", "os.link", "os.symlink"})
_WRITES: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@attrs.frozen(kw_only=True)
class SourceLine:
    """A line in a store's code."""

    file: str
    number: int
    text: str

    def __str__(self) -> str:
        return f"line {self.number} of {self.file} ({self.text})"


@attrs.frozen
class LinesRun:
    """The lines that ran while an injector was armed.

    Attributes:
        lines: how many lines of the store's code ran.
        changes: after how many lines a file was opened for writing, renamed, deleted or truncated.
    """

    lines: int
    changes: tuple[int, ...]


@attrs.frozen(kw_only=True)
class ArmCrash:
    """Kill the process before a line.

    Attributes:
        lines: how many lines of the store's code run before.
        stall: block a worker thread at that line instead, so that the event loop runs on until the process is killed.
    """

    lines: int
    stall: bool = False


class CrashInjector:
    """Counts the lines of a store's code as they run, in every thread, and kills the process before a chosen one.

    Args:
        report: called with the line that will not run, just before the process ends.
        code: where the store's code is, when that is known before the store is opened.
    """

    def __init__(self, report: Callable[[SourceLine], None], code: str = "") -> None:
        self._report = report
        self.code = code
        self._left: int | None = None
        self._stall = False
        self._run = 0
        self._changes: list[int] = []

    def install(self) -> None:
        """Watch this thread and those that it will start. Call it before the store is opened.

        Only calls that begin while the injector is armed are followed: not a loop that a thread is in already, but the
        functions that the loop calls.
        """
        sys.addaudithook(self._audit)
        # For threads that start later, such as the driver's. The line below is for this one.
        threading.settrace(self._trace)
        sys.settrace(self._trace)

    def watch(self, store: Store) -> None:
        """Count the lines of the code that defines a store's ``commit``: its package, or else its module."""
        module = sys.modules[store.commit.__module__]
        file = Path(module.__file__ or "")
        # With the separator: a package whose name only begins in the same way is other code.
        self.code = f"{file.parent}{os.sep}" if module.__package__ else str(file)

    def arm(self, crash: ArmCrash) -> None:
        """Crash after this many lines from now on."""
        self._run, self._left, self._stall, self._changes = 0, crash.lines, crash.stall, []

    def disarm(self) -> LinesRun:
        """Do not crash any more, and return which lines ran since `arm`."""
        self._left = None
        return LinesRun(self._run, tuple(dict.fromkeys(self._changes)))

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        """Record a change to the file system: the case kills the process before the next line."""
        if self._left is None:
            return
        if event in _CHANGES or (event == "open" and isinstance(flags := arguments[2], int) and flags & _WRITES):
            # The number of lines so far: the case kills before the next one, when the change is made and not yet
            # followed up.
            self._changes.append(self._run)

    def _trace(self, frame: FrameType, event: str, _: object, /) -> TraceFunction | None:
        left = self._left
        if left is None or not self.code or not frame.f_code.co_filename.startswith(self.code):
            return None  # this call is not followed: watching costs as much as running
        if event == "line":
            self._count(frame, left)
        return self._trace

    def _count(self, frame: FrameType, left: int) -> None:
        if self._run >= left:
            self._left = None  # other threads may reach a line before the process has ended
            file, number = frame.f_code.co_filename, frame.f_lineno
            self._report(SourceLine(file=Path(file).name, number=number, text=linecache.getline(file, number).strip()))
            if self._stall and threading.current_thread() is not threading.main_thread():
                threading.Event().wait()  # never set: the suite kills the process
            os.kill(os.getpid(), signal.SIGKILL)
        self._run += 1


_WRITE_FLAGS: Final = os.O_WRONLY | os.O_RDWR
_DESCRIPTORS: Final = Path("/dev/fd")

_File: TypeAlias = tuple[int, int]  # device and inode
_Sizes: TypeAlias = dict[_File, int]


@attrs.frozen
class ArmWriteLimit:
    """Kill the process when a file grows beyond a limit.

    Attributes:
        percent: the limit, in percent of the bytes that the last commit appended.
    """

    percent: int


class WriteLimit:
    """Measures how files grow during a commit, and lets the operating system cut a later write at a byte.

    The limit is ``RLIMIT_FSIZE``: a write that crosses it is cut there, and the next one kills the process.
    """

    def __init__(self) -> None:
        self._paths: set[Path] = set()
        self._before: _Sizes = {}
        self._after: _Sizes = {}

    def install(self) -> None:
        """Record which files are opened for writing. Call it before the store is opened."""
        sys.addaudithook(self._audit)

    def begin_commit(self) -> None:
        """Measure the files before a commit."""
        self._before = self._sizes()

    def end_commit(self) -> None:
        """Measure the files after a commit."""
        self._after = self._sizes()

    def arm(self, limit: ArmWriteLimit) -> None:
        """Set the limit. Without a file that grew there is none."""
        # Files that were appended to come before new ones, of which the next commit may write others.
        grown = [(file in self._before, size - self._before.get(file, 0), size) for file, size in self._after.items()]
        appended, growth, size = max(grown, default=(False, 0, 0))
        if growth > 0:
            begin = size if appended else 0
            # At least one byte: at the present size itself, the first write would not begin.
            bytes_ = begin + max(1, growth * limit.percent // 100)
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it, and raises OSError
            # Each kill would leave a core file.
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and isinstance(flags := arguments[2], int) and flags & _WRITE_FLAGS:
            path = arguments[0]
            if isinstance(path, str | bytes):
                self._paths.add(Path(os.fsdecode(path)))

    def _sizes(self) -> _Sizes:
        # By identity and not by path: a file may be renamed between the two measurements.
        return {(one.st_dev, one.st_ino): one.st_size for one in self._files() if stat.S_ISREG(one.st_mode)}

    def _files(self) -> Iterator[os.stat_result]:
        for path in tuple(self._paths):
            with suppress(OSError):
                yield path.stat()
        for descriptor in _descriptors():  # includes files that C code opened, such as SQLite
            with suppress(OSError):
                yield descriptor.stat()


def _descriptors() -> list[Path]:
    """Return the open descriptors, or none without ``/proc``, where files that C code opened are not cut."""
    try:
        return list(_DESCRIPTORS.iterdir())
    except FileNotFoundError:
        return []


@attrs.frozen
class HostCall:
    """Call a store operation."""

    number: int
    operation: str
    arguments: tuple[object, ...]


@attrs.frozen
class DisarmCrash:
    """Do not crash, and report how many lines ran since."""


Order: TypeAlias = HostCall | ArmCrash | ArmWriteLimit | DisarmCrash


_CAPABILITIES: Final = {
    "journal": ("read",),
    "streams": ("append", "read", "last"),
    "histories": ("declare", "known"),
    "lanes": ("names", "queued", "last_rank"),
}


@attrs.frozen(kw_only=True)
class HostOpened:
    """The store is open.

    Attributes:
        left: the store's ``previous_exit``.
        has: the capabilities that it has, among those that the suite kills in.
        ran: which lines ran to open the store, if an injector was armed.
    """

    name: str
    epoch: int
    capabilities: Capabilities
    left: PreviousExit
    has: tuple[str, ...]
    code: str
    ran: LinesRun


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
                has=tuple(name for name in _CAPABILITIES if getattr(store, name) is not None),
                code=self._injector.code,
                ran=ran,
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
            operation = attrgetter(call.operation)(store)
            if call.operation in BATCHES:
                answers = asyncio.get_running_loop().create_future()
                operation(*call.arguments, answers.set_result)
                result: Result[Any, Any] = Success(await answers)
            else:
                result = await answer(operation(*call.arguments))
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
        harness: opens the store. Each process gets a pickled copy.

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
        functions: dict[str, Any] = {
            name: staticmethod(process.batch_operation(name) if name in BATCHES else process.operation(name))
            for name in OPERATIONS
        }
        # A class of its own, so that a function that the contract gains cannot be missing.
        hosted_store: Any = new_class("HostedStore", (Store,), exec_body=lambda body: body.update(functions))
        store: Store = hosted_store()
        store.name, store.epoch, store.capabilities = opened.name, opened.epoch, opened.capabilities
        store.previous_exit = opened.left
        for name in opened.has:
            hosted = {each: process.operation(f"{name}.{each}") for each in _CAPABILITIES[name]}
            setattr(store, name, SimpleNamespace(**hosted))
        return store

    async def open_and_kill(self, lines: int) -> CrashOutcome:
        """Open the store in a new process, and kill it after so many lines, at the latest when the store is open.

        The store must have been opened before, so that its code's path is known.

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
    """The test's side of the connection to a process that holds a store."""

    def __init__(self, harness: StoreHarness, opening: OpeningCrash | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._calls: dict[int, asyncio.Future[Result[Any, Any]]] = {}
        self._number = 0
        self._asking: set[asyncio.Task[None]] = set()
        self.opened: asyncio.Future[HostOpened] = self._loop.create_future()
        self.reached = asyncio.Event()
        self.killed_before: SourceLine | None = None
        self._ran: asyncio.Future[CrashOutcome] | None = None
        self._connection, self._process = _started(harness, opening)
        self._loop.add_reader(self._connection.fileno(), self._take)

    def operation(self, name: str) -> Callable[..., FutureResult[Any, Any]]:
        """Return a store operation."""

        async def call(*arguments: object) -> Result[Any, Any]:
            if self._connection.closed:
                return Failure(StoreUnavailable(name, "its process was killed"))
            self._number = number = self._number + 1
            self._calls[number] = answered = self._loop.create_future()
            self.send(HostCall(number, name, arguments))
            result: Result[Any, Any] = await answered
            return result

        return lambda *arguments: FutureResult(call(*arguments))

    def batch_operation(self, name: str) -> Callable[[Sequence[Any], Answered[Any, Any]], None]:
        """Return a store operation that takes a batch."""
        operation = self.operation(name)

        async def ask(requests: Sequence[Any], answered: Answered[Any, Any]) -> None:
            try:
                found = await answer(operation(requests))
            except RequirementViolated as raised:  # a caller that waits gets it as a failure
                found = Failure(raised)
            answered(found.unwrap() if isinstance(found, Success) else [found] * len(requests))

        def send(requests: Sequence[Any], answered: Answered[Any, Any]) -> None:
            task = self._loop.create_task(ask(requests, answered))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

        return send

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
                # It may have been applied: the model of the case allows both.
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
    # This side's copy: with it open, the end of the process would not close the pipe.
    theirs.close()
    return ours, process


def _context() -> ForkServerContext:
    # A server without threads forks them: a fork of this process could inherit a lock that a thread holds.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_LOADED_ONCE))
    return context

"""The event loop of a durable coroutine: it has no clock, no threads, and no input or output."""

from __future__ import annotations

import asyncio
import heapq
import sys
from asyncio import AbstractEventLoop, Future, Handle, Task, TimerHandle
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import contextmanager
from contextvars import Context
from types import FrameType
from typing import Any, Final, Never, TypeVar, cast
from weakref import WeakSet

import attrs

from perdure.values.errors import PerdureError

T = TypeVar("T")

MOST_CALLBACKS: Final = 100_000
"""How many callbacks a coroutine may run until its next operation. Beyond, it is taken for an endless loop."""

running_loop: Final = asyncio._get_running_loop  # noqa: SLF001 - documented for event loops
_set_running_loop: Final = asyncio._set_running_loop  # noqa: SLF001 - as above


@attrs.frozen(repr=False)
class NotInCoroutine(PerdureError, NotImplementedError):
    """A durable coroutine used a connection or a thread, or other code performed a program outside of one.

    Attributes:
        operation: the operation.
        reason: why it is refused, and the way to fix it.
    """

    operation: str
    reason: str

    def _text(self) -> str:
        return f"{self.operation}: {self.reason}"


@attrs.frozen(repr=False)
class CoroutineStuck(PerdureError):
    """A durable coroutine waits for something that no operation brings, or runs without an end. The workflow is parked.

    Attributes:
        reason: the fault.
        line: where its first task waits.
    """

    reason: str
    line: str | None = None

    def _text(self) -> str:
        return f"the coroutine {self.reason}{f' ({self.line})' if self.line else ''}"


_USE_STEPS: Final = (
    "a durable coroutine has no threads, processes, files or connections; expected them inside a step, "
    "such as a function of @as_step or an @effect"
)


def _refusing(name: str) -> Callable[..., Any]:
    def refuse(*_: object, **__: object) -> Never:
        raise NotInCoroutine(name, _USE_STEPS)

    return refuse


_OUTSIDE: Final = tuple(
    name
    for name in vars(AbstractEventLoop)
    if name.startswith(("add_", "connect_", "create_", "getaddrinfo", "getnameinfo", "remove_", "run_", "sock_"))
    or name in {"call_soon_threadsafe", "sendfile", "start_tls", "subprocess_exec", "subprocess_shell"}
)


# ---------------------------------------------------------------- the event loop
class DurableLoop(AbstractEventLoop):
    """An event loop whose callbacks run in the order of their requests, while `run_ready` is called.

    Attributes:
        now_ms: its clock, which stands while callbacks run.
        tasks: the tasks that have not ended.
        owner: whose operations leave the loop. None: none does.
    """

    def __init__(self, now_ms: int = 0, owner: object = None) -> None:
        self.now_ms = now_ms
        self.owner = owner
        # In the order of their creation: a set would cancel them in any order.
        self.tasks: dict[Task[Any], None] = {}
        self._ready: deque[Handle] = deque()
        self._timers: list[tuple[float, int, TimerHandle]] = []
        self._numbers = 0
        self._generators: WeakSet[AsyncGenerator[Any, Any]] = WeakSet()

    # ------------------------------------------------------------ for coroutines
    def time(self) -> float:
        """Return the clock, in seconds."""
        return self.now_ms / 1000

    def call_soon(  # type: ignore[override] # of any arguments
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        """Run a callback soon."""
        handle = Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override] # as above
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> TimerHandle:
        """Run a callback after a delay, in seconds: a durable wait."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override] # as above
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> TimerHandle:
        """Run a callback when the clock shows an instant: a durable wait."""
        handle = TimerHandle(when, callback, args, self, context)
        # Timers of one instant run in the order in which they were set, as in each replay.
        self._numbers += 1
        heapq.heappush(self._timers, (when, self._numbers, handle))
        return handle

    def _timer_handle_cancelled(self, handle: TimerHandle) -> None:  # asyncio calls it
        pass

    def create_future(self) -> Future[Any]:
        """Return a future of this loop."""
        return Future(loop=self)

    def create_task(self, coro: Coroutine[Any, Any, T], **options: Any) -> Task[T]:  # type: ignore[override]
        """Start a task."""
        task = Task(coro, loop=self, **options)
        self.tasks[task] = None
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: Task[Any]) -> None:
        del self.tasks[task]

    def run_in_executor(self, executor: object, func: Callable[..., T], *args: Any) -> Future[T]:  # type: ignore[override]
        """Call a function at once, in a simulation. A durable coroutine has no threads."""
        if self.owner is not None:
            raise NotInCoroutine("run_in_executor", _USE_STEPS)
        future: Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - delivered to the code that awaits it
            future.set_exception(error)
        return future

    def get_debug(self) -> bool:
        """Return whether the loop is debugged."""
        return False

    def is_running(self) -> bool:
        """Return whether callbacks run."""
        return running_loop() is self

    def is_closed(self) -> bool:
        """Return whether the loop is closed."""
        return False

    def get_task_factory(self) -> None:
        """Return no factory: all tasks are those of asyncio."""

    def get_exception_handler(self) -> None:
        """Return no handler."""

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Raise the exception of a callback. Those of tasks that no code awaits are in their outcome."""
        if "future" not in context and isinstance(error := context.get("exception"), Exception):
            raise error

    call_exception_handler = default_exception_handler

    async def shutdown_asyncgens(self) -> None:
        """Close the asynchronous generators that have not ended."""
        for each in list(self._generators):
            await each.aclose()

    # ------------------------------------------------------------ running
    def run_ready(self) -> None:
        """Run callbacks until all tasks wait.

        Raises:
            CoroutineStuck: there are too many.
        """
        with self._running():
            for ran in range(MOST_CALLBACKS + 1):
                while self._timers and (self._timers[0][2].cancelled() or self._timers[0][0] <= self.time()):
                    self._ready.append(heapq.heappop(self._timers)[2])
                if not self._ready:
                    return
                # Checked before it runs: the bound also ends a loop whose callbacks only make new ones.
                if ran == MOST_CALLBACKS:
                    raise CoroutineStuck(f"ran {ran} callbacks without an operation: it may be an endless loop")
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()  # noqa: SLF001 - documented for event loops

    def wake_ms(self) -> int | None:
        """Return when the next timer is due. None if there is none."""
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        # Upwards: at the instant before, the timer would not be due.
        return -int(-self._timers[0][0] * 1000 // 1) if self._timers else None

    @contextmanager
    def _running(self) -> Generator[None]:
        """Make this loop the running one, inside the one around it, if there is one."""
        around, hooks = running_loop(), sys.get_asyncgen_hooks()
        swap = getattr(asyncio.tasks, "_swap_current_task", None)
        # One task at a time may be the current one of a thread, from Python 3.14 on.
        task = swap(around, None) if swap is not None and around is not None else None
        _set_running_loop(self)
        sys.set_asyncgen_hooks(firstiter=self._generators.add, finalizer=self._finalize)
        try:
            yield
        finally:
            sys.set_asyncgen_hooks(*hooks)
            _set_running_loop(around)
            if swap is not None and around is not None:
                swap(around, task)

    def _finalize(self, generator: AsyncGenerator[Any, Any]) -> None:
        self._generators.discard(generator)
        self.call_soon(self.create_task, generator.aclose())

    def cancel_all(self) -> None:
        """Cancel all tasks."""
        # A copy: a cancelled task that ends leaves the dict.
        for task in tuple(self.tasks):
            task.cancel()


def durable_loop(now_ms: int) -> DurableLoop:
    """Return an event loop whose clock shows an instant."""
    return DurableLoop(now_ms)  # type: ignore[abstract] # the others refuse: see below


for _name in _OUTSIDE:
    if _name not in vars(DurableLoop):
        setattr(DurableLoop, _name, _refusing(_name))


_INNER: Final = ("asyncio", "perdure.coroutines", __name__)


def line_of_task(task: Task[Any] | None) -> str | None:
    """Return the file and line at which a task waits. None if it has ended."""
    waits = cast("Any", None if task is None else task.get_coro())
    found: FrameType | None = None
    while (frame := cast("FrameType | None", getattr(waits, "cr_frame", None))) is not None:
        # The line of asyncio or of this module says nothing about the coroutine.
        if not str(frame.f_globals.get("__name__")).startswith(_INNER):
            found = frame
        waits = waits.cr_await
    return None if found is None else f"{found.f_code.co_filename}:{found.f_lineno} in {found.f_code.co_name}"

"""The production `Runtime`: asyncio, the system's clocks, its random source and `logging`.

A thread of its own finds code that holds an event loop. It looks at the loop's thread once within the limit, so it
finds the code after one to two times the limit. A loop at work is asked for an answer. An idle one is not woken.
"""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import logging
import os
import pickle
import random
import sys
import threading
import time
import traceback
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from os import sep
from pathlib import Path
from types import FrameType
from typing import Any, Final, Literal, TypeAlias, TypeVar

import attrs
import uuid_utils

from perdure.runtime.record import BlockingCode, EffectProcessDied, LogRecord, NotSendable, Place, Runtime, SpawnedTask
from perdure.runtime.tasks import STOPPED, Resumed

MAX_STACK: Final = 20
"""Frames of the blocking code that are shown, the innermost ones."""

# With the separator: a folder that only begins like this one is another library.
_LIBRARY: Final = str(Path(__file__).parents[1]) + sep
_LOOP: Final = (f"{sep}asyncio{sep}", f"{sep}selectors.py")


def is_of_loop(frame: FrameType) -> bool:
    """Return whether a frame belongs to the event loop itself, and not to code that it called."""
    return any(part in frame.f_code.co_filename for part in _LOOP)


def step_of(frame: FrameType) -> FrameType:
    """Return the frame in which the loop's present step began. Each step has another one.

    Args:
        frame: the innermost frame of the loop's thread.
    """
    outer = frame
    while outer.f_back is not None and not (is_of_loop(outer) and outer.f_code.co_name == "_run"):
        outer = outer.f_back
    return outer


def blocking_code(frame: FrameType) -> BlockingCode:
    """Describe the code that holds a loop: the function that the library, or the loop, called last.

    Args:
        frame: the innermost frame of the loop's thread.
    """
    chain = [frame]
    # The library's own frames are left out: the user can change only the code that it called.
    while (outer := chain[-1].f_back) is not None and not _is_caller(outer):
        chain.append(outer)
    function = chain[-1]
    lines = traceback.StackSummary.extract((each, each.f_lineno) for each in reversed(chain[:MAX_STACK]))
    return BlockingCode(
        function=function.f_code.co_qualname,
        place=f"{function.f_code.co_filename}:{function.f_lineno}",
        stack="".join(lines.format()),
    )


def _is_caller(frame: FrameType) -> bool:
    return is_of_loop(frame) or frame.f_code.co_filename.startswith(_LIBRARY)


@attrs.define(eq=False)
class LoopWatch:
    """Finds the code that holds a loop for longer than a limit. `look` is called by another thread.

    Attributes:
        limit_ms: the limit, in milliseconds.
        now_ms: a clock that never goes back.
        frame: returns the innermost frame of the loop's thread. None if it has ended.
        soon: calls a function in the loop, from another thread.
        began: called with the code, in the other thread, while it holds the loop.
        ended: called with it in the loop, and with the milliseconds that it took.
    """

    limit_ms: float
    now_ms: Callable[[], float]
    frame: Callable[[], FrameType | None]
    soon: Callable[[Callable[[], None]], object]
    began: Callable[[BlockingCode], None]
    ended: Callable[[BlockingCode, float], None]
    _lock: threading.Lock = attrs.field(factory=threading.Lock)
    _asked: bool = False
    _step: FrameType | None = None
    _since_ms: float = 0
    _found: BlockingCode | None = None

    def look(self) -> None:
        """Look at the loop once."""
        frame = self.frame()
        if frame is None:
            return
        with self._lock:
            if not self._asked:
                # An idle loop is not woken: it blocks nothing.
                if is_of_loop(frame):
                    return
                self._asked = True
                # The answer shows that the loop has taken a step since: without one, all that follows is one block.
                self.soon(self._answer)
            if self._found is not None:
                return
            # A loop with much work takes new steps, and none of them blocks it.
            if (step := step_of(frame)) is not self._step:
                self._step, self._since_ms = step, self.now_ms()
            if self.now_ms() - self._since_ms < self.limit_ms:
                return
            found = self._found = blocking_code(frame)
        # Outside of the lock: the listener may take long, and `_answer` runs in the loop.
        self.began(found)

    def _answer(self) -> None:
        with self._lock:
            found, took_ms = self._found, self.now_ms() - self._since_ms
            self._asked, self._step, self._found = False, None, None
        if found is not None:
            self.ended(found, took_ms)


@attrs.define(eq=False)
class WatchingThread:
    """Looks at a loop until it is cancelled."""

    watch: LoopWatch
    _phase: Literal["looking", "over"] = "looking"

    def start(self) -> None:
        """Start the thread. It does not keep the process alive."""
        threading.Thread(target=self._run, name="perdure: blocked loop", daemon=True).start()

    def cancel(self) -> None:
        """Stop looking, at the next look."""
        self._phase = "over"

    def _run(self) -> None:
        while True:
            time.sleep(self.watch.limit_ms / 1_000)  # to wait for an event, such as the end, costs twice as much
            if self._phase == "over":
                return
            try:
                self.watch.look()
            except RuntimeError:  # the loop is closed
                return


def frame_of(thread_id: int) -> Callable[[], FrameType | None]:
    """Return a function that returns the innermost frame of a thread."""
    return lambda: sys._current_frames().get(thread_id)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - documented, for this


T = TypeVar("T")

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def asyncio_runtime(logger: logging.Logger | None = None, *, threads: int = 32, processes: int = 0) -> Runtime:
    """Return a `Runtime` for asyncio.

    It is not bound to a loop when made: each call uses the loop that is running then.

    Args:
        logger: receives the log records. By default the logger ``perdure``. A record's fields are in
            ``record.perdure``, a mapping, and after the message.
        threads: functions that threads perform at the same time. Further ones wait.
        processes: likewise for processes. 0: as many as the machine has cores.

    Returns:
        A runtime. Its `spawn`, `sleep`, `call_later`, `call_soon`, `at_step_end`, `future` and `current_task` need a
        running loop.
    """
    return Runtime(
        now_ms=_now_ms,
        monotonic_ms=_monotonic_ms,
        sleep=_sleep,
        call_later=_call_later,
        call_soon=_call_soon,
        at_step_end=_call_soon,  # a loop calls first in, first out
        future=asyncio.Future,  # of the running loop: `loop.create_future` makes the same in two calls
        spawn=(spawner := _Spawner()),
        spawn_eagerly=spawner.eagerly,
        carry_out=_Carrier(),
        current_task=_current_task,
        # A generator of its own: a program that seeds the global one must not make the retries of all machines equal.
        random=random.Random().random,  # noqa: S311 - for the jitter of retries, not for secrets
        new_id=_new_id,
        log=_log if logger is None else _log_to(logger),
        watch_loop=_watch_loop,
        elsewhere=_Elsewhere(threads, processes),
        cancelled=asyncio.CancelledError,
    )


class _Spawner:
    """Keeps references to its tasks: a loop holds them weakly, and a garbage-collected task stops silently."""

    __slots__ = ("_alive",)

    def __init__(self) -> None:
        self._alive: set[asyncio.Task[Any]] = set()

    def __call__(self, coroutine: Coroutine[Any, Any, T], *, name: str) -> SpawnedTask[T]:
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._alive.add(task)
        # Removed by the task itself, when it ends.
        task.add_done_callback(self._alive.discard)
        return task

    def eagerly(self, coroutine: Coroutine[Any, Any, T], *, name: str) -> SpawnedTask[T]:
        loop = asyncio.get_running_loop()
        # A factory, such as that of a tracer, must see every task.
        if sys.version_info < (3, 12) or loop.get_task_factory() is not None:
            return self(coroutine, name=name)
        task = asyncio.Task(coroutine, loop=loop, name=name, eager_start=True)
        # A task that has ended needs no reference: nothing would remove it.
        if not task.done():
            self._alive.add(task)
            task.add_done_callback(self._alive.discard)
        return task


_Waiting: TypeAlias = dict[Coroutine[Any, Any, None], tuple["asyncio.Future[Any]", Callable[..., None]]]
"""The coroutines in progress: each with the future that it waits for, and the callback that takes its next step."""


class _Carrier:
    """Runs coroutines without a task, and cancels them when their loop shuts down, as ``asyncio.run`` cancels tasks."""

    __slots__ = ("_loops",)

    def __init__(self) -> None:
        self._loops: dict[asyncio.AbstractEventLoop, tuple[_Waiting, AsyncGenerator[None]]] = {}

    def __call__(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        loop = asyncio.get_running_loop()
        if loop not in self._loops:
            self._watch(loop)
        self._step(self._loops[loop][0], work)

    def _step(
        self, waiting: _Waiting, work: Coroutine[Any, Any, None], done: asyncio.Future[Any] | None = None
    ) -> None:
        """Take the next step, unless the loop's shutdown has ended the coroutine."""
        # The shutdown has taken the coroutine out, and ends it itself.
        if done is not None and waiting.pop(work, None) is None:
            return
        try:
            awaited = work.send(None)
        except StopIteration:
            return
        # A future that is yielded expects this from the code that receives it, as of a task.
        awaited._asyncio_future_blocking = False  # noqa: SLF001
        step = partial(self._step, waiting, work)
        waiting[work] = awaited, step
        awaited.add_done_callback(step)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to wait for the shutdown of a loop: it closes the asynchronous generators that began in it."""
        waiting: _Waiting = {}
        watch = self._until_shutdown(loop, waiting)
        self._loops[loop] = waiting, watch
        # The generator begins here: only one that has begun is closed by the loop.
        with suppress(StopIteration):
            watch.asend(None).send(None)

    async def _until_shutdown(self, loop: asyncio.AbstractEventLoop, waiting: _Waiting) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            # First: a coroutine that begins during the shutdown would otherwise be
            # added to a list that is never emptied.
            del self._loops[loop]
            while waiting:
                work, (awaited, step) = waiting.popitem()
                # Removed: the coroutine is resumed below, and must not be resumed by its future as well.
                awaited.remove_done_callback(step)
                with suppress(StopIteration, asyncio.CancelledError):
                    await Resumed(work, work.throw(asyncio.CancelledError()))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _monotonic_ms() -> float:
    # Not the wall clock: heartbeats and time limits must not follow its jumps.
    return time.monotonic_ns() / 1_000_000


async def _sleep(delay_ms: float) -> None:
    await asyncio.sleep(delay_ms / 1000)


def _call_later(delay_ms: float, function: Callable[[], None]) -> asyncio.TimerHandle:
    return asyncio.get_running_loop().call_later(delay_ms / 1000, function)


def _call_soon(function: Callable[[], None]) -> asyncio.Handle:
    return asyncio.get_running_loop().call_soon(function)


def _current_task() -> SpawnedTask[Any]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("current_task was called outside of any task; call it from a coroutine that a task runs")
    return task


@attrs.define(eq=False)
class _Elsewhere:
    """Performs functions in threads and processes, which are started when they are needed.

    Attributes:
        threads: how many threads at most.
        processes: how many processes at most. 0: as many as cores.
    """

    threads: int
    processes: int
    _pool: ThreadPoolExecutor | None = None
    _limiter: Any = None  # of anyio

    async def __call__(
        self, place: Place, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> object:
        if place == "process":
            return await self._in_process(function, args, kwargs)
        return await self._in_thread(partial(function, *args, **kwargs))

    async def _in_thread(self, work: Callable[[], object]) -> object:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads, "perdure effect")
        stopped = threading.Event()
        # A copy: the thread sees the variables of its caller, and changes none of them.
        context = contextvars.copy_context()
        context.run(STOPPED.set, stopped.is_set)
        job = self._pool.submit(context.run, work)
        ended = asyncio.wrap_future(job)
        try:
            # Not the future itself: its cancellation would leave the thread alone with its effect.
            await asyncio.wait((ended,))
        except asyncio.CancelledError:
            stopped.set()
            # Not begun: nothing has happened yet. Otherwise the effect is awaited, because its outcome must be known.
            if not job.cancel():
                await _ended(ended)
            raise
        return ended.result()

    async def _in_process(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> object:
        from anyio import BrokenWorkerProcess, CapacityLimiter, to_process  # noqa: PLC0415 - an extra

        name = function.__qualname__
        # Packed here and not by the pool: the error names the value that cannot be sent.
        work = _packed(name, "the services or the arguments", (function.__module__, name, args, dict(kwargs)))
        if self._limiter is None:
            self._limiter = CapacityLimiter(self.processes or os.cpu_count() or 1)
        try:
            # Cancellable: the pool ends the process, because nothing else stops a function in it.
            packed = await to_process.run_sync(_perform_packed, work, cancellable=True, limiter=self._limiter)
        except BrokenWorkerProcess:
            raise EffectProcessDied(name) from None
        end, value = pickle.loads(packed)  # noqa: S301 - of a process of this one
        if end == "raised":
            raise value
        return value


async def _ended(future: asyncio.Future[Any]) -> None:
    """Wait for a future to end, through any cancellation."""
    while not future.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait((future,))
    if not future.cancelled():
        future.exception()  # or asyncio logs an exception that was not retrieved


def _packed(name: str, what: str, value: object) -> bytes:
    try:
        return pickle.dumps(value)
    except Exception as error:  # noqa: BLE001 - pickle raises any class
        raise NotSendable(name, what, f"{type(error).__name__}: {error}") from None


def _perform_packed(work: bytes) -> bytes:
    """Perform a function in this process, which belongs to the pool, and pack its end."""
    module, name, args, kwargs = pickle.loads(work)  # noqa: S301 - of the process that started this one
    try:
        try:
            found: Any = importlib.import_module(module)
            for part in name.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError) as error:
            raise NotSendable(name, "the function", f"{type(error).__name__}: {error}") from None
        # Below the decorator: `effect` would build a program instead of performing the function.
        answer = getattr(found, "__wrapped__", found)(*args, **kwargs)  # what `effect` has wrapped
        return _packed(name, "the result", ("answered", answer))
    except BaseException as raised:  # noqa: BLE001 - it is raised in the other process
        # Its traceback is lost with the process: the note keeps it.
        raised.add_note("".join(traceback.format_exception(raised)))
        # An exit of that process is no exit of this one.
        shown = raised if isinstance(raised, Exception) else RuntimeError(f"{name} raised {raised!r} in its process")
        try:
            return pickle.dumps(("raised", shown))
        except Exception:  # noqa: BLE001 - as above
            plain = RuntimeError(f"{name} raised {type(raised).__name__}, which cannot be pickled: {raised}")
            plain.__notes__ = raised.__notes__
            return pickle.dumps(("raised", plain))


def _watch_loop(
    limit_ms: float, began: Callable[[BlockingCode], None], ended: Callable[[BlockingCode, float], None]
) -> WatchingThread:
    soon = asyncio.get_running_loop().call_soon_threadsafe
    watch = LoopWatch(limit_ms, _monotonic_ms, frame_of(threading.get_ident()), soon, began, ended)
    thread = WatchingThread(watch)
    thread.start()
    return thread


def _new_id() -> int:
    return uuid_utils.uuid7().int


def _log_to(logger: logging.Logger) -> Callable[[LogRecord], None]:
    def log(record: LogRecord) -> None:
        shown = "".join(f" {name}={value!r}" for name, value in record.fields.items())
        extra = {"perdure": record.fields, "perdure_message": record.message}
        logger.log(_LEVELS[record.level], "%s%s", record.message, shown, extra=extra)

    return log


_log_to_logging = _log_to(logging.getLogger("perdure"))


def _log(record: LogRecord) -> None:
    """Log to structlog if the application has configured it, else to `logging`."""
    # Looked up and not imported: the application decides whether it is used.
    structlog = sys.modules.get("structlog")
    if structlog is None or not structlog.is_configured():
        _log_to_logging(record)
        return
    # "event" is structlog's own name for the message.
    fields = {"event_type" if name == "event" else name: value for name, value in record.fields.items()}
    try:
        structlog.get_logger("perdure").log(_LEVELS[record.level], record.message, **fields)
    except Exception:  # noqa: BLE001 - a processor of the application failed; a log never raises
        _log_to_logging(record)

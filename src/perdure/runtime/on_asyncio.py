"""The production `Runtime`: asyncio, the system's clocks, its random source and `logging`."""

from __future__ import annotations

import asyncio
import logging
import random
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import uuid_utils

from perdure.runtime.record import LogRecord, Runtime, SpawnedTask

T = TypeVar("T")

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def asyncio_runtime(logger: logging.Logger | None = None) -> Runtime:
    """Return a `Runtime` for asyncio.

    It is not bound to a loop when made: each call uses the loop that is running then.

    Args:
        logger: receives the log records. By default the logger ``perdure``. A record's fields are in
            ``record.perdure``, a mapping, and after the message.

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
        current_task=_current_task,
        # A generator of its own: a program that seeds the global one must not make the retries of all machines equal.
        random=random.Random().random,  # noqa: S311 - for the jitter of retries, not for secrets
        new_id=_new_id,
        log=_log if logger is None else _log_to(logger),
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
    fields = {"event_type" if name == "event" else name: value for name, value in record.fields.items()}
    try:
        structlog.get_logger("perdure").log(_LEVELS[record.level], record.message, **fields)
    except Exception:  # noqa: BLE001 - a processor of the application failed; a log never raises
        _log_to_logging(record)

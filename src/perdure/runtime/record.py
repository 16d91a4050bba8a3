"""The `Runtime` record: the only interface to time, waiting, task creation, randomness, ids and logging.

The library never uses the event loop, the clock or the random source directly, only its `Runtime`. There are two:
`perdure.runtime.on_asyncio` (production) and `perdure.runtime.simulated` (a seeded, deterministic scheduler with a
virtual clock). This module is pure: it imports neither.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from typing import Any, Literal, Protocol, TypeVar

import attrs

from perdure.values.excerpt import fields_in_line

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class SpawnedTask(Protocol[T_co]):
    """A running coroutine. `asyncio.Task` conforms to it. Each method has asyncio's semantics."""

    def cancel(self) -> bool:
        """Throw the runtime's `cancelled` at the await where the task is. Return False when it is done already."""
        ...

    def cancelling(self) -> int:
        """Return how many cancellation requests were not undone."""
        ...

    def uncancel(self) -> int:
        """Undo one cancellation request. Return how many remain."""
        ...

    def done(self) -> bool:
        """Return whether it returned, raised or was cancelled."""
        ...

    def cancelled(self) -> bool:
        """Return whether it ended by its cancellation."""
        ...

    def result(self) -> T_co:
        """Return its result, or raise its exception."""
        ...

    def exception(self) -> BaseException | None:
        """Return its exception, or None. Raise the runtime's `cancelled` when it was cancelled."""
        ...

    def add_done_callback(self, fn: Callable[[SpawnedTask[T_co]], object], /) -> None:
        """Call `fn` with the task, soon after it is done."""
        ...

    def remove_done_callback(self, fn: Callable[[SpawnedTask[T_co]], object], /) -> int:
        """Remove `fn`. Return how many times it was registered."""
        ...

    def __await__(self) -> Generator[Any, Any, T_co]: ...


class Future(Protocol[T]):
    """A result that other code will set. `asyncio.Future` conforms to it."""

    def set_result(self, result: T, /) -> None:
        """Set the result. The future must not be done."""
        ...

    def set_exception(self, exception: BaseException, /) -> None:
        """Make every waiter raise `exception`. The future must not be done."""
        ...

    def cancel(self) -> bool:
        """Make every waiter raise the runtime's `cancelled`. Return False when it is done already."""
        ...

    def done(self) -> bool:
        """Return whether it was resolved or cancelled."""
        ...

    def cancelled(self) -> bool:
        """Return whether it was cancelled."""
        ...

    def result(self) -> T:
        """Return the result, or raise the exception."""
        ...

    def add_done_callback(self, fn: Callable[[Future[T]], object], /) -> None:
        """Call `fn` with the future, soon after it is done."""
        ...

    def __await__(self) -> Generator[Any, Any, T]: ...


class Timer(Protocol):
    """A scheduled call."""

    def cancel(self) -> None:
        """Cancel the call. No effect after it was made."""
        ...


class Spawn(Protocol):
    """The function with which a runtime starts a task."""

    def __call__(self, coroutine: Coroutine[Any, Any, T], *, name: str) -> SpawnedTask[T]:
        """Run `coroutine` concurrently. The runtime keeps a reference to the task until it is done.

        Args:
            coroutine: the coroutine. The values it yields and receives are private to it and the runtime.
            name: the task's name in deadlock reports and logs.
        """
        ...


Level = Literal["debug", "info", "warning", "error"]


@attrs.frozen
class LogRecord:
    """One log record, as a value.

    Attributes:
        level: the severity.
        message: a constant sentence. Variable data is in the fields.
        fields: the data, by name.
    """

    __repr__ = fields_in_line

    level: Level
    message: str
    fields: Mapping[str, object] = attrs.Factory(dict[str, object])


@attrs.frozen(kw_only=True)
class Runtime:
    """The external functions that the library uses, besides its services.

    Attributes:
        now_ms: the wall clock, integer milliseconds since 1970 UTC. May jump either way.
        monotonic_ms: a clock that never goes back. Only differences are meaningful.
        sleep: wait this many milliseconds on the monotonic clock. 0 lets the other tasks run.
        call_later: call a function after this many milliseconds on the monotonic clock.
        call_soon: call a function as soon as the current task waits.
        at_step_end: call a function after the ready tasks have taken their next step. No cancellation prevents it.
        future: make an unresolved future.
        spawn: start a task.
        spawn_eagerly: start a task, and take its first step immediately, inside the task: a coroutine that waits for
            nothing is over when this returns. A runtime that cannot do so starts the task as `spawn` does.
        current_task: the task that runs now.
        random: a float in [0, 1).
        new_id: a UUIDv7 as a 128-bit integer: later ids sort after earlier ones, with space between to count up.
        log: write a log record. Never raises, never waits.
        cancelled: the exception that a cancelled await raises. Not an `Exception`.
    """

    now_ms: Callable[[], int]
    monotonic_ms: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    call_later: Callable[[float, Callable[[], None]], Timer]
    call_soon: Callable[[Callable[[], None]], object]
    at_step_end: Callable[[Callable[[], None]], object]
    future: Callable[[], Future[Any]]
    spawn: Spawn
    spawn_eagerly: Spawn
    current_task: Callable[[], SpawnedTask[Any]]
    random: Callable[[], float]
    new_id: Callable[[], int]
    log: Callable[[LogRecord], None]
    cancelled: type[BaseException]

"""The `Runtime` record: the only door to time, waiting, spawning, randomness, ids and logging.

Nothing in the library asks the event loop, the clock or the random source directly: it asks the record it was given.
Two records are in the house: `perdure.runtime.on_asyncio` (the real world) and `perdure.runtime.simulated` (a seeded,
deterministic scheduler with a virtual clock). This module is pure: it imports neither.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from typing import Any, Literal, Protocol, TypeVar

import attrs

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class SpawnedTask(Protocol[T_co]):
    """A running coroutine. `asyncio.Task` is one as it stands; the meaning of each method is asyncio's."""

    def cancel(self) -> bool:
        """Throw the runtime's `cancelled` at the await where the task is; False when it is done already."""
        ...

    def cancelling(self) -> int:
        """Count the cancellations asked for and not taken back."""
        ...

    def uncancel(self) -> int:
        """Take one cancellation back; give how many remain."""
        ...

    def done(self) -> bool:
        """Tell whether it returned, raised or was cancelled."""
        ...

    def cancelled(self) -> bool:
        """Tell whether it ended by its cancellation."""
        ...

    def result(self) -> T_co:
        """Give what it returned, or raise what it raised."""
        ...

    def exception(self) -> BaseException | None:
        """Give what it raised; raises the runtime's `cancelled` when it was cancelled."""
        ...

    def add_done_callback(self, fn: Callable[[SpawnedTask[T_co]], object], /) -> None:
        """Call `fn` with the task, soon after it is done."""
        ...

    def remove_done_callback(self, fn: Callable[[SpawnedTask[T_co]], object], /) -> int:
        """Forget `fn`; give how many times it was registered."""
        ...

    def __await__(self) -> Generator[Any, Any, T_co]: ...


class Future(Protocol[T]):
    """An answer that somebody will set. `asyncio.Future` is one as it stands."""

    def set_result(self, result: T, /) -> None:
        """Answer it; it must not be done."""
        ...

    def set_exception(self, exception: BaseException, /) -> None:
        """Make every waiter raise `exception`; it must not be done."""
        ...

    def cancel(self) -> bool:
        """Make every waiter raise the runtime's `cancelled`; False when it is done already."""
        ...

    def done(self) -> bool:
        """Tell whether it was answered or cancelled."""
        ...

    def cancelled(self) -> bool:
        """Tell whether it was cancelled."""
        ...

    def result(self) -> T:
        """Give the answer, or raise."""
        ...

    def add_done_callback(self, fn: Callable[[Future[T]], object], /) -> None:
        """Call `fn` with the future, soon after it is done."""
        ...

    def __await__(self) -> Generator[Any, Any, T]: ...


class Timer(Protocol):
    """A call that is still to come."""

    def cancel(self) -> None:
        """Make it never come. Harmless when it came already."""
        ...


class Spawn(Protocol):
    """How a runtime starts a task."""

    def __call__(self, coroutine: Coroutine[Any, Any, T], *, name: str) -> SpawnedTask[T]:
        """Run `coroutine` concurrently. The runtime keeps the task alive until it is done.

        Args:
            coroutine: what to run; what it yields and is sent is between it and the runtime.
            name: what deadlock reports and logs call it.
        """
        ...


Level = Literal["debug", "info", "warning", "error"]


@attrs.frozen
class LogRecord:
    """One line for the operator, as a value.

    Attributes:
        level: how bad it is.
        message: a constant sentence; what varies is in the fields.
        fields: the facts, by name.
    """

    level: Level
    message: str
    fields: Mapping[str, object] = attrs.Factory(dict[str, object])


@attrs.frozen(kw_only=True)
class Runtime:
    """What the library may ask of the world, besides its services.

    Attributes:
        now_ms: the wall clock, integer milliseconds since 1970 UTC. May jump either way.
        monotonic_ms: a clock that never goes back; only differences mean something.
        sleep: wait that many milliseconds of the monotonic clock; 0 lets the other tasks run.
        call_later: call a function after that many milliseconds of the monotonic clock.
        call_soon: call a function as soon as the current task waits.
        future: make an unanswered future.
        spawn: start a task.
        current_task: the task that runs now.
        random: a float in [0, 1).
        new_id: a UUIDv7 as an integer of 128 bits: later ones sort after earlier ones, with room to count up between.
        log: hand over a line for the operator. Never raises, never waits.
        cancelled: what a cancelled await raises; not an `Exception`.
    """

    now_ms: Callable[[], int]
    monotonic_ms: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    call_later: Callable[[float, Callable[[], None]], Timer]
    call_soon: Callable[[Callable[[], None]], object]
    future: Callable[[], Future[Any]]
    spawn: Spawn
    current_task: Callable[[], SpawnedTask[Any]]
    random: Callable[[], float]
    new_id: Callable[[], int]
    log: Callable[[LogRecord], None]
    cancelled: type[BaseException]

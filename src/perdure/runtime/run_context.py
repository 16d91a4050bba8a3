"""The run that the current code belongs to: set while a job's hook or an effect in its program executes."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from contextvars import ContextVar, Token
from typing import Any, Final, Protocol, TypeAlias, TypeVar

import attrs

from perdure.values.address import Address

T = TypeVar("T")


class RunIdentity(Protocol):
    """A run delivery: its claim, or the event that may need one."""

    @property
    def run_id(self) -> str:
        """The run, or one event's handling."""
        ...

    @property
    def attempt(self) -> int:
        """The run's failures, plus 1."""
        ...

    @property
    def deliveries(self) -> int:
        """This attempt's claims."""
        ...


Run: TypeAlias = tuple[Address, RunIdentity, str]
"""The instance, the delivery of its run and the hook: cheaper to make than a `RunContext`, which few turns read."""

CurrentRun: TypeAlias = "Token[Run | None]"
"""Restores the context of the code around a run."""

_current: ContextVar[Run | None] = ContextVar("perdure.run", default=None)

STOPPED: Final[ContextVar[Callable[[], bool] | None]] = ContextVar("perdure.stopped", default=None)
"""Asks whether the effect that a thread performs is cancelled. None outside of such a thread."""


def is_cancelled() -> bool:
    """Return whether the effect that this thread performs is cancelled: by a timeout, or because its engine stops.

    Nothing interrupts a thread. A long loop in an effect with ``on="thread"`` asks, and returns or raises early:
    the run waits for that, and the result is discarded. False everywhere else.
    """
    stopped = STOPPED.get()
    return stopped is not None and stopped()


@attrs.frozen(kw_only=True)
class RunContext:
    """The run that the current code belongs to.

    Attributes:
        job: the job, printed ``kind:name``.
        id: the instance's id.
        run_id: the run, or one event's handling. The same for all its attempts.
        attempt: the run's failures, plus 1.
        hook: the job's hook: ``execute``, ``on_event``, ``on_idle``, ``on_error``.
    """

    job: str
    id: str
    run_id: str
    attempt: int
    hook: str


class RunContextVar:
    """Reads the current run's context, like a ``ContextVar``. Tasks and threads that a run starts inherit it."""

    def get(self) -> RunContext | None:
        """Return the run that the current code belongs to. None outside runs."""
        run = _current.get()
        if run is None:
            return None
        address, delivered, hook = run
        return RunContext(
            job=f"{address.kind}:{address.name}",
            id=address.id,
            run_id=delivered.run_id,
            attempt=delivered.attempt,
            hook=hook,
        )


run_context: Final = RunContextVar()
"""The run that the current code belongs to."""


enter_run: Final[Callable[[Run], CurrentRun]] = _current.set
"""Begins code of a run, synchronously. `leave_run` must follow in the same context."""

leave_run: Final[Callable[[CurrentRun], None]] = _current.reset
"""Restores the context of the code around a run."""

run_around: Final[Callable[[], Run | None]] = _current.get
"""Returns the run that the current code belongs to; None outside runs."""


def outside_runs() -> CurrentRun | None:
    """Begin engine code that may execute inside a run. None if it does not. `leave_run` must follow."""
    # Code of the engine may run inside an effect of another run: without this, hooks and logs would name that run.
    return None if _current.get() is None else _current.set(None)


class InRun(Coroutine[Any, Any, T]):
    """A run's coroutine: each step executes in the run's context, whichever task takes the step.

    Args:
        inner: the coroutine.
        run: the run.
    """

    __slots__ = ("_inner", "_run")

    def __init__(self, inner: Coroutine[Any, Any, T], run: Run) -> None:
        self._inner = inner
        self._run = run

    def send(self, value: Any, /) -> Any:
        """Take the next step."""
        # For each step, because several tasks take the steps of one run.
        before = _current.set(self._run)
        try:
            return self._inner.send(value)
        finally:
            _current.reset(before)

    def throw(self, *error: Any) -> Any:
        """Raise inside the coroutine, at the point where it waits."""
        before = _current.set(self._run)
        try:
            return self._inner.throw(*error)
        finally:
            _current.reset(before)

    def close(self) -> None:
        """End the coroutine."""
        # Its `finally` blocks are code of the run.
        before = _current.set(self._run)
        try:
            self._inner.close()
        finally:
            _current.reset(before)

    def __await__(self) -> Generator[Any, Any, T]:
        return self  # pyright: ignore[reportReturnType] # it has all that `yield from` needs

    def __iter__(self) -> InRun[T]:
        return self

    def __next__(self) -> Any:
        return self.send(None)

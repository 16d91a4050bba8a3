"""Tasks, and the run that the current code belongs to.

Coroutines start synchronously, and one waiter starts tasks and awaits them. The context of a run is set while a job's
hook or an effect in its program executes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import ContextVar, Token
from typing import Any, Final, Generic, Protocol, Self, TypeAlias, TypeVar

import attrs

from perdure.runtime.record import Future, Runtime, SpawnedTask
from perdure.values.address import Address

T = TypeVar("T")


class Resumed(Coroutine[Any, Any, T]):
    """The rest of a coroutine that already waits for something.

    It first yields the awaitable that the coroutine waits for. From then on it is the coroutine. A cancellation before
    its first step reaches the coroutine too, which a wrapping ``async def`` would prevent.
    """

    __slots__ = ("_awaited", "_handed_over", "_inner")

    def __init__(self, inner: Coroutine[Any, Any, T], awaited: object) -> None:
        self._inner = inner
        self._awaited = awaited
        self._handed_over = False

    def send(self, value: Any, /) -> Any:
        """Continue the coroutine."""
        # The coroutine waits already: the loop must receive the very object that it waits for.
        if not self._handed_over:
            self._handed_over = True
            return self._awaited
        return self._inner.send(value)

    def throw(self, *error: Any) -> Any:
        """Raise inside the coroutine, at the point where it waits."""
        self._handed_over = True
        return self._inner.throw(*error)

    def close(self) -> None:
        """End the coroutine."""
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, T]:
        return self  # pyright: ignore[reportReturnType] # it has all that `yield from` needs

    def __iter__(self) -> Resumed[T]:
        return self

    def __next__(self) -> Any:
        return self.send(None)


def start_eagerly(work: Coroutine[Any, Any, T], runtime: Runtime, *, name: str) -> SpawnedTask[T] | None:
    """Run a coroutine synchronously until it waits for something, and then its rest in a task.

    Returns:
        The task. None if the coroutine finished without waiting.
    """
    try:
        awaited = work.send(None)
    except StopIteration:
        return None
    return runtime.spawn(Resumed(work, awaited), name=name)


async def ended(task: SpawnedTask[Any], runtime: Runtime) -> None:
    """Wait until a task has ended, for any reason. Cancelling this wait does not cancel the task."""
    if task.done():
        return
    over = runtime.future()

    def tell(_: SpawnedTask[Any]) -> None:
        if not over.done():
            over.set_result(None)

    task.add_done_callback(tell)
    await over


class Branches(Generic[T]):
    """One waiter's concurrent branches. All branches have ended when the ``async with`` block is left.

    It depends on no event loop: it uses the `Runtime` only.

    Args:
        runtime: where the branches run.
        abandoned: called when the block is left, with each branch that ended but was not returned by `next_ended`.
    """

    __slots__ = ("_abandoned", "_finished", "_running", "_runtime", "_wake")

    def __init__(self, runtime: Runtime, abandoned: Callable[[SpawnedTask[T]], None] | None = None) -> None:
        self._runtime = runtime
        self._abandoned = abandoned
        self._running: set[SpawnedTask[T]] = set()
        self._finished: deque[SpawnedTask[T]] = deque()
        self._wake: Future[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # First all cancellations, then the wait: cancelled one by one, a branch could start work while another one
        # ends.
        for task in self._running:
            task.cancel()
        if kind is GeneratorExit:  # the waiter is being dropped and cannot wait
            return
        await self._all_ended()
        if self._abandoned is not None:
            for task in self._finished:
                self._abandoned(task)

    def start(self, coroutine: Coroutine[Any, Any, T], *, name: str) -> SpawnedTask[T]:
        """Run `coroutine` concurrently with the other branches."""
        task = self._runtime.spawn(coroutine, name=name)
        self._running.add(task)
        task.add_done_callback(self._task_ended)
        return task

    async def next_ended(self) -> SpawnedTask[T]:
        """Wait until a branch has ended, in any way. Branches are returned in the order in which they ended."""
        while not self._finished:
            await self._wait()
        # In the order of their ends: a race has one winner, also if several ended in one step.
        return self._finished.popleft()

    async def _all_ended(self) -> None:
        """Wait for every branch, even if the waiter is cancelled: the cancellation is raised when all have ended."""
        interrupted: BaseException | None = None
        while self._running:
            try:
                await self._wait()
            except self._runtime.cancelled as cancellation:
                # Kept until all have ended: raised now, branches would outlive the block.
                interrupted = cancellation
        if interrupted is not None:
            raise interrupted

    async def _wait(self) -> None:
        self._wake = self._runtime.future()
        try:
            await self._wake
        finally:
            self._wake = None

    def _task_ended(self, task: SpawnedTask[T]) -> None:
        self._running.discard(task)
        self._finished.append(task)
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


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
    """A run's coroutine: each step executes in the run's context, whichever task takes the step."""

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

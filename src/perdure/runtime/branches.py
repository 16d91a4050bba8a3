"""Tasks that one waiter starts and sees to their end."""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

from perdure.runtime.record import Future, Runtime, Task

T = TypeVar("T")


class Branches(Generic[T]):
    """The concurrent branches of one waiter: started here, waited for here, none outlives `stop`.

    Pure of any event loop: everything is asked of the `Runtime`.
    """

    __slots__ = ("_finished", "_running", "_runtime", "_wake")

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._running: set[Task[T]] = set()
        self._finished: deque[Task[T]] = deque()
        self._wake: Future[None] | None = None

    def start(self, coroutine: Coroutine[Any, Any, T], *, name: str) -> Task[T]:
        """Run `coroutine` beside the others."""
        task = self._runtime.spawn(coroutine, name=name)
        self._running.add(task)
        task.add_done_callback(self._task_ended)
        return task

    async def next_ended(self) -> Task[T]:
        """Wait until a branch has ended, however it ended; branches come in the order in which they ended."""
        while not self._finished:
            await self._wait()
        return self._finished.popleft()

    async def stop(self) -> tuple[Task[T], ...]:
        """Cancel every running branch and wait until all have ended, their finalizers included.

        A cancellation of the waiter meanwhile does not leave branches behind: it is raised when all have ended.

        Returns:
            The branches that ended and were not yet given by `next_ended`.

        Raises:
            BaseException: the runtime's `cancelled`, when the waiter was cancelled meanwhile.
        """
        for task in self._running:
            task.cancel()
        interrupted: BaseException | None = None
        while self._running:
            try:
                await self._wait()
            except self._runtime.cancelled as cancellation:
                interrupted = cancellation
        if interrupted is not None:
            raise interrupted
        ended = tuple(self._finished)
        self._finished.clear()
        return ended

    async def _wait(self) -> None:
        self._wake = self._runtime.future()
        try:
            await self._wake
        finally:
            self._wake = None

    def _task_ended(self, task: Task[T]) -> None:
        self._running.discard(task)
        self._finished.append(task)
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

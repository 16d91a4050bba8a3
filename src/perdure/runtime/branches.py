"""Tasks that one waiter starts and awaits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Generic, Self, TypeVar

from perdure.runtime.record import Future, Runtime, SpawnedTask

T = TypeVar("T")


class Branches(Generic[T]):
    """The concurrent branches of one waiter. All of them have ended when the ``async with`` block is left.

    Independent of any event loop: it uses the `Runtime` only.

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
        """Wait until a branch has ended, in any way; branches are returned in the order in which they ended."""
        while not self._finished:
            await self._wait()
        return self._finished.popleft()

    async def _all_ended(self) -> None:
        """Wait for every branch, even if the waiter is cancelled: the cancellation is raised when all have ended."""
        interrupted: BaseException | None = None
        while self._running:
            try:
                await self._wait()
            except self._runtime.cancelled as cancellation:
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

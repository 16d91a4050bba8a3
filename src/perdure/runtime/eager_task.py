"""Coroutines that start synchronously and continue in a task of their own."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import Any, Literal, TypeVar

from perdure.runtime.record import Runtime, SpawnedTask

T = TypeVar("T")


class Resumed(Coroutine[Any, Any, T]):
    """The rest of a coroutine that already waits for something.

    It first yields the awaitable that the coroutine waits for; from then on it is the coroutine. A cancellation before
    its first step reaches the coroutine too, which a wrapping ``async def`` would prevent.
    """

    __slots__ = ("_awaited", "_inner", "_state")

    def __init__(self, inner: Coroutine[Any, Any, T], awaited: object) -> None:
        self._inner = inner
        self._awaited = awaited
        self._state: Literal["to_hand_over", "going_on"] = "to_hand_over"

    def send(self, value: Any, /) -> Any:
        """Continue the coroutine."""
        if self._state == "to_hand_over":
            self._state = "going_on"
            return self._awaited
        return self._inner.send(value)

    def throw(self, *error: Any) -> Any:
        """Raise inside the coroutine, at the point where it waits."""
        self._state = "going_on"
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
    """Run a coroutine synchronously until it waits for something, and the rest of it in a task.

    Args:
        work: the coroutine.
        runtime: creates the task.
        name: the name of the task.

    Returns:
        The task; None if the coroutine finished without waiting.
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

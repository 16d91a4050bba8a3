"""How calls are made: one that returns its error as a value, and several at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Never, TypeVar

from returns.result import Failure, Result, Success

from perdure.jobs.call import Call, result_of
from perdure.runtime.record import Runtime
from perdure.values.excerpt import excerpt

A = TypeVar("A")
E = TypeVar("E", bound=Exception)


async def attempt(call: Call[A, E], /) -> Success[A] | Failure[E]:
    """Make a call and return how it ended, as a value to ``match`` on. ``await call`` alone raises the error.

    The result is a closed union: in each ``case`` both type checkers know the answer's type or the error's type, and
    that ``case Success(...)`` with ``case Failure(...)`` is exhaustive.

    Args:
        call: a handle's call, such as ``jobs.handle(orders).send("order-1", event)``.

    Returns:
        ``Success(answer)`` or ``Failure(error)``.

    Raises:
        AlreadyAwaited: the call was awaited before.
        TypeError: the argument is not a call.
    """
    if type(call) is not Call:  # pyright: ignore[reportUnnecessaryComparison] - untyped callers
        expected = "a call that was not awaited, such as attempt(jobs.handle(orders).send(...))"
        raise TypeError(f"argument of attempt: expected {expected}; got {excerpt(call)}")
    ended: Any = await result_of(call)
    result: Success[A] | Failure[E] = ended
    return result


async def concurrently(
    runtime: Runtime, calls: Sequence[Call[Any, Any]]
) -> Result[tuple[Result[Any, Any], ...], Never]:
    """Await calls, each in its own task. If this is cancelled, so are they.

    Args:
        runtime: starts the tasks.
        calls: the calls, none of them awaited yet.
    """
    tasks = [runtime.spawn(_answer(call), name="perdure:one of several calls") for call in calls]
    try:
        return Success(tuple([await task for task in tasks]))
    finally:
        for task in tasks:
            task.cancel()


async def _answer(call: Call[Any, Any]) -> Result[Any, Any]:
    return await result_of(call)

"""Turns a call into a value with its result."""

from __future__ import annotations

from typing import Any, TypeVar

from returns.future import FutureResult
from returns.result import Failure, Success

from perdure.client.arguments import check_call
from perdure.programs.future import answer_of

A = TypeVar("A")
E = TypeVar("E")


async def attempt(call: FutureResult[A, E], /) -> Success[A] | Failure[E]:
    """Make a call and return how it ended, as a value to ``match`` on.

    The result is a closed union: both type checkers know the types of the answer and of the error in each ``case``, and
    that ``case Success(...)`` with ``case Failure(...)`` is exhaustive. ``await call`` alone returns an ``IOResult``,
    whose parts no type checker can tell apart without the plugin of ``returns``.

    Args:
        call: a call of a handle, such as ``jobs.handle(orders).send("order-1", event)``.

    Returns:
        ``Success(answer)`` or ``Failure(error)``.

    Raises:
        AlreadyAwaited: the call was awaited before.
        TypeError: the argument is not a call.
    """
    ended: Any = await answer_of(check_call(call, of="attempt"))
    result: Success[A] | Failure[E] = ended
    return result

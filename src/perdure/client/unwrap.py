"""Returns the result of a call, or raises its error."""

from __future__ import annotations

from typing import TypeVar

from returns.future import FutureResult
from returns.result import Success

from perdure.client.arguments import check_call
from perdure.programs.future import answer_of

A = TypeVar("A")
E = TypeVar("E", bound=Exception)


async def unwrap(call: FutureResult[A, E], /) -> A:
    """Make a call and return its answer, or raise its error.

    Args:
        call: a call of a handle, such as ``jobs.handle(orders).send("order-1", event)``.

    Raises:
        E: the error of the call: ``Rejected``, ``InvalidInput``, ``OutcomeUnknown`` and so on. ``attempt`` returns it
            instead.
        AlreadyAwaited: the call was awaited before.
        TypeError: the argument is not a call.
    """
    ended = await answer_of(check_call(call, of="unwrap"))
    if isinstance(ended, Success):
        answer: A = ended.unwrap()
        return answer
    raise ended.failure()

"""Returns the result of a call, or raises its error."""

from __future__ import annotations

from typing import Any, TypeVar

from returns.future import FutureResult
from returns.result import Success

from perdure.client.arguments import CALL, check_call

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
    checked: Any = call if type(call) is CALL else check_call(call, of="unwrap")
    ended: Any = await checked._inner_value  # noqa: SLF001 - as `answer_of` does, without a call
    if ended.__class__ is Success:  # as `type` does, whose result pyright finds too vague
        answer: A = ended._inner_value  # noqa: SLF001 - as above
        return answer
    raise ended.failure()

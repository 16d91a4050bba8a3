"""The shortest way from a call to its answer."""

from __future__ import annotations

from typing import TypeVar

from returns.future import FutureResult
from returns.result import Success

from perdure.jobs.definition import CallError
from perdure.program.future import answer_of

A = TypeVar("A")


async def ask(call: FutureResult[A, CallError], /) -> A:
    """Make a call and give its answer.

    ``await call`` gives an ``IOResult``, for code that goes on in containers; this is for code that goes on in plain
    Python.

    Args:
        call: what a handle gives, such as ``jobs.of(orders).send("order-1", event)``.

    Raises:
        CallError: the error of the call: ``Rejected``, ``InvalidInput``, ``OutcomeUnknown`` and so on.
    """
    answer = await answer_of(call)
    if isinstance(answer, Success):
        value: A = answer.unwrap()
        return value
    raise answer.failure()

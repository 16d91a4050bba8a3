"""Makes several calls at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Never

from returns.result import Result, Success

from perdure.jobs.call import Call, result_of
from perdure.runtime.record import Runtime


async def together(runtime: Runtime, calls: Sequence[Call[Any, Any]]) -> Result[tuple[Result[Any, Any], ...], Never]:
    """Await calls in tasks of their own. If this is cancelled, so are they.

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

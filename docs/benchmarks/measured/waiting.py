"""A job whose runs wait until they are released: to count what a run in progress costs."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Never

from returns.future import FutureResult
from returns.result import Result, Success

from perdure import App, Do, Task, TaskContext, effect, program
from perdure.values.limits import Limits

released: ContextVar[asyncio.Event] = ContextVar("released")
"""What the runs wait for."""


@effect
def wait(_: object) -> FutureResult[int, Never]:
    """Wait for the world outside."""
    return FutureResult(_wait())


async def _wait() -> Result[int, Never]:
    await released.get().wait()
    return Success(1)


@program
def on_event(ctx: TaskContext[int], event: int) -> Do[None]:
    """Wait, with a claim; then add."""
    yield from ctx.set_state(event + (yield from wait()))


waiting = Task("waiting", state=int, event=int, initial=0, on_event=on_event)


def waiting_app(runs: int) -> App[None]:
    """Give an app that lets so many runs wait."""
    return App(None, limits=Limits(concurrency=runs, max_pending=runs)).with_jobs(waiting)

"""Cancellations of the running task: their cause, and how to take them back."""

from __future__ import annotations

from contextlib import suppress
from typing import Literal

from perdure.runtime.record import Runtime


def is_cancelled(runtime: Runtime, raised: BaseException) -> bool:
    """Return whether the running task was cancelled, and not only an awaitable that it waited for."""
    return isinstance(raised, runtime.cancelled) and runtime.current_task().cancelling() > 0


async def stop_from_outside(runtime: Runtime, phase: Literal["open", "closing"]) -> Literal["released"] | None:
    """Return why a run was cancelled that the engine did not cancel.

    If an awaitable of the program was cancelled, or the program cancelled its own task, it is a defect of the run. If
    the event loop cancels every task because it ends, the engine is being stopped at the same moment.
    """
    if runtime.current_task().cancelling():
        uncancel(runtime)
        await runtime.sleep(0)
    return "released" if phase == "closing" else None


async def take_cancellation_back(runtime: Runtime) -> None:
    """Remove the cancellation of a program that ended nevertheless: the next turn of this task must not see it."""
    with suppress(runtime.cancelled):
        await runtime.sleep(0)
    uncancel(runtime)


def uncancel(runtime: Runtime) -> None:
    """Undo every cancellation request of the running task."""
    task = runtime.current_task()
    while task.cancelling():
        task.uncancel()

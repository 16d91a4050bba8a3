"""An effect of a world that needs an event loop fails with an error that names it and a fix."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure import App, Task, effect
from perdure.testing import World


class AsyncLibraryNotFoundError(RuntimeError):
    """As sniffio raises it, for HTTP clients."""


class Services:
    async def sleeps(self) -> Result[None, str]:
        await asyncio.sleep(0.01)
        return Success(None)

    async def connects(self) -> Result[None, str]:
        await asyncio.open_connection("127.0.0.1", 1)
        return Success(None)

    async def calls_a_thread(self) -> Result[None, str]:
        await asyncio.to_thread(len, "")
        return Success(None)

    async def reads_a_queue(self) -> Result[None, str]:
        await asyncio.Queue[int]().get()
        return Success(None)

    async def uses_a_library(self) -> Result[None, str]:
        raise AsyncLibraryNotFoundError("unknown async library, or not in async context")

    def returns_a_future(self) -> FutureResult[None, str]:
        return FutureResult(self.sleeps())

    async def awaits_nothing(self) -> Result[None, str]:
        await asyncio.sleep(0)
        return Success(None)

    async def breaks(self) -> Result[None, str]:
        raise AttributeError("'NoneType' object has no attribute 'create_future'")


def outcome(method: Callable[..., Any]) -> object:
    call = effect(method)
    job: Any = Task("job", state=int, event=str, initial=0, on_event=lambda _ctx, _event: call())
    with World(App(Services()).with_jobs(job), at_end="leave") as world:
        return world.attempt(world.handle(job).send("a", "x"))


NEEDS_A_LOOP = (
    Services.sleeps,
    Services.connects,
    Services.calls_a_thread,
    Services.reads_a_queue,
    Services.uses_a_library,
    Services.returns_a_future,
)


@pytest.mark.parametrize("method", NEEDS_A_LOOP, ids=lambda method: method.__name__)
def test_an_effect_that_needs_an_event_loop_is_named(method: Callable[..., Any]) -> None:
    failed = outcome(method)
    assert isinstance(failed, Failure)
    assert failed.failure().error_type == "WouldBlock"
    assert f"effect {method.__name__} waits for" in failed.failure().message
    assert "in-memory service" in failed.failure().message


def test_other_effects_and_their_errors_are_as_they_are() -> None:
    assert isinstance(outcome(Services.awaits_nothing), Success)
    broken = outcome(Services.breaks)
    assert isinstance(broken, Failure)
    assert broken.failure().error_type == "AttributeError"

"""Sends batches to the endpoint, each until the endpoint accepts or refuses it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import attrs

from perdure.runtime.record import Runtime, SpawnedTask
from perdure.runtime.tasks import ended
from perdure.telemetry.tracker.options import TrackerOptions
from perdure.telemetry.tracker.payload import Outgoing, body_of, gzipped
from perdure.telemetry.tracker.response import (
    EventsAccepted,
    EventsRefused,
    Misconfigured,
    NoResponse,
    Response,
    Unavailable,
    judge,
)
from perdure.telemetry.tracker.retries import Retries
from perdure.values.excerpt import excerpt

Post: TypeAlias = Callable[[bytes], Awaitable[Response | NoResponse]]
"""Sends a body to the endpoint."""


@attrs.frozen(kw_only=True)
class Endpoint:
    """The endpoint of a tracker.

    Attributes:
        options: the options of the tracker.
        runtime: the only interface to time.
        retries: waits after failures.
        post: sends a body.
    """

    options: TrackerOptions
    runtime: Runtime
    retries: Retries
    post: Post

    async def send(self, batch: Sequence[Outgoing]) -> EventsAccepted | EventsRefused:
        """Send a batch until the endpoint accepts or refuses it.

        Raises:
            GaveUp: the sink is closing.
        """
        body = body_of(batch)
        if self.options.compression == "gzip":
            body = await gzipped(body, lambda: self.runtime.sleep(0))
        failures = 0
        while True:
            failures += 1
            match judge(await self._attempt(body), self.runtime.now_ms()):
                case EventsAccepted() as accepted:
                    self.retries.recovered()
                    return accepted
                case EventsRefused() as refused:
                    return refused
                case Unavailable(reason, retry_after_ms):
                    message = "tracker cannot export; it retries"
                    await self.retries.wait(failures, message, reason, at_least_ms=retry_after_ms)
                case Misconfigured(reason):
                    fix = "correct the endpoint or its key; nothing is skipped meanwhile"
                    await self.retries.wait_for_operator("tracker is misconfigured", reason, fix)

    async def _attempt(self, body: bytes) -> Response | NoResponse:
        """Send a body once, within the limit."""
        task = self.runtime.spawn(_response_of(self.post(body)), name=f"perdure:request of {self.options.name}")
        timer = self.runtime.call_later(self.options.timeout_ms, lambda: _cancel(task))
        try:
            await ended(task, self.runtime)
        except self.runtime.cancelled:
            task.cancel()
            await ended(task, self.runtime)
            raise
        finally:
            timer.cancel()
        if task.cancelled():
            return NoResponse("no response within the timeout")
        error = task.exception()
        return task.result() if error is None else NoResponse(f"the request failed: {excerpt(error)}")


def _cancel(task: SpawnedTask[Any]) -> None:
    task.cancel()


async def _response_of(response: Awaitable[Response | NoResponse]) -> Response | NoResponse:
    return await response

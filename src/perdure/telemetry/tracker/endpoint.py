"""Sends batches to the endpoint with an HTTP client, each until the endpoint accepts or refuses it.

A failure is logged when it is new, and repeated after a wait; only a sink that closes gives up.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import attrs

from perdure.engine.loops.waker import Waker
from perdure.runtime.record import LogRecord, Runtime, SpawnedTask
from perdure.runtime.tasks import ended
from perdure.telemetry.tracker.batches import (
    EventsAccepted,
    EventsRefused,
    Misconfigured,
    NoResponse,
    Outgoing,
    Response,
    Unavailable,
    body_of,
    gzipped,
    judge,
)
from perdure.telemetry.tracker.options import TrackerOptions
from perdure.values.errors import DefinitionError
from perdure.values.excerpt import MAX_LINE_CHARACTERS, excerpt, shortened
from perdure.values.retry import Backoff
from perdure.wire.engine_info import installed_version

if TYPE_CHECKING:
    import httpx2


class GaveUp(Exception):
    """The sink is closing, and its last request failed."""


@attrs.define(kw_only=True)
class Retries:
    """The failures of one tracker.

    Attributes:
        name: the name of the sink, for log lines.
        runtime: the only interface to time, chance and logs.
        backoff: the delay after a failure.
        state: whether the sink is closing.
        problem: why the last attempt failed; empty if it did not.
    """

    name: str
    runtime: Runtime
    backoff: Backoff
    state: Literal["open", "closing"] = "open"
    problem: str = ""
    _pause: Waker = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._pause = Waker(self.runtime)

    async def wait(self, failures: int, message: str, reason: str, *, at_least_ms: int = 0) -> None:
        """Log a failure that passes without an operator, and wait.

        Args:
            failures: how many there were, one after the other.
            message: the log line.
            reason: why; a reason that is not new is not logged.
            at_least_ms: the shortest wait.

        Raises:
            GaveUp: the sink is closing.
        """
        delay_ms = max(self._jittered(self.backoff.delay_ms(failures)), at_least_ms)
        await self._wait("warning", message, {"reason": reason}, delay_ms)

    async def wait_for_operator(self, message: str, reason: str, fix: str, **fields: object) -> None:
        """Log a failure that needs an operator, and wait as long as the backoff goes.

        Raises:
            GaveUp: the sink is closing.
        """
        fields = {"reason": reason, **fields, "fix": fix}
        await self._wait("error", message, fields, self._jittered(self.backoff.max_ms))

    async def _wait(
        self, level: Literal["warning", "error"], message: str, fields: dict[str, Any], delay_ms: float
    ) -> None:
        if fields["reason"] != self.problem:
            self.log(level, message, **fields)
        self.problem = fields["reason"]
        if self.state == "closing":
            raise GaveUp
        timer = self.runtime.call_later(delay_ms, self._pause.notify)
        await self._pause.wait_until(None)
        timer.cancel()

    def recovered(self) -> None:
        """Note a success."""
        if self.problem:
            self.problem = ""
            self.log("info", "tracker exports again")

    def close(self) -> None:
        """End a wait, and let the next failure be the last."""
        self.state = "closing"
        self._pause.notify()

    def log(self, level: Literal["info", "warning", "error"], message: str, **fields: object) -> None:
        """Log a line about this sink."""
        self.runtime.log(LogRecord(level, message, {"sink": self.name, **fields}))

    def _jittered(self, delay_ms: float) -> float:
        return delay_ms * (1 + self.runtime.random()) / 2


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


Connect: TypeAlias = Callable[[TrackerOptions], AbstractAsyncContextManager[Post]]
"""Opens a connection to the endpoint of some options; the end of the context closes it."""

MAX_RESPONSE_BYTES: Final = 65_536
"""How much of a response is read, to use its connection again. A longer response costs a new connection."""


@asynccontextmanager
async def http_post(options: TrackerOptions) -> AsyncGenerator[Post]:
    """Open an HTTP client for an endpoint.

    Raises:
        DefinitionError: the extra ``client`` is not installed.
    """
    try:
        import httpx2  # noqa: PLC0415 - of the extra `client`
    except ModuleNotFoundError as error:
        expected = "the HTTP client to be installed: pip install 'perdure[client]'"
        raise DefinitionError("tracker", error, expected) from error
    encoding = {"content-encoding": "gzip"} if options.compression == "gzip" else {}
    headers = {
        "user-agent": f"perdure/{installed_version()}",
        "content-type": "application/json",
        **encoding,
        **options.headers,
    }
    timeout_s = options.timeout_ms / 1_000
    limits = httpx2.Limits(max_connections=1, max_keepalive_connections=1)
    async with httpx2.AsyncClient(timeout=timeout_s, limits=limits, follow_redirects=False) as client:

        async def post(body: bytes) -> Response | NoResponse:
            try:
                async with client.stream("POST", options.endpoint, content=body, headers=headers) as response:
                    await _read(response)
                    return Response(response.status_code, response.headers.get("retry-after", ""))
            except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
                return NoResponse(_reason(error, options))

        yield post


async def _read(response: httpx2.Response) -> None:
    size = 0
    async for part in response.aiter_raw():
        size += len(part)
        if size > MAX_RESPONSE_BYTES:
            return


def _reason(error: Exception, options: TrackerOptions) -> str:
    """Describe an error without the values of headers."""
    text = f"{type(error).__name__}: {error}".removesuffix(": ")
    if any(value in text for value in options.headers.values()):
        return type(error).__name__
    return shortened(text, MAX_LINE_CHARACTERS)

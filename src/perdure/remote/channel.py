"""How requests travel: over one of two channels, which have the same failures.

Here is the one without an event loop, whose coroutines never suspend. The HTTP libraries' failures are told apart by
whether the request may have been performed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal, Never, Protocol

import attrs
import h11
import httpx2
import orjson
from returns.result import Result, Success
from uuid_utils.compat import uuid7

from perdure.jobs.call import Call, result_of
from perdure.values.excerpt import excerpt
from perdure.wire.requests import BATCHES, BatchReply, Envelope, reply_of

PLAIN: Final = {"Accept-Encoding": "identity"}
"""A compressed response could be a small one that fills the memory of the client."""
LINES: Final = {"Content-Type": "application/x-ndjson", **PLAIN}
JSON: Final = {"Content-Type": "application/json", **PLAIN}

CONNECT_MS: Final = 2_000
"""The longest time for a connection to a server: one that is there accepts within milliseconds."""

MAX_ANSWER_BYTES: Final = 268_435_456
"""The largest answer to one request that a client reads: a page of a thousand instances is much smaller."""


@attrs.frozen(str=False)
class NotSent(Exception):
    """The request did not reach the server: it may be sent again."""

    reason: str


@attrs.frozen(str=False)
class AnswerLost(Exception):
    """The request was sent, or partly, and no answer came: it may have been performed."""

    reason: str


@attrs.frozen
class ClientClosed(Exception):
    """The client is closed: the request was not sent."""


@attrs.frozen
class HttpReply:
    """The reply to an HTTP request.

    Attributes:
        status: its status.
        body: its body.
    """

    status: int
    body: bytes

    def problem(self) -> Mapping[str, Any]:
        """Return its problem. A problem without a code if a proxy wrote it."""
        try:
            parsed: Any = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            parsed = None
        # Only a problem of this protocol has a code: a proxy's error page does
        # not say whether the request was performed.
        if isinstance(parsed, dict) and "code" in parsed:
            problem: dict[str, Any] = parsed  # pyright: ignore[reportUnknownVariableType] - of JSON
            return problem
        # Cut: the page of a proxy may be long, and is shown in an error.
        return {"status": self.status, "detail": self.body[:200].decode("latin-1")}


class Channel(Protocol):
    """Sends requests to one server. A blocking channel's coroutines never suspend."""

    async def call(self, envelope: Envelope, timeout_ms: float, /) -> BatchReply:
        """Send a request to one instance.

        Raises:
            NotSent: it did not reach the server.
            AnswerLost: no answer came in time.
            ClientClosed: the client is closed.
        """
        ...

    async def http(
        self, method: Literal["GET", "POST"], path: str, timeout_ms: float, content: bytes, key: str | None, /
    ) -> HttpReply:
        """Send another request, with its body and its idempotency key.

        Raises:
            NotSent: it did not reach the server.
            AnswerLost: no answer came in time.
            ClientClosed: the client is closed.
        """
        ...


class ClientRuntime(Protocol):
    """The clock, the pauses and a client's keys. Its coroutines never suspend without an event loop."""

    async def concurrently(self, calls: Sequence[Call[Any, Any]], /) -> Result[tuple[Result[Any, Any], ...], Never]:
        """Make several calls, at the same time if there is an event loop."""
        ...

    async def pause(self, delay_ms: float, /) -> None:
        """Wait before a repeat."""
        ...

    def now_ms(self) -> float:
        """Read a monotonic clock."""
        ...

    def new_key(self) -> str:
        """Return a new idempotency key."""
        ...


def headers_of(key: str | None) -> list[tuple[bytes, bytes]]:
    """Return a JSON request's headers, in UTF-8."""
    given = JSON if key is None else {**JSON, "Idempotency-Key": key}
    return [(name.encode(), value.encode()) for name, value in given.items()]


def check_encoding(headers: Mapping[str, str]) -> None:
    """Check that a response is not compressed: the client accepts no such one.

    Args:
        headers: the response's headers, by names in lower case.

    Raises:
        AnswerLost: it is.
    """
    encoding = headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise AnswerLost(f"the response is compressed ({excerpt(encoding)}); turn this off in the proxy in front")


def check_size(size: int, most: int) -> None:
    """Check how many bytes of an answer were read so far.

    Raises:
        AnswerLost: they are too many.
    """
    if size > most:
        raise AnswerLost(f"the response is larger than {most} bytes; request smaller pages")


def reply_for(reply: HttpReply, number: int) -> BatchReply:
    """Return the problem for one request in a batch that was refused completely."""
    return BatchReply(number, "problem", reply.problem())


def limits_of(timeout_ms: float) -> httpx2.Timeout:
    """Return one request's limits for the HTTP library.

    Args:
        timeout_ms: the longest time for a free connection, and without a response part.
    """
    return httpx2.Timeout(timeout_ms / 1_000, connect=min(timeout_ms, CONNECT_MS) / 1_000)


@contextmanager
def by_effect() -> Generator[None]:
    """Raise `NotSent` or `AnswerLost` for an HTTP library error.

    Raises:
        NotSent: no connection was made.
        AnswerLost: the connection failed later, or the server was too slow.
    """
    try:
        yield
    # No connection was made: nothing was sent. In each later error the request may have been performed.
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
        raise NotSent(reason_of(error)) from error
    except (httpx2.TimeoutException, httpx2.TransportError, httpx2.StreamError) as error:
        raise AnswerLost(f"the connection failed: {reason_of(error)}") from error


def reason_of(error: Exception) -> str:
    """Return why a request failed.

    The texts of an HTTP library name parser states, and repeat bytes from the server.
    """
    match error:
        case httpx2.TimeoutException() | TimeoutError():
            return "the server did not answer in time"
        case httpx2.RemoteProtocolError() | h11.RemoteProtocolError():
            return "the server closed it before the end of its response, or does not speak HTTP/1.1"
        case httpx2.LocalProtocolError() | h11.LocalProtocolError() | httpx2.StreamError():
            return "the response had ended before"
        case _:
            return str(error) or excerpt(error)


OK: Final = 200


@attrs.frozen(eq=False)
class BlockingClientRuntime:
    """Waits in the caller's thread."""

    async def concurrently(self, calls: Sequence[Call[Any, Any]], /) -> Result[tuple[Result[Any, Any], ...], Never]:
        """Make several calls, one after the other."""
        # Without an event loop nothing runs at the same time.
        return Success(tuple([await result_of(call) for call in calls]))

    async def pause(self, delay_ms: float, /) -> None:
        """Wait before a repeat."""
        time.sleep(delay_ms / 1_000)  # noqa: ASYNC251 - no event loop runs this coroutine

    def now_ms(self) -> float:
        """Read a monotonic clock."""
        return time.monotonic() * 1_000

    def new_key(self) -> str:
        """Return a new idempotency key."""
        return str(uuid7())


@attrs.define(eq=False)
class BlockingChannel:
    """Sends each request when it is made, over connections that are kept. Threads may share it.

    Attributes:
        make: returns a new client from the HTTP library.
        max_answer_bytes: the largest answer to one request.
    """

    make: Callable[[], httpx2.Client]
    max_answer_bytes: int = MAX_ANSWER_BYTES
    _own: tuple[int, httpx2.Client] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._own = os.getpid(), self.make()

    @property
    def http_client(self) -> httpx2.Client:
        """This process's client: on one connection, parent and child would read each other's answers."""
        process, client = self._own
        if process == os.getpid() or client.is_closed:
            return client
        self._own = os.getpid(), self.make()
        return self._own[1]

    def close(self) -> None:
        """Close this process's connections."""
        self.http_client.close()

    async def call(self, envelope: Envelope, timeout_ms: float, /) -> BatchReply:
        """Send a request to one instance."""
        if self.http_client.is_closed:
            raise ClientClosed
        reply = self._read("POST", BATCHES, envelope.encoded(), list(LINES.items()), timeout_ms)
        if reply.status != OK:
            return reply_for(reply, envelope.number)
        answer = reply_of(reply.body.strip())
        if answer is None:
            raise AnswerLost("the answer of the server is not complete")
        return answer

    async def http(
        self, method: Literal["GET", "POST"], path: str, timeout_ms: float, content: bytes, key: str | None, /
    ) -> HttpReply:
        """Send another request."""
        if self.http_client.is_closed:
            raise ClientClosed
        return self._read(method, path, content, headers_of(key), timeout_ms)

    def _read(self, method: str, path: str, content: bytes, headers: Any, timeout_ms: float) -> HttpReply:
        with (
            by_effect(),
            self.http_client.stream(
                method, path, content=content, headers=headers, timeout=limits_of(timeout_ms)
            ) as reply,
        ):
            # Checked before the body is read: a compressed one could be larger than it looks.
            check_encoding(reply.headers)
            parts, size = list[bytes](), 0
            for part in reply.iter_raw():
                parts.append(part)
                size += len(part)
                check_size(size, self.max_answer_bytes)
        return HttpReply(reply.status_code, b"".join(parts))

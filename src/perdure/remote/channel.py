"""How requests travel: over one of two channels, which have the same failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, Never, Protocol

import attrs
import orjson
from returns.result import Result

from perdure.jobs.call import Call
from perdure.values.excerpt import excerpt
from perdure.wire.requests import BatchReply, Envelope

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
    """The reply to an HTTP request."""

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

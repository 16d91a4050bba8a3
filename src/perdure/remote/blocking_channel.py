"""A client's channel without an event loop: its coroutines never suspend."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, Never

import attrs
import httpx2
from returns.result import Result, Success
from uuid_utils.compat import uuid7

from perdure.jobs.call import Call, result_of
from perdure.remote.channel import (
    LINES,
    MAX_ANSWER_BYTES,
    AnswerLost,
    ClientClosed,
    HttpReply,
    check_encoding,
    check_size,
    headers_of,
    reply_for,
)
from perdure.remote.transport_errors import by_effect, limits_of
from perdure.wire.requests import BATCHES, BatchReply, Envelope, reply_of

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

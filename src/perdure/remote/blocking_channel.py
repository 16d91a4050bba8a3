"""The channel of a client without an event loop: its coroutines never suspend."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, Never

import attrs
import httpx2
from returns.future import FutureResult
from returns.result import Result, Success
from uuid_utils.compat import uuid7

from perdure.programs.future import answer_of
from perdure.remote.channel import LINES, AnswerLost, ClientClosed, HttpReply, headers_of, reply_for
from perdure.remote.failures import by_effect
from perdure.wire.envelope import BatchReply, Envelope, reply_of
from perdure.wire.paths import BATCHES

OK: Final = 200


@attrs.define(eq=False)
class BlockingChannel:
    """Sends each request when it is made, over connections that are kept. Threads may share it.

    Attributes:
        make: returns a new client of the HTTP library.
    """

    make: Callable[[], httpx2.Client]
    _own: tuple[int, httpx2.Client] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._own = os.getpid(), self.make()

    @property
    def http_client(self) -> httpx2.Client:
        """The client of this process: on one connection, parent and child would read each other's answers."""
        process, client = self._own
        if process == os.getpid() or client.is_closed:
            return client
        self._own = os.getpid(), self.make()
        return self._own[1]

    def close(self) -> None:
        """Close the connections of this process."""
        self.http_client.close()

    async def call(self, envelope: Envelope, timeout_ms: float, /) -> BatchReply:
        """Send a request to one instance."""
        if self.http_client.is_closed:
            raise ClientClosed
        with by_effect():
            reply = self.http_client.post(
                BATCHES, content=envelope.encoded(), headers=LINES, timeout=timeout_ms / 1_000
            )
        if reply.status_code != OK:
            return reply_for(HttpReply(reply.status_code, reply.content), envelope.number)
        answer = reply_of(reply.content.strip())
        if answer is None:
            raise AnswerLost("the answer of the server is not complete")
        return answer

    async def http(
        self, method: Literal["GET", "POST"], path: str, timeout_ms: float, content: bytes, key: str | None, /
    ) -> HttpReply:
        """Send another request."""
        if self.http_client.is_closed:
            raise ClientClosed
        with by_effect():
            reply = self.http_client.request(
                method, path, content=content, headers=headers_of(key), timeout=timeout_ms / 1_000
            )
        return HttpReply(reply.status_code, reply.content)

    async def together(self, calls: Sequence[FutureResult[Any, Any]], /) -> Result[tuple[Result[Any, Any], ...], Never]:
        """Make several calls, one after the other."""
        return Success(tuple([await answer_of(call) for call in calls]))

    async def pause(self, delay_ms: float, /) -> None:
        """Wait before a repeat."""
        time.sleep(delay_ms / 1_000)  # noqa: ASYNC251 - no event loop runs this coroutine

    def now_ms(self) -> float:
        """Read a monotonic clock."""
        return time.monotonic() * 1_000

    def new_key(self) -> str:
        """Return a new idempotency key."""
        return str(uuid7())

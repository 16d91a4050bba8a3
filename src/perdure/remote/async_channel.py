"""The channel of a client in an event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, Literal, Never

import attrs
import httpx2
from returns.result import Result

from perdure.client.together import together
from perdure.jobs.call import Call
from perdure.remote.batching import BatchRefused, CallBatcher
from perdure.remote.channel import MAX_ANSWER_BYTES, ClientClosed, HttpReply, check_encoding, check_size, headers_of
from perdure.remote.connections import Connections
from perdure.remote.failures import by_effect, limits_of
from perdure.runtime.record import Runtime
from perdure.wire.envelope import BatchReply, Envelope
from perdure.wire.paths import BATCHES

OK: Final = 200


@attrs.frozen(eq=False)
class AsyncClientRuntime:
    """Waits in the event loop.

    Attributes:
        runtime: the clock, and the source of keys.
    """

    runtime: Runtime

    async def together(self, calls: Sequence[Call[Any, Any]], /) -> Result[tuple[Result[Any, Any], ...], Never]:
        """Make several calls at the same time: they share batches."""
        return await together(self.runtime, calls)

    async def pause(self, delay_ms: float, /) -> None:
        """Wait before a repeat."""
        await self.runtime.sleep(delay_ms)

    def now_ms(self) -> float:
        """Read a monotonic clock."""
        return self.runtime.monotonic_ms()

    def new_key(self) -> str:
        """Return a new idempotency key."""
        return f"{self.runtime.new_id():032x}"


@attrs.define(eq=False)
class AsyncChannel:
    """Sends requests over connections that are kept, in batches.

    Attributes:
        http_client: of the HTTP library, for all requests but batches.
        connections: for batches.
        max_connections: the maximum number of connections.
        runtime: starts tasks and timers.
        max_answer_bytes: the largest answer to one request.
    """

    http_client: httpx2.AsyncClient
    connections: Connections
    max_connections: int
    runtime: Runtime
    max_answer_bytes: int = MAX_ANSWER_BYTES
    _batching: CallBatcher = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._batching = CallBatcher(self._post, self.max_connections, self.runtime)

    async def call(self, envelope: Envelope, timeout_ms: float, /) -> BatchReply:
        """Send a request to one instance."""
        return await self._batching.call(envelope, timeout_ms)

    async def _post(self, lines: bytes, timeout_ms: float) -> AsyncIterator[bytes]:
        async with self.connections.post(BATCHES, lines, timeout_ms) as (status, parts):
            if status != OK:
                raise BatchRefused(HttpReply(status, await self._joined(parts)))
            begun, size = list[bytes](), 0  # the line that is being received: joined once
            async for part in parts:
                *complete, rest = part.split(b"\n")
                for line in complete:
                    yield b"".join((*begun, line))
                    begun, size = [], 0
                begun.append(rest)
                size += len(rest)
                check_size(size, self.max_answer_bytes)

    async def http(
        self, method: Literal["GET", "POST"], path: str, timeout_ms: float, content: bytes, key: str | None, /
    ) -> HttpReply:
        """Send another request."""
        if self.http_client.is_closed:
            raise ClientClosed
        with by_effect():
            async with self.http_client.stream(
                method, path, content=content, headers=headers_of(key), timeout=limits_of(timeout_ms)
            ) as reply:
                check_encoding(reply.headers)
                return HttpReply(reply.status_code, await self._joined(reply.aiter_raw()))

    async def _joined(self, parts: AsyncIterator[bytes]) -> bytes:
        found, size = list[bytes](), 0
        async for part in parts:
            found.append(part)
            size += len(part)
            check_size(size, self.max_answer_bytes)
        return b"".join(found)

    async def close(self) -> None:
        """Close the connections."""
        await self._batching.close()
        await self.connections.close()
        await self.http_client.aclose()

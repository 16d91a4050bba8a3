"""Live updates: a page follows its engine over server-sent events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final

import attrs
import orjson
from starlette.responses import StreamingResponse

from perdure.runtime.record import Runtime
from perdure.server.bulkhead import Bulkhead

INTERVAL_MS: Final = 1_000
"""The shortest time between two updates of a page."""

LIFETIME_MS: Final = 60_000
"""How long a stream lasts. Then the browser opens the next one, so that no stream holds up the end of a server."""

RETRY_MS: Final = 1_000
"""How long the browser waits before it opens the next stream."""

FULL_RETRY_MS: Final = 10_000
"""How long it waits if too many pages follow the engine."""


@attrs.frozen
class PageUpdate:
    """The answer of a page at one moment.

    Attributes:
        kind: ``page``: its content; ``trouble``: why it has none; ``signed-out``: the session ended.
        text: the content or the reason.
        at: the moment, ISO 8601.
    """

    kind: str
    text: str
    at: str


def encoded(kind: str, **data: str) -> bytes:
    r"""Return a server-sent event.

    >>> encoded("pulse", at="2026-01-01T00:00:00Z")
    b'event: pulse\ndata: {"at":"2026-01-01T00:00:00Z"}\n\n'
    """
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), orjson.dumps(data))


def stream(
    update: Callable[[], Awaitable[PageUpdate]],
    streams: Bulkhead,
    client: str,
    runtime: Runtime,
    closing: Callable[[], bool],
) -> StreamingResponse:
    """Return the response that follows a page. Beyond the limit, it ends at once and says so.

    Args:
        update: returns the page as it is now.
        streams: bounds the open streams.
        client: the client that follows it.
        runtime: the clock.
        closing: whether the engine or the server stops.
    """

    async def events() -> AsyncGenerator[bytes]:
        if not streams.take(client):
            yield b"retry: %d\n\n" % FULL_RETRY_MS
            yield encoded("full", limit=str(min(streams.limit, streams.of_one)))
            return
        try:
            yield b"retry: %d\n\n" % RETRY_MS
            until_ms, last = runtime.monotonic_ms() + LIFETIME_MS, ""
            while not closing() and runtime.monotonic_ms() < until_ms:
                now = await update()
                if now.kind == "page" and now.text == last:
                    yield encoded("pulse", at=now.at)
                else:
                    yield encoded(now.kind, text=now.text, at=now.at)
                if now.kind == "signed-out":
                    return
                last = now.text
                await runtime.sleep(INTERVAL_MS)
        finally:
            streams.release(client)

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff"}
    return StreamingResponse(events(), media_type="text/event-stream", headers=headers)

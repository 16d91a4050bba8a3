"""Bodies: received completely, within the limits, before the application is called."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Self, TypeAlias

import attrs

from perdure.server.bulkhead import Bulkhead
from perdure.server.http_limits import HttpLimits
from perdure.server.refusal import HttpRefusal, bodies_refusal, size_refusal

Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]


@attrs.define
class Reservation:
    """The bytes of one body.

    Attributes:
        memory: the bytes of all bodies that a server holds.
        client: the client that sends it.
        most: the largest body.
        size: the bytes so far.
    """

    memory: Bulkhead
    client: str
    most: int
    size: int = 0

    def grow(self, count: int) -> bool:
        """Reserve more bytes; return False if the memory, or the client's share of it, has no room for them."""
        if not self.memory.take(self.client, count):
            return False
        self.size += count
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.size:
            self.memory.release(self.client, self.size)


async def received(receive: Receive, limits: HttpLimits, reservation: Reservation) -> bytes | HttpRefusal | None:
    """Receive a body.

    Returns:
        The body; the refusal of one that is too large, or that does not fit beside the others; None if the client
        closed the connection before the end.
    """
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        part: bytes = message.get("body", b"")
        if reservation.size + len(part) > reservation.most:
            return body_too_large(reservation.most)
        if part and not reservation.grow(len(part)):
            return bodies_refusal(limits)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def body_too_large(most: int) -> HttpRefusal:
    """Return the refusal of a body that is larger than the limit."""
    return size_refusal(413, "body of the request", "a larger one", f"{most} bytes")


def replayed(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that returns the body as one message, and then the messages that follow."""
    pending = True

    async def next_message() -> MutableMapping[str, Any]:
        nonlocal pending
        if pending:
            pending = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return next_message


async def departure(receive: Receive) -> None:
    """Return once the client has closed its connection, or its response is complete. The body was received before."""
    while (await receive())["type"] != "http.disconnect":
        pass

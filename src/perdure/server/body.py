"""Bodies: received completely, within the limits, before the application is called."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, MutableMapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import attrs

from perdure.server.http_limits import HttpLimits
from perdure.server.refusal import HttpRefusal, bodies_refusal, size_refusal

Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]


@attrs.define
class BodyMemory:
    """The bytes of all bodies that a server holds.

    Attributes:
        limit: the most bytes.
        held: the bytes now.
    """

    limit: int
    held: int = 0

    @contextmanager
    def reserving(self) -> Generator[Reservation]:
        """Return a reservation, and release it at the end of the block."""
        reservation = Reservation(self)
        try:
            yield reservation
        finally:
            self.held -= reservation.size


@attrs.define
class Reservation:
    """The bytes of one body.

    Attributes:
        memory: the memory that they belong to.
        size: their number.
    """

    memory: BodyMemory
    size: int = 0

    def grow(self, count: int) -> bool:
        """Reserve more bytes; return False if the memory has no room for them."""
        if self.memory.held + count > self.memory.limit:
            return False
        self.memory.held += count
        self.size += count
        return True


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
        if reservation.size + len(part) > limits.body_bytes:
            return body_too_large(limits)
        if not reservation.grow(len(part)):
            return bodies_refusal(limits)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def body_too_large(limits: HttpLimits) -> HttpRefusal:
    """Return the refusal of a body that is larger than the limit."""
    return size_refusal(413, "body of the request", "a larger one", f"{limits.body_bytes} bytes")


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

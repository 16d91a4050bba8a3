"""The deadlines of one connection. Pure: a function of the limits and of the times of its last changes."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import attrs

from perdure.server.http_limits import HttpLimits
from perdure.values.times import duration_ms

Phase: TypeAlias = Literal["idle", "headers", "body", "discarding", "answering"]
"""The part of a request that a connection is in.

It waits for a request; it receives headers; it receives a body; it discards the rest of a body, because the request was
refused; or the application handles the request.
"""

REPLACEABLE: Final[frozenset[Phase]] = frozenset({"idle", "headers", "discarding"})
"""Phases in which closing the connection interrupts no accepted request."""


@attrs.frozen(kw_only=True)
class Timeouts:
    """The timeouts of a connection in milliseconds.

    Attributes:
        idle_ms: waiting for a request.
        headers_ms: receiving headers.
        body_ms: receiving a body.
        write_ms: unread bytes of responses.
    """

    idle_ms: int
    headers_ms: int
    body_ms: int
    write_ms: int

    @classmethod
    def of(cls, limits: HttpLimits) -> Timeouts:
        """Return the timeouts of the limits."""
        return cls(
            idle_ms=duration_ms(limits.idle_timeout, what="idle_timeout"),
            headers_ms=duration_ms(limits.header_timeout, what="header_timeout"),
            body_ms=duration_ms(limits.body_timeout, what="body_timeout"),
            write_ms=duration_ms(limits.write_timeout, what="write_timeout"),
        )

    @property
    def shortest_ms(self) -> int:
        """The shortest of them."""
        return min(self.idle_ms, self.headers_ms, self.body_ms, self.write_ms)


@attrs.frozen(kw_only=True)
class ConnectionState:
    """The progress of one connection.

    Attributes:
        phase: the part of a request that it is in.
        since_ms: when that phase began.
        unread_since_ms: since when bytes of a response wait for the client to read them; None if none wait.
    """

    phase: Phase
    since_ms: float
    unread_since_ms: float | None = None

    def seen(self, phase: Phase, unread: bool, now_ms: float) -> ConnectionState:  # noqa: FBT001 - a fact, not a mode
        """Return the state after the connection was found in a phase, with or without unread bytes.

        A phase that continues keeps its beginning: bytes that trickle in do not extend it.
        """
        since = self.since_ms if phase == self.phase else now_ms
        waiting = (now_ms if self.unread_since_ms is None else self.unread_since_ms) if unread else None
        if (phase, waiting) == (self.phase, self.unread_since_ms):
            return self
        return ConnectionState(phase=phase, since_ms=since, unread_since_ms=waiting)

    def deadline_ms(self, timeouts: Timeouts) -> float | None:
        """Return when the server closes the connection unless it makes progress; None while a request is handled."""
        deadlines = [] if self.unread_since_ms is None else [self.unread_since_ms + timeouts.write_ms]
        match self.phase:
            case "idle":
                deadlines.append(self.since_ms + timeouts.idle_ms)
            case "headers":
                deadlines.append(self.since_ms + timeouts.headers_ms)
            case "body" | "discarding":
                deadlines.append(self.since_ms + timeouts.body_ms)
            case "answering":
                pass  # the engine's own limits end a request
        return min(deadlines, default=None)

"""Connections with limits: between the socket and uvicorn's HTTP protocol, for the timeouts that uvicorn lacks.

One connection's deadlines are pure: a function of the limits and its last changes' times.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final, Literal, Protocol, TypeAlias, cast

import attrs
import h11
import orjson
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from perdure.runtime.record import LogRecord, Runtime, Timer
from perdure.server.guard import PROBES_ONLY
from perdure.server.http_limits import HttpLimits
from perdure.server.listening import unread_bytes
from perdure.values.errors import Overloaded
from perdure.values.times import duration_ms
from perdure.wire.problems import MEDIA_TYPE, problem_of

Phase: TypeAlias = Literal["idle", "headers", "body", "discarding", "answering"]
"""Which part of a request a connection is in.

It waits for a request, receives headers, receives a body, or discards the rest of a body, because the request was
refused. Or the application handles the request.
"""

REPLACEABLE: Final[frozenset[Phase]] = frozenset({"idle", "headers", "discarding"})
"""Phases in which closing the connection interrupts no accepted request."""


@attrs.frozen(kw_only=True)
class Timeouts:
    """A connection's timeouts in milliseconds.

    Attributes:
        idle_ms: waiting for a request.
        headers_ms: receiving headers.
        body_ms: receiving a body.
        write_ms: unread response bytes.
    """

    idle_ms: int
    headers_ms: int
    body_ms: int
    write_ms: int

    @classmethod
    def of(cls, limits: HttpLimits) -> Timeouts:
        """Return the limits' timeouts."""
        return cls(
            idle_ms=duration_ms(limits.idle_timeout, what="idle_timeout"),
            headers_ms=duration_ms(limits.header_timeout, what="header_timeout"),
            body_ms=duration_ms(limits.body_timeout, what="body_timeout"),
            write_ms=duration_ms(limits.write_timeout, what="write_timeout"),
        )

    @property
    def shortest_ms(self) -> int:
        """The shortest timeout."""
        return min(self.idle_ms, self.headers_ms, self.body_ms, self.write_ms)


@attrs.frozen(kw_only=True)
class ConnectionState:
    """One connection's progress.

    Attributes:
        phase: which part of a request it is in.
        since_ms: when that phase began.
        unread_since_ms: since when response bytes wait for the client to read them. None if none wait.
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
        """Return when the server closes the connection unless it makes progress. None while a request is handled."""
        # A client that does not read is closed in every phase, also while its request is handled.
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


_LOGGER: Final = logging.getLogger("perdure.http")
_LOGGER.setLevel(logging.ERROR)  # uvicorn warns of each invalid request, so that a client could fill the log


class HttpProtocol(H11Protocol):
    """One connection's HTTP."""

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any]) -> None:
        super().__init__(config, server_state, app_state)
        self.logger = _LOGGER

    def on_response_complete(self) -> None:
        """Free the part of a refused body that the application has not received, and wait for the next request."""
        self.cycle.body = bytearray()
        # Now, and not at the end of the step: the loop would look at all sockets before.
        cast("GatheredWrites", self.transport).flush()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse a request. The application, which may have received its headers, sees a client that has gone.

        uvicorn would let the application answer after this response, which raises. So does a second response.
        """
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:  # pyright: ignore[reportUnnecessaryComparison] - None at first
            cycle.disconnected = True
            cycle.message_event.set()
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            super().send_400_response(msg)
        else:
            self.transport.close()


DISCARDED_BYTES: Final = 262_144
"""How much the server reads from a refused request's body."""

LINGER_MS: Final = 500
"""How long the connection then stays open, for the client to read the refusal."""


def _full(limits: HttpLimits) -> bytes:
    """Return the response that refuses a connection."""
    body = orjson.dumps(problem_of(Overloaded("connections of the server", limits.connections)))
    head = "HTTP/1.1 503 Service Unavailable", f"content-type: {MEDIA_TYPE}", "retry-after: 1", "connection: close"
    return "\r\n".join((*head, f"content-length: {len(body)}", "", "")).encode() + body


class _Cycle(Protocol):
    """One request in uvicorn's protocol."""

    more_body: bool
    response_complete: bool


class GuardedConnections:
    """One server's connections, at most as many as its limits permit."""

    def __init__(self, limits: HttpLimits, runtime: Runtime) -> None:
        self.limits = limits
        self.runtime = runtime
        self.full = _full(limits)
        self.timeouts = Timeouts.of(limits)
        self._open: dict[GuardedConnection, None] = {}  # in the order in which they last began to wait
        self._reserved: dict[GuardedConnection, None] = {}  # beyond the limit, for probes alone, the oldest first
        self._unread: dict[GuardedConnection, None] = {}  # in the order in which their clients stopped reading
        self._refused = 0

    def __len__(self) -> int:
        return len(self._open) + len(self._reserved)

    @property
    def all(self) -> tuple[GuardedConnection, ...]:
        """The open connections, those that have waited longest for a request first."""
        return (*self._open, *self._reserved)

    def protocol(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> asyncio.Protocol:
        """Return a new connection's protocol. Pass this method to `listening` as ``protocol``.

        It sets the limits that uvicorn has itself, in its configuration: headers that do not end, and idle time.
        """
        config.h11_max_incomplete_event_size = self.limits.header_bytes
        # Rounded up: uvicorn takes whole seconds, and must not close before this timeout.
        config.timeout_keep_alive = -(-self.timeouts.idle_ms // 1_000)
        return GuardedConnection(
            self, lambda probes_only: HttpProtocol(config, server_state, {**app_state, **probes_only}), server_state
        )

    def admit(self, connection: GuardedConnection) -> None:
        """Count a new connection. At the limit, it replaces the one that has waited longest for a request.

        If all have requests in progress, the new connection is kept for probes, so that probes are answered whatever
        the other clients do. At that limit too, it replaces the oldest one that does not receive an answer, or else the
        oldest.
        """
        if len(self._open) < self.limits.connections:
            self._open[connection] = None
            return
        self._refused += 1
        if self._refused & (self._refused - 1) == 0:  # the 1st, 2nd, 4th, ...: an attack does not fill the log
            fields = {"limit": self.limits.connections, "count": self._refused}
            self.runtime.log(LogRecord("warning", "connection limit reached", fields))
        waiting = self._replaceable()
        if waiting is not None:
            waiting.abort()
            self._open[connection] = None
            return
        if len(self._reserved) >= self.limits.probe_connections:
            oldest = next(iter(self._reserved))
            next((other for other in self._reserved if other.phase != "answering"), oldest).refuse()
        self._reserved[connection] = None

    def _replaceable(self) -> GuardedConnection | None:
        """Return the connection that has waited longest for a request.

        Those with requests in progress are moved to the end, where they belong once they wait again: otherwise each new
        connection in an attack would look at all others.
        """
        # Each connection is moved at most once for each call: the loop ends, also if all are busy.
        for _ in range(len(self._open)):
            oldest = next(iter(self._open))
            if oldest.phase in REPLACEABLE:
                return oldest
            del self._open[oldest]
            self._open[oldest] = None
        return None

    def serves_probes_only(self, connection: GuardedConnection) -> bool:
        """Return whether a connection is beyond the limit."""
        return connection in self._reserved

    def waits_again(self, connection: GuardedConnection) -> None:
        """Move a connection behind the others that may be closed."""
        if self._open.pop(connection, connection) is None:
            self._open[connection] = None
        elif self._reserved.pop(connection, connection) is None:
            self._reserved[connection] = None

    def unread(self, connection: GuardedConnection) -> None:
        """Count a connection whose client does not read. While they hold too many bytes, close the oldest."""
        self._unread.setdefault(connection)
        # Summed each time: the buffers change without a notice.
        while sum(unread_bytes(each.transport) for each in self._unread) > self.limits.unread_bytes:
            next(iter(self._unread)).abort()

    def read(self, connection: GuardedConnection) -> None:
        """Forget that a client did not read."""
        self._unread.pop(connection, None)

    def closed(self, connection: GuardedConnection) -> None:
        """Forget a connection."""
        self._open.pop(connection, None)
        self._reserved.pop(connection, None)
        self._unread.pop(connection, None)


GATHERED_BYTES: Final = 65_536
"""Response bytes that wait until the event loop's step ends. More are written at once."""


class GatheredWrites(asyncio.Transport):
    """A transport that joins the writes in one step of the event loop.

    uvicorn writes a response's head, each part and the end one by one. Each write is a system call, and wakes the
    client.
    """

    __slots__ = ("_inner", "_loop", "_parts", "_size")

    def __init__(self, inner: asyncio.Transport) -> None:
        self._inner = inner
        self._loop = asyncio.get_running_loop()
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: bytes | bytearray | memoryview[int]) -> None:
        """Keep bytes until this step ends, or write them if they are many."""
        if not data:
            return
        if not self._parts:
            self._loop.call_soon(self.flush)
        self._parts.append(bytes(data))
        self._size += len(data)
        # The transport below pauses the application: bytes that it does not know of would not.
        if self._size >= GATHERED_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write the bytes that were kept."""
        if self._parts:
            parts, self._parts, self._size = self._parts, [], 0
            self._inner.write(b"".join(parts))

    def close(self) -> None:
        """Write the bytes that were kept, and close."""
        self.flush()
        self._inner.close()

    def abort(self) -> None:
        """Close at once."""
        self._parts, self._size = [], 0
        self._inner.abort()

    def is_closing(self) -> bool:
        """Return whether it is closed or closing."""
        return self._inner.is_closing()

    def get_write_buffer_size(self) -> int:
        """Return how many bytes the client has not received."""
        return self._size + self._inner.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set at how many bytes the application pauses."""
        self._inner.set_write_buffer_limits(high, low)

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Return a fact about the socket."""
        return self._inner.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Receive no more."""
        self._inner.pause_reading()

    def resume_reading(self) -> None:
        """Receive again."""
        self._inner.resume_reading()


class GuardedConnection(asyncio.Protocol):
    """One connection. It creates uvicorn's protocol at the first byte, so that an idle connection costs little.

    A client that ends its side of the connection is not answered, as in uvicorn.
    """

    __slots__ = (
        "_connections",
        "_cycle",
        "_discarded",
        "_http",
        "_make_http",
        "_partial",
        "_runtime",
        "_server_state",
        "_state",
        "_timer",
        "_transport",
    )

    def __init__(
        self,
        connections: GuardedConnections,
        make_http: Callable[[dict[str, bool]], HttpProtocol],
        server_state: ServerState,
    ) -> None:
        self._connections = connections
        self._runtime = connections.runtime
        self._make_http = make_http
        self._server_state = server_state
        self._http: HttpProtocol | None = None
        self._transport: asyncio.Transport | None = None
        self._cycle: _Cycle | None = None
        self._partial = False
        self._discarded = 0
        self._state = ConnectionState(phase="idle", since_ms=self._runtime.monotonic_ms())
        self._timer: Timer | None = None

    # ------------------------------------------------------------ the socket
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection."""
        self._transport = GatheredWrites(cast("asyncio.Transport", transport))
        self._connections.admit(self)
        self._transport.set_write_buffer_limits(high=self._connections.limits.write_buffer_bytes)
        self._registered.add(self)
        self._check()

    def data_received(self, data: bytes) -> None:
        """Pass bytes to uvicorn."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._http is None:
            probes_only = {PROBES_ONLY: True} if self._connections.serves_probes_only(self) else {}
            self._http = self._make_http(probes_only)
            self._registered.discard(self)
            self._http.connection_made(transport)
        self._look()
        if self._state.phase == "discarding" and self._is_discarded(len(data), transport):
            return
        self._http.data_received(data)
        cycle = self._latest()
        self._partial = cycle is None or cycle.response_complete
        if cycle is not self._cycle:
            self._cycle = cycle
            self._partial = False
            self._see("answering")
        self._look()

    def _is_discarded(self, count: int, transport: asyncio.Transport) -> bool:
        """Return whether enough was read of a refused body: the connection is closed soon, and reads no more."""
        self._discarded += count
        if self._discarded <= DISCARDED_BYTES:
            return False
        # No more is read: the client's kernel then stops it from sending.
        transport.pause_reading()
        # Not closed now: a reset would discard the refusal that the client has not read yet.
        self._runtime.call_later(LINGER_MS, self.abort)
        return True

    def pause_writing(self) -> None:
        """Make the application wait."""
        if self._http is not None:
            self._http.pause_writing()
        self._connections.unread(self)
        self._look()

    def resume_writing(self) -> None:
        """Let the application continue."""
        self._connections.read(self)
        if self._http is not None:
            self._http.resume_writing()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._connections.closed(self)
        self._registered.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._http is not None:
            self._http.connection_lost(exc)
        self._transport = None

    # ------------------------------------------------------------ the server
    def shutdown(self) -> None:
        """Close at once: no request has arrived. uvicorn calls this when it stops."""
        if self._transport is not None:
            self._transport.close()

    def refuse(self) -> None:
        """Close a connection that served probes only. If its client has sent another request, it is answered 503."""
        # First: the count must be right before the next connection is admitted.
        self._connections.closed(self)
        if self._transport is not None:
            if self.phase != "answering":
                self._transport.write(self._connections.full)
            self._transport.close()

    def abort(self) -> None:
        """Close without waiting for the client to read the rest."""
        self._connections.closed(self)
        if self._transport is not None:
            self._transport.abort()

    @property
    def transport(self) -> asyncio.Transport | None:
        """The transport. None once the connection is closed."""
        return self._transport

    @property
    def phase(self) -> Phase:
        """The part of a request that it is in."""
        self._look()
        return self._state.phase

    # ------------------------------------------------------------ the rules
    @property
    def _registered(self) -> set[Any]:  # uvicorn closes these when it stops; it calls nothing but `shutdown`
        return cast("set[Any]", self._server_state.connections)

    def _latest(self) -> _Cycle | None:
        return None if self._http is None else cast("_Cycle | None", self._http.cycle)

    def _look(self) -> None:
        cycle = self._latest()
        if cycle is not self._cycle:  # a pipelined request, begun when the one before it was answered
            self._cycle = cycle
            self._see("answering")
        if cycle is not None and cycle.more_body:
            self._see("discarding" if cycle.response_complete else "body")
        elif cycle is not None and not cycle.response_complete:
            self._see("answering")
        else:
            self._see("headers" if self._partial else "idle")

    def _see(self, phase: Phase) -> None:
        before = self._state.phase
        unread = unread_bytes(self._transport) > 0
        self._state = self._state.seen(phase, unread, self._runtime.monotonic_ms())
        # Only when it becomes idle: it is then the one that waits the shortest.
        if phase == "idle" != before:
            self._connections.waits_again(self)

    def _check(self) -> None:
        """Close the connection if a deadline has passed. Else look again at the next one.

        The timer is not moved at every byte: it fires at the earliest possible deadline and looks at the times then.
        """
        # The connection has ended: its timer needs no successor.
        if self._transport is None:
            return
        self._look()
        now = self._runtime.monotonic_ms()
        deadline = self._state.deadline_ms(self._connections.timeouts)
        if deadline is not None and deadline <= now:
            self.abort()
            return
        soonest = now + self._connections.timeouts.shortest_ms
        self._timer = self._runtime.call_later(min(deadline or soonest, soonest) - now, self._check)

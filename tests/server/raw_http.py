"""A server with limits on a real socket, and clients that write raw bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
from uvicorn.config import Config
from uvicorn.server import ServerState

from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.runtime.record import Runtime
from perdure.server.access import Access
from perdure.server.connections import GuardedConnections
from perdure.server.guard import Guard
from perdure.server.http_limits import HttpLimits

App = Callable[[Any, Any, Any], Awaitable[None]]
NO_LIMITS = HttpLimits()


@attrs.define
class Served:
    """A server for a test.

    Attributes:
        port: the port on 127.0.0.1.
        connections: its connections.
    """

    port: int
    connections: GuardedConnections

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection."""
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def exchange(self, data: bytes) -> bytes:
        """Send bytes on a new connection and return all bytes of the server until it closes the connection."""
        reader, writer = await self.connect()
        try:
            writer.write(data)
            return await reader.read()
        finally:
            writer.close()

    async def get(self, path: str, *headers: str) -> bytes:
        """Send a GET and return the response."""
        return await self.exchange(request("GET", path, *headers))


@attrs.define(eq=False)
class SteppedClock:
    """The clock of a server, which stands until a test moves it: so that a slow machine lets no deadline pass.

    Attributes:
        now_ms: the time.
    """

    now_ms: float = 0.0
    _timers: list[SteppedTimer] = attrs.Factory(list)

    def runtime(self) -> Runtime:
        """Return a runtime with this clock, for the deadlines of connections."""
        return attrs.evolve(asyncio_runtime(), monotonic_ms=lambda: self.now_ms, call_later=self.call_later)

    def call_later(self, delay_ms: float, call: Callable[[], None]) -> SteppedTimer:
        """Call a function when the clock has moved so far."""
        timer = SteppedTimer(self.now_ms + delay_ms, call)
        self._timers.append(timer)
        return timer

    def move(self, by_ms: float) -> None:
        """Move the clock, and make the calls that are due."""
        self.now_ms += by_ms
        due = [timer for timer in self._timers if timer.at_ms <= self.now_ms]
        self._timers = [timer for timer in self._timers if timer.at_ms > self.now_ms]
        for timer in due:
            if not timer.cancelled:
                timer.call()


@attrs.define(eq=False)
class SteppedTimer:
    """A call that waits for a stepped clock."""

    at_ms: float
    call: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        """Make no call."""
        self.cancelled = True


async def quiet(served: Served, steps: int = 20) -> None:
    """Let the event loop run until the server waits for its clients: no request is in progress, nothing changes.

    Bytes that were written to a loopback connection can be read in the next step of the loop. So if some steps change
    nothing, no byte is on its way.
    """
    unchanged, before = 0, None
    while unchanged < steps:
        await asyncio.sleep(0)
        phases = [each.phase for each in served.connections.all]
        now = (phases, len(asyncio.all_tasks()))
        unchanged = unchanged + 1 if now == before and "answering" not in phases else 0
        before = now


def request(method: str, path: str, *headers: str, body: bytes = b"") -> bytes:
    """Return a request whose response closes the connection."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def status_of(response: bytes) -> int:
    """Return the status of a response; 0 if there is none."""
    return int(response[9:12] or 0)


@asynccontextmanager
async def serving(
    app: App, limits: HttpLimits = NO_LIMITS, access: Access = "local", *, guard: bool = True, **options: Any
) -> AsyncGenerator[Served]:
    """Serve an application within the block, behind a guard if it has none of its own."""
    runtime = options.pop("runtime", None) or asyncio_runtime()
    connections, state = GuardedConnections(limits, runtime), ServerState()
    guarded: Any = Guard(app, access, limits, runtime, **options) if guard else app
    config = Config(guarded, ws="none", lifespan="off", log_config=None, proxy_headers=False)
    config.load()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: connections.protocol(config, state, {}), "127.0.0.1", 0)
    try:
        yield Served(server.sockets[0].getsockname()[1], connections)
    finally:
        server.close()
        for connection in tuple(state.connections):
            connection.transport.abort()
        await until(lambda: not len(connections))


async def until(reached: Callable[[], bool]) -> None:
    """Let the event loop run until a condition holds."""
    while not reached():  # noqa: ASYNC110 - sockets do not report their progress
        await asyncio.sleep(0.001)


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the body of the request."""
    message = await receive()
    await answer(send, message["body"])


async def answer(send: Any, body: bytes) -> None:
    """Answer with a body."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})

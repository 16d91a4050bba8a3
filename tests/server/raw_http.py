"""A server with limits on a real socket, and clients that write raw bytes."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
from uvicorn.config import Config
from uvicorn.server import ServerState

from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.server.access import Access
from perdure.server.guard import Guard
from perdure.server.guarded_connection import GuardedConnections
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

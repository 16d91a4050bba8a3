"""The connections that batches travel over: HTTP/1.1 by h11, over the streams of asyncio.

A request through the HTTP client costs several times the CPU time of the call that it carries.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final, TypeVar
from urllib.parse import urlsplit

import attrs
import h11

from perdure.remote.channel import CONNECT_MS, AnswerLost, NotSent, check_encoding
from perdure.remote.failures import reason_of
from perdure.runtime.record import Runtime

A = TypeVar("A")

MAX_HEAD_BYTES: Final = 65_536
"""The maximum size of an incomplete part of a response: its headers, a line about a chunk."""

MAX_IDLE_MS: Final = 5_000
"""A connection that was idle for longer is closed instead of used: the server may be closing it."""

_REFUSED: Final = 400

READ_BYTES: Final = 65_536
"""The most that is read at once."""


@attrs.define(eq=False)
class Connection:
    """One connection.

    Attributes:
        reader: reads from the server.
        writer: writes to it.
        protocol: the state of HTTP on it.
        idle_since_ms: when it was last used, by a monotonic clock.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    protocol: h11.Connection = attrs.Factory(lambda: h11.Connection(h11.CLIENT, MAX_HEAD_BYTES))
    idle_since_ms: float = 0.0

    @property
    def usable(self) -> bool:
        """Whether another request may use it: the server has not closed it, as far as this process knows."""
        return self.protocol.our_state is h11.IDLE and not (self.reader.at_eof() or self.writer.is_closing())

    async def send(self, request: h11.Request, content: bytes) -> None:
        """Send a request."""
        events = (request, h11.Data(content), h11.EndOfMessage())
        self.writer.write(b"".join(self.protocol.send(event) or b"" for event in events))
        with suppress(ConnectionError):  # the server may have answered before it closed the connection
            await self.writer.drain()

    async def head(self) -> h11.Response:
        """Return the status and the headers of the response."""
        event = await self.event()
        if isinstance(event, h11.Response):
            return event
        raise h11.RemoteProtocolError("the connection was closed before the response")

    async def event(self) -> h11.Event:
        """Return the next part of the response."""
        while True:
            event = self.protocol.next_event()
            if event is h11.NEED_DATA:
                self.protocol.receive_data(await self.reader.read(READ_BYTES))
            elif isinstance(event, h11.Event) and not isinstance(event, h11.InformationalResponse):
                return event
            elif event is h11.PAUSED:
                raise h11.RemoteProtocolError("more data than one response")

    def end(self) -> None:
        """Note that the response was read to its end; the connection may be used again."""
        if self.protocol.our_state is h11.DONE and self.protocol.their_state is h11.DONE:
            self.protocol.start_next_cycle()

    def drop(self) -> None:
        """Close it at once."""
        self.writer.transport.abort()


@attrs.define(eq=False, kw_only=True)
class Connections:
    """Connections to one server, which are kept for further requests.

    Attributes:
        base: the URL of the server.
        socket: the path of its Unix socket; None for TCP.
        headers: those of every request.
        runtime: the clock.
        tls: returns the settings of ``https``.
        connect_ms: the longest time for a connection.
    """

    base: str
    socket: str | None
    headers: Mapping[str, str]
    runtime: Runtime
    tls: Callable[[], ssl.SSLContext]
    connect_ms: float = CONNECT_MS
    _idle: list[Connection] = attrs.Factory(list[Connection])

    @asynccontextmanager
    async def post(
        self, path: str, content: bytes, timeout_ms: float
    ) -> AsyncGenerator[tuple[int, AsyncIterator[bytes]]]:
        """Send a request; return the status of the response and the parts of its body.

        Args:
            path: the path.
            content: the body.
            timeout_ms: the longest time without a part of the response.

        Raises:
            NotSent: no connection was made.
            AnswerLost: the connection failed later, or the server was too slow.
        """
        connection, was_read = self._taken() or await self._connected(timeout_ms), False
        try:
            await connection.send(self._request(path, content), content)
            head = await _within(timeout_ms, connection.head())
            was_read = (
                head.status_code < _REFUSED
            )  # the server may close the connection of a request that it did not read
            yield (
                head.status_code,
                self._body(connection, _texts(head.headers), timeout_ms),
            )
        except (OSError, h11.ProtocolError) as error:
            raise AnswerLost(f"the connection failed: {reason_of(error)}") from error
        finally:
            if was_read and connection.usable:
                connection.idle_since_ms = self.runtime.monotonic_ms()
                self._idle.append(connection)
            else:
                connection.drop()

    async def _body(
        self, connection: Connection, headers: Mapping[str, str], timeout_ms: float
    ) -> AsyncIterator[bytes]:
        check_encoding(headers)
        while isinstance(event := await _within(timeout_ms, connection.event()), h11.Data):
            yield bytes(event.data)
        connection.end()

    def _request(self, path: str, content: bytes) -> h11.Request:
        url = urlsplit(self.base)
        headers = [("Host", url.netloc), ("Content-Length", str(len(content))), *self.headers.items()]
        return h11.Request(method="POST", target=f"{url.path}{path}", headers=headers)

    def _taken(self) -> Connection | None:
        oldest = self.runtime.monotonic_ms() - MAX_IDLE_MS
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and connection.idle_since_ms >= oldest:
                return connection
            connection.drop()
        return None

    async def _connected(self, timeout_ms: float) -> Connection:
        try:
            return Connection(*await _within(min(timeout_ms, self.connect_ms), self._open()))
        except OSError as error:
            raise NotSent(reason_of(error)) from error

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.socket is not None:
            return await asyncio.open_unix_connection(self.socket)
        url = urlsplit(self.base)
        tls = self.tls() if url.scheme == "https" else None
        port = url.port or (80 if tls is None else 443)
        return await asyncio.open_connection(url.hostname, port, ssl=tls)

    async def close(self) -> None:
        """Close the idle connections."""
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.writer.close()
            with suppress(OSError):
                await connection.writer.wait_closed()


async def _within(timeout_ms: float, waiting: Awaitable[A]) -> A:
    async with asyncio.timeout(timeout_ms / 1_000):
        return await waiting


def _texts(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode(): value.decode("latin-1") for name, value in headers}

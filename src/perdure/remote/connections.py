"""The connections that batches travel over: HTTP/1.1, no more of it than a batch needs.

A request through the HTTP library costs a millisecond of CPU time, this one 50 µs.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final, TypeVar
from urllib.parse import urlsplit

import attrs

from perdure.remote.channel import AnswerLost, NotSent
from perdure.runtime.record import Runtime
from perdure.values.excerpt import excerpt

A = TypeVar("A")

MAX_HEAD_BYTES: Final = 65_536
"""The maximum size of the status line and the headers of a response, and of a line about a chunk."""

MAX_IDLE_MS: Final = 5_000
"""A connection that was idle for longer is closed instead of used: the server may be closing it."""

_FRAMES: Final = frozenset({"content-length", "transfer-encoding"})
_OK: Final = 200
_READ: Final = 65_536
_STATUS_WORDS: Final = 2


@attrs.frozen
class ResponseHead:
    """The status line and the headers of a response.

    Attributes:
        status: the status.
        headers: by their names in lower case.
        persistent: whether the connection can be used for another request.
    """

    status: int
    headers: Mapping[str, str]
    persistent: bool

    @classmethod
    def parse(cls, head: bytes) -> ResponseHead:
        """Parse a head.

        Raises:
            ValueError: it is not HTTP/1.
        """
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        words = first.split(" ", _STATUS_WORDS)
        if len(words) < _STATUS_WORDS or not words[0].startswith("HTTP/1."):
            raise ValueError(f"not a response of HTTP/1: {excerpt(first)}")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        closes = "close" in headers.get("connection", "").lower() or words[0] == "HTTP/1.0"
        return cls(int(words[1]), headers, not closes)


@attrs.define(eq=False)
class Connection:
    """One connection.

    Attributes:
        reader: reads from the server.
        writer: writes to it.
        idle_since_ms: when it was last used, by a monotonic clock.
        reusable: whether its last response was read to the end, and the server keeps it open.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    idle_since_ms: float = 0.0
    reusable: bool = False

    @property
    def usable(self) -> bool:
        """Whether the server has not closed it, as far as this process knows."""
        return not (self.reader.at_eof() or self.writer.is_closing())

    async def head(self) -> ResponseHead:
        """Read the head of the response."""
        while True:
            head = ResponseHead.parse(await self.reader.readuntil(b"\r\n\r\n"))
            if head.status >= _OK:  # others are interim
                return head

    async def body(self, head: ResponseHead) -> AsyncIterator[bytes]:
        """Read the body in the parts in which it arrives."""
        if "chunked" in head.headers.get("transfer-encoding", "").lower():
            while size := int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16):
                async for part in self._exactly(size):
                    yield part
                await self.reader.readexactly(2)
            while await self.reader.readuntil(b"\r\n") != b"\r\n":
                pass  # trailers
        elif "content-length" in head.headers:
            async for part in self._exactly(int(head.headers["content-length"])):
                yield part
        else:
            while part := await self.reader.read(_READ):
                yield part

    async def _exactly(self, size: int) -> AsyncIterator[bytes]:
        while size:
            part = await self.reader.read(min(size, _READ))
            if not part:
                raise asyncio.IncompleteReadError(b"", size)
            size -= len(part)
            yield part

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
        timeout_ms: the longest time for a connection, and without a part of a response.
        runtime: the clock.
        tls: returns the settings of ``https``.
    """

    base: str
    socket: str | None
    headers: Mapping[str, str]
    timeout_ms: int
    runtime: Runtime
    tls: Callable[[], ssl.SSLContext]
    _idle: list[Connection] = attrs.Factory(list[Connection])

    @asynccontextmanager
    async def post(self, path: str, content: bytes) -> AsyncGenerator[tuple[int, AsyncIterator[bytes]]]:
        """Send a request; return the status of the response and the parts of its body.

        Raises:
            NotSent: no connection was made.
            AnswerLost: the connection failed later, or the server was too slow.
        """
        request = self._request(path, content)
        connection = self._taken() or await self._connected()
        connection.reusable = False
        try:
            connection.writer.write(request)
            with suppress(ConnectionError):  # the server may have answered before it closed the connection
                await connection.writer.drain()
            head = await self._in_time(connection.head())
            yield head.status, self._body(connection, head)
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            raise AnswerLost(f"the connection failed: {_text(error)}") from error
        finally:
            if connection.reusable and connection.usable:
                connection.idle_since_ms = self.runtime.monotonic_ms()
                self._idle.append(connection)
            else:
                connection.drop()

    async def _body(self, connection: Connection, head: ResponseHead) -> AsyncIterator[bytes]:
        parts = connection.body(head)
        with suppress(StopAsyncIteration):
            while True:
                yield await self._in_time(anext(parts))
        connection.reusable = head.persistent and not head.headers.keys().isdisjoint(_FRAMES)

    def _request(self, path: str, content: bytes) -> bytes:
        url = urlsplit(self.base)
        lines = [f"POST {url.path}{path} HTTP/1.1", f"host: {url.netloc}", f"content-length: {len(content)}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + content

    def _taken(self) -> Connection | None:
        oldest = self.runtime.monotonic_ms() - MAX_IDLE_MS
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and connection.idle_since_ms >= oldest:
                return connection
            connection.drop()
        return None

    async def _connected(self) -> Connection:
        try:
            return Connection(*await self._in_time(self._open()))
        except OSError as error:
            raise NotSent(_text(error)) from error

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.socket is not None:
            return await asyncio.open_unix_connection(self.socket, limit=MAX_HEAD_BYTES)
        url = urlsplit(self.base)
        tls = self.tls() if url.scheme == "https" else None
        port = url.port or (80 if tls is None else 443)
        return await asyncio.open_connection(url.hostname, port, ssl=tls, limit=MAX_HEAD_BYTES)

    async def _in_time(self, waiting: Awaitable[A]) -> A:
        async with asyncio.timeout(self.timeout_ms / 1_000):
            return await waiting

    async def close(self) -> None:
        """Close the idle connections."""
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.writer.close()
            with suppress(OSError):
                await connection.writer.wait_closed()


def _text(error: Exception) -> str:
    return str(error) or excerpt(error)

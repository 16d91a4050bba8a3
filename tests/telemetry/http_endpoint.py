"""A real endpoint on a socket of this machine, which behaves as badly as it is told to."""

from __future__ import annotations

import asyncio
import gzip
import json
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from socket import SO_LINGER, SOL_SOCKET
from typing import Any

import attrs

_RESET = struct.pack("ii", 1, 0)


@attrs.define(eq=False)
class HttpEndpoint:
    """Answers each request as its mood is.

    Attributes:
        mood: ``ok``, ``hang``, ``reset``, ``drip`` (a response without an end), ``garbage``, ``flood`` (a body of
            10 MB), or a status.
        port: where it listens.
        requests: the header of each request, by name, and its path.
        events: every event that arrived in an accepted request.
    """

    mood: str = "ok"
    port: int = 0
    requests: list[dict[str, str]] = attrs.Factory(list[dict[str, str]])
    events: list[dict[str, Any]] = attrs.Factory(list[dict[str, Any]])
    _open: set[asyncio.StreamWriter] = attrs.Factory(set[asyncio.StreamWriter])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def ids(self) -> list[str]:
        """The ids of the events that arrived, without duplicates."""
        return list(dict.fromkeys(event["event_id"] for event in self.events))

    @asynccontextmanager
    async def listening(self, port: int = 0) -> AsyncGenerator[HttpEndpoint]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for writer in tuple(self._open):
                writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while True:
                await self._answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = [line.split(": ", 1) for line in head.split("\r\n")[1:] if line]
        headers = {name.lower(): value for name, value in lines}
        body = await reader.readexactly(int(headers["content-length"]))
        self.requests.append(headers | {"path": head.split(" ")[1]})
        match self.mood:
            case "hang":
                await asyncio.Event().wait()
            case "reset":
                writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, _RESET)
                writer.transport.abort()
                raise ConnectionResetError
            case "drip":
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
                while True:
                    writer.write(b".")
                    await writer.drain()
                    await asyncio.sleep(0.01)
            case "garbage":
                writer.write(b"no HTTP\r\n\r\n")
                raise ConnectionResetError
            case "ok" | "flood":
                plain = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
                self.events += json.loads(plain)["events"]
                content = b"" if self.mood == "ok" else b"x" * 10_000_000
                writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(content)}\r\n\r\n".encode() + content)
            case status:
                writer.write(f"HTTP/1.1 {status} X\r\nlocation: /v2\r\ncontent-length: 0\r\n\r\n".encode())
        await writer.drain()

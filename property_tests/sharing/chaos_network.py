"""The network of the chaos test: a link for each engine, which is cut, delayed and healed.

With the rights of root each engine has a network namespace, and its link is a pair of virtual interfaces: a cut takes
one of them down, so that packets vanish. Otherwise a cut stops the proxy between the engine and the database, and
callers still reach the engine. Nothing leaves this machine.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

from attrs import define, field
from postgres_server import free_port

_RUN = {"check": True, "capture_output": True}


def has_namespaces() -> bool:
    """Return whether this process may create network namespaces."""
    name = f"pd{os.getpid()}"
    try:
        made = subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True)  # noqa: S603, S607
    except FileNotFoundError:
        return False
    if made.returncode == 0:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)  # noqa: S603, S607
    return made.returncode == 0


def ip(*arguments: str) -> None:
    """Execute a command of ``ip``."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True)  # noqa: S603, S607


@define
class Link:
    """The link of one engine to the database and to its callers.

    Attributes:
        number: of the engine, from 0.
        database: the Unix socket of the server.
        namespaces: whether the engine has a namespace of its own.
        delay_s: how long each piece of data to and from the database takes.
        state: whether data passes.
    """

    number: int
    database: Path
    namespaces: bool
    delay_s: float = 0.0
    _open: asyncio.Event = field(factory=asyncio.Event)
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(factory=set)
    _port: int = 5432
    _engine_port: int = 8080

    # ------------------------------------------------------------ addresses
    @property
    def space(self) -> str:
        """The name of the namespace."""
        return f"pd{os.getpid()}n{self.number}"

    @property
    def _interface(self) -> str:
        return f"pd{os.getpid() % 10**7}h{self.number}"

    def _address(self, host: int) -> str:
        return f"10.77.{(os.getpid() * 8 + self.number) % 250}.{host}"

    @property
    def here(self) -> str:
        """The address at which the engine reaches the database."""
        return self._address(1) if self.namespaces else "127.0.0.1"

    @property
    def port(self) -> int:
        """The port of the database there."""
        return self._port

    @property
    def bind(self) -> str:
        """The address at which the engine serves its callers."""
        return f"{self._address(2) if self.namespaces else '127.0.0.1'}:{self._engine_port}"

    @property
    def prefix(self) -> list[str]:
        """The beginning of a command that runs beyond the link."""
        return ["ip", "netns", "exec", self.space] if self.namespaces else []

    # ------------------------------------------------------------ life
    async def open(self) -> None:
        """Make the link."""
        if self.namespaces:
            near, far, net = self._interface, f"{self._interface}x", f"{self._address(0)}/30"
            ip("netns", "add", self.space)
            ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", self.space)
            ip("addr", "add", f"{self._address(1)}/30", "dev", near)
            ip("link", "set", near, "up")
            ip("route", "add", "blackhole", net, "metric", "9999")  # where packets go while the link is cut
            ip("-n", self.space, "addr", "add", f"{self._address(2)}/30", "dev", far)
            ip("-n", self.space, "link", "set", far, "up")
            ip("-n", self.space, "link", "set", "lo", "up")
        else:
            self._port, self._engine_port = free_port(), free_port()
        self._open.set()
        self._server = await asyncio.start_server(self._accept, self.here, self._port)

    def close(self) -> None:
        """Remove the link."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        if self.namespaces:
            for arguments in (
                ("link", "del", self._interface),
                ("route", "del", "blackhole", f"{self._address(0)}/30"),
                ("netns", "del", self.space),
            ):
                subprocess.run(["ip", *arguments], check=False, capture_output=True)  # noqa: S603, S607

    # ------------------------------------------------------------ trouble
    def cut(self) -> None:
        """Let nothing pass."""
        self._open.clear()
        if self.namespaces:
            ip("link", "set", self._interface, "down")

    def heal(self) -> None:
        """Let everything pass, without delay."""
        if self.namespaces:
            ip("link", "set", self._interface, "up")
        self.delay_s = 0.0
        self._open.set()

    # ------------------------------------------------------------ the proxy to the database
    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_unix_connection(str(self.database))
        except OSError:
            writer.transport.abort()
            return
        for source, target in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.ensure_future(self._pass(source, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(1 << 16):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                await self._open.wait()
                target.write(data)
                await target.drain()
        except OSError:
            pass
        finally:
            target.transport.abort()

"""Engines in several processes, with a SQLite file each or one PostgreSQL store; a router divides the instances.

Run it with ``python docs/benchmarks/processes.py [--rounds N] [--folder FOLDER] [--postgres URL --postmaster PID]``. An
experiment, not a part of the library: the callers are in one process, and its router sends what one step of the event
loop has gathered to the engine of each id, as one message over a socket. Hot orders, full durability. CPU is the least
of the rounds, the variants in turns; rates are the median, with their range.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import marshal
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from attrs import Factory, define, field, frozen
from measured.cpu import CpuTime
from measured.figures import over_rounds, print_table
from measured.machine import conditions, versions
from measured.orders import Added, orders
from measured.raw_loop import STRIDE

from perdure import App

SELDOM = (10_000, 20, 50)
INSTANCES, REQUESTS = 4_000, 3_000
EVENT = Added(199)
BUFFER = 1 << 21
HEAD = struct.Struct("<I")

Call: TypeAlias = Callable[[str], Awaitable[object]]


@define
class Channel:
    """One end of a socket: collects the items of one step of the event loop, and sends them as one message.

    Attributes:
        socket: the end.
        received: called with each item of a message.
        closed: done when the other end is gone.
    """

    socket: socket.socket
    received: Callable[[Any], None]
    closed: asyncio.Future[None] = Factory(lambda: asyncio.get_running_loop().create_future())
    _items: list[Any] = Factory(list[Any])
    _buffer: bytearray = Factory(bytearray)

    def __attrs_post_init__(self) -> None:
        self.socket.settimeout(0)
        asyncio.get_running_loop().add_reader(self.socket.fileno(), self._readable)

    def send(self, item: object) -> None:
        """Send an item at the end of this step of the loop."""
        if not self._items:
            asyncio.get_running_loop().call_soon(self._leave)
        self._items.append(item)

    def _leave(self) -> None:
        data, self._items = marshal.dumps(self._items), []
        self.socket.settimeout(None)
        self.socket.sendall(HEAD.pack(len(data)) + data)
        self.socket.settimeout(0)

    def _readable(self) -> None:
        arrived = self.socket.recv(BUFFER)
        if not arrived:
            asyncio.get_running_loop().remove_reader(self.socket.fileno())
            self.closed.set_result(None)
            return
        self._buffer += arrived
        while len(self._buffer) >= (end := HEAD.size + _size(self._buffer)):
            items = marshal.loads(memoryview(self._buffer)[HEAD.size : end])  # noqa: S302 - of the other end
            del self._buffer[:end]
            for item in items:
                self.received(item)


def _size(buffer: bytearray) -> int:
    return int(HEAD.unpack_from(buffer)[0]) if len(buffer) >= HEAD.size else 0


# ---------------------------------------------------------------- an engine
async def serve(url: str, descriptor: int) -> None:
    """Serve the orders of one store until the router closes its end."""
    gc.set_threshold(*SELDOM)
    decode = orders.plan.commands["send"].input.decode
    tasks: set[asyncio.Task[None]] = set()
    async with App(None).with_jobs(orders).open(url) as client:
        handle = client.handle(orders)

        async def answer(number: int, id_: str, payload: bytes) -> None:
            sent = await handle.send(id_, decode(payload))
            channel.send((number, sent.created, sent.status))

        def received(item: tuple[int, str, bytes]) -> None:
            if item[0] < 0:
                channel.send((item[0], time.process_time(), None))
                return
            task = asyncio.create_task(answer(*item))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        channel = Channel(socket.socket(fileno=descriptor), received)
        await channel.closed


# ---------------------------------------------------------------- the router
@define
class Router:
    """Sends each request to the engine of its id."""

    channels: list[Channel] = Factory(list[Channel])
    waiting: dict[int, asyncio.Future[Any]] = field(factory=dict[int, asyncio.Future[Any]])
    numbers: int = 0

    def start(self, url: str, stack: AsyncExitStack) -> None:
        """Start an engine in a process of its own."""
        here, there = socket.socketpair()
        for end in (here, there):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        command = [sys.executable, __file__, "--serve", url, str(there.fileno())]
        process = subprocess.Popen(command, pass_fds=[there.fileno()])
        there.close()
        self.channels.append(Channel(here, lambda item: self.waiting.pop(item[0]).set_result(item[1:])))
        stack.callback(process.wait)
        stack.callback(here.close)
        stack.callback(asyncio.get_running_loop().remove_reader, here.fileno())

    def send(self, id_: str) -> asyncio.Future[Any]:
        """Send an event."""
        self.numbers += 1
        channel = self.channels[zlib.crc32(id_.encode()) % len(self.channels)]
        return self._asked(channel, (self.numbers, id_, _encode(EVENT)))

    async def cpu(self) -> float:
        """Return the CPU time of all engines."""
        asked = (self._asked(each, (-1 - number, "", b"")) for number, each in enumerate(self.channels))
        return sum([seconds for seconds, _ in await asyncio.gather(*asked)])

    def _asked(self, channel: Channel, item: tuple[int, str, bytes]) -> asyncio.Future[Any]:
        future = self.waiting[item[0]] = asyncio.get_running_loop().create_future()
        channel.send(item)
        return future


_encode = orders.plan.commands["send"].input.encode


# ---------------------------------------------------------------- the measurement
@frozen
class Variant:
    """A way to reach the instances.

    Attributes:
        call: sends an event to an instance.
        engines: returns the CPU time of the engines' processes so far.
        server: returns that of a database server.
    """

    name: str
    call: Call
    engines: Callable[[], Awaitable[float]]
    server: Callable[[], Awaitable[float]]


async def none() -> float:
    """Return the CPU time of no process."""
    return 0.0


async def server_cpu(postmaster: int) -> float:
    """Return the CPU time of a PostgreSQL server."""
    return _server_cpu(postmaster)


def _server_cpu(postmaster: int) -> float:
    """Return the CPU time of its first process, and of all that this one has started."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="utf-8").rpartition(") ")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if postmaster in (int(stat.parent.name), int(fields[1])):
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def behind_a_router(
    name: str, urls: Sequence[str], stack: AsyncExitStack, server: Callable[[], Awaitable[float]] = none
) -> Variant:
    """Start an engine for each store."""
    router = Router()
    for url in urls:
        router.start(url, stack)
    return Variant(name, router.send, router.cpu, server)


@define
class Figures:
    """The figures of a variant, by round: CPU in µs: all, callers, engines, server, requests a second."""

    cpu: list[tuple[float, ...]] = Factory(list[tuple[float, ...]])
    rates: list[float] = Factory(list[float])


async def measure(variant: Variant, clients: int, figures: Figures) -> None:
    """Take a round."""
    begun = 0

    async def client() -> None:
        nonlocal begun
        while begun < REQUESTS:
            begun += 1
            await variant.call(f"id-{begun * STRIDE % INSTANCES}")

    engines, server = await variant.engines(), await variant.server()
    before, start = CpuTime.now(), time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    took, used = time.perf_counter() - start, CpuTime.now().since(before)
    seconds = (used.main + used.others, await variant.engines() - engines, await variant.server() - server)
    figures.cpu.append(tuple(part / REQUESTS * 1e6 for part in (sum(seconds), *seconds)))
    figures.rates.append(REQUESTS / took)


async def main(given: argparse.Namespace, folder: Path) -> None:
    """Measure all variants in turns."""
    print(versions())
    gc.set_threshold(*SELDOM)
    figures: dict[tuple[str, int], Figures] = {}
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(App(None).with_jobs(orders).open(f"sqlite:///{folder}/0.db"))
        handle = client.handle(orders)

        variants = [Variant("in the process of the callers", lambda id_: handle.send(id_, EVENT), none, none)]
        for engines in given.engines:
            files = [f"sqlite:///{folder}/{engines}-{number}.db" for number in range(engines)]
            variants.append(behind_a_router(f"{engines} on a file each", files, stack))
        for engines in given.engines if given.postgres else ():
            url = f"{given.postgres}&schema=engines_{engines}&ownership=shared"
            name, server = f"{engines} on one PostgreSQL store", partial(server_cpu, given.postmaster)
            variants.append(behind_a_router(name, [url] * engines, stack, server))
        for variant in variants:
            await variant.call("id-0")  # the first engine makes the tables
            for first in range(0, INSTANCES, 500):
                await asyncio.gather(*(variant.call(f"id-{number}") for number in range(first, first + 500)))
        gc.collect()
        gc.freeze()
        print(conditions(folder))
        for _ in range(given.rounds):
            for clients in (64, 512):
                for variant in variants:
                    await measure(variant, clients, figures.setdefault((variant.name, clients), Figures()))
        print(f"{conditions(folder)}\n")
    head = ("engines", "callers", "CPU µs", "callers and router", "engines' processes", "server", "requests/s")
    print_table(head, [row(*key, each) for key, each in figures.items()])


def row(name: str, clients: int, figures: Figures) -> list[str]:
    """Return a line of the table."""
    return [name, str(clients), *(f"{part:.1f}" for part in min(figures.cpu)), over_rounds(figures.rates)]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        asyncio.run(serve(sys.argv[2], int(sys.argv[3])))
        sys.exit()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--engines", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--postgres", metavar="URL", help="such as postgresql://USER@/DATABASE?host=FOLDER")
    parser.add_argument("--postmaster", type=int, metavar="PID", help="of the PostgreSQL server")
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk in question")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        asyncio.run(main(options, Path(scratch)))

"""Engines in several processes, a file each, and the instances divided among them by a hash of the id.

Run it with ``python docs/benchmarks/processes.py [--rounds N] [--folder FOLDER]``. An experiment, not a part of the
library: the callers are in one process, and its router sends what one step of the event loop has gathered to the engine
of each id, as one message over a socket. Hot orders, full durability. CPU is the least of the rounds, the variants in
turns; rates are the median, with their range.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import marshal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeAlias

from attrs import Factory, define, field, frozen
from measured.cpu import CpuTime
from measured.figures import over_rounds, print_table
from measured.machine import conditions, versions
from measured.orders import Added, orders
from measured.raw_loop import STRIDE

from perdure import App, unwrap

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
async def serve(path: str, descriptor: int) -> None:
    """Serve the orders of one file until the router closes its end."""
    gc.set_threshold(*SELDOM)
    decode = orders.plan.commands["send"].input.decode
    tasks: set[asyncio.Task[None]] = set()
    async with App(None).with_jobs(orders).open(f"sqlite:///{path}", debug=False) as client:
        handle = client.handle(orders)

        async def answer(number: int, id_: str, payload: bytes) -> None:
            sent = await unwrap(handle.send(id_, decode(payload)))
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

    def start(self, path: Path, stack: AsyncExitStack) -> None:
        """Start an engine in a process of its own."""
        here, there = socket.socketpair()
        for end in (here, there):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        command = [sys.executable, __file__, "--serve", str(path), str(there.fileno())]
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
        engines: gives the CPU time of other processes so far.
    """

    name: str
    call: Call
    engines: Callable[[], Awaitable[float]]


@define
class Figures:
    """The figures of a variant, by round: CPU of the callers' process and of the engines in µs, requests a second."""

    cpu: list[tuple[float, float, float]] = Factory(list[tuple[float, float, float]])
    rates: list[float] = Factory(list[float])


async def measure(variant: Variant, clients: int, figures: Figures) -> None:
    """Take a round."""
    begun = 0

    async def client() -> None:
        nonlocal begun
        while begun < REQUESTS:
            begun += 1
            await variant.call(f"id-{begun * STRIDE % INSTANCES}")

    others, before, start = await variant.engines(), CpuTime.now(), time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    took, used = time.perf_counter() - start, CpuTime.now().since(before)
    near = (used.main + used.others) / REQUESTS * 1e6
    far = (await variant.engines() - others) / REQUESTS * 1e6
    figures.cpu.append((near + far, near, far))
    figures.rates.append(REQUESTS / took)


async def main(given: argparse.Namespace, folder: Path) -> None:
    """Measure all variants in turns."""
    print(versions())
    gc.set_threshold(*SELDOM)
    figures: dict[tuple[str, int], Figures] = {}
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            App(None).with_jobs(orders).open(f"sqlite:///{folder}/0.db", debug=False)
        )
        handle = client.handle(orders)

        async def none() -> float:
            return 0.0

        variants = [Variant("in the process of the callers", lambda id_: unwrap(handle.send(id_, EVENT)), none)]
        for engines in given.engines:
            router = Router()
            for number in range(engines):
                router.start(folder / f"{engines}-{number}.db", stack)
            variants.append(Variant(f"{engines} behind a router", router.send, router.cpu))
        for variant in variants:
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
    head = ("engines", "callers", "CPU µs", "callers and router", "engines' processes", "requests/s")
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
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk in question")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        asyncio.run(main(options, Path(scratch)))

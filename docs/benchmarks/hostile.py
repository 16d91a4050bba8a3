"""What hostile clients cost a server, and the other clients of it.

Run it with ``python docs/benchmarks/hostile.py [--seconds N]``. A server (a SQLite file, full durability, TCP on the
loopback interface) runs in a process of its own, and so does each attack. Four honest clients send one event after the
other meanwhile; their latencies, and the resident memory of the server, are shown with and without the attack, and
how many of the probes were answered. The honest clients have one token, the attackers none or another one.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from perdure import App, Task, succeed
from perdure.examples.order_processor import Order, OrderEvent, OrderPlaced, decide_order
from perdure.server.access import Tokens
from perdure.server.http_limits import HttpLimits
from perdure.server.serving import serving

CLIENTS = 4
FILLED = 2_000
SECRETS = {name: f"{name}-secret-of-this-token-0123456789" for name in ("honest", "hostile")}
TOKENS = Tokens.parse(f"honest read,call {SECRETS['honest']}; hostile read {SECRETS['hostile']}")
PLACED = b'{"type":"OrderPlaced","owner":"ada","amount":4}'
JOB = "/v1/jobs/task/orders/instances"
ORDERS = Task(
    "orders", state=Order, event=OrderEvent, initial=Order(), decide=decide_order, execute=lambda _: succeed(None)
)


# ------------------------------------------------------------------ the server
async def serve(folder: str, connections: int) -> None:
    """Serve until standard input is closed."""
    limits = HttpLimits(connections=connections, requests_per_second=100_000, burst=100_000)
    async with App(None).with_jobs(ORDERS).open(f"sqlite:///{folder}/jobs.db") as jobs:
        orders = jobs.handle(ORDERS)
        await asyncio.gather(*(orders.send(f"filled-{n}", OrderPlaced("ada", n)) for n in range(FILLED)))
        await orders.send("large", OrderPlaced("x" * 200_000, 1))
        async with serving(jobs, ["127.0.0.1:0"], limits=limits, tokens=TOKENS) as (server,):
            print(server.urls[0].rpartition(":")[2], flush=True)
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


# ------------------------------------------------------------------ the clients
def request(method: str, path: str, body: bytes = b"", *, by: str | None = "honest", length: int = -1) -> bytes:
    """Return a request, also one that announces more than it sends."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {max(length, len(body))}"]
    if by is not None:
        lines.append(f"Authorization: Bearer {SECRETS[by]}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def probes_answered(port: int, until: float) -> tuple[int, int]:
    """Send a probe ten times a second on a connection of its own; return how many were answered, and their number."""
    answered = number = 0
    while time.perf_counter() < until:
        number += 1
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request("GET", "/live" if number % 2 else "/ready", by=None))
            answered += (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
            writer.close()
        await asyncio.sleep(0.1)
    return answered, number


async def honest(port: int, name: str, until: float, latencies: list[float], reconnected: list[int]) -> None:
    """Send one event after the other."""
    number, writer = 0, None
    while time.perf_counter() < until:
        number += 1
        began = time.perf_counter()
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request("POST", f"{JOB}/{name}-{number}/send", PLACED))
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            assert head.startswith(b"HTTP/1.1 200"), head  # noqa: S101 - the benchmark is void otherwise
        except (asyncio.IncompleteReadError, ConnectionError):
            reconnected.append(number)
            writer = None
            continue
        latencies.append((time.perf_counter() - began) * 1e3)
    if writer is not None:
        writer.close()


async def latencies_of(port: int, seconds: float) -> tuple[list[float], int, tuple[int, int]]:
    """Return the latencies of the honest clients in ms, how often they had to connect again, and the probes."""
    latencies, reconnected, until = list[float](), list[int](), time.perf_counter() + seconds
    names = (f"{os.getpid()}-{time.monotonic_ns()}-{n}" for n in range(CLIENTS))
    probes, *_ = await asyncio.gather(
        probes_answered(port, until), *(honest(port, name, until, latencies, reconnected) for name in names)
    )
    return latencies, len(reconnected), probes


# ------------------------------------------------------------------ the attacks
async def many(count: int, one: Callable[[], Awaitable[None]]) -> None:
    """Run so many clients, some hundred at a time, and again when the server closes their connection."""

    async def forever() -> None:
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await one()
            await asyncio.sleep(0.5)

    tasks: list[asyncio.Task[None]] = []
    for started in range(count):
        tasks.append(asyncio.ensure_future(forever()))
        if started % 200 == 199:  # noqa: PLR2004 - fewer than the backlog
            await asyncio.sleep(0.05)
    print("under way", flush=True)
    await asyncio.gather(*tasks)


def sending(
    port: int, first: bytes, then: bytes = b"", every: float = 1.0, *, reads: bool = True
) -> Callable[[], Awaitable[None]]:
    """Return a client that sends some bytes at once and others now and then."""

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1_024)
        try:
            if not reads:
                writer.transport.pause_reading()
            writer.write(first)
            while not reader.at_eof():
                if then:
                    writer.write(then)
                    await writer.drain()
                if reads:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(reader.read(65_536), every)
                else:
                    await asyncio.sleep(every)
        finally:
            writer.close()

    return one


async def attack(name: str, port: int, count: int) -> None:
    """Attack until the process is killed."""
    begun = request("POST", f"{JOB}/x/send", by="hostile", length=4_000_000)
    line = b'{"n":%d,"kind":"task","job":"orders","id":"large","action":"get_state"}'
    reads = b"\n".join(line % number for number in range(1_000))
    clients = {
        "idle": sending(port, b"", every=1e9),
        "slow headers": sending(port, b"GET / HTTP/1.1\r\nx: ", b"y"),
        "slow bodies": sending(port, begun + b"x" * 100_000, b"x"),
        "large bodies": sending(port, begun.replace(b"4000000", b"40000000"), b"x" * 65_536, every=0.0),
        "slow readers": sending(port, request("GET", "/v1/instances?limit=1000", by="hostile") * 20, reads=False),
        "probes with bodies": sending(port, request("GET", "/live", b"x" * 100, by=None, length=4_000_000), b"x"),
        "waits": sending(port, request("GET", f"{JOB}/large/wait?until=parked", by="hostile")),
        "lists": sending(port, request("GET", "/v1/instances?limit=1000", by="hostile"), every=0.2),
        "unread batches": sending(port, request("POST", "/v1/calls", reads, by="hostile"), reads=False),
        "invalid": sending(port, b"GET /\0 HTTP/1.1\r\n\r\n", every=0.01),
    }
    await many(count, clients[name])


ATTACKS = [
    ("idle", 10_000, 1_000),
    ("idle", 10_000, 12_000),
    ("slow headers", 2_000, 1_000),
    ("slow bodies", 500, 1_000),
    ("large bodies", 20, 1_000),
    ("slow readers", 500, 1_000),
    ("invalid", 20, 1_000),
    ("probes with bodies", 1_100, 1_000),
    ("waits", 1_100, 1_000),
    ("lists", 950, 1_000),
    ("unread batches", 60, 1_000),
]


# ------------------------------------------------------------------ the measurement
def resident_mib(process: int) -> tuple[float, float]:
    """Return the resident memory of a process, now and at most, in MiB."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    found = {line.split()[0]: int(line.split()[1]) / 1_024 for line in lines if line.startswith(("VmRSS", "VmHWM"))}
    return found["VmRSS:"], found["VmHWM:"]


def open_files(process: int) -> int:
    """Return the number of open files of a process."""
    return len(os.listdir(f"/proc/{process}/fd"))  # noqa: PTH208 - counted only


def shown(latencies: list[float]) -> str:
    """Return p50, p99 and the rate."""
    quantiles = statistics.quantiles(latencies, n=100)
    return f"{quantiles[49]:.2f} | {quantiles[98]:.2f}"


def measure(name: str, count: int, connections: int, seconds: float) -> None:
    """Measure one attack and print a row."""
    this = [sys.executable, __file__]
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(
            [*this, "--serve", folder, "--connections", str(connections)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert server.stdin is not None and server.stdout is not None  # noqa: S101, PT018 - pipes
        port = int(server.stdout.readline())
        asyncio.run(latencies_of(port, 1))  # warm up
        alone, _, _ = asyncio.run(latencies_of(port, seconds))
        before, _ = resident_mib(server.pid)
        hostile = subprocess.Popen(
            [*this, "--attack", name, "--port", str(port), "--count", str(count)], stdout=subprocess.PIPE
        )
        assert hostile.stdout is not None  # noqa: S101 - a pipe
        hostile.stdout.readline()
        during, reconnected, probes = asyncio.run(latencies_of(port, seconds))
        files, (now, most) = open_files(server.pid), resident_mib(server.pid)
        hostile.kill()
        hostile.wait()
        server.stdin.close()
        server.wait()
    memory = f"{before:.0f} | {now:.0f} | {most:.0f}"
    rates = f"{len(alone) / seconds:.0f} | {len(during) / seconds:.0f}"
    print(
        f"| {name} | {count:,} | {connections:,} | {files:,} | {memory} | {shown(alone)} | {shown(during)} | {rates} "
        f"| {reconnected} | {probes[0]} of {probes[1]} |",
        flush=True,
    )


def main() -> None:
    """Measure every attack, or play a part of one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--only")
    for option in ("--serve", "--attack"):
        parser.add_argument(option, help=argparse.SUPPRESS)
    for option in ("--connections", "--port", "--count"):
        parser.add_argument(option, type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if given.serve:
        asyncio.run(serve(given.serve, given.connections))
    elif given.attack:
        asyncio.run(attack(given.attack, given.port, given.count))
    else:
        print(f"files: {soft} raised to {hard}; {CLIENTS} honest clients for {given.seconds:g} s each")
        print(
            "| attack | clients | limit | files | MiB before | during | at most | p50 ms alone | p99 "
            "| p50 ms under attack | p99 | requests/s alone | under attack | reconnects | probes |"
        )
        for name, count, connections in ATTACKS:
            if given.only in (None, name):
                measure(name, count, connections, given.seconds)


if __name__ == "__main__":
    main()

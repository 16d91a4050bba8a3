"""An engine behind a server with small limits, attackers of every sort, and one healthy client beside them."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import orjson
from raw_http import Served, serving, status_of

from perdure import App, Client, Task, succeed
from perdure.client.local_gateway import engine_of
from perdure.examples.order_processor import Order, OrderEvent, OrderPlaced, decide_order
from perdure.server.access import Tokens
from perdure.server.api import EngineApi, asgi_of
from perdure.server.http_limits import HttpLimits
from perdure.server.listening import unread_bytes

ORDERS = Task(
    "orders", state=Order, event=OrderEvent, initial=Order(), decide=decide_order, execute=lambda _: succeed(None)
)
JOB = "/v1/jobs/task/orders/instances"
SECRETS = {name: f"{name}-".ljust(32, "x") for name in ("healthy", "hostile")}
TOKENS = Tokens.parse(f"healthy read,call {SECRETS['healthy']}; hostile read {SECRETS['hostile']}")
LARGE = "o" * 100_000
"""The owner of the order that batches read: with several of them, an answer crosses the limits."""

SMALL = HttpLimits(
    body_bytes=2_000,
    bodies_bytes=4_000,
    client_bodies_bytes=2_000,
    sign_ins=2,
    client_requests=4,
    batch_lines=10,
    lines_at_once=20,
    client_lines=12,
    reads_at_once=2,
    answers_bytes=400_000,
    client_answers_bytes=200_000,
    lists_waiting=4,
    client_lists_waiting=2,
    waits=3,
    client_waits=2,
    connections=8,
    probe_connections=2,
    write_buffer_bytes=1_000,
    unread_bytes=1_000_000,
)


def request(method: str, path: str, body: bytes = b"", *, token: str | None = None, length: int | None = None) -> bytes:
    """Return a request, also one that announces more than it sends."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    if token is not None:
        lines.append(f"Authorization: Bearer {SECRETS[token]}")
    if body or length is not None:
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def batch(*lines: dict[str, Any]) -> bytes:
    """Return the body of a batch."""
    common = {"kind": "task", "job": "orders", "id": "a"}
    return b"\n".join(orjson.dumps({"n": number, **common, **line}) for number, line in enumerate(lines))


READS = batch(*[{"action": "get_state"}] * 10)
ATTACKS = {
    "connection": b"",
    "headers": b"GET / HTTP/1.1\r\nx: y",
    "probe with a body": request("GET", "/live", b"x" * 100, length=1_000),
    "page with a body": request("GET", "/dashboard", b"x" * 100, length=1_000),
    "sign-in without an end": request("POST", "/dashboard/login", b"x" * 100, length=1_000),
    "body without a token": request("POST", "/v1/calls", b"x" * 100, length=1_000),
    "body with a token": request("POST", "/v1/calls", b"x" * 1_000, token="hostile", length=2_000),  # noqa: S106
    "wait": request("GET", f"{JOB}/a/wait?until=parked", token="hostile"),  # noqa: S106
    "lists": request("GET", "/v1/instances", token="hostile") * 20,  # noqa: S106
    "batch that is not read": request("POST", "/v1/calls", READS, token="hostile") * 20,  # noqa: S106
}


OF_ATTACKERS = ("bodies", "requests of one", "lines", "answers", "waits")
"""The counts that are of attackers alone, when the healthy client has its answers."""


@attrs.frozen
class Scene:
    """A server under attack.

    Attributes:
        served: the server.
        api: its application.
        jobs: the client of its engine.
        writers: of the attackers.
    """

    served: Served
    api: EngineApi
    jobs: Client
    writers: list[asyncio.StreamWriter] = attrs.Factory(list[asyncio.StreamWriter])

    async def attack(self, name: str) -> asyncio.StreamWriter:
        """Open a connection, send an attack over it, and read nothing."""
        _, writer = await self.served.connect()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(ATTACKS[name])
        self.writers.append(writer)
        return writer

    async def reconnect(self, name: str) -> None:
        """Close the oldest connection of an attacker, and attack over a new one before the server sees that."""
        oldest = next((writer for writer in self.writers if not writer.is_closing()), None)
        if oldest is not None:
            oldest.transport.abort()
        await self.attack(name)

    async def left(self) -> bool:
        """Close the connections of all attackers. Return whether the server holds nothing of theirs soon."""
        for writer in self.writers:
            writer.transport.abort()
        for _ in range(500):
            held = self.held()
            if not any(held[name][0] for name in OF_ATTACKERS):
                return True
            await asyncio.sleep(0.001)
        return False

    async def get(self, path: str, token: str | None = None) -> int:
        """Return the status of a GET on a new connection."""
        return status_of(await self.exchange(request("GET", path, token=token)))

    async def exchange(self, data: bytes) -> bytes:
        """Send a request on a new connection, and return the response."""
        return await self.served.exchange(data.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))

    def held(self) -> dict[str, tuple[int, int]]:
        """Return each count of the server, beside its limit."""
        limits, batches = self.api.limits, self.api.batches
        guard = self.api._guard
        unread = sum(unread_bytes(each.transport) for each in self.served.connections.all)
        return {
            "connections": (len(self.served.connections), limits.connections + limits.probe_connections),
            "bodies": (guard.bodies.held, limits.bodies_bytes),
            "bodies of one": (guard.bodies.held_by("token hostile"), limits.client_bodies_bytes),
            "requests of one": (guard.requests.held_by("token hostile"), limits.client_requests),
            "lines": (batches.lines.held, limits.lines_at_once),
            "lines of one": (batches.lines.held_by("token hostile"), limits.client_lines),
            "reads": (batches.reads.held, limits.reads_at_once),
            "answers": (batches.unread.held, limits.answers_bytes + limits.reads_at_once * 2 * len(LARGE)),
            "answers of one": (
                batches.unread.held_by("token hostile"),
                limits.client_answers_bytes + limits.reads_at_once * 2 * len(LARGE),
            ),
            "lists that wait": (batches.lists.queued, limits.lists_waiting),
            "unread": (unread, limits.unread_bytes),
            "waits": (engine_of(self.jobs).waits.count, limits.waits),
        }

    def beyond(self) -> dict[str, tuple[int, int]]:
        """Return the counts of the server that are beyond a limit."""
        return {name: (count, most) for name, (count, most) in self.held().items() if count > most}


@asynccontextmanager
async def under_attack(limits: HttpLimits = SMALL) -> AsyncGenerator[Scene]:
    """Serve an engine within the block."""
    async with App(None).with_jobs(ORDERS).open("memory://") as jobs:
        await jobs.handle(ORDERS).send("a", OrderPlaced(LARGE, 1))
        api = asgi_of(jobs, access=TOKENS, limits=limits, dashboard=True)
        async with serving(api, limits, guard=False) as served:
            scene = Scene(served, api, jobs)
            try:
                yield scene
            finally:
                for writer in scene.writers:
                    writer.transport.abort()
                await asyncio.sleep(0)  # the transports close their sockets

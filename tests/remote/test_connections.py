"""The connections of batches: every framing of a response, in whatever parts it arrives, and answers that are none."""

import asyncio
import gc
import gzip
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from typing import TypeVar

import pytest
from attrs import define, evolve, field
from hypothesis import given
from hypothesis import strategies as st

from perdure.remote.async_channel import (
    MAX_BATCH_BYTES,
    MAX_HEAD_BYTES,
    MAX_IDLE_MS,
    AsyncChannel,
    CallBatcher,
    Connections,
)
from perdure.remote.channel import AnswerLost, NotSent
from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.runtime.simulated import Simulation
from perdure.wire.requests import Envelope

A = TypeVar("A")


@define
class Server:
    """Answers each request with the next of its responses, and then closes the connection.

    Attributes:
        left: set when a client closes a connection.
    """

    responses: list[Sequence[bytes]]
    requests: list[bytes] = field(factory=list[bytes])
    connected: int = 0
    left: asyncio.Event = field(factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connected += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while self.responses:
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(size))
                for part in self.responses.pop(0):
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0)
        if self.responses:
            self.left.set()
        writer.close()


@asynccontextmanager
async def connected(server: Server) -> AsyncGenerator[Connections]:
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    connections = Connections(
        base=f"http://127.0.0.1:{port}/prefix",
        socket=None,
        headers={"Authorization": "Bearer secret"},
        runtime=asyncio_runtime(),
        tls=ssl.create_default_context,
    )
    try:
        yield connections
    finally:
        await connections.close()
        listening.close()


def with_server(responses: list[Sequence[bytes]], work: Callable[[Connections], Awaitable[A]]) -> tuple[A, Server]:
    server = Server(responses)

    async def run() -> A:
        async with connected(server) as connections:
            return await work(connections)

    return asyncio.run(run()), server


async def answer(connections: Connections) -> tuple[int, bytes]:
    async with connections.exchange("POST", "/v1/calls", [], b"body", 30_000) as (status, parts):
        return status, b"".join([part async for part in parts])


def chunked(bodies: Sequence[bytes]) -> bytes:
    chunks = b"".join(b"%x;note\r\n%s\r\n" % (len(body), body) for body in bodies if body)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\ntrailer: x\r\n\r\n"


def sized(bodies: Sequence[bytes]) -> bytes:
    body = b"".join(bodies)
    return b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


def until_the_end(bodies: Sequence[bytes]) -> bytes:
    return b"HTTP/1.1 200 OK\r\n\r\n" + b"".join(bodies)


@given(
    frame=st.sampled_from([chunked, sized, until_the_end]),
    bodies=st.lists(st.binary(max_size=20), max_size=4),
    cuts=st.lists(st.integers(0, 100), max_size=4),
)
def test_a_response_is_read_in_whatever_parts_it_arrives(
    frame: Callable[[Sequence[bytes]], bytes], bodies: list[bytes], cuts: list[int]
) -> None:
    response = frame(bodies)
    edges = [0, *sorted(min(cut, len(response)) for cut in cuts), len(response)]
    parts = [response[begin:end] for begin, end in pairwise(edges)]
    assert with_server([parts], answer)[0] == (200, b"".join(bodies))


def test_a_connection_is_used_again_unless_the_server_closes_it() -> None:
    async def four(connections: Connections) -> list[tuple[int, bytes]]:
        return [await answer(connections) for _ in range(4)]

    closing = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\nc"
    found, server = with_server([[chunked([b"a"])], [sized([b"b"])], [closing], [sized([b"d"])]], four)
    assert found == [(200, b"a"), (200, b"b"), (200, b"c"), (200, b"d")]
    assert server.connected == 2
    assert server.requests[0].startswith(b"POST /prefix/v1/calls HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nAuthorization: Bearer secret\r\n" in server.requests[0]
    assert server.requests[0].endswith(b"\r\n\r\nbody")


def test_a_connection_whose_response_was_not_read_is_not_used_again() -> None:
    async def half(connections: Connections) -> tuple[int, bytes]:
        async with connections.exchange("POST", "/v1/calls", [], b"first", 30_000):
            pass
        return await answer(connections)

    found, server = with_server([[sized([b"of the first"])], [sized([b"of the second"])]], half)
    assert found == (200, b"of the second")
    assert server.connected == 2


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nx: " + b"a" * 2 * MAX_HEAD_BYTES,
    ],
    ids=str,
)
def test_an_answer_that_is_none_is_lost(response: bytes) -> None:
    async def lost(connections: Connections) -> str:
        with pytest.raises(AnswerLost) as error:
            await answer(connections)
        return error.value.reason

    reason, server = with_server([[response]], lost)
    assert reason == (
        "the connection failed: the server closed it before the end of its response, or does not speak HTTP/1.1"
    )
    assert len(server.requests) == 1


@pytest.mark.parametrize("encoding", [b"gzip", b"Gzip", b"br", b"gzip, gzip"])
def test_a_compressed_answer_is_not_unpacked(encoding: bytes) -> None:
    packed = gzip.compress(b"0" * 1_000_000)
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: %s\r\ncontent-length: %d\r\n\r\n" % (encoding, len(packed))

    async def lost(connections: Connections) -> list[str]:
        reasons = list[str]()
        for call in calls_of(connections, most=10**9):
            with pytest.raises(AnswerLost) as error:
                await call()
            reasons.append(error.value.reason)
        return reasons

    reasons, server = with_server([[head + packed]] * 3, lost)
    assert {reason.partition(" (")[0] for reason in reasons} == {"the response is compressed"}
    assert b"\r\naccept-encoding: identity\r\n" in server.requests[2].lower()  # the first two have the test's headers


@pytest.mark.parametrize(("most", "found"), [(30, "read"), (29, "lost")])
def test_an_answer_larger_than_the_limit_is_lost(most: int, found: str) -> None:
    line = b'{"n":1,"answer":"123456789012"}'[:30]

    async def sent(connections: Connections) -> list[str]:
        results = list[str]()
        for call in calls_of(connections, most=most)[1:]:
            try:
                await call()
            except AnswerLost as lost:
                results.append("lost" if "larger than" in lost.reason else "read")
            else:
                results.append("read")
        return results

    assert with_server([[sized([line])]] * 2, sent)[0] == [found] * 2


def calls_of(connections: Connections, most: int) -> list[Callable[[], Awaitable[object]]]:
    """Return one request over each channel: the connections, a batch of a client, and another request of it."""

    channel = AsyncChannel(connections, 1, asyncio_runtime(), max_answer_bytes=most)

    async def batch() -> object:
        return await channel.call(Envelope(number=0, kind="task", job="j", id="a", action="status"), 30_000)

    async def other() -> object:
        return await channel.http("POST", "/v1/jobs", 30_000, b"body", None)

    return [lambda: answer(connections), batch, other]


def test_a_request_that_finds_no_server_is_not_sent() -> None:
    async def refused(connections: Connections) -> None:
        connections.base = "http://127.0.0.1:1"
        with pytest.raises(NotSent):
            await answer(connections)

    with_server([], refused)


def test_the_connection_of_a_refused_request_is_not_used_again() -> None:
    async def two(connections: Connections) -> list[int]:
        return [(await answer(connections))[0] for _ in range(2)]

    refused = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"
    statuses, server = with_server([[refused], [refused]], two)
    assert (statuses, server.connected) == ([413, 413], 2)


@pytest.mark.parametrize(("pause_ms", "connected"), [(MAX_IDLE_MS, 1), (MAX_IDLE_MS + 1, 2)])
def test_a_connection_that_was_idle_for_long_is_not_used_again(pause_ms: int, connected: int) -> None:
    async def two(connections: Connections) -> list[bytes]:
        now = [0.0]
        connections.runtime = evolve(connections.runtime, monotonic_ms=lambda: now[0])
        first = await answer(connections)
        now[0] += pause_ms
        return [first[1], (await answer(connections))[1]]

    found, server = with_server([[sized([b"a"])], [sized([b"b"])]], two)
    assert (found, server.connected) == ([b"a", b"b"], connected)


def test_a_connection_that_is_not_used_again_is_closed(recwarn: pytest.WarningsRecorder) -> None:
    async def idle(connections: Connections) -> None:
        connections.runtime = evolve(connections.runtime, monotonic_ms=lambda: 0.0)
        await answer(connections)
        connections.runtime = evolve(connections.runtime, monotonic_ms=lambda: MAX_IDLE_MS + 1.0)
        await answer(connections)
        await asyncio.wait_for(server.left.wait(), 60)

    server = Server([[sized([b"a"])], [sized([b"b"])], [sized([b"never"])]])

    async def run() -> None:
        async with connected(server) as connections:
            await idle(connections)

    asyncio.run(run())
    gc.collect()
    assert server.connected == 2
    assert [each for each in recwarn if each.category is ResourceWarning] == []  # by the client, not by its collector


@pytest.mark.parametrize(
    ("calls", "size", "batches"),
    [
        (500, 0, [500]),
        (501, 0, [500, 1]),
        (1_000, 0, [500, 500]),
        (4, 200_000, [2, 2]),
        (3, 300_000, [1, 1, 1]),
        (2, MAX_BATCH_BYTES, [1, 1]),
    ],
)
def test_at_most_500_calls_of_a_moment_travel_together_and_half_a_mebibyte(
    calls: int, size: int, batches: list[int]
) -> None:
    simulation = Simulation(order="fifo")
    sent: list[int] = []

    async def post(lines: bytes, _: float) -> AsyncGenerator[bytes]:
        sent.append(lines.count(b"\n") + 1)
        raise NotSent("no server listens")
        yield b""

    async def main() -> None:
        batcher = CallBatcher(post, max_batches=len(batches), runtime=simulation.runtime)
        payload = b'"%s"' % (size * b"x")
        envelope = Envelope(number=0, kind="task", job="j", id="a", action="send", payload=payload)
        tasks = [simulation.runtime.spawn_eagerly(batcher.call(envelope, 1_000), name="call") for _ in range(calls)]
        for task in tasks:
            with pytest.raises(NotSent):
                await task

    simulation.run(main())
    assert sent == batches

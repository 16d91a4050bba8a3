"""Malformed HTTP on a real socket: no answer but a refusal, nothing in the log, and nothing written."""

import asyncio
import logging
import re
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from raw_http import SteppedClock, quiet, serving

from perdure import App, Client, Task, succeed
from perdure.examples.order_processor import Order, OrderEvent, decide_order
from perdure.server.api import asgi_of
from perdure.server.http_limits import HttpLimits

ORDERS = Task(
    "orders", state=Order, event=OrderEvent, initial=Order(), decide=decide_order, execute=lambda _: succeed(None)
)
LIMITS = HttpLimits(
    body_bytes=2_000,
    header_bytes=2_000,
    url_bytes=500,
    header_timeout="20 seconds",
    body_timeout="20 seconds",
    idle_timeout="20 seconds",
    write_timeout="20 seconds",
)
PLACED = orjson.dumps({"type": "OrderPlaced", "owner": "ada", "amount": 4})
LINE = orjson.dumps(
    {"n": 0, "kind": "task", "job": "orders", "id": "b", "action": "send", "payload": orjson.loads(PLACED)}
)


def post(path: bytes, body: bytes, *headers: bytes) -> bytes:
    """Return a valid request."""
    lines = [b"POST " + path + b" HTTP/1.1", b"Host: localhost", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


SEND = post(b"/v1/jobs/task/orders/instances/a/send", PLACED, b"Content-Type: application/json")
BATCH = post(b"/v1/calls", LINE)
CHUNKED = SEND.replace(b"Content-Length: %d" % len(PLACED), b"Transfer-Encoding: chunked").replace(
    PLACED, b"%x\r\n%s\r\n0\r\n\r\n" % (len(PLACED), PLACED)
)
LIST = b"GET /v1/instances?limit=2 HTTP/1.1\r\nHost: localhost\r\n\r\n"
SMUGGLED = SEND.replace(b"instances/a/", b"instances/smuggled/")
TWO_LENGTHS = CHUNKED.replace(b"\r\nTransfer", b"\r\nContent-Length: 5\r\nTransfer")

HEADERS = [
    b"Content-Length: 0",
    b"Content-Length: 3",
    b"Content-Length: -1",
    b"Content-Length: +5",
    b"Content-Length: 0x10",
    b"Content-Length: 1_0",
    b"Content-Length: 99999999999999999999999",
    b"Content-Length: 5, 5",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: identity, chunked",
    b"Transfer-Encoding : chunked",
    b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding:\x0bchunked",
    b"Host: evil.example",
    b"Host:",
    b"Expect: 100-continue",
    b"Connection: upgrade\r\nUpgrade: websocket",
    b"Connection: upgrade, HTTP2-Settings\r\nUpgrade: h2c",
    b"Authorization: Bearer \xff\x00",
    b"Idempotency-Key: \xff",
    b"X: " + b"y" * 3_000,
    b" folded: line",
    b"\x00: nul",
    b"no colon",
    b"Content-Encoding: gzip",
]

pieces = st.one_of(
    st.binary(max_size=8),
    st.sampled_from(
        [b"\r\n", b"\n", b"\r", b"\0", b"\r\n\r\n", b"0\r\n\r\n", b"ffffffffffffffff\r\n", b"-1\r\n", b"HTTP/9.9", b"%"]
    ),
    st.sampled_from(HEADERS).map(lambda header: b"\r\n" + header + b"\r\n"),
)
edits = st.tuples(
    st.sampled_from(["insert", "replace", "delete", "cut", "header"]),
    st.floats(0, 1),
    st.integers(1, 40),
    pieces,
    st.sampled_from(HEADERS),
)


def mutated(data: bytes, changes: list[tuple[str, float, int, bytes, bytes]]) -> bytes:
    """Return a request after some edits."""
    for operation, where, length, piece, header in changes:
        at = int(where * len(data))
        match operation:
            case "insert":
                data = data[:at] + piece + data[at:]
            case "replace":
                data = data[:at] + piece + data[at + len(piece) :]
            case "delete":
                data = data[:at] + data[at + length :]
            case "cut":
                data = data[:at]
            case _:
                head, end, body = data.partition(b"\r\n\r\n")
                data = head + b"\r\n" + header + end + body
    return data


requests = st.builds(mutated, st.sampled_from([SEND, BATCH, CHUNKED, LIST]), st.lists(edits, min_size=1, max_size=3))


@settings(max_examples=60)
@given(st.lists(requests, min_size=1, max_size=3).map(b"".join))
@example(TWO_LENGTHS + SMUGGLED)
@example(CHUNKED.replace(b"0\r\n\r\n", b"0;x=\n\r\n\r\n") + SMUGGLED[:-1])
@example(CHUNKED[:-7] + b"ffffffffffffffffffffffff\r\n")
@example(SEND[:-1])
@example(SEND.replace(PLACED, PLACED[:-1] + b"\xff"))
@example(SEND.replace(PLACED, b"[" * len(PLACED)))
@example(LIST.replace(b"?limit=2", b"?limit=2&limit=%ff%00"))
@example(LIST.replace(b"/v1/instances", b"/v1/jobs/%ff/%00/instances/%2e%2e"))
@example(LIST.replace(b"/v1/instances", b"http://evil.example/v1/instances"))
@example(LIST.replace(b"/v1/instances", b"*"))
@example(LIST.replace(b"GET", b"CONNECT"))
@example(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
@example(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
def test_malformed_requests_are_refused(data: bytes):
    async def main() -> tuple[bytes, list[Any], list[Any]]:
        unhandled: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
        async with App(None).with_jobs(ORDERS).open("memory://") as jobs:
            return await exchanged(jobs, data), await stored(jobs), unhandled

    with errors_logged() as logged:
        answers, found, unhandled = asyncio.run(main())
    statuses = [int(status) for status in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", answers)]
    assert [status for status in statuses if status >= 500] == [], answers
    assert (logged, unhandled) == ([], [])
    assert len(found) <= statuses.count(200)
    assert "smuggled" not in found


async def exchanged(jobs: Client, data: bytes) -> bytes:
    """Send bytes; return everything that a server answers until it closes the connection.

    Its clock moves once it has answered, to the next deadline: however slow the machine is, no
    deadline passes before.
    """
    clock = SteppedClock()
    async with serving(asgi_of(jobs), LIMITS, runtime=clock.runtime()) as served:
        reader, writer = await served.connect()
        answers = asyncio.ensure_future(received(reader))
        writer.write(data)
        while not answers.done():
            await quiet(served)
            clock.move(20_000)
        writer.close()
        return await answers


async def received(reader: asyncio.StreamReader) -> bytes:
    """Return everything until the connection ends."""
    answers = b""
    try:
        while part := await reader.read(65_536):
            answers += part
    except ConnectionError:
        pass
    return answers


async def stored(jobs: Client) -> list[str]:
    """Return the ids of the stored instances."""
    return [row.address.id for row in await jobs.list()]


class errors_logged(logging.Handler):  # noqa: N801 - read as a block
    """Collects the errors that are logged within the block."""

    def __enter__(self) -> list[str]:
        self.found: list[str] = []
        logging.getLogger().addHandler(self)
        return self.found

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            self.found.append(record.getMessage())


@pytest.mark.parametrize("data", [SEND, BATCH, CHUNKED])
def test_the_requests_that_are_mutated_are_valid(data: bytes):
    async def main() -> tuple[bytes, list[str]]:
        async with App(None).with_jobs(ORDERS).open("memory://") as jobs:
            return await exchanged(jobs, data), await stored(jobs)

    answers, found = asyncio.run(main())
    assert answers.startswith(b"HTTP/1.1 200 ")
    assert len(found) == 1

"""Connections with limits, on real sockets: idle, slow and numerous clients."""

import asyncio
from typing import Any

import pytest
from raw_http import SteppedClock, answer, echo, request, serving, status_of, until

from perdure.server.connections import GATHERED_BYTES, GatheredWrites
from perdure.server.http_limits import HttpLimits
from perdure.server.listening import unread_bytes

SHORT = HttpLimits(
    header_timeout="60 ms", body_timeout="60 ms", idle_timeout="60 ms", write_timeout="60 ms", write_buffer_bytes=1_000
)
KEPT = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
BEGUN = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "trickle"),
    [
        (b"", b""),
        (b"G", b""),
        (b"GET / HTTP/1.1\r\nx: ", b"y"),
        (b"", b"\r\n"),
        (BEGUN, b"y"),
        (KEPT, b""),
        (KEPT, b"\r\n"),
    ],
)
def test_a_client_that_sends_too_slowly_is_disconnected(sent: bytes, trickle: bytes):
    async def main() -> bytes:
        async with serving(echo, SHORT) as served:
            reader, writer = await served.connect()
            writer.write(sent)
            received = b""
            while True:
                try:
                    async with asyncio.timeout(0.01):
                        part = await reader.read(1_000)
                except TimeoutError:
                    writer.write(trickle)
                    continue
                except ConnectionResetError:
                    part = b""
                if not part:
                    writer.close()
                    return received
                received += part

    assert status_of(asyncio.run(main())) in ({200} if sent is KEPT else {0, 400})


@pytest.mark.parametrize(
    ("timeout", "sent", "phase"),
    [
        ("idle_timeout", b"", "idle"),
        ("header_timeout", b"GET / HTTP/1.1\r\nx: ", "headers"),
        ("body_timeout", BEGUN, "body"),
        ("write_timeout", KEPT, "unread"),
    ],
)
def test_a_connection_is_closed_at_its_timeout_and_not_before(timeout: str, sent: bytes, phase: str):
    async def main() -> list[int]:
        async def large(scope: Any, receive: Any, send: Any) -> None:
            await answer(send, b"x" * 20_000_000)  # more than the buffers of the system hold

        def reached(connection: Any) -> bool:
            return unread_bytes(connection.transport) > 0 if phase == "unread" else connection.phase == phase

        clock, others = SteppedClock(), {"idle_timeout", "header_timeout", "body_timeout", "write_timeout"} - {timeout}
        limits = HttpLimits(**{timeout: "3 s", **dict.fromkeys(others, "1 hour")})  # type: ignore[arg-type]
        app = large if timeout == "write_timeout" else echo
        async with serving(app, limits, runtime=clock.runtime()) as served:
            _, writer = await served.connect()
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(sent)
            await until(lambda: [reached(each) for each in served.connections.all] == [True])
            counts = list[int]()
            for by_ms in (2_999, 1):
                clock.move(by_ms)
                counts.append(sum(not each.transport.is_closing() for each in served.connections.all if each.transport))
            writer.close()
            return counts

    assert asyncio.run(main()) == [1, 0]


def test_a_client_that_does_not_read_holds_one_part_and_is_disconnected():
    part, held, gone = b"x" * 65_536, list[int](), asyncio.Event()

    async def main() -> None:
        async def endless(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while not gone.is_set():
                await send({"type": "http.response.body", "body": part, "more_body": True})
                held.extend(each.transport.get_write_buffer_size() for each in served.connections.all if each.transport)
                await asyncio.sleep(0)

        async with serving(endless, SHORT) as served:
            _, writer = await served.connect()
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(KEPT)
            await until(lambda: len(served.connections) > 0)
            await until(lambda: len(served.connections) == 0)
            gone.set()
            writer.close()

    asyncio.run(main())
    assert 0 < max(held) <= SHORT.write_buffer_bytes + len(part) + 100


def test_unread_responses_together_are_limited():
    part = b"x" * 20_000_000  # more than the buffers of the system hold

    async def main() -> tuple[int, list[bool]]:
        async def large(scope: Any, receive: Any, send: Any) -> None:
            await answer(send, part)

        async with serving(large, HttpLimits(unread_bytes=3 * len(part))) as served:
            writers: list[asyncio.StreamWriter] = []
            for _ in range(5):
                _, writer = await served.connect()
                writer.transport.pause_reading()  # type: ignore[attr-defined]
                writer.write(KEPT)
                writers.append(writer)
            reader, last = await served.connect()
            last.write(KEPT)
            head = await reader.readuntil(b"\r\n\r\n")
            held = sum(unread_bytes(each.transport) for each in served.connections.all)
            for writer in (*writers, last):
                writer.close()
            return held, [head.startswith(b"HTTP/1.1 200"), len(served.connections.all) < 6]

    held, found = asyncio.run(main())
    assert held <= 3 * len(part)
    assert found == [True, True]


def test_a_new_connection_replaces_the_one_that_waited_longest():
    async def main() -> tuple[list[bytes], int]:
        async with serving(echo, HttpLimits(connections=3)) as served:
            waiting = [await served.connect() for _ in range(3)]
            for reader, writer in waiting[1:]:
                writer.write(KEPT)
                await reader.readuntil(b"\r\n\r\n")
            response = await served.get("/")
            closed = await waiting[0][0].read()
            waiting[1][1].write(KEPT)
            kept = await waiting[1][0].readuntil(b"\r\n\r\n")
            for _, writer in waiting:
                writer.close()
            return [response, closed, kept], len(served.connections)

    (response, closed, kept), count = asyncio.run(main())
    assert (status_of(response), closed, status_of(kept)) == (200, b"", 200)
    assert count <= 3


def test_a_connection_is_refused_if_all_others_have_requests_in_progress():
    async def main() -> tuple[bytes, list[int]]:
        release = asyncio.Event()

        async def waiting(scope: Any, receive: Any, send: Any) -> None:
            await release.wait()
            await answer(send, b"")

        async with serving(waiting, HttpLimits(connections=2)) as served:
            busy = [asyncio.ensure_future(served.get("/")) for _ in range(2)]
            await until(lambda: [each.phase for each in served.connections.all] == ["answering"] * 2)
            refused = await served.get("/")
            release.set()
            return refused, [status_of(await response) for response in busy]

    refused, answered = asyncio.run(main())
    assert status_of(refused) == 503
    assert b'"code":"overloaded"' in refused  # a client knows that nothing was applied
    assert b"retry-after: 1" in refused
    assert answered == [200, 200]


def test_a_refused_request_with_an_endless_body_does_not_keep_its_place():
    async def main() -> list[int]:
        async with serving(echo, HttpLimits(connections=1, body_bytes=10)) as served:
            reader, writer = await served.connect()
            writer.write(BEGUN + b"x" * 1_000)
            refused = await reader.readuntil(b"\r\n\r\n")
            response = await served.get("/")
            writer.close()
            return [status_of(refused), status_of(response)]

    assert asyncio.run(main()) == [413, 200]


def test_a_refused_body_is_not_kept():
    async def main() -> list[int]:
        async with serving(echo, HttpLimits(body_bytes=10)) as served:
            reader, writer = await served.connect()
            writer.write(BEGUN + b"x" * 60_000)
            await reader.readuntil(b"\r\n\r\n")
            (connection,) = served.connections.all
            assert connection._http is not None
            held = [len(connection._http.cycle.body)]
            writer.close()
            return held

    assert asyncio.run(main()) == [0]


def test_the_rest_of_a_refused_body_is_not_read_for_long():
    async def main() -> tuple[bytes, int]:
        async with serving(echo, HttpLimits(body_bytes=10)) as served:
            reader, writer = await served.connect()
            writer.write(BEGUN.replace(b"100000", b"10000000000"))
            refused = await reader.readuntil(b"\r\n\r\n")
            writer.write(b"x" * 60_000_000)
            unsent = [0]
            while len(served.connections):
                unsent.append(writer.transport.get_write_buffer_size())
                await asyncio.sleep(0.01)
            writer.transport.abort()
            return refused, max(unsent[-10:])

    refused, unsent = asyncio.run(main())
    assert status_of(refused) == 413
    assert unsent > 30_000_000  # the rest is in the buffers of the system


def test_headers_without_an_end_are_refused_while_they_arrive():
    async def main() -> bytes:
        async with serving(echo) as served:
            return await served.exchange(b"GET / HTTP/1.1\r\nx: " + b"y" * 100_000)

    assert status_of(asyncio.run(main())) in {400, 431}


def test_pipelined_requests_are_answered_in_order():
    async def main() -> bytes:
        async with serving(echo) as served:
            first, last = (
                request("POST", "/", body=b"first").replace(b"Connection: close\r\n", b""),
                request("GET", "/"),
            )
            return await served.exchange(first * 50 + last)

    assert asyncio.run(main()).count(b"HTTP/1.1 200") == 51


# ------------------------------------------------------------ the writes of one step
class Written(asyncio.Transport):
    """A socket's transport that keeps the written bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.written.append(b"closed")

    def abort(self) -> None:
        self.written.append(b"aborted")

    def get_write_buffer_size(self) -> int:
        return 0


@pytest.mark.parametrize(
    ("end", "written"),
    [
        ("step", [b"head, body, end"]),
        ("close", [b"head, body, end", b"closed"]),
        ("abort", [b"aborted"]),
    ],
)
def test_the_parts_of_a_response_are_one_write(end: str, written: list[bytes]):
    async def main() -> tuple[int, list[bytes]]:
        transport = Written()
        gathered = GatheredWrites(transport)
        for part in (b"head, ", bytearray(b"body, "), b"", b"end"):
            gathered.write(part)
        unread = gathered.get_write_buffer_size()
        if end != "step":
            getattr(gathered, end)()
        await asyncio.sleep(0)
        return unread, transport.written

    assert asyncio.run(main()) == (len(b"head, body, end"), written)


@pytest.mark.parametrize(("size", "at_once"), [(GATHERED_BYTES - 1, 0), (GATHERED_BYTES, 1)])
def test_many_bytes_are_written_before_the_step_ends(size: int, at_once: int):
    async def main() -> tuple[int, int]:
        transport = Written()
        GatheredWrites(transport).write(b"x" * size)
        before = len(transport.written)
        await asyncio.sleep(0)
        return before, len(transport.written)

    assert asyncio.run(main()) == (at_once, 1)

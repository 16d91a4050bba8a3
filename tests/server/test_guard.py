"""The guard on a real socket: the application sees only requests that are permitted and complete."""

import asyncio
from typing import Any

import attrs
import orjson
import pytest
from raw_http import answer, echo, request, serving, status_of

from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.runtime.record import LogRecord
from perdure.server.access import Tokens
from perdure.server.guard import CALLER
from perdure.server.http_limits import HttpLimits

SECRET = "tMkZ2WZlOTG0yq0KTwmaT-iEBpnGpRZtPu4lTg3Vxfw"  # noqa: S105 - of no server
TOKENS = Tokens.parse(f"shop read,call {SECRET}")
BEARER = f"Authorization: Bearer {SECRET}"


def chunked(body: bytes, size: int) -> bytes:
    """Return a request with a body in chunks."""
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return head + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def test_a_body_is_limited_as_announced_and_as_received():
    async def main() -> list[int]:
        async with serving(echo, HttpLimits(body_bytes=100)) as served:
            requests = [
                request("POST", "/", body=b"x" * 100),
                request("POST", "/", body=b"x" * 101),
                chunked(b"x" * 100, 7),
                chunked(b"x" * 101, 7),
                chunked(b"x" * 101, 101),
                request("POST", "/", f"Content-Length: {10**18}"),
            ]
            return [status_of(await served.exchange(data)) for data in requests]

    assert asyncio.run(main()) == [200, 413, 200, 413, 413, 413]


def test_a_body_that_is_announced_too_large_is_refused_before_it_is_sent():
    async def main() -> int:
        async with serving(echo, HttpLimits(body_bytes=100)) as served:
            reader, writer = await served.connect()
            writer.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 101\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            writer.close()
            return status_of(head)

    assert asyncio.run(main()) == 413


def test_url_headers_and_lines_are_limited():
    async def main() -> list[int]:
        limits = HttpLimits(url_bytes=20, header_bytes=100, batch_lines=3)
        async with serving(echo, limits) as served:
            own = len("host" + "localhost" + "connection" + "close")
            responses = [
                await served.get("/" + "x" * 16 + "?y=1"),
                await served.get("/" + "x" * 17 + "?y=1"),
                await served.get("/" + "%41" * 7),  # decoded, it would be short enough
                await served.get("/", "x: " + "y" * (99 - own)),
                await served.get("/", "x: " + "y" * (100 - own)),
                await served.exchange(request("POST", "/v1/calls", body=b"{}\n{}\n{}")),
                await served.exchange(request("POST", "/v1/calls", body=b"{}\n{}\n{}\n")),
                await served.exchange(request("POST", "/v1/calls", body=b"{}\n{}\n{}\n{")),
                await served.exchange(request("POST", "/other", body=b"\n\n\n\n")),
            ]
            return [status_of(response) for response in responses]

    assert asyncio.run(main()) == [200, 414, 414, 200, 431, 200, 200, 413, 200]


def test_a_client_that_sends_too_much_waits_and_another_does_not():
    async def main() -> tuple[list[int], bytes]:
        tokens = Tokens.parse(f"shop read {SECRET}; other read {SECRET[::-1]}")
        async with serving(echo, HttpLimits(requests_per_second=1, burst=2), tokens) as served:
            responses = [await served.get("/", BEARER) for _ in range(3)]
            other = await served.get("/", BEARER.replace(SECRET, SECRET[::-1]))
            wrong = [await served.get("/", BEARER + "x") for _ in range(3)]  # counted by address
            return [status_of(response) for response in (*responses, other, *wrong)], responses[2]

    statuses, refused = asyncio.run(main())
    assert statuses == [200, 200, 429, 200, 401, 401, 429]
    assert b"retry-after: 1\r\n" in refused
    assert orjson.loads(refused.partition(b"\r\n\r\n")[2])["code"] == "overloaded"


def test_all_bodies_together_are_limited():
    async def main() -> list[int]:
        async with serving(echo, HttpLimits(bodies_bytes=100)) as served:
            reader, writer = await served.connect()
            data = request("POST", "/", body=b"x" * 60)
            writer.write(data[:-1])
            await asyncio.sleep(0)
            second = await served.exchange(request("POST", "/", body=b"x" * 60))
            third = await served.exchange(request("POST", "/", body=b"x" * 41))
            writer.write(data[-1:])
            first = await reader.read()
            writer.close()
            fourth = await served.exchange(request("POST", "/", body=b"x" * 100))
            return [status_of(response) for response in (first, second, third, fourth)]

    assert asyncio.run(main()) == [200, 503, 200, 200]


@pytest.mark.parametrize("sent", [-1, -59])
def test_an_incomplete_request_never_reaches_the_application(sent: int):
    called: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        called.append(await receive())
        await answer(send, b"")

    async def main() -> None:
        async with serving(app) as served:
            _, writer = await served.connect()
            writer.write(request("POST", "/", body=b"x" * 60)[:sent])
            await writer.drain()
            writer.close()
            await served.get("/")  # accepted after the other was lost

    asyncio.run(main())
    assert [message["body"] for message in called] == [b""]


def test_the_application_knows_the_caller_and_probes_need_no_token():
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, f"{scope[CALLER].name} {sorted(scope[CALLER].scopes)}".encode())

    async def main() -> list[bytes]:
        async with serving(app, access=TOKENS) as served:
            wanted = [("/live", ""), ("/ready", ""), ("/v1/jobs", BEARER), ("/v1/jobs", ""), ("/live/x", "")]
            found = [await served.get(path, *filter(None, [header])) for path, header in wanted]
            return [*found, await served.exchange(request("POST", "/live"))]

    live, ready, jobs, *refused = asyncio.run(main())
    assert live.endswith(b"probe []")
    assert ready.endswith(b"probe []")
    assert jobs.endswith(b"shop ['call', 'read']")
    assert [status_of(response) for response in refused] == [401, 401, 401]
    assert b'www-authenticate: Bearer realm="perdure"\r\n' in refused[0]


def test_the_access_log_has_neither_token_nor_payload_nor_query():
    records: list[LogRecord] = []
    runtime = attrs.evolve(asyncio_runtime(), log=records.append)

    async def main() -> None:
        async with serving(echo, access=TOKENS, log_requests=True, runtime=runtime) as served:
            data = request("POST", "/v1/%0a%1b[31m?secret=1", BEARER, "Idempotency-Key: secret", body=b"secret")
            await served.exchange(data)
            await served.get("/", f"Authorization: Bearer {SECRET[::-1]}")

    asyncio.run(main())
    accepted, refused = records
    assert "secret" not in repr(records)
    assert SECRET not in repr(records)
    assert SECRET[::-1] not in repr(records)
    assert accepted.level == "info"
    assert {**accepted.fields, "duration_ms": 0} == {
        "method": "POST",
        "path": r"/v1/\n\x1b[31m",
        "status": 200,
        "caller": "shop",
        "duration_ms": 0,
    }
    assert (refused.fields["status"], refused.fields["caller"]) == (401, None)

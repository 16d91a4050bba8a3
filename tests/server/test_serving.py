"""Serving an open engine: each address has the access that it needs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from perdure import App, Task
from perdure.server.access import Tokens
from perdure.server.addresses import TcpBind, UnixBind
from perdure.server.listening import Listening
from perdure.server.serving import serving
from perdure.stores.sqlite.files import short_path
from perdure.values.errors import DefinitionError

SECRET = "x" * 32
TOKENS = Tokens.parse(f"web read {SECRET}")
counter = Task("counter", state=int, event=int, initial=0, on_event=lambda ctx, event: ctx.set_state(event))
app = App(None).with_jobs(counter)


async def status_of(server: Listening, token: str = "") -> int:
    """List the instances; return the status of the answer."""
    (bind,) = server.binds
    match bind:
        case TcpBind(host, port):
            reader, writer = await asyncio.open_connection(host, port)
        case UnixBind(path):
            with short_path(path) as short:
                reader, writer = await asyncio.open_unix_connection(short)
    header = f"authorization: Bearer {token}\r\n" if token else ""
    writer.write(f"GET /v1/instances HTTP/1.1\r\nhost: localhost\r\n{header}connection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return int(answer.split()[1])


def test_the_socket_needs_no_token_and_tcp_does(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with app.open("memory://") as jobs:
            binds = ["127.0.0.1:0", f"unix:{tmp_path}/s.sock"]
            async with serving(jobs, binds, tokens=TOKENS) as (tcp, unix):
                assert await status_of(tcp) == 401
                assert await status_of(tcp, SECRET) == 200
                assert await status_of(unix) == 200
            async with serving(jobs, binds) as (tcp, _):
                assert await status_of(tcp) == 200

    asyncio.run(scenario())


def test_an_exposed_address_is_refused_before_any_is_listened_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with app.open("memory://") as jobs, serving(jobs, [f"unix:{tmp_path}/s.sock", "0.0.0.0:0"]):
            raise AssertionError

    with pytest.raises(DefinitionError, match="other machines can reach this address"):
        asyncio.run(scenario())
    assert list(tmp_path.iterdir()) == []


def test_an_exposed_address_is_served_where_the_caller_says_so() -> None:
    async def scenario() -> None:
        async with app.open("memory://") as jobs, serving(jobs, ["0.0.0.0:0"], unprotected="serve") as (server,):
            assert await status_of(server) == 200

    asyncio.run(scenario())

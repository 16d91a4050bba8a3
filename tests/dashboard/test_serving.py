"""The dashboard on a real socket: an open page does not delay the end of its server."""

import asyncio

import pytest
import scene

from perdure.client.local_gateway import engine_of
from perdure.server.serving import serving

LIVE = b"GET /dashboard/live?page=/ HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize("ends", ["server", "engine"])
def test_a_server_stops_although_a_page_follows_it(ends):
    async def main():
        async with asyncio.timeout(120), scene.app.open("memory://") as jobs:
            async with serving(jobs, ["127.0.0.1:0"], dashboard=True, shutdown_timeout="1 hour") as [served]:
                reader, writer = await asyncio.open_connection("127.0.0.1", served.binds[0].port)
                writer.write(LIVE)
                await reader.readuntil(b"event: page")
                if ends == "engine":
                    engine_of(jobs).begin_stop()
                    await reader.readuntil(b"\r\n0\r\n\r\n")
            rest = await reader.read()
            writer.close()
            return rest.endswith(b"0\r\n\r\n") or ends == "engine"

    assert asyncio.run(main())

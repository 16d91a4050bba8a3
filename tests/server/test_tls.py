"""TLS on a real socket, and certificates that cannot be used."""

import asyncio
import ssl
from pathlib import Path

import pytest
from raw_http import echo, status_of

from perdure.server.addresses import tls_context
from perdure.server.listening import listening
from perdure.values.errors import DefinitionError

CERTIFICATE = Path(__file__).with_name("localhost.pem")  # with its key; of no server


def test_a_client_that_trusts_the_certificate_is_served():
    async def main() -> tuple[str, bytes]:
        async with listening(echo, ["localhost:0"], tls=tls_context(CERTIFICATE)) as served:
            (url,) = served.urls
            trusting = ssl.create_default_context(cafile=CERTIFICATE)
            port = int(url.rpartition(":")[2])
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname="localhost")
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            response = await reader.read()
            writer.close()
            return url, response

    url, response = asyncio.run(main())
    assert url.startswith("https://localhost:")
    assert status_of(response) == 200


def test_old_versions_are_refused():
    async def main() -> None:
        async with listening(echo, ["127.0.0.1:0"], tls=tls_context(CERTIFICATE)) as served:
            old = ssl.create_default_context(cafile=CERTIFICATE)
            old.minimum_version = ssl.TLSVersion.TLSv1_1
            old.maximum_version = ssl.TLSVersion.TLSv1_1
            port = int(served.urls[0].rpartition(":")[2])
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await asyncio.open_connection("127.0.0.1", port, ssl=old, server_hostname="localhost")

    with pytest.warns(DeprecationWarning, match="TLSv1"):
        asyncio.run(main())


def test_unusable_files_are_refused(tmp_path: Path):
    text = CERTIFICATE.read_text()
    chain, _, key = text.partition("-----BEGIN PRIVATE KEY-----")
    only_chain, other = tmp_path / "chain.pem", tmp_path / "other.pem"
    only_chain.write_text(chain)
    other.write_text("-----BEGIN PRIVATE KEY-----" + key[:20] + "AAAA" + key[24:])
    for files in ((tmp_path / "missing",), (only_chain,), (only_chain, other), (only_chain, tmp_path)):
        with pytest.raises(DefinitionError, match="TLS certificate and key"):
            tls_context(*files)

"""A complete S3 server in this process, over HTTP."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def s3_settings() -> Iterator[dict[str, str]]:
    """The variables that a process needs to reach the server, which has an empty bucket ``backups``."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 - it takes a second

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/backups", method="PUT")).close()  # noqa: S310 - HTTP
    yield {
        "AWS_ENDPOINT": endpoint,
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_REGION": "us-east-1",
    }
    server.stop()

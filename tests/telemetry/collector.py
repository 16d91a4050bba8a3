"""A real collector of OpenTelemetry in a process of its own: it receives, batches and forwards to a receiver."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from threading import Event

READY_ATTEMPTS = 600


@contextmanager
def collector(forward_to: str) -> Iterator[str]:
    """Run a collector within the block; return its URL. At the end of the block it has forwarded everything.

    Args:
        forward_to: the URL of the receiver.
    """
    spec = find_spec("rotel")
    assert spec is not None
    assert spec.origin is not None
    http, grpc = free_port(), free_port()
    options = {
        "--otlp-http-endpoint": f"127.0.0.1:{http}",
        "--otlp-grpc-endpoint": f"127.0.0.1:{grpc}",
        "--exporter": "otlp",
        "--otlp-exporter-protocol": "http",
        "--otlp-exporter-endpoint": forward_to,
    }
    command = [
        str(Path(spec.origin).with_name("rotel-agent")),
        "start",
        *(part for pair in options.items() for part in pair),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603
    try:
        wait_for(http)
        yield f"http://127.0.0.1:{http}"
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def wait_for(port: int) -> None:
    """Wait until a process listens."""
    for _ in range(READY_ATTEMPTS):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            Event().wait(0.05)
        else:
            return
    raise TimeoutError(port)

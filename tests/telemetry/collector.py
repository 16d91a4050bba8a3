"""A real collector of OpenTelemetry in a process of its own: it receives, batches and forwards to a receiver.

Its wheel brings a program that is linked to a shared library of Python, which the packages of some systems leave out.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from threading import Event

import pytest

READY_ATTEMPTS = 2_400


@cache
def program() -> str:
    """Return the program of the collector; skip the test on a machine that cannot start it."""
    spec = find_spec("rotel")
    if spec is None or spec.origin is None:
        pytest.skip("rotel is not installed: its wheels are for Linux and some Pythons")
    found = str(Path(spec.origin).with_name("rotel-agent"))
    try:
        tried = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    except OSError as error:
        pytest.skip(f"the collector rotel does not start: {error}")
    if tried.returncode != 0:
        pytest.skip(f"the collector rotel does not start: {tried.stderr.strip()}")
    return found


@contextmanager
def collector(forward_to: str) -> Iterator[str]:
    """Run a collector within the block; return its URL. At the end of the block it has forwarded everything.

    Args:
        forward_to: the URL of the receiver.
    """
    http, grpc = free_port(), free_port()
    options = {
        "--otlp-http-endpoint": f"127.0.0.1:{http}",
        "--otlp-grpc-endpoint": f"127.0.0.1:{grpc}",
        "--exporter": "otlp",
        "--otlp-exporter-protocol": "http",
        "--otlp-exporter-endpoint": forward_to,
    }
    command = [program(), "start", *(part for pair in options.items() for part in pair)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603
    try:
        wait_for(process, http)
        yield f"http://127.0.0.1:{http}"
        process.terminate()
        assert process.wait(120) == 0
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until the process listens."""
    for _ in range(READY_ATTEMPTS):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert process.poll() is None, f"the collector ended with {process.returncode}"
            Event().wait(0.05)
        else:
            return
    raise TimeoutError(f"the collector does not listen on {port}")

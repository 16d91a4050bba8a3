"""The server of the tests does not outlive them."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import postgres_server
import pytest

START = """
import postgres_server
cluster = postgres_server.PrivateCluster(postgres_server.binaries())
cluster.__enter__()
print(cluster.url.partition("host=")[2], flush=True)
input()
"""


@pytest.mark.skipif(postgres_server.binaries() is None, reason="NO POSTGRESQL: there are no programs of a server")
def test_a_server_ends_with_a_process_that_is_killed() -> None:
    path = str(Path(postgres_server.__file__).parent)
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", START], env={"PYTHONPATH": path}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as tests:
        assert tests.stdout is not None
        folder = Path(tests.stdout.readline().decode().strip())
        (pid, *_) = (folder / "data" / "postmaster.pid").read_text().splitlines()
        assert Path("/proc", pid).exists()
        tests.send_signal(signal.SIGKILL)
    until = time.monotonic() + 120
    while folder.exists() or Path("/proc", pid).exists():
        assert time.monotonic() < until, f"{folder} is left, or process {pid}"
        time.sleep(0.02)

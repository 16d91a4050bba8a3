"""PgBouncer in transaction mode before a server of the tests. Without it they are skipped, or fail in CI."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, urlsplit

import pytest

_FIX = "apt-get install pgbouncer"


def program() -> str:
    """Return the program; skip the test without it."""
    found = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if found is None and os.environ.get("PERDURE_POSTGRES") == "required":
        pytest.fail(f"no PgBouncer on this machine: {_FIX}")
    if found is None:
        pytest.skip(f"NO PGBOUNCER: the PostgreSQL store is not tested behind a pooler; {_FIX}")
    return found


class PgBouncer:
    """A pooler on a port of this machine, which lets many clients share few connections of a server.

    Args:
        database: the URL of a database, with the server's socket as its host.
        connections: how many connections of the server it uses at most.
    """

    def __init__(self, database: str, *, connections: int = 4) -> None:
        parts = urlsplit(database)
        host = parse_qs(parts.query).get("host", [parts.hostname or ""])[0]
        self._folder = Path(tempfile.mkdtemp(prefix="perdure-bouncer-"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port: int = free.getsockname()[1]
        self.url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        target = f"host={host} port={parts.port or 5432} dbname={parts.path.strip('/')} user=postgres"
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": port,
            "unix_socket_dir": "",
            "auth_type": "any",
            "pool_mode": "transaction",
            "default_pool_size": connections,
            "max_prepared_statements": 100,
            "logfile": self._folder / "log",
            "pidfile": self._folder / "pid",
        }
        lines = "\n".join(f"{name} = {value}" for name, value in settings.items())
        (self._folder / "ini").write_text(f"[databases]\npostgres = {target}\n[pgbouncer]\n{lines}\n")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = [program(), str(self._folder / "ini")]
        if os.geteuid() == 0:  # it refuses to run as root
            shutil.chown(self._folder, "postgres", "postgres")
            command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 - a program of the system
        self._wait()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _wait(self) -> None:
        port, until = urlsplit(self.url).port, time.monotonic() + 120
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
            except OSError:
                log = self._folder / "log"
                assert time.monotonic() < until, log.read_text() if log.exists() else "it did not start"
                time.sleep(0.02)
            else:
                return

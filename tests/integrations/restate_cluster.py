"""Restate servers and a worker in processes of their own, which tests kill and start again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

HERE: Final = Path(__file__).parent
PATIENCE_S: Final = 60.0


def server_program() -> str | None:
    """Return the path of the server's program. None if this machine has none."""
    return os.environ.get("PERDURE_RESTATE_SERVER") or shutil.which("restate-server")


def free_ports(number: int) -> list[int]:
    """Return ports that no process uses now."""
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Cluster:
    """One server, or several, and a worker.

    Args:
        folder: where their data is.
        nodes: how many servers.
        application: the worker's, ``module:name``.
        path: where its module is.
    """

    def __init__(self, folder: Path, nodes: int = 1, application: str = "restate_jobs:application", path: Path = HERE):
        self.folder, self.nodes, self.application, self.path = folder, nodes, application, path
        ports = free_ports(3 * nodes + 1)
        self.ports = [tuple(ports[3 * node : 3 * node + 3]) for node in range(nodes)]
        self.worker_port = ports[-1]
        self.servers: dict[int, subprocess.Popen[bytes]] = {}
        self.worker: subprocess.Popen[bytes] | None = None
        self.further: list[subprocess.Popen[bytes]] = []
        for node in range(nodes):
            (folder / f"node{node}.toml").write_text(self._settings(node))

    @property
    def ingress(self) -> str:
        """The URL of the first server's ingress."""
        return f"http://127.0.0.1:{self.ports[0][2]}"

    @property
    def admin(self) -> str:
        """The URL of the first server's admin API."""
        return f"http://127.0.0.1:{self.ports[0][1]}"

    @property
    def notes(self) -> Path:
        """The file in which the worker's external system remembers calls."""
        return self.folder / "notes"

    def noted(self, word: str) -> list[str]:
        """Return the lines with a word."""
        return [line for line in self.notes.read_text().splitlines() if word in line] if self.notes.exists() else []

    def __enter__(self) -> Self:
        for node in range(self.nodes):
            self.start_server(node)
        for node in range(self.nodes):
            self._await(f"http://127.0.0.1:{self.ports[node][1]}/health")
        self.start_worker()
        self.register()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill_worker()
        for worker in self.further:
            _kill(worker)
        for node in list(self.servers):
            self.kill_server(node)

    # ------------------------------------------------------------ servers
    def start_server(self, node: int = 0) -> None:
        """Start a server on its data."""
        program = server_program()
        assert program is not None
        log = (self.folder / f"node{node}.log").open("ab")
        command = [program, "--config-file", f"node{node}.toml", "--base-dir", f"data{node}"]
        self.servers[node] = subprocess.Popen(  # noqa: S603 - the path of the tests' own server
            command, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
        )
        log.close()

    def kill_server(self, node: int = 0) -> None:
        """Kill a server with SIGKILL."""
        _kill(self.servers.pop(node))

    def _settings(self, node: int) -> str:
        port, admin, ingress = self.ports[node]
        peers = ", ".join(f'"http://127.0.0.1:{each[0]}"' for each in self.ports)
        shared = f'[metadata-client]\ntype = "replicated"\naddresses = [{peers}]\n' if self.nodes > 1 else ""
        replication = "default-replication = 2\n" if self.nodes > 1 else ""
        return (
            f'cluster-name = "tests"\nnode-name = "n{node}"\n'
            'roles = ["admin", "http-ingress", "metadata-server", "worker", "log-server"]\n'
            f"auto-provision = {'true' if node == 0 else 'false'}\n"
            'listen-mode = "tcp"\nbind-ip = "127.0.0.1"\n'
            f'bind-port = {port}\nadvertised-address = "http://127.0.0.1:{port}"\n'
            "disable-telemetry = true\ndefault-num-partitions = 4\n"
            f'{replication}log-filter = "warn"\nlog-disable-ansi-codes = true\n'
            f'{shared}[admin]\nbind-address = "127.0.0.1:{admin}"\ndisable-web-ui = true\n'
            f'[ingress]\nbind-address = "127.0.0.1:{ingress}"\n'
        )

    # ------------------------------------------------------------ the worker
    def start_worker(self) -> None:
        """Start the worker."""
        self.worker = self._served(self.application, self.worker_port)

    def start_further(self, application: str) -> int:
        """Start a further worker that serves another version, and return its port."""
        port = free_ports(1)[0]
        self.further.append(self._served(application, port))
        self._await(f"http://127.0.0.1:{port}/health")
        return port

    def _served(self, application: str, port: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "hypercorn", application, "--bind", f"127.0.0.1:{port}"]
        environment = {**os.environ, "PYTHONPATH": str(self.path), "RESTATE_NOTES": str(self.notes)}
        with (self.folder / "worker.log").open("ab") as log:
            # A session of its own: hypercorn has a process for the socket and one that serves.
            return subprocess.Popen(  # noqa: S603 - our own module
                command, cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def kill_worker(self) -> None:
        """Kill the worker with SIGKILL."""
        if self.worker is not None:
            _kill(self.worker)
            self.worker = None

    def register(self, port: int | None = None) -> None:
        """Register a worker with the cluster: the first one without a port."""
        url = f"http://127.0.0.1:{port or self.worker_port}"
        self._await(f"{url}/health")
        self.call("POST", "/deployments", {"uri": url, "force": True})

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Call the admin API."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        request = urllib.request.Request(self.admin + path, data, headers, method=method)  # noqa: S310 - HTTP
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:  # noqa: S310 - HTTP
            text = response.read()
        return json.loads(text) if text else None

    def sql(self, query: str) -> list[dict[str, Any]]:
        """Query the cluster."""
        rows: list[dict[str, Any]] = self.call("POST", "/query", {"query": query})["rows"]
        return rows

    def _await(self, url: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - HTTP
                    return
            except (urllib.error.URLError, OSError):
                assert time.monotonic() < deadline, f"{url} does not answer"
                time.sleep(0.05)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()

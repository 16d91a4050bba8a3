"""An engine in another process that a test can kill."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from attrs import define


@define
class Engine:
    """An engine in another process.

    Attributes:
        store: the URL of its store.
        port: on 127.0.0.1.
        environ: of the process.
    """

    store: str
    port: int
    environ: dict[str, str]
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/dashboard"

    def start(self) -> None:
        command = [sys.executable, str(Path(__file__).with_name("served.py")), self.store, str(self.port)]
        self.process = subprocess.Popen(  # noqa: S603 - of this repository
            command,
            stdout=subprocess.PIPE,
            env=os.environ | self.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "kinds")},
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"serving\n"

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def engine_on(folder: Path, **environ: str) -> Iterator[Engine]:
    engine = Engine(f"sqlite:///{folder / 'jobs.db'}", free_port(), environ)
    engine.start()
    try:
        yield engine
    finally:
        engine.kill()

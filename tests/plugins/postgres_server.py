"""A PostgreSQL server for the tests: `PERDURE_TEST_POSTGRES`, or a private cluster of the binaries on this machine.

Without either the tests that need one are skipped, in one line of the summary that says how many; with
`PERDURE_POSTGRES=required` they fail, and with `PERDURE_POSTGRES=none` they are skipped.
"""

from __future__ import annotations

import atexit
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path
from typing import Self

import pytest

_FIX = "apt-get install postgresql, or set PERDURE_TEST_POSTGRES to the URL of a database for tests"
_MISSING = "NO POSTGRESQL"
_FAST = "-c fsync=off -c max_connections=200 -c listen_addresses='' -c autovacuum_naptime=5"


def binaries() -> Path | None:
    """Return the newest folder with the programs of a server."""
    on_path = shutil.which("initdb")
    found = [
        *sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version),
        *([Path(on_path)] if on_path else []),
    ]
    return found[-1].resolve().parent if found else None


def _version(initdb: Path) -> int:
    return int(initdb.parent.parent.name) if initdb.parent.parent.name.isdigit() else 0


def needed_programs() -> Path:
    """Return the folder of the programs; skip the test without them, in one place, so that the summary counts it."""
    how = os.environ.get("PERDURE_POSTGRES")
    programs = None if how == "none" else binaries()
    if programs is None and how == "required":
        pytest.fail(f"no PostgreSQL on this machine: {_FIX}")
    if programs is None:
        pytest.skip(f"{_MISSING}: the PostgreSQL store is not tested; {_FIX}")
    return programs


@cache
def running_server() -> str:
    """Return the URL of a database in which the caller may create schemas and roles, on a server of this process."""
    given = os.environ.get("PERDURE_TEST_POSTGRES")
    if given:
        return given
    cluster = PrivateCluster(needed_programs())
    cluster.__enter__()
    atexit.register(cluster.__exit__)
    return cluster.url


@pytest.fixture
def postgres_url() -> str:
    """The URL of a database in which the caller may create schemas and roles."""
    return running_server()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Report all skipped tests at one line, so that the summary shows their number."""
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple) and _MISSING in report.longrepr[2]:
        report.longrepr = (__file__, 0, report.longrepr[2])
    return report


@pytest.fixture(scope="module")
def postgres_cluster() -> Iterator[PrivateCluster]:
    """A server that the tests of a module may stop, with a role ``guarded`` that needs the password ``right``."""
    with PrivateCluster(needed_programs()) as cluster:
        yield cluster


class PrivateCluster:
    """A server with an empty database in a temporary folder, on a Unix socket there.

    A watcher stops the server and deletes the folder when this process ends, also by a SIGKILL: it waits for the end of
    a pipe.

    Args:
        programs: the folder of ``initdb`` and ``pg_ctl``.
        options: further options of the server.
    """

    def __init__(self, programs: Path, options: str = _FAST) -> None:
        self._programs = programs
        self._options = options
        self._folder = Path(tempfile.mkdtemp(prefix="perdure-pg-"))
        self.url = f"postgresql://postgres@/postgres?host={self._folder}"
        self._watcher: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        if os.geteuid() == 0:  # the server refuses to run as root
            shutil.chown(self._folder, "postgres", "postgres")
        self._folder.chmod(0o755)
        self._watcher = self._watch()
        self._make()
        self.start()
        return self

    def _make(self) -> None:
        self._run("initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "-N")
        rules = Path(self._data, "pg_hba.conf")
        rules.write_text(f"local all guarded scram-sha-256\n{rules.read_text(encoding='utf-8')}", encoding="utf-8")

    def __exit__(self, *_: object) -> None:
        assert self._watcher is not None
        self._watcher.communicate()

    def _watch(self) -> subprocess.Popen[bytes]:
        stop = shlex.join(self._command("pg_ctl", "-D", self._data, "-w", "-m", "immediate", "stop"))
        script = f"cat; {stop}; rm -rf {shlex.quote(str(self._folder))}"
        return subprocess.Popen(  # noqa: S603 - as above
            ["/bin/sh", "-c", script],
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a signal to the group of pytest does not end it
        )

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        options = f"-k {self._folder} {self._options}"
        self._run("pg_ctl", "-D", self._data, "-w", "-l", f"{self._folder}/log", "-o", options, "start")

    def stop(self, mode: str) -> None:
        """Stop the server: ``fast``, or ``immediate`` as a crash."""
        self._run("pg_ctl", "-D", self._data, "-w", "-m", mode, "stop")

    def kill(self) -> None:
        """Kill the server with SIGKILL: its processes end with it."""
        pid = int(Path(self._data, "postmaster.pid").read_text(encoding="utf-8").splitlines()[0])
        os.kill(pid, signal.SIGKILL)

    @property
    def _data(self) -> str:
        return f"{self._folder}/data"

    def _run(self, program: str, *arguments: str) -> None:
        command = self._command(program, *arguments)
        done = subprocess.run(  # noqa: S603 - a program of the server
            command, cwd="/", capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"

    def _command(self, program: str, *arguments: str) -> list[str]:
        command = [str(self._programs / program), *arguments]
        if os.geteuid() == 0:
            command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]
        return command


class Replica(PrivateCluster):
    """A replica of another server, which can be promoted.

    Args:
        programs: as for `PrivateCluster`.
        options: as for `PrivateCluster`.
        primary: the port of the other server, on 127.0.0.1.
    """

    def __init__(self, programs: Path, options: str, primary: int) -> None:
        super().__init__(programs, options)
        self._primary = primary

    def _make(self) -> None:
        server = f"host=127.0.0.1 port={self._primary} user=postgres"
        self._run("pg_basebackup", "-D", self._data, "-d", server, "-R", "-X", "stream", "-c", "fast")

    def promote(self) -> None:
        """Make it a primary."""
        self._run("pg_ctl", "-D", self._data, "-w", "promote")


class ReplicatedCluster:
    """A primary and its streaming replica, on ports of this machine.

    Args:
        programs: as for `PrivateCluster`.
        synchronous: the setting ``synchronous_standby_names`` of the primary: empty to acknowledge without the replica.
    """

    def __init__(self, programs: Path, *, synchronous: str = "*") -> None:
        self.ports = free_port(), free_port()
        first, second = (
            f"-c fsync=off -c max_connections=100 -c listen_addresses=127.0.0.1 -c port={port}" for port in self.ports
        )
        self.primary = PrivateCluster(programs, f"{first} -c synchronous_standby_names='{synchronous}'")
        self.replica = Replica(programs, second, self.ports[0])

    @property
    def url(self) -> str:
        """Reaches whichever is the primary."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        return f"postgresql://postgres@{hosts}/postgres?target_session_attrs=read-write"

    @property
    def replica_url(self) -> str:
        """Reaches the replica."""
        return f"postgresql://postgres@127.0.0.1:{self.ports[1]}/postgres"

    def __enter__(self) -> Self:
        self.primary.__enter__()
        self.replica.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self.replica.__exit__(*raised)
        self.primary.__exit__(*raised)


def free_port() -> int:
    """Return a port of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])

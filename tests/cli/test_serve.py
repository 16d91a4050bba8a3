"""``perdure run`` and ``perdure serve`` listen: on the socket beside the file, and on TCP."""

import asyncio
import http.client
import json
import re
import signal
import socket
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from perdure.cli.commands import run_command
from perdure.cli.run import Options, _dashboard, _metrics, _socket
from perdure.remote import connect
from perdure.server.addresses import UnixBind
from perdure.stores.sqlite.files import owner_socket

SHOP = """
from perdure import App, Do, Task, TaskContext, program
from perdure.programs import sleep

@program
def wait(ctx: TaskContext[int], event: int) -> Do[None]:
    print("waiting", flush=True)
    yield from sleep(f"{event} ms")
    yield from ctx.set_state(event)

counter = Task("counter", state=int, event=int, initial=0, on_event=wait)
app = App(None).with_jobs(counter)
"""
RUN = ("run", "shop:app", "--store", "sqlite:///jobs.db")


@pytest.fixture(autouse=True)
def shop(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)


class OverUnix(http.client.HTTPConnection):
    """An HTTP connection to a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self.path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self.path)


def live(connection: http.client.HTTPConnection) -> int:
    """Ask whether the server lives; the connection stays open."""
    connection.request("GET", "/live")
    answer = connection.getresponse()
    answer.read()
    return answer.status


def test_an_engine_listens_beside_its_file_and_notifies_systemd(start, tmp_path):
    path, notify = tmp_path / "jobs.db.sock", tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(notify))
        systemd.settimeout(60)
        command = start(*RUN, NOTIFY_SOCKET=str(notify), WATCHDOG_USEC="200000")
        notified = systemd.recv(1_000)
        while notified == b"WATCHDOG=1":
            notified = systemd.recv(1_000)
        assert notified == b"READY=1\nSTATUS=serving 1 job (task:counter) on sqlite:///jobs.db"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        idle = OverUnix(path)
        assert live(idle) == 200
        assert command.line("listening") == f"perdure: listening on http+unix://{path}"
        assert systemd.recv(1_000) == b"WATCHDOG=1"
        command.signal(signal.SIGTERM)
        while (notified := systemd.recv(1_000)) == b"WATCHDOG=1":
            pass
        assert notified == b"STOPPING=1\nSTATUS=waiting for runs"
    assert command.end() == 0  # although a client keeps its connection
    idle.close()
    assert not path.exists()


def test_a_standby_listens_when_it_has_taken_over(start, tmp_path):
    path = tmp_path / "jobs.db.sock"
    owner = start(*RUN)
    owner.line("listening")
    standby = start(*RUN, "--standby")
    standby.line("waiting for the lock")
    before = path.stat().st_ino
    owner.signal(signal.SIGKILL)
    standby.line("listening")  # in the place of the socket that the owner left
    assert path.stat().st_ino != before
    connection = OverUnix(path)
    assert live(connection) == 200
    connection.close()


def test_serve_listens_on_tcp_and_a_memory_store_has_no_socket(start, tmp_path):
    before = set(tmp_path.iterdir())
    command = start("serve", "shop:app", "--store", "memory://", "--bind", "127.0.0.1:0", "--bind", "localhost:0")
    line = command.line("listening")
    ports = re.findall(r"http://[a-z0-9.]+:([0-9]+)", line)
    assert len(ports) == 2
    for port in ports:
        connection = http.client.HTTPConnection("127.0.0.1", int(port))
        assert live(connection) == 200
        connection.close()
    assert {path.name for path in set(tmp_path.iterdir()) - before} <= {"stderr-0", "__pycache__"}
    command.signal(signal.SIGTERM)
    assert command.end() == 0


def test_clients_of_the_file_reach_its_next_owner(start, tmp_path):
    """They connect before the engine starts, and continue after it was killed."""

    async def scenario() -> None:
        async with connect(f"sqlite:///{tmp_path}/jobs.db", draw_keys=True) as jobs:
            counter = jobs.handle_by_name("task", "counter")
            for event in ("1", "2"):
                call = asyncio.ensure_future(counter.call("send", "a", event))
                owner = await asyncio.to_thread(start, *RUN)
                await call
                assert await counter.get_state("a") == int(event)
                owner.signal(signal.SIGKILL)
                await asyncio.to_thread(owner.end)

    asyncio.run(scenario())


def test_an_owner_that_hangs_sends_no_sign_of_life(start, tmp_path):
    """The watchdog of systemd then ends it with SIGABRT, and the journal shows where it hung."""
    hanging = SHOP.replace(
        "@program", "def hang(ctx, event):\n    print('hangs', flush=True)\n    time.sleep(3_600)\n\n@program"
    )
    (tmp_path / "shop.py").write_text(f"import time\n{hanging}".replace("on_event=wait", "on_event=hang"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        owner = start(*RUN, NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="500000", PYTHONFAULTHANDLER="1")
        owner.line("listening")
        client = OverUnix(tmp_path / "jobs.db.sock")
        client.request("POST", "/v1/jobs/task/counter/instances/a/send", body="1")
        owner.line("hangs")
        systemd.settimeout(0.5)
        with suppress(TimeoutError):
            while systemd.recv(1_000):  # sent before
                pass
        with pytest.raises(TimeoutError):
            systemd.recv(1_000)
    owner.signal(signal.SIGABRT)
    assert owner.end() == -signal.SIGABRT
    client.close()
    assert "in hang" in owner.error


def test_a_stop_answers_requests_in_progress_and_refuses_the_rest(start, tmp_path):
    command = start(*RUN)
    command.line("listening")
    waiting, idle = OverUnix(tmp_path / "jobs.db.sock"), OverUnix(tmp_path / "jobs.db.sock")
    assert live(idle) == 200
    waiting.request("POST", "/v1/jobs/task/counter/instances/a/send", body="300")
    command.line("waiting")
    command.signal(signal.SIGTERM)
    command.line("stopping")
    answer = waiting.getresponse()
    assert (answer.status, json.loads(answer.read())["created"]) == (200, True)
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        live(idle)
    waiting.close()
    idle.close()
    assert not (tmp_path / "jobs.db.sock").exists()
    assert command.end() == 0


def test_a_socket_that_cannot_be_bound_is_named_and_can_be_left_out(start, tmp_path):
    (tmp_path / "jobs.db.sock").write_text("precious")
    command = start(*RUN)
    assert command.end() == 2
    assert f"cannot listen on unix:{tmp_path}/jobs.db.sock: that path is no socket; move it" in command.error
    assert "or pass --no-socket" in command.error
    command = start(*RUN, "--no-socket")
    command.line("serving")
    command.signal(signal.SIGTERM)
    assert command.end() == 0
    assert (tmp_path / "jobs.db.sock").read_text() == "precious"


def test_without_the_extra_a_worker_serves_and_does_not_listen(start, tmp_path):
    (tmp_path / "absent").mkdir()
    (tmp_path / "absent" / "sitecustomize.py").write_text("import sys\nsys.modules['uvicorn'] = None\n")
    command = start(*RUN, PYTHONPATH=str(tmp_path / "absent"))
    command.line("not listening: pip install 'perdure[server]'")
    command.line("serving")
    command.signal(signal.SIGTERM)
    assert command.end() == 0
    command = start(*RUN, "--bind", "127.0.0.1:0", PYTHONPATH=str(tmp_path / "absent"))
    assert command.end() == 2
    assert "listening on 127.0.0.1:0 needs starlette and uvicorn; install them with: " in command.error
    assert "engine started" not in command.error


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--bind", "0.0.0.0:8080"), "other machines can reach this address and no token is required"),
        (("--bind", "8080"), "bind: expected 'host:port' such as '127.0.0.1:8080'"),
    ],
)
def test_an_address_is_checked_before_the_app_is_imported(options, says, capsys):
    assert run_command(["serve", "no_such_module:app", "--store", "memory://", *options]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(("option", "expected"), [((), 200), (("--no-dashboard",), 404)])
def test_serve_shows_the_dashboard_and_says_where(start, option, expected):
    command = start("serve", "shop:app", "--store", "memory://", "--bind", "127.0.0.1:0", *option)
    line = command.line("listening" if option else "dashboard at")
    port = int(re.findall(r"http://127.0.0.1:([0-9]+)", line)[0])
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/dashboard")
    answer = connection.getresponse()
    assert (answer.status, b"Overview" in answer.read()) == (expected, expected == 200)
    assert option or line.endswith(f"http://127.0.0.1:{port}/dashboard")
    connection.close()
    command.signal(signal.SIGTERM)
    assert command.end() == 0


def test_serve_exposes_metrics_by_default(start):
    served = start("serve", "shop:app", "--store", "sqlite:///jobs.db", "--bind", "127.0.0.1:0")
    port = re.findall(r"http://127.0.0.1:([0-9]+)", served.line("listening"))[0]
    connection = http.client.HTTPConnection("127.0.0.1", int(port))
    connection.request("GET", "/metrics")
    assert b"perdure_store_up 1.0" in connection.getresponse().read()
    connection.close()
    printed = start("metrics", "--store", "sqlite:///jobs.db")
    assert printed.end() == 0
    assert 'perdure_runs_total{job_name="counter",kind="task",outcome="failed"} 0.0' in printed.seen


@pytest.mark.parametrize("options", [("serve", "--bind", "127.0.0.1:0", "--no-metrics"), ("run",)])
def test_an_engine_counts_no_metrics_if_it_is_told_so_or_has_no_address(start, options):
    command, *further = options
    start(command, "shop:app", "--store", "sqlite:///jobs.db", *further).line("listening")
    refused = start("metrics", "--store", "sqlite:///jobs.db")
    assert refused.end() == 3
    assert "pass --metrics to 'perdure run'" in refused.error


def test_run_counts_metrics_if_it_is_told_so_and_an_app_declares_them_once(start, tmp_path):
    declared = SHOP.replace("with_jobs(counter)", "with_jobs(counter).with_sinks(prometheus(name='mine'))")
    (tmp_path / "declared.py").write_text(f"from perdure.telemetry.prometheus import prometheus\n{declared}")
    for module in ("shop", "declared"):
        command = start("run", f"{module}:app", "--store", "sqlite:///jobs.db", "--metrics")
        command.line("listening")
        printed = start("metrics", "--store", "sqlite:///jobs.db")
        assert printed.end() == 0
        command.signal(signal.SIGTERM)
        assert command.end() == 0


def test_a_port_in_use_is_refused_before_the_store_is_opened(start, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        worker = start("serve", *RUN[1:], "--bind", f"127.0.0.1:{other.getsockname()[1]}")
        assert worker.end() == 2, worker.story
    assert "Address already in use" in worker.error
    assert not (tmp_path / "jobs.db").exists()


@pytest.mark.parametrize("store", ["sqlite:///jobs.db", "memory://", "postgresql://host/db"])
@pytest.mark.parametrize("asked", [True, False])
def test_an_engine_listens_beside_its_file_unless_you_say_no(store, asked):
    expected = owner_socket("jobs.db") if asked and store.startswith("sqlite") else None
    assert _socket(Options(store=store, socket=asked)) == expected


@pytest.mark.parametrize("asked", [None, True, False])
@pytest.mark.parametrize("binds", [(), (UnixBind("/s"),)], ids=["none", "one"])
def test_an_engine_that_listens_has_metrics_if_the_package_is_there(asked, binds):
    pytest.importorskip("prometheus_client")
    assert _metrics(Options(store="memory://", metrics=asked), binds) is (bool(binds) if asked is None else asked)


@pytest.mark.parametrize("asked", [None, True, False])
def test_an_engine_has_the_dashboard_if_the_package_is_there(asked):
    pytest.importorskip("htpy")
    assert _dashboard(Options(store="memory://", dashboard=asked)) is (asked is not False)

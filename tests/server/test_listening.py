"""Serving an application on real sockets: where it listens, and how it stops."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.remote.servers import server_url
from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.runtime.record import Runtime
from perdure.server import listening as unix_sockets
from perdure.server.addresses import MAX_BINDS, TcpBind, is_local, parse_bind
from perdure.server.listening import CLIENT_GRACE_MS, AsgiApp, Listening, check_free, listening, unix_socket
from perdure.stores.sqlite import files as owner_sockets
from perdure.stores.sqlite.files import owner_socket, short_path
from perdure.values.errors import DefinitionError, ListenFailed

GET = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"
LARGE = 64 * 1_024 * 1_024


@attrs.define
class Application:
    """Answers with its name; on request later, or with a large body, or after the body of the request."""

    began: asyncio.Event = attrs.Factory(asyncio.Event)
    answer: asyncio.Event = attrs.Factory(asyncio.Event)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.began.set()
        body = b"served"
        if scope["path"] == "/later":
            await self.answer.wait()
        elif scope["path"] == "/large":
            body = bytes(LARGE)
        elif scope["path"] == "/body":
            while (await receive()).get("more_body"):
                pass
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(120):
            await scenario()

    asyncio.run(limited())


async def opened(bound: Listening) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    (bind,) = bound.binds
    if isinstance(bind, TcpBind):
        return await asyncio.open_connection(bind.host, bind.port)
    with short_path(bind.path) as short:
        return await asyncio.open_unix_connection(short)


async def asked(bound: Listening, request: bytes = GET) -> bytes:
    reader, writer = await opened(bound)
    writer.write(request.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
    try:
        return await reader.read()
    finally:
        writer.close()


def request(path: str) -> bytes:
    return GET.replace(b" / ", b" %s " % path.encode())


# ---------------------------------------------------------------- where it listens
@pytest.mark.parametrize("bind", ["127.0.0.1:0", "[::1]:0", "localhost:0"])
def test_it_serves_tcp(bind: str) -> None:
    async def scenario() -> None:
        async with listening(Application(), [bind]) as bound:
            answer = await asked(bound)
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert answer.endswith(b"\r\n\r\nserved")
            assert b"\r\ndate: " in answer
            assert bound.urls[0].startswith(f"http://{bind[:-1]}")
            assert not bound.urls[0].endswith(":0")

    run(scenario)


@pytest.mark.parametrize("folder", ["", "a folder/" + "deep/" * 40])
def test_it_serves_a_unix_socket_of_any_depth(tmp_path: Path, folder: str) -> None:
    path = tmp_path / folder / "jobs.db.sock"
    path.parent.mkdir(parents=True, exist_ok=True)

    async def scenario() -> None:
        async with listening(Application(), [f"unix:{path}"]) as bound:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert (await asked(bound)).endswith(b"served")
        assert list(path.parent.iterdir()) == []

    run(scenario)


def test_a_unix_socket_is_private_from_the_first_moment(tmp_path: Path) -> None:
    """It is bound in a folder that no other user can enter, and has its mode before it has its path."""
    seen: list[tuple[int, int]] = []

    class Listener(socket.socket):
        def listen(self, backlog: int = 0, /) -> None:
            (folder,) = tmp_path.iterdir()
            (bound,) = folder.iterdir()
            seen.append((stat.S_IMODE(folder.stat().st_mode), stat.S_IMODE(bound.stat().st_mode)))
            super().listen(backlog)

    path = str(tmp_path / "s.sock")
    listener = Listener(socket.AF_UNIX, socket.SOCK_STREAM)
    unix_sockets._bind(listener, path, 1)
    listener.close()
    assert seen == [(0o700, 0o600)]


def test_without_proc_a_deep_folder_is_reached_through_a_link(tmp_path: Path) -> None:
    folder = tmp_path / ("deep/" * 40)
    folder.mkdir(parents=True)
    through_link = owner_sockets._through_link(str(folder / "s"))
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client, through_link as short:
        listener.bind(short)
        listener.listen(1)
        client.connect(short)
    assert (folder / "s").is_socket()
    assert not Path(short).parent.exists()


def test_a_file_has_one_socket_by_all_its_links(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real" / "other.db").symlink_to("jobs.db")
    assert owner_socket(tmp_path / "link" / "other.db") == str(tmp_path / "real" / "jobs.db.sock")
    assert len(Path(owner_socket(tmp_path / ("é" * 100))).name) < 80


def test_a_socket_of_a_dead_process_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db.sock"
    code = f"import os, socket; s = socket.socket(socket.AF_UNIX); s.bind({str(path)!r}); s.listen(); os._exit(0)"
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own code
    assert path.is_socket()

    async def scenario() -> None:
        async with listening(Application(), [f"unix:{path}"]) as bound:
            assert (await asked(bound)).endswith(b"served")

    run(scenario)


def test_a_live_socket_is_never_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "jobs.db.sock")
    with unix_socket(path, backlog=0) as live:
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for client in waiting:  # also when it accepts no more connections
            client.settimeout(0)
            client.connect_ex(path)
        with pytest.raises(ListenFailed, match="a process listens there; stop it"), unix_socket(path, backlog=1):
            pass
        accepted, _ = live.accept()
        for each in (*waiting, accepted):
            each.close()
        assert Path(path).is_socket()


def test_a_process_that_is_dying_may_finish(tmp_path: Path) -> None:
    """The kernel may release the lock of a killed owner before its socket."""
    path = str(tmp_path / "jobs.db.sock")

    async def scenario() -> None:
        with ExitStack() as dying:
            dying.enter_context(unix_socket(path, backlog=1))
            next_one = listening(Application(), [f"unix:{path}"])
            serving = asyncio.ensure_future(next_one.__aenter__())
            await asyncio.sleep(0)  # it has looked
            assert not serving.done()
        assert (await asked(await serving)).endswith(b"served")
        await next_one.__aexit__(None, None, None)

    run(scenario)


def test_a_file_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "jobs.db.sock").write_text("precious")
    with (
        pytest.raises(ListenFailed, match="no socket; move it"),
        unix_socket(str(tmp_path / "jobs.db.sock"), backlog=1),
    ):
        pass
    assert (tmp_path / "jobs.db.sock").read_text() == "precious"


def test_the_socket_of_a_successor_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db.sock"
    with unix_socket(str(path), backlog=1):
        path.unlink()
        with unix_socket(str(path), backlog=1):
            pass
        path.write_text("of another process")
    assert path.exists()


def test_a_port_in_use_is_refused_and_says_so() -> None:
    async def scenario() -> None:
        async with listening(Application(), ["127.0.0.1:0"]) as bound:
            with pytest.raises(ListenFailed) as failed:
                async with listening(Application(), ["127.0.0.1:0", bound.binds[0]]):
                    pass
            assert failed.value.address == str(bound.binds[0])
            assert "Address already in use; stop the process that listens there" in str(failed.value)

    run(scenario)


def test_a_folder_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ListenFailed, match="No such file or directory"), unix_socket(f"{tmp_path}/a/b", backlog=1):
        pass


def test_addresses_are_bounded() -> None:
    async def scenario(count: int) -> None:
        async with listening(Application(), ["127.0.0.1:0"] * count) as bound:
            assert len(bound.binds) == count

    run(lambda: scenario(MAX_BINDS))
    for count in (0, MAX_BINDS + 1):
        with pytest.raises(DefinitionError, match="1 to 16 addresses"):
            run(lambda count=count: scenario(count))


FORKS = """
import asyncio, os, signal, sys, time
from perdure.server.listening import listening

async def answer(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})

async def main():
    async with listening(answer, [f"unix:{sys.argv[1]}", "127.0.0.1:0"]) as bound:
        print(bound.binds[1].port, flush=True)
        await asyncio.to_thread(sys.stdin.readline)  # a client has connected
        child = os.fork()
        if child == 0:
            time.sleep(3_600)
        print(child, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def test_a_forked_child_keeps_neither_addresses_nor_connections(tmp_path: Path) -> None:
    """A child of a service outlives the engine that was killed: the next engine listens where that one did."""
    path = tmp_path / "jobs.db.sock"
    command = [sys.executable, "-W", "ignore", "-c", FORKS, str(path)]
    server = subprocess.Popen(  # noqa: S603 - our own code
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdin is not None
    assert server.stdout is not None
    port, child = int(server.stdout.readline()), 0
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            client.sendall(GET)
            assert client.recv(1_000).startswith(b"HTTP/1.1 200")
            server.stdin.write("\n")
            server.stdin.flush()
            child = int(server.stdout.readline())
            server.kill()
            assert client.recv(1_000) == b""  # and not a wait until the child ends

        async def scenario() -> None:
            async with listening(Application(), [f"unix:{path}"]) as bound:
                assert (await asked(bound)).endswith(b"served")
            async with listening(Application(), [f"127.0.0.1:{port}"]) as bound:
                assert (await asked(bound)).endswith(b"served")

        run(scenario)
    finally:
        server.kill()
        if child:
            os.kill(child, signal.SIGKILL)
        server.communicate()


# ---------------------------------------------------------------- addresses
@given(text=st.text(max_size=20) | st.from_regex(r"\[?[a-f0-9:.]{1,8}\]?:[0-9]{0,6}", fullmatch=True))
def test_an_address_is_read_as_it_is_written_or_refused(text: str) -> None:
    try:
        bind = parse_bind(text)
    except DefinitionError:
        return
    assert parse_bind(str(bind)) == bind


@given(
    path=st.sampled_from(("jobs.sock", "run/../jobs.sock", "/run/jobs.sock", "a b/ü?#%41.sock")) | st.text(min_size=1)
)
def test_a_client_finds_the_socket_by_the_url_that_the_server_prints(path: str) -> None:
    """Also that of a relative path, from another folder."""
    try:
        bind = parse_bind(f"unix:{path}")
        url = bind.url
    except (DefinitionError, UnicodeEncodeError):
        return
    absolute = str(Path(path).absolute())
    if absolute != "/":
        assert server_url(url).socket == absolute


@pytest.mark.parametrize("text", ["8080", ":8080", "localhost", "::1:80", "[::1]", "a:65536", "a:-1", "a:1²", "unix:"])
def test_an_address_without_a_host_or_a_port_is_refused(text: str) -> None:
    with pytest.raises(DefinitionError, match="expected 'host:port' such as"):
        parse_bind(text)


@pytest.mark.parametrize(
    ("reached_from", "texts"),
    [
        ("here", ["127.0.0.1:80", "127.9.9.9:80", "localhost:80", "[::1]:80", "unix:/x"]),
        ("anywhere", ["0.0.0.0:80", "[::]:80", "192.168.0.1:80", "example.org:80"]),
    ],
)
def test_only_the_loopback_interface_is_local(reached_from: str, texts: list[str]) -> None:
    assert [is_local(parse_bind(text)) for text in texts] == [reached_from == "here"] * len(texts)


# ---------------------------------------------------------------- how it stops
@attrs.define
class Polls:
    """A clock that moves with the sleeps of a server alone, so that a busy machine makes no stop longer.

    Attributes:
        passed_ms: the sum of the sleeps.
    """

    passed_ms: float = 0.0

    async def sleep(self, ms: float) -> None:
        self.passed_ms += ms
        await asyncio.sleep(0.001)  # the sockets are read meanwhile

    def runtime(self) -> Runtime:
        return attrs.evolve(asyncio_runtime(), monotonic_ms=lambda: self.passed_ms, sleep=self.sleep)


async def stopped(
    app: AsgiApp, begin: Callable[[Listening], Awaitable[Any]], after: Callable[[], None] | None = None
) -> tuple[float, Any]:
    """Begin something with a server, stop it, and return how long the stop waited, with the result of the beginning."""
    polls = Polls()
    serving = listening(app, ["127.0.0.1:0"], runtime=polls.runtime())
    begun = await begin(await serving.__aenter__())
    started_ms = polls.passed_ms
    closing = asyncio.ensure_future(serving.__aexit__(None, None, None))
    if after is not None:
        await asyncio.sleep(0)
        after()
    await closing
    return polls.passed_ms - started_ms, begun


def test_a_request_in_progress_is_answered() -> None:
    async def scenario() -> None:
        app = Application()

        async def begin(bound: Listening) -> asyncio.Task[bytes]:
            asking = asyncio.ensure_future(asked(bound, request("/later")))
            await app.began.wait()
            return asking

        _, asking = await stopped(app, begin, after=app.answer.set)
        assert (await asking).endswith(b"served")

    run(scenario)


@pytest.mark.parametrize("sent", [b"", GET, b"GET / HTTP/1.1\r\nhost: loc"], ids=["nothing", "a request", "a part"])
def test_an_idle_connection_does_not_hold_the_stop(sent: bytes) -> None:
    async def scenario() -> None:
        async def begin(bound: Listening) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            reader, writer = await opened(bound)
            writer.write(sent)
            if sent == GET:
                await reader.readuntil(b"served")
            else:
                await asked(bound)  # the server has accepted the other connection by now
            return reader, writer

        waited_ms, (reader, writer) = await stopped(Application(), begin)
        assert waited_ms < CLIENT_GRACE_MS / 2
        assert await reader.read() == b""
        writer.close()

    run(scenario)


@pytest.mark.parametrize("path", ["/large", "/body"], ids=["reads slowly", "writes slowly"])
def test_a_slow_client_does_not_hold_the_stop(path: str) -> None:
    async def scenario() -> None:
        app = Application()

        async def begin(bound: Listening) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            reader, writer = await opened(bound)
            writer.write(request(path).replace(b"\r\n\r\n", b"\r\ncontent-length: 1000\r\n\r\n"))
            await app.began.wait()
            return reader, writer

        waited_ms, (_, writer) = await stopped(app, begin)
        assert CLIENT_GRACE_MS <= waited_ms < 2 * CLIENT_GRACE_MS
        writer.transport.abort()

    run(scenario)


def test_a_request_that_is_not_answered_in_time_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        app = Application()
        async with listening(app, ["127.0.0.1:0"], shutdown_timeout="50 ms") as bound:
            asking = asyncio.ensure_future(asked(bound, request("/later")))
            await app.began.wait()
        assert await asking == b""
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(scenario)
    assert caplog.records == []


class Names(asyncio.SelectorEventLoop):
    """Resolves each name to the same addresses."""

    def __init__(self, addresses: tuple[str, ...]) -> None:
        super().__init__()
        self.addresses = addresses

    async def getaddrinfo(self, host: Any, port: Any, **_: Any) -> Any:
        """Resolve each name."""
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in self.addresses]


ELSEWHERE = ("240.0.0.1", "240.0.0.2")  # reserved: no machine has them


def bound_by(*addresses: str, port: int = 0) -> str:
    """Return why a name with these addresses cannot be listened on; nothing if it can."""
    with asyncio.Runner(loop_factory=partial(Names, addresses)) as runner:
        try:
            runner.run(check_free([TcpBind("name", port)]))
        except ListenFailed as error:
            return error.reason
    return ""


def test_a_name_needs_one_address_of_this_machine() -> None:
    assert bound_by("127.0.0.1", ELSEWHERE[0]) == bound_by(ELSEWHERE[0], "127.0.0.1") == ""
    assert bound_by(*ELSEWHERE) == "none of its addresses belongs to this machine"
    assert bound_by(ELSEWHERE[0]).endswith("; choose another address")


def test_a_name_is_refused_if_one_of_its_addresses_is_in_use() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.2", 0))
        other.listen()
        reason = bound_by("127.0.0.1", "127.0.0.2", port=other.getsockname()[1])
    assert reason.endswith("; stop the process that listens there, or choose another port")


def test_a_hurried_stop_waits_for_no_run() -> None:
    async def scenario() -> None:
        app = Application()
        async with listening(app, ["127.0.0.1:0"]) as bound:
            asking = asyncio.ensure_future(asked(bound, request("/later")))
            await app.began.wait()
            bound.hurry()
        assert await asking == b""

    run(scenario)


def test_without_the_extra_it_names_the_package_to_install(tmp_path: Path) -> None:
    code = """
import asyncio, sys
sys.modules["uvicorn"] = None
from perdure.server.listening import listening

async def main():
    async with listening(None, ["127.0.0.1:0"]):
        pass

asyncio.run(main())
"""
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own code
    assert "ListenFailed" in ended.stderr
    assert "pip install 'perdure[server]'" in ended.stderr

"""Serves an ASGI application on sockets, in the running event loop, without its own signal handlers.

A Unix socket is private from the first moment, and never replaces a live one.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, MutableMapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from email.utils import formatdate
from pathlib import Path
from ssl import SSLContext
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs

from perdure.runtime.record import Runtime
from perdure.server.addresses import HANDSHAKE_TIMEOUT_S, MAX_BINDS, Bind, TcpBind, UnixBind, parse_bind
from perdure.stores.sqlite.files import guard_fork, short_path
from perdure.values.errors import DefinitionError, ListenFailed
from perdure.values.times import Duration, duration_ms

if TYPE_CHECKING:
    from uvicorn.server import ServerState


def unread_bytes(transport: asyncio.WriteTransport | None) -> int:
    """Return how many bytes a transport holds. 0 for one that is closed.

    asyncio's TLS transport raises `AttributeError` once it was closed twice.
    """
    if transport is None:
        return 0
    try:
        return transport.get_write_buffer_size()
    except AttributeError:
        return 0


PRIVATE = 0o600


@contextmanager
def unix_socket(path: str, *, backlog: int) -> Generator[socket.socket]:
    """Yield a socket that listens on a path, with mode 0600. At the block's end, the path is removed.

    It is bound in a private folder and renamed when it listens: nobody else can connect meanwhile, and a client
    finds the old socket or the new one. A socket that a process left when it died is replaced.

    Args:
        path: the path. It need not be short.
        backlog: connections that wait to be accepted.

    Raises:
        ListenFailed: a process listens on that path, it is no socket, or its folder cannot be written to.
    """
    owner = os.getpid()
    path = str(Path(path).absolute())  # of this moment's working directory
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            _refuse_a_live_one(path)
            identity = _bind(listener, path, backlog)
        except OSError as error:
            raise ListenFailed(f"unix:{path}", error.strerror or str(error)) from error
        try:
            yield listener
        finally:
            if os.getpid() == owner:  # and not in a forked child
                _remove(path, identity)
    finally:
        listener.close()


def _bind(listener: socket.socket, path: str, backlog: int) -> tuple[int, int]:
    """Bind, listen, and move the socket to its path. Return its device and inode."""
    # Private folder: until the mode is set, another user could connect.
    private = tempfile.mkdtemp(prefix=".perdure-", dir=Path(path).parent)  # mode 0700
    hidden = str(Path(private) / "s")
    try:
        with short_path(hidden) as short:
            listener.bind(short)
        Path(hidden).chmod(PRIVATE)
        listener.listen(backlog)
        # Before the rename: the identity of this socket, and not of one that replaced it.
        status = os.lstat(hidden)
        Path(hidden).rename(path)
    # An interrupt must not leave a hidden socket, which no later start removes.
    except BaseException:
        with suppress(OSError):
            Path(hidden).unlink()
        raise
    finally:
        Path(private).rmdir()
    return status.st_dev, status.st_ino


def _refuse_a_live_one(path: str) -> None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise ListenFailed(f"unix:{path}", "that path is no socket; move it, or choose another path")
    if is_live(path):
        raise ListenFailed(f"unix:{path}", "a process listens there; stop it, or choose another path")


def is_live(path: str) -> bool:
    """Return whether a process listens on a path. Its backlog may be full.

    Raises:
        OSError: the path cannot be searched, or belongs to another user.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, short_path(path) as short:
        # Without waiting: a full backlog answers immediately as well.
        probe.settimeout(0)
        try:
            probe.connect(short)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except BlockingIOError:
            return True
    return True


def _remove(path: str, identity: tuple[int, int]) -> None:
    """Remove the path if it is still ours: another process may have replaced it."""
    with suppress(OSError):
        status = os.lstat(path)
        if (status.st_dev, status.st_ino) == identity:
            Path(path).unlink()


AsgiApp: TypeAlias = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]
"""An ASGI application."""

CreateProtocol: TypeAlias = Callable[..., asyncio.Protocol]
"""Creates a connection's protocol: ``(config, server_state, app_state, _loop)``, as uvicorn calls it."""

BACKLOG: Final = 1_024
"""Connections that wait to be accepted, for each address."""

CLIENT_GRACE_MS: Final = 1_000
"""How long a stop waits for a client that does not send the rest of its request or read its response."""

CLOSING: Final = "perdure.closing"
"""The key in a request's scope for a function that returns whether the server stops."""

_POLL_MS: Final = 20
_DYING_MS: Final = 1_000


@attrs.define
class _Requests:
    """The application, with the requests in progress. It adds ``Date`` to responses (RFC 9110, section 6.6.1)."""

    app: AsgiApp
    runtime: Runtime
    ended_ms: float = 0.0
    _tasks: set[asyncio.Task[Any]] = attrs.Factory(set[asyncio.Task[Any]])
    closing: bool = False
    _cancelled: bool = False
    _date: tuple[int, bytes] = (-1, b"")

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        async def send_dated(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (b"date", self._today())]}
            await send(message)

        scope[CLOSING] = lambda: self.closing
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        self._tasks.add(task)
        try:
            await self.app(scope, receive, send_dated)
        except asyncio.CancelledError:
            # Only this server's own cancellation ends here. Any other belongs to the event loop.
            if not self._cancelled:
                raise
        finally:
            self._tasks.discard(task)
            self.ended_ms = self.runtime.monotonic_ms()

    @property
    def busy_ms(self) -> float:
        """When the last request was in progress, on the monotonic clock: now, or when it ended."""
        return self.runtime.monotonic_ms() if self._tasks else self.ended_ms

    def _today(self) -> bytes:
        now_s = self.runtime.now_ms() // 1_000
        # Once a second: formatting the date costs more than the rest of a small response.
        if now_s != self._date[0]:
            self._date = now_s, formatdate(now_s, usegmt=True).encode()
        return self._date[1]

    async def cancel(self, patience_ms: int) -> None:
        """Cancel the requests whose connections were closed."""
        self._cancelled = True
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=patience_ms / 1_000)


@attrs.define(eq=False)
class HeldSockets:
    """Sockets that listen until the process ends, whether a server accepts their connections or none does.

    Between two servers a connection waits in the socket's queue: its client is not refused.
    """

    _listeners: dict[Bind, list[tuple[Bind, socket.socket]]] = attrs.Factory(
        dict[Bind, list[tuple[Bind, socket.socket]]]
    )
    _sockets: ExitStack = attrs.Factory(ExitStack)

    def __attrs_post_init__(self) -> None:
        guard_fork(self)

    async def of(self, bind: Bind, runtime: Runtime) -> list[tuple[Bind, socket.socket]]:
        """Return the sockets of an address. The first call listens on it."""
        if bind not in self._listeners:
            self._listeners[bind] = await _listeners(bind, self._sockets, runtime)
        return self._listeners[bind]

    @contextmanager
    def calling(self, act: Callable[[], None]) -> Generator[None]:
        """Call a function when a connection waits, within the block. No server accepts connections meanwhile."""
        loop, sockets = asyncio.get_running_loop(), [one for found in self._listeners.values() for _, one in found]
        for one in sockets:
            loop.add_reader(one, act)
        try:
            yield
        finally:
            for one in sockets:
                loop.remove_reader(one)

    def leave(self) -> None:
        """Close the sockets in a forked child."""
        for found in self._listeners.values():
            for _, one in found:
                one.close()

    def close(self) -> None:
        """Listen no more. Connections that wait are reset."""
        self._sockets.close()


@attrs.define(eq=False)
class Listening:
    """A server that listens.

    Attributes:
        binds: the addresses, with the ports that the system chose.
    """

    binds: tuple[Bind, ...]
    _state: ServerState
    _runtime: Runtime
    _requests: _Requests
    _listeners: tuple[socket.socket, ...]
    _sockets: ExitStack
    _tls: bool = False
    _hurried: bool = False

    @property
    def urls(self) -> tuple[str, ...]:
        """The addresses' URLs."""
        urls = ((bind.url, self._tls and isinstance(bind, TcpBind)) for bind in self.binds)
        return tuple(f"https{url.removeprefix('http')}" if secure else url for url, secure in urls)

    @property
    def busy_ms(self) -> float:
        """When the last request was in progress, on the monotonic clock."""
        return self._requests.busy_ms

    def hurry(self) -> None:
        """Stop without waiting for requests in progress: the server closes their connections."""
        self._hurried = True

    async def close(self, drain_ms: int) -> None:
        """Stop: accept no connections, close idle ones, and wait until requests in progress are answered.

        Args:
            drain_ms: how long to wait for them.
        """
        # First no new connections: the following steps see the last ones.
        self._sockets.close()
        self._requests.closing = True
        for connection in tuple(self._state.connections):
            connection.shutdown()
        await self._drain(self._runtime.monotonic_ms() + drain_ms)
        for connection in tuple(self._state.connections):
            _abort(connection)
        await self._runtime.sleep(0)  # the protocols learn that their connections are lost
        await self._requests.cancel(CLIENT_GRACE_MS)

    def leave(self) -> None:
        """Close all sockets in a forked child: an address and a connection end with the process that serves them."""
        for own in (*self._listeners, *(_socket_of(connection) for connection in self._state.connections)):
            if own is not None:
                own.close()

    async def _drain(self, deadline_ms: float) -> None:
        """Poll, because uvicorn's protocols do not report a request's end."""
        waiting_since: dict[Any, float] = {}
        while self._state.connections and not self._hurried:
            now_ms = self._runtime.monotonic_ms()
            # `>=`: with a drain of 0 nothing is waited for.
            if now_ms >= deadline_ms:
                return
            waiting_since = {
                connection: waiting_since.get(connection, now_ms)
                for connection in self._state.connections
                if _waits_for_client(connection)
            }
            # A client that does nothing must not use up the time of those whose requests are in progress.
            for connection, since_ms in waiting_since.items():
                if now_ms - since_ms >= CLIENT_GRACE_MS:
                    _abort(connection)
            await self._runtime.sleep(_POLL_MS)


@asynccontextmanager
async def listening(
    app: AsgiApp,
    binds: Sequence[str | Bind],
    /,
    *,
    shutdown_timeout: Duration = "30 seconds",
    protocol: CreateProtocol | None = None,
    runtime: Runtime | None = None,
    tls: SSLContext | None = None,
    held: HeldSockets | None = None,
) -> AsyncGenerator[Listening]:
    """Serve an ASGI application within the block.

    Use it inside ``async with app.open(store) as jobs:``. At the block's end the server accepts no connections, closes
    idle ones, and waits for requests in progress. It waits one second for a client that does not send the rest of its
    request or read its response. The application's lifespan is not run: open the engine first.

    Args:
        app: the application, such as ``asgi_of(jobs)``.
        binds: 1 to 16 addresses: ``"127.0.0.1:8080"``, ``"[::1]:0"``, ``"unix:/run/jobs.sock"``.
        shutdown_timeout: how long the block's end waits for requests in progress.
        protocol: creates each connection's protocol. Uvicorn's by default.
        runtime: the clock. By default the running event loop's clock.
        tls: the TLS settings for the TCP addresses, such as `tls_context` returns. None for plain HTTP.
        held: keeps the sockets open when the block ends. By default they are closed.

    Raises:
        ListenFailed: an address cannot be listened on, or the extra ``server`` is not installed.
        DefinitionError: an address is not valid.
    """
    if not 1 <= len(binds) <= MAX_BINDS:
        raise DefinitionError("binds of a server", len(binds), f"1 to {MAX_BINDS} addresses")
    parsed = [parse_bind(bind) if isinstance(bind, str) else bind for bind in binds]
    drain_ms = duration_ms(shutdown_timeout, what="shutdown_timeout of a server", minimum_ms=0)
    if runtime is None:
        from perdure.runtime.on_asyncio import asyncio_runtime  # noqa: PLC0415 - as in `App.open`

        runtime = asyncio_runtime()
    requests = _Requests(app, runtime, runtime.monotonic_ms())
    # Before any socket is opened: a missing extra leaves none behind.
    create, state = _protocols(requests, protocol, parsed[0])
    with ExitStack() as stack:
        listeners: list[tuple[Bind, socket.socket]] = []
        for bind in parsed:
            if held is None:
                listeners += await _listeners(bind, stack, runtime)
            else:
                # A duplicate for this server, which closes it: the queue of connections belongs to both.
                kept = await held.of(bind, runtime)
                listeners += [(of, stack.enter_context(one.dup())) for of, one in kept]
        for bind, listener in listeners:
            secured = {} if tls is None or isinstance(bind, UnixBind) else _tls_options(tls)
            server = await asyncio.get_running_loop().create_server(create, sock=listener, backlog=BACKLOG, **secured)
            stack.callback(server.close)
        bound = tuple(dict.fromkeys(bind for bind, _ in listeners))
        sockets = tuple(listener for _, listener in listeners)
        # `pop_all`: from here on `Listening` closes the sockets.
        served = Listening(bound, state, runtime, requests, sockets, stack.pop_all(), tls is not None)
    guard_fork(served)
    try:
        yield served
    finally:
        await served.close(drain_ms)


def _tls_options(tls: SSLContext) -> dict[str, Any]:
    return {"ssl": tls, "ssl_handshake_timeout": HANDSHAKE_TIMEOUT_S}


def _protocols(
    app: AsgiApp, protocol: CreateProtocol | None, bind: Bind
) -> tuple[Callable[[], asyncio.Protocol], ServerState]:
    """Return the function that creates a connection's protocol, and the state that its connections share."""
    try:
        from uvicorn.config import Config  # noqa: PLC0415 - an extra
        from uvicorn.server import ServerState  # noqa: PLC0415 - as above
    except ImportError as error:
        reason = f"{error.name} is not installed; pip install 'perdure[server]'"
        raise ListenFailed(str(bind), reason) from error
    config = Config(
        app,
        http="auto" if protocol is None else protocol,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - a function that creates one does as well
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        workers=1,
    )
    config.load()
    state = ServerState()
    create: Any = config.http_protocol_class

    def created() -> asyncio.Protocol:
        made: asyncio.Protocol = create(config=config, server_state=state, app_state={})
        return made

    return created, state


async def _let_die(path: str, runtime: Runtime) -> None:
    """Wait a second for a process that listens on a path: it may have lost its store's lock because it is dying."""
    with suppress(OSError):
        for _ in range(_DYING_MS // _POLL_MS):
            if not is_live(path):
                return
            await runtime.sleep(_POLL_MS)


async def check_free(binds: Sequence[Bind]) -> None:
    """Check that no process listens on the TCP addresses: before a store is opened, whose alarms would fire.

    Raises:
        ListenFailed: an address cannot be listened on.
    """
    for bind in binds:
        if isinstance(bind, TcpBind):
            with ExitStack() as stack:
                await _tcp_listeners(bind, stack)


async def _listeners(bind: Bind, stack: ExitStack, runtime: Runtime) -> list[tuple[Bind, socket.socket]]:
    """Listen on an address: on each of its IP addresses, if it is a name."""
    match bind:
        case UnixBind(path):
            await _let_die(path, runtime)
            return [(bind, stack.enter_context(unix_socket(path, backlog=BACKLOG)))]
        case TcpBind():
            return await _tcp_listeners(bind, stack)


async def _tcp_listeners(bind: TcpBind, stack: ExitStack) -> list[tuple[Bind, socket.socket]]:
    try:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(bind.host, bind.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ListenFailed(str(bind), f"{error.strerror}; write an address of this machine") from error
    listeners: list[tuple[Bind, socket.socket]] = []
    port = bind.port
    for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
        listener = stack.enter_context(socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP))
        # A restart must not fail because connections of the process before are in TIME_WAIT.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # A socket for each family: an IPv6 one would take the IPv4 port as well, and the next bind would fail.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            # The port of the first one: with port 0 all addresses of a name must have the same.
            listener.bind((address[0], port, *address[2:]))
            listener.listen(BACKLOG)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL and len(found) > 1:
                continue  # a name with an IPv6 address on a machine without IPv6
            raise ListenFailed(str(bind), f"{error.strerror}; {_advice(error)}") from error
        port = listener.getsockname()[1]
        listeners.append((TcpBind(bind.host, port), listener))
    if not listeners:
        raise ListenFailed(str(bind), "none of its addresses belongs to this machine")
    return listeners


def _advice(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "stop the process that listens there, or choose another port"
        case errno.EACCES:
            return "choose a port from 1024"
        case _:
            return "choose another address"


def _waits_for_client(connection: Any) -> bool:
    """Return whether a connection waits for the rest of a request, or for its client to read."""
    cycle, transport = getattr(connection, "cycle", None), getattr(connection, "transport", None)
    return (cycle is not None and cycle.more_body) or unread_bytes(transport) > 0


def _socket_of(connection: Any) -> socket.socket | None:
    """Return a connection's socket, before and after its first byte."""
    transport = getattr(connection, "transport", None) or getattr(connection, "_transport", None)
    wrapped = None if transport is None else transport.get_extra_info("socket")
    return None if wrapped is None else wrapped._sock  # noqa: SLF001 - asyncio's wrapper cannot close it


def _abort(connection: Any) -> None:
    transport = getattr(connection, "transport", None)
    if transport is not None:
        transport.abort()

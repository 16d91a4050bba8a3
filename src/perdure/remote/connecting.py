"""An engine's clients in another process: `connect`, and `connect_sync` for code without an event loop.

Code without an event loop is Django, Flask and scripts.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    ExitStack,
    asynccontextmanager,
    contextmanager,
)
from types import TracebackType
from typing import Any, ClassVar, TypeAlias, TypeVar, cast

import attrs
from returns.result import Failure, Success

from perdure.client.client import AsyncContextGuard, Client, SyncContextGuard
from perdure.client.gateway import attempt
from perdure.jobs.call import Call
from perdure.jobs.definition import AnyDefinition, check_definition
from perdure.remote.channel import Channel, ClientRuntime
from perdure.remote.gateway import RemoteGateway
from perdure.remote.servers import MAX_SERVERS, Server, Servers, ServerUrl, server_url
from perdure.stores.sqlite.files import short_path
from perdure.values.errors import DefinitionError, ServerUnreachable
from perdure.values.times import Duration, duration_ms
from perdure.values.trace import CurrentTrace

MAX_CONNECTIONS = 1_000

Urls: TypeAlias = str | Sequence[str]
"""The URL of a server, or those of up to 16 servers of the same instances."""

MISSING_EXTRA = "the extra 'client': pip install 'perdure[client]'"


@attrs.frozen(kw_only=True)
class Settings:
    """The checked `connect` arguments.

    Attributes:
        urls: where the servers listen.
        definitions: by kind and name.
        token: the bearer token, or None.
        timeout_ms: how long a call may take.
        wait_timeout_ms: how long a call may take that waits for a run.
        max_connections: at most this many connections to each server.
        draws_keys: whether the client draws idempotency keys.
        trace: returns the caller's trace context, or None.
    """

    urls: tuple[ServerUrl, ...]
    definitions: dict[tuple[str, str], AnyDefinition]
    token: str | None = attrs.field(repr=False)
    timeout_ms: int
    wait_timeout_ms: int
    max_connections: int
    draws_keys: bool
    trace: CurrentTrace | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Every request's headers."""
        return {} if self.token is None else {"Authorization": f"Bearer {self.token}"}

    def gateway(self, channel_of: Callable[[ServerUrl], Channel], runtime: ClientRuntime) -> RemoteGateway:
        """Return the gateway."""
        servers = tuple(Server(url.name, channel_of(url), url.unreached) for url in self.urls)
        return RemoteGateway(
            servers=Servers(servers, runtime, self.timeout_ms),
            definitions=self.definitions,
            wait_timeout_ms=self.wait_timeout_ms,
            draws_keys=self.draws_keys,
            trace=self.trace,
        )


def socket_of(url: ServerUrl, stack: ExitStack) -> str | None:
    """Return a short path to a server's Unix socket, valid until the stack is closed. None for TCP.

    Raises:
        ServerUnreachable: its folder does not exist.
    """
    if url.socket is None:
        return None
    try:
        return stack.enter_context(short_path(url.socket))
    except OSError as error:
        raise ServerUnreachable(url.name, f"{error}; {url.hint}") from error


def settings(
    url: object,
    definitions: Sequence[object],
    *,
    token: str | None,
    timeout: Duration,
    wait_timeout: Duration,
    max_connections: int,
    draw_keys: bool,
    trace: CurrentTrace | None = None,
) -> Settings:
    """Check the `connect` arguments.

    Raises:
        DefinitionError: an argument is not valid.
    """
    given: dict[tuple[str, str], AnyDefinition] = {}
    for value in definitions:
        job = check_definition(value)
        if (job.kind, job.name) in given:
            raise DefinitionError("definitions of a client", f"{job.kind}:{job.name} twice", "each kind and name once")
        given[job.kind, job.name] = job
    if type(max_connections) is not int or not 1 <= max_connections <= MAX_CONNECTIONS:
        expected = f"a whole number from 1 to {MAX_CONNECTIONS}"
        raise DefinitionError("max_connections of a client", max_connections, expected)
    # The message does not show the token. A blank or a control character would end the header.
    if token is not None and not (token.isascii() and token.isprintable() and token and " " not in token):
        raise DefinitionError("token of a client", "(not shown)", "printable ASCII without blanks")
    if trace is not None and not callable(trace):  # pyright: ignore[reportUnnecessaryComparison] - not every caller has types
        raise DefinitionError("trace of a client", trace, "a function that returns a trace context, or None")
    timeout_ms = duration_ms(timeout, what="timeout of a client", minimum_ms=1)
    return Settings(
        urls=_urls(url),
        definitions=given,
        token=token,
        timeout_ms=timeout_ms,
        # A call that waits for a run has at least the time of any other call.
        wait_timeout_ms=max(timeout_ms, duration_ms(wait_timeout, what="wait_timeout of a client", minimum_ms=1)),
        max_connections=max_connections,
        draws_keys=draw_keys,
        trace=trace,
    )


def _urls(given: object) -> tuple[ServerUrl, ...]:
    if isinstance(given, str) or not isinstance(given, Sequence):
        return (server_url(given),)
    urls = tuple(server_url(each) for each in cast("Sequence[object]", given))
    names = [url.name for url in urls]
    # Each once: two names of one server would count its failures twice.
    if not 1 <= len(urls) <= MAX_SERVERS or len(set(names)) < len(names):
        raise DefinitionError("URLs of a client", names, f"1 to {MAX_SERVERS} URLs, each once")
    return urls


@attrs.frozen(repr=False)
class Connecting(AsyncContextGuard):
    """The context manager that `connect` returns."""

    usage: ClassVar[str] = "async with connect(...) as jobs:"
    _opened: AbstractAsyncContextManager[Client]

    async def __aenter__(self) -> Client:
        return await self._opened.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._opened.__aexit__(kind, error, traceback)


def connect(
    url: Urls,
    /,
    *definitions: AnyDefinition,
    token: str | None = None,
    timeout: Duration = "10 seconds",
    wait_timeout: Duration = "60 seconds",
    max_connections: int = 100,
    draw_keys: bool = False,
    trace: CurrentTrace | None = None,
) -> Connecting:
    """Connect to an engine in another process.

    Use it as ``async with connect("http://127.0.0.1:8080", orders) as jobs:``.

    `App.open` returns the same client: the same handles, results and error values. Nothing is sent before the first
    call, so the engine may start later.

    With the URLs of several engines on one store, requests to one instance go to the same engine, and instances are
    spread over all engines. If that engine does not answer, refuses because it stops or is overloaded, or cannot read a
    request field, the client tries the others. One that failed comes last for half a second to 8 seconds.

    A call that no engine accepted is repeated until ``timeout``. After a lost answer, so is a read, a request with an
    idempotency key, and a ``put`` or ``start`` whose id makes a repeat harmless. Any other request fails with
    ``OutcomeUnknown``, because it may have been applied.

    Args:
        url: ``http://host:port``, ``https://host``, ``http+unix:///path/of.sock``, or ``sqlite:///jobs.db``: the engine
            that owns this file, on this machine, or a sequence with up to 16 such URLs.
        *definitions: for the typed handles, the same as the server's. `Client.handle_by_name` needs none.
        token: the bearer token, if the servers have tokens.
        timeout: how long a call may take, repeats included. A server that does not accept a connection within 2 seconds
            counts as away.
        wait_timeout: the same for a call that waits for a run: ``trigger``, ``flush`` and ``start`` with
            ``wait_for="completion"``, and ``terminate``. It must be longer than the run. If no engine accepts the
            request, such a call fails after ``timeout``. `Client.until` has its own limit.
        max_connections: at most this many connections to each server for requests to instances, 1 to 1,000, and as many
            again for lists, histories and health. Further calls wait for one.
        draw_keys: give each request a new idempotency key that has none and that a repeat would apply again, so that it
            is repeated safely. Each key is a row in the store, which the engine keeps for ``Limits.idempotency_ttl``.
        trace: returns the caller's trace context. The turns that its requests cause become a part of that trace:
            `perdure.telemetry.opentelemetry.current_trace`. By default the requests carry none.

    Raises:
        DefinitionError: when the block begins: an argument is not valid, or the extra ``client`` is not installed.
        ServerUnreachable: the socket's folder does not exist.
    """
    return Connecting(
        _opened_async(
            lambda: settings(
                url,
                definitions,
                token=token,
                timeout=timeout,
                wait_timeout=wait_timeout,
                max_connections=max_connections,
                draw_keys=draw_keys,
                trace=trace,
            )
        )
    )


@asynccontextmanager
async def _opened_async(settle: Callable[[], Settings]) -> AsyncGenerator[Client]:
    # Checked when the block begins, and not when `connect` is called: an error has the block in its traceback.
    given = settle()
    try:
        import httpx2  # noqa: PLC0415 - of the extra `client`

        from perdure.remote.async_channel import (  # noqa: PLC0415 - as above
            AsyncChannel,
            AsyncClientRuntime,
            Connections,
        )
        from perdure.runtime.on_asyncio import asyncio_runtime  # noqa: PLC0415 - as in `App.open`
    except ModuleNotFoundError as error:
        raise DefinitionError("connect", error, MISSING_EXTRA) from error
    runtime, channels = asyncio_runtime(), list[AsyncChannel]()
    with ExitStack() as stack:

        def channel_of(url: ServerUrl) -> Channel:
            socket = socket_of(url, stack)
            connections = Connections(
                base=url.base,
                socket=socket,
                headers=given.headers,
                runtime=runtime,
                tls=httpx2.create_ssl_context,
            )
            channels.append(AsyncChannel(connections, given.max_connections, runtime))
            return channels[-1]

        try:
            yield Client(given.gateway(channel_of, AsyncClientRuntime(runtime)))
        # Also after an error in the block: open connections would keep the event loop busy.
        finally:
            for channel in channels:
                await channel.close()


A = TypeVar("A")
E = TypeVar("E", bound=Exception)


@attrs.frozen(repr=False)
class SyncClient(Client):
    """A client whose calls are made by `run` and `attempt`, without ``await``. Threads may share it."""

    def run(self, call: Call[A, Exception], /) -> A:
        """Make a call and return its answer, or raise its error.

        Args:
            call: a call from this client or one of its handles.

        Raises:
            Exception: the call's error: ``Rejected``, ``InvalidInput``, ``OutcomeUnknown`` and so on.
            AlreadyAwaited: the call was made before.
        """
        return _driven(call)

    def attempt(self, call: Call[A, E], /) -> Success[A] | Failure[E]:
        """Make a call and return how it ended, as a value to ``match`` on.

        Args:
            call: a call from this client or one of its handles.

        Raises:
            AlreadyAwaited: the call was made before.
        """
        return _driven(attempt(call))


def _driven(work: Coroutine[Any, Any, A]) -> A:
    """Run a coroutine that never suspends."""
    try:
        # The coroutine of a synchronous client ends in its first step.
        work.send(None)
    except StopIteration as ended:
        answer: A = ended.value
        return answer
    # Closed: Python would warn of a coroutine that was never awaited.
    work.close()
    raise DefinitionError("call of a synchronous client", work, "a call that this client made, not one of another")


@attrs.frozen(repr=False)
class SyncConnecting(SyncContextGuard):
    """The context manager that `connect_sync` returns."""

    usage: ClassVar[str] = "with connect_sync(...) as jobs:"
    _opened: AbstractContextManager[SyncClient]

    def __enter__(self) -> SyncClient:
        return self._opened.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return self._opened.__exit__(kind, error, traceback)


def connect_sync(
    url: Urls,
    /,
    *definitions: AnyDefinition,
    token: str | None = None,
    timeout: Duration = "10 seconds",
    wait_timeout: Duration = "60 seconds",
    max_connections: int = 100,
    draw_keys: bool = False,
    trace: CurrentTrace | None = None,
) -> SyncConnecting:
    """Connect to an engine in another process, without an event loop.

    ::

        with connect_sync("sqlite:///jobs.db", orders) as jobs:
            print(jobs.run(jobs.handle(orders).send("order-1", Placed(30), idempotency_key="event-1")))

    Args:
        url: see `connect`, as for all arguments.
        *definitions: for the typed handles.
        token: the bearer token, if the server has tokens.
        timeout: how long a call may take, repeats included.
        wait_timeout: the same for a call that waits for a run.
        max_connections: at most this many connections to each server, for all threads.
        draw_keys: give each request a new idempotency key that has none and that a repeat would apply again.
        trace: returns the caller's trace context.

    Raises:
        DefinitionError: when the block begins: an argument is not valid, or the extra ``client`` is not installed.
        ServerUnreachable: the socket's folder does not exist.
    """
    return SyncConnecting(
        _opened(
            lambda: settings(
                url,
                definitions,
                token=token,
                timeout=timeout,
                wait_timeout=wait_timeout,
                max_connections=max_connections,
                draw_keys=draw_keys,
                trace=trace,
            )
        )
    )


@contextmanager
def _opened(settle: Callable[[], Settings]) -> Generator[SyncClient]:
    given = settle()
    try:
        import httpx2  # noqa: PLC0415 - of the extra `client`

        from perdure.remote.blocking_channel import BlockingChannel, BlockingClientRuntime  # noqa: PLC0415 - as above
    except ModuleNotFoundError as error:
        raise DefinitionError("connect_sync", error, MISSING_EXTRA) from error
    # As many kept as allowed: a client that works in bursts would connect again for each.
    limits: Any = httpx2.Limits(max_connections=given.max_connections, max_keepalive_connections=given.max_connections)
    with ExitStack() as stack:

        def channel_of(url: ServerUrl) -> Channel:
            socket = socket_of(url, stack)

            def http_client() -> httpx2.Client:
                transport = httpx2.HTTPTransport(uds=socket, limits=limits)
                # Without proxies of the environment: the server is beside this process, or named by its URL.
                return httpx2.Client(base_url=url.base, headers=given.headers, transport=transport, trust_env=False)

            channel = BlockingChannel(http_client)
            stack.callback(channel.close)
            return channel

        yield SyncClient(given.gateway(channel_of, BlockingClientRuntime()))

"""`connect`: a client of an engine in another process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, ClassVar

import attrs

from perdure.client.client import Client
from perdure.client.not_entered import AsyncNotEntered
from perdure.jobs.definition import AnyDefinition, check_definition
from perdure.remote.channel import LINES, Channel
from perdure.remote.gateway import RemoteGateway
from perdure.remote.server_url import ServerUrl, server_url
from perdure.stores.sqlite.owner_socket import short_path
from perdure.values.duration import Duration, duration_ms
from perdure.values.errors import DefinitionError, ServerUnreachable
from perdure.values.trace import CurrentTrace

MAX_CONNECTIONS = 1_000

MISSING_EXTRA = "the extra 'client': pip install 'perdure[client]'"


@attrs.frozen(kw_only=True)
class Settings:
    """The checked arguments of `connect`.

    Attributes:
        server: where the server listens.
        definitions: by kind and name.
        token: the bearer token, or None.
        timeout_ms: how long a call waits for its answer.
        max_connections: the maximum number of connections.
        draws_keys: whether the client draws idempotency keys.
        trace: returns the trace context of the caller, or None.
    """

    server: ServerUrl
    definitions: dict[tuple[str, str], AnyDefinition]
    token: str | None = attrs.field(repr=False)
    timeout_ms: int
    max_connections: int
    draws_keys: bool
    trace: CurrentTrace | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The headers of every request."""
        return {} if self.token is None else {"Authorization": f"Bearer {self.token}"}

    def gateway(self, channel: Channel) -> RemoteGateway:
        """Return the gateway over a channel."""
        return RemoteGateway(
            name=self.server.name,
            channel=channel,
            definitions=self.definitions,
            timeout_ms=self.timeout_ms,
            unreached=self.server.unreached,
            draws_keys=self.draws_keys,
            trace=self.trace,
        )

    def socket(self, stack: ExitStack) -> str | None:
        """Return a short path of the server's Unix socket, valid until the stack is closed; None for TCP.

        Raises:
            ServerUnreachable: its folder does not exist.
        """
        if self.server.socket is None:
            return None
        try:
            return stack.enter_context(short_path(self.server.socket))
        except OSError as error:
            raise ServerUnreachable(self.server.name, f"{error}; {self.server.hint}") from error


def settings(
    url: object,
    definitions: Sequence[object],
    *,
    token: str | None,
    timeout: Duration,
    max_connections: int,
    draw_keys: bool,
    trace: CurrentTrace | None = None,
) -> Settings:
    """Check the arguments of `connect`.

    Raises:
        DefinitionError: one of them is not valid.
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
    if token is not None and not (token.isascii() and token.isprintable() and token and " " not in token):
        raise DefinitionError("token of a client", "(not shown)", "printable ASCII without blanks")
    if trace is not None and not callable(trace):  # pyright: ignore[reportUnnecessaryComparison] - not every caller has types
        raise DefinitionError("trace of a client", trace, "a function that returns a trace context, or None")
    return Settings(
        server=server_url(url),
        definitions=given,
        token=token,
        timeout_ms=duration_ms(timeout, what="timeout of a client", minimum_ms=1),
        max_connections=max_connections,
        draws_keys=draw_keys,
        trace=trace,
    )


@attrs.frozen(repr=False)
class Connecting(AsyncNotEntered):
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
    url: str,
    /,
    *definitions: AnyDefinition,
    token: str | None = None,
    timeout: Duration = "60 seconds",
    max_connections: int = 100,
    draw_keys: bool = False,
    trace: CurrentTrace | None = None,
) -> Connecting:
    """Connect to an engine in another process.

    Use it as ``async with connect("http://127.0.0.1:8080", orders) as jobs:``.

    The client is the same as that of `App.open`: the same handles, results and error values. Nothing is sent before the
    first call, so the engine may start later. A call that does not reach it is repeated until ``timeout``; so is one
    whose answer is lost, if it reads or has an idempotency key. Without a key it fails with ``OutcomeUnknown``.

    Args:
        url: ``http://host:port``, ``https://host``, ``http+unix:///path/of.sock``, or ``sqlite:///jobs.db``: the engine
            that owns this file, on this machine.
        *definitions: those of the typed handles, the same as the server's. `Client.handle_by_name` needs none.
        token: the bearer token, if the server has tokens.
        timeout: how long a call waits for its answer, repeats included. It must be longer than the runs that you wait
            for with ``wait_for="completion"``.
        max_connections: the maximum number of connections for requests to instances, 1 to 1,000, and as many again for
            lists, histories and health. Further calls wait for one.
        draw_keys: give each request without an idempotency key a new one, so that it is repeated safely. Each key is a
            row in the store, which the engine keeps for ``Limits.idempotency_ttl``.
        trace: returns the trace context of the caller, whose trace the turns of its requests become a part of:
            `perdure.telemetry.opentelemetry.current_trace`. By default the requests carry none.

    Raises:
        DefinitionError: when the block begins: an argument is not valid, or the extra ``client`` is not installed.
        ServerUnreachable: the folder of the socket does not exist.
    """
    return Connecting(
        _opened(
            lambda: settings(
                url,
                definitions,
                token=token,
                timeout=timeout,
                max_connections=max_connections,
                draw_keys=draw_keys,
                trace=trace,
            )
        )
    )


@asynccontextmanager
async def _opened(settle: Callable[[], Settings]) -> AsyncGenerator[Client]:
    given = settle()
    try:
        import httpx2  # noqa: PLC0415 - of the extra `client`

        from perdure.remote.async_channel import AsyncChannel  # noqa: PLC0415 - as above
        from perdure.remote.connections import Connections  # noqa: PLC0415 - needs an event loop
        from perdure.runtime.on_asyncio import asyncio_runtime  # noqa: PLC0415 - as in `App.open`
    except ModuleNotFoundError as error:
        raise DefinitionError("connect", error, MISSING_EXTRA) from error
    with ExitStack() as stack:
        limits: Any = httpx2.Limits(
            max_connections=given.max_connections, max_keepalive_connections=given.max_connections
        )
        socket, runtime = given.socket(stack), asyncio_runtime()
        transport = httpx2.AsyncHTTPTransport(uds=socket, limits=limits)
        connections = Connections(
            base=given.server.base,
            socket=socket,
            headers={**LINES, **given.headers},
            timeout_ms=given.timeout_ms,
            runtime=runtime,
            tls=httpx2.create_ssl_context,
        )
        channel = AsyncChannel(
            httpx2.AsyncClient(base_url=given.server.base, headers=given.headers, transport=transport, trust_env=False),
            connections,
            given.max_connections,
            runtime,
        )
        try:
            yield Client(given.gateway(channel))
        finally:
            await channel.close()

"""Serves an open engine on addresses: the application, behind the guard that each address needs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from ssl import SSLContext

from perdure.client.client import Client
from perdure.client.local_gateway import engine_of
from perdure.server.access import Access, Tokens, Unprotected, access_to
from perdure.server.addresses import MAX_BINDS, Bind, parse_bind
from perdure.server.api import activity_of, asgi_of
from perdure.server.connections import GuardedConnections
from perdure.server.http_limits import DEFAULT_LIMITS, HttpLimits
from perdure.server.listening import HeldSockets, Listening, listening
from perdure.values.errors import DefinitionError
from perdure.values.times import Duration


@asynccontextmanager
async def serving(
    jobs: Client,
    binds: Sequence[str | Bind],
    /,
    *,
    tokens: Tokens | None = None,
    unprotected: Unprotected = "refuse",
    limits: HttpLimits = DEFAULT_LIMITS,
    log_requests: bool = False,
    tls: SSLContext | None = None,
    dashboard: bool = False,
    shutdown_timeout: Duration = "30 seconds",
    held: HeldSockets | None = None,
) -> AsyncGenerator[tuple[Listening, ...]]:
    """Serve an open engine within the block.

    Use it inside ``async with app.open(store) as jobs:``. It ends as `listening` does.

    Args:
        jobs: the engine's client.
        binds: 1 to 16 addresses: ``"127.0.0.1:8080"``, ``"[::1]:0"``, ``"unix:/run/jobs.sock"``.
        tokens: the tokens that requests over TCP need. None to serve only programs on this machine.
        unprotected: the reaction to an address that other machines can reach, when there are no tokens.
        limits: the connection and request limits, for the Unix sockets and for the TCP addresses each, so that clients
            over TCP leave the operator's socket free.
        log_requests: whether to log each request. See `asgi`.
        tls: the TLS settings for the TCP addresses, such as `tls_context` returns. None for plain HTTP.
        dashboard: whether to serve the dashboard at ``/dashboard``. It needs the extra ``dashboard``.
        shutdown_timeout: how long the block's end waits for requests in progress.
        held: keeps the sockets open when the block ends. By default they are closed.

    Raises:
        ListenFailed: an address cannot be listened on, or the extra ``server`` is not installed.
        DefinitionError: an address is not valid, or other machines would reach the engine without a token.
    """
    if not 1 <= len(binds) <= MAX_BINDS:
        raise DefinitionError("binds of a server", len(binds), f"1 to {MAX_BINDS} addresses")
    # By access: an address with a token and a socket without one must not share a guard.
    groups: dict[Access, list[Bind]] = {}
    for bind in (parse_bind(bind) if isinstance(bind, str) else bind for bind in binds):
        groups.setdefault(access_to(bind, tokens, unprotected), []).append(bind)
    runtime = engine_of(jobs).runtime
    activity = activity_of(jobs) if dashboard else False
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(
                listening(
                    asgi_of(jobs, access=access, limits=limits, log_requests=log_requests, dashboard=activity),
                    group,
                    shutdown_timeout=shutdown_timeout,
                    protocol=GuardedConnections(limits, runtime).protocol,
                    runtime=runtime,
                    tls=tls,
                    held=held,
                )
            )
            for access, group in groups.items()
        ]
        yield tuple(servers)

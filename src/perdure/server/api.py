"""An engine as an ASGI application: alone, or mounted in another one."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import attrs
import orjson

try:
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute, Route
    from starlette.types import Receive, Scope, Send
except ModuleNotFoundError as error:
    _missing = f"no module {error.name}: perdure.server.api needs the extra 'server': pip install 'perdure[server]'"
    raise ModuleNotFoundError(_missing, name=error.name) from error

from perdure.app import App, OpenApp
from perdure.client.client import Client, gateway_of
from perdure.client.local_gateway import LocalGateway, acting_for, engine_of
from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.runtime.record import Runtime
from perdure.server.access import Access, Caller, PageAccess, Sessions
from perdure.server.addresses import with_raw_path
from perdure.server.admission import Bulkhead
from perdure.server.calls import BatchEndpoint, BatchLimits
from perdure.server.guard import CALLER, Guard
from perdure.server.http_limits import DEFAULT_LIMITS, HttpLimits
from perdure.server.responses import problem_reply
from perdure.server.routes import routes
from perdure.stores.contract import Store
from perdure.stores.values import OnLocked
from perdure.telemetry.activity import Activity
from perdure.values.errors import DefinitionError, EngineClosed, PerdureError
from perdure.wire.problems import MEDIA_TYPE
from perdure.wire.requests import DASHBOARD

_NOT_OPEN: Final = (
    "the engine behind this application is not open: run its lifespan, such as FastAPI(lifespan=api.lifespan)"
)


@attrs.define(eq=False)
class EngineApi:
    """One engine's ASGI application. `asgi` and `asgi_of` make it.

    Attributes:
        opening: opens the engine. None if it is open already.
        access: the requests that it accepts.
        limits: the request limits.
        log_requests: whether to log each request.
        activity: the engine's last hour, for the dashboard. None to serve no dashboard.
        batches: the limits that all clients' batches share.
    """

    opening: OpenApp | None
    _client: Client | None
    access: Access = "local"
    limits: HttpLimits = DEFAULT_LIMITS
    log_requests: bool = False
    activity: Activity | None = None
    batches: BatchLimits = attrs.field(init=False)
    _routes: Starlette = attrs.field(init=False)
    _guard: Guard = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        runtime = asyncio_runtime() if self._client is None else engine_of(self._client).runtime
        # A key for each process: a restart ends all sessions, and no secret must be kept.
        limits, sessions = self.limits, Sessions(secrets.token_bytes(32))
        lists = Bulkhead(
            name="the requests that wait for a list",
            limit=limits.lists_at_once,
            of_one=limits.lists_at_once,
            waiting=limits.lists_waiting,
            waiting_of_one=limits.client_lists_waiting,
            # Lists are computed on the engine's loop: resting slots leave it half of its time.
            rests=True,
            runtime=runtime,
        )
        waits = Bulkhead(
            name="the list of requests that wait for a status",
            limit=limits.waits,
            of_one=limits.client_waits,
            runtime=runtime,
        )
        self.batches = BatchLimits.of(limits, lists, runtime)
        # First: Starlette takes the first route that fits, and this path must not be read as an instance's.
        batch = Route("/v1/calls", _Batch(self, BatchEndpoint(self.batches)), methods=["POST"])
        self._routes = Starlette(
            routes=[
                batch,
                *routes(lambda: self.client, caller_of, lists=lists, waits=waits),
                *self._pages(lists, sessions, runtime),
            ],
            exception_handlers={HTTPException: partial(_no_route, self.activity is not None)},
            lifespan=self.lifespan,
        )
        pages = None if self.activity is None else PageAccess(self.access, sessions)
        self._guard = Guard(self._guarded, self.access, self.limits, runtime, self.log_requests, pages)

    def _pages(self, lists: Bulkhead, sessions: Sessions, runtime: Runtime) -> list[BaseRoute]:
        if self.activity is None:
            return []
        try:
            from perdure.server.dashboard_routes import Dashboard  # noqa: PLC0415 - of an extra
        except ImportError as error:
            expected = "the extra 'dashboard': pip install 'perdure[dashboard]'"
            raise DefinitionError("dashboard of a server", f"no module {error.name}", expected) from error

        streams = Bulkhead(
            name="pages that follow the engine",
            limit=self.limits.live_pages,
            of_one=self.limits.client_live_pages,
            runtime=runtime,
        )
        return Dashboard(lambda: self.client, self.access, sessions, self.activity, lists, streams).routes()

    @property
    def routes(self) -> Sequence[BaseRoute]:
        """The routes."""
        return self._routes.routes

    @property
    def client(self) -> Client:
        """The engine's client.

        Raises:
            EngineClosed: the engine is not open.
        """
        if self._client is None:
            raise EngineClosed(_NOT_OPEN)
        return self._client

    @asynccontextmanager
    async def lifespan(self, _: object = None) -> AsyncGenerator[None]:
        """Open the engine, and close it at the end.

        Pass it to the application that mounts this one: the server runs no lifespan for a mounted application.
        """
        if self.opening is None or self._client is not None:
            yield
            return
        async with self.opening as client:
            self._client = client
            try:
                yield
            finally:
                # Requests that come late are refused with `EngineClosed`, and do not reach a closed engine.
                self._client = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI calls it. A request that another guard has accepted passes no second one."""
        # A guard around the whole server has counted this request: counted twice, its client would have half its rate.
        if CALLER in scope:
            await self._guarded(scope, receive, send)
        else:
            await self._guard(scope, receive, send)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = with_raw_path(scope)
        await self._routes(scope, receive, send)


@attrs.frozen(eq=False)
class _Batch:
    """The batch endpoint."""

    api: EngineApi
    batches: BatchEndpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            gateway = gateway_of(acting_for(self.api.client, caller_in(scope).name))
        except PerdureError as error:
            await problem_reply(error)(scope, receive, send)
            return
        if not isinstance(gateway, LocalGateway):
            raise TypeError(gateway)
        await self.batches.answer(gateway, scope, receive, send)


async def _no_route(dashboard: bool, request: Request, error: Exception) -> Response:  # noqa: FBT001 - of a partial
    """Answer a request that no route takes."""
    if not isinstance(error, HTTPException):
        raise TypeError(error)
    detail = f"{request.method} {request.url.path}: {error.detail}; GET /openapi.json lists the routes"
    if dashboard:
        detail += f"; the dashboard is at {DASHBOARD}"
    elif request.url.path.endswith(DASHBOARD):
        detail += (
            "; this server has no dashboard: it needs pip install 'perdure[dashboard]', and dashboard=True of asgi"
        )
    title = "No route takes this request"
    problem = {"type": "about:blank", "title": title, "status": error.status_code, "detail": detail, "code": "no_route"}
    return Response(orjson.dumps(problem), error.status_code, headers=error.headers, media_type=MEDIA_TYPE)


def caller_of(request: Request) -> Caller:
    """Return a request's caller."""
    return caller_in(request.scope)


def caller_in(scope: Scope) -> Caller:
    """Return the caller that the guard found."""
    caller: Caller = scope[CALLER]
    return caller


def asgi(
    app: App[Any],
    store: str | Store,
    /,
    *,
    access: Access = "local",
    limits: HttpLimits = DEFAULT_LIMITS,
    log_requests: bool = False,
    dashboard: bool = False,
    on_locked: OnLocked = "raise",
    debug: bool = True,
) -> EngineApi:
    """Return an app's ASGI application. Its lifespan opens the engine.

    Run it alone (``uvicorn module:api``), or mount it: ``web = FastAPI(lifespan=api.lifespan)`` and
    ``web.mount("/jobs", api)``. A SQLite file has one owner, so run one process. Other processes `connect` to it.

    Args:
        app: the app.
        store: the store or its URL.
        access: the requests that it accepts: by default requests from programs on this machine over the loopback
            interface. `Tokens` to require a token. ``"unchecked"`` where the application that mounts it has checked the
            request.
        limits: the request limits. Connection limits are settings in the server that runs the application.
        log_requests: whether to log each request, at level info, without headers, payload and query.
        dashboard: whether to serve the dashboard at ``/dashboard``. It needs the extra ``dashboard``.
        on_locked: the reaction if another engine owns the file. See `App.open`.
        debug: whether to find hook mistakes. See `App.open`.
    """
    activity = Activity() if dashboard else None
    watched = app if activity is None else app.with_sinks(activity)
    opening = watched.open(store, on_locked=on_locked, debug=debug)
    return EngineApi(opening, None, access, limits, log_requests, activity)


def asgi_of(
    client: Client,
    /,
    *,
    access: Access = "local",
    limits: HttpLimits = DEFAULT_LIMITS,
    log_requests: bool = False,
    dashboard: bool | Activity = False,
) -> EngineApi:
    """Return an open engine's ASGI application.

    Args:
        client: the engine's client. The caller closes it, after the last request.
        access: see `asgi`.
        limits: see `asgi`.
        log_requests: see `asgi`.
        dashboard: see `asgi`, or the engine's `Activity`, which several applications then share.
    """
    activity = activity_of(client) if dashboard is True else dashboard or None
    return EngineApi(None, client, access, limits, log_requests, activity)


def activity_of(client: Client, /) -> Activity:
    """Begin to watch an engine that is open, for the dashboard."""
    activity = Activity()
    engine_of(client).sinks.add(activity.name, activity.sink)
    return activity

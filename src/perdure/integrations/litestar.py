"""Litestar: a plugin that holds a client open, injects it, and responds to its errors."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

from litestar import Litestar, Request, Response
from litestar.config.app import AppConfig
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.plugins import InitPlugin

from perdure.client.client import Client
from perdure.integrations.web import OpenClient, problem_response
from perdure.values.errors import PerdureError

DEPENDENCY: Final = "jobs"
"""The parameter name that receives the client."""

Jobs: TypeAlias = NamedDependency[Client]
"""The application's client: ``async def pay(jobs: Jobs)``, and ``jobs.handle(orders)`` is typed."""


class PerdurePlugin(InitPlugin):
    """Opens a client at the application's start, and closes it at the end.

    Handlers receive it as ``jobs: Jobs``. The errors that calls raise in them become problems (RFC 9457). One
    that the caller cannot fix is logged, and its response has no detail.

    Args:
        open_client: opens the client. Called at each start.
    """

    __slots__ = ("_open_client",)

    def __init__(self, open_client: OpenClient, /) -> None:
        self._open_client = open_client

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Add the lifespan, the dependency and the error handler to an application."""
        config: Any = app_config  # Litestar's own annotations of these fields are incomplete
        config.lifespan.append(self._opened)
        # It does not wait, so a thread would only cost time.
        config.dependencies[DEPENDENCY] = Provide(_client, sync_to_thread=False)
        config.exception_handlers[PerdureError] = _respond
        return app_config

    @asynccontextmanager
    async def _opened(self, app: Litestar) -> AsyncGenerator[None]:
        async with self._open_client() as client:
            app.state[DEPENDENCY] = client
            yield


def _client(state: State) -> Client:
    client: Client = state[DEPENDENCY]
    return client


def _respond(request: Request[Any, Any, Any], error: PerdureError) -> Response[bytes]:
    problem = problem_response(error, request.app.state.get(DEPENDENCY), request=f"{request.method} {request.url.path}")
    return Response(problem.body, status_code=problem.status, headers=dict(problem.headers))

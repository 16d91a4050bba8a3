"""Starlette and FastAPI: a lifespan that holds a client open, a request's client, and responses for errors."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, cast

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from perdure.client.client import Client
from perdure.integrations.web import OpenClient, problem_response
from perdure.values.errors import DefinitionError, PerdureError

STATE: Final = "perdure"
"""The client's name in the lifespan's state: ``request.state.perdure``."""


def lifespan(open_client: OpenClient, /) -> Callable[[Any], AbstractAsyncContextManager[dict[str, Client]]]:
    """Return a lifespan that opens a client when the application starts and closes it when the application ends.

    In your own lifespan, yield the state that this one yields: ``yield {STATE: jobs, ...}``.

    Args:
        open_client: opens the client. Called at each start.
    """

    @asynccontextmanager
    async def opened(_: Starlette) -> AsyncGenerator[dict[str, Client]]:
        async with open_client() as client:
            yield {STATE: client}

    return opened


def client_of(request: HTTPConnection) -> Client:
    """Return the client that the application's lifespan opened. In FastAPI it is a dependency.

    Raises:
        DefinitionError: the application has no such lifespan. A mounted application's lifespan does not run.
    """
    client = getattr(request.state, STATE, None)
    if not isinstance(client, Client):
        raise DefinitionError(
            "lifespan of the application",
            None if client is None else cast("object", client),
            f"lifespan=perdure.integrations.starlette.lifespan(...), or one that yields {{{STATE!r}: client}}, on the "
            "outermost application: the lifespan of a mounted one does not run",
        )
    return client


def handle_errors(app: Starlette, /) -> None:
    """Respond with problems (RFC 9457) to the errors that calls raise in a handler.

    An error that the caller cannot fix is logged, and its response has no detail.

    Args:
        app: a Starlette or FastAPI application.
    """
    app.add_exception_handler(PerdureError, _respond)


async def _respond(request: Request, error: Exception) -> Response:
    if not isinstance(error, PerdureError):
        raise error
    problem = problem_response(
        error, getattr(request.state, STATE, None), request=f"{request.method} {request.url.path}"
    )
    return Response(problem.body, problem.status, dict(problem.headers))

"""Starlette and FastAPI: a lifespan that holds a client open, a request's client, and responses for errors."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, Final, cast

from returns.result import Result, Success
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response, StreamingResponse

from perdure.client.client import Client
from perdure.integrations.web import OpenClient, problem_response
from perdure.jobs.call import Call, result_of
from perdure.jobs.handle import JobHandle
from perdure.jobs.streams import Stream
from perdure.values.address import check_id
from perdure.values.errors import DefinitionError, InvalidArgument, PerdureError, UnknownJob
from perdure.values.stream import StreamPage, offset_of, server_sent

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


PULSE_MS: Final = 10_000
"""How often a response without chunks sends a comment, so that a proxy does not close it."""

FOLLOWED_MS: Final = 60_000
"""How long one response follows a stream. Then the browser opens the next one, and sends the last id."""


async def follow(request: Request, handle: JobHandle[Any, Any], id_: str, stream: Stream[Any], /) -> Response:
    """Return the server-sent events of a stream, for an ``EventSource`` in a browser. Check the user before.

    They are those of the engine's own HTTP interface: the browser continues after the last one that it has, also if
    the engine or this process was replaced meanwhile. A stream that has ended is answered with 204, which ends the
    ``EventSource``.

    Args:
        request: its ``Last-Event-ID``, or else its parameter ``after``, says where the browser continues.
        handle: the job's handle.
        id_: the instance.
        stream: the stream's declaration.

    Raises:
        InvalidArgument: the offset or the id is not valid, or the job does not declare the stream.
    """
    # The header first: a browser that connects again sends it, and still has the URL of the first time.
    after = offset_of(request.headers.get("last-event-id") or request.query_params.get("after", "-1"))
    read = partial(handle.dispatch.stream_page, handle.definition.address(check_id(id_)), stream.name)
    first: Result[StreamPage, PerdureError] = await result_of(read(after, 0))
    if isinstance(first, Success) and first.unwrap().state == "end":
        return Response(status_code=204)
    # These two do not pass: after a response with a status the browser stops.
    if not isinstance(first, Success) and isinstance(first.failure(), InvalidArgument | UnknownJob):
        raise first.failure()
    # A proxy must not collect the events.
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(read, first), media_type="text/event-stream", headers=headers)


async def _events(
    read: Callable[[int, int], Call[StreamPage, Any]], answer: Result[StreamPage, Any]
) -> AsyncGenerator[bytes]:
    until_ms = time.monotonic() * 1_000 + FOLLOWED_MS
    # The pause in milliseconds before the browser connects again.
    yield b"retry: 500\n\n"
    # After an error the response ends, and the browser tries again: it would not, after a response of another status.
    while isinstance(answer, Success):
        page = answer.unwrap()
        if page.state == "end":
            yield b"event: end\ndata: {}\n\n"
            return
        yield b"".join(map(server_sent, page.items)) or b": pulse\n\n"
        left_ms = round(until_ms - time.monotonic() * 1_000)
        if left_ms <= 0:
            return
        answer = await result_of(read(page.after, min(left_ms, PULSE_MS)))


async def _respond(request: Request, error: Exception) -> Response:
    if not isinstance(error, PerdureError):
        raise error
    problem = problem_response(
        error, getattr(request.state, STATE, None), request=f"{request.method} {request.url.path}"
    )
    return Response(problem.body, problem.status, dict(problem.headers))

"""Sends bodies with an HTTP client."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeAlias

from perdure.telemetry.tracker.endpoint import Post
from perdure.telemetry.tracker.options import TrackerOptions
from perdure.telemetry.tracker.response import NoResponse, Response
from perdure.values.errors import DefinitionError
from perdure.values.excerpt import MAX_LINE_CHARACTERS, shortened
from perdure.wire.engine_info import installed_version

if TYPE_CHECKING:  # the client is an extra
    import httpx2

Connect: TypeAlias = Callable[[TrackerOptions], AbstractAsyncContextManager[Post]]
"""Opens a connection to the endpoint of some options; the end of the context closes it."""

MAX_RESPONSE_BYTES: Final = 65_536
"""How much of a response is read, to use its connection again. A longer response costs a new connection."""


@asynccontextmanager
async def http_post(options: TrackerOptions) -> AsyncGenerator[Post]:
    """Open an HTTP client for an endpoint.

    Raises:
        DefinitionError: the extra ``client`` is not installed.
    """
    try:
        import httpx2  # noqa: PLC0415 - of the extra `client`
    except ModuleNotFoundError as error:
        expected = "the HTTP client to be installed: pip install 'perdure[client]'"
        raise DefinitionError("tracker", error, expected) from error
    encoding = {"content-encoding": "gzip"} if options.compression == "gzip" else {}
    headers = {
        "user-agent": f"perdure/{installed_version()}",
        "content-type": "application/json",
        **encoding,
        **options.headers,
    }
    timeout_s = options.timeout_ms / 1_000
    limits = httpx2.Limits(max_connections=1, max_keepalive_connections=1)
    async with httpx2.AsyncClient(timeout=timeout_s, limits=limits, follow_redirects=False) as client:

        async def post(body: bytes) -> Response | NoResponse:
            try:
                async with client.stream("POST", options.endpoint, content=body, headers=headers) as response:
                    await _read(response)
                    return Response(response.status_code, response.headers.get("retry-after", ""))
            except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
                return NoResponse(_reason(error, options))

        yield post


async def _read(response: httpx2.Response) -> None:
    size = 0
    async for part in response.aiter_raw():
        size += len(part)
        if size > MAX_RESPONSE_BYTES:
            return


def _reason(error: Exception, options: TrackerOptions) -> str:
    """Describe an error without the values of headers."""
    text = f"{type(error).__name__}: {error}".removesuffix(": ")
    if any(value in text for value in options.headers.values()):
        return type(error).__name__
    return shortened(text, MAX_LINE_CHARACTERS)

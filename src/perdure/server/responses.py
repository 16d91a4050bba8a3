"""Responses: answers and errors as HTTP, and refusals, which the application never sees."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias, TypeVar

import attrs
import orjson
from returns.result import Failure, Result, Success
from starlette.responses import Response

from perdure.codecs import Codec
from perdure.server.http_limits import HttpLimits
from perdure.values.errors import (
    AccessDenied,
    EngineClosed,
    InvalidArgument,
    Overloaded,
    PerdureError,
    RequestError,
    StoreUnavailable,
)
from perdure.wire.problems import MEDIA_TYPE, problem_of

Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@attrs.frozen(kw_only=True)
class HttpRefusal:
    """A response that refuses a request.

    Attributes:
        error: the error, the same that a client in process would get.
        headers: headers besides the type and the length.
    """

    status: int
    error: RequestError
    headers: tuple[tuple[bytes, bytes], ...] = ()


def access_refusal(error: AccessDenied) -> HttpRefusal:
    """Return 401 for a missing or wrong token, else 403, with the RFC 6750 challenge."""
    match error.cause:
        case "no_token":
            challenge = 'Bearer realm="perdure"'
        case "wrong_token":
            challenge = 'Bearer realm="perdure", error="invalid_token"'
        case "small_scope":
            challenge = f'Bearer realm="perdure", error="insufficient_scope", scope="{error.scope}"'
        case "not_local":
            return HttpRefusal(status=403, error=error)
    status = 403 if error.cause == "small_scope" else 401
    return HttpRefusal(status=status, error=error, headers=((b"www-authenticate", challenge.encode()),))


def rate_refusal(limits: HttpLimits, wait_ms: float) -> HttpRefusal:
    """Return 429, with the whole seconds that the client must wait."""
    error = Overloaded("requests a second of one client", limits.requests_per_second)
    return HttpRefusal(status=429, error=error, headers=((b"retry-after", b"%d" % max(1, math.ceil(wait_ms / 1_000))),))


def bodies_refusal(limits: HttpLimits) -> HttpRefusal:
    """Return 503: other requests' bodies fill the memory for bodies."""
    return busy_refusal("bytes of the bodies of one client or of all", limits.bodies_bytes)


def busy_refusal(name: str, limit: int, *headers: tuple[bytes, bytes]) -> HttpRefusal:
    """Return 503: too much is in progress, and nothing was done."""
    return HttpRefusal(status=503, error=Overloaded(name, limit), headers=((b"retry-after", b"1"), *headers))


def size_refusal(status: int, what: str, got: str, limit: str) -> HttpRefusal:
    """Refuse a request with a part that is too large: 413, 414 or 431."""
    return HttpRefusal(status=status, error=InvalidArgument(what, got, f"at most {limit}"))


async def send_refusal(refusal: HttpRefusal, send: Send) -> None:
    """Send a refusal as ``application/problem+json``."""
    body = orjson.dumps({**problem_of(refusal.error), "status": refusal.status})
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        *refusal.headers,
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


A = TypeVar("A")

RETRY_AFTER_S: Final = 1
"""The delay that a response with status 503 asks for."""


def json_reply(body: bytes, status: int = 200) -> Response:
    """Return a response with JSON."""
    return Response(body, status, media_type="application/json")


def problem_reply(error: PerdureError, typed: Codec[Any] | None = None, *, traceback: bool = False) -> Response:
    """Return the response for an error.

    Args:
        error: the error.
        typed: the codec for the job's typed errors.
        traceback: whether the client may read tracebacks.
    """
    problem = problem_of(error, typed, traceback=traceback)
    headers: dict[str, str] = {}
    if isinstance(error, Overloaded | EngineClosed | StoreUnavailable):
        headers["Retry-After"] = str(RETRY_AFTER_S)
    if isinstance(error, AccessDenied) and error.cause in {"no_token", "wrong_token"}:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(orjson.dumps(problem), problem["status"], headers=headers, media_type=MEDIA_TYPE)


def reply_to(
    result: Result[A, Any], encode: Callable[[A], bytes], typed: Codec[Any] | None = None, *, traceback: bool = False
) -> Response:
    """Return the response for a call's result.

    Args:
        result: the result. Its error is a `PerdureError`.
        encode: returns the answer as JSON.
        typed: the codec for the job's typed errors.
        traceback: whether the client may read tracebacks.
    """
    match result:
        case Success(answer):
            return json_reply(encode(answer))
        case Failure(error):
            return problem_reply(error, typed, traceback=traceback)
        case _:
            raise TypeError(result)

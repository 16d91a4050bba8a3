"""Refusals: the responses with which the server answers a request itself, before the application sees it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

import attrs
import orjson

from perdure.server.http_limits import HttpLimits
from perdure.values.errors import AccessDenied, InvalidArgument, Overloaded, RequestError
from perdure.wire.problems import problem_of

Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@attrs.frozen(kw_only=True)
class HttpRefusal:
    """A response that refuses a request.

    Attributes:
        status: the HTTP status.
        error: the error, the same that a client in process would get.
        headers: headers besides the type and the length.
    """

    status: int
    error: RequestError
    headers: tuple[tuple[bytes, bytes], ...] = ()


def access_refusal(error: AccessDenied) -> HttpRefusal:
    """Return 401 for a missing or wrong token, else 403, with the challenge of RFC 6750."""
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
    """Return 503: the bodies of other requests fill the memory for bodies."""
    return busy_refusal("bytes of the bodies of one client or of all", limits.bodies_bytes)


def busy_refusal(name: str, limit: int, *headers: tuple[bytes, bytes]) -> HttpRefusal:
    """Return 503: so much is in progress that nothing of the request was done."""
    return HttpRefusal(status=503, error=Overloaded(name, limit), headers=((b"retry-after", b"1"), *headers))


def size_refusal(status: int, what: str, got: str, limit: str) -> HttpRefusal:
    """Return the refusal of a request of which a part is too large: 413, 414 or 431."""
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

"""Answers and errors as HTTP responses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import orjson
from returns.result import Failure, Result, Success
from starlette.responses import Response

from perdure.codecs import Codec
from perdure.values.errors import AccessDenied, EngineClosed, Overloaded, PerdureError, StoreUnavailable
from perdure.wire.problems import MEDIA_TYPE, problem_of

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
        typed: the codec of the job's typed errors.
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
    """Return the response for the result of a call.

    Args:
        result: the result; its error is a `PerdureError`.
        encode: returns the answer as JSON.
        typed: the codec of the job's typed errors.
        traceback: whether the client may read tracebacks.
    """
    match result:
        case Success(answer):
            return json_reply(encode(answer))
        case Failure(error):
            return problem_reply(error, typed, traceback=traceback)
        case _:
            raise TypeError(result)

"""The response of a web application for an error of perdure."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

import attrs
import orjson

from perdure.values.errors import PerdureError
from perdure.wire.problems import MEDIA_TYPE, problem_of

RETRY_AFTER_S: Final = "1"
"""The ``Retry-After`` of a 503: an engine that restarts answers within a second."""

_log = logging.getLogger("perdure.integrations")

_SERVER_ERROR: Final = 500
_UNAVAILABLE: Final = 503
_PUBLIC: Final = ("type", "title", "status", "code")


@attrs.frozen(kw_only=True)
class ProblemResponse:
    """A problem (RFC 9457) as the parts of an HTTP response.

    Attributes:
        status: the HTTP status.
        headers: its headers, with the media type.
        body: the problem as JSON.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


def problem_response(error: PerdureError, /, *, request: str) -> ProblemResponse:
    """Return the response for an error, and log it if the caller of the web application cannot fix it.

    Such a problem, with a status from 500, has no detail and no fields of the error: they can name paths, jobs and
    exceptions of your servers.

    Args:
        error: the error of a call.
        request: the method and path of the web request, for the log.
    """
    problem: dict[str, Any] = problem_of(error, traceback=False)
    status: int = problem["status"]
    if status >= _SERVER_ERROR:
        _log.error("%s failed: %s", request, error)
        problem = {name: problem[name] for name in _PUBLIC}
    retry = {"retry-after": RETRY_AFTER_S} if status == _UNAVAILABLE else {}
    return ProblemResponse(status=status, headers={"content-type": MEDIA_TYPE, **retry}, body=orjson.dumps(problem))

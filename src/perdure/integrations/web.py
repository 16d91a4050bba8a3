"""What the web framework integrations share: the function that opens a client, and the response for an error."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, TypeAlias

import attrs
import orjson

from perdure.client.client import Client, gateway_of
from perdure.values.errors import PerdureError, Rejected
from perdure.wire.problems import MEDIA_TYPE, code_of, problem_of

OpenClient: TypeAlias = Callable[[], AbstractAsyncContextManager[Client]]
"""Opens a client: ``lambda: connect(url, orders)``, or ``lambda: app.open(store)`` for an engine in this process."""


RETRY_AFTER_S: Final = "1"
"""The ``Retry-After`` of a 503: an engine that restarts answers within a second."""

_log = logging.getLogger("perdure.integrations")

_SERVER_ERROR: Final = 500
_UNAVAILABLE: Final = 503
_PUBLIC: Final = ("type", "title", "status", "code")


@attrs.frozen(kw_only=True)
class ProblemResponse:
    """A problem (RFC 9457) as an HTTP response's parts.

    Attributes:
        status: the HTTP status.
        headers: its headers, with the media type.
        body: the problem as JSON.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


def problem_response(error: PerdureError, client: Client | None, /, *, request: str) -> ProblemResponse:
    """Return the response for an error, and log it if the web application's caller cannot fix it.

    Such a problem, with a status from 500, has no detail and no error fields: they can name your servers' paths, jobs
    and exceptions.

    Args:
        error: a call's error.
        client: the application's client, whose definitions encode the errors that they declare. None if it is not
            known.
        request: the web request's method and path, for the log.
    """
    problem: dict[str, Any] = problem_of(error, traceback=False)
    if problem["code"] == code_of(Rejected) and client is not None:
        problem = _declared(error, client, problem)
    status: int = problem["status"]
    if status >= _SERVER_ERROR:
        _log.error("%s failed: %s", request, error)
        problem = {name: problem[name] for name in _PUBLIC}
    retry = {"retry-after": RETRY_AFTER_S} if status == _UNAVAILABLE else {}
    return ProblemResponse(status=status, headers={"content-type": MEDIA_TYPE, **retry}, body=orjson.dumps(problem))


def _declared(error: PerdureError, client: Client, undeclared: dict[str, Any]) -> dict[str, Any]:
    """Describe a job's own error in its type's JSON, if the definitions that can encode it agree on the JSON.

    The error does not name its job. Its secrets are hidden.
    """
    described: list[dict[str, Any]] = []
    for job in gateway_of(client).definitions.values():
        codec = job.plan.errors
        problem = problem_of(error, codec, traceback=False)
        if codec is not None and "error" in problem:
            described.append({**problem, "error": orjson.loads(codec.redact(orjson.dumps(problem["error"])))})
    agreed = described and all(problem == described[0] for problem in described)
    return described[0] if agreed else undeclared

"""The HTTP libraries' failures, by whether the request may have been performed, in this library's words."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import h11
import httpx2

from perdure.remote.channel import CONNECT_MS, AnswerLost, NotSent
from perdure.values.excerpt import excerpt


def limits_of(timeout_ms: float) -> httpx2.Timeout:
    """Return one request's limits for the HTTP library.

    Args:
        timeout_ms: the longest time for a free connection, and without a response part.
    """
    return httpx2.Timeout(timeout_ms / 1_000, connect=min(timeout_ms, CONNECT_MS) / 1_000)


@contextmanager
def by_effect() -> Generator[None]:
    """Raise `NotSent` or `AnswerLost` for an HTTP library error.

    Raises:
        NotSent: no connection was made.
        AnswerLost: the connection failed later, or the server was too slow.
    """
    try:
        yield
    # No connection was made: nothing was sent. In each later error the request may have been performed.
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
        raise NotSent(reason_of(error)) from error
    except (httpx2.TimeoutException, httpx2.TransportError, httpx2.StreamError) as error:
        raise AnswerLost(f"the connection failed: {reason_of(error)}") from error


def reason_of(error: Exception) -> str:
    """Return why a request failed.

    The texts of an HTTP library name parser states, and repeat bytes from the server.
    """
    match error:
        case httpx2.TimeoutException() | TimeoutError():
            return "the server did not answer in time"
        case httpx2.RemoteProtocolError() | h11.RemoteProtocolError():
            return "the server closed it before the end of its response, or does not speak HTTP/1.1"
        case httpx2.LocalProtocolError() | h11.LocalProtocolError() | httpx2.StreamError():
            return "the response had ended before"
        case _:
            return str(error) or excerpt(error)

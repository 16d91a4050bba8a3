"""The failures of the HTTP library, by whether the request may have been performed."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import httpx2

from perdure.remote.channel import AnswerLost, NotSent
from perdure.values.excerpt import excerpt


@contextmanager
def by_effect() -> Generator[None]:
    """Raise `NotSent` or `AnswerLost` for an error of the HTTP library.

    Raises:
        NotSent: no connection was made.
        AnswerLost: the connection failed later, or the server was too slow.
    """
    try:
        yield
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
        raise NotSent(_text(error)) from error
    except (httpx2.TimeoutException, httpx2.TransportError, httpx2.StreamError) as error:
        raise AnswerLost(f"the connection failed: {_text(error)}") from error


def _text(error: Exception) -> str:
    return str(error) or excerpt(error)

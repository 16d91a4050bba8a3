"""Every limit of the server on its connections and requests, with its default."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import attrs

from perdure.values.duration import Duration, duration_ms, format_duration
from perdure.values.errors import DefinitionError


def _duration(default: str) -> str:
    def normal(value: Duration, field: attrs.Attribute[Any]) -> str:
        return format_duration(duration_ms(value, what=f"{field.name} of the HTTP limits"))

    return attrs.field(default=default, converter=attrs.Converter(normal, takes_field=True))


@attrs.frozen(kw_only=True)
class HttpLimits:
    """The limits of the server. Durations are a ``timedelta`` or text such as ``"30 seconds"``.

    The application enforces the first ten, also in a server of your own; ``perdure serve`` and ``perdure run``
    enforce the rest on each connection.

    Attributes:
        body_bytes: size of the body of a request; a larger one is answered 413, before it is received if its length is
            announced.
        bodies_bytes: size of all bodies that are being received; a request beyond it is answered 503.
        batch_lines: requests in one ``POST /v1/calls``; more are answered 413.
        url_bytes: size of path and query; a longer one is answered 414.
        header_bytes: size of all headers of a request; larger ones are answered 431, and 400 if they
            do not end.
        requests_per_second: requests of one client in the long run; more are answered 429 with ``Retry-After``. A
            client is a token, or an address without one (an IPv6 network of 64 bits counts as one). The requests of a
            batch count as one. Not on the socket of the owner.
        burst: requests that a client may send at once after a pause.
        lists_at_once: lists, histories and explanations that the server computes at once; more requests for one wait.
        waits: requests that wait for the status of an instance; more are answered 503.
        live_pages: pages of the dashboard that follow the engine at the same time; further ones show no changes.
        connections: connections at the same time. At the limit, a new connection replaces the one that has waited
            longest for a request; if all have requests in progress, the new one is answered 503 and closed.
        header_timeout: from the first byte of a request to the end of its headers.
        body_timeout: from the end of the headers to the end of the body.
        idle_timeout: how long a connection may wait for a request.
        write_timeout: how long the unread rest of a response may wait in the server for its client to read it.
        write_buffer_bytes: unread bytes of a response after which the application that produces it waits.
        unread_bytes: unread bytes of all responses; beyond, the connection whose client has not read for longest is
            closed.

    Raises:
        DefinitionError: a limit is not a whole number from 1, or not a duration.
    """

    body_bytes: int = 4_194_304
    bodies_bytes: int = 67_108_864
    batch_lines: int = 1_000
    url_bytes: int = 8_192
    header_bytes: int = 16_384
    requests_per_second: int = 5_000
    burst: int = 10_000
    lists_at_once: int = 1
    waits: int = 500
    live_pages: int = 20
    connections: int = 1_000
    header_timeout: Duration = _duration("10 seconds")  # noqa: RUF009 - a field
    body_timeout: Duration = _duration("30 seconds")  # noqa: RUF009 - a field
    idle_timeout: Duration = _duration("75 seconds")  # noqa: RUF009 - a field
    write_timeout: Duration = _duration("30 seconds")  # noqa: RUF009 - a field
    write_buffer_bytes: int = 65_536
    unread_bytes: int = 67_108_864

    def __attrs_post_init__(self) -> None:
        for name in _WHOLE_NUMBERS:
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise DefinitionError(f"{name} of the HTTP limits", value, "a whole number from 1")


_WHOLE_NUMBERS: Final = (
    "body_bytes",
    "bodies_bytes",
    "batch_lines",
    "url_bytes",
    "header_bytes",
    "requests_per_second",
    "burst",
    "lists_at_once",
    "waits",
    "live_pages",
    "connections",
    "write_buffer_bytes",
    "unread_bytes",
)


def http_limits_of(texts: Iterable[str]) -> HttpLimits:
    """Parse limits, each ``name=value``; those without one have their default.

    >>> http_limits_of(["connections=200", "idle_timeout=5 minutes"]) == HttpLimits(
    ...     connections=200, idle_timeout="5 minutes"
    ... )
    True

    Raises:
        DefinitionError: a name is not that of a limit or occurs twice, or a value is not valid.
    """
    given: dict[str, Any] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or name in given or name not in _NAMES:
            raise DefinitionError("HTTP limit", text, f"name=value, each once, with a name of {', '.join(_NAMES)}")
        digits = name in _WHOLE_NUMBERS and value.isascii() and value.isdigit() and len(value) <= _DIGITS
        given[name] = int(value) if digits else value
    return HttpLimits(**given)


_NAMES: Final = tuple(field.name for field in attrs.fields(HttpLimits))
_DIGITS: Final = 18

DEFAULT_LIMITS: Final = HttpLimits()
"""The limits of a server that names none."""

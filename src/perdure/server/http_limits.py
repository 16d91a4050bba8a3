"""Every limit that the server puts on connections and requests, with its default, and the open files that they need.

File descriptors are reserved for the store, so that client connections cannot exhaust them.
"""

from __future__ import annotations

import resource
from collections.abc import Iterable
from typing import Any, Final

import attrs

from perdure.values.errors import DefinitionError
from perdure.values.times import Duration, duration_ms, format_duration


def _duration(default: str) -> str:
    def normal(value: Duration, field: attrs.Attribute[Any]) -> str:
        return format_duration(duration_ms(value, what=f"{field.name} of the HTTP limits"))

    return attrs.field(default=default, converter=attrs.Converter(normal, takes_field=True))


@attrs.frozen(kw_only=True)
class HttpLimits:
    """The server's limits. Durations are a ``timedelta`` or text such as ``"30 seconds"``.

    The application enforces those up to `client_live_pages`, also in your own server. ``perdure serve`` and ``perdure
    run`` enforce the rest on each connection. A client is a token, or an address without one (a 64-bit IPv6 network
    counts as one), so that no client takes what all share. ``/live`` and ``/ready`` count against no limit here, except
    against their own rate.

    Attributes:
        body_bytes: a request body's size. A larger one is answered 413, before it is received if its length is
            announced. ``/live`` and ``/ready`` take no body. The dashboard's sign-in form has at most 16 KiB.
        bodies_bytes: the size that all bodies in the server may have together. A request beyond it is answered 503.
        client_bodies_bytes: the same for one client.
        sign_ins: dashboard sign-in forms that are being received. A further one is answered 503.
        client_requests: one client's requests in progress. A further one is answered 503.
        batch_lines: requests in one ``POST /v1/calls``. More are answered 413.
        lines_at_once: batch requests in progress. A batch beyond it waits, and clients take turns. A batch with one
            request counts as that request alone, here and below.
        client_lines: the same for one client.
        reads_at_once: batch reads that are computed at the same time. More wait, and clients take turns.
        answers_bytes: batch answers that wait for their clients to read them. Beyond it, no further read begins.
        client_answers_bytes: the same for one client.
        url_bytes: the size that path and query have together. A longer one is answered 414.
        header_bytes: the size that a request's headers have together. Larger ones are answered 431, and 400 if they do
            not end.
        requests_per_second: one client's requests per second in the long run. More are answered 429 with
            ``Retry-After``. Each request in a batch counts. Not on the owner's socket. Probes, and requests without a
            valid token, are counted by their address, each for themselves.
        burst: requests that a client may send at once after a pause.
        lists_at_once: lists, histories, steps and explanations that the server computes at once. More requests for one
            wait, and clients take turns. A request whose client has left is not computed.
        lists_waiting: requests that wait for one. More are answered 503.
        client_lists_waiting: the same for one client.
        waits: requests that wait for an instance's status. More are answered 503.
        client_waits: the same for one client.
        live_pages: dashboard pages that follow the engine at the same time. Further ones show no changes.
        client_live_pages: the same for one client.
        connections: connections at the same time. At the limit, a new connection replaces the one that has waited
            longest for a request. If all have requests in progress, the new one may only send probes.
        probe_connections: connections beyond that, for ``/live`` and ``/ready`` alone: another request there is
            answered 503. A further one replaces the oldest, preferably one that is not being answered.
        header_timeout: from a request's first byte to its headers' end.
        body_timeout: from the headers' end to the body's end.
        idle_timeout: how long a connection may wait for a request.
        write_timeout: how long the unread rest of a response may wait in the server for its client to read it.
        write_buffer_bytes: unread response bytes after which the application that produces the response waits.
        unread_bytes: unread bytes in all responses together. Beyond, the connection whose client has not read for
            longest is closed.

    Raises:
        DefinitionError: a limit is not a whole number from 1, or not a duration.
    """

    body_bytes: int = 33_554_432
    bodies_bytes: int = 67_108_864
    client_bodies_bytes: int = 33_554_432
    sign_ins: int = 20
    client_requests: int = 500
    batch_lines: int = 1_000
    lines_at_once: int = 20_000
    client_lines: int = 5_000
    reads_at_once: int = 16
    answers_bytes: int = 33_554_432
    client_answers_bytes: int = 16_777_216
    url_bytes: int = 8_192
    header_bytes: int = 16_384
    requests_per_second: int = 20_000
    burst: int = 40_000
    lists_at_once: int = 1
    lists_waiting: int = 400
    client_lists_waiting: int = 100
    waits: int = 500
    client_waits: int = 250
    live_pages: int = 20
    client_live_pages: int = 10
    connections: int = 1_000
    probe_connections: int = 20
    header_timeout: Duration = _duration("10 seconds")  # noqa: RUF009 - a field
    body_timeout: Duration = _duration("30 seconds")  # noqa: RUF009 - a field
    idle_timeout: Duration = _duration("75 seconds")  # noqa: RUF009 - a field
    write_timeout: Duration = _duration("30 seconds")  # noqa: RUF009 - a field
    write_buffer_bytes: int = 65_536
    unread_bytes: int = 67_108_864

    def __attrs_post_init__(self) -> None:
        for name in _WHOLE_NUMBERS:
            value = getattr(self, name)
            # `type`, not `isinstance`: True would be a limit of 1.
            if type(value) is not int or value < 1:
                raise DefinitionError(f"{name} of the HTTP limits", value, "a whole number from 1")


def http_limits_of(texts: Iterable[str]) -> HttpLimits:
    """Parse limits, each ``name=value``. Those without one have their default.

    >>> http_limits_of(["connections=200", "idle_timeout=5 minutes"]) == HttpLimits(
    ...     connections=200, idle_timeout="5 minutes"
    ... )
    True

    Raises:
        DefinitionError: a name is not a limit's name or occurs twice, or a value is not valid.
    """
    given: dict[str, Any] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or name in given or name not in _NAMES:
            raise DefinitionError("HTTP limit", text, f"name=value, each once, with a name of {', '.join(_NAMES)}")
        # A longer text would raise an error of Python's own.
        digits = name in _WHOLE_NUMBERS and value.isascii() and value.isdigit() and len(value) <= _DIGITS
        given[name] = int(value) if digits else value
    return HttpLimits(**given)


_NAMES: Final = tuple(field.name for field in attrs.fields(HttpLimits))
_WHOLE_NUMBERS: Final = tuple(field.name for field in attrs.fields(HttpLimits) if type(field.default) is int)
_DIGITS: Final = 18

DEFAULT_LIMITS: Final = HttpLimits()
"""The limits for a server that names none."""


RESERVED: Final = 128
"""Open files that are kept for the store, the services and the log."""


@attrs.frozen(kw_only=True)
class OpenFiles:
    """A process's open-file limit, and the connections that fit in.

    Attributes:
        soft: the limit in effect.
        connections: connections at the same time, over all addresses.
    """

    soft: int
    connections: int


def fitting(connections: int, *, soft: int, hard: int) -> OpenFiles:
    """Return the soft limit to set, and how many of the desired connections fit in.

    Args:
        connections: the desired connections.
        soft: this process's soft limit.
        hard: its hard limit. -1 for none.

    >>> fitting(1_000, soft=1_024, hard=4_096)
    OpenFiles(soft=1128, connections=1000)
    >>> fitting(1_000, soft=256, hard=512)
    OpenFiles(soft=512, connections=384)
    """
    if soft == resource.RLIM_INFINITY:
        return OpenFiles(soft=soft, connections=connections)
    wanted = max(soft, connections + RESERVED)
    possible = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    # At least one connection: a server without any could not even report its problem.
    return OpenFiles(soft=possible, connections=max(1, min(connections, possible - RESERVED)))


def make_room(connections: int) -> int:
    """Raise this process's open-file limit as far as needed and permitted.

    Returns:
        The connections that fit in.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = fitting(connections, soft=soft, hard=hard)
    # The hard limit stays: lowering it could not be undone.
    if found.soft != soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (found.soft, hard))
    return found.connections

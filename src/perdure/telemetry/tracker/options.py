"""A tracker's options, checked when it is made."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Final, Literal, TypeAlias, cast
from urllib.parse import urlsplit

import attrs

from perdure.stores.url_parts import redacted_url
from perdure.stores.values import UnreadEvent
from perdure.values.errors import DefinitionError
from perdure.values.event import EVENT_TYPES, Event
from perdure.values.retry import Backoff
from perdure.values.times import duration_ms

Selected: TypeAlias = Collection[type[Event]] | Callable[[Event | UnreadEvent], bool] | None
"""The events to export: some classes, those for which a function returns True, or all (None)."""

Compression: TypeAlias = Literal["gzip", "none"]
"""How the body of a request is compressed."""

Start: TypeAlias = Literal["beginning", "now"]
"""Where a tracker begins that has no position yet: at the oldest event of the log, or at the next one."""

MAX_BATCH: Final = 1_000
"""The maximum number of events of a request: a page of the log."""

MAX_BODY_BYTES: Final = 16 * 1024 * 1024
"""The maximum of ``max_batch_bytes``."""

MAX_NAME: Final = 64
"""The maximum length of the name of a tracker."""

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
# The HTTP client sets these from the body: a second value would cut or garble the request.
_RESERVED: Final = frozenset(
    ("connection", "content-encoding", "content-length", "content-type", "host", "transfer-encoding")
)
_NAME: Final = re.compile(rf"[A-Za-z0-9._-]{{1,{MAX_NAME}}}")


@attrs.frozen(kw_only=True)
class TrackerOptions:
    """A tracker's checked options. `tracker` describes each.

    Attributes:
        endpoint: the URL.
        headers: further headers for each request. They may hold a secret.
        service: the service's name.
        environment: the environment's name.
        select: decides which events are exported. None for all.
        start: where a tracker without a position begins.
        batch_size: at most this many events in a request.
        max_batch_bytes: a body's maximum size before compression, if it holds more than one event.
        flush_interval_ms: how long an event waits for others.
        timeout_ms: a request's limit.
        backoff: the delay after a failure.
        compression: how bodies are compressed.
        shutdown_timeout_ms: the last flush's limit.
        name: names the sink and its position.
    """

    endpoint: str = attrs.field(repr=lambda url: repr(shown_url(url)))
    # Not in the repr, which reaches logs: a header may hold the key.
    headers: Mapping[str, str] = attrs.field(repr=False)
    service: str
    environment: str
    select: Callable[[Event | UnreadEvent], bool] | None
    start: Start
    batch_size: int
    max_batch_bytes: int
    flush_interval_ms: int
    timeout_ms: int
    backoff: Backoff
    compression: Compression
    shutdown_timeout_ms: int
    name: str


def shown_url(url: str) -> str:
    """Return a URL without its query and fragment, which may hold a key."""
    base = redacted_url(url).partition("#")[0].partition("?")[0]
    return base if base == url else f"{base}..."


def checked_url(url: object) -> str:
    """Check an endpoint's URL.

    Raises:
        DefinitionError: it is not a URL that events can be sent to. The message shows no query and no password.
    """
    expected = "'https://host/path' or 'http://host:port/path', without user name, password and fragment"
    if not isinstance(url, str):
        raise DefinitionError("endpoint of a tracker", url, expected)
    try:
        parts = urlsplit(url)
        sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise DefinitionError("endpoint of a tracker", "an invalid URL", expected) from None
    if parts.username is not None or parts.password is not None:
        raise DefinitionError("endpoint of a tracker", "a URL with a user name", f"{expected}; pass service_key")
    if not sound or parts.fragment or not url.isascii() or not url.isprintable() or " " in url:
        raise DefinitionError("endpoint of a tracker", shown_url(url), expected)
    return url


def checked_headers(headers: Mapping[str, str] | None, service_key: object) -> dict[str, str]:
    """Check headers, and add the service key to them.

    Raises:
        DefinitionError: a name or a value is not valid. The message shows no value.
    """
    checked: dict[str, str] = {}
    for name, value in cast("Mapping[object, object]", headers or {}).items():
        if not isinstance(name, str) or _TOKEN.fullmatch(name) is None:
            raise DefinitionError("headers of a tracker", name, "names such as 'x-tenant'")
        lower = name.lower()
        if lower in _RESERVED or lower in checked:
            raise DefinitionError("headers of a tracker", name, "each name once, and none that the tracker sets itself")
        checked[lower] = _header_value(f"header {name!r} of a tracker", value)
    if service_key is not None:
        if "authorization" in checked:
            raise DefinitionError("headers of a tracker", "authorization", "either this header or service_key")
        checked["authorization"] = f"Bearer {_header_value('service_key of a tracker', service_key)}"
    return checked


def _header_value(what: str, value: object) -> str:
    if not isinstance(value, str) or _VALUE.fullmatch(value) is None:
        got = f"{len(value)} characters" if isinstance(value, str) else type(value)
        raise DefinitionError(what, got, "printable ASCII characters, with no blank at either end")
    return value


def checked_selection(include: Selected) -> Callable[[Event | UnreadEvent], bool] | None:
    """Return the function that selects events. None selects all.

    Raises:
        DefinitionError: a value is not an event class.
    """
    if include is None or callable(include):
        return include
    given = cast("object", include)
    expected = "event classes of perdure.values.event, a function, or None"
    if not isinstance(given, Collection) or isinstance(given, str):
        raise DefinitionError("include of a tracker", given, expected)
    classes = frozenset(cast("Collection[object]", given))
    for kind in classes:
        if kind not in EVENT_TYPES.values():
            raise DefinitionError("include of a tracker", kind, expected)
    return lambda event: isinstance(event, UnreadEvent) or type(event) in classes


def checked_number(what: str, value: object, most: int) -> int:
    """Check a whole number from 1.

    Raises:
        DefinitionError: it is not one, or greater than ``most``.
    """
    if type(value) is not int or not 1 <= value <= most:
        raise DefinitionError(f"{what} of a tracker", value, f"a whole number from 1 to {most:,}")
    return value


def checked_choice(what: str, value: object, choices: tuple[str, ...]) -> None:
    """Check that a word is one of the choices.

    Raises:
        DefinitionError: it is not.
    """
    if value not in choices:
        raise DefinitionError(f"{what} of a tracker", value, " or ".join(map(repr, choices)))


def checked_text(what: str, value: object) -> str:
    """Check a text that each event carries.

    Raises:
        DefinitionError: it is not a text.
    """
    if not isinstance(value, str):
        raise DefinitionError(f"{what} of a tracker", value, "a text")
    return value


def checked_name(value: object) -> str:
    """Check a tracker's name.

    Raises:
        DefinitionError: it is not 1 to 64 letters, digits, dots, hyphens or underscores.
    """
    if not isinstance(value, str) or _NAME.fullmatch(value) is None:
        raise DefinitionError("name of a tracker", value, "1 to 64 letters, digits, dots, hyphens or underscores")
    return value


def checked_backoff(value: object) -> Backoff:
    """Check a backoff.

    Raises:
        DefinitionError: it is not a `Backoff`.
    """
    if not isinstance(value, Backoff):
        raise DefinitionError("backoff of a tracker", value, "a Backoff, such as Backoff.exponential('1s', max='5m')")
    return value


def checked_duration(what: str, value: object) -> int:
    """Check a duration, and return its milliseconds.

    Raises:
        DefinitionError: it is not a duration.
    """
    return duration_ms(cast("str", value), what=f"{what} of a tracker", minimum_ms=1)

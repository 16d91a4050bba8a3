"""Responses of an endpoint, and the verdict on each."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Final, TypeAlias

import attrs

REFUSING: Final = frozenset((400, 413, 415, 422))
"""The statuses that say that a body is wrong, not that the endpoint cannot take it now."""

MAX_RETRY_AFTER_MS: Final = 3_600_000
"""The longest wait that an endpoint can ask for: an hour."""

_TRANSIENT: Final = frozenset((408, 425, 429))
_OK: Final = 200
_REDIRECT: Final = 300
_CLIENT_ERROR: Final = 400
_SERVER_ERROR: Final = 500


@attrs.frozen
class Response:
    """A response.

    Attributes:
        status: its status.
        retry_after: the header ``retry-after``.
    """

    status: int
    retry_after: str = ""


@attrs.frozen
class NoResponse:
    """A request without a response.

    Attributes:
        reason: why.
    """

    reason: str


@attrs.frozen
class EventsAccepted:
    """The endpoint has the batch."""


@attrs.frozen
class EventsRefused:
    """The endpoint says that the body is wrong.

    Attributes:
        reason: its response.
    """

    reason: str


@attrs.frozen
class Unavailable:
    """The endpoint does not take the batch now: repeat it.

    Attributes:
        reason: its response, or why there is none.
        retry_after_ms: how long it asks to wait.
    """

    reason: str
    retry_after_ms: int = 0


@attrs.frozen
class Misconfigured:
    """The endpoint does not take any batch until an operator changes something: the URL, the key, the endpoint.

    Attributes:
        reason: its response.
    """

    reason: str


Verdict: TypeAlias = EventsAccepted | EventsRefused | Unavailable | Misconfigured
"""What a response means for its batch."""


def judge(response: Response | NoResponse, now_ms: int) -> Verdict:
    """Return what a response means for its batch.

    Args:
        response: the response.
        now_ms: the wall clock, for a ``retry-after`` that is a date.
    """
    if isinstance(response, NoResponse):
        return Unavailable(response.reason)
    status, reason = response.status, f"the endpoint answered {response.status}"
    if _OK <= status < _REDIRECT:
        return EventsAccepted()
    if status in REFUSING:
        return EventsRefused(reason)
    if status in _TRANSIENT or status >= _SERVER_ERROR:
        return Unavailable(reason, _wait_ms(response.retry_after, now_ms))
    if _REDIRECT <= status < _CLIENT_ERROR:
        return Misconfigured(f"{reason}, a redirect, which the tracker does not follow")
    return Misconfigured(reason)


def _wait_ms(text: str, now_ms: int) -> int:
    """Read a ``retry-after``: seconds, or a date; 0 if it is neither."""
    if text.isascii() and text.isdigit() and len(text) <= 9:  # noqa: PLR2004 - 30 years
        return min(int(text) * 1_000, MAX_RETRY_AFTER_MS)
    try:
        at_ms = int(parsedate_to_datetime(text).timestamp() * 1_000)
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0
    return max(0, min(at_ms - now_ms, MAX_RETRY_AFTER_MS))

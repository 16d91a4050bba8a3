"""Event batches, and how each ends: pure.

Events are JSON, and batches are request bodies. `judge` says what a response means, and `delivery` is a generator that
decides the order in which a page of events is sent, and which events are skipped.
"""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Generator, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeAlias, cast

import attrs
import orjson

from perdure.stores.rows import event_body
from perdure.stores.values import LoggedEvent, UnreadEvent
from perdure.values.times import from_ms

_CHUNK: Final = 65_536  # bytes that are compressed at once, in about a millisecond
_LEVEL: Final = 1
_BEGIN: Final = b'{"events":['
_END: Final = b"]}"
_GZIP: Final = 31


@attrs.frozen(kw_only=True)
class Outgoing:
    """An event to send.

    Attributes:
        sequence: its number in the log.
        done: the number up to which the log is exported once the endpoint has this event and all before it.
    """

    event_id: str
    type: str
    address: str
    sequence: int
    done: int
    body: bytes = attrs.field(repr=False)


def outgoing(logged: LoggedEvent, *, done: int, origin: dict[str, str]) -> Outgoing:
    """Encode an event.

    Args:
        logged: the event.
        done: see `Outgoing`.
        origin: the members that say where the event is from.
    """
    event = logged.event
    fields = _fields(event.body) if isinstance(event, UnreadEvent) else orjson.loads(event_body(event))
    event_id = fields.pop("event_id", f"sequence-{logged.sequence}")
    # The origin comes last: a field of an event must not replace it.
    data: dict[str, Any] = {
        "event_id": event_id,
        "sequence": logged.sequence,
        "type": event.type,
        "at": from_ms(event.at_ms).isoformat(timespec="milliseconds"),
        "at_ms": event.at_ms,
        "address": event.address,
        **fields,
        **origin,
    }
    return Outgoing(
        event_id=event_id,
        type=event.type,
        address=event.address,
        sequence=logged.sequence,
        done=done,
        body=orjson.dumps(data),
    )


def _fields(body: str) -> dict[str, Any]:
    """Return the fields that an event from a newer version has, if its text is a JSON object."""
    try:
        fields: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(fields, dict):
        return {}
    named = cast("dict[str, Any]", fields)
    return named if isinstance(named.get("event_id", ""), str) else {}


def body_of(batch: Sequence[Outgoing]) -> bytes:
    """Return a request's body: ``{"events": [...]}``."""
    return _BEGIN + b",".join(event.body for event in batch) + _END


def fitting(events: Sequence[Outgoing], count: int, max_bytes: int) -> int:
    """Return how many events from the first on fit into a body: at least one, at most ``count``."""
    size = len(_BEGIN) + len(_END) - 1  # no comma follows the last event
    for number, event in enumerate(events[:count]):
        size += len(event.body) + 1
        # At least one event: an event above the limit must be sent alone, or the tracker would stand before it for
        # ever.
        if size > max_bytes and number > 0:
            return number
    return min(count, len(events))


async def gzipped(body: bytes, breathe: Callable[[], Awaitable[None]]) -> bytes:
    """Compress a body.

    Args:
        body: the body.
        breathe: lets other tasks run. Called after each 64 KiB chunk.
    """
    compressor = zlib.compressobj(level=_LEVEL, wbits=_GZIP)
    parts: list[bytes] = []
    for begin in range(0, len(body), _CHUNK):
        parts.append(compressor.compress(body[begin : begin + _CHUNK]))
        await breathe()
    parts.append(compressor.flush())
    return b"".join(parts)


# No other status may be here: an event that a wrong key or a proxy refuses would be skipped, and so be lost.
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
        retry_after: the header ``retry-after``.
    """

    status: int
    retry_after: str = ""


@attrs.frozen
class NoResponse:
    """A request without a response."""

    reason: str


@attrs.frozen
class EventsAccepted:
    """The endpoint has the batch."""


@attrs.frozen
class EventsRefused:
    """The endpoint says that the body is wrong."""

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
    """The endpoint does not take any batch until an operator changes something: the URL, the key, the endpoint."""

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
    """Read a ``retry-after``: seconds, or a date. 0 if it is neither."""
    # `isdigit` alone is true for characters that `int` refuses.
    if text.isascii() and text.isdigit() and len(text) <= 9:  # noqa: PLR2004 - 30 years
        return min(int(text) * 1_000, MAX_RETRY_AFTER_MS)
    try:
        at_ms = int(parsedate_to_datetime(text).timestamp() * 1_000)
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0
    return max(0, min(at_ms - now_ms, MAX_RETRY_AFTER_MS))


@attrs.frozen
class Send:
    """Send a batch until the endpoint accepts or refuses it, and continue with that verdict.

    Attributes:
        batch: the events, at least one.
    """

    batch: Sequence[Outgoing]


@attrs.frozen
class Advance:
    """Move the position.

    Attributes:
        done: the last exported event's number.
        skipped: events before it that are not, with the responses to them.
    """

    done: int
    skipped: tuple[tuple[Outgoing, str], ...] = ()


@attrs.frozen
class Blocked:
    """The endpoint refuses every event in the page.

    Attributes:
        event: the first.
    """

    event: Outgoing
    reason: str


Step: TypeAlias = Send | Advance | Blocked
Delivery: TypeAlias = Generator[Step, EventsAccepted | EventsRefused | None, None]
"""Yields the steps; it is sent the verdict of each ``Send``, and None after others."""


def delivery(page: Sequence[Outgoing], *, batch_size: int, max_bytes: int) -> Delivery:
    """Yield the steps that export a page.

    Args:
        page: events in order.
        batch_size: at most this many events in a batch.
        max_bytes: the maximum size for a batch with more than one event.
    """
    size = batch_size
    while page:
        count = fitting(page, size, max_bytes)
        match (yield Send(page[:count])):
            case EventsAccepted():
                # After the answer, never before it: the export is at least once.
                yield Advance(page[count - 1].done)
                # Step by step: the next event may be refused, too.
                page, size = page[count:], min(size * 2, batch_size)
            case EventsRefused(reason) if count == 1:
                page = yield from _doubted(page, reason)
            case _:
                # Halve on a refusal, until the event that is refused is alone: its neighbours are exported.
                size = (count + 1) // 2


def _doubted(
    page: Sequence[Outgoing], reason: str
) -> Generator[Step, EventsAccepted | EventsRefused | None, Sequence[Outgoing]]:
    """Find out whether the endpoint refuses the first events or all. Return the events that remain."""
    for index in range(1, len(page)):
        # Skipped only if the endpoint accepts a later event: an endpoint that refuses all has a fault, and everything
        # would be skipped.
        if isinstance((yield Send(page[index : index + 1])), EventsAccepted):
            skipped = yield from _again(page[:index])
            yield Advance(page[index].done, skipped)
            return page[index + 1 :]
    yield Blocked(page[0], reason)
    return ()


def _again(
    events: Sequence[Outgoing],
) -> Generator[Step, EventsAccepted | EventsRefused | None, tuple[tuple[Outgoing, str], ...]]:
    """Send each event again. Return those that are still refused."""
    refused: list[tuple[Outgoing, str]] = []
    for event in events:
        # Sent again: the first refusal may have been a fault that has passed, and skipping is final.
        verdict = yield Send((event,))
        if isinstance(verdict, EventsRefused):
            refused.append((event, verdict.reason))
    return tuple(refused)

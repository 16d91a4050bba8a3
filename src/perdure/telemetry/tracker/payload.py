"""Events as JSON, and batches of them as the bodies of requests."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, cast

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
        event_id: its id.
        type: the name of its type.
        address: its instance, printed.
        sequence: its number in the log.
        done: the number up to which the log is exported once the endpoint has this event and all before it.
        body: its JSON.
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
    """Return the fields of an event of a newer version, if its text is a JSON object."""
    try:
        fields: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(fields, dict):
        return {}
    named = cast("dict[str, Any]", fields)
    return named if isinstance(named.get("event_id", ""), str) else {}


def body_of(batch: Sequence[Outgoing]) -> bytes:
    """Return the body of a request: ``{"events": [...]}``."""
    return _BEGIN + b",".join(event.body for event in batch) + _END


def fitting(events: Sequence[Outgoing], count: int, max_bytes: int) -> int:
    """Return how many of the first events fit into a body: at least one, at most ``count``."""
    size = len(_BEGIN) + len(_END) - 1  # no comma follows the last event
    for number, event in enumerate(events[:count]):
        size += len(event.body) + 1
        if size > max_bytes and number > 0:
            return number
    return min(count, len(events))


async def gzipped(body: bytes, breathe: Callable[[], Awaitable[None]]) -> bytes:
    """Compress a body.

    Args:
        body: the body.
        breathe: lets other tasks run; called after each chunk of 64 KiB.
    """
    compressor = zlib.compressobj(level=_LEVEL, wbits=_GZIP)
    parts: list[bytes] = []
    for begin in range(0, len(body), _CHUNK):
        parts.append(compressor.compress(body[begin : begin + _CHUNK]))
        await breathe()
    parts.append(compressor.flush())
    return b"".join(parts)

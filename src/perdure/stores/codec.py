"""The JSON that stores keep: claims, pending_retries, failures and events, written so that a person can read them.

Reading ignores fields that it does not know, so that a store survives going back to an older version of the library.
"""

from __future__ import annotations

from typing import Any, TypeVar

import orjson
from cattrs import Converter

from perdure.stores.store import LoggedEvent, UnreadEvent
from perdure.values.errors import StoreCorrupt
from perdure.values.event import EVENT_TYPES, Event

T = TypeVar("T")

_converter = Converter(detailed_validation=False)


def to_json(record: object) -> str:
    """Encode a record of `perdure.values` as JSON text."""
    return orjson.dumps(_converter.unstructure(record)).decode()


def from_json(kind: type[T], text: str, *, what: str) -> T:
    """Decode a record of `perdure.values`.

    Args:
        kind: its class.
        text: what `to_json` gave.
        what: whose it is, for the error.

    Raises:
        StoreCorrupt: the text is not the JSON of such a record.
    """
    try:
        return _converter.structure(orjson.loads(text), kind)
    except Exception as error:  # cattrs hands on whatever a constructor raises
        raise StoreCorrupt(what, f"its {kind.__name__} does not decode: {error!r}") from error


def event_body(event: Event) -> str:
    """Encode what an event carries besides its type, address and instant, which a store keeps beside it."""
    fields: dict[str, Any] = _converter.unstructure(event)
    del fields["address"], fields["at_ms"]
    if fields.get("state", "") is None:
        del fields["state"]  # no definition asked for it
    return orjson.dumps(fields).decode()


def logged_event(*, sequence: int, address: str, type_: str, at_ms: int, body: str) -> LoggedEvent:
    """Decode an event of the log.

    A type that this version does not know, and a body that it cannot read, come back as an `UnreadEvent`: the place in
    the log stays, so that a sink can go past it and a history shows that something happened.
    """
    try:
        fields: dict[str, Any] = orjson.loads(body)
        event = _converter.structure(fields | {"address": address, "at_ms": at_ms}, EVENT_TYPES[type_])
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the log goes on
        return LoggedEvent(
            sequence=sequence,
            event=UnreadEvent(type=type_, address=address, at_ms=at_ms, body=body, reason=repr(error)),
        )
    return LoggedEvent(sequence=sequence, event=event)

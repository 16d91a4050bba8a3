"""The JSON in stores: claims, pending retries, failures and events, human-readable.

Unknown fields are ignored, so that an older version of the library can read the store.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final, TypeAlias, TypeVar

import attrs
import orjson
from cattrs import Converter

from perdure.stores.store import LoggedEvent, UnreadEvent
from perdure.values.errors import StoreCorrupt
from perdure.values.event import EVENT_TYPES, Event

T = TypeVar("T")

_converter = Converter(detailed_validation=False)

_OPTIONAL: Final = ("by", "state", "told", "told_by")
"""Fields of events that are not stored if they are empty, which is their default."""


_Reader: TypeAlias = tuple[tuple[str, ...], Callable[[object], tuple[Any, ...]]]
_readers: Final[dict[type, _Reader]] = {}
_bodies: Final[dict[type, _Reader]] = {}
_NOT_IN_BODIES: Final = frozenset(("address", "at_ms", *_OPTIONAL))


def _fields(record: Any) -> dict[str, Any]:
    """Return the fields of a record by name. Records in them are left to `orjson`, which calls the converter."""
    kind = record.__class__
    reader = _readers.get(kind)
    if reader is None:
        names = tuple(field.name for field in attrs.fields(kind))
        reader = _readers[kind] = (names, attrgetter(*names))
    names, read = reader
    return dict(zip(names, read(record), strict=True))


def to_json(record: object) -> str:
    """Encode a record of `perdure.values` as JSON text."""
    kind = record.__class__
    plain = _fields(record) if kind in _readers or attrs.has(kind) else record
    return orjson.dumps(plain, default=_converter.unstructure).decode()


def from_json(kind: type[T], text: str, *, what: str) -> T:
    """Decode a record of `perdure.values`.

    Args:
        kind: its class.
        text: the result of `to_json`.
        what: the owner of the record, for the error message.

    Raises:
        StoreCorrupt: the text is not the JSON of such a record.
    """
    try:
        return _converter.structure(orjson.loads(text), kind)
    except Exception as error:  # cattrs raises any exception of a constructor
        raise StoreCorrupt(what, f"its {kind.__name__} does not decode: {error!r}") from error


def event_body(event: Event) -> str:
    """Encode the fields of an event except its type, address and instant, which a store keeps in columns."""
    kind = event.__class__
    reader = _bodies.get(kind)
    if reader is None:
        names = tuple(field.name for field in attrs.fields(kind) if field.name not in _NOT_IN_BODIES)
        reader = _bodies[kind] = (names, attrgetter(*names))
    fields = dict(zip(reader[0], reader[1](event), strict=True))
    for name in _OPTIONAL:
        value = getattr(event, name, None)
        if value:
            fields[name] = value
    return orjson.dumps(fields, default=_converter.unstructure).decode()


def logged_event(*, sequence: int, address: str, type_: str, at_ms: int, body: str) -> LoggedEvent:
    """Decode an event of the log.

    A type that this version does not know, or a body that it cannot decode, results in an `UnreadEvent`: the log keeps
    its sequence number, so that a sink can continue after it and a history shows that an event exists.
    """
    try:
        fields: dict[str, Any] = orjson.loads(body)
        event = _converter.structure(fields | {"address": address, "at_ms": at_ms}, EVENT_TYPES[type_])
    except Exception as error:  # noqa: BLE001 - one bad event must not stop the log
        return LoggedEvent(
            sequence=sequence,
            event=UnreadEvent(type=type_, address=address, at_ms=at_ms, body=body, reason=repr(error)),
        )
    return LoggedEvent(sequence=sequence, event=event)

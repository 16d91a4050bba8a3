"""Instances, messages, keys and events as rows, both ways, and the JSON in their columns.

The JSON is human-readable: claims, pending retries, failures and event fields. Unknown fields are
ignored, so that an older version of the library can read the store. A row that cannot be decoded is left out of
results, and the health check reports it.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from types import NoneType
from typing import Any, Final, TypeAlias, TypeVar, get_args

import attrs
import orjson
from cattrs import Converter

from perdure.stores.values import LoggedEvent, UnreadEvent
from perdure.values.address import Address
from perdure.values.errors import InvalidId, StoreCorrupt
from perdure.values.event import EVENT_TYPES, Event
from perdure.values.excerpt import excerpt
from perdure.values.instance import UNKNOWN_CODE, Claim, Instance, Left, PendingRetry, codes_of
from perdure.values.message import Message, StoredMessage
from perdure.values.status import FailureRecord, Suspension
from perdure.values.transition import Remembered

T = TypeVar("T")

# Without detailed validation: it slows each row down, and the message names the row anyway.
_converter = Converter(detailed_validation=False)

# Most events have none of them, and each name would be stored with every event.
_OPTIONAL: Final = ("by", "payload", "state", "told", "told_by")
"""Event fields that are not stored if they are empty, which is their default."""


_Reader: TypeAlias = tuple[tuple[str, ...], Callable[[object], tuple[Any, ...]]]
_readers: Final[dict[type, _Reader]] = {}
_bodies: Final[dict[type, _Reader]] = {}
_NOT_IN_BODIES: Final = frozenset(("address", "at_ms", *_OPTIONAL))


def _fields(record: Any) -> dict[str, Any]:
    """Return a record's fields by name. Nested records are left to `orjson`, which calls the converter."""
    kind = record.__class__
    reader = _readers.get(kind)
    if reader is None:
        names = tuple(field.name for field in attrs.fields(kind))
        reader = _readers[kind] = (names, attrgetter(*names))
    names, read = reader
    # By hand, not with `attrs.asdict`, which also copies nested values.
    return dict(zip(names, read(record), strict=True))


def to_json(record: object) -> str:
    """Encode a record from `perdure.values` as JSON text."""
    kind = record.__class__
    plain = _fields(record) if kind in _readers or attrs.has(kind) else record
    return orjson.dumps(plain, default=_converter.unstructure).decode()


def from_json(kind: type[T], text: str, *, what: str) -> T:
    """Decode a record from `perdure.values`.

    Args:
        kind: the record's class.
        text: what `to_json` returned.
        what: names the record in the error message.

    Raises:
        StoreCorrupt: the text is not such a record's JSON.
    """
    try:
        return _converter.structure(orjson.loads(text), kind)
    except Exception as error:  # cattrs raises any exception of a constructor
        raise StoreCorrupt(what, f"its {kind.__name__} does not decode: {error!r}") from error


def event_body(event: Event) -> str:
    """Encode an event's fields except type, address and instant, which a store keeps in columns."""
    kind = event.__class__
    reader = _bodies.get(kind)
    if reader is None:
        names = tuple(field.name for field in attrs.fields(kind) if field.name not in _NOT_IN_BODIES)
        reader = _bodies[kind] = (names, attrgetter(*names))
    fields = dict(zip(reader[0], reader[1](event), strict=True))
    for name in _OPTIONAL:
        # By truth: an empty text and an empty tuple are the defaults of these fields.
        value = getattr(event, name, None)
        if value:
            fields[name] = value
    return orjson.dumps(fields, default=_converter.unstructure).decode()


def logged_event(*, sequence: int, address: str, type_: str, at_ms: int, body: str) -> LoggedEvent:
    """Decode a logged event.

    A type that this version does not know, or a body that it cannot decode, results in an `UnreadEvent`: the log keeps
    its sequence number, so that a sink can continue after it and a history shows that an event exists.
    """
    try:
        fields: dict[str, Any] = orjson.loads(body)
        # The columns win: a body that has fields of these names is not trusted.
        event = _converter.structure(fields | {"address": address, "at_ms": at_ms}, EVENT_TYPES[type_])
    except Exception as error:  # noqa: BLE001 - one bad event must not stop the log
        return LoggedEvent(
            sequence=sequence,
            event=UnreadEvent(type=type_, address=address, at_ms=at_ms, body=body, reason=repr(error)),
        )
    return LoggedEvent(sequence=sequence, event=event)


Row: TypeAlias = tuple[Any, ...]  # as the driver returns it; STRICT tables ensure the types, unless a page is damaged

INSTANCE_COLUMNS = (
    "incarnation, version, kind, name, id, state, state_version, data, alarm_ms, suspension, pending_retry, claim, "
    "event_claim, run_count, event_count, last_error, created_ms, updated_ms, alarm_trace, journal_length, "
    "lane, ended_ms, suspended_ms, left_mark"
)
MESSAGE_COLUMNS = "message_id, sender, target, action, payload, sent_ms, attempts, not_before_ms, error, trace, left_by"
DEAD_LETTER_COLUMNS = "message_id, sender, target, action, payload, sent_ms, attempts, 0, error, trace, NULL"
EVENT_COLUMNS = "sequence, address, type, at_ms, body"

SET_COLUMNS = (
    "version, status, state, state_version, data, alarm_ms, suspension, pending_retry, claim, event_claim, "
    "run_count, event_count, last_error, created_ms, updated_ms, alarm_trace, journal_length, ended_ms, "
    "suspended_ms, left_by, left_mark"
)
"""The columns that every transition of an instance writes. Those with indexes of their own are apart."""

_SUSPENSIONS = frozenset((None, *get_args(Suspension)))


_INT: Final = (int,)
_TEXT: Final = (str,)
_INT_OR_NULL: Final = (int, NoneType)
_TEXT_OR_NULL: Final = (str, NoneType)
_INSTANCE_COLUMN_TYPES: Final = (
    *(_INT, _INT, _TEXT, _TEXT, _TEXT, _TEXT, _INT, _TEXT, _INT_OR_NULL, _TEXT_OR_NULL, _TEXT_OR_NULL, _TEXT_OR_NULL),
    *(_TEXT_OR_NULL, _INT, _INT, _TEXT_OR_NULL, _INT, _INT, _TEXT_OR_NULL, _INT_OR_NULL, _TEXT_OR_NULL, _INT_OR_NULL),
    *(_INT_OR_NULL, _TEXT_OR_NULL),
)
_MESSAGE_COLUMN_TYPES: Final = (
    *(_INT, _TEXT, _TEXT, _TEXT, _TEXT, _INT, _INT, _INT, _TEXT_OR_NULL, _TEXT_OR_NULL, _TEXT_OR_NULL),
)
KEY_COLUMN_TYPES: Final = (_TEXT, _TEXT, _TEXT, _TEXT)
EVENT_COLUMN_TYPES: Final = (_INT, _TEXT, _TEXT, _INT, _TEXT)


def check_types(row: Row, types: tuple[tuple[type, ...], ...], *, what: str) -> None:
    """Check a row's values against the column types, which a damaged page does not keep.

    Raises:
        StoreCorrupt: a value has another type.
    """
    # Not strict: rows of other queries carry further columns behind these.
    for value, allowed in zip(row, types, strict=False):
        # `type`, not `isinstance`: a bool is an int, and a damaged column must not pass as a number.
        if type(value) not in allowed:
            expected = " or ".join("NULL" if each is NoneType else each.__name__ for each in allowed)
            raise StoreCorrupt(what, f"expected {expected} in a column, got {excerpt(value)}")


def set_values(instance: Instance, version: int) -> Row:
    """Return the values for `SET_COLUMNS`."""
    pending_retry, claim, event_claim = instance.pending_retry, instance.claim, instance.event_claim
    last_error, left = instance.last_error, instance.left
    return (
        version,
        instance.status,
        instance.state,
        instance.state_version,
        instance.data,
        instance.alarm_ms,
        instance.suspension,
        None if pending_retry is None else to_json(pending_retry),
        None if claim is None else to_json(claim),
        None if event_claim is None else to_json(event_claim),
        instance.run_count,
        instance.event_count,
        None if last_error is None else to_json(last_error),
        instance.created_ms,
        instance.updated_ms,
        instance.alarm_trace,
        instance.journal_length,
        instance.ended_ms,
        instance.suspended_ms,
        None if left is None else left.key(instance.address),
        None if left is None else to_json(left),
    )


def instance_from(row: Row) -> Instance:
    """Decode a row with `INSTANCE_COLUMNS`.

    Raises:
        StoreCorrupt: the row is not a valid instance.
    """
    address = Address(*row[2:5])
    what = str(address)
    check_types(row, _INSTANCE_COLUMN_TYPES, what=what)
    if row[9] == "undecodable":  # of a file that is read before its migration, which writes the mark
        row = (*row[:9], None, *row[10:22], row[17], to_json(_of_older_code(row[17])))
    # An unknown word is of a newer version: to ignore it would run an instance that is stopped.
    if row[9] not in _SUSPENSIONS:
        raise StoreCorrupt(what, f"its suspension is {row[9]!r}, none of {sorted(filter(None, _SUSPENSIONS))}")
    return Instance(
        incarnation=row[0],
        version=row[1],
        address=address,
        state=row[5],
        state_version=row[6],
        data=row[7],
        alarm_ms=row[8],
        suspension=row[9],
        pending_retry=None if row[10] is None else from_json(PendingRetry, row[10], what=what),
        claim=None if row[11] is None else from_json(Claim, row[11], what=what),
        event_claim=None if row[12] is None else from_json(Claim, row[12], what=what),
        run_count=row[13],
        event_count=row[14],
        last_error=None if row[15] is None else from_json(FailureRecord, row[15], what=what),
        created_ms=row[16],
        updated_ms=row[17],
        alarm_trace=row[18],
        journal_length=row[19] or 0,  # NULL: the tables are older
        lane=row[20],
        ended_ms=row[21],
        suspended_ms=row[22],
        left=None if row[23] is None else from_json(Left, row[23], what=what),
    )


def _of_older_code(since_ms: int) -> Left:
    why = FailureRecord(form="defect", error_type="InvalidInput", message="an earlier version could not read it")
    return Left(codes=(UNKNOWN_CODE,), since_ms=since_ms, error=why)


def message_values(message: Message) -> Row:
    """Return sender, target, action, payload, sent_ms and trace."""
    return (
        str(message.sender),
        str(message.target),
        message.action,
        message.payload,
        message.sent_ms,
        message.trace,
    )


def message_from(row: Row) -> StoredMessage:
    """Decode a row with `MESSAGE_COLUMNS` or `DEAD_LETTER_COLUMNS`.

    Raises:
        StoreCorrupt: the row is not a valid message.
    """
    what = f"message {row[0]}"
    check_types(row, _MESSAGE_COLUMN_TYPES, what=what)
    try:
        sender, target = Address.parse(row[1]), Address.parse(row[2])
    except InvalidId as error:
        raise StoreCorrupt(what, str(error)) from error
    message = Message(sender=sender, target=target, action=row[3], payload=row[4], sent_ms=row[5], trace=row[9])
    return StoredMessage(
        message_id=row[0],
        message=message,
        deliveries=row[6],
        not_before_ms=row[7],
        error=None if row[8] is None else from_json(FailureRecord, row[8], what=what),
        codes=codes_of(row[10]),
    )


def key_values(address: Address, remembered: Remembered) -> Row:
    """Return a key's values: its row, then how many answers the store keeps for its address."""
    return (
        str(address),
        remembered.key,
        remembered.action,
        remembered.fingerprint,
        remembered.answer,
        remembered.expires_ms,
        remembered.failures,
        remembered.full_answers,
    )


# Bounded: every row of a damaged file may be corrupt.
_LIMIT = 100
_SHOWN = 5


@attrs.define
class CorruptRows:
    """The corrupt rows found since the store was opened, the first 100 by name."""

    _found: dict[str, str] = attrs.Factory(dict[str, str])

    def note(self, error: StoreCorrupt) -> None:
        """Remember a corrupt row."""
        # Bounded, and the first ones stay: an operator needs examples, not all.
        if len(self._found) < _LIMIT:
            self._found[error.what] = error.reason

    def forget(self, address: Address) -> None:
        """Forget a row that was decoded or overwritten."""
        if self._found:
            self._found.pop(str(address), None)

    def __bool__(self) -> bool:
        return bool(self._found)

    def __str__(self) -> str:
        shown = "; ".join(f"{what}: {reason}" for what, reason in list(self._found.items())[:_SHOWN])
        if not self._found:
            return ""
        if len(self._found) == 1:
            return f"1 row cannot be decoded and is left out: {shown}"
        return f"{len(self._found)} rows cannot be decoded and are left out: {shown}"


def readable(
    fetch: Callable[[Row, int], list[Row]],
    decode: Callable[[Row], T],
    place: Callable[[Row], Row],
    start: Row,
    limit: int,
    damage: CorruptRows,
) -> tuple[T, ...]:
    """Read up to `limit` rows that decode, and skip the others.

    Args:
        fetch: returns rows after a position, up to a number.
        decode: decodes a row.
        place: returns a row's position in the query's order.
        start: the position to start after.
        limit: the maximum number of rows.
        damage: collects corrupt rows.
    """
    found: list[T] = []
    while wanted := limit - len(found):
        rows = fetch(start, wanted)
        for row in rows:
            try:
                found.append(decode(row))
            except StoreCorrupt as error:
                damage.note(error)
        # Count the rows that were read, not those that decode: a page of damaged rows would look like the end.
        if len(rows) < wanted:
            break
        start = place(rows[-1])
    return tuple(found)


_FIRST_SURROGATE: Final = 0xD800
_AFTER_SURROGATES: Final = 0xE000
"""No text can hold a surrogate alone."""


def after_prefix(prefix: str) -> str | None:
    """Return the first text, ordered by code point, after every text with this prefix. None if there is none."""
    # Nothing follows U+10FFFF: the character before it is raised instead.
    stem = prefix.rstrip("\U0010ffff")
    if not stem:
        return None
    following = ord(stem[-1]) + 1
    return stem[:-1] + chr(_AFTER_SURROGATES if following == _FIRST_SURROGATE else following)

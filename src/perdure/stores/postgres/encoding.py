"""Values and transitions as PostgreSQL takes and returns them: text, rows, and one array for each column in a group.

PostgreSQL has no U+0000 in its character set. It is stored as U+0001 U+0001, and U+0001 as U+0001 U+0002. Encoded
texts compare as the original ones do, and an encoded prefix is a prefix in the encoded text.

A transition group becomes the arguments for the schema's function ``commit_group``. Transitions that change few columns
become those for ``commit_narrow``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, TypeAlias, assert_never, overload

import attrs

from perdure.stores import rows as stored_rows
from perdure.stores.rows import (
    DEAD_LETTER_COLUMNS,
    EVENT_COLUMNS,
    INSTANCE_COLUMNS,
    MESSAGE_COLUMNS,
    SET_COLUMNS,
    Row,
    event_body,
    logged_event,
    set_values,
    to_json,
)
from perdure.stores.shares import bucket_of
from perdure.stores.values import LoggedEvent
from perdure.values.address import Address
from perdure.values.event import Event
from perdure.values.instance import Instance, left_key
from perdure.values.message import Consumed, DeadLettered, Kept, Message, MessageFate, Postponed, StoredMessage
from perdure.values.transition import Changes, JournalChange, KeepInstance, Purge, Put, Remembered, Transition

__all__ = [
    "DEAD_LETTER_COLUMNS",
    "EVENT_COLUMNS",
    "INSTANCE_COLUMNS",
    "MESSAGE_COLUMNS",
    "Row",
    "event_from",
    "instance_from",
    "message_from",
    "prefixed",
    "remembered_from",
]


@overload
def encoded(text: str) -> str: ...
@overload
def encoded(text: str | None) -> str | None: ...
def encoded(text: str | None) -> str | None:
    r"""Encode text for a column.

    >>> encoded("a\0b\1c")
    'a\x01\x01b\x01\x02c'
    """
    if text is None or ("\0" not in text and "\1" not in text):
        return text
    # U+0001 first: in the other order the escapes of U+0000 would be escaped again.
    return text.replace("\1", "\1\2").replace("\0", "\1\1")


def decoded(text: str) -> str:
    r"""Decode a column's text.

    >>> decoded(encoded("a\0\1\0b"))
    'a\x00\x01\x00b'
    """
    if "\1" not in text:
        return text
    # From the left, each pair begins where the previous one ended, so `replace` finds no pair across two of them.
    return text.replace("\1\1", "\0").replace("\1\2", "\1")


def prefixed(prefix: str, columns: str) -> str:
    """Return a column list with a table's name before each column."""
    return ", ".join(f"{prefix}.{column}" for column in columns.split(", "))


def instance_from(row: Iterable[Any]) -> Instance:
    """Decode a row with `INSTANCE_COLUMNS`.

    Raises:
        StoreCorrupt: the row is not a valid instance.
    """
    return stored_rows.instance_from(_decoded(row))


def message_from(row: Iterable[Any]) -> StoredMessage:
    """Decode a row with `MESSAGE_COLUMNS` or `DEAD_LETTER_COLUMNS`.

    Raises:
        StoreCorrupt: the row is not a valid message.
    """
    return stored_rows.message_from(_decoded(row))


def event_from(row: Row) -> LoggedEvent:
    """Decode a row with `EVENT_COLUMNS`."""
    return logged_event(sequence=row[0], address=decoded(row[1]), type_=row[2], at_ms=row[3], body=row[4])


def remembered_from(key: str, row: Row) -> Remembered:
    """Decode a key's action, fingerprint, answer, expiry and failures."""
    action, fingerprint, answer, expires_ms, failures = _decoded(row)
    return Remembered(
        key=key, action=action, fingerprint=fingerprint, answer=answer, expires_ms=expires_ms, failures=failures
    )


def _decoded(row: Iterable[Any]) -> Row:
    # By exact type, for each column of each row: `isinstance` costs more, and the driver returns plain `str`.
    return tuple(decoded(value) if type(value) is str else value for value in row)


NarrowRow: TypeAlias = tuple[int, int, int, int, int | None, str | None]
"""Incarnation, version, form, instant, number and body."""

NARROW_COLUMN_TYPES: Final = ("bigint[]", "int[]", "bigint[]", "bigint[]", "int[]", "bigint[]", "bigint[]", "text[]")
"""The argument types before those for events."""


def narrow_row(transition: Transition) -> NarrowRow | None:
    """Encode a transition that changes few columns and writes nothing else but events. Return None for any other.

    Raises:
        Exception: the claim cannot be encoded.
    """
    write, expected = transition.write, transition.expected
    if type(write) is not Put or write.changes == "any" or expected is None:
        return None
    # `commit_narrow` writes one row and events: any other part of the transition would be acknowledged and lost.
    if transition.messages or transition.inbound or transition.remember or transition.new_keys or transition.journal:
        return None
    if transition.attributes is not None:
        return None
    after = write.instance
    form, number, body = _narrow_columns(write.changes, after)
    return expected.incarnation, expected.version, form, after.updated_ms, number, body


def _narrow_columns(changes: Changes, after: Instance) -> tuple[int, int | None, str | None]:
    """Return the form for ``commit_narrow``, and its number and body."""
    match changes:
        case "state":
            return 0, after.event_count, encoded(after.state)
        case "claim":
            return 1, after.run_count, to_json(after.claim)
        case "event_claim":
            return 3, None, to_json(after.event_claim)
        case "event_end":
            return 4, after.event_count, encoded(after.state)
        case _:
            return 2, after.alarm_ms, encoded(after.state)


def narrow_arguments(rows: Sequence[tuple[int, NarrowRow]], first_lock: Sequence[int]) -> list[Sequence[Any]]:
    """Return the arrays for rows, each with its transition's number, ordered by incarnation.

    Args:
        rows: one or more.
        first_lock: the incarnations that other transitions in the statement write.
    """
    # All engines lock rows by incarnation: in any other order two groups would deadlock.
    ordered = sorted(rows, key=_incarnation_of_narrow)
    return [first_lock, [number for number, _ in ordered], *zip(*(row for _, row in ordered), strict=True)]


def _incarnation_of_narrow(pair: tuple[int, NarrowRow]) -> int:
    return pair[1][0]


Values: TypeAlias = tuple[Any, ...]

ArgumentTable: TypeAlias = Literal[
    "over",
    "new",
    "columns",
    "purged",
    "absent",
    "left",
    "cut",
    "journal",
    "fates",
    "messages",
    "own",
    "keys",
    "events",
    "new_keys",
]

_TYPES: Final[dict[ArgumentTable, tuple[str, ...]]] = {
    "over": ("int", "bigint", "bigint", "text", "text", "text"),
    "new": ("int", "smallint", "text", "text", "text"),
    # The order is that of the arguments of the SQL function, which is versioned with the tables: a change needs a
    # migration.
    "columns": (
        *("bigint", "bigint", "bigint", "text", "bigint"),
        *("text", "text", "int", "text", "bigint", "text", "text", "text", "text"),
        *("bigint", "bigint", "text", "bigint", "bigint", "text", "int", "bigint", "bigint", "text"),
        "text",
    ),
    "purged": ("int", "bigint", "bigint", "text", "text", "text"),
    "absent": ("int", "text", "text", "text"),
    "left": ("int",),
    "cut": ("int",),
    "journal": ("int", "int", "text"),
    "fates": ("int", "bigint", "text", "int", "bigint", "text", "text"),
    "messages": ("int", "smallint", "text", "text", "text", "text", "bigint", "text"),
    "own": ("int", "text"),
    "keys": ("int", "text", "text", "text", "text", "text", "bigint", "int", "int"),
    "events": ("int", "text", "text", "bigint", "text"),
    "new_keys": ("int", "text", "text", "bigint"),
}
"""The column types in each argument table, in the order for ``commit_group``."""

TYPES: Final = tuple(f"{kind}[]" for kinds in _TYPES.values() for kind in kinds)

NARROW_TYPES: Final = (*NARROW_COLUMN_TYPES, *(f"{kind}[]" for kind in _TYPES["events"]))
"""The argument types for ``commit_narrow``."""

# + 1: the first column of each table is the transition's number.
_PURGED: Final = sum(len(_TYPES[table]) for table in ("over", "new", "columns")) + 1
"""Where the deleted incarnations are among the arguments."""

Form: TypeAlias = Literal["any", "narrow", "both", "any with attributes", "both with attributes"]
"""The transitions in a group, which decide on its statement."""

REWRITTEN_TYPES: Final = ("int[]", "int[]", "text[]")
"""The argument types of the journal rows that are rewritten, behind all others: transition, place and body."""

ATTRIBUTE_TYPES: Final = (*("int[]", "text[]", "text[]", "text[]", "text[]", "text[]"), *("int[]", "bigint[]"))
"""The argument types for ``write_attributes``, after those of the transitions that were committed."""

HOLD_CHANGED: Final = "hold"
"""The payload of the notification that a job was held or released: an engine of older code ignores it."""

COLUMNS: Final = ("due_ms", "owner", "event_owner", "lane", "rank_ms", *SET_COLUMNS.split(", ")[1:])
"""The columns that a transition writes in an instance's row, without its version."""

# A text column that is missing here fails on U+0000, which PostgreSQL cannot store.
_TEXTS: Final = tuple(COLUMNS.index(name) for name in ("lane", "state", "data", "alarm_trace", "left_by"))
"""The columns that may hold any text. The other texts are JSON or this library's words."""


@attrs.frozen
class Encoded:
    """A transition as rows in the argument tables, each without the transition's number in its group.

    Attributes:
        rows: the rows for all tables but ``columns``.
        columns: the row for ``columns``, from the instance that the transition writes.
        narrow: if few columns change, the instance's row for `narrow_arguments`, instead of both.
        attributes: the attributes that change, as kind, name, id, attribute and key.
        gone: the incarnation whose attributes are deleted.
        rewritten: the journal rows that are rewritten, as place and body.
    """

    rows: Sequence[tuple[ArgumentTable, Values]]
    columns: Values | None
    narrow: NarrowRow | None = None
    attributes: Sequence[Values] = ()
    gone: int | None = None
    rewritten: Sequence[Values] = ()


def encode(transition: Transition) -> Encoded:
    """Encode a transition.

    Raises:
        Exception: a value cannot be encoded.
    """
    # First, because it is the common case: one row and its events, without a list of tables.
    few = narrow_row(transition)
    if few is not None:
        return Encoded([("events", event_row(event)) for event in transition.events], None, few)
    printed = encoded(str(transition.address))
    table, row, columns = _write(transition)
    # First: `arguments` reads the kind of write from the first row.
    rows: list[tuple[ArgumentTable, Values]] = [(table, row)]
    if isinstance(transition.write, Purge) and transition.write.own_messages == "dropped":
        rows.append(("own", (printed,)))
    if transition.journal is not None and isinstance(transition.write, Put):
        rows.extend(_journal(transition.journal, transition.write.instance.journal_length))
    if transition.inbound is not None:
        rows.append(("fates", _fate(transition.inbound, transition.address)))
        rows.extend(("fates", _fate(Consumed(consumed), transition.address)) for consumed in transition.consumed)
    rows.extend(("messages", message_row(message)) for message in transition.messages)
    for kept in transition.remember:
        answer = (kept.action, kept.fingerprint, kept.answer)
        numbers = (kept.expires_ms, kept.failures, kept.full_answers)
        rows.append(("keys", (printed, encoded(kept.key), *map(encoded, answer), *numbers)))
    rows.extend(("events", event_row(event)) for event in transition.events)
    new = transition.new_keys
    if new is not None:
        rows.extend(("new_keys", (printed, encoded(key), new.at_ms)) for key in new.keys)
    again = transition.journal.rewritten if transition.journal is not None else ()
    rewritten = [(place, encoded(body)) for place, body in again]
    if transition.attributes is None:
        return Encoded(rows, columns, rewritten=rewritten)
    # By incarnation, whatever keys there are: a purge does not know them.
    if expected := (transition.expected if isinstance(transition.write, Purge) else None):
        return Encoded(rows, columns, gone=expected.incarnation)
    address = transition.address
    place = encoded(address.kind), encoded(address.name), encoded(address.id)
    changed = [(*place, encoded(name), encoded(key)) for name, key in transition.attributes]
    return Encoded(rows, columns, attributes=changed, rewritten=rewritten)


def event_row(event: Event) -> Values:
    """Encode an event as address, type, instant and body."""
    return encoded(event.address), event.type, event.at_ms, event_body(event)


def message_row(message: Message) -> Values:
    """Encode a message as bucket, sender, target, action, payload, sent_ms and trace."""
    return (
        bucket_of(message.target),
        encoded(str(message.sender)),
        encoded(str(message.target)),
        encoded(message.action),
        encoded(message.payload),
        message.sent_ms,
        encoded(message.trace),
    )


def arrays(rows: Sequence[Values], width: int) -> list[Sequence[Any]]:
    """Return the rows' columns. A column without any value is empty: ``unnest`` extends it with nulls."""
    if not rows:
        return [()] * width
    count = len(rows)
    # Most columns of a group hold only nulls, and each array is sent and parsed.
    return [() if column[0] is None and column.count(None) == count else column for column in zip(*rows, strict=True)]


def statement(group: Sequence[Encoded], *, has_rivals: bool) -> tuple[Form, list[Sequence[Any]]]:
    """Return the form of the statement that commits a group, and its arrays, without those of `rewritten_rows`.

    Args:
        group: one or more transitions.
        has_rivals: whether other engines may lock the same rows, in another order than a two-part statement does.
    """
    more = _attribute_arrays(group)
    few = [(number, one.narrow) for number, one in enumerate(group) if one.narrow is not None]
    if not few:
        return ("any with attributes" if more else "any"), arguments(group) + more
    events = arrays(
        [(number, *row) for number, one in enumerate(group) if one.narrow is not None for _, row in one.rows],
        len(_TYPES["events"]),
    )
    if len(few) == len(group):
        return "narrow", [*narrow_arguments(few, ()), *events]
    rest = arguments(group)
    # Two parts of one statement lock rows one after the other. With other engines, the first part has to lock the
    # rows of the second one too, in the common order, or two statements deadlock.
    written = (*rest[1], *rest[_PURGED]) if has_rivals else ()
    both = [*narrow_arguments(few, written), *events, *rest]
    return ("both with attributes" if more else "both"), both + more


def _attribute_arrays(group: Sequence[Encoded]) -> list[Sequence[Any]]:
    """Return the arrays for ``write_attributes``. None at all if no transition has attributes."""
    changed = [(number, *row) for number, one in enumerate(group) for row in one.attributes]
    gone = [(number, one.gone) for number, one in enumerate(group) if one.gone is not None]
    if not changed and not gone:
        return []
    width = len(ATTRIBUTE_TYPES)
    return [*arrays(changed, width - 2), *arrays(gone, 2)]


def rewritten_rows(group: Sequence[Encoded]) -> list[Sequence[Any]]:
    """Return the arrays of the journal rows that a group's transitions rewrite. None at all if they rewrite none."""
    rows = [(number, *row) for number, one in enumerate(group) for row in one.rewritten]
    return arrays(rows, len(REWRITTEN_TYPES)) if rows else []


def arguments(group: Sequence[Encoded]) -> list[Sequence[Any]]:
    """Return the arrays for a group's transitions that are not narrow.

    Rows that are written over are ordered by incarnation, the order in which every caller locks them.
    """
    tables: dict[ArgumentTable, list[Values]] = {table: [] for table in _TYPES}
    over: list[tuple[Values, Values]] = []
    for number, one in enumerate(group):
        for table, row in () if one.narrow is not None else one.rows:
            if table == "over":
                over.append(((number, *row), one.columns or ()))
            else:
                tables[table].append((number, *row))
    # By incarnation, as in `commit_narrow`: in another order two engines would deadlock.
    over.sort(key=_incarnation)
    tables["over"] = [row for row, _ in over]
    new = [one.columns for one in group if one.columns is not None and one.rows[0][0] == "new"]
    # The columns have no number of their own: the function takes them for the rows of `over`, then of `new`.
    tables["columns"] = [columns for _, columns in over] + new
    return [column for table, kinds in _TYPES.items() for column in arrays(tables[table], len(kinds))]


def _write(transition: Transition) -> tuple[ArgumentTable, Values, Values | None]:
    address, expected = transition.address, transition.expected
    place = encoded(address.kind), encoded(address.name), encoded(address.id)
    match transition.write:
        case Put(instance) if expected is not None:
            return "over", (expected.incarnation, expected.version, *place), _columns(instance)
        case Put(instance):
            return "new", (bucket_of(address), *place), _columns(instance)
        case Purge() if expected is not None:
            return "purged", (expected.incarnation, expected.version, *place), None
        case Purge():
            return "absent", place, None
        case KeepInstance():
            return "left", (), None
        case _:
            assert_never(transition.write)


def _journal(change: JournalChange, length: int) -> list[tuple[ArgumentTable, Values]]:
    cut: list[tuple[ArgumentTable, Values]] = [("cut", ())] if change.earlier == "cut" else []
    first = length - len(change.bodies)
    return cut + [("journal", (place, encoded(body))) for place, body in enumerate(change.bodies, first)]


def _columns(instance: Instance) -> Values:
    claim, event_claim, left = instance.claim, instance.event_claim, instance.left
    values: list[Any] = [
        instance.due_ms,
        # A left instance has no owner in the index: scans for dead claims would otherwise read it at each poll.
        None if claim is None or left is not None else claim.owner,
        None if event_claim is None or (left is not None and event_claim.cause != "upgrade") else event_claim.owner,
        instance.lane,
        instance.rank_ms,
        # Without the first value, the version, which the function computes.
        *set_values(instance, 0)[1:],
    ]
    for at in _TEXTS:
        values[at] = encoded(values[at])
    return tuple(values)


def _fate(fate: MessageFate, target: Address) -> Values:
    match fate:
        case Consumed(message_id):
            return message_id, "consumed", 0, 0, None, None
        case Postponed(message_id=message_id, deliveries=deliveries, not_before_ms=not_before_ms, error=error):
            why = None if error is None else to_json(error)
            left_by = left_key(target, fate.codes) if fate.codes else None
            return message_id, "postponed", deliveries, not_before_ms, why, encoded(left_by)
        case DeadLettered(message_id=message_id, deliveries=deliveries, error=error):
            return message_id, "dead_lettered", deliveries, 0, to_json(error), None
        case Kept(message_id):
            return message_id, "kept", 0, 0, None, None
        case _:
            assert_never(fate)


def _incarnation(pair: tuple[Values, Values]) -> int:
    incarnation: int = pair[0][1]
    return incarnation

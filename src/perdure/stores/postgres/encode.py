"""A group of transitions as the arguments of ``commit_group``: an array for each column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias, assert_never

import attrs

from perdure.stores.codec import event_body, to_json
from perdure.stores.postgres import narrow
from perdure.stores.postgres.narrow import NarrowRow, narrow_arguments, narrow_row
from perdure.stores.postgres.text import encoded
from perdure.stores.rows import SET_COLUMNS, set_values
from perdure.stores.sharing.share import bucket_of
from perdure.values.address import Address
from perdure.values.event import Event
from perdure.values.instance import Instance, left_key
from perdure.values.message import Consumed, DeadLettered, Kept, Message, MessageFate, Postponed
from perdure.values.transition import JournalChange, KeepInstance, Purge, Put, Transition

Row: TypeAlias = tuple[Any, ...]

Table: TypeAlias = Literal[
    "over", "new", "columns", "purged", "absent", "left", "cut", "journal", "fates", "messages", "own", "keys", "events"
]

_TYPES: Final[dict[Table, tuple[str, ...]]] = {
    "over": ("int", "bigint", "bigint", "text", "text", "text"),
    "new": ("int", "smallint", "text", "text", "text"),
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
}
"""The types of the columns of each table of arguments, in the order of ``commit_group``."""

TYPES: Final = tuple(f"{kind}[]" for kinds in _TYPES.values() for kind in kinds)

NARROW_TYPES: Final = (*narrow.TYPES, *(f"{kind}[]" for kind in _TYPES["events"]))
"""The types of the arguments of ``commit_narrow``."""

_PURGED: Final = sum(len(_TYPES[table]) for table in ("over", "new", "columns")) + 1
"""The place of the incarnations that are deleted among the arguments."""

Form: TypeAlias = Literal["any", "narrow", "both"]
Locks: TypeAlias = Literal["own", "contended"]

COLUMNS: Final = ("due_ms", "owner", "event_owner", "lane", "rank_ms", *SET_COLUMNS.split(", ")[1:])
"""The columns that a transition of an instance writes, without its version."""

_TEXTS: Final = tuple(COLUMNS.index(name) for name in ("lane", "state", "data", "alarm_trace", "left_by"))
"""The columns that may hold any text; the other texts are JSON or words of this library."""


@attrs.frozen
class Encoded:
    """A transition as rows of the tables of arguments, each without the transition's number in its group.

    Attributes:
        rows: of all tables but ``columns``.
        columns: of the instance that it writes.
        narrow: the row of an instance of which few columns change, for `narrow_arguments`, instead of both.
    """

    rows: Sequence[tuple[Table, Row]]
    columns: Row | None
    narrow: NarrowRow | None = None


def encode(transition: Transition) -> Encoded:
    """Encode a transition.

    Raises:
        Exception: a value cannot be encoded.
    """
    few = narrow_row(transition)
    if few is not None:
        return Encoded([("events", event_row(event)) for event in transition.events], None, few)
    printed = encoded(str(transition.address))
    table, row, columns = _write(transition)
    rows: list[tuple[Table, Row]] = [(table, row)]
    if isinstance(transition.write, Purge) and transition.write.own_messages == "dropped":
        rows.append(("own", (printed,)))
    if transition.journal is not None and isinstance(transition.write, Put):
        rows.extend(_journal(transition.journal, transition.write.instance.journal_length))
    if transition.inbound is not None:
        rows.append(("fates", _fate(transition.inbound, transition.address)))
    rows.extend(("messages", message_row(message)) for message in transition.messages)
    kept = transition.remember
    if kept is not None:
        answer = (kept.action, kept.fingerprint, kept.answer)
        numbers = (kept.expires_ms, kept.failures, kept.full_answers)
        rows.append(("keys", (printed, encoded(kept.key), *map(encoded, answer), *numbers)))
    rows.extend(("events", event_row(event)) for event in transition.events)
    return Encoded(rows, columns)


def event_row(event: Event) -> Row:
    """Encode an event as address, type, instant and body."""
    return encoded(event.address), event.type, event.at_ms, event_body(event)


def message_row(message: Message) -> Row:
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


def arrays(rows: Sequence[Row], width: int) -> list[Sequence[Any]]:
    """Return the columns of rows. One without any value is empty: ``unnest`` extends it with nulls."""
    if not rows:
        return [()] * width
    count = len(rows)
    return [() if column[0] is None and column.count(None) == count else column for column in zip(*rows, strict=True)]


def statement(group: Sequence[Encoded], locks: Locks) -> tuple[Form, list[Sequence[Any]]]:
    """Return the form of the statement that commits a group, and its arrays.

    Args:
        group: one or more transitions.
        locks: whether other engines may lock the same rows, in another order than a statement of two parts.
    """
    few = [(number, one.narrow) for number, one in enumerate(group) if one.narrow is not None]
    if not few:
        return "any", arguments(group)
    events = arrays(
        [(number, *row) for number, one in enumerate(group) if one.narrow is not None for _, row in one.rows],
        len(_TYPES["events"]),
    )
    if len(few) == len(group):
        return "narrow", [*narrow_arguments(few, ()), *events]
    rest = arguments(group)
    written = (*rest[1], *rest[_PURGED]) if locks == "contended" else ()
    return "both", [*narrow_arguments(few, written), *events, *rest]


def arguments(group: Sequence[Encoded]) -> list[Sequence[Any]]:
    """Return the arrays of those transitions of a group that are not narrow.

    Rows that are written over are in the order of incarnations, which every caller locks them in.
    """
    tables: dict[Table, list[Row]] = {table: [] for table in _TYPES}
    over: list[tuple[Row, Row]] = []
    for number, one in enumerate(group):
        for table, row in () if one.narrow is not None else one.rows:
            if table == "over":
                over.append(((number, *row), one.columns or ()))
            else:
                tables[table].append((number, *row))
    over.sort(key=_incarnation)
    tables["over"] = [row for row, _ in over]
    new = [one.columns for one in group if one.columns is not None and one.rows[0][0] == "new"]
    tables["columns"] = [columns for _, columns in over] + new
    return [column for table, kinds in _TYPES.items() for column in arrays(tables[table], len(kinds))]


def _write(transition: Transition) -> tuple[Table, Row, Row | None]:
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


def _journal(change: JournalChange, length: int) -> list[tuple[Table, Row]]:
    cut: list[tuple[Table, Row]] = [("cut", ())] if change.earlier == "cut" else []
    first = length - len(change.bodies)
    return cut + [("journal", (place, encoded(body))) for place, body in enumerate(change.bodies, first)]


def _columns(instance: Instance) -> Row:
    claim, event_claim, left = instance.claim, instance.event_claim, instance.left
    values: list[Any] = [
        instance.due_ms,
        None if claim is None or left is not None else claim.owner,
        None if event_claim is None or (left is not None and event_claim.cause != "upgrade") else event_claim.owner,
        instance.lane,
        instance.rank_ms,
        *set_values(instance, 0)[1:],
    ]
    for at in _TEXTS:
        values[at] = encoded(values[at])
    return tuple(values)


def _fate(fate: MessageFate, target: Address) -> Row:
    match fate:
        case Consumed(message_id):
            return message_id, "consumed", 0, 0, None, None
        case Postponed(message_id=message_id, attempts=attempts, not_before_ms=not_before_ms, error=error):
            why = None if error is None else to_json(error)
            left_by = left_key(target, fate.codes) if fate.codes else None
            return message_id, "postponed", attempts, not_before_ms, why, encoded(left_by)
        case DeadLettered(message_id=message_id, attempts=attempts, error=error):
            return message_id, "dead_lettered", attempts, 0, to_json(error), None
        case Kept(message_id):
            return message_id, "kept", 0, 0, None, None
        case _:
            assert_never(fate)


def _incarnation(pair: tuple[Row, Row]) -> int:
    incarnation: int = pair[0][1]
    return incarnation

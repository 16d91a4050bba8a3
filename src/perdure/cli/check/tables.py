"""Reads the tables of a store from outside its engines, page by page."""

from __future__ import annotations

from collections.abc import Generator
from typing import Final, Literal

import attrs

from perdure.cli.check.row_reader import RowReader
from perdure.stores.rows import (
    EVENT_COLUMN_TYPES,
    KEY_COLUMN_TYPES,
    Row,
    check_types,
    instance_from,
    logged_event,
    message_from,
)
from perdure.stores.values import LoggedEvent
from perdure.values.address import Address
from perdure.values.errors import InvalidId, StoreCorrupt
from perdure.values.instance import Instance
from perdure.values.message import StoredMessage

_JOURNAL_TYPES: Final = ((int,), (str,))


@attrs.frozen(kw_only=True)
class StoredInstance:
    """A row of instances.

    Attributes:
        address: its address.
        instance: the decoded instance, or why it cannot be decoded.
        index: the columns ``due_ms``, ``owner``, ``status`` and ``rank_ms``, which queries use.
    """

    address: Address
    instance: Instance | StoreCorrupt
    index: Row


@attrs.frozen
class RememberedAnswer:
    """An unexpired row of keys.

    Attributes:
        address: the instance of the key, or why it cannot be decoded.
        key: the key.
        action: the action of the request.
        answer: the stored answer, as JSON.
    """

    address: Address | StoreCorrupt
    key: str
    action: str
    answer: str


def instances(reader: RowReader) -> Generator[list[StoredInstance]]:
    """Yield pages of all instances, in the order of creation."""
    for rows in reader.listed("instances"):
        yield [_instance(row) for row in rows]


def journal(reader: RowReader, instance: Instance) -> tuple[str, ...] | None:
    """Return the rows of an instance's journal; None if the instance was purged or began again meanwhile.

    Raises:
        StoreCorrupt: a place is missing, or a row is damaged.
    """
    bodies: list[str] = []
    for rows in reader.journal(instance.incarnation):
        for row in rows:
            check_types(row, _JOURNAL_TYPES, what=f"journal of {instance.address}")
            if row[0] != len(bodies):
                reason = f"expected a row at place {len(bodies)} of its journal, found the next at {row[0]}"
                raise StoreCorrupt(str(instance.address), reason)
            bodies.append(row[1])
    return tuple(bodies[: instance.journal_length]) if len(bodies) >= instance.journal_length else None


def messages(reader: RowReader) -> Generator[list[StoredMessage | StoreCorrupt]]:
    """Yield pages of the undelivered messages, the oldest first."""
    return _letters(reader, "messages")


def dead_letters(reader: RowReader) -> Generator[list[StoredMessage | StoreCorrupt]]:
    """Yield pages of the dead letters, the oldest first."""
    return _letters(reader, "dead_letters")


def answers(reader: RowReader, now_ms: int) -> Generator[list[RememberedAnswer]]:
    """Yield pages of the answers of unexpired idempotency keys."""
    for rows in reader.keys(now_ms):
        yield [_answer(row) for row in rows]


def events(reader: RowReader) -> Generator[list[LoggedEvent | StoreCorrupt]]:
    """Yield pages of the event history, in order."""
    for rows in reader.listed("events"):
        yield [_event(row) for row in rows]


def _instance(row: Row) -> StoredInstance:
    found: Instance | StoreCorrupt
    try:
        found = instance_from(row)
    except StoreCorrupt as damage:
        found = damage
    return StoredInstance(address=Address(*map(str, row[2:5])), instance=found, index=row[-4:])


def _answer(row: Row) -> RememberedAnswer:
    address: Address | StoreCorrupt
    what = f"key {row[1]!r}"
    try:
        check_types(row, KEY_COLUMN_TYPES, what=what)
        address = Address.parse(row[0])
    except InvalidId as error:
        address = StoreCorrupt(what, str(error))
    except StoreCorrupt as damage:
        address = damage
    return RememberedAnswer(address, *map(str, row[1:]))


def _event(row: Row) -> LoggedEvent | StoreCorrupt:
    try:
        check_types(row, EVENT_COLUMN_TYPES, what=f"event {row[0]}")
    except StoreCorrupt as damage:
        return damage
    return logged_event(sequence=row[0], address=row[1], type_=row[2], at_ms=row[3], body=row[4])


def _letters(
    reader: RowReader, table: Literal["messages", "dead_letters"]
) -> Generator[list[StoredMessage | StoreCorrupt]]:
    for rows in reader.listed(table):
        yield [_letter(row) for row in rows]


def _letter(row: Row) -> StoredMessage | StoreCorrupt:
    try:
        return message_from(row)
    except StoreCorrupt as damage:
        return damage

"""The tables of a store's file, page by page, as they are read from outside."""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

import attrs

from perdure.stores.codec import logged_event
from perdure.stores.sqlite.reader import Reader
from perdure.stores.sqlite.rows import (
    DEAD_LETTER_COLUMNS,
    EVENT_COLUMNS,
    INSTANCE_COLUMNS,
    MESSAGE_COLUMNS,
    Row,
    instance_from,
    message_from,
)
from perdure.stores.store import LoggedEvent
from perdure.values.address import Address
from perdure.values.errors import InvalidId, StoreCorrupt
from perdure.values.instance import Instance
from perdure.values.message import StoredMessage

PAGE: Final = 500
"""Rows of one read: it is over in a few milliseconds, and memory holds one page."""

# ruff: noqa: S608 - the texts are made of constants; values are always bound
_INSTANCES = f"""
SELECT {INSTANCE_COLUMNS}, due_ms, owner, status FROM instances WHERE incarnation > ? ORDER BY incarnation LIMIT {PAGE}
"""
_MESSAGES = f"SELECT {MESSAGE_COLUMNS} FROM messages WHERE message_id > ? ORDER BY message_id LIMIT {PAGE}"
_DEAD = f"SELECT {DEAD_LETTER_COLUMNS} FROM dead_letters WHERE message_id > ? ORDER BY message_id LIMIT {PAGE}"
_KEYS = f"""
SELECT address, key, action, answer FROM keys WHERE (address, key) > (?, ?) AND expires_ms > ? ORDER BY address, key
LIMIT {PAGE}
"""
_EVENTS = f"SELECT {EVENT_COLUMNS} FROM events WHERE sequence > ? ORDER BY sequence LIMIT {PAGE}"


@attrs.frozen(kw_only=True)
class StoredInstance:
    """A row of instances.

    Attributes:
        address: where it is.
        instance: what it holds, or why it cannot be read.
        index: ``due_ms``, ``owner`` and ``status``, as the row keeps them beside, for queries.
    """

    address: Address
    instance: Instance | StoreCorrupt
    index: Row


@attrs.frozen
class RememberedAnswer:
    """A row of keys that is not expired.

    Attributes:
        address: whose key it is, or why that cannot be read.
        key: the key.
        action: what was asked with it.
        answer: what was answered, as JSON.
    """

    address: Address | StoreCorrupt
    key: str
    action: str
    answer: str


def instances(reader: Reader) -> Generator[list[StoredInstance]]:
    """Give all instances, in the order of their birth."""
    after = 0
    while rows := reader.rows(_INSTANCES, (after,)):
        yield [_instance(row) for row in rows]
        after = rows[-1][0]


def messages(reader: Reader) -> Generator[list[StoredMessage | StoreCorrupt]]:
    """Give the messages that are not consumed, the oldest first."""
    return _letters(reader, _MESSAGES)


def dead_letters(reader: Reader) -> Generator[list[StoredMessage | StoreCorrupt]]:
    """Give the dead letters, the oldest first."""
    return _letters(reader, _DEAD)


def answers(reader: Reader, now_ms: int) -> Generator[list[RememberedAnswer]]:
    """Give the answers of idempotency keys that are not expired."""
    after = ("", "")
    while rows := reader.rows(_KEYS, (*after, now_ms)):
        yield [_answer(row) for row in rows]
        after = rows[-1][:2]


def events(reader: Reader) -> Generator[list[LoggedEvent]]:
    """Give the log, in order."""
    after = 0
    while rows := reader.rows(_EVENTS, (after,)):
        yield [logged_event(sequence=row[0], address=row[1], type_=row[2], at_ms=row[3], body=row[4]) for row in rows]
        after = rows[-1][0]


def _instance(row: Row) -> StoredInstance:
    found: Instance | StoreCorrupt
    try:
        found = instance_from(row)
    except StoreCorrupt as damage:
        found = damage
    return StoredInstance(address=Address(*row[2:5]), instance=found, index=row[-3:])


def _answer(row: Row) -> RememberedAnswer:
    address: Address | StoreCorrupt
    try:
        address = Address.parse(row[0])
    except InvalidId as error:
        address = StoreCorrupt(f"key {row[1]!r}", str(error))
    return RememberedAnswer(address, *row[1:])


def _letters(reader: Reader, sql: str) -> Generator[list[StoredMessage | StoreCorrupt]]:
    after = 0
    while rows := reader.rows(sql, (after,)):
        yield [_letter(row) for row in rows]
        after = rows[-1][0]


def _letter(row: Row) -> StoredMessage | StoreCorrupt:
    try:
        return message_from(row)
    except StoreCorrupt as damage:
        return damage

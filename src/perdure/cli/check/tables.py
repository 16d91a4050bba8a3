"""Reads the tables of a store's file from outside the engine, page by page."""

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
"""Rows per read, so that a read takes a few milliseconds and memory holds one page."""

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
        address: its address.
        instance: the decoded instance, or why it cannot be decoded.
        index: the columns ``due_ms``, ``owner`` and ``status``, which queries use.
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


def instances(reader: Reader) -> Generator[list[StoredInstance]]:
    """Yield pages of all instances, in the order of creation."""
    after = 0
    while rows := reader.rows(_INSTANCES, (after,)):
        yield [_instance(row) for row in rows]
        after = rows[-1][0]


def messages(reader: Reader) -> Generator[list[StoredMessage | StoreCorrupt]]:
    """Yield pages of the undelivered messages, the oldest first."""
    return _letters(reader, _MESSAGES)


def dead_letters(reader: Reader) -> Generator[list[StoredMessage | StoreCorrupt]]:
    """Yield pages of the dead letters, the oldest first."""
    return _letters(reader, _DEAD)


def answers(reader: Reader, now_ms: int) -> Generator[list[RememberedAnswer]]:
    """Yield pages of the answers of unexpired idempotency keys."""
    after = ("", "")
    while rows := reader.rows(_KEYS, (*after, now_ms)):
        yield [_answer(row) for row in rows]
        after = rows[-1][:2]


def events(reader: Reader) -> Generator[list[LoggedEvent]]:
    """Yield pages of the event history, in order."""
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

"""Reads the tables of a store from outside its engines, page by page: of a SQLite file, or of a PostgreSQL schema."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

import attrs

from perdure.stores.postgres import check_driver
from perdure.stores.postgres.settings import is_postgres, settings_of
from perdure.stores.rows import (
    DEAD_LETTER_COLUMNS,
    EVENT_COLUMN_TYPES,
    EVENT_COLUMNS,
    INSTANCE_COLUMNS,
    KEY_COLUMN_TYPES,
    MESSAGE_COLUMNS,
    Row,
    check_types,
    instance_from,
    logged_event,
    message_from,
)
from perdure.stores.sqlite.reader import Reader, read_from_outside
from perdure.stores.url import sqlite_path
from perdure.stores.values import LoggedEvent
from perdure.values.address import Address
from perdure.values.errors import InvalidId, StoreCorrupt
from perdure.values.instance import Instance
from perdure.values.message import StoredMessage

if TYPE_CHECKING:
    from perdure.stores.postgres.reader import PostgresReader


PAGE: Final = 500
"""Rows per read, so that a read takes a few milliseconds and memory holds one page."""

Listed: TypeAlias = Literal["instances", "messages", "dead_letters", "events"]

# ruff: noqa: S608 - the texts are made of constants; values are always bound
_COLUMNS: Final[dict[Listed, str]] = {
    "instances": f"{INSTANCE_COLUMNS}, due_ms, {{owner}}, status, rank_ms",
    "messages": MESSAGE_COLUMNS,
    "dead_letters": DEAD_LETTER_COLUMNS,
    "events": EVENT_COLUMNS,
}
_KEY: Final[dict[Listed, str]] = {
    "instances": "incarnation",
    "messages": "message_id",
    "dead_letters": "message_id",
    "events": "sequence",
}
_KEYS: Final = "SELECT address, key, action, answer FROM {table} WHERE {after} expires_ms > {now} ORDER BY address, key"


class RowReader(Protocol):
    """Reads the rows of a store in pages."""

    @property
    def store(self) -> str:
        """The store's name in errors."""
        ...

    def listed(self, table: Listed, /) -> Generator[list[Row]]:
        """Yield the rows of a table, in the order of its key."""
        ...

    def keys(self, now_ms: int, /) -> Generator[list[Row]]:
        """Yield address, key, action and answer of the unexpired idempotency keys."""
        ...

    def journal(self, incarnation: int, /) -> Generator[list[Row]]:
        """Yield place and body of the rows of a journal."""
        ...


@attrs.frozen
class SqliteRows:
    """The rows of a SQLite file.

    Attributes:
        reader: reads the file.
    """

    reader: Reader

    @property
    def store(self) -> str:
        """The store's name in errors."""
        return self.reader.store

    def listed(self, table: Listed, /) -> Generator[list[Row]]:
        """Yield the rows of a table, in the order of its key."""
        columns, key = _COLUMNS[table].format(owner="owner"), _KEY[table]
        sql = f"SELECT {columns} FROM {table} WHERE {key} > ? ORDER BY {key} LIMIT {PAGE}"
        return self.reader.pages(sql, (0,), page=PAGE)

    def keys(self, now_ms: int, /) -> Generator[list[Row]]:
        """Yield address, key, action and answer of the unexpired idempotency keys."""
        sql = _KEYS.format(table="keys", after="(address, key) > (?, ?) AND", now="?")
        return self.reader.pages(f"{sql} LIMIT {PAGE}", ("", ""), (now_ms,), page=PAGE)

    def journal(self, incarnation: int, /) -> Generator[list[Row]]:
        """Yield place and body of the rows of a journal."""
        sql = f"SELECT place, body FROM journal WHERE incarnation = ?2 AND place > ?1 ORDER BY place LIMIT {PAGE}"
        return self.reader.pages(sql, (-1,), (incarnation,), page=PAGE)


@attrs.frozen
class PostgresRows:
    """The rows of a PostgreSQL schema.

    Attributes:
        reader: reads the schema.
    """

    reader: PostgresReader

    @property
    def store(self) -> str:
        """The store's name in errors."""
        return self.reader.store

    def listed(self, table: Listed, /) -> Generator[list[Row]]:
        """Yield the rows of a table, in the order of its key."""
        columns, key = _COLUMNS[table].format(owner="coalesce(owner, event_owner)"), _KEY[table]
        return self.reader.pages(f"SELECT {columns} FROM perdure.{table} ORDER BY {key}", page=PAGE)

    def keys(self, now_ms: int, /) -> Generator[list[Row]]:
        """Yield address, key, action and answer of the unexpired idempotency keys."""
        sql = _KEYS.format(table="perdure.keys", after="", now="$1")
        return self.reader.pages(sql, now_ms, page=PAGE)

    def journal(self, incarnation: int, /) -> Generator[list[Row]]:
        """Yield place and body of the rows of a journal."""
        # Not `pages`: journals are read while the instances are, over one connection.
        sql = "SELECT place, body FROM perdure.journal WHERE incarnation = $1 AND place > $2 ORDER BY place LIMIT $3"
        after = -1
        while found := self.reader.rows(sql, incarnation, after, PAGE):
            yield found
            after = found[-1][0]


@contextmanager
def rows_from_outside(url: str) -> Generator[RowReader]:
    """Open a store to read its rows, whether or not engines run on it.

    Args:
        url: of a SQLite file, or of a PostgreSQL schema.

    Raises:
        DefinitionError: the URL is not valid, or of another store.
        StoreError: the store cannot be read.
    """
    if is_postgres(url):
        check_driver(settings_of(url))
        from perdure.stores.postgres.reader import check_migrated, read_postgres  # noqa: PLC0415 - the driver is an extra

        with read_postgres(url) as reader:
            check_migrated(reader)
            yield PostgresRows(reader)
    else:
        with read_from_outside(sqlite_path(url)) as reader:
            yield SqliteRows(reader)


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

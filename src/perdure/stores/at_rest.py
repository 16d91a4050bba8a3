"""Opens a store to read it, whether or not engines run on it, without a lock and without writing anything.

A tool reads it through a `Store` that refuses writes, or row by row, as a store would not return a damaged row.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from perdure.stores.contract import Store
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
from perdure.stores.sqlite.schema import FIRST_WITH_HISTORIES
from perdure.stores.url import sqlite_path
from perdure.stores.values import LoggedEvent
from perdure.values.address import Address
from perdure.values.errors import InvalidId, StoreCorrupt
from perdure.values.instance import Instance
from perdure.values.message import StoredMessage

if TYPE_CHECKING:
    from perdure.stores.postgres.reader import PostgresReader  # the driver is an extra

StoreReader: TypeAlias = "Reader | PostgresReader"
"""Reads a SQLite file, or a PostgreSQL schema."""


@contextmanager
def open_reader(url: str) -> Generator[StoreReader]:
    """Open a store to read it.

    A SQLite file is opened with ``mode=ro`` and without its owner's lock. A PostgreSQL schema is read over one
    connection, in transactions that cannot write. A memory store ends with its process, and is never at rest.

    Args:
        url: a SQLite file's or a PostgreSQL schema's URL.

    Raises:
        DefinitionError: the URL is not valid, or names another kind of store.
        StoreError: the store cannot be read.
    """
    if is_postgres(url):
        check_driver(settings_of(url))
        from perdure.stores.postgres.reader import check_migrated, read_postgres  # noqa: PLC0415 - the driver is an extra

        with read_postgres(url) as schema:
            check_migrated(schema)
            yield schema
    else:
        with read_from_outside(sqlite_path(url)) as file:
            yield file


def read_only_store(reader: StoreReader) -> Store:
    """Return a reader's store. Its operations are a live store's, and it refuses every write.

    Wait for each answer with ``reader.wait``, one at a time.
    """
    if isinstance(reader, Reader):
        from perdure.stores.sqlite.opening import read_only_store as of_file  # noqa: PLC0415 - counting needs no store

        return of_file(reader)
    from perdure.runtime.on_asyncio import asyncio_runtime  # noqa: PLC0415 - a file needs no event loop
    from perdure.stores.postgres.opening import read_only_store as of_schema  # noqa: PLC0415 - the driver is an extra

    return reader.wait(of_schema(reader, asyncio_runtime()))


# ---------------------------------------------------------------- raw rows
# ruff: noqa: S608 - the texts are made of constants; values are always bound
_JOURNAL: Final = """
SELECT place, body FROM perdure.journal WHERE incarnation = $1 AND place > $2 ORDER BY place LIMIT $3
"""
_EPOCH: Final = "SELECT epoch FROM counters"
_EPOCHS: Final = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM perdure.epochs"
_JOURNAL_TYPES: Final = ((int,), (str,))


def _pages(
    reader: StoreReader, table: str, columns: str, key: tuple[str, ...], after: Row, *, only: str = "", values: Row = ()
) -> Generator[list[Row]]:
    """Yield a table's rows after a key, in key order: those that meet a condition on one value, if there is one."""
    names = ", ".join(key)
    if isinstance(reader, Reader):
        beyond = f"({names}) > ({', '.join('?' * len(key))})" + (f" AND {only.format('?')}" if only else "")
        # Keyset pages: rows that are deleted between two pages would shift an OFFSET.
        sql = f"SELECT {columns} FROM {table} WHERE {beyond} ORDER BY {names} LIMIT {reader.page}"
        return reader.pages(sql, after, values, page=reader.page)
    # Without a key: the rows come from one cursor in one transaction.
    where = f"WHERE {only.format('$1')}" if only else ""
    return reader.pages(f"SELECT {columns} FROM perdure.{table} {where} ORDER BY {names}", *values, page=reader.page)


@attrs.frozen(kw_only=True)
class StoredInstance:
    """A row in ``instances``.

    Attributes:
        instance: the decoded instance, or why it cannot be decoded.
        index: the columns ``due_ms``, ``owner``, ``status`` and ``rank_ms``, which queries use.
    """

    address: Address
    instance: Instance | StoreCorrupt
    index: Row


@attrs.frozen
class RememberedAnswer:
    """An unexpired row in ``keys``.

    Attributes:
        address: the key's instance, or why it cannot be decoded.
        answer: the stored answer, as JSON.
    """

    address: Address | StoreCorrupt
    key: str
    action: str
    answer: str


def latest_epoch(reader: StoreReader) -> int:
    """Return the number of the store's latest opening."""
    ((epoch,),) = reader.rows(_EPOCH if isinstance(reader, Reader) else _EPOCHS)
    return int(epoch)


def instances(reader: StoreReader) -> Generator[list[StoredInstance]]:
    """Yield all instances in pages, the oldest first."""
    # PostgreSQL indexes both claims apart, and SQLite one column for both: the check compares with either.
    owner = "owner" if isinstance(reader, Reader) else "coalesce(owner, event_owner)"
    columns = f"{INSTANCE_COLUMNS}, due_ms, {owner}, status, rank_ms"
    for rows in _pages(reader, "instances", columns, ("incarnation",), (0,)):
        yield [_instance(row) for row in rows]


def journal(reader: StoreReader, instance: Instance) -> tuple[str, ...] | None:
    """Return an instance's journal rows. None if the instance was purged or began again meanwhile.

    Raises:
        StoreCorrupt: a place is missing, or a row is damaged.
    """
    bodies: list[str] = []
    # Not `_pages`: journals are read while the instances are, over one connection.
    while rows := reader.rows(_JOURNAL, instance.incarnation, len(bodies) - 1, reader.page):
        for row in rows:
            check_types(row, _JOURNAL_TYPES, what=f"journal of {instance.address}")
            if row[0] != len(bodies):
                reason = f"expected a row at place {len(bodies)} of its journal, found the next at {row[0]}"
                raise StoreCorrupt(str(instance.address), reason)
            bodies.append(row[1])
    # Rows behind the length were appended since the instance was read. Fewer: it was purged, or its journal was cut.
    return tuple(bodies[: instance.journal_length]) if len(bodies) >= instance.journal_length else None


def messages(reader: StoreReader) -> Generator[list[StoredMessage | StoreCorrupt]]:
    """Yield the undelivered messages in pages, the oldest first."""
    return _letters(reader, "messages", MESSAGE_COLUMNS)


def dead_letters(reader: StoreReader) -> Generator[list[StoredMessage | StoreCorrupt]]:
    """Yield the dead letters in pages, the oldest first."""
    return _letters(reader, "dead_letters", DEAD_LETTER_COLUMNS)


def answers(reader: StoreReader, now_ms: int) -> Generator[list[RememberedAnswer]]:
    """Yield the answers for unexpired idempotency keys in pages."""
    columns, key = "address, key, action, answer", ("address", "key")
    for rows in _pages(reader, "keys", columns, key, ("", ""), only="expires_ms > {}", values=(now_ms,)):
        yield [_answer(row) for row in rows]


def events(reader: StoreReader) -> Generator[list[LoggedEvent | StoreCorrupt]]:
    """Yield the event history in pages, in order: first the events that have left the log."""
    # Older events first: both tables together are then in the order of their numbers.
    for table in event_tables(reader):
        for rows in _pages(reader, table, EVENT_COLUMNS, ("sequence",), (0,)):
            yield [_event(row) for row in rows]


def event_tables(reader: StoreReader) -> tuple[str, ...]:
    """Return the tables with events, those with the older events first."""
    # A file that no engine has migrated yet has no such table.
    has_kept = not isinstance(reader, Reader) or reader.schema_version >= FIRST_WITH_HISTORIES
    return ("kept_events", "events") if has_kept else ("events",)


def history_span(reader: StoreReader) -> tuple[int, int] | None:
    """Return the instants of the log's oldest and newest event, in milliseconds. None if there is no event."""
    schema = "" if isinstance(reader, Reader) else "perdure."
    sides = [reader.rows(f"SELECT at_ms FROM {schema}events ORDER BY sequence {side} LIMIT 1") for side in ("", "DESC")]
    # Two statements: the log may have become empty between them.
    return (int(sides[0][0][0]), int(sides[1][0][0])) if all(sides) else None


def accepted(reader: StoreReader, since_ms: int) -> Generator[list[LoggedEvent | StoreCorrupt]]:
    """Yield the accepted requests in pages, in order.

    Args:
        reader: an open reader.
        since_ms: only requests that were accepted from this instant on.
    """
    only = "type = 'job.accepted' AND at_ms >= {}"
    for table in event_tables(reader):
        for rows in _pages(reader, table, EVENT_COLUMNS, ("sequence",), (0,), only=only, values=(since_ms,)):
            yield [_event(row) for row in rows]


def _instance(row: Row) -> StoredInstance:
    found: Instance | StoreCorrupt
    try:
        found = instance_from(row)
    except StoreCorrupt as damage:
        found = damage
    # Not decoded: an address that is damaged must still name the row in the report.
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


def _letters(reader: StoreReader, table: str, columns: str) -> Generator[list[StoredMessage | StoreCorrupt]]:
    for rows in _pages(reader, table, columns, ("message_id",), (0,)):
        yield [_letter(row) for row in rows]


def _letter(row: Row) -> StoredMessage | StoreCorrupt:
    try:
        return message_from(row)
    except StoreCorrupt as damage:
        return damage

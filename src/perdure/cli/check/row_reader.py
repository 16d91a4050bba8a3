"""Reads the rows of a store from outside its engines: of a SQLite file, or of a PostgreSQL schema."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

import attrs

from perdure.stores.postgres import check_driver
from perdure.stores.postgres.settings import is_postgres, settings_of
from perdure.stores.rows import (
    DEAD_LETTER_COLUMNS,
    EVENT_COLUMNS,
    INSTANCE_COLUMNS,
    MESSAGE_COLUMNS,
    Row,
)
from perdure.stores.sqlite.reader import Reader, read_from_outside
from perdure.stores.url import sqlite_path

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

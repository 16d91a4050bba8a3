"""``perdure stats``: counts and sizes of a store, as text or as JSON, from outside its engines, in short reads."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Generator, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import attrs
import orjson
from cyclopts import Parameter

from perdure.cli.options import StoreOption
from perdure.cli.output import size_text
from perdure.cli.process import ExitCode, UsageError, write_lines
from perdure.stores.postgres import check_driver
from perdure.stores.postgres.settings import is_postgres, settings_of, shown_url
from perdure.stores.rows import Row
from perdure.stores.sqlite.reader import Reader, read_from_outside
from perdure.stores.sqlite.schema import size_of
from perdure.stores.url import sqlite_path
from perdure.values.errors import DefinitionError, StoreCorrupt, StoreError
from perdure.values.excerpt import excerpt
from perdure.values.secret import SEALED, key_of

if TYPE_CHECKING:
    from perdure.stores.postgres.reader import PostgresReader


LEAST_DEAD_ROWS: Final = 50_000
LEAST_DEAD_PART: Final = 0.3
"""A table is bloated when it has at least this many dead rows, and at least this many for each living one."""


@attrs.frozen(kw_only=True)
class TableSize:
    """The size of one table, as the server's statistics say.

    Attributes:
        table: its name.
        rows: about how many rows it has.
        dead_rows: about how many versions of rows no transaction needs; vacuum makes their space free.
        table_bytes: the table.
        index_bytes: its indexes.
        vacuumed_ms: when it was last vacuumed; None if never.
    """

    table: str
    rows: int
    dead_rows: int
    table_bytes: int
    index_bytes: int
    vacuumed_ms: int | None

    @property
    def is_bloated(self) -> bool:
        """Whether vacuum does not keep up with its changes."""
        return self.dead_rows >= max(LEAST_DEAD_ROWS, LEAST_DEAD_PART * self.rows)


@attrs.frozen(kw_only=True)
class SchemaSize:
    """The size of a PostgreSQL store.

    Attributes:
        tables: its tables, the largest first.
    """

    tables: tuple[TableSize, ...]

    @property
    def is_worth_a_vacuum(self) -> bool:
        """Whether a table is bloated."""
        return any(table.is_bloated for table in self.tables)


PAGE = 5_000
"""Rows per read; only five columns and the beginning of the state are read."""

MAX_KEY_CHARACTERS = 80
"""The beginning of an encrypted text, with the id of its key."""

LEAST_GAIN_BYTES = 16 * 1024 * 1024
LEAST_GAIN_PART = 0.25
"""A vacuum is worth it when it reclaims at least this much, and at least this part of the file."""

_TEXT = "CASE state WHEN '' THEN data ELSE state END"
_INSTANCES = f"""
SELECT incarnation, kind, name, status, substr({_TEXT}, 1, {MAX_KEY_CHARACTERS}), {{journal_rows}} FROM instances
WHERE incarnation > ? ORDER BY 1 LIMIT {PAGE}
"""  # noqa: S608 - made of constants
_FIRST_WITH_JOURNALS = 8
_DUE = "SELECT count(*), min(due_ms) FROM instances WHERE due_ms <= ?"
_MESSAGES = "SELECT count(*), min(message_id) FROM messages"
_SENT = "SELECT sent_ms FROM messages WHERE message_id = ?"
_DEAD_LETTERS = "SELECT count(*) FROM dead_letters"
_KEYS = "SELECT count(*), count(*) FILTER (WHERE expires_ms <= ?) FROM keys"
_EVENTS = "SELECT min(sequence), max(sequence) FROM events"
_AT = "SELECT at_ms FROM events WHERE sequence = ?"


@attrs.frozen(kw_only=True)
class FileSize:
    """The size of a store on the disk.

    Attributes:
        file_bytes: the file.
        wal_bytes: its write-ahead log.
        free_bytes: free pages of the file, which new rows reuse.
    """

    file_bytes: int
    wal_bytes: int
    free_bytes: int

    @property
    def is_worth_a_vacuum(self) -> bool:
        """Whether rebuilding the file would reclaim a good part of it."""
        return self.free_bytes >= max(LEAST_GAIN_BYTES, LEAST_GAIN_PART * self.file_bytes)


@attrs.frozen(kw_only=True)
class Counts:
    """The counts of a store.

    Attributes:
        openings: how often an engine opened it.
        instances: number of instances by job (printed ``kind:name``) and status.
        journal_rows: rows of all journals: the steps of workflows.
        encrypted: instances by the id of the key that encrypts them; those that are not encrypted under ``plain``.
            Empty if none is encrypted.
        due: instances whose alarm is due.
        due_since_ms: the earliest of their alarms.
        messages: sent and not consumed.
        oldest_message_ms: when the oldest of them was sent.
        dead_letters: messages that failed too often.
        keys: idempotency keys.
        expired_keys: keys that retention will delete.
        events: events of the history.
        oldest_event_ms: when the first of them happened.
        size: the size on the disk.
    """

    openings: int
    instances: dict[str, dict[str, int]]
    journal_rows: int
    encrypted: dict[str, int]
    due: int
    due_since_ms: int | None
    messages: int
    oldest_message_ms: int | None
    dead_letters: int
    keys: int
    expired_keys: int
    events: int
    oldest_event_ms: int | None
    size: FileSize | SchemaSize


def count(reader: Reader, now_ms: int) -> Counts:
    """Count the rows of a store. Each table is read at its own moment: concurrent writes may be seen or not.

    Args:
        reader: the store.
        now_ms: the present, for due alarms and expired keys.
    """
    openings = _number(reader, reader.rows("SELECT epoch FROM counters"), of="counters")
    ((due, due_since_ms),) = reader.rows(_DUE, (now_ms,))
    ((messages, first_message),) = reader.rows(_MESSAGES)
    ((dead_letters,),) = reader.rows(_DEAD_LETTERS)
    ((keys, expired_keys),) = reader.rows(_KEYS, (now_ms,))
    ((first_event, last_event),) = reader.rows(_EVENTS)
    instances, encrypted, journal_rows = _instances(reader)
    return Counts(
        openings=openings,
        instances=instances,
        journal_rows=journal_rows,
        encrypted=encrypted,
        due=due,
        due_since_ms=None if due_since_ms is None else _number(reader, [(due_since_ms,)], of="instances"),
        messages=messages,
        oldest_message_ms=_instant(reader, _SENT, first_message),
        dead_letters=dead_letters,
        keys=keys,
        expired_keys=expired_keys,
        events=0 if first_event is None else last_event - first_event + 1,  # the history has no gaps
        oldest_event_ms=_instant(reader, _AT, first_event),
        size=_file_size(reader),
    )


def _instances(reader: Reader) -> tuple[dict[str, dict[str, int]], dict[str, int], int]:
    """Count by job and status, and by key; and the rows of their journals."""
    found: dict[str, Counter[str]] = {}
    keys, journal_rows = Counter[str | None](), 0
    for kind, name, status, text, length in _places(reader):
        journal_rows += length
        found.setdefault(f"{kind}:{name}", Counter())[status] += 1
        keys[key_of(text)] += 1
    plain = keys.pop(None, 0)
    encrypted = {key: number for key, number in sorted(keys.items(), key=str) if key is not None}
    if encrypted and plain:
        encrypted["plain"] = plain
    return {job: dict(sorted(statuses.items())) for job, statuses in sorted(found.items())}, encrypted, journal_rows


def _places(reader: Reader) -> Generator[tuple[str, str, str, str, int]]:
    sql = _INSTANCES.format(journal_rows="journal_length" if reader.schema_version >= _FIRST_WITH_JOURNALS else "0")
    for rows in reader.pages(sql, (0,), page=PAGE):
        for _, kind, name, status, text, length in rows:
            yield str(kind), str(name), str(status), str(text), _number(reader, [(length,)], of="instances")


def _instant(reader: Reader, sql: str, of: int | None) -> int | None:
    rows = [] if of is None else reader.rows(sql, (of,))
    return _number(reader, rows, of="events or messages") if rows else None  # the row may have been deleted since


def _number(reader: Reader, rows: list[Row], *, of: str) -> int:
    match rows:
        case [(int() as number,)]:
            return number
        case _:
            raise StoreCorrupt(reader.store, f"expected a number in a row of {of}, got {excerpt(rows)}; run verify")


def _file_size(reader: Reader) -> FileSize:
    ((page_bytes,),) = reader.rows("PRAGMA page_size")
    ((free_pages,),) = reader.rows("PRAGMA freelist_count")
    return FileSize(file_bytes=size_of(reader.path), wal_bytes=size_of(reader.log), free_bytes=free_pages * page_bytes)


_DATA: Final = "CASE state WHEN '' THEN data ELSE state END"
_SCHEMA_INSTANCES: Final = f"""
SELECT kind, name, status, CASE WHEN starts_with({_DATA}, '{SEALED}') THEN split_part({_DATA}, ':', 3) END, count(*),
  sum(journal_length)
FROM perdure.instances GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
"""  # noqa: S608 - made of constants
_SCHEMA_EPOCHS: Final = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM perdure.epochs"
_SCHEMA_DUE: Final = "SELECT count(*), min(due_ms) FROM perdure.instances WHERE due_ms <= $1"
_SCHEMA_MESSAGES: Final = "SELECT count(*), min(sent_ms) FROM perdure.messages"
_SCHEMA_DEAD_LETTERS: Final = "SELECT count(*) FROM perdure.dead_letters"
_SCHEMA_KEYS: Final = "SELECT count(*), count(*) FILTER (WHERE expires_ms <= $1) FROM perdure.keys"
_SCHEMA_EVENTS: Final = """
SELECT count(*), (SELECT at_ms FROM perdure.events ORDER BY sequence LIMIT 1) FROM perdure.events
"""
_SCHEMA_TABLES: Final = """
SELECT s.relname::text, s.n_live_tup, s.n_dead_tup, pg_table_size(s.relid), pg_indexes_size(s.relid),
  (extract(epoch FROM greatest(s.last_vacuum, s.last_autovacuum)) * 1000)::bigint
FROM pg_stat_all_tables AS s WHERE s.schemaname = $1 ORDER BY pg_total_relation_size(s.relid) DESC, s.relname
"""


def count_schema(reader: PostgresReader, now_ms: int) -> Counts:
    """Count the rows of a store. Each table is read at its own moment.

    Args:
        reader: the store.
        now_ms: the present, for due alarms and expired keys.
    """
    instances: dict[str, dict[str, int]] = {}
    encrypted: dict[str, int] = {}
    journal_rows = 0
    for kind, name, status, key, number, length in reader.rows(_SCHEMA_INSTANCES):
        by_status = instances.setdefault(f"{kind}:{name}", {})
        by_status[status] = by_status.get(status, 0) + number
        journal_rows += int(length)
        encrypted[key or "plain"] = encrypted.get(key or "plain", 0) + number
    ((openings,),) = reader.rows(_SCHEMA_EPOCHS)
    ((due, due_since_ms),) = reader.rows(_SCHEMA_DUE, now_ms)
    ((messages, oldest_message_ms),) = reader.rows(_SCHEMA_MESSAGES)
    ((dead_letters,),) = reader.rows(_SCHEMA_DEAD_LETTERS)
    ((keys, expired_keys),) = reader.rows(_SCHEMA_KEYS, now_ms)
    ((events, oldest_event_ms),) = reader.rows(_SCHEMA_EVENTS)
    return Counts(
        openings=openings,
        instances=instances,
        journal_rows=journal_rows,
        encrypted=encrypted if set(encrypted) - {"plain"} else {},
        due=due,
        due_since_ms=due_since_ms,
        messages=messages,
        oldest_message_ms=oldest_message_ms,
        dead_letters=dead_letters,
        keys=keys,
        expired_keys=expired_keys,
        events=events,
        oldest_event_ms=oldest_event_ms,
        size=table_sizes(reader),
    )


def table_sizes(reader: PostgresReader) -> SchemaSize:
    """Read the sizes of the tables."""
    tables = (
        TableSize(
            table=table,
            rows=rows,
            dead_rows=dead_rows,
            table_bytes=table_bytes,
            index_bytes=index_bytes,
            vacuumed_ms=vacuumed_ms,
        )
        for table, rows, dead_rows, table_bytes, index_bytes, vacuumed_ms in reader.rows(
            _SCHEMA_TABLES, reader.settings.schema
        )
    )
    return SchemaSize(tables=tuple(tables))


def lines_of(counts: Counts, store: str) -> Iterator[str]:
    """Print the counts and the file size."""
    yield f"{store}  opened {counts.openings:,} {'time' if counts.openings == 1 else 'times'}"
    yield ""
    yield f"instances     {sum(sum(by_status.values()) for by_status in counts.instances.values()):,}"
    for job, by_status in counts.instances.items():
        yield f"  {job}  {', '.join(f'{number:,} {status}' for status, number in by_status.items())}"
    if counts.journal_rows:
        yield f"journal rows  {counts.journal_rows:,}"
    if counts.encrypted:
        yield f"encrypted     {', '.join(_encrypted(key, number) for key, number in counts.encrypted.items())}"
    yield f"due           {counts.due:,}{_since(counts.due_since_ms)}"
    yield f"messages      {counts.messages:,}{_since(counts.oldest_message_ms)}"
    yield f"dead letters  {counts.dead_letters:,}"
    yield f"keys          {counts.keys:,}, {counts.expired_keys:,} expired"
    yield f"events        {counts.events:,}{_since(counts.oldest_event_ms)}"
    yield ""
    yield from _size(counts.size)


def _size(size: FileSize | SchemaSize) -> Iterator[str]:
    if isinstance(size, SchemaSize):
        for table in size.tables:
            vacuumed = "never vacuumed" if table.vacuumed_ms is None else f"vacuumed{_at(table.vacuumed_ms)}"
            sizes = f"{size_text(table.table_bytes)} and {size_text(table.index_bytes)} of indexes"
            yield f"{table.table:<13} {sizes}, {table.dead_rows:,} dead rows, {vacuumed}"
        bloated = ", ".join(table.table for table in size.tables if table.is_bloated)
        yield f"vacuum        {f'falls behind: {bloated}; see perdure doctor' if bloated else 'keeps up'}"
        return
    yield f"file          {size_text(size.file_bytes)}, {size_text(size.free_bytes)} free"
    yield f"wal           {size_text(size.wal_bytes)}"
    yield f"vacuum        {_advice(size)}"


def json_of(counts: Counts, store: str) -> dict[str, Any]:
    """Return the same as plain data for JSON."""
    worth = counts.size.is_worth_a_vacuum
    return {"store": store, **attrs.asdict(counts), "vacuum": "worth it" if worth else "not needed"}


def _encrypted(key: str, number: int) -> str:
    """Print the number of instances that a key encrypts, or that none does.

    >>> _encrypted("plain", 5), _encrypted("k1", 2)
    ('5 plain', '2 with k1')
    """
    return f"{number:,} plain" if key == "plain" else f"{number:,} with {key}"


def _advice(size: FileSize) -> str:
    if size.is_worth_a_vacuum:
        part = size.free_bytes / size.file_bytes
        return f"worth it: reclaims {size_text(size.free_bytes)} ({part:.0%}); stop the engine and run perdure vacuum"
    return "not needed: free pages will be reused"


def _since(instant_ms: int | None) -> str:
    if instant_ms is None:
        return ""
    return f", since{_at(instant_ms)}"


def _at(instant_ms: int) -> str:
    return f" {datetime.fromtimestamp(instant_ms / 1_000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def stats(
    *,
    store: StoreOption,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Show counts and sizes: instances by job and status, messages, keys and events.

    It runs beside an engine that owns the store or without one, takes no lock and writes nothing.

    Exit code: 0 done, 2 the store cannot be read.

    Parameters
    ----------
    store
        Where instances live: sqlite:///jobs.db, or postgresql://user@host/database.
    json
        Print one JSON object instead of text.
    """
    counts = _counts(store)
    if json:
        sys.stdout.write(orjson.dumps(json_of(counts, shown_url(store)), option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        write_lines(lines_of(counts, shown_url(store)))
    return ExitCode.DONE


def _counts(store: str) -> Counts:
    try:
        if is_postgres(store):
            return _of_schema(store)
        with read_from_outside(sqlite_path(store)) as reader:
            return count(reader, now_ms=time.time_ns() // 1_000_000)
    except (DefinitionError, StoreError) as error:
        raise UsageError(str(error)) from error


def _of_schema(store: str) -> Counts:
    check_driver(settings_of(store))
    from perdure.stores.postgres.reader import check_migrated, read_postgres  # noqa: PLC0415 - the driver is an extra

    with read_postgres(store) as reader:
        check_migrated(reader)
        return count_schema(reader, now_ms=time.time_ns() // 1_000_000)

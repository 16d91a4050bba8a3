"""``perdure stats``: show a store's counts and sizes, as text or as JSON, from outside its engines, in short reads."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import attrs
from cyclopts import Parameter

from perdure.cli.inspection.report import probed
from perdure.cli.options import StoreOption
from perdure.cli.output import size_text, write_object
from perdure.cli.process import ExitCode, write_lines
from perdure.stores.at_rest import StoreReader, event_tables
from perdure.stores.postgres.settings import shown_url
from perdure.stores.rows import Row
from perdure.stores.sqlite.reader import Reader
from perdure.stores.sqlite.schema import size_of
from perdure.values.errors import StoreCorrupt
from perdure.values.excerpt import excerpt
from perdure.values.secret import SEALED, key_of

if TYPE_CHECKING:
    from perdure.stores.postgres.reader import PostgresReader


LEAST_DEAD_ROWS: Final = 50_000
LEAST_DEAD_PART: Final = 0.3
"""A table is bloated when it has at least this many dead rows, and at least this many for each living one."""


@attrs.frozen(kw_only=True)
class TableSize:
    """One table's size, as the server's statistics say.

    Attributes:
        rows: about how many rows it has.
        dead_rows: about how many row versions no transaction needs. Vacuum frees their space.
        vacuumed_ms: when it was last vacuumed. None if never.
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
    """A PostgreSQL store's size.

    Attributes:
        tables: its tables, the largest first.
    """

    tables: tuple[TableSize, ...]

    @property
    def is_worth_a_vacuum(self) -> bool:
        """Whether a table is bloated."""
        return any(table.is_bloated for table in self.tables)


PAGE = 5_000
"""Rows per read. It reads only five columns and the state's beginning."""

MAX_KEY_CHARACTERS = 80
"""An encrypted text's beginning, with the key id."""

LEAST_GAIN_BYTES = 16 * 1024 * 1024
LEAST_GAIN_PART = 0.25
"""A vacuum is worth it when it reclaims at least this much, and at least this part of the file."""

# ruff: noqa: S608 - the texts are made of constants
_DATA: Final = "CASE state WHEN '' THEN data ELSE state END"
_INSTANCES: Final = f"""
SELECT incarnation, kind, name, status, substr({_DATA}, 1, {MAX_KEY_CHARACTERS}), {{journal_rows}}, 1 FROM instances
WHERE incarnation > ? ORDER BY 1 LIMIT {PAGE}
"""
_INSTANCES_OF_SCHEMA: Final = f"""
SELECT 0, kind, name, status,
  CASE WHEN starts_with({_DATA}, '{SEALED}') THEN '{SEALED}' || split_part({_DATA}, ':', 3) || ':' ELSE '' END,
  sum(journal_length)::bigint, count(*)
FROM perdure.instances GROUP BY 2, 3, 4, 5
"""
_FIRST_WITH_JOURNALS: Final = 8
_EPOCH: Final = "SELECT epoch FROM counters"
_EPOCHS: Final = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM perdure.epochs"
_DUE: Final = "SELECT count(*), min(due_ms) FROM perdure.instances WHERE due_ms <= $1"
_MESSAGES: Final = """
SELECT count(*), (SELECT sent_ms FROM perdure.messages ORDER BY message_id LIMIT 1) FROM perdure.messages
"""
_DEAD_LETTERS: Final = "SELECT count(*) FROM perdure.dead_letters"
_KEYS: Final = "SELECT count(*), count(*) FILTER (WHERE expires_ms <= $1) FROM perdure.keys"
_OLDEST_EVENT: Final = "(SELECT at_ms FROM perdure.events ORDER BY sequence LIMIT 1)"
_EVENTS: Final = f"SELECT coalesce(max(sequence) - min(sequence) + 1, 0), {_OLDEST_EVENT} FROM events"
"""Of a file, whose history has no gaps."""

_EVENTS_OF_SCHEMA: Final = f"SELECT count(*), {_OLDEST_EVENT} FROM perdure.events"
_KEPT_EVENTS: Final = """
SELECT job, coalesce((SELECT max(number) FROM perdure.kept_events AS k WHERE k.job = h.job)
  - (SELECT min(number) FROM perdure.kept_events AS k WHERE k.job = h.job) + 1, 0)
FROM perdure.histories AS h ORDER BY job
"""
"""Their numbers have no gaps."""

_TABLES: Final = """
SELECT s.relname::text, s.n_live_tup, s.n_dead_tup, pg_table_size(s.relid), pg_indexes_size(s.relid),
  (extract(epoch FROM greatest(s.last_vacuum, s.last_autovacuum)) * 1000)::bigint
FROM pg_stat_all_tables AS s WHERE s.schemaname = $1 ORDER BY pg_total_relation_size(s.relid) DESC, s.relname
"""


@attrs.frozen(kw_only=True)
class FileSize:
    """A store's size on the disk.

    Attributes:
        wal_bytes: its write-ahead log.
        free_bytes: free pages in the file, which new rows reuse.
    """

    file_bytes: int
    wal_bytes: int
    free_bytes: int

    @property
    def is_worth_a_vacuum(self) -> bool:
        """Whether rebuilding the file would make it much smaller."""
        return self.free_bytes >= max(LEAST_GAIN_BYTES, LEAST_GAIN_PART * self.file_bytes)


@attrs.frozen(kw_only=True)
class Counts:
    """A store's counts.

    Attributes:
        openings: how often an engine opened it.
        instances: how many instances there are, by job (printed ``kind:name``) and status.
        journal_rows: rows in all journals: workflow steps.
        encrypted: instances by the key id that encrypts them. Those that are not encrypted are under ``plain``. Empty
            if none is encrypted.
        due: instances whose alarm is due.
        due_since_ms: their earliest alarm.
        messages: sent and not consumed.
        dead_letters: messages that failed too often.
        keys: idempotency keys.
        expired_keys: keys that retention will delete.
        events: events in the log.
        oldest_event_ms: when the first event happened.
        kept_events: events that jobs keep longer than the log, by job.
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
    kept_events: dict[str, int]
    size: FileSize | SchemaSize


def count(reader: StoreReader, now_ms: int) -> Counts:
    """Count a store's rows. Each table is read at its own moment: concurrent writes may be seen or not.

    Args:
        reader: the store.
        now_ms: the present, for due alarms and expired keys.
    """
    is_file = isinstance(reader, Reader)
    (openings,) = _numbers(reader, _EPOCH if is_file else _EPOCHS, of="counters")
    due, due_since_ms = _numbers(reader, _DUE, now_ms, of="instances")
    messages, oldest_message_ms = _numbers(reader, _MESSAGES, of="messages")
    (dead_letters,) = _numbers(reader, _DEAD_LETTERS, of="dead letters")
    keys, expired_keys = _numbers(reader, _KEYS, now_ms, of="keys")
    events, oldest_event_ms = _numbers(reader, _EVENTS if is_file else _EVENTS_OF_SCHEMA, of="events")
    instances, encrypted, journal_rows = _instances(reader)
    return Counts(
        openings=openings or 0,
        instances=instances,
        journal_rows=journal_rows,
        encrypted=encrypted,
        due=due or 0,
        due_since_ms=due_since_ms,
        messages=messages or 0,
        oldest_message_ms=oldest_message_ms,
        dead_letters=dead_letters or 0,
        keys=keys or 0,
        expired_keys=expired_keys or 0,
        events=events or 0,
        oldest_event_ms=oldest_event_ms,
        kept_events=_kept_events(reader),
        size=_file_size(reader) if isinstance(reader, Reader) else table_sizes(reader),
    )


def _numbers(reader: StoreReader, sql: str, *values: object, of: str) -> tuple[int | None, ...]:
    """Return a row's numbers. The first one must be there.

    Raises:
        StoreCorrupt: it has something else.
    """
    match reader.rows(sql, *values):
        case [(int(), *rest) as row] if all(each is None or type(each) is int for each in rest):
            return tuple(row)
        case rows:
            raise StoreCorrupt(reader.store, f"expected a number in a row of {of}, got {excerpt(rows)}; run verify")


def _kept_events(reader: StoreReader) -> dict[str, int]:
    if "kept_events" not in event_tables(reader):
        return {}
    found: dict[str, int] = {}
    for job, number in reader.rows(_KEPT_EVENTS):
        if type(number) is not int:
            reason = f"expected a number in a row of kept events, got {excerpt(number)}; run verify"
            raise StoreCorrupt(reader.store, reason)
        found[str(job)] = number
    return found


def _instances(reader: StoreReader) -> tuple[dict[str, dict[str, int]], dict[str, int], int]:
    """Count instances by job and status, and by key, and count their journal rows."""
    found: dict[str, Counter[str]] = {}
    keys, journal_rows = Counter[str | None](), 0
    for rows in _pages(reader):
        for _, kind, name, status, text, length, number in rows:
            if type(length) is not int or type(status) is not str:
                expected = "a status" if type(length) is int else "a number"
                wrong = excerpt(status if type(length) is int else length)
                raise StoreCorrupt(reader.store, f"expected {expected} in a row of instances, got {wrong}; run verify")
            journal_rows += length
            found.setdefault(f"{kind}:{name}", Counter())[status] += number
            keys[key_of(str(text))] += number
    plain = keys.pop(None, 0)
    encrypted = {key: number for key, number in sorted(keys.items(), key=str) if key is not None}
    if encrypted and plain:
        encrypted["plain"] = plain
    return {job: dict(sorted(statuses.items())) for job, statuses in sorted(found.items())}, encrypted, journal_rows


def _pages(reader: StoreReader) -> Iterable[list[Row]]:
    if not isinstance(reader, Reader):
        return [reader.rows(_INSTANCES_OF_SCHEMA)]
    has_journals = reader.schema_version >= _FIRST_WITH_JOURNALS
    return reader.pages(_INSTANCES.format(journal_rows="journal_length" if has_journals else "0"), (0,), page=PAGE)


def _file_size(reader: Reader) -> FileSize:
    ((page_bytes,),) = reader.rows("PRAGMA page_size")
    ((free_pages,),) = reader.rows("PRAGMA freelist_count")
    return FileSize(file_bytes=size_of(reader.path), wal_bytes=size_of(reader.log), free_bytes=free_pages * page_bytes)


def table_sizes(reader: PostgresReader) -> SchemaSize:
    """Read the table sizes."""
    names = ("table", "rows", "dead_rows", "table_bytes", "index_bytes", "vacuumed_ms")
    rows = reader.rows(_TABLES, reader.settings.schema)
    return SchemaSize(tables=tuple(TableSize(**dict(zip(names, row, strict=True))) for row in rows))


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
    for job, number in counts.kept_events.items():
        yield f"  {job}  {number:,} kept longer than the log"
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
    """Print how many instances a key encrypts, or how many none does.

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
    with probed(store) as reader:
        counts = count(reader, time.time_ns() // 1_000_000)
    if json:
        write_object(json_of(counts, shown_url(store)))
    else:
        write_lines(lines_of(counts, shown_url(store)))
    return ExitCode.DONE

"""``perdure verify``: check a store's file, its tables and every row, without the user's code."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Final

import attrs
import orjson
from cyclopts import Parameter

from perdure.cli.inspection.report import (
    Finding,
    FindingTopic,
    Progress,
    Report,
    ShowProgress,
    check_answer,
    check_instance,
    check_message,
    finding,
    finding_at,
    probed,
    scan,
    scan_table,
    silent,
)
from perdure.cli.options import StoreOption
from perdure.cli.output import MIB, line_on_stderr, write_object
from perdure.cli.process import UsageError, write_lines
from perdure.stores import at_rest
from perdure.stores.at_rest import RememberedAnswer, StoredInstance, StoreReader
from perdure.stores.postgres.schema import migrations as migrations_of_schemas
from perdure.stores.postgres.settings import is_postgres, shown_url
from perdure.stores.sqlite.reader import MAX_FINDINGS, MAX_LOG_GROWTH_BYTES, Reader
from perdure.stores.sqlite.schema import migrations as migrations_of_files
from perdure.stores.values import LoggedEvent, UnreadEvent
from perdure.values.errors import StoreCorrupt
from perdure.values.excerpt import REFERENCE
from perdure.values.message import StoredMessage
from perdure.values.secret import key_of

if TYPE_CHECKING:
    from perdure.stores.postgres.reader import PostgresReader


@attrs.frozen
class RowIntegrity:
    """Checks rows for facts that hold with any code."""

    def instance(self, row: StoredInstance, /) -> Iterator[Finding]:
        """Return the findings about an instance."""
        yield from check_instance(row)
        found = row.instance
        if isinstance(found, StoreCorrupt):
            return
        # A state in parts is their names: the journal's length shows whether they are all there.
        texts = {"state": found.state.removeprefix(REFERENCE), "data": found.data}
        for name, text in texts.items():
            if text and not _is_json(text):
                yield finding_at(FindingTopic.DAMAGED, row.address, f"its {name} is not JSON")

    def message(self, row: StoredMessage | StoreCorrupt, topic: FindingTopic) -> Iterator[Finding]:
        """Return the findings about a message or a dead letter."""
        yield from check_message(row)
        if not isinstance(row, StoreCorrupt) and not _is_json(row.message.payload):
            reason, example = "its payload is not JSON", f"message {row.message_id} to {row.message.target}"
            yield finding(FindingTopic.DAMAGED, "messages", reason, example)

    def answer(self, row: RememberedAnswer, /) -> Iterator[Finding]:
        """Return the findings about an idempotency key's answer."""
        yield from check_answer(row)
        if not isinstance(row.address, StoreCorrupt) and not _is_json(row.answer):
            reason = f"the answer of key {row.key!r} is not JSON"
            yield finding_at(FindingTopic.DAMAGED, row.address, reason)

    def event(self, row: LoggedEvent | StoreCorrupt, /) -> Iterator[Finding]:
        """Return a finding if an event cannot be decoded: most often a newer version wrote it."""
        if isinstance(row, StoreCorrupt):
            yield finding(FindingTopic.DAMAGED, "events", row.reason, row.what)
            return
        if isinstance(row.event, UnreadEvent):
            job, _, _ = row.event.address.rpartition(":")
            reason = f"{row.event.type}: {row.event.reason}"
            yield finding(FindingTopic.EVENT, job, reason, f"event {row.sequence}")


def _is_json(text: str) -> bool:
    """Return whether a text is JSON, or encrypted: its contents are then not checked."""
    if key_of(text) is not None:
        return True
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


# ---------------------------------------------------------------- the tables as a whole, each in one statement
# ruff: noqa: S608 - the texts are made of constants
_HEADS: Final = f"""
SELECT sender, target, count(*) FILTER (WHERE place = 'head') FROM perdure.messages GROUP BY sender, target
HAVING count(*) FILTER (WHERE place = 'head') <> 1
  OR min(message_id) <> min(message_id) FILTER (WHERE place = 'head') LIMIT {MAX_FINDINGS}
"""
_TWICE: Final = f"""
SELECT message_id FROM perdure.messages JOIN perdure.dead_letters USING (message_id) LIMIT {MAX_FINDINGS}
"""
_JOURNALS: Final = f"""
SELECT i.kind, i.name, i.id, i.journal_length, count(j.place), min(j.place), max(j.place)
FROM (SELECT incarnation FROM perdure.instances WHERE journal_length <> 0
  UNION SELECT incarnation FROM perdure.journal) AS known
LEFT JOIN perdure.instances AS i USING (incarnation) LEFT JOIN perdure.journal AS j USING (incarnation)
GROUP BY known.incarnation, i.incarnation
HAVING i.incarnation IS NULL OR count(j.place) <> i.journal_length OR max(j.place) <> i.journal_length - 1
  OR min(j.place) <> 0 LIMIT {MAX_FINDINGS}
"""
_FIRST_WITH_JOURNALS: Final = 8
_COUNTERS: Final = """
SELECT 'incarnation', incarnation, (SELECT max(incarnation) FROM instances) FROM counters
UNION ALL SELECT 'message_id', message_id, max((SELECT coalesce(max(message_id), 0) FROM messages),
  (SELECT coalesce(max(message_id), 0) FROM dead_letters)) FROM counters
UNION ALL SELECT 'sequence', sequence, (SELECT max(sequence) FROM events) FROM counters
"""
_SEQUENCES: Final = """
SELECT 'epoch', (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM perdure.epochs),
  greatest((SELECT max(epoch) FROM perdure.engines),
    (SELECT max(greatest(owner, event_owner)) FROM perdure.instances
      WHERE owner IS NOT NULL OR event_owner IS NOT NULL))
UNION ALL SELECT 'incarnation', (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM perdure.incarnations),
  (SELECT max(incarnation) FROM perdure.instances)
UNION ALL SELECT 'message_id', (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM perdure.message_ids),
  greatest((SELECT max(message_id) FROM perdure.messages), (SELECT max(message_id) FROM perdure.dead_letters))
"""


def _order(reader: StoreReader) -> Iterator[Finding]:
    """Check that each pair's oldest message, and no other, is the next one."""
    for sender, target, heads in reader.rows(_HEADS):
        reason = f"expected the oldest message of a pair to be its head and no other, got {heads} heads"
        yield finding(FindingTopic.ORDER, "messages", reason, f"{sender} to {target}")
    for (message_id,) in reader.rows(_TWICE):
        reason = "it is both undelivered and a dead letter"
        yield finding(FindingTopic.ORDER, "messages", reason, f"message {message_id}")


def _numbers(reader: StoreReader) -> Iterator[Finding]:
    """Check that no number in use would be assigned again."""
    sql, job = (_COUNTERS, "counters") if isinstance(reader, Reader) else (_SEQUENCES, "sequences")
    # First: without its row the numbers below would all look missing.
    if reader.rows("SELECT count(*) FROM perdure.counters") != [(1,)]:
        yield finding(FindingTopic.NUMBERS, "counters", "expected one row of counters", "counters")
        return
    for name, counted, in_use in reader.rows(sql):
        if type(counted) is not int:
            reason, example = "expected a number", f"{name} {counted!r}"
            yield finding(FindingTopic.NUMBERS, job, reason, example)
        # Behind is fatal: the next number exists already. Ahead only leaves a gap.
        elif counted < (in_use or 0):
            reason, example = "a number in use would be assigned again", f"{name} {counted}, in use {in_use}"
            yield finding(FindingTopic.NUMBERS, job, reason, example)


def _journals(reader: StoreReader) -> Iterator[Finding]:
    """Check that each journal has as many rows as its instance says, without a gap, and belongs to an instance."""
    if isinstance(reader, Reader) and reader.schema_version < _FIRST_WITH_JOURNALS:
        return
    for kind, name, id_, length, found, first, last in reader.rows(_JOURNALS):
        places = f", the places {first} to {last}" if found else ""
        if kind is None:
            job, reason, example = "journal", "its instance is missing", f"{found} rows{places}"
        else:
            job, example = f"{kind}:{name}", str(id_)
            reason = f"expected the rows that the instance counts, got {found} of {length}{places}"
        yield finding(FindingTopic.JOURNAL, job, reason, example)


_AT_REST: Final = """i.claim IS NULL AND i.event_claim IS NULL AND i.left_by IS NULL
  AND (i.suspension IS NULL OR i.suspension <> 'recovery_exhausted')"""
# Behind the empty path and a name of 32 characters. An arrival has no path either, and may name parts.
_IS_PART: Final = """substr(j.body, 38, 8) = '","part"'"""
# In one statement: a run that begins between two would store parts that it has not named yet.
_PARTS: Final = f"""
SELECT kind, name, id, place, body FROM (
  SELECT i.incarnation, i.kind, i.name, i.id, -1 AS place,
    CASE WHEN substr(i.state, 1, 1) = '{REFERENCE}' THEN i.state ELSE '' END || $1 || i.data AS body
  FROM perdure.instances AS i WHERE i.journal_length > 0 AND {_AT_REST}
  UNION ALL SELECT i.incarnation, i.kind, i.name, i.id, j.place,
    CASE WHEN {_IS_PART} THEN substr(j.body, 1, 100) ELSE j.body END
  FROM perdure.journal AS j JOIN perdure.instances AS i USING (incarnation)
  WHERE {_AT_REST} AND ({_IS_PART} OR j.body LIKE '%' || $1 || '{REFERENCE}%')
) AS found ORDER BY incarnation, place
"""
_FIRST_WITH_LEFT: Final = 11
_PART_NAME: Final = re.compile(r"\b[0-9a-f]{32}\b")
_OLD_ROWS: Final = re.compile(r'"skips":(\d+)')


def _parts(reader: StoreReader) -> Iterator[Finding]:
    """Check that rows name each part of a large value, and only parts that exist. Encrypted rows are not checked."""
    if isinstance(reader, Reader) and reader.schema_version < _FIRST_WITH_LEFT:
        return
    for (kind, name, id_), rows in groupby(reader.rows(_PARTS, "\n"), itemgetter(0, 1, 2)):
        stored, named, missing, first = set[str](), set[str](), set[str](), 0
        for _, _, _, place, body in rows:
            head, _, value = body.partition("\n")
            if place < 0:
                named.update(_PART_NAME.findall(body))
                first = int(found[1]) if (found := _OLD_ROWS.search(value)) else 0
            # First: the content of a part may begin like a reference.
            elif (found := _PART_NAME.search(head)) and head.startswith('["","' + found[0] + '","part",'):
                stored.add(found[0])
            elif value[:1] == REFERENCE:
                named.update(names := _PART_NAME.findall(value))
                missing.update(set(names) - stored if place >= first else ())
        for parts, reason in ((stored - named, "no row names parts"), (missing, "parts of a value are missing")):
            if parts:
                yield finding(FindingTopic.JOURNAL, f"{kind}:{name}", reason, f"{id_}: {len(parts)}")


_KEPT: Final = f"""
SELECT job, count(*), min(number), max(number),
  sum(CASE WHEN substr(address, 1, length(job) + 1) <> job || ':' THEN 1 ELSE 0 END),
  sum(CASE WHEN sequence >= (SELECT min(sequence) FROM perdure.events) THEN 1 ELSE 0 END),
  (SELECT count(*) FROM perdure.histories AS h WHERE h.job = k.job)
FROM perdure.kept_events AS k GROUP BY job ORDER BY job LIMIT {MAX_FINDINGS}
"""


def _kept_events(reader: StoreReader) -> Iterator[Finding]:
    """Check that the kept events of each job have no gap, are of that job, are older than the log, and have bounds."""
    if "kept_events" not in at_rest.event_tables(reader):
        return
    for job, count, first, last, strange, newer, bounds in reader.rows(_KEPT):
        if last - first + 1 != count:
            example = f"{last - first + 1 - count} of {first} to {last}"
            yield finding(FindingTopic.HISTORY, str(job), "kept events are missing", example)
        for number, reason in (
            (strange, "kept events are of another job"),
            (newer, "kept events are newer than the log"),
        ):
            if number:
                yield finding(FindingTopic.HISTORY, str(job), reason, f"{number} of {count}")
        if not bounds:
            yield finding(FindingTopic.HISTORY, str(job), "no bound deletes its kept events", f"all {count}")


# ---------------------------------------------------------------- of a SQLite file
_SCHEMA: Final = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
_EVENTS: Final = "SELECT count(*), min(sequence), max(sequence) FROM events"


def _pages_of_file(reader: Reader, max_log_growth_bytes: int) -> Iterator[Finding]:
    """Let SQLite check the file."""
    found = reader.findings(max_log_growth_bytes=max_log_growth_bytes)
    for line in "\n".join(found).splitlines():
        yield finding(FindingTopic.FILE, "SQLite", "SQLite finds damage", line)


def _tables_of_file(reader: Reader) -> Iterator[Finding]:
    """Compare tables and indexes with those that the migrations create."""
    with closing(sqlite3.connect(":memory:")) as expected:
        # A store of an older library is intact with the tables of its own version.
        for script in migrations_of_files()[: reader.schema_version]:
            expected.executescript(script)
        should_be: dict[str, str] = dict(expected.execute(_SCHEMA))
    found: dict[str, str] = dict(reader.rows(_SCHEMA))
    for name, sql in should_be.items():
        if found.get(name) != sql:
            reason = "it differs from the one that the migrations create" if name in found else "it is missing"
            yield finding(FindingTopic.FILE, "schema", reason, name)


def _history(reader: Reader) -> Iterator[Finding]:
    """Check the event history for gaps."""
    ((count, first, last),) = reader.rows(_EVENTS)
    if count and last - first + 1 != count:
        example = f"{last - first + 1 - count} of {first} to {last}"
        yield finding(FindingTopic.HISTORY, "events", "events are missing", example)


# ---------------------------------------------------------------- of a PostgreSQL schema
_NAMED: Final = re.compile(
    r"^(CREATE|DROP)(?: OR REPLACE)?(?: UNIQUE)? (TABLE|INDEX|FUNCTION|SEQUENCE)(?: IF EXISTS)? (?:perdure\.)?(\w+)",
    re.MULTILINE,
)
_FOUND: Final = """
SELECT CASE c.relkind WHEN 'i' THEN 'INDEX' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.relname::text
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = $1
UNION SELECT 'FUNCTION', p.proname::text FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
WHERE n.nspname = $1
"""
_INVALID: Final = """
SELECT c.relname::text FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND NOT (i.indisvalid AND i.indisready)
"""
_DERIVED: Final = (
    (
        "instances",
        "bucket",
        (
            "SELECT kind || ':' || name || ':' || id FROM perdure.instances "
            "WHERE strpos(kind || name || id, E'\\x01') = 0 "
            "AND bucket <> perdure.bucket(kind || ':' || name || ':' || id)"
        ),
    ),
    (
        "instances",
        "event_owner",
        (
            "SELECT kind || ':' || name || ':' || id FROM perdure.instances WHERE (event_claim IS NULL) <> "
            "(event_owner IS NULL) OR (claim IS NULL) <> (owner IS NULL)"
        ),
    ),
    (
        "messages",
        "pair or bucket",
        (
            "SELECT 'message ' || message_id FROM perdure.messages WHERE pair <> perdure.digest(sender, target) "
            "OR (strpos(target, E'\\x01') = 0 AND bucket <> perdure.bucket(target))"
        ),
    ),
    (
        "dead_letters",
        "pair or bucket",
        (
            "SELECT 'message ' || message_id FROM perdure.dead_letters WHERE pair <> perdure.digest(sender, target) "
            "OR (strpos(target, E'\\x01') = 0 AND bucket <> perdure.bucket(target))"
        ),
    ),
    (
        "keys",
        "holder or id",
        "SELECT address FROM perdure.keys WHERE holder <> perdure.digest(address, '') OR id <> perdure.digest(key, '')",
    ),
)


def _objects(reader: PostgresReader) -> Iterator[Finding]:
    """Check that everything that the migrations create exists, and that the tables are a store."""
    expected: set[tuple[str, str]] = set()
    # As far as this schema was migrated: an older library's store is intact.
    for migration in migrations_of_schemas()[: reader.schema_version]:
        for verb, kind, name in _NAMED.findall(migration.sql):
            # In the order of the migrations: a later one may drop an object that an earlier one created.
            (expected.add if verb == "CREATE" else expected.discard)((kind, name))
    found = {(kind, name) for kind, name in reader.rows(_FOUND, reader.settings.schema)}
    for kind, name in sorted(expected - found):
        yield finding(FindingTopic.FILE, "schema", "it is missing", f"{kind.lower()} {name}")
    for (name,) in reader.rows(_INVALID, reader.settings.schema):
        reason = "it is not valid: REINDEX INDEX CONCURRENTLY rebuilds it"
        yield finding(FindingTopic.FILE, "schema", reason, f"index {name}")
    for (source,) in reader.rows("SELECT source FROM perdure.copying"):
        reason = "the tables are an unfinished copy: perdure copy finishes it"
        yield finding(FindingTopic.FILE, "schema", reason, source)


def _derived(reader: PostgresReader) -> Iterator[Finding]:
    """Check the columns that are computed from others, which shares and searches use."""
    for table, column, sql in _DERIVED:
        for (example,) in reader.rows(f"{sql} LIMIT {MAX_FINDINGS}"):
            reason = f"{column}: expected the value that is computed from the row"
            yield finding(FindingTopic.INDEX, table, reason, str(example))


# ---------------------------------------------------------------- the report
def verified(
    reader: StoreReader,
    report: Report,
    *,
    max_log_growth_bytes: int = MAX_LOG_GROWTH_BYTES,
    progress: ShowProgress = silent,
) -> Report:
    """Check everything in a store that does not depend on its jobs' code.

    Args:
        reader: the store.
        report: the report to extend.
        max_log_growth_bytes: how much the file owner's write-ahead log may grow while SQLite checks the file.
        progress: called after every page.

    Returns:
        The report.

    Raises:
        StoreUnavailable: the log grew by more, or the store cannot be read now.
    """
    by = "SQLite" if isinstance(reader, Reader) else "the server"
    # One by one: damage ends a check, and the others may still find more.
    for check in _checks(reader, max_log_growth_bytes):
        with _noting_damage(report, by):
            report.add(check())
    with _noting_damage(report, by):
        _rows(reader, report, progress)
    return report


def _checks(reader: StoreReader, max_log_growth_bytes: int) -> Iterator[Callable[[], Iterable[Finding]]]:
    if isinstance(reader, Reader):
        yield partial(_pages_of_file, reader, max_log_growth_bytes)
        yield from (
            partial(check, reader)
            for check in (_tables_of_file, _order, _numbers, _history, _kept_events, _journals, _parts)
        )
    else:
        yield from (
            partial(check, reader) for check in (_objects, _order, _numbers, _kept_events, _journals, _parts, _derived)
        )


@contextmanager
def _noting_damage(report: Report, by: str) -> Generator[None]:
    """Turn damage that ends a check into a finding: the other checks may still find more."""
    try:
        yield
    except StoreCorrupt as damage:
        report.add([finding(FindingTopic.FILE, "SQLite", f"{by} finds damage", damage.reason)])


def _rows(reader: StoreReader, report: Report, progress: ShowProgress) -> None:
    rows = RowIntegrity()
    scan(reader, rows, report, now_ms=0, progress=progress)
    scan_table("events", at_rest.events(reader), rows.event, report, progress)


SOUND = "the file and every row are intact"
SOUND_ROWS = "every row is intact"


def verify(
    *,
    store: StoreOption,
    max_wal_mib: int = 256,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Verify file and row integrity: SQLite checks the file, the library every row. It needs none of your code.

    It runs beside an engine that owns the store, without one, or on a backup. It takes no lock and writes nothing.
    While SQLite checks the file, the engine's write-ahead log grows. In a PostgreSQL store it checks the rows and the
    schema, each table as of one moment. Use pg_amcheck for the server's own files.

    Exit code: 0 it is intact, 1 there are problems, 2 it cannot start or stopped.

    Parameters
    ----------
    store
        Where instances live: sqlite:///jobs.db, or postgresql://user@host/database.
    max_wal_mib
        Stop when the engine's write-ahead log has grown by more than this many MiB.
    json
        Print one JSON object instead of text.
    """
    if max_wal_mib < 0:
        raise UsageError(f"--max-wal-mib {max_wal_mib}: expected a number from 0")
    report, line = Report(shown_url(store)), line_on_stderr()
    with probed(store, line) as reader:
        line.show("SQLite checks every page" if isinstance(reader, Reader) else "reading the schema")
        verified(reader, report, max_log_growth_bytes=max_wal_mib * MIB, progress=Progress(line).show)
    if json:
        write_object(report.data)
    else:
        write_lines(report.lines(SOUND_ROWS if is_postgres(store) else SOUND))
    return report.exit_code

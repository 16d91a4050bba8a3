"""Checks of the tables of a PostgreSQL store as a whole, each in one statement and so at one moment."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from perdure.cli.inspection.findings import Finding, Topic
from perdure.stores.postgres.schema import migrations
from perdure.stores.sqlite.reader import MAX_FINDINGS

if TYPE_CHECKING:
    from perdure.stores.postgres.reader import PostgresReader


# ruff: noqa: S608 - made of constants
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
_HEADS: Final = f"""
SELECT min(sender), min(target), count(*) FILTER (WHERE place = 'head') FROM perdure.messages GROUP BY pair
HAVING count(*) FILTER (WHERE place = 'head') <> 1
  OR min(message_id) <> min(message_id) FILTER (WHERE place = 'head') LIMIT {MAX_FINDINGS}
"""
_TWICE: Final = f"""
SELECT message_id FROM perdure.messages JOIN perdure.dead_letters USING (message_id) LIMIT {MAX_FINDINGS}
"""
_NUMBERS: Final = """
SELECT 'epoch', (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM perdure.epochs),
  greatest((SELECT max(epoch) FROM perdure.engines),
    (SELECT max(greatest(owner, event_owner)) FROM perdure.instances
      WHERE owner IS NOT NULL OR event_owner IS NOT NULL))
UNION ALL SELECT 'incarnation', (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM perdure.incarnations),
  (SELECT max(incarnation) FROM perdure.instances)
UNION ALL SELECT 'message_id', (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM perdure.message_ids),
  greatest((SELECT max(message_id) FROM perdure.messages), (SELECT max(message_id) FROM perdure.dead_letters))
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


def schema(reader: PostgresReader) -> Iterator[Finding]:
    """Check that everything that the migrations create exists, and that the tables are a store."""
    expected: set[tuple[str, str]] = set()
    for migration in migrations()[: reader.schema_version]:
        for verb, kind, name in _NAMED.findall(migration.sql):
            (expected.add if verb == "CREATE" else expected.discard)((kind, name))
    found = {(kind, name) for kind, name in reader.rows(_FOUND, reader.settings.schema)}
    for kind, name in sorted(expected - found):
        yield Finding(topic=Topic.FILE, job="schema", reason="it is missing", example=f"{kind.lower()} {name}")
    for (name,) in reader.rows(_INVALID, reader.settings.schema):
        reason = "it is not valid: REINDEX INDEX CONCURRENTLY rebuilds it"
        yield Finding(topic=Topic.FILE, job="schema", reason=reason, example=f"index {name}")
    for (source,) in reader.rows("SELECT source FROM perdure.copying"):
        reason = "the tables are an unfinished copy: perdure copy finishes it"
        yield Finding(topic=Topic.FILE, job="schema", reason=reason, example=source)


def order(reader: PostgresReader) -> Iterator[Finding]:
    """Check that the oldest message of each pair, and no other, is the next one."""
    for sender, target, heads in reader.rows(_HEADS):
        reason = f"expected the oldest message of a pair to be its head and no other, got {heads} heads"
        yield Finding(topic=Topic.ORDER, job="messages", reason=reason, example=f"{sender} to {target}")
    for (message_id,) in reader.rows(_TWICE):
        reason = "it is both undelivered and a dead letter"
        yield Finding(topic=Topic.ORDER, job="messages", reason=reason, example=f"message {message_id}")


def numbers(reader: PostgresReader) -> Iterator[Finding]:
    """Check that no number in use would be assigned again."""
    if reader.rows("SELECT count(*) FROM perdure.counters") != [(1,)]:
        yield Finding(topic=Topic.NUMBERS, job="counters", reason="expected one row of counters", example="counters")
    for name, counted, in_use in reader.rows(_NUMBERS):
        if counted < (in_use or 0):
            example = f"{name} {counted}, in use {in_use}"
            reason = "a number in use would be assigned again"
            yield Finding(topic=Topic.NUMBERS, job="sequences", reason=reason, example=example)


def journals(reader: PostgresReader) -> Iterator[Finding]:
    """Check that each journal has as many rows as its instance says, without a gap, and belongs to an instance."""
    for kind, name, id_, length, found, first, last in reader.rows(_JOURNALS):
        if kind is None:
            reason, example = "its instance is missing", f"{found} rows, the places {first} to {last}"
            yield Finding(topic=Topic.JOURNAL, job="journal", reason=reason, example=example)
            continue
        places = f", the places {first} to {last}" if found else ""
        reason = f"expected the rows that the instance counts, got {found} of {length}{places}"
        yield Finding(topic=Topic.JOURNAL, job=f"{kind}:{name}", reason=reason, example=str(id_))


def derived(reader: PostgresReader) -> Iterator[Finding]:
    """Check the columns that are computed from others, which shares and searches use."""
    for table, column, sql in _DERIVED:
        for (example,) in reader.rows(f"{sql} LIMIT {MAX_FINDINGS}"):
            reason = f"{column}: expected the value that is computed from the row"
            yield Finding(topic=Topic.INDEX, job=table, reason=reason, example=str(example))

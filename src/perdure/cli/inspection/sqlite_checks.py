"""Checks of the tables of a SQLite file as a whole, each in one statement and so at one moment."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

from perdure.cli.inspection.findings import Finding, Topic
from perdure.stores.sqlite.reader import MAX_FINDINGS, Reader
from perdure.stores.sqlite.schema import migrations

_SCHEMA = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
_HEADS = f"""
SELECT sender, target, sum(place = 'head') FROM messages GROUP BY sender, target
HAVING sum(place = 'head') <> 1 OR min(message_id) <> min(iif(place = 'head', message_id, NULL)) LIMIT {MAX_FINDINGS}
"""  # noqa: S608 - made of constants
_TWICE = f"SELECT message_id FROM messages JOIN dead_letters USING (message_id) LIMIT {MAX_FINDINGS}"  # noqa: S608
_NUMBERS = """
SELECT incarnation, (SELECT max(incarnation) FROM instances),
       message_id, max((SELECT coalesce(max(message_id), 0) FROM messages),
                       (SELECT coalesce(max(message_id), 0) FROM dead_letters)),
       sequence, (SELECT max(sequence) FROM events)
FROM counters
"""
_JOURNALS = f"""
SELECT i.kind, i.name, i.id, i.journal_length, count(j.place), min(j.place), max(j.place)
FROM (SELECT incarnation FROM instances WHERE journal_length <> 0 UNION SELECT incarnation FROM journal) AS known
LEFT JOIN instances AS i USING (incarnation) LEFT JOIN journal AS j USING (incarnation) GROUP BY known.incarnation
HAVING i.incarnation IS NULL OR count(j.place) <> i.journal_length OR max(j.place) <> i.journal_length - 1
  OR min(j.place) <> 0 LIMIT {MAX_FINDINGS}
"""  # noqa: S608 - made of constants
_FIRST_WITH_JOURNALS = 8
_COUNTERS = "SELECT count(*) FROM counters"
_EVENTS = "SELECT count(*), min(sequence), max(sequence) FROM events"


def schema(reader: Reader) -> Iterator[Finding]:
    """Compare tables and indexes with those that the migrations create."""
    with closing(sqlite3.connect(":memory:")) as expected:
        for script in migrations()[: reader.schema_version]:
            expected.executescript(script)
        should_be: dict[str, str] = dict(expected.execute(_SCHEMA))
    found: dict[str, str] = dict(reader.rows(_SCHEMA))
    for name, sql in should_be.items():
        if found.get(name) != sql:
            reason = "it differs from the one that the migrations create" if name in found else "it is missing"
            yield Finding(topic=Topic.FILE, job="schema", reason=reason, example=name)


def order(reader: Reader) -> Iterator[Finding]:
    """Check that the oldest message of each pair, and no other, is the next one."""
    for sender, target, heads in reader.rows(_HEADS):
        reason = f"expected the oldest message of a pair to be its head and no other, got {heads} heads"
        yield Finding(topic=Topic.ORDER, job="messages", reason=reason, example=f"{sender} to {target}")
    for (message_id,) in reader.rows(_TWICE):
        reason = "it is both undelivered and a dead letter"
        yield Finding(topic=Topic.ORDER, job="messages", reason=reason, example=f"message {message_id}")


def numbers(reader: Reader) -> Iterator[Finding]:
    """Check that no number in use would be assigned again."""
    if reader.rows(_COUNTERS) != [(1,)]:
        yield _number("expected one row of counters", "counters")
        return
    ((incarnation, last_incarnation, message_id, last_message_id, sequence, last_sequence),) = reader.rows(_NUMBERS)
    pairs = (
        ("incarnation", incarnation, last_incarnation),
        ("message_id", message_id, last_message_id),
        ("sequence", sequence, last_sequence),
    )
    for name, counted, in_use in pairs:
        if type(counted) is not int:
            yield _number("expected a number", f"{name} {counted!r}")
        elif counted < (in_use or 0):
            yield _number("a number in use would be assigned again", f"{name} {counted}, in use {in_use}")


def history(reader: Reader) -> Iterator[Finding]:
    """Check the event history for gaps."""
    ((count, first, last),) = reader.rows(_EVENTS)
    if count and last - first + 1 != count:
        example = f"{last - first + 1 - count} of {first} to {last}"
        yield Finding(topic=Topic.HISTORY, job="events", reason="events are missing", example=example)


def journals(reader: Reader) -> Iterator[Finding]:
    """Check that each journal has as many rows as its instance says, without a gap, and belongs to an instance."""
    if reader.schema_version < _FIRST_WITH_JOURNALS:
        return
    for kind, name, id_, length, found, first, last in reader.rows(_JOURNALS):
        if kind is None:
            reason, example = "its instance is missing", f"{found} rows, the places {first} to {last}"
            yield Finding(topic=Topic.JOURNAL, job="journal", reason=reason, example=example)
            continue
        places = f", the places {first} to {last}" if found else ""
        reason = f"expected the rows that the instance counts, got {found} of {length}{places}"
        yield Finding(topic=Topic.JOURNAL, job=f"{kind}:{name}", reason=reason, example=str(id_))


def findings_of_sqlite(found: list[str]) -> Iterator[Finding]:
    """Turn SQLite's report about a file into findings, one per line."""
    for line in "\n".join(found).splitlines():
        yield Finding(topic=Topic.FILE, job="SQLite", reason="SQLite finds damage", example=line)


def _number(reason: str, example: str) -> Finding:
    return Finding(topic=Topic.NUMBERS, job="counters", reason=reason, example=example)

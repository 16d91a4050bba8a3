"""Counts the rows of a PostgreSQL store, from outside its engines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from perdure.cli.stats.counts import Counts
from perdure.cli.stats.schema_size import SchemaSize, TableSize
from perdure.values.secret import SEALED

if TYPE_CHECKING:
    from perdure.stores.postgres.reader import PostgresReader

_TEXT: Final = "CASE state WHEN '' THEN data ELSE state END"
_INSTANCES: Final = f"""
SELECT kind, name, status, CASE WHEN starts_with({_TEXT}, '{SEALED}') THEN split_part({_TEXT}, ':', 3) END, count(*),
  sum(journal_length)
FROM perdure.instances GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
"""  # noqa: S608 - made of constants
_EPOCHS: Final = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM perdure.epochs"
_DUE: Final = "SELECT count(*), min(due_ms) FROM perdure.instances WHERE due_ms <= $1"
_MESSAGES: Final = "SELECT count(*), min(sent_ms) FROM perdure.messages"
_DEAD_LETTERS: Final = "SELECT count(*) FROM perdure.dead_letters"
_KEYS: Final = "SELECT count(*), count(*) FILTER (WHERE expires_ms <= $1) FROM perdure.keys"
_EVENTS: Final = """
SELECT count(*), (SELECT at_ms FROM perdure.events ORDER BY sequence LIMIT 1) FROM perdure.events
"""
_TABLES: Final = """
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
    for kind, name, status, key, number, length in reader.rows(_INSTANCES):
        by_status = instances.setdefault(f"{kind}:{name}", {})
        by_status[status] = by_status.get(status, 0) + number
        journal_rows += int(length)
        encrypted[key or "plain"] = encrypted.get(key or "plain", 0) + number
    ((openings,),) = reader.rows(_EPOCHS)
    ((due, due_since_ms),) = reader.rows(_DUE, now_ms)
    ((messages, oldest_message_ms),) = reader.rows(_MESSAGES)
    ((dead_letters,),) = reader.rows(_DEAD_LETTERS)
    ((keys, expired_keys),) = reader.rows(_KEYS, now_ms)
    ((events, oldest_event_ms),) = reader.rows(_EVENTS)
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
            _TABLES, reader.settings.schema
        )
    )
    return SchemaSize(tables=tuple(tables))

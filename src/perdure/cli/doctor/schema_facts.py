"""The measurements of a PostgreSQL store and its server, before they are judged."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import attrs

from perdure.cli.stats.schema_counts import table_sizes
from perdure.cli.stats.schema_size import SchemaSize
from perdure.stores.postgres.schema import migrations
from perdure.stores.postgres.settings import Ownership

if TYPE_CHECKING:
    from perdure.stores.postgres.reader import PostgresReader

_SETTINGS: Final = """
SELECT name, setting FROM pg_settings WHERE name IN ('server_version', 'fsync', 'full_page_writes',
  'synchronous_commit', 'autovacuum', 'track_counts', 'max_connections', 'idle_in_transaction_session_timeout')
"""
_CONNECTIONS: Final = """
SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
  (SELECT setting::int FROM pg_settings WHERE name = 'max_connections')
    - (SELECT setting::int FROM pg_settings WHERE name = 'superuser_reserved_connections'),
  (SELECT least(NULLIF(rolconnlimit, -1), NULLIF(datconnlimit, -1)) FROM pg_roles, pg_database
    WHERE rolname = current_user AND datname = current_database()),
  (SELECT count(*) FROM pg_stat_activity WHERE usename = current_user AND datname = current_database())
"""
_OLDEST: Final = """
SELECT kind, since, what FROM (
  SELECT 'transaction' AS kind, extract(epoch FROM clock_timestamp() - xact_start)::float8 AS since,
    'process ' || pid || coalesce(' of ' || NULLIF(application_name, ''), '') || ', user ' || coalesce(usename, '?')
      || ', ' || coalesce(state, '?') AS what
  FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
    AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)
  UNION ALL SELECT 'prepared transaction', extract(epoch FROM clock_timestamp() - prepared)::float8, gid
  FROM pg_prepared_xacts WHERE database = current_database()
) AS held ORDER BY since DESC LIMIT 1
"""
_SLOTS: Final = """
SELECT slot_name::text FROM pg_replication_slots
WHERE NOT active AND (xmin IS NOT NULL OR catalog_xmin IS NOT NULL OR restart_lsn IS NOT NULL)
"""
_HIDDEN: Final = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query = '<insufficient privilege>')"
_REPLICAS: Final = "SELECT count(*), count(*) FILTER (WHERE sync_state IN ('sync', 'quorum')) FROM pg_stat_replication"
_NO_AUTOVACUUM: Final = """
SELECT c.relname::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND 'autovacuum_enabled=false' = ANY(c.reloptions) ORDER BY 1
"""
_XID_AGE: Final = "SELECT age(datfrozenxid) FROM pg_database WHERE datname = current_database()"
_OWNER: Final = """
SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = 1885692517 AND granted
  AND objid = 'perdure.instances'::regclass::oid)
"""
_ENGINES: Final = """
SELECT epoch, label, lease_until IS NOT NULL, extract(epoch FROM lease_until - clock_timestamp())::float8
FROM perdure.engines WHERE state = 'open' ORDER BY epoch
"""
_DIED: Final = """
SELECT count(*) FROM perdure.engines WHERE state = 'dead' AND opened_at > clock_timestamp() - interval '1 day'
"""
_STUCK: Final = """
SELECT count(*), min(updated_ms), min(kind || ':' || name || ':' || id) FROM perdure.instances AS i
WHERE (owner IS NOT NULL OR event_owner IS NOT NULL) AND coalesce(owner, event_owner) NOT IN
  (SELECT epoch FROM perdure.engines WHERE state = 'open' AND (lease_until IS NULL OR lease_until > clock_timestamp()))
"""
MAX_OVERDUE: Final = 10_000
"""The alarms that are counted."""

_OVERDUE: Final = f"""
SELECT kind, name, count(*), min(due_ms) FROM
  (SELECT kind, name, due_ms FROM perdure.instances WHERE due_ms <= $1
    ORDER BY due_ms, incarnation LIMIT {MAX_OVERDUE}) AS due
GROUP BY kind, name ORDER BY 4
"""  # noqa: S608 - made of constants
_SERVED: Final = """
SELECT DISTINCT job->>0, job->>1 FROM perdure.engines, json_array_elements(served::json) AS job
WHERE state = 'open' AND lease_until > clock_timestamp()
"""
_PARKED: Final = "SELECT count(*) FROM perdure.instances WHERE suspension IS NOT NULL AND status = 'parked'"
_LEFT: Final = r"""
SELECT coalesce(substring(left_mark FROM '"error_type"\s*:\s*"([^"]*)"'), '?'), count(*)::int FROM perdure.instances
WHERE left_by IS NOT NULL GROUP BY 1
"""
_LEFT_MESSAGES: Final = "SELECT count(*) FROM perdure.messages WHERE left_by IS NOT NULL"
_DEAD_LETTERS: Final = "SELECT count(*) FROM perdure.dead_letters"
_UNFINISHED: Final = "SELECT source FROM perdure.copying"


@attrs.frozen(kw_only=True)
class OpenEngine:
    """An engine that has the store open, or that ended without closing it.

    Attributes:
        epoch: the number of its opening.
        label: its process.
        shares: whether it is a member of a shared store.
        lease_left_s: how long its lease lasts, negative when it has ended; None for an owner.
    """

    epoch: int
    label: str
    shares: bool
    lease_left_s: float | None


@attrs.frozen(kw_only=True)
class OverdueJob:
    """The overdue alarms of one job.

    Attributes:
        job: the job, printed ``kind:name``.
        number: how many are due.
        late_s: how late the oldest is.
        is_served: whether an engine that shares the store serves the job.
    """

    job: str
    number: int
    late_s: float
    is_served: bool


@attrs.frozen(kw_only=True)
class SchemaFacts:
    """Measurements of a PostgreSQL store and its server.

    Attributes:
        store: the store's name.
        ownership: of the URL.
        schema_version: of its tables.
        newest_schema: the newest version that this library knows.
        unfinished: the source of an unfinished copy; empty if the tables are complete.
        settings: of the server, by name.
        is_pooled: whether a pooler such as PgBouncer answers.
        skew_ms: how far the server's clock is ahead of this machine's.
        skew_error_ms: how exact that is.
        connections: those that are open.
        max_connections: those that the server accepts of this role.
        own_connections: those of this role to this database.
        own_limit: the limit of the role or the database; None without one.
        oldest_s: age of the oldest transaction that keeps dead rows; 0 without one.
        oldest: the transaction.
        is_blind: whether the role sees no transactions of others.
        slots: replication slots that nobody uses and that keep rows or files.
        replicas: the connected replicas, and how many of them are synchronous.
        no_autovacuum: tables with autovacuum disabled.
        xid_age: transactions since the oldest frozen row.
        size: of the tables.
        is_owned: whether an engine holds the lock of an owner.
        engines: the openings that are not closed.
        died: engines that were declared dead in the last day.
        stuck: claims of no living engine.
        stuck_s: how long the oldest of them is unchanged.
        stuck_example: one of them.
        overdue: jobs with overdue alarms.
        parked: parked instances.
        left: instances that code left, as it cannot read them, by the class of the problem.
        left_messages: messages that code left.
        dead_letters: messages that failed too often.
    """

    store: str
    ownership: Ownership
    schema_version: int
    newest_schema: int
    unfinished: str
    settings: dict[str, str]
    is_pooled: bool
    skew_ms: float
    skew_error_ms: float
    connections: int
    max_connections: int
    own_connections: int
    own_limit: int | None
    oldest_s: float
    oldest: str
    is_blind: bool
    slots: tuple[str, ...]
    replicas: tuple[int, int]
    no_autovacuum: tuple[str, ...]
    xid_age: int
    size: SchemaSize
    is_owned: bool
    engines: tuple[OpenEngine, ...]
    died: int
    stuck: int
    stuck_s: float
    stuck_example: str
    overdue: tuple[OverdueJob, ...]
    parked: int
    left: dict[str, int]
    left_messages: int
    dead_letters: int


def measured_schema(reader: PostgresReader, now_ms: int) -> SchemaFacts:
    """Measure a store.

    Args:
        reader: reads its schema, at the present version.
        now_ms: the present.
    """
    schema = reader.settings.schema
    skew_ms, skew_error_ms = _skew(reader)
    ((connections, max_connections, own_limit, own_connections),) = reader.rows(_CONNECTIONS)
    oldest = reader.rows(_OLDEST)
    ((replicas, synchronous),) = reader.rows(_REPLICAS)
    ((stuck, stuck_since_ms, stuck_example),) = reader.rows(_STUCK)
    served = set(reader.rows(_SERVED))
    return SchemaFacts(
        store=reader.store,
        ownership=reader.settings.ownership,
        schema_version=reader.schema_version,
        newest_schema=len(migrations()),
        unfinished=str(_first(reader, _UNFINISHED) or ""),
        settings=dict(reader.rows(_SETTINGS)),
        is_pooled=reader.is_pooled,
        skew_ms=skew_ms,
        skew_error_ms=skew_error_ms,
        connections=connections,
        max_connections=max_connections,
        own_connections=own_connections,
        own_limit=own_limit,
        oldest_s=oldest[0][1] if oldest else 0.0,
        oldest=f"{oldest[0][0]} {oldest[0][2]}" if oldest else "",
        is_blind=bool(_first(reader, _HIDDEN)),
        slots=tuple(name for (name,) in reader.rows(_SLOTS)),
        replicas=(replicas, synchronous),
        no_autovacuum=tuple(name for (name,) in reader.rows(_NO_AUTOVACUUM, schema)),
        xid_age=int(_first(reader, _XID_AGE)),
        size=table_sizes(reader),
        is_owned=bool(_first(reader, _OWNER)),
        engines=tuple(
            OpenEngine(epoch=epoch, label=label, shares=shares, lease_left_s=left)
            for epoch, label, shares, left in reader.rows(_ENGINES)
        ),
        died=int(_first(reader, _DIED)),
        stuck=stuck,
        stuck_s=0.0 if stuck_since_ms is None else (now_ms - stuck_since_ms) / 1_000,
        stuck_example=stuck_example or "",
        overdue=tuple(
            OverdueJob(
                job=f"{kind}:{name}",
                number=number,
                late_s=(now_ms - since_ms) / 1_000,
                is_served=(kind, name) in served,
            )
            for kind, name, number, since_ms in reader.rows(_OVERDUE, now_ms)
        ),
        parked=int(_first(reader, _PARKED)),
        left=dict(reader.rows(_LEFT)),
        left_messages=int(_first(reader, _LEFT_MESSAGES)),
        dead_letters=int(_first(reader, _DEAD_LETTERS)),
    )


def _first(reader: PostgresReader, sql: str) -> Any:
    rows = reader.rows(sql)
    return rows[0][0] if rows else None


def _skew(reader: PostgresReader) -> tuple[float, float]:
    """Compare the clocks, with the best of a few exchanges."""
    best = (0.0, float("inf"))
    for _ in range(3):
        before = time.time() * 1_000
        ((server_ms,),) = reader.rows("SELECT extract(epoch FROM clock_timestamp())::float8 * 1000")
        after = time.time() * 1_000
        best = min(best, (server_ms - (before + after) / 2, (after - before) / 2), key=lambda pair: pair[1])
    return best

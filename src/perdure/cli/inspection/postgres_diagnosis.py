"""Diagnoses a PostgreSQL store and its server: each check measures, and a pure function judges."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs

from perdure.cli.inspection.report import Finding
from perdure.cli.inspection.sqlite_diagnosis import OVERDUE_MS, waiting_work
from perdure.cli.inspection.stats import SchemaSize, table_sizes
from perdure.stores.postgres.settings import Ownership
from perdure.stores.rows import Row
from perdure.values.times import format_duration

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
# The lock that an owner holds: see stores/postgres/ownership.py.
_OWNER: Final = """
SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = 1885692517 AND granted
  AND objid = 'perdure.instances'::regclass::oid)
"""
_ENGINES: Final = """
SELECT label, lease_until IS NOT NULL, extract(epoch FROM lease_until - clock_timestamp())::float8
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
_LEFT: Final = r"""
SELECT coalesce(substring(left_mark FROM '"error_type"\s*:\s*"([^"]*)"'), '?'), count(*)::int FROM perdure.instances
WHERE left_by IS NOT NULL GROUP BY 1
"""
_UNFINISHED: Final = "SELECT source FROM perdure.copying"


@attrs.frozen
class OpenEngine:
    """An engine that has the store open, or that ended without closing it.

    Attributes:
        shares: whether it is a member that shares the store.
        lease_left_s: how long its lease lasts, negative when it has ended. None for an owner.
    """

    label: str
    shares: bool
    lease_left_s: float | None

    @property
    def is_alive(self) -> bool:
        """Whether it is a member whose lease lasts."""
        return self.shares and (self.lease_left_s or 0) > 0


def diagnosed(reader: PostgresReader, now_ms: int) -> Iterator[Finding]:
    """Run every check on a store and its server, and yield the findings.

    Args:
        reader: reads its schema, at the present version.
        now_ms: the present.
    """
    settings: dict[str, str] = dict(reader.rows(_SETTINGS))
    unfinished = str(_first(reader, _UNFINISHED) or "")
    ((replicas, synchronous),) = reader.rows(_REPLICAS)
    engines = tuple(OpenEngine(*row) for row in reader.rows(_ENGINES))
    is_owned = bool(_first(reader, _OWNER))
    is_served = is_owned or any(engine.is_alive for engine in engines)
    yield schema(reader.schema_version, settings.get("server_version", "?"), unfinished)
    yield from durability(settings, replicas, synchronous)
    yield clock(*_skew(reader))
    yield pooler(reader.settings.ownership, is_pooled=reader.is_pooled)
    yield connections(*reader.rows(_CONNECTIONS)[0])
    slots, hidden = tuple(name for (name,) in reader.rows(_SLOTS)), bool(_first(reader, _HIDDEN))
    yield transactions(*(reader.rows(_OLDEST) or [("", 0.0, "")])[0], slots=slots, is_blind=hidden)
    yield from vacuum(settings, tuple(name for (name,) in reader.rows(_NO_AUTOVACUUM, reader.settings.schema)))
    yield bloat(table_sizes(reader))
    yield from xids(int(_first(reader, _XID_AGE)))
    yield sharing(engines, int(_first(reader, _DIED)), is_owned=is_owned, unfinished=unfinished)
    yield claims(*reader.rows(_STUCK)[0], now_ms=now_ms, is_served=is_served)
    served = None if is_owned else set(reader.rows(_SERVED))
    yield from alarms(reader.rows(_OVERDUE, now_ms), served, now_ms, is_served=is_served)
    yield from waiting_work(reader, _LEFT)


def _first(reader: PostgresReader, sql: str) -> Any:
    rows = reader.rows(sql)
    return rows[0][0] if rows else None


def _skew(reader: PostgresReader) -> tuple[float, float]:
    """Compare the clocks in three exchanges, and keep the most exact comparison."""
    best = (0.0, float("inf"))
    for _ in range(3):
        before = time.time() * 1_000
        ((server_ms,),) = reader.rows("SELECT extract(epoch FROM clock_timestamp())::float8 * 1000")
        after = time.time() * 1_000
        # Half of the exchange: the server read its clock at some moment within it.
        best = min(best, (server_ms - (before + after) / 2, (after - before) / 2), key=lambda pair: pair[1])
    return best


SKEW_MS: Final = 1_000
"""An engine's clock decides when its alarms are due. A difference of one second is visible."""

LONG_S: Final = 60.0
"""A transaction with this age keeps so many dead rows that requests become slower."""

STUCK_MS: Final = 30_000
"""An engine recovers a dead engine's claims within its lease and a second."""

BUSY_PART: Final = 0.8
OLD_XIDS: Final = 1_000_000_000


def outdated(found: int, newest: int) -> Finding:
    """Return the finding about tables that are older than this library: nothing else can be read then."""
    detail = f"schema version {found}, this library writes {newest}"
    advice = "perdure migrate, or the next engine, upgrades it; older versions of perdure cannot open it afterwards"
    return Finding("warning", "schema", detail, advice)


def schema(version: int, server_version: str, unfinished: str) -> Finding:
    """Judge the tables: ``unfinished`` is an unfinished copy's source."""
    if unfinished:
        detail = f"the tables are an unfinished copy of {unfinished}: no engine can open them"
        return Finding("problem", "schema", detail, "finish it with perdure copy, or drop the schema")
    return Finding("ok", "schema", f"schema version {version}, PostgreSQL {server_version}")


def durability(settings: Mapping[str, str], replicas: int, synchronous: int) -> Iterator[Finding]:
    """Judge the server's settings and replicas."""
    off = [name for name in ("fsync", "full_page_writes") if settings.get(name) == "off"]
    if off:
        detail = f"{' and '.join(off)} off: a crash of the server's machine damages the database"
        yield Finding("problem", "durability", detail, f"set {' and '.join(off)} to on")
    elif settings.get("synchronous_commit") == "off":
        detail = "synchronous_commit off: a store of durability full turns it on for its commits, other writers do not"
        yield Finding("warning", "durability", detail, "set it to on, where your own transactions enqueue")
    else:
        yield Finding("ok", "durability", f"synchronous_commit {settings.get('synchronous_commit', '?')}")
    if replicas and not synchronous:
        detail = f"{replicas} {'replica' if replicas == 1 else 'replicas'}, none of them synchronous"
        advice = "a failover loses answered commits; set synchronous_standby_names"
        yield Finding("warning", "replicas", detail, advice)


def clock(skew_ms: float, error_ms: float) -> Finding:
    """Judge how far the server's clock is ahead of this machine's, and how exact that is."""
    ahead = "ahead of" if skew_ms > 0 else "behind"
    detail = f"the server's clock is {abs(skew_ms):,.0f} ms {ahead} this machine's (± {error_ms:,.0f} ms)"
    if abs(skew_ms) - error_ms > SKEW_MS:
        return Finding("problem", "clock", detail, "synchronize both clocks: alarms fire early or late")
    return Finding("ok", "clock", detail)


def pooler(ownership: Ownership, *, is_pooled: bool) -> Finding:
    """Judge whether a pooler such as PgBouncer answers."""
    if not is_pooled:
        return Finding("ok", "pooler", "none: the server itself answers")
    detail = "a pooler such as PgBouncer answers"
    if ownership == "owned":
        advice = "an owner needs a connection of its own: name the server itself, or share the store"
        return Finding("problem", "pooler", detail, advice)
    return Finding("ok", "pooler", f"{detail}; engines that share the store work with max_prepared_statements above 0")


def connections(open_: int, most: int, own_limit: int | None, own: int) -> Finding:
    """Judge the free connections.

    Args:
        open_: those that are open.
        most: those that the server accepts from this role.
        own_limit: the limit for the role or the database. None without one.
        own: this role's connections to this database.
    """
    used = f"{open_} of {most} connections"
    if own_limit is not None:
        used = f"{used}, {own} of {own_limit} of this role"
    if open_ > BUSY_PART * most or (own_limit is not None and own > BUSY_PART * own_limit):
        advice = "each engine uses up to six; raise the limit, or put PgBouncer in front of shared engines"
        return Finding("warning", "connections", used, advice)
    return Finding("ok", "connections", used)


def transactions(kind: str, oldest_s: float, label: str, *, slots: tuple[str, ...], is_blind: bool) -> Finding:
    """Judge what keeps dead rows.

    Args:
        kind: of the oldest transaction that keeps dead rows.
        oldest_s: its age. 0 without one.
        label: its process.
        slots: replication slots that no consumer uses and that keep rows or files.
        is_blind: whether the role sees no other role's transactions.
    """
    if slots:
        detail = f"the replication slot {', '.join(slots)} is not used and keeps rows or log files"
        return Finding("warning", "snapshots", detail, "pg_drop_replication_slot, or start its consumer")
    if oldest_s > LONG_S:
        age = format_duration(int(oldest_s) * 1_000)
        detail = f"a {kind} {label} is open for {age}: vacuum keeps all rows that died since, at half the speed"
        advice = "end it: pg_terminate_backend, or ROLLBACK PREPARED; set idle_in_transaction_session_timeout"
        return Finding("warning", "snapshots", detail, advice)
    if is_blind:
        return Finding("skipped", "snapshots", "this role sees only its own transactions: GRANT pg_read_all_stats")
    return Finding("ok", "snapshots", f"the oldest transaction is {oldest_s:.0f} s old")


def vacuum(settings: Mapping[str, str], no_autovacuum: tuple[str, ...]) -> Iterator[Finding]:
    """Judge whether autovacuum is on, for the server and for each table."""
    off = [name for name in ("autovacuum", "track_counts") if settings.get(name) == "off"]
    if off or no_autovacuum:
        of = f" of {', '.join(no_autovacuum)}" if no_autovacuum and not off else ""
        detail = f"{' and '.join(off) or 'autovacuum'} off{of}: the tables grow without end"
        advice = "set it to on" if off else f"ALTER TABLE {no_autovacuum[0]} RESET (autovacuum_enabled)"
        yield Finding("problem", "autovacuum", detail, advice)
    else:
        yield Finding("ok", "autovacuum", "on")


def bloat(size: SchemaSize) -> Finding:
    """Judge the tables' dead rows."""
    bloated = [table for table in size.tables if table.is_bloated]
    if not bloated:
        return Finding("ok", "bloat", f"{sum(table.dead_rows for table in size.tables):,} dead rows")
    worst = max(bloated, key=lambda table: table.dead_rows)
    detail = f"{worst.table} has {worst.dead_rows:,} dead rows beside {worst.rows:,}"
    advice = f"find what keeps them (snapshots, above), then VACUUM {worst.table}; give autovacuum more workers"
    return Finding("warning", "bloat", detail, advice)


def xids(age: int) -> Iterator[Finding]:
    """Judge how many transactions there were since the oldest row that is not frozen."""
    if age > OLD_XIDS:
        detail = f"{age:,} transactions since the oldest row that is not frozen"
        yield Finding("problem", "xids", detail, "VACUUM (FREEZE) the database before 2 billion, when it stops")


def sharing(engines: tuple[OpenEngine, ...], died: int, *, is_owned: bool, unfinished: str) -> Finding:
    """Judge the engines.

    Args:
        engines: the openings that are not closed.
        died: engines that were declared dead in the last day.
        is_owned: whether an engine holds the owner lock.
        unfinished: an unfinished copy's source. Empty if the tables are complete.
    """
    members = [engine for engine in engines if engine.shares]
    ended = [engine for engine in members if (engine.lease_left_s or 0) < 0]
    living = len(members) - len(ended)
    if is_owned:
        return Finding("ok", "engines", "an engine owns the store")
    if unfinished:
        return Finding("skipped", "engines", "no engine can open an unfinished copy")
    share = f"{living} {'shares' if living == 1 else 'share'} the store"
    of_a_day = f"; {died} died in the last day" if died else ""
    if not living:
        dead = f"; {', '.join(engine.label for engine in ended)} ended without closing it" if ended else ""
        advice = "start one with this --store: perdure serve MODULE:APP"
        return Finding("warning", "engines", f"no engine runs on it: no alarm fires{dead}{of_a_day}", advice)
    if ended:
        dead = ", ".join(f"{engine.label} ({-(engine.lease_left_s or 0):.0f} s ago)" for engine in ended)
        advice = "the others declare it dead at their next heartbeat; see its log"
        return Finding("warning", "engines", f"{share}; the lease of {dead} has ended", advice)
    if died:
        advice = "see their logs; a machine or a database that pauses for longer than the lease ends an engine, too"
        return Finding("warning", "engines", f"{share}{of_a_day}", advice)
    return Finding("ok", "engines", share)


def claims(stuck: int, since_ms: int | None, example: str, *, now_ms: int, is_served: bool) -> Finding:
    """Judge the claims that no living engine holds.

    Args:
        stuck: how many.
        since_ms: since when the oldest claim is unchanged.
        example: one such claim.
        now_ms: the present.
        is_served: whether an engine runs on the store.
    """
    if not stuck:
        return Finding("ok", "claims", "every claim belongs to a living engine")
    age_ms = 0 if since_ms is None else max(0, now_ms - since_ms)
    age = format_duration(age_ms // 1_000 * 1_000)
    detail = f"{stuck:,} claims of no living engine, such as {example}, the oldest unchanged for {age}"
    if age_ms <= STUCK_MS:
        return Finding("ok", "claims", f"{detail}: they are being recovered")
    if not is_served:
        return Finding("warning", "claims", detail, "they are recovered when an engine starts")
    return Finding("problem", "claims", detail, "no engine serves their jobs; start one that does")


def alarms(rows: Iterable[Row], served: set[Row] | None, now_ms: int, *, is_served: bool) -> Iterator[Finding]:
    """Judge each job's overdue alarms.

    Args:
        rows: a job's kind and name, how many alarms are due, and since when the oldest is.
        served: the jobs that members serve. None for an owned store.
        now_ms: the present.
        is_served: whether an engine runs on the store.
    """
    late = [row for row in rows if now_ms - row[3] > OVERDUE_MS]
    for kind, name, number, since_ms in late:
        age, more = format_duration((now_ms - since_ms) // 1_000 * 1_000), " or more" if number == MAX_OVERDUE else ""
        detail = f"{number:,}{more} alarms of {kind}:{name} are due, the oldest for {age}"
        if not is_served:
            yield Finding("warning", "alarms", detail, "they fire when an engine starts")
        elif served is not None and (kind, name) not in served:
            yield Finding("problem", "alarms", f"{detail}: no engine serves the job", "start one that does")
        else:
            advice = "the job may be held (perdure jobs), or its engines are overloaded"
            yield Finding("problem", "alarms", detail, advice)
    if not late:
        yield Finding("ok", "alarms", "none is overdue")

"""The diagnosis of a PostgreSQL store: measurements of it and of its server, and the judgement, which is pure."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import attrs

from perdure.cli.inspection.sqlite_diagnosis import OVERDUE_MS, Diagnosis, left_instances, left_messages, waiting
from perdure.cli.inspection.stats import SchemaSize, table_sizes
from perdure.stores.postgres.schema import migrations
from perdure.stores.postgres.settings import Ownership
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


SKEW_MS: Final = 1_000
"""The clock of an engine decides when its alarms are due; a second of difference is visible."""

LONG_S: Final = 60.0
"""A transaction of this age keeps so many dead rows that requests become slower."""

STUCK_S: Final = 30.0
"""An engine recovers the claims of a dead one within its lease and a second."""

BUSY_PART: Final = 0.8
OLD_XIDS: Final = 1_000_000_000


def judged_schema(facts: SchemaFacts) -> Iterator[Diagnosis]:
    """Yield one or more findings of each check."""
    yield _schema(facts)
    yield from _durability(facts)
    yield _clock(facts)
    yield _pooler(facts)
    yield _connections(facts)
    yield _transactions(facts)
    yield from _vacuum(facts)
    yield _engines(facts)
    yield _claims(facts)
    yield from _alarms(facts)
    yield waiting(facts.parked, "parked", "instances are parked", "perdure list --status parked")
    yield left_instances(facts.left)
    yield left_messages(facts.left_messages)
    yield waiting(facts.dead_letters, "dead letters", "messages failed too often", "perdure dead-letters")


def outdated(found: int, newest: int) -> Diagnosis:
    """Return the finding about tables that are older than this library: nothing else can be read then."""
    detail = f"schema version {found}, this library writes {newest}"
    advice = "perdure migrate, or the next engine, upgrades it; older versions of perdure cannot open it afterwards"
    return Diagnosis("warning", "schema", detail, advice)


def _schema(facts: SchemaFacts) -> Diagnosis:
    if facts.unfinished:
        detail = f"the tables are an unfinished copy of {facts.unfinished}: no engine can open them"
        return Diagnosis("problem", "schema", detail, "finish it with perdure copy, or drop the schema")
    version = facts.settings.get("server_version", "?")
    return Diagnosis("ok", "schema", f"schema version {facts.schema_version}, PostgreSQL {version}")


def _durability(facts: SchemaFacts) -> Iterator[Diagnosis]:
    off = [name for name in ("fsync", "full_page_writes") if facts.settings.get(name) == "off"]
    if off:
        detail = f"{' and '.join(off)} off: a crash of the server's machine damages the database"
        yield Diagnosis("problem", "durability", detail, f"set {' and '.join(off)} to on")
    elif facts.settings.get("synchronous_commit") == "off":
        detail = "synchronous_commit off: a store of durability full turns it on for its commits, other writers do not"
        yield Diagnosis("warning", "durability", detail, "set it to on, where your own transactions enqueue")
    else:
        yield Diagnosis("ok", "durability", f"synchronous_commit {facts.settings.get('synchronous_commit', '?')}")
    replicas, synchronous = facts.replicas
    if replicas and not synchronous:
        detail = f"{replicas} {'replica' if replicas == 1 else 'replicas'}, none of them synchronous"
        advice = "a failover loses answered commits; set synchronous_standby_names"
        yield Diagnosis("warning", "replicas", detail, advice)


def _clock(facts: SchemaFacts) -> Diagnosis:
    ahead = "ahead of" if facts.skew_ms > 0 else "behind"
    detail = (
        f"the server's clock is {abs(facts.skew_ms):,.0f} ms {ahead} this machine's (± {facts.skew_error_ms:,.0f} ms)"
    )
    if abs(facts.skew_ms) - facts.skew_error_ms > SKEW_MS:
        return Diagnosis("problem", "clock", detail, "synchronize both clocks: alarms fire early or late")
    return Diagnosis("ok", "clock", detail)


def _pooler(facts: SchemaFacts) -> Diagnosis:
    if not facts.is_pooled:
        return Diagnosis("ok", "pooler", "none: the server itself answers")
    detail = "a pooler such as PgBouncer answers"
    if facts.ownership == "owned":
        advice = "an owner needs a connection of its own: name the server itself, or share the store"
        return Diagnosis("problem", "pooler", detail, advice)
    return Diagnosis(
        "ok", "pooler", f"{detail}; engines that share the store work with max_prepared_statements above 0"
    )


def _connections(facts: SchemaFacts) -> Diagnosis:
    used = f"{facts.connections} of {facts.max_connections} connections"
    if facts.own_limit is not None:
        used = f"{used}, {facts.own_connections} of {facts.own_limit} of this role"
    is_busy = facts.connections > BUSY_PART * facts.max_connections
    if is_busy or (facts.own_limit is not None and facts.own_connections > BUSY_PART * facts.own_limit):
        advice = "each engine uses up to six; raise the limit, or put PgBouncer in front of shared engines"
        return Diagnosis("warning", "connections", used, advice)
    return Diagnosis("ok", "connections", used)


def _transactions(facts: SchemaFacts) -> Diagnosis:
    if facts.slots:
        detail = f"the replication slot {', '.join(facts.slots)} is not used and keeps rows or log files"
        return Diagnosis("warning", "snapshots", detail, "pg_drop_replication_slot, or start its consumer")
    if facts.oldest_s > LONG_S:
        age = format_duration(int(facts.oldest_s) * 1_000)
        detail = f"a {facts.oldest} is open for {age}: vacuum keeps all rows that died since, at half the speed"
        advice = "end it: pg_terminate_backend, or ROLLBACK PREPARED; set idle_in_transaction_session_timeout"
        return Diagnosis("warning", "snapshots", detail, advice)
    if facts.is_blind:
        detail = "this role sees only its own transactions: GRANT pg_read_all_stats"
        return Diagnosis("skipped", "snapshots", detail)
    return Diagnosis("ok", "snapshots", f"the oldest transaction is {facts.oldest_s:.0f} s old")


def _vacuum(facts: SchemaFacts) -> Iterator[Diagnosis]:
    off = [name for name in ("autovacuum", "track_counts") if facts.settings.get(name) == "off"]
    if off or facts.no_autovacuum:
        of = f" of {', '.join(facts.no_autovacuum)}" if facts.no_autovacuum and not off else ""
        detail = f"{' and '.join(off) or 'autovacuum'} off{of}: the tables grow without end"
        advice = "set it to on" if off else f"ALTER TABLE {facts.no_autovacuum[0]} RESET (autovacuum_enabled)"
        yield Diagnosis("problem", "autovacuum", detail, advice)
    else:
        yield Diagnosis("ok", "autovacuum", "on")
    bloated = [table for table in facts.size.tables if table.is_bloated]
    if bloated:
        worst = max(bloated, key=lambda table: table.dead_rows)
        detail = f"{worst.table} has {worst.dead_rows:,} dead rows beside {worst.rows:,}"
        advice = f"find what keeps them (snapshots, above), then VACUUM {worst.table}; give autovacuum more workers"
        yield Diagnosis("warning", "bloat", detail, advice)
    else:
        yield Diagnosis("ok", "bloat", f"{sum(table.dead_rows for table in facts.size.tables):,} dead rows")
    if facts.xid_age > OLD_XIDS:
        detail = f"{facts.xid_age:,} transactions since the oldest row that is not frozen"
        yield Diagnosis("problem", "xids", detail, "VACUUM (FREEZE) the database before 2 billion, when it stops")


def _sharing(living: int) -> str:
    return f"{living} {'shares' if living == 1 else 'share'} the store"


def _engines(facts: SchemaFacts) -> Diagnosis:
    sharing = [engine for engine in facts.engines if engine.shares]
    ended = [engine for engine in sharing if (engine.lease_left_s or 0) < 0]
    living = len(sharing) - len(ended)
    if facts.is_owned:
        return Diagnosis("ok", "engines", "an engine owns the store")
    if facts.unfinished:
        return Diagnosis("skipped", "engines", "no engine can open an unfinished copy")
    died = f"; {facts.died} died in the last day" if facts.died else ""
    if not living:
        dead = f"; {', '.join(engine.label for engine in ended)} ended without closing it" if ended else ""
        advice = "start one with this --store: perdure serve MODULE:APP"
        return Diagnosis("warning", "engines", f"no engine runs on it: no alarm fires{dead}{died}", advice)
    if ended:
        dead = ", ".join(f"{engine.label} ({-(engine.lease_left_s or 0):.0f} s ago)" for engine in ended)
        detail = f"{_sharing(living)}; the lease of {dead} has ended"
        return Diagnosis(
            "warning", "engines", detail, "the others declare it dead at their next heartbeat; see its log"
        )
    if facts.died:
        advice = "see their logs; a machine or a database that pauses for longer than the lease ends an engine, too"
        return Diagnosis("warning", "engines", f"{_sharing(living)}{died}", advice)
    return Diagnosis("ok", "engines", _sharing(living))


def _claims(facts: SchemaFacts) -> Diagnosis:
    if not facts.stuck:
        return Diagnosis("ok", "claims", "every claim belongs to a living engine")
    age = format_duration(max(0, int(facts.stuck_s)) * 1_000)
    detail = (
        f"{facts.stuck:,} claims of no living engine, such as {facts.stuck_example}, the oldest unchanged for {age}"
    )
    if facts.stuck_s <= STUCK_S:
        return Diagnosis("ok", "claims", f"{detail}: they are being recovered")
    if not facts.is_owned and not any(engine.shares and (engine.lease_left_s or 0) > 0 for engine in facts.engines):
        return Diagnosis("warning", "claims", detail, "they are recovered when an engine starts")
    return Diagnosis("problem", "claims", detail, "no engine serves their jobs; start one that does")


def _alarms(facts: SchemaFacts) -> Iterator[Diagnosis]:
    late = [job for job in facts.overdue if job.late_s * 1_000 > OVERDUE_MS]
    has_engines = facts.is_owned or any(engine.shares and (engine.lease_left_s or 0) > 0 for engine in facts.engines)
    for job in late:
        age = format_duration(int(job.late_s) * 1_000)
        more = " or more" if job.number == MAX_OVERDUE else ""
        detail = f"{job.number:,}{more} alarms of {job.job} are due, the oldest for {age}"
        if not has_engines:
            yield Diagnosis("warning", "alarms", detail, "they fire when an engine starts")
        elif not facts.is_owned and not job.is_served:
            yield Diagnosis("problem", "alarms", f"{detail}: no engine serves the job", "start one that does")
        else:
            advice = "the job may be held (perdure jobs), or its engines are overloaded"
            yield Diagnosis("problem", "alarms", detail, advice)
    if not late:
        yield Diagnosis("ok", "alarms", "none is overdue")

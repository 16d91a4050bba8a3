"""Judges the measurements of a PostgreSQL store. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from perdure.cli.doctor.diagnosis import Diagnosis
from perdure.cli.doctor.judgement import OVERDUE_MS, left_instances, left_messages, waiting
from perdure.cli.doctor.schema_facts import MAX_OVERDUE, SchemaFacts
from perdure.values.times import format_duration

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

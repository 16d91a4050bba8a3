"""``perdure verify``, ``stats``, ``check`` and ``doctor`` of a PostgreSQL store: each condition on a real server."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import asyncpg
import attrs
import pytest
from postgres_harness import PostgresHarness, SharedPostgresHarness

from perdure import App, Task
from perdure.cli.commands import run_command
from perdure.cli.inspection import postgres_diagnosis as diagnosis
from perdure.cli.inspection.report import Finding
from perdure.cli.inspection.stats import SchemaSize, TableSize
from perdure.stores.postgres.reader import read_postgres
from perdure.stores.postgres.schema import in_schema
from perdure.testing.conformance.optional_operation_cases import fill

NOW_MS = 10_000_000


@attrs.frozen
class Order:
    n: int = 0


app = App(None).with_jobs(
    Task("orders", state=Order, event=Order, initial=Order(), on_event=lambda ctx, event: ctx.set_state(event))
)


@pytest.fixture(scope="module")
def filled(_server: str) -> Iterator[PostgresHarness]:
    """A schema with rows of every table. Each test undoes its damage."""
    harness = PostgresHarness(_server)

    async def write() -> None:
        store = await harness.open()
        await fill(store)
        await store.close()

    asyncio.run(write())
    yield harness
    asyncio.run(harness.discard())


@pytest.fixture(scope="module")
def _server() -> str:
    from postgres_server import running_server  # noqa: PLC0415 - it skips the test where there is no server

    return running_server()


def run(*arguments: str) -> int:
    return run_command(list(arguments))


# ------------------------------------------------------------------- verify
def test_an_intact_schema_has_no_finding(filled: PostgresHarness, capsys: pytest.CaptureFixture[str]):
    assert run("verify", "--store", filled.url) == 0
    printed = capsys.readouterr().out
    assert "checked 3 instances, 3 messages, 1 dead letter, 2 keys, 6 events" in printed
    assert "every row is intact" in printed


DAMAGE = {
    "a missing index": (
        "DROP INDEX perdure.keys_expiry",
        "CREATE INDEX keys_expiry ON perdure.keys (expires_ms)",
        "file",
    ),
    "a missing function": (
        "ALTER FUNCTION perdure.next_alarm(bigint) RENAME TO other",
        "ALTER FUNCTION perdure.other(bigint) RENAME TO next_alarm",
        "file",
    ),
    "an unfinished copy": (
        "INSERT INTO perdure.copying VALUES ('sqlite:///x.db', 'm', NULL)",
        "DELETE FROM perdure.copying",
        "file",
    ),
    "a wrong status": (
        "UPDATE perdure.instances SET status = 'parked' WHERE id = 'a'",
        "UPDATE perdure.instances SET status = 'retrying' WHERE id = 'a'",
        "index",
    ),
    "a wrong bucket": (
        "UPDATE perdure.instances SET bucket = (bucket + 1) % 64 WHERE id = 'a'",
        "UPDATE perdure.instances SET bucket = (bucket + 63) % 64 WHERE id = 'a'",
        "index",
    ),
    "a wrong pair": (
        "UPDATE perdure.dead_letters SET pair = '\\x00'",
        "UPDATE perdure.dead_letters SET pair = perdure.digest(sender, target)",
        "index",
    ),
    "a message without a head": (
        "UPDATE perdure.messages SET place = 'behind' WHERE payload = '2'",
        "UPDATE perdure.messages SET place = 'head' WHERE payload = '2'",
        "order",
    ),
    "a number that comes again": (
        "SELECT setval('perdure.incarnations', 1)",
        "SELECT setval('perdure.incarnations', 99)",
        "numbers",
    ),
    "a missing row of a journal": (
        "UPDATE perdure.journal SET place = 7 WHERE place = 1",
        "UPDATE perdure.journal SET place = 1 WHERE place = 7",
        "journal",
    ),
    "a text that is not JSON": (
        "UPDATE perdure.keys SET answer = 'x' WHERE key = 'k'",
        "UPDATE perdure.keys SET answer = '{}' WHERE key = 'k'",
        "damaged",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_each_damage_is_found_alone(name: str, filled: PostgresHarness, capsys: pytest.CaptureFixture[str]):
    harm, repair, topic = DAMAGE[name]
    asyncio.run(filled.execute(harm))
    try:
        assert run("verify", "--store", filled.url, "--json") == 1
    finally:
        asyncio.run(filled.execute(repair))
    report = json.loads(capsys.readouterr().out)
    assert {group["topic"] for group in report["groups"] if group["matters"] == "problem"} == {topic}


def test_it_reads_while_rows_are_locked(filled: PostgresHarness):
    """An engine, or a transaction of an application, that is under way delays no check."""

    async def locked() -> int:
        connection = await asyncpg.connect(filled.database)
        async with connection.transaction():
            await connection.execute(in_schema("UPDATE perdure.instances SET event_count = 1", filled.schema))
            code = await asyncio.to_thread(run, "verify", "--store", filled.url)
        await connection.close()
        return code

    assert asyncio.run(locked()) == 0


def test_no_command_shows_the_password(filled: PostgresHarness, capsys: pytest.CaptureFixture[str]):
    url = filled.url.replace("postgres@", "postgres:hunter2@")
    for command in ("verify", "stats", "doctor"):
        run(command, "--store", url)
    out, err = capsys.readouterr()
    assert "hunter2" not in out + err


@pytest.mark.parametrize("command", ["verify", "stats", "doctor"])
def test_a_schema_that_does_not_exist_is_refused(command: str, postgres_url: str, capsys: pytest.CaptureFixture[str]):
    url = PostgresHarness(postgres_url).url
    assert run(command, "--store", url) == (1 if command == "doctor" else 2)
    assert "; create it with 'perdure migrate'" in "".join(capsys.readouterr())


# ------------------------------------------------------------- stats, check
SLEEPS = "SELECT pg_sleep(3600)::text"


@pytest.mark.parametrize("read", ["rows", "pages"])
def test_an_interrupt_ends_a_read_at_once(filled: PostgresHarness, read: str):
    """It arrives as `KeyboardInterrupt`, and the server ends the statement, too."""
    active = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%' || $1 || '%'"

    async def interrupt() -> None:
        watching = await asyncpg.connect(filled.database)
        while await watching.fetchval(active, SLEEPS) == 0:
            pass
        await watching.close()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    async def none_is_active() -> None:
        async with asyncio.timeout(120):
            while await filled.value(active, SLEEPS) != 0:
                pass

    watcher = threading.Thread(target=lambda: asyncio.run(interrupt()))
    with read_postgres(filled.url) as reader:
        watcher.start()
        with pytest.raises(KeyboardInterrupt):
            reader.rows(SLEEPS) if read == "rows" else next(reader.pages(SLEEPS, page=1))
    watcher.join()
    asyncio.run(none_is_active())


def test_stats_counts_rows_and_tables(filled: PostgresHarness, capsys: pytest.CaptureFixture[str]):
    assert run("stats", "--store", filled.url, "--json") == 0
    counts = json.loads(capsys.readouterr().out)
    assert counts["instances"] == {"task:orders": {"paused": 1, "retrying": 1, "running": 1}}
    found = (counts[name] for name in ("journal_rows", "messages", "dead_letters", "keys", "events"))
    assert tuple(found) == (2, 3, 1, 2, 4)
    assert {"instances", "journal", "events"} <= {table["table"] for table in counts["size"]["tables"]}
    assert run("stats", "--store", filled.url) == 0
    assert "of indexes" in capsys.readouterr().out


def test_check_and_snapshot_read_a_schema(filled: PostgresHarness, tmp_path: Any, capsys: pytest.CaptureFixture[str]):
    assert run("check", "test_postgres_tools:app", "--store", filled.url) == 1  # the messages are not of this app
    assert "checked 3 instances" in capsys.readouterr().out
    assert run("snapshot", "--store", filled.url, "--output", str(tmp_path / "rows.json")) == 0
    assert "3 rows" in capsys.readouterr().out


# ------------------------------------------------------------------- doctor
def diagnosed(url: str, now_ms: int = NOW_MS) -> dict[str, Finding]:
    with read_postgres(url) as reader:
        return {str(each.topic): each for each in diagnosis.diagnosed(reader, now_ms)}


def test_the_command_reports_every_finding(filled: PostgresHarness, capsys: pytest.CaptureFixture[str]):
    run("doctor", "--store", filled.url)
    printed = capsys.readouterr().out
    for topic in (
        "schema",
        "durability",
        "clock",
        "pooler",
        "connections",
        "snapshots",
        "autovacuum",
        "bloat",
        "engines",
    ):
        assert f"  {topic}" in printed


def test_a_schema_without_an_engine_is_read_as_a_file_is(filled: PostgresHarness, capsys: pytest.CaptureFixture[str]):
    assert run("list", "--store", filled.url, "--json") == 0
    listed = {each["address"]: each["status"] for each in map(json.loads, capsys.readouterr().out.splitlines())}
    assert listed["task:orders:a"] == "retrying"
    assert sorted(listed.values()) == ["paused", "retrying", "running"]
    for command in ("show", "history"):
        assert run(command, "task:orders:a", "--store", filled.url) == 0
    printed = capsys.readouterr().out
    assert "status      retrying" in printed
    assert "job.started" in printed
    assert run("show", "task:orders:a", "--store", filled.url, "--app", "test_postgres_tools:app") == 0
    assert capsys.readouterr().out.endswith('"n": 1\n}\n')
    assert run("dead-letters", "--store", filled.url, "--json") == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert run("show", "task:orders:absent", "--store", filled.url) == 3


def test_commands_that_need_an_engine_say_how_to_reach_one(filled: PostgresHarness, capsys: pytest.CaptureFixture[str]):
    assert run("send", "task:orders:a", "{}", "--store", filled.url) == 4
    assert "pass --server URL" in capsys.readouterr().err


SERVES = (
    "INSERT INTO perdure.engines VALUES "
    "(89, 'open', now(), now() + interval '9 s', '[[\"task\", \"orders\", 1]]', 'b:1')"
)
CONDITIONS = {
    "instances that code left": (
        """UPDATE perdure.instances SET left_by = E'task:orders\\t3f', left_mark =
             CASE id WHEN 'a' THEN '{"error" : {"error_type" : "Diverged"}}' ELSE 'no JSON' END""",
        "UPDATE perdure.instances SET left_by = NULL, left_mark = NULL",
        "left",
        "warning",
        "3: instances are left, as the code cannot read them (2 ?, 1 Diverged)",
    ),
    "messages that code left": (
        "UPDATE perdure.messages SET left_by = E'task:orders\\t3f' WHERE payload = '2'",
        "UPDATE perdure.messages SET left_by = NULL",
        "left messages",
        "warning",
        "1: messages are left",
    ),
    "an unfinished copy": (
        "INSERT INTO perdure.copying VALUES ('sqlite:///x.db', 'm', NULL)",
        "DELETE FROM perdure.copying",
        "schema",
        "problem",
        "unfinished copy of sqlite:///x.db",
    ),
    "autovacuum off": (
        "ALTER TABLE perdure.keys SET (autovacuum_enabled = false)",
        "ALTER TABLE perdure.keys RESET (autovacuum_enabled)",
        "autovacuum",
        "problem",
        "of keys",
    ),
    "a dead member": (
        f"{SERVES}, (88, 'open', now(), now() - interval '9 s', '[]', 'a:1')",
        "DELETE FROM perdure.engines WHERE epoch > 80",
        "engines",
        "warning",
        "the lease of a:1 (9 s ago) has ended",
    ),
    "a member that was declared dead": (
        f"{SERVES}, (88, 'dead', now(), NULL, '[]', 'a:1')",
        "DELETE FROM perdure.engines WHERE epoch > 80",
        "engines",
        "warning",
        "1 shares the store; 1 died in the last day",
    ),
    "stuck claims": (
        SERVES.replace('["task", "orders", 1]', ""),
        "DELETE FROM perdure.engines WHERE epoch > 80",
        "claims",
        "problem",
        "2 claims of no living engine",
    ),
    "alarms of a job that no engine serves": (
        SERVES.replace('["task", "orders", 1]', ""),
        "DELETE FROM perdure.engines WHERE epoch > 80",
        "alarms",
        "problem",
        "1 alarms of task:orders are due, the oldest for 2h46m39s: no engine serves the job",
    ),
    "alarms that an engine does not fire": (
        SERVES,
        "DELETE FROM perdure.engines WHERE epoch > 80",
        "alarms",
        "problem",
        "1 alarms of task:orders are due, the oldest for 2h46m39s",
    ),
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_each_condition_is_found(name: str, filled: PostgresHarness):
    harm, repair, topic, level, detail = CONDITIONS[name]
    before = diagnosed(filled.url)[topic]
    asyncio.run(filled.execute(harm))
    try:
        found = diagnosed(filled.url)[topic]
    finally:
        asyncio.run(filled.execute(repair))
    assert (found.severity, detail in found.detail) == (level, True), found
    assert found.advice
    assert before != found


def test_a_long_transaction_is_found(filled: PostgresHarness):
    """It must have a snapshot: one that is only open keeps no rows."""

    async def oldest() -> Any:
        connection = await asyncpg.connect(filled.database, server_settings={"application_name": "report"})
        async with connection.transaction(isolation="repeatable_read"):
            await connection.fetchval("SELECT 1")
            found = await asyncio.to_thread(diagnosed, filled.url)
        await connection.close()
        return found["snapshots"]

    assert asyncio.run(oldest()).severity == "ok"
    old = diagnosis.transactions("transaction", 61.0, "process 7", slots=(), is_blind=False)
    assert old.severity == "warning"
    assert "a transaction process 7 is open for 1m1s" in old.detail
    assert "pg_terminate_backend" in old.advice


def test_the_settings_of_the_connection_are_found(filled: PostgresHarness):
    found = diagnosed(f"{filled.url}&synchronous_commit=off")["durability"]
    assert found.severity in {"warning", "problem"}  # fsync is off in tests
    on = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "off"}
    (warned,), (refused,) = diagnosis.durability(on, 0, 0), diagnosis.durability(on | {"fsync": "off"}, 0, 0)
    assert (warned.severity, refused.severity) == ("warning", "problem")


def only(findings: Iterable[Finding]) -> Finding:
    *_, last = findings
    return last


@pytest.mark.parametrize(
    ("found", "topic", "level", "detail"),
    [
        (diagnosis.clock(2_500.0, 3.0), "clock", "problem", "2,500 ms ahead of this machine's (± 3 ms)"),
        (diagnosis.clock(-2_500.0, 3.0), "clock", "problem", "2,500 ms behind"),
        (diagnosis.clock(2_500.0, 2_000.0), "clock", "ok", "2,500 ms"),
        (diagnosis.pooler("owned", is_pooled=True), "pooler", "problem", "PgBouncer"),
        (diagnosis.pooler("shared", is_pooled=True), "pooler", "ok", "max_prepared_statements"),
        (only(diagnosis.durability({}, 2, 0)), "replicas", "warning", "2 replicas, none of them synchronous"),
        (
            diagnosis.transactions("", 0.0, "", slots=("old",), is_blind=False),
            "snapshots",
            "warning",
            "slot old is not used",
        ),
        (
            diagnosis.transactions("", 0.0, "", slots=(), is_blind=True),
            "snapshots",
            "skipped",
            "pg_read_all_stats",
        ),
        (only(diagnosis.xids(1_500_000_000)), "xids", "problem", "1,500,000,000"),
        (diagnosis.connections(10, 100, 5, 5), "connections", "warning", "5 of 5 of this role"),
        (diagnosis.connections(100, 100, None, 5), "connections", "warning", "100 of 100"),
        (diagnosis.connections(80, 100, None, 80), "connections", "ok", "80 of 100"),
    ],
)
def test_each_measurement_is_judged(found: Finding, topic: str, level: str, detail: str):
    assert (found.topic, found.severity, detail in found.detail) == (topic, level, True), found


def test_bloat_is_found():
    table = TableSize(table="instances", rows=100_000, dead_rows=90_000, table_bytes=1, index_bytes=1, vacuumed_ms=None)
    found = diagnosis.bloat(SchemaSize(tables=(table,)))
    assert (found.severity, found.detail) == ("warning", "instances has 90,000 dead rows beside 100,000")
    few = attrs.evolve(table, dead_rows=20_000)
    assert diagnosis.bloat(SchemaSize(tables=(few,))).severity == "ok"


def test_tables_of_an_older_version_are_reported(filled: PostgresHarness, capsys: pytest.CaptureFixture[str]):
    newest = asyncio.run(filled.value("SELECT max(version) FROM perdure.migrations"))
    asyncio.run(filled.execute("UPDATE perdure.migrations SET version = 0 WHERE version = $1", newest))
    try:
        assert run("doctor", "--store", filled.url) == 0
        assert run("stats", "--store", filled.url) == 2
    finally:
        asyncio.run(filled.execute("UPDATE perdure.migrations SET version = $1 WHERE version = 0", newest))
    out, err = capsys.readouterr()
    assert diagnosis.outdated(newest - 1, newest).line in out
    assert "run perdure migrate first" in err


def test_an_engine_that_shares_the_store_is_no_finding(postgres_url: str):
    harness = SharedPostgresHarness(postgres_url)

    async def with_an_engine() -> dict[str, Finding]:
        async with app.open(harness.url):
            return await asyncio.to_thread(diagnosed, harness.url)

    found = asyncio.run(with_an_engine())
    asyncio.run(harness.discard())
    assert (found["engines"].severity, found["engines"].detail) == ("ok", "1 shares the store")
    assert {topic for topic, each in found.items() if each.severity == "problem"} <= {
        "durability"
    }  # fsync is off in tests

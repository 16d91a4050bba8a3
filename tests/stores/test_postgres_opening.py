"""Opening a PostgreSQL store: its URL, its tables, its owner, and every way in which it is refused."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest
from postgres_harness import PostgresHarness, states
from postgres_server import PrivateCluster

from perdure.stores.contract import Store, commit_one, load_one
from perdure.stores.postgres import open_postgres
from perdure.stores.postgres.connections import reason_of
from perdure.stores.postgres.schema import migrate, migrations, script_from
from perdure.stores.postgres.settings import MIN_LEASE_MS, settings_of
from perdure.stores.url import open_store
from perdure.testing.conformance.assertions import answer, value
from perdure.testing.conformance.histories import address, created, put
from perdure.values.errors import (
    DefinitionError,
    OutcomeUnknown,
    OwnershipLost,
    StoreLocked,
    StoreMissing,
    StoreTooNew,
    StoreUnavailable,
)

A = address("a")


@pytest.fixture
def harness(postgres_url: str):
    harness = PostgresHarness(postgres_url)
    yield harness
    asyncio.run(harness.discard())


def refused(url: str) -> Exception:
    async def main() -> None:
        await (await open_postgres(url)).close()

    with pytest.raises(Exception) as caught:
        asyncio.run(main())
    return caught.value


# ---------------------------------------------------------------- the URL
def test_the_name_of_a_store_holds_no_password():
    settings = settings_of("postgresql://app:s3cret@db:5433/orders?schema=jobs&sslmode=require&cache=1MiB")
    assert settings.name == "postgresql://db:5433/orders?schema=jobs"
    assert settings.dsn == "postgresql://app:s3cret@db:5433/orders?sslmode=require"
    assert settings.cache_bytes == 1024**2
    assert "s3cret" not in repr(settings)
    assert settings_of("postgresql://db/orders?ownership=shared&lease=1s").lease_ms == MIN_LEASE_MS


@pytest.mark.parametrize(
    "query",
    [
        *("schema=Jobs", "schema=pg_jobs", "schema=", "schema=a&schema=b"),
        *("durability=none", "cache=much", "ownership=shared&lease=999ms"),
    ],
)
def test_an_option_that_is_not_valid_is_refused(query: str):
    error = refused(f"postgresql://app:s3cret@db/orders?{query}")
    assert isinstance(error, DefinitionError)
    assert "s3cret" not in str(error)


def test_a_missing_driver_is_named():
    script = """
import asyncio, sys
sys.modules["asyncpg"] = None
from perdure.stores.url import open_store
asyncio.run(open_store("postgresql://app:s3cret@db/orders"))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)  # noqa: S603
    assert "pip install 'perdure[postgres]'" in done.stderr
    assert "s3cret" not in done.stderr.splitlines()[-1]


# ---------------------------------------------------------------- refusals
def test_no_server_listens():
    error = refused("postgresql://app:s3cret@127.0.0.1:1/orders")
    assert isinstance(error, StoreUnavailable)
    assert "connect to postgresql://127.0.0.1:1/orders" in str(error)
    assert "check that the server runs" in str(error)
    assert "s3cret" not in str(error)


def test_a_database_that_does_not_exist_is_named(postgres_url: str):
    error = refused(urlsplit(postgres_url)._replace(path="/no_such_database").geturl())
    assert isinstance(error, StoreUnavailable)
    assert "create it first" in str(error)


def test_an_unknown_parameter_is_named(postgres_url: str):
    error = refused(f"{postgres_url}{'&' if '?' in postgres_url else '?'}sslmod=require")
    assert isinstance(error, StoreUnavailable)
    assert "sslmod" in str(error)
    assert "check the options of the URL" in str(error)


def test_a_wrong_password_is_named(postgres_cluster: PrivateCluster):
    async def make_role() -> None:
        connection = await asyncpg.connect(postgres_cluster.url)
        await connection.execute("CREATE ROLE guarded LOGIN PASSWORD 'right'")
        await connection.close()

    asyncio.run(make_role())
    error = refused(postgres_cluster.url.replace("postgres@", "guarded:wrong@", 1))
    assert isinstance(error, StoreUnavailable)
    assert "check the URL, or PGPASSWORD" in str(error)
    error = refused(postgres_cluster.url.replace("postgres@", "guarded:right@", 1))
    assert isinstance(error, StoreUnavailable)
    assert "perdure migrate --print-sql" in str(error)  # it may connect, and may not create a schema


def test_a_role_without_the_privilege_uses_tables_that_another_made(harness: PostgresHarness):
    """An administrator runs the printed SQL; the application needs no right to create anything."""
    role, schema = f"{harness.schema}_app", harness.schema

    async def main() -> int:
        await harness.execute(script_from(0, schema))
        await harness.execute(f"""
            CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {role};
            GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {role};
            GRANT ALL ON ALL SEQUENCES IN SCHEMA {schema} TO {role}""")
        store = await open_postgres(harness.url.replace("postgres@", f"{role}@", 1))
        await created(store, A)
        found = len(await value(store.due(0, 1)))
        await store.close()
        await harness.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
        return found

    assert asyncio.run(main()) == 0


def granted_by_the_page(schema: str, role: str) -> str:
    """The statements of the how-to guide, for another schema and role."""
    page = Path(__file__).parents[2] / "docs" / "how-to" / "store-in-postgresql.md"
    (block,) = re.findall(r"```text\n\\i perdure\.sql\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return block.replace("perdure", schema).replace("TO shop", f"TO {role}")


def test_the_statements_of_the_guide_hold_for_the_tables_of_later_migrations(harness: PostgresHarness):
    role, schema = f"{harness.schema}_app", harness.schema

    async def main() -> None:
        await harness.execute(f"CREATE SCHEMA {schema}; {migrations()[0].script(schema)} CREATE ROLE {role} LOGIN;")
        await harness.execute(granted_by_the_page(schema, role))
        await harness.execute(script_from(1, schema))
        store = await open_postgres(harness.url.replace("postgres@", f"{role}@", 1))
        await created(store, A)
        assert store.counts is not None
        await value(store.counts.instances())
        await store.close()
        await harness.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")

    asyncio.run(main())


def test_a_newer_schema_is_refused_and_left_alone(harness: PostgresHarness):
    newer = len(migrations()) + 1

    async def main() -> None:
        await (await harness.open()).close()
        await harness.execute("INSERT INTO perdure.migrations (version, name) VALUES ($1, 'later')", newer)

    asyncio.run(main())
    error = refused(harness.url)
    assert isinstance(error, StoreTooNew)
    assert (error.found, error.supported) == (newer, len(migrations()))


def test_a_schema_that_must_exist_is_not_created(harness: PostgresHarness):
    assert isinstance(refused(f"{harness.url}&if_missing=refuse"), StoreMissing)
    sql = "SELECT count(*) FROM pg_namespace WHERE nspname = $1"
    assert asyncio.run(harness.value(sql, harness.schema)) == 0


# ---------------------------------------------------------------- tables
def test_first_openings_at_once_create_the_tables_once(harness: PostgresHarness):
    async def main() -> list[Any]:
        return await asyncio.gather(*(harness.open() for _ in range(6)), return_exceptions=True)

    async def run() -> None:
        opened = await main()
        (store,) = [one for one in opened if isinstance(one, Store)]
        assert {type(one) for one in opened if one is not store} == {StoreLocked}
        await created(store, A)
        await store.close()

    asyncio.run(run())


def test_the_printed_statements_are_those_of_an_opening(harness: PostgresHarness):
    columns = """
        SELECT string_agg(table_name || '.' || column_name || ' ' || data_type, ', ' ORDER BY table_name, column_name)
        FROM information_schema.columns WHERE table_schema = $1"""

    async def main() -> None:
        await harness.execute(script_from(0, harness.schema))
        printed = await harness.value(columns, harness.schema)
        await harness.discard()
        await (await harness.open()).close()
        assert await harness.value(columns, harness.schema) == printed
        await harness.execute("SELECT 1; " + script_from(len(migrations()), harness.schema))

    asyncio.run(main())


def test_printed_migrations_leave_none_out_that_failed(harness: PostgresHarness):
    """psql continues with the next one, after a lock that was not available in time."""

    async def main() -> None:
        first, _, *later = re.split(r"(?<=COMMIT;\n)", script_from(0, harness.schema))
        await harness.execute(first)
        for migration in filter(str.strip, later):
            with pytest.raises(asyncpg.RaiseError, match=r"expects tables of version .* --from-version 1"):
                await harness.execute(migration)
        assert await harness.value("SELECT max(version) FROM perdure.migrations") == 1
        await harness.execute(script_from(1, harness.schema))
        await (await harness.open()).close()

    asyncio.run(main())


_USED = """
    SELECT proname || '(' || pg_get_function_identity_arguments(oid) || ') ' || pg_get_function_result(oid)
    FROM pg_proc WHERE pronamespace = $1::text::regnamespace
    UNION ALL SELECT table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable
    FROM information_schema.columns WHERE table_schema = $1"""


def test_a_migration_keeps_the_functions_and_columns_of_earlier_versions(harness: PostgresHarness):
    """They continue on migrated tables while a rollout runs: their statements call the same functions."""

    async def main() -> None:
        connection = await asyncpg.connect(harness.database)
        await connection.execute(f'CREATE SCHEMA "{harness.schema}"')
        used: set[str] = set()
        for migration in migrations():
            await connection.execute(migration.script(harness.schema))
            found = {row[0] for row in await connection.fetch(_USED, harness.schema)}
            assert used <= found, (migration, used - found)
            used = found
        assert used
        await connection.close()

    asyncio.run(main())


_CATALOG = """
    SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = $1::text::regnamespace
    UNION ALL SELECT table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable
    FROM information_schema.columns WHERE table_schema = $1
    UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = $1
    UNION ALL SELECT sequencename::text FROM pg_sequences WHERE schemaname = $1"""


def test_each_migration_that_is_interrupted_leaves_the_tables_of_the_version_before(harness: PostgresHarness):
    """A rollout that stops there continues with the earlier version, and the next opening migrates."""

    async def main() -> None:
        connection = await asyncpg.connect(harness.database)
        await connection.execute(f'CREATE SCHEMA "{harness.schema}"')

        async def catalog() -> list[str]:
            return sorted(row[0] for row in await connection.fetch(_CATALOG, harness.schema))

        for migration in migrations():
            before = await catalog()
            interrupted = connection.transaction()
            await interrupted.start()
            await connection.execute(migration.script(harness.schema))
            assert await catalog() != before
            await interrupted.rollback()
            assert await catalog() == before, migration.name
            await connection.execute(migration.script(harness.schema))
        migrated = await catalog()
        await connection.close()
        await harness.discard()
        await (await harness.open()).close()
        connection = await asyncpg.connect(harness.database)
        assert await catalog() == migrated
        await connection.close()

    asyncio.run(main())


class Locked:
    """A schema of the first version, in which a transaction holds a lock that migrations wait for."""

    def __init__(self, harness: PostgresHarness) -> None:
        self.harness = harness

    async def __aenter__(self) -> Any:
        schema = self.harness.schema
        first = script_from(0, schema).partition("COMMIT;")[0]
        await self.harness.execute(f"{first}COMMIT;")
        self.holder = await asyncpg.connect(self.harness.database)
        await self.holder.execute(f'BEGIN; LOCK TABLE "{schema}".migrations IN SHARE MODE')
        return self.holder

    async def __aexit__(self, *_: object) -> None:
        await self.holder.close()


def test_a_migration_waits_briefly_for_a_lock_and_tries_again(harness: PostgresHarness):
    """While it waits, every statement of every engine would wait behind it."""

    async def main() -> None:
        async with Locked(harness) as holder, asyncio.timeout(120):
            migrating = await asyncpg.connect(harness.database)
            pid = migrating.get_server_pid()
            work = asyncio.ensure_future(migrate(migrating, store="s", schema=harness.schema, lock_timeout_ms=40))
            sql = "SELECT query LIKE '%pg_sleep%' FROM pg_stat_activity WHERE pid = $1"
            while not await harness.value(sql, pid):  # it tries again later
                assert not work.done()
            await holder.execute("COMMIT")
            assert await work == 1
            assert await harness.value("SELECT max(version) FROM perdure.migrations") == len(migrations())
            await migrating.close()

    asyncio.run(main())


def test_a_lock_that_stays_is_reported(harness: PostgresHarness):
    async def main() -> None:
        async with Locked(harness):
            migrating = await asyncpg.connect(harness.database)
            with pytest.raises(asyncpg.LockNotAvailableError) as caught:
                await migrate(migrating, store="s", schema=harness.schema, lock_timeout_ms=1)
            assert "look for it in pg_stat_activity" in reason_of(caught.value)
            assert await harness.value("SELECT max(version) FROM perdure.migrations") == 1
            await migrating.close()

    asyncio.run(main())


# ---------------------------------------------------------------- the owner
def test_a_second_engine_is_refused_and_says_who_owns_the_schema(harness: PostgresHarness):
    async def main() -> None:
        store = await harness.open()
        with pytest.raises(StoreLocked, match=r"process \d+ of the server.* opens it with \?ownership=shared"):
            await harness.open()
        await created(store, A)
        await store.close()

    asyncio.run(main())


BLIND = {
    "pg_try_advisory_lock": "grants the lock of an owner to two sessions",
    "pg_advisory_xact_lock": "accepts advisory locks without locking",
    "pg_try_advisory_xact_lock": "accepts advisory locks without locking",
    "pg_try_advisory_xact_lock_shared": "accepts advisory locks without locking",
}


@pytest.mark.parametrize(("lock", "reason"), BLIND.items())
def test_a_server_that_accepts_locks_without_locking_is_refused(harness: PostgresHarness, lock: str, reason: str):
    """Its function is that of databases that only speak the protocol: it is always true."""
    role = f"blind_{harness.schema[-12:]}"
    # A shared engine has no lock of an owner.
    ownership = "owned" if lock == "pg_try_advisory_lock" else "shared"

    async def main() -> None:
        await harness.execute(f"CREATE ROLE {role} SUPERUSER LOGIN")
        await harness.execute(f"CREATE SCHEMA {role}")
        await harness.execute(f"CREATE FUNCTION {role}.{lock}(int, int) RETURNS bool LANGUAGE sql AS 'SELECT true'")
        await harness.execute(f"ALTER ROLE {role} SET search_path = {role}, pg_catalog")
        try:
            url = re.sub("//[^/]*@", f"//{role}@", f"{harness.url}&ownership={ownership}")
            with pytest.raises(StoreUnavailable, match=reason):
                await open_postgres(url)
            assert await value((await open_postgres(harness.url)).close()) is None
        finally:
            await harness.execute(f"DROP OWNED BY {role} CASCADE")
            await harness.execute(f"DROP SCHEMA {role} CASCADE")
            await harness.execute(f"DROP ROLE {role}")

    asyncio.run(main())


@pytest.mark.parametrize("ownership", ["owned", "shared"])
def test_a_server_that_accepts_skip_locked_without_locking_is_refused(harness: PostgresHarness, ownership: str):
    """A relay blanks the clause in each statement: a row that another session has locked is then not skipped."""
    clause = b"FOR UPDATE SKIP LOCKED"

    async def main() -> None:
        settings = settings_of(harness.url)
        folder = parse_qs(urlsplit(settings.dsn).query)["host"][0]
        async with relay(Path(folder), lambda sent: sent.replace(clause, b" " * len(clause))) as port:
            url = f"postgresql://postgres@127.0.0.1:{port}/postgres?schema={harness.schema}&ownership={ownership}"
            with pytest.raises(StoreUnavailable, match="accepts FOR UPDATE SKIP LOCKED without locking"):
                await open_postgres(url)
        assert await value((await open_postgres(harness.url)).close()) is None

    asyncio.run(main())


@asynccontextmanager
async def relay(folder: Path, change: Callable[[bytes], bytes]) -> AsyncGenerator[int]:
    """Pass connections on to a server's Unix socket, and change each piece that a client sends."""
    tasks: set[asyncio.Task[None]] = set()

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter, of: Callable[[bytes], bytes]) -> None:
        try:
            while piece := await source.read(2**20):
                target.write(of(piece))
        finally:
            target.close()
            await target.wait_closed()

    async def accept(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        answers, requests = await asyncio.open_unix_connection(folder / ".s.PGSQL.5432")
        tasks.update(map(asyncio.ensure_future, (copy(source, requests, change), copy(answers, target, bytes))))

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
    await asyncio.gather(*tasks, return_exceptions=True)  # the engine has closed its connections


def test_a_standby_takes_over_when_the_owner_ends(harness: PostgresHarness):
    async def main() -> None:
        owner = await harness.open()
        waiting = asyncio.ensure_future(open_store(harness.url, on_locked="wait"))
        await created(owner, A)
        assert not waiting.done()
        await owner.close()
        standby = await waiting
        assert standby.epoch > owner.epoch
        assert (await value(load_one(standby, A))).instance is not None
        await standby.close()

    asyncio.run(main())


def test_an_owner_that_lost_its_connection_takes_the_lock_again(harness: PostgresHarness):
    async def main() -> None:
        owner = await harness.open()
        told = states(owner)
        fence = await created(owner, A)
        for _ in range(2):
            await harness.lose_the_lock()
            assert [await told.get(), await told.get()] == ["in_doubt", "sure"]
            assert isinstance(await _opening(harness), StoreLocked)
        await value(commit_one(owner, put(A, fence)))
        assert owner.lost is not None
        assert not owner.lost.done()
        await owner.close()
        again = await harness.open()
        assert again.previous_exit == "closed"
        await again.close()

    asyncio.run(main())


def test_an_owner_that_lost_its_lock_to_another_stops_and_writes_nothing(harness: PostgresHarness):
    """Its other connections still work: the schema refuses them once another engine has opened it."""

    async def main() -> None:
        owner = await harness.open()
        told = states(owner)
        fence = await created(owner, A)
        await harness.execute("UPDATE perdure.engines SET state = 'dead'")  # as a successor does, with the lock
        await harness.lose_the_lock()
        assert owner.lost is not None
        assert "another engine has opened the store" in await owner.lost
        assert [told.get_nowait() for _ in range(told.qsize())] == ["in_doubt"]
        assert isinstance((await answer(commit_one(owner, put(A, fence)))).failure(), OwnershipLost)
        successor = await harness.open()
        await value(commit_one(successor, put(A, fence)))
        await owner.close()
        await value(commit_one(successor, put(A, fence.__class__(fence.incarnation, 2))))
        await successor.close()
        third = await harness.open()
        assert third.previous_exit == "closed"
        await third.close()

    asyncio.run(main())


def test_an_owner_that_does_not_know_of_its_end_is_fenced_by_the_schema(harness: PostgresHarness):
    """The successor ends the epoch in the database: a late group of the previous owner is refused there."""

    async def main() -> None:
        owner = await harness.open()
        fence = await created(owner, A)
        await harness.execute("SELECT * FROM perdure.own('')")  # as a successor does, with the lock
        refused = await answer(commit_one(owner, put(A, fence)))
        assert isinstance(refused.failure(), OwnershipLost)
        assert "another engine has opened the store" in str(refused.failure())
        assert isinstance((await answer(owner.redrive(1))).failure(), OwnershipLost)
        assert (await harness.value("SELECT version FROM perdure.instances")) == 1
        await owner.close()

    asyncio.run(main())


# ---------------------------------------------------------------- a server that stops
def test_a_server_that_stops_is_reported_and_nothing_acknowledged_is_lost(postgres_cluster: PrivateCluster):
    harness = PostgresHarness(postgres_cluster.url, "full")

    async def main() -> None:
        store = await harness.open()
        written = [address(f"{number}") for number in range(300)]
        under_way = [asyncio.ensure_future(answer(commit_one(store, put(at)))) for at in written]
        await under_way[0]
        await asyncio.to_thread(postgres_cluster.stop, "immediate")
        answers = await asyncio.gather(*under_way)
        failure = (await answer(load_one(store, A))).failure()
        assert isinstance(failure, StoreUnavailable)
        await store.close()
        assert isinstance(await _opening(harness), StoreUnavailable)
        await asyncio.to_thread(postgres_cluster.start)
        again = await harness.open()
        assert again.previous_exit == "died"
        for at, given in zip(written, answers, strict=True):
            stored = (await value(load_one(again, at))).instance is not None
            if not isinstance(given.swap().value_or(None), OutcomeUnknown):
                assert stored == (given.value_or(None) is not None), (at, given)
        await again.close()

    asyncio.run(main())


async def _opening(harness: PostgresHarness) -> Exception | Store:
    try:
        return await harness.open()
    except Exception as error:  # noqa: BLE001 - the caller checks it
        return error

"""Connections to several hosts, to a server that has become a replica, and to one that does not answer."""

from __future__ import annotations

import asyncio
import secrets
import sys
from functools import partial
from pathlib import Path

import asyncpg
import attrs
import pytest
from chaos_network import Link, has_namespaces
from postgres_harness import SharedPostgresHarness
from returns.result import Failure, Success

from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.runtime.record import LogRecord
from perdure.stores.contract import commit_one, load_one
from perdure.stores.postgres import open_postgres
from perdure.stores.postgres.connections import ConnectionPool, PostgresConnections
from perdure.stores.postgres.settings import settings_of
from perdure.testing.conformance.assertions import answer, value
from perdure.testing.conformance.histories import address, put
from perdure.testing.conformance.sharing_cases import sharing
from perdure.values.errors import StoreUnavailable

STARTING = b"SFATAL\0C57P03\0Mthe database system is starting up\0\0"


async def link_to(url: str) -> Link:
    """Open a proxy on TCP to the server of a URL."""
    link = Link(0, Path(url.partition("host=")[2].partition("&")[0], ".s.PGSQL.5432"), namespaces=False)
    await link.open()
    return link


async def is_starting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer as a server that is starting up."""
    length = int.from_bytes(await reader.readexactly(4))
    asked = await reader.readexactly(length - 4)
    if asked[:4] == (80877103).to_bytes(4):  # whether it speaks TLS
        writer.write(b"N")
        length = int.from_bytes(await reader.readexactly(4))
        await reader.readexactly(length - 4)
    writer.write(b"E" + (len(STARTING) + 4).to_bytes(4) + STARTING)
    writer.close()


def test_the_next_host_is_tried_when_a_server_is_starting_up(postgres_url: str) -> None:
    harness = SharedPostgresHarness(postgres_url)

    async def main() -> None:
        link = await link_to(postgres_url)
        server = await asyncio.start_server(is_starting, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        options = f"schema={harness.schema}&ownership=shared&target_session_attrs=read-write"
        hosts = f"127.0.0.1:{port},127.0.0.1:{link.port}"
        store = await open_postgres(f"postgresql://postgres@{hosts}/postgres?{options}")
        await value(commit_one(store, put(address("a"))))
        await store.close()
        server.close()
        link.close()
        await harness.discard()

    asyncio.run(main())


def test_connections_to_a_server_that_became_a_replica_are_replaced(postgres_url: str) -> None:
    harness, role = SharedPostgresHarness(postgres_url), f"role_{secrets.token_hex(4)}"

    async def main() -> None:
        admin = await asyncpg.connect(postgres_url)
        await admin.execute(f"CREATE ROLE {role} LOGIN SUPERUSER")
        store = await open_postgres(harness.url.replace("postgres@", f"{role}@", 1))
        fence = await value(commit_one(store, put(address("a"))))
        await admin.execute(f"ALTER ROLE {role} SET default_transaction_read_only = on")
        await admin.fetch("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", role)
        answers = [await answer(commit_one(store, put(address("a"), fence))) for _ in range(3)]
        assert "the server is a replica" in str(answers[-1])
        await admin.execute(f"ALTER ROLE {role} RESET default_transaction_read_only")
        answers = [await answer(commit_one(store, put(address("a"), fence))) for _ in range(2)]
        assert any(isinstance(one, Success) for one in answers)  # one may find the last read-only connection
        await store.close()
        await harness.discard()
        await admin.execute(f"DROP ROLE {role}")
        await admin.close()

    asyncio.run(main())


def test_a_close_ends_requests_that_the_server_does_not_answer(postgres_url: str) -> None:
    """The network swallows everything: the close takes its time limit, here a hundredth of it, and no minute."""
    harness = SharedPostgresHarness(postgres_url)

    async def main() -> None:
        link = await link_to(postgres_url)
        real = asyncio_runtime()
        fast = attrs.evolve(real, call_later=lambda ms, act: real.call_later(ms / 100, act))
        url = f"postgresql://postgres@127.0.0.1:{link.port}/postgres?schema={harness.schema}&ownership=shared"
        store = await open_postgres(url, runtime=fast)
        link.cut()
        committing = asyncio.ensure_future(answer(commit_one(store, put(address("a")))))
        await asyncio.sleep(0)
        await asyncio.wait_for(store.close(), 15)
        assert isinstance(await committing, Failure)
        link.close()
        await harness.discard()

    asyncio.run(main())


def test_a_statement_that_takes_too_long_is_cancelled(postgres_url: str) -> None:
    """Otherwise it could wait for a lock, and be executed, long after its caller was answered."""
    tag = secrets.token_hex(6)

    async def main() -> None:
        # a second, because the next statement must not take as long on a busy machine
        make = partial(asyncpg.connect, postgres_url, command_timeout=1)
        connections = PostgresConnections(ConnectionPool(asyncio_runtime(), make), settings_of(postgres_url), 1)
        assert isinstance(await connections.read("sleep", f"SELECT pg_sleep(3600) /* {tag} */"), Failure)
        assert isinstance(await connections.read("count", "SELECT 1"), Success)
        await connections.close()
        admin = await asyncpg.connect(postgres_url)
        sql = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE $1 AND state = 'active'"
        async with asyncio.timeout(120):
            while await admin.fetchval(sql, f"%pg_sleep(3600) /* {tag} */"):
                pass
        await admin.close()

    asyncio.run(main())


def test_an_engine_works_with_one_connection_if_the_server_has_no_more(postgres_url: str) -> None:
    """Its statements wait for each other, also the heartbeats, and none fails."""
    harness, role = SharedPostgresHarness(postgres_url), f"role_{secrets.token_hex(4)}"

    async def main() -> None:
        admin = await asyncpg.connect(postgres_url)
        await admin.execute(f"CREATE ROLE {role} LOGIN SUPERUSER")
        store = await open_postgres(harness.url.replace("postgres@", f"{role}@", 1))
        await admin.execute(f"ALTER ROLE {role} NOSUPERUSER CONNECTION LIMIT 1")
        for number in range(5):
            at = address(f"{number}")
            calls = (commit_one(store, put(at)), load_one(store, at), store.due(0, 1), sharing(store).heartbeat({}))
            answers = await asyncio.gather(*(answer(call) for call in calls))
            assert all(isinstance(one, Success) for one in answers), answers
        await store.close()
        await harness.discard()
        await admin.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
        await admin.close()

    asyncio.run(main())


@pytest.mark.skipif(not has_namespaces(), reason="only root can let packets vanish")
@pytest.mark.parametrize(("ownership", "noticed"), [("shared", b"Failure\n"), ("owned", b"in_doubt\n")])
def test_a_server_that_vanishes_is_noticed_in_seconds(postgres_url: str, ownership: str, noticed: bytes) -> None:
    """Without an end of the connection, such as by a loss of power: by a statement, and by the lock of an owner."""
    harness = SharedPostgresHarness(postgres_url)

    async def main() -> None:
        socket = Path(postgres_url.partition("host=")[2].partition("&")[0], ".s.PGSQL.5432")
        link = Link(7, socket, namespaces=True)
        await link.open()
        url = f"postgresql://postgres@{link.here}:{link.port}/postgres?schema={harness.schema}&ownership={ownership}"
        script = str(Path(__file__).with_name("beyond_link.py"))
        pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
        beyond = await asyncio.create_subprocess_exec(*link.prefix, sys.executable, script, url, **pipes)
        assert beyond.stdout is not None
        assert beyond.stdin is not None
        try:
            assert await beyond.stdout.readline() == b"open\n"
            link.cut()
            beyond.stdin.write(b"\n")
            async with asyncio.timeout(120):
                assert await beyond.stdout.readline() == noticed
        finally:
            beyond.kill()
            await beyond.wait()
            link.close()
        await harness.discard()

    asyncio.run(main())


def test_an_opening_waits_for_a_free_connection(postgres_url: str) -> None:
    """The role has one connection; the opening of a store needs two, and waits until the first holder leaves."""
    harness, role = SharedPostgresHarness(postgres_url), f"role_{secrets.token_hex(4)}"

    async def main() -> None:
        admin = await asyncpg.connect(postgres_url)
        await admin.execute(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 2")
        await admin.execute(f"GRANT CREATE ON DATABASE postgres TO {role}")
        url = harness.url.replace("postgres@", f"{role}@", 1)
        holders = [await asyncpg.connect(postgres_url.replace("postgres@", f"{role}@", 1)) for _ in range(2)]
        waited = asyncio.get_running_loop().create_future()
        real = asyncio_runtime()

        def log(record: LogRecord) -> None:
            if record.message == "waiting for a connection to the store":
                waited.set_result(record.fields["error"])

        opening = asyncio.ensure_future(open_postgres(url, runtime=attrs.evolve(real, log=log)))
        assert "raise max_connections" in await waited
        assert not opening.done()
        for holder in holders:
            await holder.close()
        store = await opening
        await store.close()
        hurried = attrs.evolve(real, monotonic_ms=lambda: next(instants), log=lambda _: None)
        instants = iter(range(0, 10**9, 10_000))
        holders = [await asyncpg.connect(postgres_url.replace("postgres@", f"{role}@", 1)) for _ in range(2)]
        with pytest.raises(StoreUnavailable, match="no free connection"):
            await open_postgres(url, runtime=hurried)
        for holder in holders:
            await holder.close()
        await harness.discard()
        await admin.execute(f"REVOKE CREATE ON DATABASE postgres FROM {role}")
        await admin.execute(f"DROP ROLE {role}")
        await admin.close()

    asyncio.run(main())

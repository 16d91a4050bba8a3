"""Commands in a transaction of the application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import attrs
import psycopg
import pytest
import sqlalchemy
from postgres_harness import PostgresHarness, SharedPostgresHarness
from returns.result import Success
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from perdure import App, Client, Decision, Task, tell
from perdure.stores.encryption import Encryption, Key
from perdure.stores.postgres.enqueue import enqueue, enqueue_async
from perdure.values.errors import DefinitionError, InvalidArgument, InvalidInput


@attrs.frozen
class Paid:
    amount: int


@attrs.frozen
class Order:
    amounts: tuple[int, ...] = ()


def orders_noting(note: Callable[[int], None]) -> Task[Any, Any, Any, Any]:
    """A task that adds amounts to its state, and notes each."""

    def decide(order: Order, event: Paid) -> Success[Decision[Order]]:
        note(event.amount)
        return Success(Decision(Order((*order.amounts, event.amount))))

    return Task("orders", state=Order, event=Paid, initial=Order(), decide=decide, execute=lambda ctx: ctx.terminate())


ORDERS = orders_noting(lambda _: None)


@attrs.define
class Running:
    """An engine, and the amounts that it was asked to add."""

    harness: PostgresHarness
    jobs: Client
    noted: asyncio.Queue[int]

    async def amounts(self, id_: str) -> tuple[int, ...]:
        state = await self.jobs.handle_by_name("task", "orders").get_state(id_)
        return () if state is None else tuple(state["amounts"])

    async def stored(self, id_: str, expected: tuple[int, ...]) -> None:
        """Wait until these amounts are stored: they are noted before."""
        async with asyncio.timeout(120):
            while await self.amounts(id_) != expected:  # noqa: ASYNC110 - it asks the store
                await asyncio.sleep(0)

    async def wait_for(self, *amounts: int) -> None:
        """Wait until these amounts were added, in this order."""
        async with asyncio.timeout(120):
            assert [await self.noted.get() for _ in amounts] == list(amounts)


KEYS = Encryption(primary=Key("k1", bytes(range(64))))


@asynccontextmanager
async def engine(harness: PostgresHarness, encryption: Encryption | None = None) -> AsyncGenerator[Running]:
    noted: asyncio.Queue[int] = asyncio.Queue()
    await harness.execute("CREATE TABLE IF NOT EXISTS written (schema text, what text)")
    app = App(None, encryption=encryption).with_jobs(orders_noting(noted.put_nowait))
    async with app.open(harness.url) as jobs:
        yield Running(harness, jobs, noted)
    await harness.discard()


def urls(harness: PostgresHarness) -> tuple[str, str]:
    """The URL for psycopg, and the one for SQLAlchemy with a driver to choose."""
    return harness.database, harness.database.replace("postgresql://", "postgresql+{}://", 1)


def with_psycopg(harness: PostgresHarness, outcome: str) -> None:
    with psycopg.connect(urls(harness)[0]) as connection:
        connection.execute("INSERT INTO written VALUES (%s, 'psycopg')", (harness.schema,))
        enqueue(connection, *commands("a"), schema=harness.schema)
        (connection.commit if outcome == "commit" else connection.rollback)()


def with_session(harness: PostgresHarness, outcome: str) -> None:
    database = sqlalchemy.create_engine(urls(harness)[1].format("psycopg"))
    with Session(database) as session:
        enqueue(session, *commands("a"), schema=harness.schema)
        (session.commit if outcome == "commit" else session.rollback)()
    database.dispose()


def with_connection(harness: PostgresHarness, outcome: str) -> None:
    database = sqlalchemy.create_engine(urls(harness)[1].format("psycopg"))
    with database.connect() as connection:
        enqueue(connection, *commands("a"), schema=harness.schema)
        (connection.commit if outcome == "commit" else connection.rollback)()
    database.dispose()


async def with_asyncpg(harness: PostgresHarness, outcome: str) -> None:
    connection = await asyncpg.connect(harness.database)
    transaction = connection.transaction()
    await transaction.start()
    await enqueue_async(connection, *commands("a"), schema=harness.schema)
    await (transaction.commit if outcome == "commit" else transaction.rollback)()
    await connection.close()


async def with_async_psycopg(harness: PostgresHarness, outcome: str) -> None:
    async with await psycopg.AsyncConnection.connect(urls(harness)[0]) as connection:
        await enqueue_async(connection, *commands("a"), schema=harness.schema)
        await (connection.commit if outcome == "commit" else connection.rollback)()


async def with_async_session(harness: PostgresHarness, outcome: str) -> None:
    database = create_async_engine(urls(harness)[1].format("psycopg"))
    async with AsyncSession(database) as session:
        await enqueue_async(session, *commands("a"), schema=harness.schema)
        await (session.commit if outcome == "commit" else session.rollback)()
    await database.dispose()


def commands(id_: str) -> list[Any]:
    return [tell(ORDERS, id_).send(Paid(amount)) for amount in (1, 2, 3)]


WAYS = [with_psycopg, with_session, with_connection, with_asyncpg, with_async_psycopg, with_async_session]


async def done(way: Callable[..., Any], harness: PostgresHarness, outcome: str) -> None:
    if asyncio.iscoroutinefunction(way):
        await way(harness, outcome)
    else:
        await asyncio.to_thread(way, harness, outcome)


@pytest.mark.parametrize("new_harness", [PostgresHarness, SharedPostgresHarness])
@pytest.mark.parametrize("way", WAYS)
def test_commands_are_applied_in_order_if_the_transaction_commits(
    way: Callable[..., Any], new_harness: Any, postgres_url: str
):
    async def main() -> None:
        async with engine(new_harness(postgres_url)) as running:
            await done(way, running.harness, "rollback")
            await done(way, running.harness, "commit")
            await running.wait_for(1, 2, 3)
            await running.stored("a", (1, 2, 3))
            assert running.noted.empty()

    asyncio.run(main())


def test_nothing_is_delivered_before_the_commit(postgres_url: str):
    """A later command through the engine is handled first: nothing waits for the open transaction."""

    async def main() -> None:
        async with engine(PostgresHarness(postgres_url)) as running:
            connection = await asyncpg.connect(running.harness.database)
            async with connection.transaction():
                await enqueue_async(connection, *commands("a"), schema=running.harness.schema)
                await running.jobs.handle_by_name("task", "orders").call("send", "a", '{"amount":9}')
                assert await running.amounts("a") == (9,)
            await running.wait_for(9, 1, 2, 3)
            await connection.close()

    asyncio.run(main())


def test_commands_that_were_sent_while_no_engine_ran_are_delivered_by_the_next(postgres_url: str):
    async def main() -> None:
        harness = PostgresHarness(postgres_url)
        await (await harness.open()).close()
        await with_asyncpg(harness, "commit")
        async with engine(harness) as running:
            await running.wait_for(1, 2, 3)

    asyncio.run(main())


def test_many_transactions_at_once_lose_nothing(postgres_url: str):
    """Only some of them notify; the engine looks again."""
    count = 60

    async def main() -> None:
        async with engine(PostgresHarness(postgres_url)) as running:
            pool = await asyncpg.create_pool(running.harness.database, min_size=8, max_size=8)

            async def send(number: int) -> None:
                async with pool.acquire() as connection, connection.transaction():
                    command = tell(ORDERS, f"{number % 7}").send(Paid(number))
                    await enqueue_async(connection, command, schema=running.harness.schema)

            await asyncio.gather(*map(send, range(count)))
            async with asyncio.timeout(120):
                assert sorted([await running.noted.get() for _ in range(count)]) == list(range(count))
            await pool.close()

    asyncio.run(main())


def test_commands_to_an_app_that_encrypts_are_encrypted(postgres_url: str):
    """With the keys, in a transaction or without one; a command without them is left to code that accepts it."""
    harness = PostgresHarness(postgres_url)

    async def main() -> None:
        async with engine(harness, KEYS) as running:
            async with harness.transaction() as connection:
                await enqueue_async(connection, *commands("a"), schema=harness.schema, encryption=KEYS)
                stored = await connection.fetchval(harness.sql("SELECT string_agg(payload, ' ') FROM perdure.messages"))
            assert "amount" not in stored
            assert len(set(stored.split())) == 3
            await running.wait_for(1, 2, 3)
            alone = await asyncpg.connect(harness.database)
            await enqueue_async(alone, tell(ORDERS, "b").send(Paid(4)), schema=harness.schema, encryption=KEYS)
            await running.wait_for(4)
            await enqueue_async(alone, tell(ORDERS, "c").send(Paid(5)), schema=harness.schema)
            await alone.close()
            async with asyncio.timeout(120):
                while not (left := await running.jobs.left_messages()):  # noqa: ASYNC110 - it asks the store
                    await asyncio.sleep(0)
            assert left[0].message.target.id == "c"
            assert "is stored as plain text" in left[0].error.message

    asyncio.run(main())


def test_keys_that_are_none_are_refused():
    wrong: Any = "key"
    with pytest.raises(DefinitionError, match="encryption of enqueue"):
        enqueue(psycopg.Connection.__new__(psycopg.Connection), *commands("a"), encryption=wrong)


def test_a_command_has_the_declared_type(postgres_url: str):
    with psycopg.connect(urls(PostgresHarness(postgres_url))[0]) as connection, pytest.raises(InvalidInput):
        enqueue(connection, tell(ORDERS, "a").send("paid"))  # type: ignore[arg-type]


def test_other_connections_and_programs_are_refused(postgres_url: str):
    (command, *_) = commands("a")
    with pytest.raises(DefinitionError, match="pass one of asyncpg, and each async one, to enqueue_async"):
        enqueue(object(), command)
    engine = sqlalchemy.create_engine("postgresql+psycopg://127.0.0.1:1/none")  # it does not connect
    with pytest.raises(DefinitionError, match="a connection or session of SQLAlchemy"):
        enqueue(engine, command)
    with psycopg.connect(urls(PostgresHarness(postgres_url))[0]) as connection:
        with pytest.raises(DefinitionError, match="pass each other one to enqueue"):
            asyncio.run(enqueue_async(connection, command))
        with pytest.raises(DefinitionError, match=r"tell\(orders"):
            enqueue(connection, command.map(lambda _: None))
        with pytest.raises(DefinitionError, match="lower-case"):
            enqueue(connection, command, schema='x"; DROP')
        with pytest.raises(InvalidArgument, match=r"U\+0000"):
            enqueue(connection, tell(ORDERS, "a\0").send(Paid(1)))

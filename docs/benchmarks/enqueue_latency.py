"""From the commit of a transaction of the application until the command's turn begins, on a PostgreSQL store.

    python docs/benchmarks/enqueue_latency.py postgresql://user@host/database [--quick]

The transaction sends one command with `enqueue` or `enqueue_async`; the engine of another process is idle. The first
instant is taken before the commit is sent, so it holds the commit's own sync.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import psycopg
import sqlalchemy
from attrs import frozen
from measured.figures import Spread, print_table
from measured.schema import connected, url_of
from returns.result import Result, Success
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from perdure import App, Decision, Task, tell
from perdure.stores.postgres.enqueue import enqueue, enqueue_async

SCHEMA = "bench_enqueue"


@frozen
class Placed:
    """A command."""

    number: int


def decide(_: int, event: Placed) -> Result[Decision[int], str]:
    """Print the instant at which the turn begins."""
    print(event.number, time.time_ns(), flush=True)
    return Success(Decision(event.number))


ORDERS = Task("orders", state=int, event=Placed, initial=0, decide=decide, execute=lambda ctx: ctx.terminate())


async def serve(url: str) -> None:
    """Run the engine until the input ends."""
    async with App(None).with_jobs(ORDERS).open(url):
        print("open", flush=True)
        await asyncio.to_thread(sys.stdin.read)


def command(number: int) -> Any:
    """Return the command of a transaction."""
    return tell(ORDERS, f"id-{number}").send(Placed(number))


async def with_asyncpg(database: str) -> tuple[Callable[[int], Awaitable[int]], Callable[[], Awaitable[Any]]]:
    """Return a function that sends a command and returns the instant before the commit, and one that closes."""
    connection: Any = await asyncpg.connect(database)

    async def send(number: int) -> int:
        transaction = connection.transaction()
        await transaction.start()
        await enqueue_async(connection, command(number), schema=SCHEMA)
        before = time.time_ns()
        await transaction.commit()
        return before

    return send, connection.close


async def with_psycopg(database: str) -> tuple[Callable[[int], Awaitable[int]], Callable[[], Awaitable[Any]]]:
    """Return the same for an async connection of psycopg."""
    connection = await psycopg.AsyncConnection.connect(database)

    async def send(number: int) -> int:
        await enqueue_async(connection, command(number), schema=SCHEMA)
        before = time.time_ns()
        await connection.commit()
        return before

    return send, connection.close


async def with_async_session(database: str) -> tuple[Callable[[int], Awaitable[int]], Callable[[], Awaitable[Any]]]:
    """Return the same for an async session of SQLAlchemy."""
    engine = create_async_engine(database.replace("postgresql://", "postgresql+psycopg://", 1))
    session = AsyncSession(engine)

    async def send(number: int) -> int:
        await enqueue_async(session, command(number), schema=SCHEMA)
        before = time.time_ns()
        await session.commit()
        return before

    async def close() -> None:
        await session.close()
        await engine.dispose()

    return send, close


async def with_session(database: str) -> tuple[Callable[[int], Awaitable[int]], Callable[[], Awaitable[Any]]]:
    """Return the same for a session of SQLAlchemy in a thread."""
    engine = sqlalchemy.create_engine(database.replace("postgresql://", "postgresql+psycopg://", 1))
    session = Session(engine)

    def send(number: int) -> int:
        enqueue(session, command(number), schema=SCHEMA)
        before = time.time_ns()
        session.commit()
        return before

    async def close() -> None:
        session.close()
        engine.dispose()

    return lambda number: asyncio.to_thread(send, number), close


WAYS = {
    "asyncpg": with_asyncpg,
    "psycopg, async": with_psycopg,
    "SQLAlchemy, async session": with_async_session,
    "SQLAlchemy, session": with_session,
}


async def measure(database: str, ownership: str, count: int) -> list[list[str]]:
    """Measure each way in turn."""
    async with connected(database) as connection:
        await connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
    url, rows = url_of(database, SCHEMA, ownership), list[list[str]]()
    engine = subprocess.Popen(  # noqa: ASYNC220 - it begins once
        [sys.executable, __file__, "--serve", url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    lines = engine.stdout
    assert lines is not None and lines.readline() == "open\n"  # noqa: S101, PT018 - a script
    for name, way in WAYS.items():
        send, close = await way(database)
        waits: list[float] = []
        for number in range(count):
            before = await send(number)
            line = await asyncio.to_thread(lines.readline)
            waits.append((int(line.split()[1]) - before) / 1e9)
            await asyncio.sleep(0.02)
        await close()
        spread = Spread.of(waits)
        rows.append([f"{ownership}, {name}", *(f"{ms:.1f}" for ms in (spread.p50_ms, spread.p99_ms, spread.max_ms))])
    engine.communicate("")
    async with connected(database) as connection:
        await connection.execute(f"DROP SCHEMA {SCHEMA} CASCADE")
    return rows


def main() -> None:
    """Print the quantiles."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("database")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    count = 50 if given.quick else 500
    found = [row for owner in ("owned", "shared") for row in asyncio.run(measure(given.database, owner, count))]
    print_table(("store, connection", "p50 ms", "p99 ms", "longest ms"), found)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        asyncio.run(serve(sys.argv[2]))
    else:
        main()

"""Files with as many instances as wanted, made in seconds: one by the library itself, the others copied in SQL."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from measured.orders import Added, orders
from perdure import App
from perdure.client.client import Client

SEED = "seed"
Seeding = Callable[[Client], Awaitable[object]]
"""Makes the instance ``seed``, of which the others are copies."""

orders_app = App(None).with_jobs(orders)


async def seed_orders(jobs: Client) -> None:
    """Make the order that all others are copies of."""
    await jobs.handle(orders).send(SEED, Added(1))


def fill(
    path: Path,
    instances: int,
    *,
    app: App[Any] = orders_app,
    seed: Seeding = seed_orders,
    changes: Mapping[str, str] | None = None,
) -> None:
    """Make a store with instances ``id-0``, ``id-1`` and so on.

    Args:
        path: the file to make.
        instances: how many.
        app: serves their job.
        seed: makes the instance that is copied.
        changes: SQL expressions for columns that shall differ from the copied instance; ``n`` is the number.
    """
    asyncio.run(_seed(path, app, seed))
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA synchronous = OFF")
        columns: list[str] = [name for _, name, *_ in database.execute("PRAGMA table_info(instances)")]
        given: dict[str, str] = {"incarnation": "incarnation + 1 + n", "id": "'id-' || n", **(changes or {})}
        picked = ", ".join(given.get(column, column) for column in columns)
        database.execute("BEGIN")
        database.execute(
            "WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers LIMIT ?) "  # noqa: S608 - constants
            f"INSERT INTO instances ({', '.join(columns)}) SELECT {picked} FROM numbers, instances WHERE id = ?",
            (instances, SEED),
        )
        database.execute("UPDATE counters SET incarnation = (SELECT max(incarnation) FROM instances)")
        database.execute("COMMIT")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


async def _seed(path: Path, app: App[Any], seed: Seeding) -> None:
    async with app.open(f"sqlite:///{path}") as jobs:
        await seed(jobs)

"""Schemas of a PostgreSQL database with as many instances as wanted, and what the server uses."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
from attrs import field, frozen

from measured.filled import SEED, Seeding, orders_app, seed_orders
from perdure import App

_TICKS = os.sysconf("SC_CLK_TCK")
_PIECE = 250_000


@asynccontextmanager
async def connected(database: str) -> AsyncIterator[Any]:
    """Connect to a database."""
    connection = await asyncpg.connect(database)
    try:
        yield connection
    finally:
        await connection.close()


def url_of(database: str, schema: str, ownership: str = "shared") -> str:
    """Return the URL of a store in a schema."""
    return f"{database}{'&' if '?' in database else '?'}schema={schema}&ownership={ownership}"


async def fill_schema(
    database: str,
    schema: str,
    instances: int,
    *,
    app: App[Any] = orders_app,
    seed: Seeding = seed_orders,
    changes: Mapping[str, str] | None = None,
) -> None:
    """Make a schema with instances ``id-0``, ``id-1`` and so on, copied in the server from one that the library made.

    Args:
        database: the URL of the database.
        schema: the name; an existing one is dropped.
        instances: how many.
        app: serves their job.
        seed: makes the instance that is copied.
        changes: SQL expressions for columns that shall differ from the copied instance; ``n`` is the number.
    """
    async with connected(database) as connection:
        await connection.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')
        async with app.open(url_of(database, schema, "owned")) as jobs:
            await seed(jobs)
        await copy_instances(connection, schema, range(instances), changes)
        await connection.execute(f'VACUUM (ANALYZE) "{schema}".instances')
        await connection.execute("CHECKPOINT")


async def copy_instances(
    connection: Any, schema: str, numbers: range, changes: Mapping[str, str] | None = None
) -> None:
    """Copy the instance ``seed``, once for each number, in pieces."""
    found = await connection.fetch(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = $1 AND table_name = 'instances' "
        "ORDER BY ordinal_position",
        schema,
    )
    columns: list[str] = [row[0] for row in found]
    given: dict[str, str] = {
        "incarnation": f"nextval('\"{schema}\".incarnations')",
        "id": "'id-' || n",
        "bucket": f"\"{schema}\".bucket(kind || ':' || name || ':id-' || n)",
        **(changes or {}),
    }
    for first in range(numbers.start, numbers.stop, _PIECE):
        await connection.execute(
            f'INSERT INTO "{schema}".instances ({", ".join(columns)}) '  # noqa: S608 - constants
            f"SELECT {', '.join(given.get(column, column) for column in columns)} "
            f"FROM generate_series({first}, {min(first + _PIECE, numbers.stop) - 1}) AS n, "
            f"\"{schema}\".instances WHERE id = '{SEED}'"
        )


@frozen
class Server:
    """The processes of a server on this machine.

    Attributes:
        postmaster: the process that starts all others; 0: the server is on another machine.
    """

    postmaster: int = field(default=0)

    @classmethod
    async def of(cls, database: str) -> Server:
        """Find the server of a database."""
        async with connected(database) as connection:
            pid = await connection.fetchval("SELECT pg_backend_pid()")
            fields = _stat(int(pid))
            return cls(int(fields[1]) if fields and "postgres" in _name(int(pid)) else 0)

    def cpu_s(self) -> float:
        """Return the CPU that it has used, with processes that have ended."""
        if not self.postmaster:
            return 0.0
        ticks = sum(map(int, _stat(self.postmaster)[11:15]))
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                fields = _stat(int(folder.name))
                if fields and int(fields[1]) == self.postmaster:
                    ticks += int(fields[11]) + int(fields[12])
        return ticks / _TICKS


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

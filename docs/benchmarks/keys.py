"""What the keys of one busy instance cost: keyed requests among 10 thousand to a million keys of the same address.

Run it with ``python docs/benchmarks/keys.py [--folder FOLDER] [--database postgresql://…] [--quick]``. The keys are
those of one day: the first is stored by the library, the others are copied in SQL, and only the newest 10,000 have
answers. At each size a new key is looked up and stored, one after the other: the fastest tenth took no longer than the
figure, since waits for a processor are noise. Then 64 callers send keyed events to that one instance, repeat them, and
send events without keys. Bytes are those of the table and its indexes. At the end all keys expire, and retention
deletes them, a page per transaction.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from attrs import frozen
from measured.figures import Spread, print_table
from measured.filled import orders_app
from measured.machine import conditions, versions
from measured.orders import Added, orders
from measured.schema import connected, url_of

from perdure.client.client import Client
from perdure.programs.future import answer_of
from perdure.stores.contract import Store, commit_one, load_one
from perdure.stores.postgres import open_postgres
from perdure.stores.sqlite import open_sqlite
from perdure.stores.values import Retention
from perdure.values.transition import Remembered, Transition

SIZES: Final = (10_000, 100_000, 1_000_000)
CALLERS: Final = 64
REQUESTS: Final = 2_000
OPERATIONS: Final = 300
FAR_MS: Final = 10**13
FULL_ANSWERS: Final = 10_000
SCHEMA: Final = "perdure_keys"
DAY_MS: Final = 86_400_000
KEY: Final = "'evt_3PqYkn2eZvKYlo2C' || printf('%010d', n)"
_COPY_ROWS: Final = f"""
INSERT INTO "{{schema}}".keys (holder, id, address, key, action, fingerprint, answer, expires_ms, ordinal)
SELECT holder, "{{schema}}".digest(name, ''), address, name, action, fingerprint,
  CASE WHEN n > {{last}} - {FULL_ANSWERS} THEN answer ELSE '' END, expires_ms + n / 12, ordinal + n
FROM generate_series({{first}}, {{last}}) AS n, (SELECT * FROM "{{schema}}".keys WHERE ordinal = 1) AS k,
  LATERAL (SELECT 'evt_3PqYkn2eZvKYlo2C' || lpad(n::text, 10, '0') AS name) AS names
"""  # noqa: S608 - constants


@frozen
class Place:
    """Where the keys are: a file, or a schema of a database."""

    file: Path
    database: str = ""

    @property
    def url(self) -> str:
        """The URL of the store."""
        return url_of(self.database, SCHEMA, "owned") if self.database else f"sqlite:///{self.file}"

    async def fill(self, first: int, last: int) -> None:
        """Copy the newest key, as often as wanted."""
        if self.database:
            async with connected(self.database) as connection:
                await connection.execute(_COPY_ROWS.format(schema=SCHEMA, first=first, last=last))
                await connection.execute(f'VACUUM (ANALYZE) "{SCHEMA}".keys')
            return
        with closing(sqlite3.connect(self.file, isolation_level=None)) as file:
            file.execute("PRAGMA synchronous = OFF")
            file.execute(
                "WITH RECURSIVE numbers (n) AS (SELECT ? UNION ALL SELECT n + 1 FROM numbers WHERE n < ?) "  # noqa: S608 - constants
                "INSERT INTO keys (address, key, action, fingerprint, answer, expires_ms, ordinal) "
                f"SELECT address, {KEY}, action, fingerprint, "
                f"iif(n > {last - FULL_ANSWERS}, answer, ''), expires_ms + n / 12, ordinal + n "
                "FROM numbers, (SELECT * FROM keys WHERE ordinal = 1)",
                (first, last),
            )
            file.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    async def bytes(self) -> int:
        """Return the size of the table of keys and its indexes."""
        if self.database:
            async with connected(self.database) as connection:
                return int(await connection.fetchval("SELECT pg_total_relation_size($1::regclass)", f"{SCHEMA}.keys"))
        with closing(sqlite3.connect(self.file)) as file:
            return int(file.execute("SELECT sum(pgsize) FROM dbstat WHERE name LIKE 'keys%'").fetchone()[0])

    async def open(self) -> Store:
        """Open the store."""
        return await (open_postgres(self.url) if self.database else open_sqlite(self.file))


async def rate(jobs: Client, keys: Sequence[str | None]) -> tuple[float, float, Spread]:
    """Send events to one instance from all callers; return events a second, µs of CPU for each, and their waits."""
    order, rest = jobs.handle(orders), iter(keys)
    waits: list[float] = []

    async def caller() -> None:
        for key in rest:
            began = time.perf_counter()
            await order.send("busy", Added(1), idempotency_key=key)
            waits.append(time.perf_counter() - began)

    began, cpu_ns = time.perf_counter(), time.process_time_ns()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    each_us = (time.process_time_ns() - cpu_ns) / len(keys) / 1e3
    return len(keys) / (time.perf_counter() - began), each_us, Spread.of(waits)


async def operations(place: Place, size: int) -> str:
    """Look up a new key, and store it, one after the other; return the waits of the fastest tenth."""
    store = await place.open()
    loads: list[float] = []
    commits: list[float] = []
    for number in range(OPERATIONS):
        key = f"apart-{size}-{number}"
        began = time.perf_counter()
        (await answer_of(load_one(store, orders.address("busy"), key, 1))).unwrap()
        loads.append(time.perf_counter() - began)
        kept = Remembered(key=key, action="send", fingerprint="0" * 32, answer="{}", expires_ms=FAR_MS)
        began = time.perf_counter()
        (await answer_of(commit_one(store, Transition(address=orders.address("busy"), remember=(kept,))))).unwrap()
        commits.append(time.perf_counter() - began)
    await answer_of(store.close())
    return "; ".join(f"{sorted(waits)[OPERATIONS // 10] * 1e3:.2f}" for waits in (loads, commits))


async def measured(place: Place, size: int, requests: int) -> list[str]:
    """Send events among as many keys."""
    held, waits = await place.bytes(), await operations(place, size)
    async with orders_app.open(place.url) as jobs:
        await rate(jobs, [f"warm-{size}-{number}" for number in range(200)])
        keyed, keyed_us, _ = await rate(jobs, [f"{size}-{number}" for number in range(requests)])
        _, repeated_us, _ = await rate(jobs, [f"{size}-{number}" for number in range(requests)])
        _, plain_us, _ = await rate(jobs, [None] * requests)
    return [
        f"{size:,}",
        waits,
        f"{keyed:,.0f}",
        f"{keyed_us:,.0f}; {repeated_us:,.0f}; {plain_us:,.0f}",
        f"{held / size:,.0f}",
        f"{held / 2**20:,.0f}",
    ]


async def purged(place: Place) -> str:
    """Let all keys expire, and delete them; return the number, the pages, and how long a page takes."""
    store = await place.open()
    retention = Retention(now_ms=int(time.time() * 1e3) + 2 * DAY_MS, events_since_ms=0, max_events=10**9)
    waits: list[float] = []
    total = 0
    while True:
        began = time.perf_counter()
        gone = (await answer_of(store.prune(retention))).unwrap()
        waits.append(time.perf_counter() - began)
        total += gone
        if gone < retention.limit:
            break
    await answer_of(store.close())
    pages = Spread.of(waits)
    return f"{total:,} keys deleted in {pages.count:,} transactions: p50 {pages.p50_ms:.1f}, p99 {pages.p99_ms:.1f} ms"


async def run(place: Place, sizes: Sequence[int], requests: int) -> None:
    """Measure one store."""
    if place.database:
        async with connected(place.database) as connection:
            await connection.execute(f'DROP SCHEMA IF EXISTS "{SCHEMA}" CASCADE')
    async with orders_app.open(place.url) as jobs:
        await rate(jobs, ["first"])
    rows: list[list[str]] = []
    filled = 0
    for size in sizes:
        await place.fill(filled + 1, size)
        filled = size
        rows.append(await measured(place, size, requests))
        filled += 200 + requests + OPERATIONS
    head = [
        "keys held",
        "lookup; commit, ms",
        "keyed, 1/s",
        "µs of CPU: keyed; its repeat; without a key",
        "bytes a key",
        "MiB",
    ]
    print_table(head, rows)
    print(f"\n{await purged(place)}")


def main() -> None:
    """Measure SQLite, and PostgreSQL if a database is named."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--database", default="")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    sizes, requests = ((1_000, 10_000), 500) if given.quick else (SIZES, REQUESTS)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        place = Place(Path(folder) / "keys.db", given.database)
        print(f"{versions()}\n{conditions(Path(folder))}\n", file=sys.stderr)
        asyncio.run(run(place, sizes, requests))


if __name__ == "__main__":
    main()

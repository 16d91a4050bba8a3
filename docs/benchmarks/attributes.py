"""Filters by attributes over many instances: lists, counts, and how long a new attribute takes to be filled.

Run it with ``python docs/benchmarks/attributes.py [--instances 1000000] [--postgres URL] [--folder FOLDER]``. Without
``--postgres`` it measures a SQLite file. The instances are copied in SQL without attributes, then an engine with
attributes opens the store and fills them. Each filter is asked several times: the median and the slowest are printed.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen
from measured.figures import print_table
from measured.filled import SEED, fill
from measured.machine import conditions, versions
from measured.schema import connected, fill_schema, url_of
from returns.result import Result, Success

from perdure import App, Client, Condition, Decision, Task, attribute

TIMES = 7
HALF = 50_000
FEW = 100
STATE = """'{"tenant":"tenant-' || (n % 1000) || '","cents":' || (n % 100000 * 7919 % 100000) || ',"is_paid":' ||
  CASE WHEN n % 100 = 0 THEN 'false' ELSE 'true' END || '}'"""


@frozen
class Subscription:
    """A subscription among a thousand tenants."""

    tenant: str = "tenant-0"
    cents: int = 0
    is_paid: bool = True


@attribute
def tenant(subscription: Subscription) -> str:
    """Return the tenant: one of a thousand."""
    return subscription.tenant


@attribute
def cents(subscription: Subscription) -> int:
    """Return the amount: 0 to 100,000, evenly."""
    return subscription.cents


@attribute
def past_due(subscription: Subscription) -> bool:
    """Return whether a payment is due: one in a hundred."""
    return not subscription.is_paid


def decide(_: Subscription, event: Subscription) -> Result[Decision[Subscription], object]:
    """Set the state."""
    return Success(Decision(event))


plain = Task("subscriptions", state=Subscription, event=Subscription, initial=Subscription(), decide=decide)
found = Task(
    "subscriptions",
    state=Subscription,
    event=Subscription,
    initial=Subscription(),
    decide=decide,
    attributes=(tenant, cents, past_due),
)

FILTERS: Sequence[tuple[str, list[Condition]]] = (
    ("one tenant of 1,000", [tenant == "tenant-77"]),
    ("past due, 1 of 100", [past_due.is_true]),
    ("not past due, 99 of 100", [~past_due]),
    ("amount above half", [cents > HALF]),
    ("amount, 1 of 1,000", [cents < FEW]),
    ("one tenant and amount above half", [tenant == "tenant-77", cents > HALF]),
    ("past due and amount above half", [past_due.is_true, cents > HALF]),
    ("not past due and amount above half", [~past_due, cents > HALF]),
    ("nothing: a tenant that is not there", [tenant == "nobody"]),
)


async def timed(call: Callable[[], Awaitable[Any]]) -> list[float]:
    """Return how many milliseconds each call took."""
    taken: list[float] = []
    for _ in range(TIMES):
        began = time.perf_counter()
        await call()
        taken.append((time.perf_counter() - began) * 1_000)
    return taken


def ms(taken: Sequence[float]) -> str:
    """Print the median and the slowest."""
    return f"{statistics.median(taken):.1f}; {max(taken):.1f}"


async def seed(jobs: Client) -> None:
    """Make the instance that is copied."""
    await jobs.handle(plain).send(SEED, Subscription())


async def measure(url: str, after: Callable[[], Awaitable[None]]) -> None:
    """Fill the attributes, then ask each filter."""
    async with App(None).with_jobs(found).open(url) as jobs:
        calls, began = jobs.handle(found), time.perf_counter()
        while not (await calls.count_matching(where=[tenant >= "", cents >= 0, past_due.is_true])).complete:  # noqa: ASYNC110 - the engine tells nobody
            await asyncio.sleep(1)  # of the engine, which fills meanwhile
        print(f"filled three attributes in {time.perf_counter() - began:.0f} s")
        await after()
        rows: list[list[str]] = []
        for name, where in FILTERS:
            number = (await calls.count_matching(where=where)).number
            counts = await timed(lambda where=where: calls.count_matching(where=where))  # type: ignore[misc]
            lists = await timed(lambda where=where: jobs.list(found, where=where))  # type: ignore[misc]
            rows.append([name, f"{number:,}", ms(counts), ms(lists)])
        print_table(["filter", "instances", "count: median; slowest, ms", "first page of 100"], rows)


async def on_postgres(database: str, instances: int) -> None:
    """Measure a schema of a PostgreSQL database."""

    async def analyze() -> None:
        async with connected(database) as connection:
            await connection.execute("VACUUM ANALYZE attributes.attribute_keys")

    app = App(None).with_jobs(plain)
    await fill_schema(database, "attributes", instances, app=app, seed=seed, changes={"state": STATE})
    await measure(url_of(database, "attributes"), analyze)


async def nothing() -> None:
    """Do nothing."""


def main() -> None:
    """Measure one store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=1_000_000)
    parser.add_argument("--postgres", help="the URL of a database, in which the schema attributes is made")
    parser.add_argument("--folder", help="where the SQLite file is made")
    given = parser.parse_args()
    print(versions(), conditions(Path(given.folder or tempfile.gettempdir())), sep="\n")
    if given.postgres is not None:
        asyncio.run(on_postgres(given.postgres, given.instances))
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        path = Path(folder) / "jobs.db"
        fill(path, given.instances, app=App(None).with_jobs(plain), seed=seed, changes={"state": STATE})
        asyncio.run(measure(f"sqlite:///{path}", nothing))


if __name__ == "__main__":
    main()

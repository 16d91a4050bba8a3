"""PostgreSQL beside SQLite: requests and alarms of one engine, in turns in the same run.

    python docs/benchmarks/postgres.py postgresql://user@host/database

Each measurement opens an empty store. ``shared`` is one engine on a shared schema. CPU is that of this process.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import statistics
import tempfile
import time

import asyncpg
import attrs
from returns.result import Result, Success

from perdure import Alarm, App, Decision, Task, TaskContext, effect
from perdure.programs import Program

INSTANCES = 2_000
SECONDS = 4.0
DELAY_S = 12
STORES = ("sqlite", "postgres", "shared")


@attrs.frozen
class Added:
    """An amount."""

    cents: int


@attrs.frozen
class Order:
    """A sum of amounts."""

    cents: int = 0


@attrs.define
class Journal:
    """Counts runs.

    Attributes:
        count: after how many runs the measurement ends.
        runs: how many there were.
        over: set at the end.
    """

    count: int
    runs: int = 0
    over: asyncio.Event = attrs.Factory(asyncio.Event)


def add(order: Order, event: Added) -> Result[Decision[Order], str]:
    """Add an amount."""
    return Success(Decision(Order(order.cents + event.cents)))


def arm(order: Order, _: Added) -> Result[Decision[Order], str]:
    """Set an alarm."""
    return Success(Decision(order, Alarm.after(f"{DELAY_S} s")))


@effect
def note(journal: Journal, _: str) -> Result[None, str]:
    """Count a run."""
    journal.runs += 1
    if journal.runs == journal.count:
        journal.over.set()
    return Success(None)


def fire(ctx: TaskContext[Order]) -> Program[None, str, Journal]:
    """Note the run."""
    return note(ctx.run_id)


ORDERS = Task("orders", state=Order, event=Added, initial=Order(), decide=add, execute=lambda ctx: ctx.terminate("x"))
ALARMS = Task("alarms", state=Order, event=Added, initial=Order(), decide=arm, execute=fire)


async def requests(url: str, clients: int) -> tuple[float, float, float, float]:
    """Return requests per second, p50 and p99 in milliseconds, and microseconds of CPU."""
    async with App(None).with_jobs(ORDERS).open(url) as jobs:
        handle, waits = jobs.handle(ORDERS), list[float]()

        async def client(number: int, until: float) -> None:
            asked = number * 7919
            while (start := time.perf_counter()) < until:
                await handle.send(f"id-{asked * 7 % INSTANCES}", Added(199))
                waits.append(time.perf_counter() - start)
                asked += 1

        for first in range(0, INSTANCES, 100):
            await asyncio.gather(*(handle.send(f"id-{n}", Added(1)) for n in range(first, first + 100)))
        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(client(number, began + SECONDS) for number in range(clients)))
        took, cpu_us = time.perf_counter() - began, (time.process_time() - cpu) / len(waits) * 1e6
    waits.sort()
    return len(waits) / took, waits[len(waits) // 2] * 1e3, waits[int(len(waits) * 0.99)] * 1e3, cpu_us


async def alarms(url: str, count: int) -> tuple[float, float, float, float]:
    """Arm alarms, let all become due while no engine runs, and return how many fire in a second."""
    journal = Journal(count)
    app = App(journal).with_jobs(ALARMS)
    async with app.open(url) as jobs:
        handle = jobs.handle(ALARMS)
        for first in range(0, count, 250):
            await asyncio.gather(*(handle.send(f"id-{n}", Added(1)) for n in range(first, first + 250)))
    if journal.runs:
        raise SystemExit("alarms fired before all were armed: use fewer")
    await asyncio.sleep(DELAY_S)
    cpu, start = time.process_time(), time.perf_counter()
    async with app.open(url):
        await journal.over.wait()
    took = time.perf_counter() - start
    return count / took, 0.0, 0.0, (time.process_time() - cpu) / count * 1e6


async def drop(url: str, prefix: str) -> None:
    """Drop the schemas of a round."""
    connection = await asyncpg.connect(url)
    for row in await connection.fetch("SELECT nspname FROM pg_namespace WHERE nspname LIKE $1", f"{prefix}%"):
        await connection.execute(f'DROP SCHEMA "{row[0]}" CASCADE')
    await connection.close()


def url_of(store: str, database: str, folder: str, schema: str) -> str:
    """Return the URL of an empty store."""
    if store == "sqlite":
        return f"sqlite:///{folder}/{schema}.db"
    ownership = "shared" if store == "shared" else "owned"
    return f"{database}{'&' if '?' in database else '?'}schema={schema}_{ownership}&ownership={ownership}"


def main() -> None:
    """Measure in turns, and print medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--alarms", type=int, default=5_000)
    options = parser.parse_args()
    found: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for _ in range(options.rounds):
        prefix = f"bench_{secrets.token_hex(4)}"
        with tempfile.TemporaryDirectory() as folder:
            for clients in (*options.clients, 0):
                for store in STORES:
                    url = url_of(store, options.url, folder, f"{prefix}_{clients}")
                    work = requests(url, clients) if clients else alarms(url, options.alarms)
                    found.setdefault((store, f"{clients} clients" if clients else "alarms"), []).append(
                        asyncio.run(work)
                    )
        asyncio.run(drop(options.url, prefix))
    for (store, name), rows in found.items():
        medians = "".join(f"{statistics.median(column):10.2f}" for column in zip(*rows, strict=True))
        print(f"{store:<16}{name:<12}{medians}")


if __name__ == "__main__":
    main()

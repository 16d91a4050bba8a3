"""Several engines, each a process, on one schema of a PostgreSQL database: alarms, requests, growth, and doing nothing.

    python docs/benchmarks/several_engines.py postgresql://user@host/database [alarms requests idle growth] [--quick]

``alarms``: all engines are open; as many alarms as wanted become due at one instant, each a claim, a run with one
service call and a commit. ``requests``: 64 clients, divided among the engines, and any of 10,000 instances. ``idle``:
nothing happens. ``growth``: one engine and 64 clients on 10 thousand to 5 million instances, most of which no memory
holds. CPU is that of all engines, and of the server if it is on this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from attrs import define, evolve, field, frozen
from measured.figures import Spread, print_table
from measured.filled import orders_app, seed_orders
from measured.orders import Added, orders
from measured.reminders import Journal, Noted, reminders
from measured.schema import Server, connected, copy_instances, fill_schema, url_of

from perdure import App
from perdure.cli.run import SELDOM
from perdure.client.client import Client

LEAD_S = 6.0
"""From the insertion of alarms until they are due."""

Part = Callable[..., Awaitable[dict[str, Any]]]


# ---------------------------------------------------------------- one engine
async def fire(url: str) -> dict[str, Any]:
    """Fire alarms until none has fired for two seconds; the first line of the input says when they are due."""
    journal = Journal()
    async with App(journal).with_jobs(reminders).open(url):
        due_ms = int(await told("open"))
        await asyncio.sleep(max(0.0, due_ms / 1e3 - time.time() - 0.5))
        cpu, fired, quiet_since = time.process_time(), 0, time.time() + 3
        busy = cpu
        while time.time() < quiet_since + 2:
            await asyncio.sleep(0.05)
            if len(journal.began) > fired:
                fired, quiet_since, busy = len(journal.began), time.time(), time.process_time()
        began = [at for _, at in journal.began]
        return {"ids": [id_ for id_, _ in journal.began], "last": max(began, default=0), "cpu": busy - cpu}


async def ask(url: str, clients: str, instances: str, seconds: str) -> dict[str, Any]:
    """Send requests to any instance."""
    async with orders_app.open(url) as jobs:
        handle, waits = jobs.handle(orders), list[float]()
        draw = random.Random(os.getpid())  # noqa: S311 - which instances, no secret

        async def client(until: float) -> None:
            while (start := time.perf_counter()) < until:
                await handle.send(f"id-{draw.randrange(int(instances))}", Added(1))
                waits.append(time.perf_counter() - start)

        async def all_clients(duration: float) -> None:
            until = time.perf_counter() + duration
            await asyncio.gather(*(client(until) for _ in range(int(clients))))

        await all_clients(1.0)
        waits.clear()
        await told("warm")
        cpu, began = time.process_time(), time.perf_counter()
        await all_clients(float(seconds))
        cpu, took = time.process_time() - cpu, time.perf_counter() - began
        await told({"cpu": cpu, "took": took, "waits": waits})
        return {}


async def nothing(url: str, seconds: str) -> dict[str, Any]:
    """Do nothing."""
    async with orders_app.open(url):
        await told("open")
        cpu = time.process_time()
        await asyncio.sleep(float(seconds))
        return {"cpu": time.process_time() - cpu}


PARTS: dict[str, Part] = {"alarms": fire, "requests": ask, "idle": nothing}


async def told(what: object) -> str:
    """Tell the main process, and wait for its line."""
    print(json.dumps(what), flush=True)
    return await asyncio.to_thread(sys.stdin.readline)


# ---------------------------------------------------------------- all engines
@define
class Engines:
    """The processes of one measurement."""

    processes: list[subprocess.Popen[str]] = field(factory=list[subprocess.Popen[str]])

    def start(self, count: int, *arguments: str) -> None:
        """Start them, and wait for the first line of each."""
        command = [sys.executable, __file__, "--part", *arguments]
        self.processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)
        ]

    def lines(self) -> list[Any]:
        """Read one line of each."""
        return [json.loads(process.stdout.readline()) for process in self.processes if process.stdout]

    def tell(self, line: str = "") -> None:
        """Write one line to each."""
        for process in self.processes:
            if process.stdin:
                process.stdin.write(f"{line}\n")
                process.stdin.flush()

    def end(self) -> None:
        """Wait for them."""
        for process in self.processes:
            process.communicate()


@frozen
class Options:
    """What was asked for on the command line."""

    database: str
    alarms: int
    clients: int
    instances: int
    seconds: float
    idle_seconds: float


def measure_alarms(options: Options, count: int, server: Server) -> tuple[float, ...]:
    """Return alarms a second, CPU µs of the engines and of the server, and seconds until the last run began."""
    schema, engines = "bench_alarms", Engines()
    asyncio.run(_with_seed(options, schema))
    engines.start(count, "alarms", url_of(options.database, schema))
    engines.lines()
    time.sleep(3)  # the shares settle
    before = time.time()
    due_ms = int((before + LEAD_S + options.alarms / 20_000) * 1000)
    asyncio.run(_insert_due(options, schema, due_ms))
    if time.time() * 1000 > due_ms - 1_500:
        raise SystemExit("the alarms were due before all were inserted")
    engines.tell(str(due_ms))
    time.sleep(max(0.0, due_ms / 1000 - 0.5 - time.time()))
    used = server.cpu_s()
    found = engines.lines()
    used = server.cpu_s() - used
    engines.end()
    ids = [id_ for one in found for id_ in one["ids"]]
    if len(ids) != options.alarms or len(set(ids)) != options.alarms:
        print(f"{len(ids)} runs of {len(set(ids))} alarms of {options.alarms}")
    took = max(one["last"] for one in found) / 1e9 - due_ms / 1e3
    return len(ids) / took, sum(one["cpu"] for one in found) / len(ids) * 1e6, used / len(ids) * 1e6, took


async def _with_seed(options: Options, schema: str) -> None:
    async def seed(jobs: Client) -> None:
        await jobs.handle(reminders).send("seed", Noted("hello"))

    await fill_schema(options.database, schema, 0, app=App(Journal()).with_jobs(reminders), seed=seed)


async def _insert_due(options: Options, schema: str, due_ms: int) -> None:
    changes = {"alarm_ms": str(due_ms), "due_ms": str(due_ms), "status": "'scheduled'"}
    async with connected(options.database) as connection:
        await copy_instances(connection, schema, range(options.alarms), changes)
        await connection.execute(f'VACUUM (ANALYZE) "{schema}".instances')


def measure_requests(options: Options, count: int, server: Server) -> tuple[float, ...]:
    """Return requests a second, p50 and p99 in ms, CPU µs of the engines and of the server."""
    schema, engines = "bench_requests", Engines()
    asyncio.run(fill_schema(options.database, schema, options.instances, seed=seed_orders))
    clients = str(options.clients // count)
    url = url_of(options.database, schema)
    engines.start(count, "requests", url, clients, str(options.instances), str(options.seconds))
    engines.lines()
    used = server.cpu_s()
    engines.tell()
    found = engines.lines()
    used = server.cpu_s() - used
    engines.tell()
    engines.end()
    waits = [wait for one in found for wait in one["waits"]]
    spread, number = Spread.of(waits), len(waits)
    rate = number / max(one["took"] for one in found)
    return rate, spread.p50_ms, spread.p99_ms, sum(one["cpu"] for one in found) / number * 1e6, used / number * 1e6


def measure_growth(options: Options, count: int, server: Server) -> tuple[float, ...]:
    """Return what `measure_requests` does for one engine and as many instances, and their megabytes."""
    grown = evolve(options, instances=count)
    found = measure_requests(grown, 1, server)
    return *found, asyncio.run(_megabytes(options))


async def _megabytes(options: Options) -> float:
    async with connected(options.database) as connection:
        return float(await connection.fetchval("SELECT pg_total_relation_size('bench_requests.instances') / 1e6"))


def measure_idle(options: Options, count: int, server: Server) -> tuple[float, ...]:
    """Return percents of a core for an engine and for the server, and statements a second for an engine."""
    schema, engines = "bench_idle", Engines()
    asyncio.run(fill_schema(options.database, schema, options.instances, seed=seed_orders))
    engines.start(count, "idle", url_of(options.database, schema), str(options.idle_seconds))
    engines.lines()
    used, statements = server.cpu_s(), asyncio.run(_transactions(options.database))
    engines.tell()
    found = engines.lines()
    used = server.cpu_s() - used
    statements = asyncio.run(_transactions(options.database)) - statements - 2
    engines.end()
    seconds, cpu = options.idle_seconds, sum(one["cpu"] for one in found)
    return cpu / count / seconds * 100, used / seconds * 100, statements / count / seconds


async def _transactions(database: str) -> int:
    """Return the number of transactions so far: an engine sends one statement in each."""
    async with connected(database) as connection:
        await asyncio.sleep(1.5)  # until the server has counted those of all connections
        sql = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
        return int(await connection.fetchval(sql))


HEADS: dict[str, Sequence[str]] = {
    "alarms": ("alarms/s", "engines' CPU µs each", "server's CPU µs each", "seconds"),
    "requests": ("requests/s", "p50 ms", "p99 ms", "engines' CPU µs each", "server's CPU µs each"),
    "growth": ("requests/s", "p50 ms", "p99 ms", "engine's CPU µs each", "server's CPU µs each", "MB"),
    "idle": ("% of a core, each engine", "% of a core, the server", "statements/s for each engine"),
}
MEASURES = {
    "alarms": measure_alarms,
    "requests": measure_requests,
    "growth": measure_growth,
    "idle": measure_idle,
}
SIZES = (10_000, 100_000, 1_000_000, 5_000_000)


def main() -> None:
    """Measure in turns, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("database", help="the URL; the schemas bench_… in it are dropped")
    parser.add_argument("what", nargs="*", default=[], help="alarms, requests, idle or growth")
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--engines", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--alarms", type=int)
    parser.add_argument("--instances", type=int, default=10_000)
    parser.add_argument("--rounds", type=int)
    given = parser.parse_args()
    options = Options(
        given.database,
        given.alarms or (6_000 if given.quick else 30_000),
        given.clients,
        given.instances,
        2.0 if given.quick else 5.0,
        8.0 if given.quick else 30.0,
    )
    server = asyncio.run(Server.of(given.database))
    counts = given.engines if not given.quick else [count for count in given.engines if count != 2]  # noqa: PLR2004 - the middle one
    for what in given.what or PARTS:
        rows = (SIZES[:3] if given.quick else SIZES) if what == "growth" else counts
        found: dict[int, list[tuple[float, ...]]] = {count: [] for count in rows}
        for _ in range(given.rounds or (1 if given.quick or what == "growth" else 3)):
            for count in rows:
                found[count].append(MEASURES[what](options, count, server))
        print(f"\nload {os.getloadavg()[0]:.1f}\n")
        print_table(
            ("instances" if what == "growth" else "engines", *HEADS[what]),
            (
                [f"{count:,}", *(f"{statistics.median(column):,.1f}" for column in zip(*rows, strict=True))]
                for count, rows in found.items()
            ),
        )
    asyncio.run(_drop(given.database))


async def _drop(database: str) -> None:
    async with connected(database) as connection:
        for what in PARTS:
            await connection.execute(f"DROP SCHEMA IF EXISTS bench_{what} CASCADE")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--part"]:
        gc.set_threshold(*SELDOM)
        gc.freeze()
        print(json.dumps(asyncio.run(PARTS[sys.argv[2]](*sys.argv[3:]))), flush=True)
    else:
        main()

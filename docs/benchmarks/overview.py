"""How soon the counts, the demand, each list and each page of the dashboard open on a large store; the cost of counts.

Run it with ``python docs/benchmarks/overview.py [--instances 1000000] [--folder FOLDER] [--postgres URL]``; the folder
must be on the disk in question. Each figure of the first table is of a new process, on SQLite with a cold page cache.
The second table compares requests with and without counting, in turns. With the URL of a database, the first table is
of a schema in it, and there is no second one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
from measured.figures import Spread, over_rounds, print_table
from measured.filled import fill
from measured.machine import conditions, versions
from measured.orders import Added, orders
from measured.process import forget_pages
from measured.schema import fill_schema, url_of

from perdure import App
from perdure.client.client import Client
from perdure.server.api import asgi_of

SCANNED = 10_000
RARE = {"paused": 1_999, "recovery_exhausted": 2_003}
ERROR = '{"form":"defect","error_type":"E","message":"m"}'
RETRY = f'{{"run_id":"r","cause":"alarm","attempt":2,"first_failed_ms":1,"at_ms":4000000000000,"error":{ERROR}}}'
SUSPENSION = " ".join(f"WHEN n % {each} = 1 THEN '{name}'" for name, each in RARE.items())
STATUS = "WHEN n % 1999 = 1 THEN 'paused' WHEN n % 2003 = 1 THEN 'parked' WHEN n % 4001 = 1 THEN 'retrying'"
CHANGES = {
    "suspension": f"CASE {SUSPENSION} END",
    "status": f"CASE {STATUS} ELSE 'scheduled' END",
    "pending_retry": f"CASE WHEN n % 4001 = 1 AND n % 1999 != 1 AND n % 2003 != 1 THEN '{RETRY}' END",
    "alarm_ms": "4000000000000 + n",
    "due_ms": "CASE WHEN n % 1999 = 1 OR n % 2003 = 1 THEN NULL ELSE 4000000000000 + n END",
}

LISTS: dict[str, dict[str, Any]] = {
    "all": {},
    "status paused": {"status": "paused"},
    "status parked": {"status": "parked"},
    "status retrying": {"status": "retrying"},
    "status running": {"status": "running"},
    "status scheduled": {"status": "scheduled"},
    "status idle (no match)": {"status": "idle"},
    "status orphaned (no match)": {"status": "orphaned"},
    "prefix of an id": {"id_prefix": "id-77"},
    "prefix without a match": {"id_prefix": "x"},
    "due within a year (no match)": {"due_before": datetime(2027, 1, 1, tzinfo=UTC)},
}
PAGES = {
    "overview": "",
    "instances": "/instances",
    "instances, idle (no match)": "/instances?status=idle",
    "parked": "/parked",
    "jobs": "/jobs",
    "dead letters": "/dead-letters",
}


async def timed(call: Awaitable[Any]) -> tuple[float, Any]:
    """Await, and return the milliseconds and the result."""
    began = time.perf_counter()
    result = await call
    return (time.perf_counter() - began) * 1e3, result


async def counted_from_nothing(jobs: Client) -> list[tuple[str, float, str]]:
    """Count a store that was not closed."""
    waits, total = [], 0
    while True:
        ms, counts = await timed(jobs.counts())
        waits.append(ms)
        total = counts.total
        if counts.complete:
            break
    return [("counts after a crash, each call", max(waits), f"{len(waits)} calls, {sum(waits):,.0f} ms, {total:,}")]


async def counted_at_once(jobs: Client) -> list[tuple[str, float, str]]:
    """Count a store that was closed."""
    ms, counts = await timed(jobs.counts())
    return [("counts after a clean stop", ms, f"complete: {counts.complete}, {counts.total:,}")]


async def demanded(jobs: Client) -> list[tuple[str, float, str]]:
    """Count the work, from a cold page cache and then again."""
    first_ms, _ = await timed(jobs.demand())
    later = [await timed(jobs.demand()) for _ in range(20)]
    ms, demand = sorted(later, key=lambda one: one[0])[len(later) // 2]
    return [("demand", first_ms, "the first call"), ("demand, again", ms, f"p50 of 20 calls, {demand.total:,}")]


def listed(name: str) -> Callable[[Client], Awaitable[list[tuple[str, float, str]]]]:
    """Return a measurement of one list."""

    async def measure(jobs: Client) -> list[tuple[str, float, str]]:
        ms, page = await timed(jobs.list(**LISTS[name], max_scanned=SCANNED))
        return [(f"list: {name}", ms, f"{len(page)} of a page{', partial' if page.partial else ''}")]

    return measure


def paged(name: str) -> Callable[[Client], Awaitable[list[tuple[str, float, str]]]]:
    """Return a measurement of one page of the dashboard."""

    async def measure(jobs: Client) -> list[tuple[str, float, str]]:
        api = asgi_of(jobs, access="unchecked", dashboard=True)
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=api), base_url="http://localhost") as web:
            ms, reply = await timed(web.get(f"/dashboard{PAGES[name]}", follow_redirects=True))
        return [(f"page: {name}", ms, f"{reply.status_code}, {len(reply.content):,} bytes")]

    return measure


MEASURES: dict[str, Callable[[Client], Awaitable[list[tuple[str, float, str]]]]] = {
    "crash": counted_from_nothing,
    "closed": counted_at_once,
    "demand": demanded,
    **{f"list {name}": listed(name) for name in LISTS},
    **{f"page {name}": paged(name) for name in PAGES},
}


async def measured(store: str, name: str) -> list[tuple[str, float, str]]:
    """Open the store, and measure one thing."""
    async with App(None).with_jobs(orders).open(store) as jobs:
        return await MEASURES[name](jobs)


async def requests(path: Path, *, counting: bool, clients: int = 64, each: int = 100) -> tuple[float, Spread]:
    """Let clients send requests to any instances, and return the rate and the waits."""
    waits: list[float] = []
    async with App(None).with_jobs(orders).open(f"sqlite:///{path}") as jobs:
        calls = jobs.handle(orders)
        while counting and not (await jobs.counts()).complete:
            pass

        async def client(number: int) -> None:
            for request in range(each):
                began = time.perf_counter()
                await calls.send(f"id-{(number * each + request) * 7}", Added(1))
                waits.append(time.perf_counter() - began)

        began = time.perf_counter()
        await asyncio.gather(*(client(number) for number in range(clients)))
        return clients * each / (time.perf_counter() - began), Spread.of(waits)


def in_new_process(store: str, name: str) -> list[list[Any]]:
    """Measure one thing in a process of its own."""
    command = [sys.executable, __file__, "--measure", name, "--store", store]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rows: list[list[Any]] = json.loads(printed)
    return rows


def from_cold_cache(path: Path, name: str) -> list[list[Any]]:
    """Measure one thing on a SQLite file, from a cold page cache."""
    forget_pages(path)
    return in_new_process(f"sqlite:///{path}", name)


def show(rows: Iterable[list[Any]]) -> None:
    """Print the first table."""
    print_table(("", "ms", "answer"), [[name, f"{ms:,.0f}", answer] for name, ms, answer in rows])


def main() -> None:
    """Run what the options ask for."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--instances", type=int, default=1_000_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--folder")
    options.add_argument("--only", nargs="+", choices=MEASURES, default=list(MEASURES))
    options.add_argument("--measure")
    options.add_argument("--store")
    options.add_argument("--postgres", help="the URL of a database, in which the schema overview is made")
    asked = options.parse_args()
    if asked.measure is not None:
        print(json.dumps(asyncio.run(measured(asked.store, asked.measure))))
        return
    print(versions(), conditions(Path(asked.folder or tempfile.gettempdir())), sep="\n")
    if asked.postgres is not None:
        asyncio.run(fill_schema(asked.postgres, "overview", asked.instances, changes=CHANGES))
        show(row for name in asked.only for row in in_new_process(url_of(asked.postgres, "overview"), name))
        return
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        path = Path(folder) / "jobs.db"
        fill(path, asked.instances, changes=CHANGES)
        show(row for name in asked.only for row in from_cold_cache(path, name))
        if len(asked.only) < len(MEASURES):
            return
        rates: dict[bool, list[float]] = {False: [], True: []}
        p99s: dict[bool, list[float]] = {False: [], True: []}
        small = Path(folder) / "small.db"
        for counting in (False, True) * asked.rounds:
            small.unlink(missing_ok=True)
            fill(small, 100_000)
            rate, spread = asyncio.run(requests(small, counting=counting))
            rates[counting].append(rate)
            p99s[counting].append(spread.p99_ms)
        print()
        print_table(
            ("counting", "requests/s", "p99 ms"),
            [[str(on), over_rounds(rates[on]), over_rounds(p99s[on], 1)] for on in (False, True)],
        )


if __name__ == "__main__":
    main()

"""Everyday requests beside a bare `sqlite3` loop: an event, with an idempotency key, with a service, with both.

Run it with ``python docs/benchmarks/everyday.py [--rounds N] [--folder FOLDER]``. 64 clients ask one request after the
other, over 10,000 instances that are in memory, on a SQLite file as `App.open` opens it: full durability, debug mode
on. For each kind of request: the calls of functions, counted in a round of its own; and the CPU of the event loop's
thread and of the driver's thread, the least of many short rounds that take turns, beside that of a bare loop that
writes one row for each request in groups of 56, in the same rounds. A request with a service has two commits.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

from attrs import evolve, frozen
from measured.cpu import CpuTime
from measured.figures import print_table
from measured.machine import conditions, versions
from measured.orders import Added, Order, orders
from measured.raw_loop import STRIDE, raw_loop
from returns.result import Result, Success

from perdure import App, Do, Task, TaskContext, effect, program
from perdure.cli.run import SELDOM
from perdure.client.client import Client

INSTANCES = 10_000
CLIENTS = 64
GROUP = 56
REQUESTS = 1_500
KEYS = count()


@effect
def price(_services: object, cents: int) -> Result[int, str]:
    """Answer at once."""
    return Success(cents)


@effect
async def fetched_price(_services: object, cents: int) -> Result[int, str]:
    """Answer after a step of the event loop."""
    await asyncio.sleep(0)
    return Success(cents)


@program
def on_priced(ctx: TaskContext[Order], event: Added) -> Do[None, str, object]:
    """Ask a service that answers at once, then change the order."""
    order = yield from ctx.state
    cents = yield from price(event.cents)
    yield from ctx.set_state(evolve(order, items=order.items + 1, total_cents=order.total_cents + cents))


@program
def on_fetched(ctx: TaskContext[Order], event: Added) -> Do[None, str, object]:
    """Ask a service that is awaited, then change the order."""
    order = yield from ctx.state
    cents = yield from fetched_price(event.cents)
    yield from ctx.set_state(evolve(order, items=order.items + 1, total_cents=order.total_cents + cents))


priced = Task("priced", state=Order, event=Added, initial=Order(), on_event=on_priced)
fetched = Task("fetched", state=Order, event=Added, initial=Order(), on_event=on_fetched)


@frozen
class Kind:
    """One line of the table."""

    name: str
    job: Task[Any, Any, Any, Any]
    is_keyed: bool


KINDS = (
    Kind("event", orders, is_keyed=False),
    Kind("with a key", orders, is_keyed=True),
    Kind("with a service that answers at once", priced, is_keyed=False),
    Kind("with a service that is awaited", fetched, is_keyed=False),
    Kind("with a key, and a service that answers at once", priced, is_keyed=True),
)


async def ask(jobs: Client, kind: Kind, requests: int) -> None:
    """Ask from all clients."""
    handle, numbers = jobs.handle(kind.job), iter(range(requests))

    async def client() -> None:
        for number in numbers:
            key = f"key-{next(KEYS)}" if kind.is_keyed else None
            await handle.send(f"id-{number * STRIDE % INSTANCES}", Added(199), idempotency_key=key)

    await asyncio.gather(*(client() for _ in range(CLIENTS)))


async def calls_of(work: Callable[[], Any], requests: int) -> float:
    """Count the calls of functions for each request, in all threads that begin now and in this one."""
    calls = 0

    def note(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        if event in {"call", "c_call"}:
            calls += 1

    sys.setprofile(note)
    try:
        await work()
    finally:
        sys.setprofile(None)
    return calls / requests


async def measure(path: Path, rounds: int) -> None:
    """Measure all kinds in turns, and print the table."""
    app = App(object()).with_jobs(orders, priced, fetched)
    cpu: dict[str, list[CpuTime]] = {kind.name: [] for kind in KINDS}
    async with app.open(f"sqlite:///{path}") as jobs:
        for kind in KINDS:
            await ask(jobs, kind, INSTANCES)
        calls = {kind.name: await calls_of(lambda kind=kind: ask(jobs, kind, REQUESTS), REQUESTS) for kind in KINDS}
        gc.freeze()
        for _ in range(rounds):
            for kind in KINDS:
                before = CpuTime.now()
                await ask(jobs, kind, REQUESTS)
                cpu[kind.name].append(CpuTime.now().since(before))
    least = min(raw_loop(path, group=GROUP, durability="full", seconds=0.2).cpu_us for _ in range(rounds))
    print(f"the bare loop: {least:.1f} µs for each row, {GROUP} rows in a transaction\n")
    rows: list[list[str]] = []
    for kind in KINDS:
        best = min(cpu[kind.name], key=lambda one: one.main + one.others)
        loop, driver = best.main / REQUESTS * 1e6, best.others / REQUESTS * 1e6
        rows.append(
            [kind.name, f"{calls[kind.name]:.0f}", f"{loop:.1f}", f"{driver:.1f}", f"{least / (loop + driver):.2f}"]
        )
    print_table(("request", "calls of functions", "loop's CPU µs", "driver's CPU µs", "of the bare loop"), rows)


def main() -> None:
    """Read the command line, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk in question")
    given = parser.parse_args()
    gc.set_threshold(*SELDOM)
    print(versions())
    with tempfile.TemporaryDirectory(dir=given.folder) as scratch:
        print(conditions(Path(scratch)))
        asyncio.run(measure(Path(scratch) / "jobs.db", given.rounds))


if __name__ == "__main__":
    main()

"""CPU time of a turn on Restate, of the worker and of the server, beside an object of the SDK that does nothing.

Run it with ``PERDURE_RESTATE_SERVER=... python docs/benchmarks/on_restate.py``. The empty object makes the calls of a
turn, on a value with the size of a mailbox: it reads the state and writes it. Those of an event with an effect are of
two objects: the mailbox writes the claim, calls an object that performs the effect as a step, and writes the row.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

TESTS = Path(__file__).parents[2] / "tests" / "integrations"
sys.path.insert(0, str(TESTS))

import httpx2  # noqa: E402 - of the tests
import restate  # noqa: E402 - of the tests
from measured.figures import over_rounds, print_table  # noqa: E402 - of the tests
from measured.machine import conditions, versions  # noqa: E402 - of the tests
from restate.serde import BytesSerde  # noqa: E402 - of the tests
from restate_cluster import Cluster  # noqa: E402 - of the tests
from restate_jobs import Add, Slow, counts  # noqa: E402 - of the tests

from perdure.integrations.restate import connect_restate  # noqa: E402 - of the tests

ROUNDS = 3
REQUESTS = 600
KEYS = 64
CALLERS = 16
STATE = b"x" * 600  # of a mailbox with a small row

BYTES = BytesSerde()

reader = restate.VirtualObject("Reader")
caller = restate.VirtualObject("Caller")
performer = restate.VirtualObject("Performer")


@reader.handler(input_serde=BYTES, output_serde=BYTES)
async def turn(ctx: restate.ObjectContext, order: bytes) -> bytes:
    """Read the state, and write it: the calls of a turn."""
    await ctx.get("state", BYTES)
    ctx.set("state", STATE, BYTES)
    return order


@caller.handler(input_serde=BYTES, output_serde=BYTES)
async def event(ctx: restate.ObjectContext, order: bytes) -> bytes:
    """Read the state, let another object perform an effect, and write the state: the calls of an event with one."""
    await ctx.get("state", BYTES)
    ctx.set("state", STATE, BYTES)
    answer = await ctx.generic_call("Performer", "run", order, key=ctx.key())
    ctx.set("state", STATE, BYTES)
    return bytes(answer)


@performer.handler(input_serde=BYTES, output_serde=BYTES)
async def run(ctx: restate.ObjectContext, order: bytes) -> bytes:
    """Perform one step."""
    await ctx.get("count", BYTES)
    ctx.set("count", b"{}", BYTES)
    await ctx.run_typed("counted", _nothing)
    await ctx.run_typed("run", _nothing)
    ctx.set("count", b"{}", BYTES)
    return order


async def _nothing() -> None:
    pass


application = restate.app([reader, caller, performer])

Send: TypeAlias = Callable[[str], Awaitable[object]]


def cpu_ms(group: int) -> float:
    """Return the CPU time that the processes of a session took."""
    ticks = 0
    for process in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = process.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == group:
            ticks += int(fields[11]) + int(fields[12])
    return ticks * 1_000 / os.sysconf("SC_CLK_TCK")


async def measured(cluster: Cluster, send: Send) -> tuple[float, float]:
    """Return the CPU time of a request in ms: the worker's, and the server's."""

    async def caller(number: int) -> None:
        for place in range(number, REQUESTS, CALLERS):
            await send(f"k{place % KEYS}")

    assert cluster.worker is not None  # noqa: S101 - it was started
    groups = (cluster.worker.pid, cluster.servers[0].pid)
    before = [cpu_ms(group) for group in groups]
    await asyncio.gather(*map(caller, range(CALLERS)))
    worker, server = (cpu_ms(group) - at for group, at in zip(groups, before, strict=True))
    return worker / REQUESTS, server / REQUESTS


async def of_objects(cluster: Cluster) -> dict[str, list[tuple[float, float]]]:
    """Measure the empty objects."""
    found: dict[str, list[tuple[float, float]]] = {}
    async with httpx2.AsyncClient(
        base_url=cluster.ingress, timeout=60, headers={"content-type": "application/json"}
    ) as http:

        def post(path: str) -> Send:
            async def send(key: str) -> None:
                answer = await http.post(path.format(key), content=b"{}")
                if answer.is_error:
                    raise RuntimeError(answer.text)

            return send

        ways = {"an empty object, one call": "/Reader/{}/turn", "empty objects, an effect": "/Caller/{}/event"}
        for name, path in ways.items():
            send = post(path)
            await measured(cluster, send)  # warm
            found[name] = [await measured(cluster, send) for _ in range(ROUNDS)]
    return found


async def of_jobs(cluster: Cluster) -> dict[str, list[tuple[float, float]]]:
    """Measure a task."""
    found: dict[str, list[tuple[float, float]]] = {}
    async with connect_restate(cluster.ingress, counts, admin_url=cluster.admin) as jobs:
        task: Any = jobs.handle(counts)
        for name, event in {"a task's event": Add(), "a task's event with an effect": Slow(0)}.items():
            send: Send = lambda key, event=event: task.send(key, event)  # noqa: E731 - of one line
            await measured(cluster, send)
            found[name] = [await measured(cluster, send) for _ in range(ROUNDS)]
    return found


def main() -> None:
    """Measure, and print."""
    rows: dict[str, list[tuple[float, float]]] = {}
    for name, path, measure in (
        ("on_restate:application", Path(__file__).parent, of_objects),
        ("restate_jobs:application", TESTS, of_jobs),
    ):
        with tempfile.TemporaryDirectory() as folder, Cluster(Path(folder), application=name, path=path) as cluster:
            rows |= asyncio.run(measure(cluster))
    with tempfile.TemporaryDirectory() as folder:
        print(f"{versions()}, restate-sdk {version('restate-sdk')}; {conditions(Path(folder))}\n")
    print_table(
        ["CPU time of a request", "worker, ms", "server, ms"],
        ([name, *(over_rounds(values, 1) for values in zip(*rounds, strict=True))] for name, rounds in rows.items()),
    )


if __name__ == "__main__":
    main()

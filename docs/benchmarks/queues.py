"""perdure beside DBOS, procrastinate and oban-py on the same PostgreSQL server: jobs a second, in turns.

    python docs/benchmarks/queues.py postgresql://user@host/database --envs FOLDER [--quick]

The folder holds a virtual environment for each system, named ``dbos``, ``procrastinate`` and ``oban``:

    uv venv dbos && uv pip install --python dbos/bin/python dbos 'psycopg[binary]'
    uv venv procrastinate && uv pip install --python procrastinate/bin/python procrastinate 'psycopg[binary,pool]'
    uv venv oban && uv pip install --python oban/bin/python oban 'psycopg[binary,pool]'

Each measurement has an empty database, full durability, and one process that enqueues jobs with a trivial function and
runs them. oban-py and procrastinate are measured at their best settings, and as an application uses them that enqueues
each job by itself, with the concurrency of their documentation. It counts from the first job that is enqueued until the
last has run. CPU is that of the process and of the server, if it is on this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from attrs import frozen
from measured.figures import print_table
from measured.schema import Server, connected

DATABASE = "perdure_bench_queues"
HERE = Path(__file__).parent / "queue_systems"


@frozen
class System:
    """One way to run the jobs.

    Attributes:
        name: in the table.
        script: its script.
        env: the virtual environment; empty: this one.
        arguments: further arguments of the script.
        weight: how many jobs it gets, in parts of all.
    """

    name: str
    script: str
    env: str = ""
    arguments: tuple[str, ...] = ()
    weight: float = 1.0


SYSTEMS = (
    System("perdure, an event", "perdure_system.py", arguments=("events",)),
    System("perdure, a task", "perdure_system.py", arguments=("runs",)),
    System("perdure, a worker pool", "perdure_system.py", arguments=("pool",)),
    System("oban-py, 1,000 enqueued and 64 run at a time", "oban_system.py", "oban", ("64", "1000"), weight=0.3),
    System("oban-py, enqueued one by one, 10 at a time", "oban_system.py", "oban", ("10", "1"), weight=0.3),
    System(
        "procrastinate, 1,000 deferred and 64 run at a time",
        "procrastinate_system.py",
        "procrastinate",
        ("64", "1000"),
        weight=0.2,
    ),
    System(
        "procrastinate, deferred one by one, 1 at a time",
        "procrastinate_system.py",
        "procrastinate",
        ("1", "1"),
        weight=0.1,
    ),
    System("DBOS", "dbos_system.py", "dbos", weight=0.1),
)


async def _recreate(database: str) -> None:
    async with connected(database) as connection:
        await connection.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        await connection.execute(f"CREATE DATABASE {DATABASE} TEMPLATE template0 ENCODING 'UTF8'")
        await connection.execute("CHECKPOINT")


async def _drop(database: str) -> None:
    async with connected(database) as connection:
        await connection.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")


def measure(system: System, given: argparse.Namespace, server: Server) -> tuple[float, ...]:
    """Return jobs enqueued and jobs run a second, and CPU µs a job of the process and of the server."""
    asyncio.run(_recreate(given.database))
    url, count = urlsplit(given.database)._replace(path=f"/{DATABASE}").geturl(), int(given.jobs * system.weight)
    python = given.envs / system.env / "bin" / "python" if system.env else Path(sys.executable)
    used = server.cpu_s()
    command = [str(python), str(HERE / system.script), url, str(count), *system.arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        raise SystemExit(f"{system.name}: {done.stderr[-3000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    time.sleep(1.0)  # the processes of its connections end
    used = server.cpu_s() - used
    return count / found["put_s"], count / found["total_s"], found["cpu_s"] / count * 1e6, used / count * 1e6


def main() -> None:
    """Measure in turns, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("database", help="the URL of a database whose user may create others")
    parser.add_argument("--envs", type=Path, required=True)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--quick", action="store_true", help="one short round")
    given = parser.parse_args()
    given.jobs = given.jobs or (3_000 if given.quick else 20_000)
    server = asyncio.run(Server.of(given.database))
    rows: dict[str, list[tuple[float, ...]]] = {}
    for _ in range(given.rounds or (1 if given.quick else 3)):
        for system in SYSTEMS:
            rows.setdefault(system.name, []).append(measure(system, given, server))
    asyncio.run(_drop(given.database))
    print(f"load {os.getloadavg()[0]:.1f}\n")
    rates = {name: statistics.median(row[1] for row in found) for name, found in rows.items()}
    print_table(
        ("system", "enqueued/s", "jobs/s", "CPU µs", "server's CPU µs", "a task of perdure is faster by"),
        (
            [
                name,
                *(f"{statistics.median(column):,.0f}" for column in zip(*found, strict=True)),
                f"{rates['perdure, a task'] / rates[name]:.1f}",
            ]
            for name, found in rows.items()
        ),
    )


if __name__ == "__main__":
    main()

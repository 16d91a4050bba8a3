"""Whether the tracker loses events when its engine and its endpoint are killed.

Run it with ``python docs/benchmarks/tracker_kills.py [ROUNDS] [SEED]``. An engine under load exports to an endpoint,
which appends each batch to a file before it answers. Each round kills the engine, the endpoint or both with SIGKILL, at
a random moment, and starts them again. In the end every event of the log must have arrived, in order; an id that
arrived more than once must have come with the same event.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count, pairwise
from pathlib import Path
from random import Random
from typing import Any, Literal

import attrs

from perdure import App, Do, Task, TaskContext, program
from perdure.telemetry.tracker import tracker
from perdure.values.retry import Backoff

ROUNDS = 50
SENDERS = 8
PAUSE_S = 0.02
DRAIN_S = 120.0
STORE = "jobs.db"
ARRIVED = "arrived.jsonl"


# ---------------------------------------------------------------- the engine
@program
def on_event(ctx: TaskContext[int], event: int) -> Do[None]:
    """Set an alarm, which is an event of the log."""
    yield from ctx.set_state(event)
    yield from ctx.schedule(after="1 ms")


@program
def execute(ctx: TaskContext[int]) -> Do[None]:
    """Count."""
    yield from ctx.update_state(lambda state: state + 1)


work = Task("work", state=int, event=int, initial=0, on_event=on_event, execute=execute)


async def send_for_ever(jobs: Any, sender: int) -> None:
    """Send one event after the other."""
    for number in count():
        await jobs.handle(work).send(f"{os.getpid()}-{sender}-{number % 5}", number)
        await asyncio.sleep(PAUSE_S)


async def run_engine(folder: Path, port: int, load: Literal["load", "drain"]) -> None:
    """Run an engine until it is killed."""
    backoff = Backoff.exponential("20 ms", max="200 ms")
    sink = tracker(f"http://127.0.0.1:{port}/", flush_interval="10 ms", timeout="1s", backoff=backoff)
    app = App(None).with_jobs(work).with_sinks(sink)
    async with app.open(f"sqlite:///{folder / STORE}") as jobs:
        print("serving", flush=True)
        if load == "load":
            await asyncio.gather(*(send_for_ever(jobs, sender) for sender in range(SENDERS)))
        await asyncio.Event().wait()


# ---------------------------------------------------------------- the endpoint
class Endpoint(BaseHTTPRequestHandler):
    """Appends the events of each request to a file, then answers."""

    protocol_version = "HTTP/1.1"
    file = -1

    def do_POST(self) -> None:
        """Keep a batch."""
        body = zlib.decompress(self.rfile.read(int(self.headers["content-length"])), 31)
        lines = b"".join(json.dumps(event).encode() + b"\n" for event in json.loads(body)["events"])
        os.write(self.file, lines)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def run_endpoint(folder: Path, port: int) -> None:
    """Serve until killed."""
    Endpoint.file = os.open(folder / ARRIVED, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(Endpoint.file, b"\n")  # a line that the previous process left incomplete ends here
    server = ThreadingHTTPServer(("127.0.0.1", port), Endpoint)
    print("serving", flush=True)
    server.serve_forever()


# ---------------------------------------------------------------- the rounds
@attrs.frozen
class Report:
    """The result of a run.

    Attributes:
        killed: how often each process was killed.
        logged: events in the log.
        arrived: events that arrived, with duplicates.
        missing: events of the log that never arrived.
        unlike: ids that arrived with different events.
        unknown: ids that arrived and are not in the log.
        unordered: events that first arrived before an earlier one.
        drained_s: how long the last engine took to export the rest.
    """

    killed: Counter[str]
    logged: int
    arrived: int
    missing: int
    unlike: int
    unknown: int
    unordered: int
    drained_s: float


def start(role: str, folder: Path, port: int, *further: str) -> subprocess.Popen[str]:
    """Start a process, and wait until it serves."""
    command = [sys.executable, __file__, role, str(folder), str(port), *further]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    if "serving" not in process.stdout.readline():
        raise RuntimeError(f"the {role} did not start")
    return process


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a process."""
    process.send_signal(signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def run(rounds: int, seed: int, folder: Path) -> Report:
    """Kill and start again, then drain, then compare."""
    random, killed = Random(seed), Counter[str]()  # noqa: S311 - no secret
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    processes = {"endpoint": start("endpoint", folder, port)}
    processes["engine"] = start("engine", folder, port, "load")
    try:
        for _ in range(rounds):
            time.sleep(random.uniform(0.05, 0.6))
            roles = random.choice([("engine",), ("endpoint",), ("engine", "endpoint"), ("endpoint", "engine")])
            for role in roles:
                kill(processes[role])
                killed[role] += 1
            time.sleep(random.uniform(0, 0.2))
            for role in reversed(roles):
                processes[role] = start(role, folder, port, *(("load",) if role == "engine" else ()))
        kill(processes["engine"])
        processes["engine"] = start("engine", folder, port, "drain")
        return drained(folder, killed)
    finally:
        for process in processes.values():
            kill(process)


def drained(folder: Path, killed: Counter[str]) -> Report:
    """Wait until no event is missing, or for two minutes, and compare."""
    began = time.monotonic()
    while True:
        report = compared(folder, killed, time.monotonic() - began)
        if report.missing == 0 or report.drained_s > DRAIN_S:
            return report
        time.sleep(0.1)


def compared(folder: Path, killed: Counter[str], drained_s: float) -> Report:
    """Compare the events that arrived with the log."""
    lines = (folder / ARRIVED).read_text(encoding="utf-8").split("\n")  # before the log, which may still grow
    events = [event for line in lines if (event := complete(line)) is not None]
    with closing(sqlite3.connect(folder / STORE)) as store:
        bodies = store.execute("SELECT body FROM events ORDER BY sequence").fetchall()
    logged = [json.loads(body)["event_id"] for (body,) in bodies]
    contents: dict[str, set[str]] = {}
    for event in events:
        contents.setdefault(event["event_id"], set()).add(json.dumps(event))
    firsts = list(contents)
    place = {event_id: number for number, event_id in enumerate(logged)}
    places = [place[event_id] for event_id in firsts if event_id in place]
    return Report(
        killed=killed,
        logged=len(logged),
        arrived=len(events),
        missing=len(set(logged) - contents.keys()),
        unlike=sum(len(each) > 1 for each in contents.values()),
        unknown=len(contents.keys() - set(logged)),
        unordered=sum(later < earlier for earlier, later in pairwise(places)),
        drained_s=drained_s,
    )


def complete(line: str) -> dict[str, Any] | None:
    """Read a line; None if the endpoint died while it wrote it."""
    try:
        event: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return event


def main() -> None:
    """Run the rounds, or one of their processes."""
    match sys.argv[1:]:
        case ["engine", folder, port, ("load" | "drain") as load]:
            asyncio.run(run_engine(Path(folder), int(port), load))
        case ["endpoint", folder, port]:
            run_endpoint(Path(folder), int(port))
        case given:
            rounds, seed, *_ = [*map(int, given), *(ROUNDS, 1)[len(given) :]]
            with tempfile.TemporaryDirectory() as scratch:
                report = run(rounds, seed, Path(scratch))
            kills = ", ".join(f"{role} {number}" for role, number in sorted(report.killed.items()))
            duplicates = report.arrived - (report.logged - report.missing)
            print(f"{rounds} rounds; killed: {kills}")
            print(f"{report.logged:,} events in the log, {report.missing} missing, {report.unordered} out of order")
            print(f"{duplicates} duplicates, {report.unlike} of them unlike; {report.unknown} events of no log")
            print(f"the rest arrived in {report.drained_s:.1f} s")


if __name__ == "__main__":
    main()

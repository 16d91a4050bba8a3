"""What a tracker costs the requests of its app, with an endpoint that works and with one that does not.

Run it with ``python docs/benchmarks/tracker_cost.py [ROUNDS]``. Each round runs the same load on a new SQLite file once
for each endpoint, in a process of its own: without a tracker, and with an endpoint that accepts, hangs, resets, answers
500, or is not there. After the load the endpoint heals, and every event of the log must arrive.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import struct
import sys
import tempfile
import time
import zlib
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET
from statistics import median, quantiles
from typing import Any

from perdure import App, Do, Task, TaskContext, program, unwrap
from perdure.client.client import engine_of
from perdure.programs.future import answer_of
from perdure.telemetry.tracker import tracker
from perdure.values.backoff import Backoff

ROUNDS = 5
CALLERS = 16
REQUESTS = 300
MODES = ("no tracker", "accepts", "hangs", "resets", "500", "absent")
ARRIVED = "arrived.txt"
RESET = struct.pack("ii", 1, 0)


@program
def on_event(ctx: TaskContext[int], event: int) -> Do[None]:
    """Set an alarm, which is an event of the log."""
    yield from ctx.set_state(event)
    yield from ctx.schedule(after="1 day")


@program
def execute(ctx: TaskContext[int]) -> Do[None]:
    """Count."""
    yield from ctx.update_state(lambda state: state + 1)


work = Task("work", state=int, event=int, initial=0, on_event=on_event, execute=execute)


# ---------------------------------------------------------------- the endpoint
async def serve(port: Any, mode: Any, arrived: Path) -> None:
    """Answer as the mode of the moment says."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            body = await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
            match MODES[mode.value]:
                case "hangs":
                    await asyncio.sleep(3_600)
                case "resets":
                    writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, RESET)
                    writer.transport.abort()
                    return
                case "500":
                    writer.write(b"HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n")
                case _:
                    events = json.loads(zlib.decompress(body, 31))["events"]
                    file.write("".join(f"{event['event_id']}\n" for event in events))
                    writer.write(b"HTTP/1.1 204 X\r\ncontent-length: 0\r\n\r\n")

    async def quiet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    file = arrived.open("a", buffering=1)
    server = await asyncio.start_server(quiet, "127.0.0.1", port.value)
    port.value = server.sockets[0].getsockname()[1]
    await server.serve_forever()


def endpoint(port: Any, mode: Any, arrived: Path) -> None:
    """Run an endpoint."""
    asyncio.run(serve(port, mode, arrived))


# ---------------------------------------------------------------- the load
async def call(jobs: Any, caller: int, took_ms: list[float]) -> None:
    """Send one request after the other."""
    for number in range(REQUESTS):
        began = time.perf_counter()
        await unwrap(jobs.handle(work).send(f"{caller}-{number % 5}", number))
        took_ms.append((time.perf_counter() - began) * 1e3)


async def load(folder: Path, port: int, mode: str, heal: Any) -> tuple[float, float, float]:
    """Measure one load; return requests a second, and the 50th and the 99th percentile in milliseconds."""
    app = App(None).with_jobs(work)
    if mode != "no tracker":
        backoff = Backoff.exponential("100 ms", max="1s")
        app = app.with_sinks(
            tracker(f"http://127.0.0.1:{port}/", timeout="1s", flush_interval="100 ms", backoff=backoff)
        )
    took_ms: list[float] = []
    async with app.open(f"sqlite:///{folder / 'jobs.db'}", debug=False) as jobs:
        await call(jobs, CALLERS, [])  # warms up
        began = time.perf_counter()
        await asyncio.gather(*(call(jobs, caller, took_ms) for caller in range(CALLERS)))
        seconds = time.perf_counter() - began
        heal()
        sinks = engine_of(jobs).sinks
        while any(lag.events for lag in sinks.lags().values()):  # noqa: ASYNC110 - the state of another task
            await asyncio.sleep(0.1)
        logged = (await answer_of(engine_of(jobs).store.events(0, 1_000_000))).unwrap()
    if mode != "no tracker" and {each.event.event_id for each in logged} != ids_in(folder / ARRIVED):
        raise RuntimeError(f"events are missing: {mode}")
    return len(took_ms) / seconds, median(took_ms), quantiles(took_ms, n=100)[98]


def ids_in(file: Path) -> set[str]:
    """Return the ids that arrived."""
    return set(file.read_text(encoding="ascii").split())


def measured(mode: str) -> tuple[float, float, float]:
    """Start an endpoint, and measure one load against it."""
    port, now = multiprocessing.Value("i", 0), multiprocessing.Value("i", MODES.index(mode))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        arrived = folder / ARRIVED
        processes = [multiprocessing.Process(target=endpoint, args=(port, now, arrived), daemon=True)]
        processes[0].start()
        while port.value == 0:
            time.sleep(0.01)
        if mode == "absent":
            processes[0].kill()
            processes[0].join()

        def heal() -> None:
            now.value = MODES.index("accepts")
            if mode == "absent":
                processes.append(multiprocessing.Process(target=endpoint, args=(port, now, arrived), daemon=True))
                processes[-1].start()

        try:
            return asyncio.run(load(folder, port.value, mode, heal))
        finally:
            for process in processes:
                process.kill()


def main(rounds: int) -> None:
    """Measure."""
    found: dict[str, list[tuple[float, float, float]]] = {mode: [] for mode in MODES}
    for _ in range(rounds):
        for mode in MODES:
            found[mode].append(measured(mode))
    print("endpoint        requests/s   p50 ms   p99 ms")
    for mode, each in found.items():
        rate, half, most = (median(column) for column in zip(*each, strict=True))
        print(f"{mode:15} {rate:10,.0f} {half:8.2f} {most:8.2f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:] or [ROUNDS]))

"""The cost of each sink for the requests of its app, side by side, also of a tracker whose endpoint does not work.

Run it with ``python docs/benchmarks/sinks.py [--rounds N] [--requests N] [--folder FOLDER]``; the folder must be on the
disk in question. 16 callers send one request after the other to an engine on a new SQLite file, then requests leave at
a fixed rate of 500 a second, whether or not the ones before are answered; the waits are those of the second load.
The rows take turns in every round; the first two are the same, so their difference is the noise. Prometheus is scraped
every second by another process, OpenTelemetry sends to a collector in another process, and the tracker to an endpoint
in another process that accepts, hangs, resets, answers 500, or is not there. After the load that endpoint heals, and
every event of the log must arrive. The CPU time is that of all threads of the engine's process.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import multiprocessing
import random
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
import zlib
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from importlib.util import find_spec
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET, create_connection, socket
from typing import Any

from attrs import frozen
from measured.figures import Spread, over_rounds, print_table
from measured.machine import conditions, versions
from measured.paced import paced

from perdure import App, Do, Task, TaskContext, program
from perdure.cli.run import SELDOM
from perdure.client.client import Client
from perdure.client.local_gateway import engine_of
from perdure.engine.sinks import EventSink
from perdure.programs.future import answer_of
from perdure.server.serving import serving
from perdure.telemetry.activity import Activity
from perdure.telemetry.opentelemetry import opentelemetry
from perdure.telemetry.prometheus import prometheus
from perdure.telemetry.tracker import tracker
from perdure.values.retry import Backoff

CALLERS = 16
PACE = 500  # requests a second
MOODS = ("accepts", "hangs", "resets", "500", "absent")
PACED_S = 3.0
ARRIVED = "arrived.txt"
RESET = struct.pack("ii", 1, 0)
ROTEL_STARTS_S = 30

ROWS = (
    "no sink",
    "no sink, again",
    "the dashboard's activity",
    "Prometheus, scraped every second",
    "OpenTelemetry, 1 % of the traces",
    "OpenTelemetry, all traces",
    "OpenTelemetry, all traces, small batches",
    "tracker, endpoint accepts",
    "tracker, endpoint hangs",
    "tracker, endpoint resets",
    "tracker, endpoint answers 500",
    "tracker, no endpoint",
)


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


@frozen
class Figures:
    """The figures of one round of a row."""

    rate: float
    cpu_us: float
    waits: Spread


# ---------------------------------------------------------------- the endpoint of a tracker
async def serve(port: Any, mood: Any, arrived: Path) -> None:
    """Answer as the mood of the moment says."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            body = await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
            match MOODS[mood.value]:
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


def endpoint(port: Any, mood: Any, arrived: Path) -> None:
    """Run an endpoint."""
    asyncio.run(serve(port, mood, arrived))


@contextmanager
def listening(mood: str, arrived: Path) -> Generator[tuple[int, Callable[[], None]]]:
    """Run an endpoint in another process; return its port and a function that heals it."""
    port, now = multiprocessing.Value("i", 0), multiprocessing.Value("i", MOODS.index(mood))
    processes: list[multiprocessing.Process] = []

    def start() -> None:
        processes.append(multiprocessing.Process(target=endpoint, args=(port, now, arrived), daemon=True))
        processes[-1].start()

    start()
    while port.value == 0:
        time.sleep(0.01)
    if mood == "absent":
        processes[0].kill()
        processes[0].join()

    def heal() -> None:
        now.value = MOODS.index("accepts")
        if mood == "absent":
            start()

    try:
        yield port.value, heal
    finally:
        for process in processes:
            process.kill()


# ---------------------------------------------------------------- the collector of OpenTelemetry
@contextmanager
def collector() -> Generator[str]:
    """Run a collector in another process that discards all it receives; return its URL."""
    spec = find_spec("rotel")
    if spec is None or spec.origin is None:
        raise RuntimeError("this row needs rotel, a collector of the group test")
    http, grpc = free_port(), free_port()
    agent = Path(spec.origin).with_name("rotel-agent")
    options = {"--otlp-http-endpoint": http, "--otlp-grpc-endpoint": grpc}
    addresses = [part for name, port in options.items() for part in (name, f"127.0.0.1:{port}")]
    with subprocess.Popen(
        [str(agent), "start", "--exporter", "blackhole", *addresses], stdout=subprocess.DEVNULL
    ) as process:
        try:
            until = time.monotonic() + ROTEL_STARTS_S
            while not reachable(http) and time.monotonic() < until:
                time.sleep(0.05)
            yield f"http://127.0.0.1:{http}"
        finally:
            process.terminate()


def free_port() -> int:
    """Return a port that no process uses."""
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def reachable(port: int) -> bool:
    """Return whether a process listens."""
    try:
        create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


@contextmanager
def traced(ratio: float, *, small: bool) -> Generator[EventSink]:
    """Set up an SDK that samples this part of the traces and exports to a collector, by default 512 spans at once."""
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415 - slow import
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio  # noqa: PLC0415

    with collector() as url:
        tracers = TracerProvider(ParentBasedTraceIdRatio(ratio), shutdown_on_exit=False)
        batches = {"max_export_batch_size": 64, "schedule_delay_millis": 200} if small else {}
        tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{url}/v1/traces"), **batches))
        reader = PeriodicExportingMetricReader(OTLPMetricExporter(f"{url}/v1/metrics"), 1_000)
        meters = MeterProvider([reader], shutdown_on_exit=False)
        try:
            yield opentelemetry(tracer_provider=tracers, meter_provider=meters)
        finally:
            tracers.shutdown()
            meters.shutdown()


# ---------------------------------------------------------------- a scraper of Prometheus
def scrape(url: str) -> None:
    """Scrape every second."""
    while True:
        with urllib.request.urlopen(f"{url}/metrics") as response:  # noqa: S310 - of this machine
            response.read()
        time.sleep(1)


@asynccontextmanager
async def scraped(jobs: Client) -> AsyncGenerator[None]:
    """Serve an engine over HTTP, and scrape it from another process."""
    async with serving(jobs, ["127.0.0.1:0"]) as (server,):
        process = multiprocessing.Process(target=scrape, args=server.urls[:1], daemon=True)
        process.start()
        try:
            yield
        finally:
            process.kill()


# ---------------------------------------------------------------- the load
async def call(jobs: Client, caller: int, requests: int) -> None:
    """Send one request after the other."""
    for number in range(requests):
        await jobs.handle(work).send(f"{caller}-{number % 5}", number)


async def at_pace(jobs: Client, seconds: float) -> Spread:
    """Send requests at the fixed rate."""
    until = time.perf_counter() + seconds
    orders = jobs.handle(work)
    waits = await paced(
        lambda number: orders.send(f"paced-{number % 80}", number),
        rate=PACE,
        until=lambda: time.perf_counter() >= until,
    )
    return Spread.of(waits)


async def load(
    row: str, sink: EventSink | None, folder: Path, requests: int, heal: Callable[[], None] | None
) -> Figures:
    """Measure both loads."""
    app = App(None).with_jobs(work)
    if sink is not None:
        app = app.with_sinks(sink)
    async with AsyncExitStack() as stack:
        jobs = await stack.enter_async_context(app.open(f"sqlite:///{folder / 'jobs.db'}"))
        if row.startswith("Prometheus"):
            await stack.enter_async_context(scraped(jobs))
        await call(jobs, CALLERS, requests)  # warms up
        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(call(jobs, caller, requests) for caller in range(CALLERS)))
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        waits = await at_pace(jobs, PACED_S)
        if heal is not None:
            heal()
            sinks = engine_of(jobs).sinks
            while any(lag.events for lag in sinks.lags().values()):  # noqa: ASYNC110 - the state of another task
                await asyncio.sleep(0.1)
            logged = (await answer_of(engine_of(jobs).store.events(0, 1_000_000))).unwrap()
            if {each.event.event_id for each in logged} != set((folder / ARRIVED).read_text().split()):
                raise RuntimeError(f"events are missing: {row}")
    sent = CALLERS * requests
    return Figures(sent / seconds, cpu / sent * 1e6, waits)


def measured(row: str, folder: Path, requests: int) -> Figures:
    """Set up the sink of a row, and measure one load."""

    def run(sink: EventSink | None, heal: Callable[[], None] | None = None) -> Figures:
        return asyncio.run(load(row, sink, folder, requests, heal))

    if row.startswith("tracker"):
        mood = MOODS[[each for each in ROWS if each.startswith("tracker")].index(row)]
        with listening(mood, folder / ARRIVED) as (port, heal):
            backoff = Backoff.exponential("100 ms", max="1s")
            url = f"http://127.0.0.1:{port}/"
            return run(tracker(url, timeout="1s", flush_interval="100 ms", backoff=backoff), heal)
    if row.startswith("OpenTelemetry"):
        with traced(1.0 if "all" in row else 0.01, small="small" in row) as sink:
            return run(sink)
    if row.startswith("Prometheus"):
        return run(prometheus())
    return run(Activity() if "activity" in row else None)


HEAD = ("sink", "requests/s", "CPU µs", "p50 ms", "p99 ms")


def shown(row: str, rounds: list[Figures]) -> list[str]:
    """Sum up the rounds of a row."""
    return [
        row,
        over_rounds([one.rate for one in rounds]),
        over_rounds([one.cpu_us for one in rounds]),
        over_rounds([one.waits.p50_ms for one in rounds], 1),
        over_rounds([one.waits.p99_ms for one in rounds], 1),
    ]


def main(rounds: int, requests: int, folder: Path) -> None:
    """Measure every row, in rounds that take turns."""
    print(versions())
    gc.set_threshold(*SELDOM)
    found: dict[str, list[Figures]] = {row: [] for row in ROWS}
    for number in range(rounds):
        print(f"before the round: {conditions(folder)}", flush=True)
        for row in random.Random(number).sample(ROWS, len(ROWS)):  # noqa: S311 - so that no row follows the same one
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                found[row].append(measured(row, Path(scratch), requests))
    print(f"after the last: {conditions(folder)}\n")
    print_table(HEAD, (shown(row, found[row]) for row in ROWS))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=300, help="of each caller")
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk in question")
    given = parser.parse_args(sys.argv[1:])
    multiprocessing.set_start_method("forkserver")  # a fork would copy the threads' state of the exporters
    main(given.rounds, given.requests, given.folder)

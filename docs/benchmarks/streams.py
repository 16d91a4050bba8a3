"""Streams to browsers: how long a chunk takes, and what a thousand readers cost the other requests of the engine.

Run it with ``python docs/benchmarks/streams.py [--store URL] [--readers N] [--rounds N] [--chromium PROGRAM]``; by
default the store is a new SQLite file in ``--folder``. Each of 20 workflows emits a chunk each second: the time of its
emission. The readers are in another process. They follow the streams over HTTP with server-sent events, and a tenth of
them never reads. Beside them 16 callers send one event after the other. The rounds alternate between no readers and all
of them. With ``--chromium``, a browser follows one stream beside them, and says when its script received each chunk.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from attrs import frozen
from measured.figures import Spread, over_rounds, print_table
from measured.machine import conditions, versions
from returns.result import Result, Success

from perdure import App, Decision, Do, Stream, Task, Workflow, WorkflowContext, effect, program
from perdure.client.client import Client
from perdure.server.http_limits import HttpLimits
from perdure.server.serving import serving

STREAMS = 20
CALLERS = 16
SECONDS = 5.0
PAUSE_S = 1.0
TEN = 10
LIMITS = HttpLimits(waits=4_000, client_waits=4_000, client_requests=4_000, connections=4_000)

emitted = Stream("emitted", float)


@effect
async def emit_each_second(_: object, number: int) -> Result[None, str]:
    """Emit the time each second, until the engine closes."""
    await asyncio.sleep(PAUSE_S * number / STREAMS)
    while True:
        emitted.emit_now(time.time())
        await asyncio.sleep(PAUSE_S)
    return Success(None)


@program
def emit(ctx: WorkflowContext[int]) -> Do[None, str, object]:
    """Emit the time."""
    yield from emit_each_second((yield from ctx.state))


def count(total: int, event: int) -> Result[Decision[int], str]:
    """Add an event."""
    return Success(Decision(total + event))


emitter = Workflow("emitter", state=int, run=emit, streams=[emitted], run_timeout="1 hour")
counter = Task("counter", state=int, event=int, initial=0, decide=count)


def path_of(number: int) -> str:
    """Return the path of a stream's server-sent events."""
    return f"/v1/jobs/workflow/emitter/instances/{number}/streams/emitted/events"


# ---------------------------------------------------------------- the process with the readers
async def follow(port: int, number: int, waits: list[float], *, reads: bool) -> None:
    """Follow a stream, or open it and never read."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    request = f"GET {path_of(number % STREAMS)} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
    writer.write(request.encode())
    status = await reader.readline()
    if b" 200 " not in status:
        raise RuntimeError(status)
    if not reads:
        writer.transport.pause_reading()  # type: ignore[attr-defined] # of a socket
        await asyncio.Event().wait()
    began = time.time()
    while line := await reader.readline():
        if line.startswith(b"data: "):
            at: float = json.loads(line[6:])["value"]
            if at > began:
                waits.append(time.time() - at)


async def read_all(port: int, readers: int) -> None:
    """Follow until a line comes from the standard input, and print what each chunk took."""
    waits: list[float] = []
    following = [
        asyncio.ensure_future(follow(port, number, waits, reads=number % TEN > 0)) for number in range(readers)
    ]
    await asyncio.sleep(readers / 500)  # until all have connected
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    failed = [each for each in following if each.done()]
    print(json.dumps({"waits": waits, "failed": len(failed)}), flush=True)


@frozen
class Read:
    """The figures of the readers.

    Attributes:
        waits: seconds from the emission of a chunk to its reader.
        failed: readers whose response had ended.
    """

    waits: list[float]
    failed: int


@asynccontextmanager
async def reading(port: int, readers: int, found: list[Read]) -> AsyncGenerator[None]:
    """Let readers follow in another process."""
    if not readers:
        yield
        return
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, __file__, "--readers", str(readers), "--port", str(port)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**28,
    )
    if process.stdout is None or process.stdin is None or await process.stdout.readline() != b"ready\n":
        raise RuntimeError("the readers do not begin")
    yield
    process.stdin.write(b"\n")
    found.append(Read(**json.loads(await process.stdout.readline())))
    process.kill()
    await process.wait()


# ---------------------------------------------------------------- the engine
@frozen
class Load:
    """The figures of the requests.

    Attributes:
        rate: requests a second.
        cpu_us: CPU time of the engine's process for each.
        share: the part of a core that the process used.
        waits: of each request, in seconds.
    """

    rate: float
    cpu_us: float
    share: float
    waits: list[float]


async def load(jobs: Client, seconds: float) -> Load:
    """Send events one after the other, for each caller."""
    until, waits, handle = time.monotonic() + seconds, list[float](), jobs.handle(counter)

    async def call(number: int) -> None:
        while (began := time.monotonic()) < until:
            await handle.send(f"{number}", 1)
            waits.append(time.monotonic() - began)

    cpu, began = time.process_time(), time.monotonic()
    await asyncio.gather(*map(call, range(CALLERS)))
    took, used = time.monotonic() - began, time.process_time() - cpu
    return Load(len(waits) / took, used / len(waits) * 1e6, used / took, waits)


async def in_chromium(executable: str, url: str, seconds: float) -> list[float]:
    """Return how long each chunk took to the script of a page."""
    from playwright.async_api import async_playwright  # noqa: PLC0415 - only for this

    script = """([path, ms]) => new Promise((done) => {
      const waits = [], began = Date.now(), events = new EventSource(path);
      events.addEventListener("chunk", (event) => {
        const at = JSON.parse(event.data).value * 1000;
        if (at > began) waits.push((performance.timeOrigin + performance.now() - at) / 1000);
      });
      setTimeout(() => { events.close(); done(waits); }, ms);
    })"""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = await browser.new_page()
        await page.goto(f"{url}/live")
        waits: list[float] = await page.evaluate(script, [path_of(0), seconds * 1e3])
        await browser.close()
        return waits


async def measure(store: str, arguments: argparse.Namespace) -> None:
    """Measure all rows, and print them."""
    loads: dict[int, list[Load]] = {0: [], arguments.readers: []}
    found: list[Read] = []
    async with (
        App(None).with_jobs(emitter, counter).open(store) as jobs,
        serving(jobs, ["127.0.0.1:0"], limits=LIMITS) as (server,),
    ):
        port = int(server.urls[0].rpartition(":")[2])
        for number in range(STREAMS):
            await jobs.handle(emitter).start(str(number), number)
        await load(jobs, 1)
        for _ in range(arguments.rounds):
            for readers, taken in loads.items():
                async with reading(port, readers, found):
                    taken.append(await load(jobs, SECONDS))
        quiet: list[Read] = []
        async with reading(port, arguments.readers, quiet):
            await asyncio.sleep(SECONDS)
        shown = await in_chromium(arguments.chromium, server.urls[0], 20) if arguments.chromium else []
        with_load = (await load_beside_chromium(jobs, arguments, server.urls[0])) if arguments.chromium else []
    print_loads(loads)
    print_waits(
        [
            (f"{arguments.readers} readers, beside the callers", [wait for each in found for wait in each.waits]),
            (f"{arguments.readers} readers, no callers", quiet[0].waits),
            ("Chromium, no callers", shown),
            ("Chromium, beside the callers", with_load),
        ]
    )
    print(f"\nresponses that ended early: {sum(each.failed for each in (*found, *quiet))}")


async def load_beside_chromium(jobs: Client, arguments: argparse.Namespace, url: str) -> list[float]:
    """Follow in Chromium while the callers send."""
    shown, _ = await asyncio.gather(in_chromium(arguments.chromium, url, 15), load(jobs, 18))
    return shown


def print_loads(loads: dict[int, list[Load]]) -> None:
    """Print the figures of the requests."""
    head = ("readers", "requests/s", "p50 ms", "p99 ms", "CPU µs a request", "part of a core")
    rows = [
        (
            f"{readers}",
            over_rounds([each.rate for each in taken]),
            over_rounds([Spread.of(each.waits).p50_ms for each in taken], 1),
            over_rounds([Spread.of(each.waits).p99_ms for each in taken], 1),
            over_rounds([each.cpu_us for each in taken]),
            over_rounds([each.share for each in taken], 2),
        )
        for readers, taken in loads.items()
    ]
    print_table(head, rows)


def print_waits(parts: list[tuple[str, list[float]]]) -> None:
    """Print how long chunks took."""
    spreads = [(name, Spread.of(waits)) for name, waits in parts if waits]
    rows = [
        (name, f"{each.count:,}", f"{each.p50_ms:.1f}", f"{each.p99_ms:.1f}", f"{each.max_ms:.1f}")
        for name, each in spreads
    ]
    print()
    print_table(("from emission to", "chunks", "p50 ms", "p99 ms", "longest ms"), rows)


def main() -> None:
    """Measure, or be the process with the readers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", default="")
    parser.add_argument("--folder", default=None)
    parser.add_argument("--readers", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--chromium", default="")
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.port:
        asyncio.run(read_all(arguments.port, arguments.readers))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        print(versions())
        print(conditions(Path(folder)))
        asyncio.run(measure(arguments.store or f"sqlite:///{folder}/jobs.db", arguments))


if __name__ == "__main__":
    main()

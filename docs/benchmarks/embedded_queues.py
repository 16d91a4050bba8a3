"""Queues that live in a process and on its disk, side by side: items a second from end to end, one effect each.

Run it with ``python docs/benchmarks/embedded_queues.py [SYSTEM ...] [--items N] [--rounds N] [--folder FOLDER]``; the
folder must be on the disk in question. It makes a virtual environment for each system, unless ``--python`` names one
that has all, and runs each in a process of its own, in turns. Each stores its items one by one, durably where it can,
and works on them with its best number of workers: the clock runs from the first item until the last end is stored.
Items are worked on once the first is stored. ``syncs`` counts the calls that flush a file to the disk, with ``strace``,
in a run of its own.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

HERE = Path(__file__).resolve()
FLUSHES = ("fsync", "fdatasync", "sync_file_range", "msync")


class System(NamedTuple):
    """A queue.

    Attributes:
        packages: the packages to install.
        durability: its durable setting, as its own options name it.
        workers: the numbers of workers to try.
        run: stores the items and works on them; called with the folder and the workers.
    """

    packages: tuple[str, ...]
    durability: str
    workers: tuple[int, ...]
    run: Callable[[Path, int], None]


class Effects:
    """Counts the effects, over all threads."""

    def __init__(self, wanted: int) -> None:
        self.wanted, self.number, self.lock, self.all = wanted, 0, threading.Lock(), threading.Event()
        self.began = self.cpu = 0.0

    def begin(self) -> range:
        """Start the clock, and return the numbers of the items."""
        self.began, self.cpu = time.perf_counter(), time.process_time()
        return range(self.wanted)

    def perform(self, _: object) -> int:
        """Count one."""
        with self.lock:
            self.number += 1
            if self.number == self.wanted:
                self.all.set()
            return self.number


EFFECTS = Effects(0)


def effect(number: int) -> int:
    """Count one; a function that a system finds by its name."""
    return EFFECTS.perform(number)


def in_threads(workers: int, work: Callable[[], None]) -> list[threading.Thread]:
    """Start threads."""
    threads = [threading.Thread(target=work, daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    return threads


# ---------------------------------------------------------------- systems
def run_perdure(folder: Path, workers: int) -> None:
    """A worker pool; as many callers as workers."""
    import asyncio  # noqa: PLC0415 - of one system

    from returns.future import FutureResult  # noqa: PLC0415

    from perdure import App, Do, ItemContext, WorkerPool, program  # noqa: PLC0415
    from perdure import effect as effect_of  # noqa: PLC0415

    @effect_of
    def act(services: Effects, number: int) -> FutureResult[int, str]:
        return FutureResult.from_value(services.perform(number))

    @program
    def work(ctx: ItemContext[int]) -> Do[int, str, Effects]:
        return (yield from act((yield from ctx.item)))

    work.__annotations__["ctx"], work.__annotations__["return"] = ItemContext[int], Do[int, str, Effects]
    pool = WorkerPool("items", item=int, work=work, result=int, errors=str, workers=workers, keep="0 ms")

    async def main() -> None:
        async with App(EFFECTS).with_jobs(pool).open(f"sqlite:///{folder / 'jobs.db'}") as client:
            handle = client.handle(pool)
            numbers = iter(EFFECTS.begin())

            async def caller() -> None:
                for number in numbers:
                    await handle.put(f"i{number}", number)

            await asyncio.gather(*(caller() for _ in range(workers)))
            while (left := await handle.progress()).running or left.waiting:  # noqa: ASYNC110 - until it is durable
                await asyncio.sleep(0.002)

    asyncio.run(main())


def run_huey(folder: Path, workers: int) -> None:
    """A consumer with threads."""
    from huey import SqliteHuey  # noqa: PLC0415

    huey = SqliteHuey("items", filename=str(folder / "huey.db"), fsync=True, results=False)
    task = huey.task()(effect)
    consumer = huey.create_consumer(
        workers=workers, initial_delay=0.001, backoff=1.0, max_delay=0.001, periodic=False, check_worker_health=False
    )
    consumer.start()
    for number in EFFECTS.begin():
        task(number)
    EFFECTS.all.wait()
    consumer.stop(graceful=True)


def run_persist_queue(folder: Path, workers: int) -> None:
    """``SQLiteAckQueue``."""
    from persistqueue import Empty, SQLiteAckQueue  # noqa: PLC0415

    queue = SQLiteAckQueue(str(folder), multithreading=True)

    def work() -> None:
        while not EFFECTS.all.is_set():
            try:
                item = queue.get(timeout=0.05)
            except Empty:
                continue
            effect(item)
            queue.ack(item)

    threads = in_threads(workers, work)
    for number in EFFECTS.begin():
        queue.put(number)
    for thread in threads:
        thread.join()


def run_localqueue(folder: Path, workers: int) -> None:
    """``SimpleQueue`` of a Rust extension."""
    from localqueue import SimpleQueue  # noqa: PLC0415
    from localqueue.exceptions import Empty  # noqa: PLC0415
    from localqueue.policies import DurabilityMode  # noqa: PLC0415

    queue: Any = SimpleQueue(str(folder), durability=DurabilityMode.DURABLE)

    def work() -> None:
        while not EFFECTS.all.is_set():
            try:
                job = queue.get(block=True, timeout=0.05)
            except Empty:
                continue
            effect(job.data)
            queue.ack(job)

    threads = in_threads(workers, work)
    for number in EFFECTS.begin():
        queue.put(number)
    for thread in threads:
        thread.join()


def run_gigq(folder: Path, workers: int) -> None:
    """A worker with threads."""
    from gigq import Job, JobQueue, Worker  # noqa: PLC0415

    queue = JobQueue(str(folder / "gigq.db"))
    worker = Worker(str(folder / "gigq.db"), polling_interval=0.001, concurrency=workers)

    def work() -> None:
        while not EFFECTS.all.is_set():
            if not worker.process_one():
                time.sleep(0.001)

    threads = in_threads(workers, work)
    for number in EFFECTS.begin():
        queue.submit(Job(name="item", function=effect, params={"number": number}))
    for thread in threads:
        thread.join()


def run_diskcache(folder: Path, workers: int) -> None:
    """``Deque``: an item is gone when a worker takes it, so a crash loses it."""
    from diskcache import Cache, Deque  # noqa: PLC0415

    queue = Deque.fromcache(Cache(str(folder), eviction_policy="none", sqlite_synchronous=2))

    def work() -> None:
        while not EFFECTS.all.is_set():
            try:
                effect(queue.popleft())
            except IndexError:
                time.sleep(0.001)

    threads = in_threads(workers, work)
    for number in EFFECTS.begin():
        queue.append(number)
    for thread in threads:
        thread.join()


def litequeue_with(synchronous: str, folder: Path, workers: int) -> None:
    """Litequeue with a pragma of its own, or ``FULL``."""
    from litequeue import LiteQueue  # noqa: PLC0415

    queue = LiteQueue(str(folder / "lite.db"))
    queue.conn.execute(f"PRAGMA synchronous = {synchronous}")

    def work() -> None:
        while not EFFECTS.all.is_set():
            message = queue.pop()
            if message is None:
                time.sleep(0.001)
                continue
            effect(int(message.data))
            queue.done(message.message_id, claim_id=message.claim_id)

    threads = in_threads(workers, work)
    for number in EFFECTS.begin():
        queue.put(str(number))
    for thread in threads:
        thread.join()


def run_litequeue(folder: Path, workers: int) -> None:
    """As its documentation opens it."""
    litequeue_with("NORMAL", folder, workers)


def run_litequeue_full(folder: Path, workers: int) -> None:
    """With a pragma that it does not offer."""
    litequeue_with("FULL", folder, workers)


def run_honker(folder: Path, workers: int) -> None:
    """Workers that claim one job after the other."""
    import honker  # noqa: PLC0415

    database = honker.open(str(folder / "honker.db"))
    queue = database.queue("items", visibility_timeout_s=300)

    def work() -> None:
        while not EFFECTS.all.is_set():
            jobs = queue.claim_batch("worker", 1)
            if not jobs:
                time.sleep(0.001)
            for job in jobs:
                effect(job.payload)
                queue.ack_batch([job.id], "worker")

    threads = in_threads(workers, work)
    for number in EFFECTS.begin():
        queue.enqueue(number)
    for thread in threads:
        thread.join()


def run_dbos(folder: Path, workers: int) -> None:
    """A queue of workflows of one step."""
    from dbos import DBOS  # noqa: PLC0415

    url = f"sqlite:///{folder / 'dbos.sqlite'}"
    DBOS(config={"name": "bench", "system_database_url": url, "run_admin_server": False, "log_level": "ERROR"})
    step = DBOS.step()(effect)

    @DBOS.workflow()  # type: ignore[untyped-decorator] # of another environment
    def work(number: int) -> int:
        done: int = step(number)
        return done

    DBOS.launch()
    DBOS.register_queue("items", concurrency=workers, polling_interval_sec=0.1)
    handles = [DBOS.enqueue_workflow("items", work, number) for number in EFFECTS.begin()]
    for handle in handles:
        handle.get_result()


SYSTEMS = {
    "perdure": System((f"{HERE.parents[2]}[sqlite]",), "synchronous FULL, the default", (64,), run_perdure),
    "huey": System(("huey",), "fsync=True", (1, 4), run_huey),
    "persist-queue": System(("persist-queue",), "SQLite's default, FULL", (1, 4), run_persist_queue),
    "localqueue": System(("localqueue",), "DurabilityMode.DURABLE", (1, 4), run_localqueue),
    "gigq": System(("gigq",), "SQLite's default, FULL", (1, 4), run_gigq),
    "diskcache Deque": System(
        ("diskcache",), "sqlite_synchronous=2; loses what is being worked on", (1, 4), run_diskcache
    ),
    "DBOS queue": System(("dbos",), "rollback journal, SQLite's default, FULL", (64,), run_dbos),
    "litequeue, FULL by hand": System(("litequeue",), "a pragma on its connection", (1,), run_litequeue_full),
    "litequeue": System(("litequeue",), "NORMAL: commits are not synced", (1,), run_litequeue),
    "honker": System(("honker",), "NORMAL: commits are not synced", (1, 4), run_honker),
}


# ---------------------------------------------------------------- one run in a process of its own
def one(name: str, items: int, folder: Path, workers: int) -> None:
    """Run a system once, and print its figures as JSON."""
    EFFECTS.wanted = items
    SYSTEMS[name].run(folder, workers)
    wall, cpu = time.perf_counter() - EFFECTS.began, time.process_time() - EFFECTS.cpu
    figures = {"rate": items / wall, "cpu_us": 1e6 * cpu / items}
    print(json.dumps(figures), flush=True)
    if EFFECTS.number != items:
        raise AssertionError(EFFECTS.number)


# ---------------------------------------------------------------- all
def measured(python: str, name: str, items: int, folder: str | None, workers: int, *before: str) -> dict[str, float]:
    """Run a system in a process of its own."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        command = [*before, python, "-W", "ignore", str(HERE), "--one", name, str(items), scratch, str(workers)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr[-2_000:]}")
    figures: dict[str, float] = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    return figures


def syncs(python: str, name: str, items: int, folder: str | None, workers: int) -> str:
    """Return how often a system flushes a file to the disk for an item."""
    if shutil.which("strace") is None:
        return ""
    with tempfile.NamedTemporaryFile("r", suffix=".strace") as trace:
        watched = ("strace", "-f", "-c", "-e", f"trace={','.join(FLUSHES)}", "-o", trace.name)
        measured(python, name, items, folder, workers, *watched)
        lines = [line.split() for line in trace.read().splitlines()]
    calls = sum(int(fields[3]) for fields in lines if fields and fields[-1] in FLUSHES)
    return f"{calls / items:.2f}"


def environment(name: str, folder: Path) -> str:
    """Make a virtual environment that has a system, and return its interpreter."""
    venv = folder / re.sub(r"\W+", "-", name)
    python = str(venv / "bin" / "python")
    if not venv.exists():
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *SYSTEMS[name].packages], check=True)
    return python


def main() -> None:
    """Run all systems in turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("systems", nargs="*", default=list(SYSTEMS), metavar="SYSTEM", help=", ".join(SYSTEMS))
    parser.add_argument("--items", type=int, default=2_000)
    parser.add_argument("--slow-items", type=int, default=200, help="of a system that is slower than 50 a second")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder")
    parser.add_argument("--python", help="an interpreter that has all systems")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as venvs:
        pythons = {name: given.python or environment(name, Path(venvs)) for name in given.systems}
        cases = [(name, workers) for name in given.systems for workers in SYSTEMS[name].workers]
        rounds: dict[tuple[str, int], list[dict[str, float]]] = {case: [] for case in cases}
        for _ in range(given.rounds):
            for name, workers in cases:
                items = given.slow_items if name == "DBOS queue" else given.items
                rounds[name, workers].append(measured(pythons[name], name, items, given.folder, workers))
                print(name, workers, rounds[name, workers][-1], flush=True)
        print("\n| queue | durable setting | workers | items/s | CPU µs an item | syncs an item |")
        print("|---|---|---|---|---|---|")
        for name in given.systems:
            best = max(SYSTEMS[name].workers, key=lambda workers: median(one["rate"] for one in rounds[name, workers]))
            rates = sorted(figures["rate"] for figures in rounds[name, best])
            cpu = median(figures["cpu_us"] for figures in rounds[name, best])
            synced = syncs(pythons[name], name, given.slow_items, given.folder, best)
            print(
                f"| {name} | {SYSTEMS[name].durability} | {best} | {rates[0]:,.0f} to {rates[-1]:,.0f} | {cpu:,.0f} "
                f"| {synced} |",
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5]))
        sys.stdout.flush()
        import os

        os._exit(0)  # some systems leave threads behind
    main()

"""``perdure bench``: measure a disk, and an engine on it, for a short time.

It measures synced writes, and the requests that many clients send to a counting job without effects.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import attrs
from attrs import frozen
from returns.result import Result, Success

from perdure.app import App
from perdure.cli.options import JsonOption
from perdure.cli.output import line_on_stderr, write_json
from perdure.cli.process import ExitCode, UsageError, write_lines
from perdure.jobs.context import Decision
from perdure.kinds.task import Task
from perdure.values.errors import StoreError


@frozen
class Counter:
    """An instance's state: how many events it received."""

    events: int = 0


@frozen
class Count:
    """An event."""


def decide(state: Counter, _: Count) -> Result[Decision[Counter], None]:
    """Count an event."""
    return Success(Decision(state=Counter(state.events + 1)))


counter = Task("perdure-bench", state=Counter, event=Count, initial=Counter(), decide=decide)
app = App(None).with_jobs(counter)


PAGE: Final = b"\0" * 4_096


@attrs.frozen(kw_only=True)
class Measurement:
    """How often something was done.

    Attributes:
        subject: ``disk``, or how many clients sent requests, such as ``64 clients``.
        unit: what was counted.
        p99_ms: the duration that 99 % did not exceed.
    """

    subject: str
    unit: str
    per_second: float
    median_ms: float
    p99_ms: float

    @property
    def line(self) -> str:
        """The measurement as one line."""
        rate = f"{self.per_second:>10,.0f} {self.unit}/s"
        return f"{self.subject:<10}  {rate:<26}  median {self.median_ms:.2f} ms, p99 {self.p99_ms:.2f} ms"


def disk(folder: Path, seconds: float) -> Measurement:
    """Append pages to a file and sync each.

    Args:
        folder: where the file is.
        seconds: how long.
    """
    file = os.open(folder / "synced", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    taken: list[float] = []
    try:
        begun = now = time.perf_counter()
        while now - begun < seconds:
            os.write(file, PAGE)
            os.fsync(file)
            before, now = now, time.perf_counter()
            taken.append(now - before)
    finally:
        os.close(file)
    return _summary("disk", "synced writes", taken, now - begun)


def engine(folder: Path, seconds: float, clients: int) -> Measurement:
    """Open an engine and send events to it, each acknowledged after it is durable.

    Args:
        folder: where its file is.
        seconds: how long.
        clients: how many clients send at the same time, each to a separate instance.
    """
    subject = "1 client" if clients == 1 else f"{clients} clients"
    taken, elapsed = asyncio.run(_requests(folder / f"clients-{clients}.db", seconds, clients))
    return _summary(subject, "requests", taken, elapsed)


async def _requests(path: Path, seconds: float, clients: int) -> tuple[list[float], float]:
    taken: list[float] = []
    async with app.open(f"sqlite:///{path}") as jobs:
        handle = jobs.handle(counter)
        await handle.send("warm-up", Count())
        begun = time.perf_counter()

        async def client(id_: str) -> None:
            now = begun
            while now - begun < seconds:
                await handle.send(id_, Count())
                before, now = now, time.perf_counter()
                taken.append(now - before)

        await asyncio.gather(*(client(str(number)) for number in range(clients)))
        return taken, time.perf_counter() - begun


def _summary(subject: str, unit: str, taken: list[float], elapsed: float) -> Measurement:
    ordered = sorted(taken)
    return Measurement(
        subject=subject,
        unit=unit,
        per_second=len(ordered) / elapsed,
        median_ms=ordered[len(ordered) // 2] * 1_000,
        p99_ms=ordered[len(ordered) * 99 // 100] * 1_000,
    )


MIN_SECONDS, MAX_SECONDS = 0.05, 60.0
CLIENTS = (1, 64)


def bench(*, at: Path, seconds: float = 2.0, json: JsonOption = False) -> int:
    """Measure the disk of a folder and an engine on it: synced writes, and requests of 1 and of 64 clients.

    It writes a temporary folder and deletes it. The engine runs in this process with full durability. Each request
    sends one event to a job without effects.

    Exit code: 0 done, 2 the folder cannot be used.

    Parameters
    ----------
    at
        The folder: the one where your store is, or will be.
    seconds
        How long each measurement takes, 0.05 to 60. There are three.
    """
    if not MIN_SECONDS <= seconds <= MAX_SECONDS:
        raise UsageError(f"--seconds {seconds:g}: expected {MIN_SECONDS:g} to {MAX_SECONDS:g}")
    line = line_on_stderr()

    def show(measured: Measurement) -> None:
        line.clear()
        if json:
            write_json([attrs.asdict(measured)])
        else:
            write_lines([measured.line])
        sys.stdout.flush()

    try:
        with TemporaryDirectory(prefix="perdure-bench-", dir=at) as folder:
            line.show("measuring synced writes")
            show(disk(Path(folder), seconds))
            for clients in CLIENTS:
                line.show(f"measuring requests of {clients}")
                show(engine(Path(folder), seconds, clients))
    except (OSError, StoreError) as error:
        raise UsageError(f"--at {at}: {error}") from error
    finally:
        line.clear()
    return ExitCode.DONE

"""How soon clients are answered again when their engine is killed under load and started again.

Run it with ``python docs/benchmarks/reconnect.py [--rounds 20] [--folder FOLDER]``. Sixteen callers of one client send
requests with idempotency keys through the Unix socket of ``perdure run``, one after the other. In each round the
engine's process is killed with SIGKILL and another one is started at once. At the end, every total in the store is
compared with what was acknowledged.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median

from attrs import define, field
from measured.figures import print_table
from measured.machine import conditions, versions
from returns.result import Result, Success

from perdure import App, Decision, Task
from perdure.remote import connect

CALLERS, INSTANCES = 16, 50
HERE = Path(__file__).parent


def add(total: int, event: int) -> Result[Decision[int], str]:
    """Add a number: a request that is applied twice shows in the total."""
    return Success(Decision(total + event))


adder = Task("adder", state=int, event=int, initial=0, decide=add, execute=lambda ctx: ctx.terminate("unused"))
app = App(None).with_jobs(adder)


async def started(folder: Path) -> asyncio.subprocess.Process:
    """Start an engine, and return when it says that it serves."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "perdure", "run", "reconnect:app", "--store", f"sqlite:///{folder}/jobs.db"),
        cwd=HERE,
        env={**os.environ, "PYTHONPATH": str(HERE)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    while b"listening" not in await process.stdout.readline():
        if process.stdout.at_eof():
            raise RuntimeError("the engine did not start")
    return process


@define
class Callers:
    """Callers that send until they are stopped.

    Attributes:
        answered_s: when the last answer came.
        acknowledged: the sum of what was acknowledged, by instance.
    """

    answered_s: float = 0.0
    count: int = 0
    acknowledged: Counter[str] = field(factory=Counter[str])
    stopped: bool = False
    answer: asyncio.Event = field(factory=asyncio.Event)

    async def run(self, url: str) -> None:
        """Send."""
        async with connect(url, adder) as jobs:
            numbers = jobs.handle(adder)

            async def caller(number: int) -> None:
                asked = 0
                while not self.stopped:
                    id_ = f"id-{(number + asked) % INSTANCES}"
                    await numbers.send(id_, 1, idempotency_key=f"{number}-{asked}")
                    self.acknowledged[id_] += 1
                    self.count += 1
                    asked += 1
                    self.answered_s = time.perf_counter()
                    self.answer.set()

            await asyncio.gather(*(caller(number) for number in range(CALLERS)))

    async def next_answer(self) -> float:
        """Wait for an answer from now on, and return when it came."""
        self.answer.clear()
        await self.answer.wait()
        return self.answered_s


async def main(options: argparse.Namespace, folder: Path) -> None:
    """Kill, start and measure."""
    print(versions(), conditions(folder), sep="\n")
    url, callers = f"sqlite:///{folder}/jobs.db", Callers()
    engine = await started(folder)
    running = asyncio.ensure_future(callers.run(url))
    starts: list[float] = []
    waits: list[float] = []
    for _ in range(options.rounds):
        await callers.next_answer()
        await asyncio.sleep(0.3)
        engine.send_signal(signal.SIGKILL)
        await engine.wait()
        killed = time.perf_counter()
        engine = await started(folder)
        serves = time.perf_counter()
        answered = await callers.next_answer() if callers.answered_s < serves else callers.answered_s
        starts.append(serves - killed)
        waits.append(max(0.0, answered - serves))
    callers.stopped = True
    await running
    async with connect(url, adder) as jobs:
        stored = {id_: await jobs.handle(adder).get_state(id_) for id_ in callers.acknowledged}
    engine.send_signal(signal.SIGTERM)
    await engine.wait()
    wrong = sum(stored[id_] != total for id_, total in callers.acknowledged.items())
    print_table(
        (
            "kills",
            "requests acknowledged",
            "totals that differ",
            "start, median s",
            "to the first answer, median ms",
            "worst ms",
        ),
        [
            [
                str(options.rounds),
                f"{callers.count:,}",
                str(wrong),
                f"{median(starts):.2f}",
                f"{median(waits) * 1e3:.0f}",
                f"{max(waits) * 1e3:.0f}",
            ]
        ],
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk in question")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
        asyncio.run(main(arguments, Path(scratch).resolve()))
